"""How the model stands beside its baselines: who is best at what, and whether the rows can tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from thalweg.lab.report import wording
from thalweg.lab.report.wording import Metric, finite, interval, metric_named, number
from thalweg.models.record import Evaluation, Figure

MODEL: Final = "thalweg"

OVERLAP: Final = (
    "Each interval is of one figure alone: that two overlap does not by itself show which "
    "model is better, or that they are equally good."
)

_AIMS: Final = {"f1": "F1", "accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"}

_FAR: Final = 1.5
"""How many widths of the others' range a rival may lie outside it before the axis leaves it out."""


@final
@dataclass(frozen=True, slots=True)
class Contender:
    """One model's figure in a contest.

    Parameters
    ----------
    name
        The model's name.
    figure
        Its figure, or None where it has none or it is not finite.
    text, bounds
        Figure and interval in words.
    best
        Whether nobody is better.
    """

    name: str
    figure: Figure | None
    text: str
    bounds: str
    best: bool

    @property
    def label(self) -> str:
        """Its name in words."""
        return "Thalweg" if self.name == MODEL else wording.cut(wording.plain(self.name))

    @property
    def own(self) -> bool:
        """Whether it is the model that the report is about."""
        return self.name == MODEL


@final
@dataclass(frozen=True, slots=True)
class Contest:
    """One metric, and every model's figure in it.

    Parameters
    ----------
    metric
        What is measured.
    contenders
        The model first, then the baselines, best first in the leading metric.
    axis
        From where to where to draw.
    """

    metric: Metric
    contenders: Sequence[Contender]
    axis: tuple[float, float]

    @property
    def own(self) -> Contender:
        """The model's own entry."""
        return self.contenders[0]

    @property
    def rival(self) -> Contender | None:
        """The best baseline, if any has a figure."""
        rivals = [one for one in self.contenders[1:] if one.figure is not None]
        if not rivals or self.metric.lower_is_better is None:
            return None
        sign = 1 if self.metric.lower_is_better else -1
        return min(rivals, key=lambda one: sign * one.figure.value if one.figure else 0.0)

    @property
    def verdict(self) -> str:
        """``ahead``, ``behind``, ``level`` (the intervals overlap) or, alone, nothing."""
        own, rival = self.own.figure, self.rival
        if own is None or rival is None or rival.figure is None:
            return ""
        other = rival.figure
        bounds = (own.low, own.high, other.low, other.high)
        if all(map(finite, bounds)) and own.low <= other.high and other.low <= own.high:
            return "level"
        if own.value == other.value:
            return "level"
        return "ahead" if self.metric.better(own.value, other.value) else "behind"


def contests(evaluation: Evaluation) -> list[Contest]:
    """Set every metric beside the baselines', the leading metric first.

    Examples
    --------
    >>> figure = Figure(value=0.9, low=0.8, high=1.0)
    >>> found = contests(
    ...     Evaluation(task="binary", rows=9, metric="f1", metrics={"f1": figure}))
    >>> found[0].own.text, found[0].rival, found[0].verdict
    ('0.9000', None, '')
    """
    names = list(evaluation.metrics)
    names.sort(key=lambda name: name != evaluation.metric)
    rivals = _ranked(evaluation)
    return [_contest(evaluation, name, rivals) for name in names]


def _ranked(evaluation: Evaluation) -> list[str]:
    """Order the baselines, best in the leading metric first; those without a figure last."""
    metric = metric_named(evaluation.metric)
    sign = -1 if metric.lower_is_better is False else 1

    def place(name: str) -> tuple[bool, float]:
        figure = evaluation.baselines[name].metrics.get(evaluation.metric)
        known = figure is not None and finite(figure.value)
        return (not known, sign * figure.value if known and figure is not None else 0.0)

    return sorted(evaluation.baselines, key=place)


