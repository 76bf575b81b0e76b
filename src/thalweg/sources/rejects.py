"""Rows that were set aside, written down: nothing vanishes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
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
    lines = [json.dumps(asdict(reject), ensure_ascii=False) for reject in rejects]
    if lines:
        with atomic_file(path) as building:
            building.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(lines)
