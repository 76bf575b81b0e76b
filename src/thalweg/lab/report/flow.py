"""The page of a stream that was predicted first and learned from later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.lab.report import svg, wording
from thalweg.lab.report.page import rendered
from thalweg.lab.report.plots import Plot
from thalweg.lab.report.wording import NOTHING, compact, counted, finite, number, share
from thalweg.training.online.record import Course, Flow, Mark, Standing
from thalweg.training.online.scores import MAJORITY, MEAN, MODEL, NO_CHANGE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WINDOW: Final = 1000
"""Curves are drawn as means over so many labels."""

MOST_LINES: Final = 6
_MOST_WORDS: Final = 6  # so many recoveries are written into the plot
_MOST_ROWS: Final = 20  # and so many changes into the table

LABELS: Final[Mapping[str, tuple[str, bool, str]]] = {
    "accuracy": ("accuracy", False, "share of labels that were said"),
    "log_loss": ("log loss", True, "how surprised the probabilities are by the labels"),
    "kappa": ("kappa", False, "0: no better than classes drawn by their shares; 1: all right"),
    "kappa_t": ("kappa T", False, "0: no better than repeating the last label; 1: all right"),
    "kappa_m": ("kappa M", False, "0: no better than the commonest class; 1: all right"),
    "mae": ("MAE", True, "mean absolute error in the target’s unit"),
    "rmse": ("RMSE", True, "typical error in the target’s unit; large errors weigh more"),
    "r2": ("R²", False, "share of the variance that is explained"),
    "r2_no_change": ("R² vs. no change", False, "0: no better than repeating the last label"),
    "mae_no_change": ("MAE / no change", True, "1: no better than repeating the last label"),
}
"""What people read of each metric: its name, whether lower is better, and what it means."""

_NAMES: Final = {
    MODEL: "Thalweg",
    NO_CHANGE: "no change (the last label known)",
    MAJORITY: "majority (the commonest class so far)",
    MEAN: "mean so far",
    "forest": "River’s adaptive random forest",
    "hoeffding tree": "River’s Hoeffding tree",
    "frozen": "the trained model, frozen",
}

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table of scores.

    Parameters
    ----------
    name
        Who.
    own
        Whether it is the learner.
    part
        What it is, where that is new: a baseline, a rival, an expert.
    cells
        Its figures in words, one for each column, and whether each is the best.
    """

    name: str
    own: bool
    part: str
    cells: Sequence[tuple[str, bool]]


def render_flow(flow: Flow, *, name: str = "", warnings: Sequence[str] = ()) -> str:
    """Write the page of a prequential evaluation.

    Parameters
    ----------
    flow
        What was found.
    name
        What the stream is called.
    warnings
        What a reader must know, beside the evaluation's own warnings.

    Returns
    -------
    str
        One HTML file. Equal arguments give equal texts.
    """
    standing = flow.standing
    columns, lines = scores_table(flow)
    return rendered(
        "flow.html.j2",
        name=name,
        flow=flow,
        standing=standing,
        headline=headline(flow),
        behind=behind(flow),
        delay=delay_sentence(flow),
        strip=_strip(flow),
        columns=columns,
        lines=lines,
        over_time=_over_time(standing),
        plots=flow_plots(flow),
        weights=weights_plot(standing.course, standing.labels),
        marks=_marked(standing.marks)[:_MOST_ROWS],
        more_marks=max(0, len(standing.marks) - _MOST_ROWS),
        meanings=[(LABELS[key][0], LABELS[key][2]) for key in standing.metrics if key in LABELS],
        warnings=list(dict.fromkeys([*warnings, *flow.warnings])),
    )


def named(who: str) -> str:
    """Say who somebody is."""
    return _NAMES.get(who, wording.plain(who))


