"""Cells that name files: the files' bytes in their place, and never a file of another folder."""

from __future__ import annotations

import os
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.core.errors import ColumnError
from thalweg.kinds.cells import is_text
from thalweg.stats import ColumnSummary
from thalweg.stats.arrays import plain
from thalweg.stats.parsing import is_missing_text

MOST_BYTES: Final = 1 << 28
"""A larger file is not read."""

FITTED: Final = 256
"""How many files a column is fitted on."""

NO_FOLDER: Final = "a path, where no folder of files is given"
OUTSIDE: Final = "a path that leads out of the folder of files"
ABSENT: Final = "no such file"
UNREAD: Final = "a file that cannot be read"
TOO_LARGE: Final = f"a file of more than {MOST_BYTES >> 20} MiB"

_READERS: Final = 8
_PATH: Final = r"^[^\n\r\x00]{1,1000}\.[A-Za-z0-9]{2,5}$"

Refused = dict[str, NDArray[np.bool_]]


def attach(array: pa.Array, folder: Path | None) -> tuple[pa.Array, Refused]:
    """Read the files that cells name.

    A text with an ending, such as ``cats/17.jpg``, names a file; other texts (base64, ``data:``)
    and bytes stay what they are.

    Parameters
    ----------
    array
        Cells [N].
    folder
        The folder that paths are meant from and may lead into; None: no file is read.

    Returns
    -------
    tuple
        The cells: large_binary where all name files, large_string where others hold them. And why
        some were not read: reason -> Bool [N]; these cells are null.

    Examples
    --------
    >>> cells, refused = attach(pa.array(["../../etc/shadow.txt", None]), Path())
    >>> cells.null_count, refused
    (2, {'a path that leads out of the folder of files': array([ True, False])})
    """
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not is_text(array.type):
        return array, {}
    texts = plain(array)
    named = _named(texts)
    places = np.flatnonzero(named)
    if not len(places):
        return array, {}
    paths = texts.take(pa.array(places)).to_pylist()
    root = None if folder is None else folder.resolve()
    with ThreadPoolExecutor(min(_READERS, len(places)), "files") as pool:
        found = list(pool.map(lambda path: _read(path, root), paths))
    # Beside texts that are files in base64, files are such texts too: one column has one type.
    mixed = pc.sum(texts.is_valid()).as_py() > len(places)
    kept = pa.large_string() if mixed else pa.large_binary()
    cells = texts.to_pylist() if mixed else [None] * len(texts)
    refused: Refused = {}
    for place, content in zip(places.tolist(), found, strict=True):
        if isinstance(content, bytes):
            cells[place] = b64encode(content).decode() if mixed else content
        else:
            cells[place] = None
            refused.setdefault(content, np.zeros(len(array), dtype=np.bool_))[place] = True
    return pa.array(cells, kept), refused


def attached(name: str, summary: ColumnSummary, folder: Path | None) -> ColumnSummary:
    """Sum up the files that a column names: some of them, drawn evenly.

    Parameters
    ----------
    name
        The column's name.
    summary
        Its cells.
    folder
        See `attach`.

    Raises
    ------
    ColumnError
        Where cells name files of which not one can be read.
    """
    cells = summary.cells()
    if not is_text(cells.type):
        return summary
    paths = cells.filter(pa.array(_named(cells))).slice(0, FITTED)
    if not len(paths) or len(paths) < len(cells.slice(0, FITTED)) // 2:
        return summary
    content, refused = attach(paths, folder)
    if content.null_count == len(content):
        reason = max(refused, key=lambda why: int(refused[why].sum()))
        raise ColumnError(
            f"column {name!r} names files, such as {paths[0].as_py()[:80]!r}: {reason}",
            "files in the folder of the table"
            if folder is None
            else f"files in the folder {os.fspath(folder)}",
            "Say where they lie: --files FOLDER.",
        )
    files = ColumnSummary()
    files.update(content)
    return files


def _named(texts: pa.Array) -> NDArray[np.bool_]:
    """Say which texts [N] name a file."""
    paths = pc.and_(
        pc.match_substring_regex(texts, _PATH), pc.invert(pc.starts_with(texts, "data:"))
    )
    named: NDArray[np.bool_] = pc.fill_null(paths, fill_value=False).to_numpy(zero_copy_only=False)
    return named & ~is_missing_text(texts)


def _read(path: str, root: Path | None) -> bytes | str:
    """Read a file, or say why not."""
    if root is None:
        return NO_FOLDER
    try:
        place = (root / path.strip()).resolve()
        if not place.is_relative_to(root):
            return OUTSIDE
        if not place.is_file():
            return ABSENT
        if place.stat().st_size > MOST_BYTES:
            return TOO_LARGE
        return place.read_bytes()
    except (OSError, ValueError):
        return UNREAD
