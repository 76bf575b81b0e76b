"""Payloads as rows: whatever bytes came, each payload becomes rows of a fixed layout or a refusal.

A batch is parsed at once. Where that fails it is parsed a thousand lines at a time, and only where
that fails too is a line looked at by itself: one poisoned payload costs a thousand lines' work and
stops nothing.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.serving.stream.layout import ARROW, ColumnType, fitted
from thalweg.sources.sinks import decoded
from thalweg.sources.streams.base import Format

FEW: Final = 32
"""So many payloads are read one by one: to set up more for them would take longer."""

_LAST: Final = "\0"  # no column's name
_END: Final = b"\xff\xff\xff\xff\0\0\0\0"
"""How an Arrow stream ends; without it the rows of one that was cut off would be some of them."""

_PLAIN: Final[Mapping[ColumnType, frozenset[type]]] = {
    "number": frozenset((int, float, type(None))),
    "real": frozenset((int, float, type(None))),
    "whole": frozenset((int, type(None))),
    "text": frozenset((str, type(None))),
}
"""What Python reads that is of a type as it stands."""
_ODD: Final = (
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    pa.ArrowException,
)

CHUNK: Final = 1024
"""So many lines are parsed together where all of them cannot be."""

_TYPES: Final = {"number": pl.Float64, "real": pl.Float64, "whole": pl.Int64, "text": pl.String}
_HALF: Final = r"\\u[dD][89a-fA-F]"
"""Half a character, which the quick parser takes for a NUL."""
_PAIR: Final = r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"


@final
@dataclass(frozen=True, slots=True)
class Decoded:
    """What payloads hold.

    Parameters
    ----------
    rows
        The rows [M] of all payloads that could be read, in order; always the same columns.
    places
        int64 [M]: which payload each row came in.
    refused
        Which payloads could not be read, ascending -> why.
    unreadable
        Column -> cells that were there but could not be read, taken as missing.
    """

    rows: pa.RecordBatch
    places: NDArray[np.int64]
    refused: Mapping[int, str]
    unreadable: Mapping[str, int] = field(default_factory=dict)


@final
class Decoder:
    """Reads payloads into rows of a fixed layout.

    Parameters
    ----------
    types
        Column -> what its cells are. Other columns are passed over; what a payload lacks is null.
    form
        How payloads are written.
    header, separator
        The columns of a line of CSV, in order, and what parts its cells.

    Examples
    --------
    >>> decoder = Decoder({"card": "text", "amount": "number"}, "json")
    >>> found = decoder.decode(pa.array([b'{"card": "a", "amount": 2}', b"{", b'{"amount": "3"}']))
    >>> found.rows.to_pylist()
    [{'card': 'a', 'amount': 2.0}, {'card': None, 'amount': 3.0}]
    >>> dict(found.refused)
    {1: 'no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)'}
    """

    def __init__(
        self,
        types: Mapping[str, ColumnType],
        form: Format,
        header: Sequence[str] | None = None,
        separator: str = ",",
    ) -> None:
        self.types = dict(types)
        self._form = form
        self._header = list(header or ())
        self._separator = separator
        self._schema = pa.schema([(name, ARROW[kind]) for name, kind in types.items()])
        self._quick = {name: _TYPES[kind] for name, kind in self.types.items()}

    @property
    def many(self) -> bool:
        """Whether a payload may hold several rows."""
        return self._form == "arrow"

    @property
    def schema(self) -> pa.Schema:
        """The columns of the rows."""
        return self._schema

    def decode(self, payloads: pa.Array) -> Decoded:
        """Read payloads [N], binary of any width."""
        if self._form == "arrow":
            return self._batches(payloads)
        if self._form == "json" and len(payloads) <= FEW:
            rows = self._few(payloads)
            if rows is not None:
                return Decoded(rows, np.arange(len(payloads)), {})
        refused: dict[int, str] = {}
        places = np.arange(len(payloads))
        try:
            texts = pl.Series("line", payloads, dtype=pl.Binary).cast(pl.String)
        except pl.exceptions.PolarsError:  # it does not say which
            known = [_text(one) for one in payloads.to_pylist()]
            gone = np.array([one is None for one in known], dtype=bool)
            refused.update(dict.fromkeys(np.flatnonzero(gone).tolist(), "no text: not UTF-8"))
            texts, places = pl.Series("line", known, dtype=pl.String).drop_nulls(), places[~gone]
        breaks = texts.str.contains(r"[\r\n]")
        if breaks.any():  # Within JSON they are blanks; a line of CSV ends at the first.
            texts = texts.str.replace_all(r"[\r\n]+", " ")
        if self._form == "json":
            texts, places = _whole_characters(texts, places, refused)
        frame = self._parse(texts, quick=True)
        if frame is not None:
            return self._joined([self._fit(frame, places)], refused)
        pieces = []
        for start in range(0, len(texts), CHUNK):
            part, where = texts[start : start + CHUNK], places[start : start + CHUNK]
            pieces.append(self._chunk(part, where, refused))
        return self._joined(pieces, refused)

    def _few(self, payloads: pa.Array) -> pa.RecordBatch | None:
        """Read a few objects one by one; nothing where one of them is not as it should be."""
        try:
            found = [_OBJECTS.decode(one.decode()) for one in payloads.to_pylist()]
            plain = all(
                {type(row.get(name)) for row in found} <= _PLAIN[kind]
                for name, kind in self.types.items()
            )
            if plain:
                arrays = pa.array(found, pa.struct(list(self._schema))).flatten()
            else:
                arrays = [
                    pa.array([_cell(row.get(name), kind) for row in found], ARROW[kind])
                    for name, kind in self.types.items()
                ]
        except _ODD:
            return None
        return pa.RecordBatch.from_arrays(arrays, schema=self._schema)

    def _chunk(
        self, texts: pl.Series, places: NDArray[np.int64], refused: dict[int, str]
    ) -> Decoded:
        """Read some lines: at once, with all cells as text, and else without those that fail."""
        frame = self._parse(texts, quick=True)
        frame = self._parse(texts, quick=False) if frame is None else frame
        if frame is None:
            why = [self._fault(text) for text in texts.to_list()]
            bad = np.array([one is not None for one in why], dtype=bool)
            refused.update(
                (place, one) for place, one in zip(places.tolist(), why, strict=True) if one
            )
            texts, places = texts.filter(pl.Series(~bad)), places[~bad]
            frame = self._parse(texts, quick=False)
        if frame is None:
            return self._halved(texts, places, refused)
        return self._fit(frame, places)

    def _halved(
        self, texts: pl.Series, places: NDArray[np.int64], refused: dict[int, str]
    ) -> Decoded:
        """Read lines of which some cannot be held, though they are JSON: find these by halves."""
        frame = self._parse(texts, quick=False)
        if frame is not None:
            return self._fit(frame, places)
        if len(texts) == 1:
            refused[int(places[0])] = "no JSON that can be held: too large or too deep"
            return self._joined([], {})
        half = len(texts) // 2
        parts = [
            self._halved(texts[:half], places[:half], refused),
            self._halved(texts[half:], places[half:], refused),
        ]
        return self._joined(parts, {})

    def _parse(self, texts: pl.Series, *, quick: bool) -> pl.DataFrame | None:
        """Parse lines, one row each; nothing where that cannot be."""
        types = self._quick if quick else dict.fromkeys(self.types, pl.String)
        if not len(texts):
            return self._empty()
        try:
            if self._form == "json":
                frame = pl.read_ndjson(pa.BufferReader(_lines(texts)), schema=types)
            else:
                found = self._cells(texts)
                if found is None:
                    return None
                frame = found
        except (pl.exceptions.PolarsError, OSError, ValueError):
            return None
        return frame if frame.height == len(texts) else None

    def _cells(self, texts: pl.Series) -> pl.DataFrame | None:
        """Parse lines of CSV; nothing where one has too few cells."""
        if (texts.str.strip_chars() == "").any():
            return None  # it would be a row of nulls, but for the first and the last line
        # What a line lacks would be null: so each is given a last cell, which must be in its place.
        frame = pl.read_csv(
            pa.BufferReader(_lines(texts + f"{self._separator}1")),
            has_header=False,
            separator=self._separator,
            schema=dict.fromkeys([*self._header, _LAST], pl.String),
        )
        if frame[_LAST].null_count():
            return None
        return frame.select(
            pl.col(name) if name in self._header else pl.lit(None, pl.String).alias(name)
            for name in self.types
        )

    def _empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=dict.fromkeys(self.types, pl.String))

    def _fault(self, text: str) -> str | None:
        """Say why a line is no row; None where it is one."""
        if not text.strip():
            return "empty"
        if self._form == "csv":
            try:
                cells = next(csv.reader([text], delimiter=self._separator, strict=True))
            except (csv.Error, StopIteration) as error:
                return f"no line of CSV: {error}"
            wanted = len(self._header)
            return None if len(cells) == wanted else f"{len(cells)} cells instead of {wanted}"
        try:
            found = json.loads(text, parse_constant=_refuse, parse_float=_finite)
        except (ValueError, RecursionError) as error:
            return f"no JSON: {error}"
        return None if isinstance(found, dict) else f"no JSON object but a {type(found).__name__}"

    def _batches(self, payloads: pa.Array) -> Decoded:
        """Read payloads that are Arrow IPC streams."""
        refused: dict[int, str] = {}
        pieces: list[Decoded] = []
        for place, payload in enumerate(payloads):
            try:
                with pa.ipc.open_stream(payload.as_buffer()) as stream:
                    table = stream.read_all()
                    table.validate(full=True)
                if payload.as_buffer()[-len(_END) :].to_pybytes() != _END:
                    refused[place] = "no Arrow stream: without its end, perhaps cut off"
                    continue
            except (pa.ArrowException, OSError, ValueError) as error:
                refused[place] = f"no Arrow stream: {str(error).splitlines()[0][:200]}"
                continue
            rows = table.combine_chunks().to_batches()
            if rows:
                batch = decoded(rows[0])
                pieces.append(self._fit_arrow(batch, np.full(batch.num_rows, place)))
        return self._joined(pieces, refused)

    def _fit(self, frame: pl.DataFrame, places: NDArray[np.int64]) -> Decoded:
        """Give columns the types of the layout."""
        if dict(frame.schema) == self._quick:
            columns = [frame[name].to_arrow() for name in self.types]
            arrays = [
                one if one.type == wanted.type else one.cast(wanted.type)
                for one, wanted in zip(columns, self._schema, strict=True)
            ]
            return Decoded(pa.RecordBatch.from_arrays(arrays, schema=self._schema), places, {})
        rows = pa.RecordBatch.from_arrays(
            [frame[name].to_arrow() for name in self.types], names=list(self.types)
        )
        return self._fit_arrow(rows, places)

    def _fit_arrow(self, rows: pa.RecordBatch, places: NDArray[np.int64]) -> Decoded:
        """Give columns of any types those of the layout; refuse cells that must fit and do not."""
        arrays: list[pa.Array] = []
        refused: dict[int, str] = {}
        unreadable: dict[str, int] = {}
        for wanted in self._schema:
            kind = self.types[wanted.name]
            if wanted.name not in rows.schema.names:
                arrays.append(pa.nulls(rows.num_rows, wanted.type))
                continue
            array = rows.column(wanted.name)
            found, odd = fitted(array, kind)
            arrays.append(found)
            if odd is None or not odd.any():
                continue
            if kind == "number":
                unreadable[wanted.name] = int(odd.sum())
                continue
            given = "a number" if kind == "real" else "a whole number"
            for row in np.flatnonzero(odd).tolist():
                cell = str(array[row].as_py())[:40]
                why = f"column {wanted.name!r} holds {cell!r}, which is not {given}"
                refused.setdefault(int(places[row]), why)
        made = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        if refused:
            kept = ~np.isin(places, np.fromiter(refused, np.int64))
            made, places = made.filter(pa.array(kept)), places[kept]
        return Decoded(made, places, refused, unreadable)

    def _joined(self, pieces: Sequence[Decoded], refused: Mapping[int, str]) -> Decoded:
        """Put pieces together."""
        every = dict(refused)
        unreadable: Counter[str] = Counter()
        for piece in pieces:
            every.update(piece.refused)
            unreadable.update(piece.unreadable)
        every = dict(sorted(every.items()))
        if len(pieces) == 1:
            return Decoded(pieces[0].rows, pieces[0].places, every, unreadable)
        table = pa.Table.from_batches([piece.rows for piece in pieces], self._schema)
        rows = table.combine_chunks().to_batches()
        places = [piece.places for piece in pieces]
        return Decoded(
            rows[0] if rows else pa.RecordBatch.from_pylist([], self._schema),
            np.concatenate(places) if places else np.zeros(0, np.int64),
            every,
            unreadable,
        )


def _whole_characters(
    texts: pl.Series, places: NDArray[np.int64], refused: dict[int, str]
) -> tuple[pl.Series, NDArray[np.int64]]:
    """Refuse JSON [N] that holds half a character, which no text can."""
    halves = texts.str.contains(_HALF)
    if not halves.any():
        return texts, places
    halves = texts.str.replace_all(_PAIR, "").str.contains(_HALF)
    stays = np.ones(len(texts), dtype=bool)
    for row in np.flatnonzero(halves.to_numpy()).tolist():
        try:
            json.dumps(json.loads(texts[row]), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            stays[row] = False
            refused[int(places[row])] = "no JSON that can be held: half a character"
        except (ValueError, RecursionError):
            continue  # it will be refused for that
    return texts.filter(pl.Series(stays)), places[stays]


def _text(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None


def _lines(texts: pl.Series) -> pa.Buffer:
    """Put lines [N] one behind the other, N above 0."""
    array = texts.to_arrow().cast(pa.large_string())
    listed = pa.LargeListArray.from_arrays(pa.array([0, len(array)], pa.int64()), array)
    return pc.binary_join(listed, pa.scalar("\n", pa.large_string()))[0].as_buffer()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object whose keys stand in it once."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError(pairs)
    return made


def _cell(value: Any, kind: ColumnType) -> Any:
    """Give a cell of a type as the parser would; what is not plainly so is left to it."""
    if kind == "text" and type(value) is int:
        return str(value)
    if type(value) not in _PLAIN[kind]:
        raise TypeError(value)
    return value


def _finite(text: str) -> float:
    """Read a number, which must not be beyond all numbers."""
    number = float(text)
    if math.isinf(number):
        message = f"{text[:40]} is too large"
        raise ValueError(message)
    return number


def _refuse(constant: str) -> float:
    """Refuse NaN and Infinity, which Python reads but JSON has not."""
    raise ValueError(f"{constant} is no JSON")


_OBJECTS: Final = json.JSONDecoder(
    object_pairs_hook=_once, parse_float=_finite, parse_constant=_refuse
)