def _contest(evaluation: Evaluation, name: str, rivals: Sequence[str]) -> Contest:
    metric = metric_named(name)
    figures = {MODEL: evaluation.metrics.get(name)}
    figures |= {rival: evaluation.baselines[rival].metrics.get(name) for rival in rivals}
    known = {who: one for who, one in figures.items() if one is not None and finite(one.value)}
    sizes = [abs(one.value) for one in known.values()]
    largest = max(sizes, default=0.0)
    best = None
    if len(known) > 1 and metric.lower_is_better is not None:
        pick = min if metric.lower_is_better else max
        best = pick(one.value for one in known.values())
    contenders = tuple(
        Contender(
            who,
            known.get(who),
            number(known[who].value, largest) if who in known else wording.NOTHING,
            interval(known.get(who), largest),
            who in known and known[who].value == best,
        )
        for who in figures
    )
    return Contest(metric, contenders, _axis(known))


def _axis(figures: Mapping[str, Figure]) -> tuple[float, float]:
    """Choose the range to draw: the one rival that lies far off all others is left outside."""
    spans = sorted(_span(one) for one in figures.values())
    if not spans:
        return (0.0, 1.0)
    for low, high, rest in (
        (spans[0][0], spans[0][1], spans[1:]),
        (spans[-1][0], spans[-1][1], spans[:-1]),
    ):
        if len(rest) < 2:
            continue
        begin, end = min(one[0] for one in rest), max(one[1] for one in rest)
        own = _span(figures[MODEL]) if MODEL in figures else None
        if own != (low, high) and max(begin - high, low - end) > _FAR * (end - begin) > 0:
            spans = rest
            break
    begin, end = min(one[0] for one in spans), max(one[1] for one in spans)
    margin = 0.06 * (end - begin) or 0.1 * abs(end) or 1.0
    return (begin - margin, end + margin)


def _span(figure: Figure) -> tuple[float, float]:
    low = figure.low if finite(figure.low) else figure.value
    high = figure.high if finite(figure.high) else figure.value
    return (min(low, figure.value), max(high, figure.value))


def headline(evaluation: Evaluation, trained: int, leading: Contest | None) -> str:
    """Say in one sentence how good the model is, beside the best baseline.

    Examples
    --------
    >>> share = Figure(value=0.873, low=0.868, high=0.879)
    >>> found = Evaluation(task="binary", rows=99, metric="f1", metrics={"accuracy": share})
    >>> headline(found, 1200, None)
    'Trained on 1,200 rows, this model is right about 87.3% of 99 others that it never saw.'
    """
    if evaluation.task == "anomaly":
        return _odd(evaluation, trained, leading)
    plain = _plain(evaluation) or "was judged on"
    said = (
        f"Trained on {wording.counted(trained, 'row')}, this model {plain} "
        f"{evaluation.rows:,} others that it never saw"
    )
    return f"{said}; {honest_clause(leading)}." if leading else f"{said}."


def _odd(evaluation: Evaluation, trained: int, leading: Contest | None) -> str:
    """Say how many rows a model without a target calls odd, and how well where that is known."""
    flagged = evaluation.metrics.get("flagged")
    share = wording.share(flagged.value) if flagged else wording.NOTHING
    said = (
        f"Trained on {wording.counted(trained, 'row')} without a target, this model calls {share} "
        f"of {evaluation.rows:,} others odd that it never saw"
    )
    if isinstance(evaluation.threshold, float):
        said = f"{said}, where {wording.share(evaluation.threshold)} was wanted"
    known = leading is not None and leading.metric.lower_is_better is not None
    return f"{said}; {honest_clause(leading)}." if leading and known else f"{said}."


def _plain(evaluation: Evaluation) -> str:
    """Say how good it is in words that need no statistics, or nothing."""
    name = {"regression": "mae", "multilabel": "subset_accuracy"}.get(evaluation.task, "accuracy")
    figure = evaluation.metrics.get(name)
    if figure is None or not finite(figure.value):
        return ""
    if evaluation.task == "regression":
        return f"is off by {number(figure.value)} on average on"
    if evaluation.task == "multilabel":
        return f"gets every label right of {wording.share(figure.value)} of"
    return f"is right about {wording.share(figure.value)} of"