def headline(flow: Flow) -> str:
    """Say in one sentence how good it is, beside repeating the last label.

    Examples
    --------
    >>> standing = Standing(numbers=False, events=900, labels=800, metrics={"accuracy": 0.9},
    ...     baselines={"no change": {"accuracy": 0.85}})
    >>> headline(Flow(target="y", delay=3, standing=standing, events_per_second=1.0, seconds=1.0))
    'Of 800 labels, 90.0% were said before they came; repeating the last one known gets 85.0%.'
    """
    standing = flow.standing
    if not standing.labels or not standing.metrics:
        return "No label came, so nothing can be said of how good the predictions were."
    cheap = standing.baselines.get(NO_CHANGE, {})
    if standing.numbers:
        said = f"Over {counted(standing.labels, 'label')}, predictions are off by "
        said += f"{number(standing.metrics.get('mae'))} on average"
        return f"{said}; repeating the last label known is off by {number(cheap.get('mae'))}."
    said = f"Of {counted(standing.labels, 'label')}, {share(standing.metrics['accuracy'])} "
    said += "were said before they came"
    return f"{said}; repeating the last one known gets {share(cheap.get('accuracy', np.nan))}."


def behind(flow: Flow) -> list[str]:
    """Name the baselines and rivals that are better than the learner at the leading metric."""
    key = _leading(flow.standing)
    own = flow.standing.metrics.get(key)
    if own is None:
        return []
    others = dict(flow.standing.baselines)
    others |= {who: rival.standing.metrics for who, rival in flow.rivals.items()}
    lower = LABELS[key][1]
    found = []
    for who, metrics in others.items():
        value = metrics.get(key)
        if value is not None and (value < own if lower else value > own):
            found.append(named(who))
    return found


def delay_sentence(flow: Flow) -> str:
    """Say when labels came, and for how many rows.

    Examples
    --------
    >>> standing = Standing(numbers=False, events=9, labels=9, metrics={})
    >>> delay_sentence(
    ...     Flow(target="y", delay=0, standing=standing, events_per_second=1.0, seconds=1.0))
    'Each label came at once, before the next row was predicted. Every row had one.'
    """
    if flow.delay:
        when = f"Each label came {counted(flow.delay, 'row')} after its own"
        delays = flow.standing.delays
        if delays is not None and delays.mean_seconds is not None:
            when += f" ({wording.duration(delays.mean_seconds)} on average)"
    else:
        when = "Each label came at once, before the next row was predicted"
    standing = flow.standing
    if standing.labels == standing.events:
        return f"{when}. Every row had one."
    return f"{when}. {share(standing.labels, standing.events)} of the rows had one."


def scores_table(flow: Flow) -> tuple[list[str], list[Line]]:
    """Set the learner's figures beside those of baselines, rivals and experts."""
    standing = flow.standing
    keys = [key for key in LABELS if key in standing.metrics]
    rows: list[tuple[str, str, Mapping[str, float], float | None]] = [
        (MODEL, "", standing.metrics, flow.events_per_second)
    ]
    rows += [(who, "baselines", found, None) for who, found in standing.baselines.items()]
    for who, rival in flow.rivals.items():
        rows.append((who, "rivals", rival.standing.metrics, rival.events_per_second))
    contest = {key: [found[key] for _, _, found, _ in rows if key in found] for key in keys}
    best = {
        key: (min if LABELS[key][1] else max)(values)
        for key, values in contest.items()
        if len(values) > 1
    }
    rows += [(who, "its experts", found, None) for who, found in standing.experts.items()]
    lines, part = [], ""
    for who, group, found, rate in rows:
        cells = [
            (
                figure(key, found.get(key)),
                group != "its experts" and found.get(key) == best.get(key, np.nan),
            )
            for key in keys
        ]
        cells.append((f"{rate:,.0f}" if rate is not None else "", False))
        lines.append(Line(named(who), who == MODEL, group if group != part else "", cells))
        part = group
    return [LABELS[key][0] for key in keys] + ["events/s"], lines


