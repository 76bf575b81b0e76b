"""Partitioned folders: what ``year=2024/month=03`` in a path says of the rows in its files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final
from urllib.parse import unquote

import pyarrow as pa

from thalweg.core.errors import SourceError
from thalweg.sources.places import Place

CODED: Final = pa.dictionary(pa.int32(), pa.string())
"""The type of texts of which there are few: each distinct one is held, and looked at, once."""

_NULLS: Final = ("__HIVE_DEFAULT_PARTITION__", "")
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")


def keys_of(folders: Sequence[str]) -> tuple[tuple[str, str | None], ...]:
    """Read the columns that folders speak of; the last one wins where a name comes twice.

    Examples
    --------
    >>> keys_of(["data", "year=2024", "city=S%C3%A3o"])
    (('year', '2024'), ('city', 'São'))
    """
    found: dict[str, str | None] = {}
    for folder in folders:
        name, sign, value = folder.partition("=")
        if sign and name:
            found[unquote(name)] = None if value in _NULLS else unquote(value)
    return tuple(found.items())


@final
@dataclass(frozen=True, slots=True)
class Partitions:
    """The columns that the folders of a source's files speak of.

    Parameters
    ----------
    schema
        Their types: int64 where every value of every file is a whole number, else text.
    """

    schema: pa.Schema

    @classmethod
    def of(cls, places: Sequence[Place]) -> Partitions:
        """Read them from the paths.

        Raises
        ------
        SourceError
            Where two files are not partitioned by the same columns.
        """
        first = places[0]
        names = [name for name, _ in first.keys]
        whole = dict.fromkeys(names, True)
        for place in places:
            found = dict(place.keys)
            if found.keys() != whole.keys():
                raise SourceError(
                    f"the folders of {place} speak of {', '.join(found) or 'no column'}",
                    f"{', '.join(names) or 'none'}, as those of {first}",
                    "Read folders that are partitioned in other ways apart.",
                )
            for name, value in found.items():
                if value is not None and not _WHOLE.fullmatch(value):
                    whole[name] = False
        kinds = ((name, pa.int64() if whole[name] else CODED) for name in names)
        return cls(pa.schema(list(kinds)))

    def column(self, place: Place, name: str, rows: int) -> pa.Array:
        """Give one column of some rows of a file: the same value in each."""
        kind, value = self.schema.field(name).type, dict(place.keys)[name]
        if value is None:
            return pa.nulls(rows, kind)
        if kind.equals(CODED):
            zeros = pa.repeat(pa.scalar(0, pa.int32()), rows)
            return pa.DictionaryArray.from_arrays(zeros, pa.array([value], pa.string()))
        return pa.repeat(pa.scalar(int(value), kind), rows)
