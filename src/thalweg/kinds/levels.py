"""Reads single cells of JSON as levels of a category, where one look is enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from thalweg.stats.parsing import MISSING_TEXTS

EXACT: Final = 2**53
"""Below it every whole number is a float64."""

MOST_SEEN: Final = 4096
"""How many other texts are remembered."""

LONGEST: Final = 64
"""How long a text may be that is."""

_SOLID: Final = frozenset(map(chr, range(0x21, 0x7F)))  # ASCII that is no blank
_DIGIT: Final = frozenset("-0123456789")
_SIGNED: Final = frozenset("+.-0123456789")


def reader_of(
    spellings: Sequence[str], form: str, *, whole: bool
) -> Callable[[object], str | None]:
    """Give what reads one plain cell as a level.

    Parameters
    ----------
    spellings
        How missing and unseen cells are spelt, then the levels.
    form
        What the levels are: ``text``, ``boolean``, ``whole`` or ``real`` numbers.
    whole
        Whether a number that is no level is unseen for certain.

    Returns
    -------
    Callable
        Gives a spelling; None where that takes more care.

    Examples
    --------
    >>> read = reader_of(["", "?", "Ulm", "10"], "text", whole=False)
    >>> [read(cell) for cell in ("Ulm", " Ulm ", "Bonn", "n/a", 10, 10.0, "10.0")]
    ['Ulm', 'Ulm', '?', '', '10', '10', None]
    """
    missing, unseen, *levels = spellings
    # The first of equal levels counts, and a level before a word for missing.
    known = dict.fromkeys(MISSING_TEXTS, missing) | {level: level for level in levels}
    numeric = form in {"whole", "real"}
    room = len(known) + MOST_SEEN
    numbers = {float(level): level for level in levels} if numeric else {}

    def number(cell: float) -> str | None:
        if not -EXACT < cell < EXACT:
            return None
        if isinstance(cell, bool):
            return known.get("true" if cell else "false", unseen)
        if numeric:
            return numbers.get(cell, unseen if whole else None)
        return known.get(str(int(cell)), unseen) if cell == int(cell) else None

    def read(cell: object) -> str | None:
        if isinstance(cell, str):
            found = known.get(cell)
            if found is None:
                found = _careful(cell, known, unseen, numeric=numeric)
                if found is not None and len(known) < room and len(cell) <= LONGEST:
                    known[cell] = found
            return found
        if cell is None:
            return missing
        return number(cell) if isinstance(cell, (int, float)) else None

    return read


def _careful(text: str, known: Mapping[str, str], unseen: str, *, numeric: bool) -> str | None:
    """Read a text that is neither a level nor a word for missing as it stands."""
    bare = text.strip(" ")
    if not bare:
        return known[""]
    first, last = bare[0], bare[-1]
    if first not in _SOLID or last not in _SOLID:
        return None
    found = known.get(bare)
    if found is None and bare.isascii() and bare.lower() in MISSING_TEXTS:
        found = known[""]
    if found is not None:
        return found
    # Of numbers there are more spellings than one: 10.0 for 10 and, by value, 1e1.
    another = first in _SIGNED if numeric else first in _DIGIT and last == "0"
    return None if another else unseen