def flow_plots(flow: Flow) -> list[Plot]:
    """Draw how the scores went over the stream, with the changes in it."""
    course, standing = flow.standing.course, flow.standing
    who = [MODEL, *([flow.frozen] if flow.frozen else []), NO_CHANGE]
    everyone = [*who, *flow.rivals, MAJORITY][:MOST_LINES]
    colours = {one: place for place, one in enumerate(everyone)}  # the same in every plot
    plots = []
    for key, lines in course.lines.items():
        drawn = {one: _smooth(course, lines[one]) for one in who if one in lines}
        for rival, found in flow.rivals.items():
            theirs = found.standing.course
            line = theirs.lines.get(key, {}).get(MODEL)
            if line is not None and rival in colours and theirs.at == course.at:
                drawn[rival] = _smooth(theirs, line)
        if key == "log_loss" and MAJORITY in lines and MAJORITY in colours:
            drawn[MAJORITY] = _smooth(course, lines[MAJORITY])
        label, lower, _ = LABELS[key]
        plots.append(
            Plot(
                f"{wording.titled(label)} over the stream",
                f"Means over the last {WINDOW:,} labels; {'lower' if lower else 'higher'} is "
                f"better.{_marks_sentence(standing.marks)}",
                _over_labels(f"flow-{key}", course, drawn, colours, standing.marks, label),
                tuple((f"series-{colours[one] + 1}", named(one)) for one in drawn),
            )
        )
    return plots


def weights_plot(course: Course, labels: int) -> Plot | None:
    """Draw how much each expert counted over the stream."""
    if not course.weights or len(course.at) < 2:
        return None
    names = list(course.weights)[:MOST_LINES]
    values = np.array([_floats(course.weights[name]) for name in names])
    values = np.nan_to_num(values)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        colours = [svg.series(place) for place in range(len(names))]
        axes.stackplot(course.at, values, colors=colours, alpha=0.75, linewidth=0)
        axes.set_ylim(0, 1)
        axes.set_ylabel("weight")
        _x_axis(axes, labels)

    return Plot(
        "Who is listened to",
        "The share of each expert in the answer: the hedge follows whoever was right lately.",
        _wide("flow-weights", "Weights of the experts over the stream", draw),
        tuple((f"series-{place}", named(name)) for place, name in enumerate(names, 1)),
    )


def _over_labels(
    name: str,
    course: Course,
    lines: Mapping[str, Floats],
    colours: Mapping[str, int],
    marks: Sequence[Mark],
    label: str,
) -> str:
    """Draw lines over the stream, the learner's above the others."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _draw_marks(axes, marks)
        for who, values in reversed(list(lines.items())):
            width = 1.6 if who == MODEL else 1.1
            axes.plot(course.at, values, color=svg.series(colours[who]), linewidth=width)
        axes.set_ylabel(label)
        axes.locator_params(axis="y", nbins=6)
        _x_axis(axes, course.at[-1] if course.at else 1)

    ends = []
    for who, values in lines.items():
        known = values[np.isfinite(values)]
        if len(known):
            ends.append(f"{named(who)} from {number(known[0])} to {number(known[-1])}")
    return _wide(name, f"{label} over the stream: {'; '.join(ends) or 'not known'}", draw)


def _draw_marks(axes: Axes, marks: Sequence[Mark]) -> None:
    """Draw changes as lines, and how long each was felt as a band, with words where few are."""
    given = [one for one in marks if one.kind == "given"]
    for one in marks:
        dashes = (0, (4, 3)) if one.kind == "given" else (0, (1, 3))
        axes.axvline(one.at, color=svg.MUTED, linewidth=0.8, linestyle=dashes)
    worded = given or list(marks)
    for one in worded[:_MOST_WORDS] if len(worded) <= _MOST_WORDS else []:
        words = "not recovered"
        if one.recovered is not None:
            axes.axvspan(one.at, one.at + one.recovered, color=svg.SECOND, alpha=0.14, linewidth=0)
            words = f"{one.recovered:,} labels to recover"
        axes.annotate(
            words,
            (one.at, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(2, 2),
            textcoords="offset points",
            fontsize=7,
            color=svg.MUTED,
            annotation_clip=False,
        )


def _marks_sentence(marks: Sequence[Mark]) -> str:
    """Say what the lines across a plot are."""
    given = sum(one.kind == "given" for one in marks)
    found = len(marks) - given
    said = []
    if given:
        said.append(f"dashed lines: {counted(given, 'known change')}")
    if found:
        said.append(f"dotted lines: {counted(found, 'change')} that the detector confirmed")
    return f" {wording.titled('; '.join(said))}." if said else ""


def _x_axis(axes: Axes, labels: int) -> None:
    axes.set_xlim(0, labels)
    axes.xaxis.set_major_formatter(lambda value, _: compact(value))
    axes.set_xlabel("labels")


def _wide(name: str, alt: str, draw: Any) -> str:
    """Draw a figure as wide as the page."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: dict[str, Any] = {**svg.style(), "svg.hashsalt": name}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(8.8, 2.9), layout="constrained")
        draw(figure)
        return svg.inline(figure, name, alt)


