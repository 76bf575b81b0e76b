"""Guess what each column is, as a person would, and say why. Every guess can be overridden."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, final

from pydantic import ValidationError

from thalweg.core.errors import ColumnError, OptionError, TargetError, near
from thalweg.data.attach import attached
from thalweg.data.schema import Column, Ignored, Schema, require
from thalweg.kinds import KINDS
from thalweg.kinds.base import Kind, Options, Role
from thalweg.kinds.cells import common
from thalweg.stats import ColumnSummary, TableSummary

IGNORE: Final = "ignore"
# "customer_id" and "customerId", but not "paid" or "humid".
_IDENTIFIER: Final = re.compile(
    r"(?i:(^|[_\s.-])(id|uuid|guid|key|nr|no|nbr|number)$)|(?<=[a-z])(ID|Id)$"
)
_MOST_CLASSES_OF_NUMBERS: Final = 10


@final
@dataclass(frozen=True, slots=True)
class Given:
    """What the user said of one column: ``age=number,missing=mean``.

    Parameters
    ----------
    kind
        The kind's name, or ``ignore``.
    options
        The kind's options, checked.
    """

    kind: str
    options: Options = field(default_factory=Options)

    @classmethod
    def parse(cls, name: str, text: str) -> Given:
        """Read ``KIND[,OPTION=VALUE...]``.

        Raises
        ------
        OptionError
            Where the kind or an option does not exist, with near names.

        Examples
        --------
        >>> Given.parse("age", "number,missing=mean").kind
        'number'
        """
        kind, *pairs = [part.strip() for part in text.split(",")]
        if kind == IGNORE and not pairs:
            return cls(IGNORE)
        if kind not in KINDS:
            raise OptionError(
                f"column {name!r} is said to be {text!r}",
                "a kind of column or 'ignore'",
                near(kind, [*KINDS, IGNORE]),
            )
        options: dict[str, Any] = {}
        for pair in pairs:
            option, equals, value = pair.partition("=")
            fields = KINDS[kind].options_type.model_fields
            if not equals or option not in fields:
                raise OptionError(
                    f"column {name!r} has the option {pair!r}",
                    f"OPTION=VALUE of kind {kind}",
                    near(option, fields),
                )
            options[option] = value
        try:
            return cls(kind, KINDS[kind].options_type.model_validate(options))
        except ValidationError as error:
            first = error.errors()[0]
            raise OptionError(
                f"column {name!r} has {first['loc'][0]}={first['input']!r}",
                first["msg"].removeprefix("Input should be "),
            ) from None


def fit_schema(
    summary: TableSummary,
    target: str | None = None,
    given: Mapping[str, str] | None = None,
    drop: Collection[str] = (),
    ignored: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Schema:
    """Fit a schema: a pure function of the table's summaries.

    Parameters
    ----------
    summary
        The statistics of every column over the training rows.
    target
        The column to predict.
    given
        Column name -> ``KIND[,OPTION=VALUE...]``: what the user said.
    drop
        Columns that the user does not want.
    ignored
        Further columns not to read, each with the reason (the column of a group split).
    folder
        Where files that cells name are read from.

    Returns
    -------
    Schema
        The fitted columns, each with the reason for its kind.

    Raises
    ------
    ColumnError
        Where a named column is not there, or nothing is left to learn from.
    TargetError
        Where the target cannot be learned.
    OptionError
        Where a kind or option does not exist.
    """
    given, reasons = dict(given or {}), dict(ignored or {})
    names = list(summary.columns)
    require([*given, *drop, *([target] if target else [])], names)
    said = {name: Given.parse(name, text) for name, text in given.items()}
    if target is not None:
        check_target(target, said, drop)
    reasons |= dict.fromkeys(drop, "dropped as asked")
    reasons |= {name: "ignored as asked" for name, one in said.items() if one.kind == IGNORE}
    fitted: list[Column] = []
    left: list[Ignored] = []
    for name, column in summary.columns.items():
        if name == target:
            continue
        reason = reasons.get(name) or ("" if name in said else unusable(name, column))
        if reason:
            left.append(Ignored(name, reason))
        else:
            fitted.append(fit_column(name, column, said.get(name), "feature", folder))
    goal = None
    if target is not None:
        goal = fit_column(target, summary.columns[target], said.get(target), "target")
        if not fitted:
            raise ColumnError(
                f"no column is left to predict {target!r} from",
                "at least one usable column besides the target",
                "Left out: " + "; ".join(f"{one.name} ({one.because})" for one in left[:8]) + ".",
            )
    return Schema(tuple(fitted), goal, tuple(left))


def interpolated(given: Mapping[str, str]) -> dict[str, str]:
    """List the columns whose gaps are to be filled, each with the column to go along.

    Examples
    --------
    >>> interpolated({"heat": "number,missing=interpolate,along=hour", "town": "category"})
    {'heat': 'hour'}
    """
    found = {}
    for name, text in given.items():
        options = Given.parse(name, text).options
        along = getattr(options, "along", None)
        if along is not None and getattr(options, "missing", None) == "interpolate":
            found[name] = along
    return found


def unusable(name: str, column: ColumnSummary) -> str:
    """Say why a column holds nothing to learn from, or give an empty text."""
    present = column.rows - column.nulls - column.missing_texts
    if present <= 0:
        return "every value is missing"
    distinct = column.distinct()
    if distinct < 1.5 and present == column.rows:
        value = next((repr(text) for text, _ in column.top(1)), "the same")
        return f"constant: every value is {value}"
    kind = _best(column)
    if kind is not None and kind.holds:
        return f"{_because(kind.name, column)}: {_lacking(kind)}" if _lacking(kind) else ""
    if present < 20:
        return ""
    alone = distinct >= 0.97 * present  # sketches err by about 2%
    text = column.texts > 0.5 * present and column.numbers.count < 0.5 * present
    if text and alone and column.times.count < 0.5 * present:
        return f"an identifier: {distinct:,.0f} different values in {present:,} rows"
    whole = column.numbers.whole == column.numbers.count >= 0.97 * present
    if alone and whole:
        span = column.numbers.maximum - column.numbers.minimum + 1
        # Of a table's row numbers the training part has some, of as wide a span as all of them.
        if span <= 1.6 * present:
            return "a row number: whole numbers that count the rows"
        if _IDENTIFIER.search(name):
            return f"an identifier by its name: {distinct:,.0f} different whole numbers"
    return ""


def _best(column: ColumnSummary) -> Kind[Any, Any] | None:
    """Find the kind that a column fits best; None where it fits none."""
    scores = {kind.sniff(column): kind for kind in reversed(list(KINDS.values()))}
    best = max(scores)
    return scores[best] if best > 0 else None


def _lacking(kind: Kind[Any, Any]) -> str:
    """Say what must be installed for a kind, or give an empty text."""
    if all(find_spec(package) for package in kind.packages):
        return ""
    return f"pip install 'thalweg[{kind.name}]' to read it"


def check_target(target: str, said: Mapping[str, Given], drop: Collection[str]) -> None:
    """Refuse a target that is to be left out, or that gaps are to be filled along or in.

    Raises
    ------
    OptionError
        Saying what cannot be.
    """
    for name, one in said.items():
        along = getattr(one.options, "along", None)
        if along is not None and target in (name, along):
            raise OptionError(
                f"gaps of {name!r} are to be filled along {along!r}, and the target is {target!r}",
                "two columns that are known before the target is",
                "Fill it otherwise, such as missing=median.",
            )
    kind = said[target].kind if target in said else ""
    if target in drop or kind == IGNORE:
        raise OptionError(
            f"the target {target!r} is to be left out",
            "a target that is used",
            "Choose another --target, or leave out --drop and =ignore for this one.",
        )


def fit_column(
    name: str, column: ColumnSummary, said: Given | None, role: Role, folder: Path | None = None
) -> Column:
    """Choose a column's kind, unless it was given, and fit it.

    ``folder`` is where files that cells name are read from.

    Raises
    ------
    ColumnError, TargetError
        Where no kind fits or nothing can be learned.
    """
    if said is not None:
        kind, because = KINDS[said.kind], "given"
        options = said.options
    else:
        kind, because = _guess_target(name, column) if role == "target" else _guess(name, column)
        options = kind.options_type()
    if _lacking(kind):
        raise OptionError(
            f"{role} {name!r} is of kind {kind.name}, which needs {' and '.join(kind.packages)}",
            "packages that are installed",
            f"Install them: {_lacking(kind).removesuffix(' to read it')}.",
        )
    if kind.attaches:
        column = attached(name, column, folder)
    try:
        state = kind.fit(column, options, role)
    except (ColumnError, OptionError, TargetError) as error:
        raise type(error)(f"{role} {name!r}: {error.given}", error.expected, error.mend) from None
    if role == "target" and kind.task(state) is None:
        raise TargetError(
            f"target {name!r} is of kind {kind.name}",
            "a number, category, boolean or set of labels",
            f"Say --column {name}=number, category or set if it is one.",
        )
    return Column(name, kind.name, state, because)


def _guess(name: str, column: ColumnSummary) -> tuple[Kind[Any, Any], str]:
    """Take the kind with the highest score."""
    best = _best(column)
    if best is None:
        raise ColumnError(
            f"column {name!r} of type {column.type} fits no kind",
            "one of " + ", ".join(KINDS),
            f"Say --column {name}=KIND, or leave it out with --drop {name}.",
        )
    return best, _because(best.name, column)


def _guess_target(name: str, column: ColumnSummary) -> tuple[Kind[Any, Any], str]:
    """Guess a target's kind: few whole numbers are classes, many numbers are a quantity."""
    present = column.rows - column.nulls - column.missing_texts
    if present <= 0:
        raise TargetError(
            f"target {name!r} has no value in {column.rows:,} training rows",
            "a column with values to learn from",
            "Choose another --target.",
        )
    levels = common(column, _MOST_CLASSES_OF_NUMBERS + 1)
    few = 0 < len(levels) <= _MOST_CLASSES_OF_NUMBERS and column.counts_exact
    distinct = float(len(levels)) if few else column.distinct()
    if distinct < 1.5:
        raise TargetError(
            f"target {name!r} is always {levels[0][0] if levels else 'the same'!r}",
            "at least two different values",
            "Nothing can be learned from one class only: bring rows of the others.",
        )
    kind, because = _guess(name, column)
    if kind.name == "boolean" and not column.booleans:
        kind = KINDS["category"]  # so that predictions are in the user's own words
    numbers = column.numbers
    if kind.name == "number" and numbers.whole == numbers.count:
        span = numbers.maximum - numbers.minimum + 1
        if distinct <= _MOST_CLASSES_OF_NUMBERS and (distinct < 2.5 or span <= distinct + 0.5):
            return KINDS["category"], f"{distinct:.0f} different whole numbers in a row"
    if kind.name == "category" and distinct > 0.5 * present and distinct > 50:
        raise TargetError(
            f"target {name!r} has {distinct:,.0f} different texts in {present:,} rows",
            "numbers, or classes that repeat",
            "Choose another --target.",
        )
    return kind, because


def _because(kind: str, column: ColumnSummary) -> str:
    """Put the evidence for a guess into words."""
    present = max(1, column.rows - column.nulls - column.missing_texts)
    distinct = column.distinct()
    few = f"{distinct:,.0f} different values"
    match kind:
        case "number" if column.texts:
            return f"text of which {column.numbers.count / present:.1%} reads as numbers"
        case "number":
            return f"numbers, {few}"
        case "boolean":
            values = " and ".join(repr(text) for text, _ in column.top(2))
            return f"two values, {values}" if column.booleans == 0 else "true or false"
        case "datetime":
            return f"{column.times.count / present:.1%} reads as dates"
        case "text":
            return f"free text: {column.words.mean:.0f} words on average, {few}"
        case "image" | "audio":
            what = {"image": "pictures", "audio": "sounds"}[kind]
            return f"names of files of {what}" if column.texts else f"files of {what}"
        case "vector":
            return f"lists of {column.sizes.maximum:.0f} numbers"
        case "set":
            return f"sets of labels, {few}"
        case _:
            return few
