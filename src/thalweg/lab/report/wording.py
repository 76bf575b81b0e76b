"""How figures, metrics and names are put into words, for the page and for the card alike."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, final

from thalweg.lab.metrics import better
from thalweg.models.record import Figure, Rows

NOTHING: Final = "–"
"""Stands where a figure is not known."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@final
@dataclass(frozen=True, slots=True)
class Metric:
    """What a reader should know of a metric.

    Parameters
    ----------
    name
        As it is written in records: ``roc_auc``.
    label
        As people write it: ``ROC AUC``.
    lower_is_better
        Which way is better; None where that is not known.
    meaning
        One line for those who do not know it.
    """

    name: str
    label: str
    lower_is_better: bool | None = None
    meaning: str = ""

    @property
    def direction(self) -> str:
        """Which way is better, in words."""
        if self.lower_is_better is None:
            return ""
        return "lower is better" if self.lower_is_better else "higher is better"

    def better(self, value: float, other: float) -> bool:
        """Say whether one value beats another."""
        return value < other if self.lower_is_better else value > other


_KNOWN: Final = {
    "rmse": ("RMSE", "typical error in the target’s unit; large errors weigh more"),
    "mae": ("MAE", "mean absolute error in the target’s unit"),
    "r2": ("R²", "share of the variance that is explained"),
    "coverage": ("coverage", "share of the 90% intervals that hold the true value"),
    "log_loss": ("log loss", "how surprised the probabilities are by the truth"),
    "accuracy": ("accuracy", "share of rows that get the right class"),
    "precision": ("precision", "share of the rows called positive that are"),
    "recall": ("recall", "share of the positive rows that are found"),
    "f1": ("F1", "harmonic mean of precision and recall"),
    "micro_f1": ("micro-F1", "harmonic mean of precision and recall over all rows’ labels"),
    "macro_f1": ("macro-F1", "mean of the labels’ own F1: rare labels count as much as common"),
    "mean_average_precision": ("mean average precision", "how well each label ranks its rows"),
    "subset_accuracy": ("rows all right", "share of rows of which every label is right"),
    "hamming_loss": ("Hamming loss", "share of all rows’ labels that are wrong"),
    "roc_auc": ("ROC AUC", "chance that a positive row ranks above a negative one"),
    "average_precision": ("average precision", "precision averaged over all thresholds"),
    "flagged": ("share called odd", "share of all rows that are called anomalies"),
    "false_alarms": ("false alarms", "share of the ordinary rows that are called anomalies"),
    "surprise": ("surprise", "how unlikely rows are, in nats"),
    "calibration_error": (
        "calibration error",
        "mean gap between stated probability and observed share",
    ),
}

NEITHER: Final = frozenset(("coverage", "flagged", "false_alarms"))
"""Metrics that are best at the share that was wanted, neither high nor low."""

COVERAGE: Final = "coverage"
"""A metric that is best at 90%, neither high nor low; only models with intervals have it."""


def metric_named(name: str) -> Metric:
    """Find a metric; one that is not known gets its own name as label.

    Examples
    --------
    >>> metric_named("roc_auc").label, metric_named("pinball_loss").label
    ('ROC AUC', 'pinball loss')
    """
    if name not in _KNOWN:
        return Metric(name, cut(plain(name)))
    label, meaning = _KNOWN[name]
    lower = None if name in NEITHER else better(name) == "lower"
    return Metric(name, label, lower_is_better=lower, meaning=meaning)


def plain(name: str) -> str:
    """Write a record's name as words: ``learning_rate`` is "learning rate"."""
    return name.replace("_", " ")


def finite(value: float | None) -> bool:
    """Say whether there is a figure to show."""
    return value is not None and math.isfinite(value)


def number(value: float | None, largest: float | None = None) -> str:
    """Write a figure with four digits that count, as fine as the largest of its row needs.

    Parameters
    ----------
    value
        The figure; where it is None or not finite, a dash is written.
    largest
        The largest size among the figures that it stands beside.

    Examples
    --------
    >>> number(44279.3), number(0.93149), number(0.5, largest=212.0), number(float("nan"))
    ('44,279', '0.9315', '0.5', '–')
    >>> number(2.5e12), number(-0.0000123), number(3.0)
    ('2.5e+12', '−1.23e-05', '3')
    """
    if value is None or not math.isfinite(value):
        return NOTHING
    size = abs(value) if largest is None or not math.isfinite(largest) else largest
    if not size:
        return "0"
    if size >= 1e9 or size < 1e-4:
        return signed(f"{value:.4g}")
    places = min(max(3 - math.floor(math.log10(size)), 0), 8)
    if largest is None and float(value).is_integer():
        places = 0
    return signed(f"{value:,.{places}f}")