def _smooth(course: Course, line: Sequence[float | None]) -> Floats:
    """Give means over the last labels, of the points that hold them."""
    values, rows = _floats(line), np.array(course.rows, dtype=np.float64)
    if not len(values):
        return values
    points = max(1, round(WINDOW / max(rows)))
    known = np.isfinite(values)
    sums = np.cumsum(np.where(known, values * rows, 0.0))
    counts = np.cumsum(np.where(known, rows, 0.0))
    sums[points:] -= sums[:-points].copy()
    counts[points:] -= counts[:-points].copy()
    found: Floats = np.full(len(values), np.nan)
    np.divide(sums, counts, out=found, where=counts > 0)
    # The first few labels say little.
    found[np.cumsum(rows) < min(WINDOW / 4, rows.sum() / 4)] = np.nan
    return found


def _strip(flow: Flow) -> list[tuple[str, str]]:
    """Give the figures below the headline: the score is never without delay and baseline."""
    standing, key = flow.standing, _leading(flow.standing)
    cheap = standing.baselines.get(NO_CHANGE, {})
    return [
        (LABELS[key][0], figure(key, standing.metrics.get(key))),
        (f"{LABELS[key][0]}, no change", figure(key, cheap.get(key))),
        ("label delay", counted(flow.delay, "row") if flow.delay else "none"),
        ("labels", f"{standing.labels:,}"),
        ("events a second", f"{flow.events_per_second:,.0f}"),
    ]


def _over_time(standing: Standing) -> list[tuple[str, list[str]]]:
    """Give the learner's figures over all labels and over the latest."""
    keys = [key for key in LABELS if key in standing.metrics]
    parts = (
        ("all labels", standing.metrics),
        ("with weights that fade", standing.fading),
        (f"the last {min(WINDOW, standing.labels):,} labels", standing.recent),
    )
    return [(name, [figure(key, found.get(key)) for key in keys]) for name, found in parts]


def _marked(marks: Sequence[Mark]) -> list[tuple[str, str, str, str, str]]:
    """Write changes as the rows of a table."""
    last = {mark.kind: mark.at for mark in marks}
    found = []
    for mark in marks:
        recovered = "not yet" if mark.at == last[mark.kind] else "not before the next"
        if mark.recovered is not None:
            recovered = counted(mark.recovered, "label") if mark.recovered else "at once"
        elif mark.before is None:
            recovered = "too few labels before it"
        kind = "known" if mark.kind == "given" else "confirmed"
        cost = number(mark.cost, max(1.0, abs(mark.cost))) if mark.cost is not None else NOTHING
        found.append((f"{mark.at:,}", kind, number(mark.before), recovered, cost))
    return found


def _leading(standing: Standing) -> str:
    return "mae" if standing.numbers else "accuracy"


def figure(key: str, value: float | None) -> str:
    """Write a figure: an accuracy as a share, all else as a number."""
    if not finite(value) or value is None:
        return NOTHING
    return f"{100 * value:.2f}%" if key == "accuracy" else number(value, max(abs(value), 0.1))


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if one is None else one for one in values], dtype=np.float64)
