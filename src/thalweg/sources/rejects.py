"""Rows that were set aside, written down: nothing vanishes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import chain
from pathlib import Path

from thalweg.core.files import atomic_file
from thalweg.sources.base import Reject


def write_rejects(rejects: Iterable[Reject], path: Path) -> int:
    """Write rejects as newline-delimited JSON; without any, no file.

    Parameters
    ----------
    rejects
        What was set aside.
    path
        The file to make or replace: ``origin``, ``line``, ``reason``, ``content`` a line.

    Returns
    -------
    int
        How many there were.
    """
    left = iter(rejects)
    first = next(left, None)
    if first is None:
        return 0
    count = 0
    with atomic_file(path) as building, building.open("w", encoding="utf-8") as file:
        # One at a time: there may be more than memory holds.
        for count, reject in enumerate(chain([first], left), 1):  # noqa: B007 - told at the end
            file.write(json.dumps(asdict(reject), ensure_ascii=False) + "\n")
    return count
