"""Rows that were encoded apart, put together again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from thalweg.models.compiled import Feed


def joined(
    feeds: Sequence[tuple[NDArray[np.int64], Feed]], rows: int, left_out: Mapping[int, str]
) -> Feed:
    """Put parts of rows [N], encoded apart, together again, without those that are left out."""
    if len(feeds) == 1:
        return feeds[0][1]
    stays = np.array([place for place in range(rows) if place not in left_out], dtype=np.int64)
    where = np.zeros(rows, dtype=np.int64)
    where[stays] = np.arange(len(stays))
    order = np.argsort(where[np.concatenate([places for places, _ in feeds])], kind="stable")
    parts = [feed for _, feed in feeds]
    inputs = {
        name: np.concatenate([part.inputs[name] for part in parts])[order]
        for name in parts[0].inputs
    }
    whole = Feed(inputs, len(stays), np.concatenate([part.dropped for part in parts])[order])
    return replace(
        whole,
        unreadable=_masks([(part.rows, part.unreadable) for part in parts], order),
        refused=_masks([(part.rows, part.refused) for part in parts], order),
    )


def _masks(
    parts: Sequence[tuple[int, Mapping[str, NDArray[np.bool_]]]], order: NDArray[np.int64]
) -> dict[str, NDArray[np.bool_]]:
    """Put masks by name together; where a part has none, nothing is marked."""
    names = dict.fromkeys(name for _, masks in parts for name in masks)
    return {
        name: np.concatenate(
            [masks.get(name, np.zeros(rows, dtype=np.bool_)) for rows, masks in parts]
        )[order]
        for name in names
    }
