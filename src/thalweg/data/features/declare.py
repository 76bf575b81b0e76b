"""What features are wanted, as a person writes them: ``spend = sum(amount) by card over 1h``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self, final

import pyarrow as pa

from thalweg.core.durations import read_duration, write_duration
from thalweg.core.errors import ArtifactError, ColumnError, OptionError, near
from thalweg.stats.arrays import sort_of
from thalweg.stats.parsing import FORMATS

FUNCTIONS: Final = ("count", "sum", "mean", "max", "min", "distinct", "last", "since")
BARE: Final = frozenset(("count", "since"))
"""Functions of the rows themselves, not of a column."""

ENDLESS: Final = frozenset(("last", "since"))
"""Functions that need no window: they remember one moment of each key."""

FORMAT: Final = 1

_IN_QUOTES: Final = r"\"[^\"]*\"|'[^']*'|`[^`]*`"
_SHAPE: Final = re.compile(
    rf"\s*(?P<name>[^=]+?)\s*=\s*(?P<function>\w+)"
    rf"\s*\(\s*(?P<column>{_IN_QUOTES}|(?![\"'`]).*?)\s*\)"
    rf"(?:\s+by\s+(?P<by>(?:{_IN_QUOTES}|[^\"'`])+?))?(?:\s+over\s+(?P<over>[^\"'`()]+?))?\s*",
    re.DOTALL,
)
_KEY: Final = re.compile(r"\s*(?:\"([^\"]*)\"|'([^']*)'|`([^`]*)`|([^,\"'`][^,]*?))\s*(?:,|$)")
_QUOTED: Final = re.compile(r"([\"'`])(.*)\1", re.DOTALL)
_EXAMPLE: Final = 'Write --feature "spend_1h = sum(amount) by card over 1h".'


@final
@dataclass(frozen=True, slots=True)
class Feature:
    """One windowed feature.

    Parameters
    ----------
    name
        The name of the column that it becomes.
    function
        One of `FUNCTIONS`.
    column
        What it is of; None for ``count`` and ``since``.
    by
        The columns whose equal cells make a key; none for all rows.
    over
        How long the window is, in microseconds: it ends just before the row's own time. None for
        ever, which only ``last`` and ``since`` can be.
    text
        Of ``last``: whether it is kept as text, because the column holds no numbers.
    """

    name: str
    function: str
    column: str | None = None
    by: tuple[str, ...] = ()
    over: int | None = None
    text: bool = False

    def __str__(self) -> str:
        """Write it as `parse` reads it."""
        column = "" if self.column is None else _written(self.column)
        by = f" by {', '.join(map(_written, self.by))}" if self.by else ""
        over = "" if self.over is None else f" over {write_duration(self.over)}"
        return f"{self.name} = {self.function}({column}){by}{over}"

    @property
    def type(self) -> pa.DataType:
        """The Arrow type of its column."""
        if self.function in ("count", "distinct"):
            return pa.int64()
        return pa.large_string() if self.text else pa.float64()

    @property
    def inputs(self) -> list[str]:
        """The columns that it is made of, without the time."""
        return [*self.by, *([] if self.column is None else [self.column])]


def parse(text: str) -> Feature:
    """Read a feature: ``name = function(column) by key, key over 1h``.

    Names with commas or odd signs stand in quotes. A window is a whole number of ``ms``, ``s``,
    ``m``, ``h``, ``d`` or ``w``.

    Raises
    ------
    OptionError
        Saying what of it cannot be.

    Examples
    --------
    >>> parse("spend_1h = sum(amount) by card over 60m")
    Feature(name='spend_1h', function='sum', column='amount', by=('card',), over=3600000000, ...)
    >>> str(parse("quiet=since() by card,shop"))
    'quiet = since() by card, shop'
    """
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise OptionError(
            f"the feature {text!r}", "NAME = FUNCTION(COLUMN) by KEY over 1h", _EXAMPLE
        )
    name, function = found["name"], found["function"].lower()
    if function not in FUNCTIONS:
        raise OptionError(
            f"the feature {name!r} is a {found['function']!r}",
            "one of " + ", ".join(FUNCTIONS),
            near(function, FUNCTIONS),
        )
    column = _unquoted(found["column"]) or None
    if function in BARE and column is not None:
        raise OptionError(
            f"the feature {name!r} is a {function} of {column!r}",
            f"{function}() of no column, as it looks at rows alone",
            f"Write {function}(), or distinct({column}) for different values.",
        )
    if function not in BARE and column is None:
        raise OptionError(
            f"the feature {name!r} is {function}()", f"a column: {function}(COLUMN)", _EXAMPLE
        )
    over = (
        None
        if found["over"] is None
        else read_duration(found["over"], f"the window of the feature {name!r}")
    )
    if over is None and function not in ENDLESS:
        raise OptionError(
            f"the feature {name!r} has no window", f"one, as in {function}(...) over 1h", _EXAMPLE
        )
    by = () if found["by"] is None else _keys(name, found["by"])
    return Feature(name, function, column, by, over)


@final
@dataclass(frozen=True, slots=True)
class Features:
    """All windowed features of a model.

    Parameters
    ----------
    features
        The features; their columns stand in this order.
    time
        The column that says when a row was.
    formats
        How dates in text are read: see `thalweg.stats.parsing.read_times`.
    """

    features: tuple[Feature, ...]
    time: str
    formats: tuple[str, ...] = FORMATS

    @classmethod
    def parse(cls, texts: Iterable[str], time: str | None) -> Self:
        """Read features and check them with each other.

        Raises
        ------
        OptionError
            Where one cannot be, two have one name, or no column says the time.

        Examples
        --------
        >>> Features.parse(["n = count() by card over 1d"], "at").inputs
        ['at', 'card']
        """
        features = tuple(parse(text) for text in texts)
        if time is None:
            raise OptionError(
                "windowed features without a time",
                "the column that says when a row was",
                "Add --time COLUMN.",
            )
        names = [feature.name for feature in features]
        for name in names:
            if names.count(name) > 1:
                raise OptionError(
                    f"two features are named {name!r}", "a name for each", "Rename one of them."
                )
        return cls(features, time)

    @property
    def names(self) -> list[str]:
        """The names of the columns that the features become."""
        return [feature.name for feature in self.features]

    @property
    def inputs(self) -> list[str]:
        """The columns that the features are made of, the time first."""
        return list(dict.fromkeys([self.time, *(n for f in self.features for n in f.inputs)]))

    @property
    def schema(self) -> pa.Schema:
        """The columns that the features become."""
        return pa.schema([pa.field(one.name, one.type) for one in self.features])

    def of(self, schema: pa.Schema) -> Features:
        """Check the features against a table, and settle what is kept as text.

        Raises
        ------
        ColumnError
            Where a column is missing, or never holds what its function needs.
        OptionError
            Where a feature is named like a column.
        """
        self.require(schema.names)
        settled = []
        for feature in self.features:
            if feature.column is None:
                settled.append(feature)
                continue
            kind = schema.field(feature.column).type
            sort = sort_of(kind)
            if feature.function in ("sum", "mean", "max", "min") and sort not in _COUNTED:
                raise ColumnError(
                    f"column {feature.column!r} of the feature {feature.name!r} holds {kind}",
                    f"numbers, for {feature.function}()",
                    "Use distinct() or last(), or another column.",
                )
            settled.append(replace(feature, text=feature.function == "last" and sort != "number"))
        return replace(self, features=tuple(settled))

    def require(self, names: Sequence[str]) -> None:
        """Check that a table has the columns that features need, and none of their names.

        Raises
        ------
        ColumnError, OptionError
            Saying which one, and for which feature.
        """
        for feature in self.features:
            if feature.name in names:
                raise OptionError(
                    f"the feature {feature.name!r} has the name of a column",
                    "a name of its own",
                    "Rename the feature.",
                )
        if self.time not in names:
            raise ColumnError(
                f"column {self.time!r}, the time of the windowed features, is not found",
                "a column that the table has",
                near(self.time, names),
            )
        for feature in self.features:
            for name in feature.inputs:
                if name not in names:
                    raise ColumnError(
                        f"column {name!r} of the feature {feature.name!r} is not found",
                        "a column that the table has",
                        near(name, names),
                    )

    def only(self, names: Iterable[str]) -> Features | None:
        """Keep the features of some names; None for none."""
        wanted = set(names)
        kept = tuple(feature for feature in self.features if feature.name in wanted)
        return replace(self, features=kept) if kept else None

    def to_json(self) -> dict[str, Any]:
        """Give plain data."""
        return {
            "format": FORMAT,
            "time": self.time,
            "formats": list(self.formats),
            "features": [
                {
                    "name": one.name,
                    "function": one.function,
                    "column": one.column,
                    "by": list(one.by),
                    "over": None if one.over is None else write_duration(one.over),
                    "text": one.text,
                }
                for one in self.features
            ],
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Self:
        """Read plain data back.

        Raises
        ------
        ArtifactError
            Where the format or a function is another version's.
        """
        unknown = [one["function"] for one in given["features"] if one["function"] not in FUNCTIONS]
        if given.get("format") != FORMAT or unknown:
            raise ArtifactError(
                f"the features' format is {given.get('format')!r}"
                + "".join(f" with {name}()" for name in unknown),
                f"format {FORMAT}",
                "Use the version of Thalweg that saved it.",
            )
        features = tuple(
            Feature(
                one["name"],
                one["function"],
                one["column"],
                tuple(one["by"]),
                None if one["over"] is None else read_duration(one["over"]),
                one["text"],
            )
            for one in given["features"]
        )
        return cls(features, given["time"], tuple(given["formats"]))


_COUNTED: Final = ("number", "text", "null")


def _keys(name: str, text: str) -> tuple[str, ...]:
    """Take a list of names apart."""
    found = [next(filter(None, match.groups()), "") for match in _KEY.finditer(text)]
    whole = sum(match.end() - match.start() for match in _KEY.finditer(text))
    if whole < len(text) or not all(found) or len(set(found)) < len(found) or text.endswith(","):
        raise OptionError(
            f"the keys of the feature {name!r} are {text!r}",
            "different names with commas between them",
            _EXAMPLE,
        )
    return tuple(found)


def _unquoted(text: str) -> str:
    """Take quotes off a name."""
    found = _QUOTED.fullmatch(text)
    return found[2] if found else text


def _written(name: str) -> str:
    """Write a name, in quotes where it could be misread."""
    if re.fullmatch(r"[\w.$ -]*[\w.$-]", name) and not re.search(r"\b(by|over)\b", name):
        return name
    quote = next((sign for sign in "\"'`" if sign not in name), '"')
    return f"{quote}{name}{quote}"