def signed(text: str) -> str:
    """Give a number the minus sign of typography instead of a hyphen at its front."""
    return f"−{text[1:]}" if text.startswith("-") else text


def compact(value: float) -> str:
    """Write a number as short as an axis needs it.

    Examples
    --------
    >>> compact(250000.0), compact(-1500.0), compact(0.25), compact(3e9)
    ('250k', '−1.5k', '0.25', '3B')
    """
    if not math.isfinite(value):
        return NOTHING
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return signed(f"{value / size:.3g}{unit}" if abs(value) < 1e15 else f"{value:.2g}")
    return signed(f"{value:.3g}")


def interval(figure: Figure | None, largest: float | None = None) -> str:
    """Write a figure's 95% interval, or nothing where it is not known.

    Examples
    --------
    >>> interval(Figure(value=0.9, low=0.88, high=0.92))
    '0.8800 to 0.9200'
    """
    if figure is None or not (finite(figure.low) and finite(figure.high)):
        return ""
    size = abs(figure.value) if largest is None else largest
    return f"{number(figure.low, size)} to {number(figure.high, size)}"


def share(part: float, whole: float = 1.0) -> str:
    """Write a share in percent, never rounding something to nothing or nearly all to all.

    Examples
    --------
    >>> share(1, 3), share(0, 3), share(1, 100000), share(99999, 100000), share(0, 0)
    ('33.3%', '0%', '< 0.1%', '> 99.9%', '–')
    """
    if not whole or not finite(part / whole):
        return NOTHING
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1%"
    if 99.9 < percent < 100:
        return "> 99.9%"
    return f"{percent:.0f}%" if percent in {0, 100} else f"{percent:.1f}%"


def held_out(rows: Rows) -> str:
    """Name the rows by which training was steered.

    Examples
    --------
    >>> held_out(Rows(train=90, validation=0, test=10))
    'held-out folds'
    """
    return "validation rows" if rows.validation else "held-out folds"


def parts(rows: Rows) -> str:
    """Say how many rows went where.

    Examples
    --------
    >>> parts(Rows(train=80, validation=10, test=10))
    '80 to train, 10 to validate, 10 to test'
    >>> parts(Rows(train=90, validation=0, test=10))
    '90 to train, of which each member of the network held out an eighth of its own, 10 to test'
    """
    validated = (
        f"{rows.validation:,} to validate"
        if rows.validation
        else "of which each member of the network held out an eighth of its own"
    )
    return f"{rows.train:,} to train, {validated}, {rows.test:,} to test"


def chance(probability: float) -> str:
    """Write how likely something is by chance.

    Examples
    --------
    >>> chance(0.0000002), chance(0.0312)
    ('< 0.0001', '0.0312')
    """
    if not math.isfinite(probability):
        return NOTHING
    return "< 0.0001" if probability < 0.0001 else f"{probability:.4f}"


def duration(seconds: float) -> str:
    """Write a time as a person would say it.

    Examples
    --------
    >>> duration(0.01), duration(0.31), duration(42.2), duration(252), duration(7260)
    ('< 0.1 s', '0.3 s', '42 s', '4 min 12 s', '2 h 1 min')
    """
    if not math.isfinite(seconds) or seconds < 0:
        return NOTHING
    if seconds < 0.05:
        return "< 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if not minutes:
        return f"{whole} s"
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def visible(text: str) -> str:
    r"""Make control characters and broken code points of a name visible.

    Examples
    --------
    >>> visible("a\nb\x00")
    'a␊b␀'
    """
    return _CONTROL.sub(_picture, text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    return chr(0x2400 + code) if code < 0x20 else "�"


def cut(text: str, longest: int = 40) -> str:
    """Cut a long name, keeping its beginning and its end, which tell similar names apart.

    Examples
    --------
    >>> cut("capital_gain_of_the_household_2019", 16)
    'capital_ga…_2019'
    """
    text = visible(text)
    if len(text) <= longest:
        return text
    tail = longest // 3
    return f"{text[: longest - 1 - tail]}…{text[-tail:]}"


def counted(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun.

    Examples
    --------
    >>> counted(1, "row"), counted(20640, "row"), counted(2, "class", "classes")
    ('1 row', '20,640 rows', '2 classes')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def joined(parts: Iterable[str]) -> str:
    """Join words with commas and a last "and".

    Examples
    --------
    >>> joined(["a"]), joined(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *most, last = list(parts) or [""]
    return f"{', '.join(most)} and {last}" if most else last


def titled(text: str) -> str:
    """Write the first letter large and leave the others as they are.

    Examples
    --------
    >>> titled("log loss"), titled("RMSE"), titled("")
    ('Log loss', 'RMSE', '')
    """
    return text[:1].upper() + text[1:]
