"""Designs: encoded rows in the form that textbook models read, numbers, codes and texts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from thalweg.data.schema import Schema
from thalweg.kinds import KINDS
from thalweg.kinds.base import Design

LINEAR_CODES: Final = 100
"""How many codes of a column, the commonest, a linear model tells apart."""


def design(features: Mapping[str, Mapping[str, NDArray[Any]]], schema: Schema) -> Design:
    """Bring the kinds' encoded fields into one form: each kind says how its own are to be read.

    Parameters
    ----------
    features
        Kind -> field -> array [N, C] or [N, C, ...].
    schema
        The fitted columns.
    """
    parts = [
        KINDS[kind].design(features[kind], [column.state for column in columns])
        for kind, columns in schema.by_kind().items()
    ]
    return Design(
        np.concatenate([part.numbers for part in parts], axis=1),
        np.concatenate([part.codes for part in parts], axis=1),
        tuple(text for part in parts for text in part.texts),
    )


def ranks(train: Design, test: Design) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Renumber each column's codes: the commonest of the training rows first, unseen ones last.

    Returns
    -------
    tuple
        int32 [N, Q] and [M, Q], from 0.

    Examples
    --------
    >>> some = Design(np.empty((4, 0), np.float32), np.array([[7], [5], [5], [2]], np.int32))
    >>> ranks(some, Design(some.numbers, some.codes + 2))[1].ravel().tolist()
    [3, 2, 2, 3]
    """
    found = [np.empty_like(train.codes), np.empty_like(test.codes)]
    for column in range(train.codes.shape[1]):
        levels, counts = np.unique(train.codes[:, column], return_counts=True)
        places_of = np.empty(len(levels) + 1, np.int32)
        places_of[np.argsort(-counts, kind="stable")] = np.arange(len(levels))
        places_of[-1] = len(levels)
        for part, into in zip((train, test), found, strict=True):
            codes = part.codes[:, column]
            places = np.minimum(np.searchsorted(levels, codes), len(levels) - 1)
            into[:, column] = places_of[np.where(levels[places] == codes, places, len(levels))]
    return found[0], found[1]


def one_hot(train: Design, test: Design) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Standardise numbers, flag missing ones, give each of the commonest codes a column.

    Returns
    -------
    tuple
        float64 [N, ...] and [M, ...], sparse; learned from the training rows only.
    """
    gaps = np.isnan(train.numbers)
    known = np.maximum((~gaps).sum(axis=0), 1)
    filled = np.where(gaps, 0, train.numbers).astype(np.float64)
    mean = filled.sum(axis=0) / known
    deviation = np.sqrt((np.where(gaps, 0, filled - mean) ** 2).sum(axis=0) / known)
    scale = np.where(deviation > 0, deviation, 1)
    flagged = gaps.any(axis=0)
    parts = []
    for part, common in zip((train, test), ranks(train, test), strict=True):
        missing = np.isnan(part.numbers)
        standard = np.where(missing, 0, (part.numbers - mean) / scale)
        rows, columns = np.nonzero(common < LINEAR_CODES)
        places = common[rows, columns] + LINEAR_CODES * columns
        size = (len(part), LINEAR_CODES * common.shape[1])
        codes = sparse.csr_array((np.ones(len(rows)), (rows, places)), size)
        parts.append(
            sparse.hstack(
                [sparse.csr_array(standard), sparse.csr_array(missing[:, flagged] * 1.0), codes],
                format="csr",
            )
        )
    return parts[0], parts[1]
