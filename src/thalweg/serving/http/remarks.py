"""What there is to say of the rows of a request: columns too many or too few, odd cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, final

import numpy as np
import pyarrow as pa

from thalweg.data.schema import CLEANED
from thalweg.models.compiled import CompiledModel, Feed
from thalweg.stats.arrays import is_bytes, is_list, sort_of

MOST_NAMED: Final = 8
"""So many columns that a row lacks, or has and should not, are named; the others are counted."""

MOST_QUOTED: Final = 40
"""So many characters of a cell are told back."""

MOST_GUESSED: Final = 32
"""For so many unknown columns of a request a near name is looked for."""

ROW: Final = 'an object: {"column": cell, ...}'

_STRANGE: Final = "a row without any of the model's columns"


@final
class Notes:
    """What there is to say of rows [N]: why some have no answer, and what is amiss about others."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self.errors: dict[int, str] = {}
        self.warnings: dict[int, tuple[str, ...]] = {}
        self.unseen: Counter[str] = Counter()

    def say(self, place: int, *told: str) -> None:
        """Add to what is said of a row."""
        self.warnings[place] = (*self.warnings.get(place, ()), *told)

    def say_all(self, told: tuple[str, ...]) -> None:
        """Say of all rows the same."""
        if self.warnings:
            for place in range(self._rows):
                self.say(place, *told)
        else:
            self.warnings = dict.fromkeys(range(self._rows), told)


@final
class Remarks:
    """Says what is amiss about rows, as far as that does not keep them from being read.

    Parameters
    ----------
    model
        Whose rows they should be.
    """

    def __init__(self, model: CompiledModel) -> None:
        schema = model.schema
        self._names = list(model.columns)
        self._wanted = frozenset(self._names)
        told = [schema.target.name] if schema.target else []
        told += [schema.truth.column] if schema.truth else []
        self._passed = self._wanted | {*told, *(one.name for one in schema.ignored)}
        self._levels = [
            (column.name, place, frozenset(("", *column.state.levels)))  # type: ignore[attr-defined]
            for place, column in enumerate(schema.by_kind().get("category", ()))
            if column.state.levels  # type: ignore[attr-defined]
        ]

    def compare_names(self, rows: int, names: Sequence[str], notes: Notes) -> None:
        """Say of all rows [N] which columns they lack, and which they should not have."""
        if self._wanted.isdisjoint(names):
            notes.errors |= dict.fromkeys(range(rows), f"{_STRANGE}; expected {ROW}")
        elif self._wanted != set(names) and (told := self._told(names, {})):
            notes.say_all(told)

    def compare(
        self,
        rows: Sequence[Mapping[str, object]],
        layouts: Iterable[tuple[str, ...]],
        notes: Notes,
    ) -> None:
        """Say of each row which columns it lacks, and which it should not have."""
        guessed: dict[str, str] = {}
        told = {layout: self._told(layout, guessed) for layout in layouts}
        if not any(told.values()):
            return
        nothing = {layout for layout in told if self._wanted.isdisjoint(layout)}
        for place, layout in enumerate(map(tuple, rows)):
            if layout in nothing:
                notes.errors[place] = f"{_STRANGE}; expected {ROW}"
            elif told[layout]:
                notes.say(place, *told[layout])

    def _told(self, names: Sequence[str], guessed: dict[str, str]) -> tuple[str, ...]:
        """Put into words what is amiss about the columns of a row."""
        has = set(names)
        missing = [name for name in self._names if name not in has]
        unknown = [name for name in names if name not in self._passed]
        said = []
        for name in unknown[:MOST_NAMED]:
            if name not in guessed:
                tries = missing if len(guessed) < MOST_GUESSED else []
                close = get_close_matches(name[:100], tries, n=1, cutoff=0.6)
                mend = f"; did you mean {close[0]!r}?" if close else ""
                guessed[name] = f"column {quoted(name)} is not known to the model{mend}"
            said.append(guessed[name])
        if len(unknown) > MOST_NAMED:
            said.append(f"{len(unknown) - MOST_NAMED} more columns are not known to the model")
        said += [f"column {name!r} is missing" for name in missing[:MOST_NAMED]]
        if len(missing) > MOST_NAMED:
            said.append(f"{len(missing) - MOST_NAMED} more columns are missing")
        return tuple(said)

    def look(self, feed: Feed, notes: Notes, cell: Any) -> None:
        """Say which cells could not be read, and which values were never seen."""
        for name in self._names if feed.unreadable else ():
            mask = feed.unreadable.get(name)
            for place in () if mask is None else np.flatnonzero(mask).tolist():
                notes.say(
                    place,
                    f"column {name!r}: {quoted(cell(name, place))} cannot be read; "
                    "taken as missing",
                )
        raw = feed.inputs.get("category")
        if raw is not None:
            columns = raw.T.tolist()
            for name, column, levels in self._levels:
                texts = columns[column]
                if levels.issuperset(texts):
                    continue
                for place, text in enumerate(texts):
                    if text not in levels:
                        notes.unseen[name] += 1
                        notes.say(
                            place,
                            f"column {name!r}: {quoted(cell(name, place))} was never, or hardly "
                            "ever, seen in training",
                        )

    @staticmethod
    def set_aside(feed: Feed, notes: Notes) -> None:
        """Say why rows have no answer though they could be read."""
        if not feed.dropped.any():
            return
        for why, mask in feed.refused.items():
            name, _, reason = why.rpartition(": ")
            for place in np.flatnonzero(mask).tolist():
                notes.errors.setdefault(place, f"column {name!r}: {reason}")
        for place in np.flatnonzero(feed.dropped).tolist():
            notes.errors.setdefault(place, CLEANED)


def quoted(cell: object) -> str:
    """Quote a cell, but no more of it than one can look at."""
    if isinstance(cell, str | bytes):
        short = cell[: MOST_QUOTED - 2]
        quoted = repr(short)[:MOST_QUOTED]
        return quoted if len(short) == len(cell) else quoted[: MOST_QUOTED - 1] + "…"
    if isinstance(cell, int) and cell.bit_length() > 128:
        return "a whole number beyond 128 bits"
    told = repr(cell)
    return told if len(told) <= MOST_QUOTED else told[: MOST_QUOTED - 1] + "…"


def shown(cell: pa.Scalar) -> object:
    """Give an Arrow cell as it is quoted: of what Python may not hold, such as times, the text."""
    if isinstance(cell, pa.DictionaryScalar):
        cell = cell.value
    kind = cell.type
    types = pa.types
    if not cell.is_valid:
        return None
    if is_list(kind):
        return [shown(item) for item in cell.values[:MOST_QUOTED]]
    if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return cell.as_py()
    if sort_of(kind) == "text" or is_bytes(kind):
        return cell.as_py()
    try:
        # Of a zone that nobody knows the instant is told.
        zoned = types.is_timestamp(kind) and kind.tz is not None
        instant = cell.cast(pa.timestamp(kind.unit)) if zoned else cell
        return str(instant.cast(pa.string()).as_py()) + "Z" * zoned
    except (pa.ArrowException, ValueError):
        return "what has no text"