def honest_clause(contest: Contest) -> str:
    """Compare the leading figure with the best baseline's, whichever is better."""
    label, own, rival = contest.metric.label, contest.own, contest.rival
    if own.figure is None:
        return f"its {label} could not be measured"
    bounds = f" (95% interval {own.bounds})" if own.bounds else ""
    said = f"its {label} is {own.text}{bounds}"
    if rival is None:
        return f"{said}; there is no baseline to compare it with"
    theirs = f"the best baseline, {rival.label}, with {rival.text}"
    endings = {
        "ahead": f"{said}, better than {theirs}",
        "behind": f"{said}, worse than {theirs}",
        "level": f"{said}, beside {theirs}: the intervals overlap",
    }
    return endings[contest.verdict]


def decision(evaluation: Evaluation, settings: Mapping[str, Any] | None = None) -> str:
    """Say which class the figures are about, of two, and how each model decides.

    Parameters
    ----------
    evaluation
        How well the model does.
    settings
        What it was trained with, where that is known: says what its threshold was chosen for.

    Returns
    -------
    str
        Nothing where the task is another.

    Examples
    --------
    >>> share = Figure(value=0.873, low=0.868, high=0.879)
    >>> found = Evaluation(task="binary", rows=99, metric="f1", metrics={"f1": share},
    ...     classes=["no", "yes"], threshold=0.376)
    >>> decision(found).partition(". ")[2]
    'Thalweg calls a row yes from a probability of 0.376.'
    """
    if evaluation.task == "multilabel":
        return _label_decision(evaluation, settings)
    if evaluation.task == "anomaly" and isinstance(evaluation.threshold, float):
        return (
            "A row is called an anomaly where a score so high comes with a chance of "
            f"{evaluation.threshold:g} or less among ordinary rows, by the tail of the scores of "
            "rows it had not learned from; the baselines' thresholds are drawn in the same way."
        )
    if evaluation.task != "binary" or len(evaluation.classes) != 2:
        return ""
    positive = wording.cut(evaluation.classes[1])
    said = f"Precision, recall, F1 and average precision are about the class {positive}."
    if not isinstance(evaluation.threshold, float):
        return said
    aim = None if settings is None else _AIMS.get(str(settings.get("threshold") or "f1"))
    why = f", chosen for {aim} on rows it had not learned from" if aim else ""
    rivals = "; rivals decide at 0.5: compare accuracy, precision, recall and F1 with that in mind"
    return (
        f"{said} Thalweg calls a row {positive} from a probability of "
        f"{evaluation.threshold:.3g}{why}{rivals if evaluation.baselines else ''}."
    )


def _label_decision(evaluation: Evaluation, settings: Mapping[str, Any] | None) -> str:
    """Say how each model decides which of several labels to give."""
    least = [one.threshold for one in evaluation.labels]
    if not least:
        return ""
    aim = None if settings is None else _AIMS.get(str(settings.get("threshold") or "f1"))
    why = f", chosen for {aim} on rows it had not learned from" if aim else ""
    span = f"{min(least):.3g} to {max(least):.3g}" if min(least) < max(least) else f"{least[0]:.3g}"
    rivals = (
        "; rivals give labels from 0.5 on: compare F1, the Hamming loss and rows all right with "
        "that in mind; log loss and mean average precision do not depend on it"
    )
    return (
        f"Thalweg gives a label from a probability of its own on, {span}{why}"
        f"{rivals if evaluation.baselines else ''}."
    )


def lost(found: Sequence[Contest]) -> list[Contest]:
    """Give the contests in which a baseline is better by more than the intervals explain."""
    return [contest for contest in found if contest.verdict == "behind"]
