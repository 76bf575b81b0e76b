"""The plots of a report: learning, reliability, residuals and coverage.

Names from data never go into a plot: matplotlib's own font may lack their characters. They stand
in the legend, which is part of the page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.lab.report import svg
from thalweg.lab.report.wording import (
    COVERAGE,
    compact,
    counted,
    finite,
    metric_named,
    number,
    share,
)
from thalweg.models.record import Curve, Evaluation, Training

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_CURVES: Final = 6
"""How many classes' reliability is drawn: more lines cannot be told apart."""

_Numbers = NDArray[np.float64]


@final
@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn figure and the words around it.

    Parameters
    ----------
    title
        What it is.
    caption
        What to see in it.
    drawing
        The SVG element.
    legend
        For each colour, by its name in the stylesheet, what it stands for.
    """

    title: str
    caption: str
    drawing: str
    legend: Sequence[tuple[str, str]] = ()


def learning_plots(training: Training, held_out: str = "validation rows") -> list[Plot]:
    """Draw loss, leading metric and learning rate over the epochs.

    Epochs count from 1. The metric is left out where it is the validation loss itself (the log
    loss of classes).

    Parameters
    ----------
    training
        How the network was trained.
    held_out
        What the rows are called that training was steered by.
    """
    epochs = training.epochs
    if not epochs:
        return []
    train = _floats(epoch.train_loss for epoch in epochs)
    validation = _floats(epoch.validation_loss for epoch in epochs)
    metric = _floats(epoch.metric for epoch in epochs)
    rates = _floats(epoch.learning_rate for epoch in epochs)
    at = _floats(epoch.epoch + 1 for epoch in epochs)
    best = training.best_epoch + 1
    label = metric_named(training.metric).label
    plots = [
        Plot(
            "Loss",
            f"Lower is better. The dashed line marks epoch {best}, whose weights were kept.",
            _over_epochs("loss", at, {svg.SECOND: train, svg.ACCENT: validation}, best, "loss"),
            (("second", "training rows"), ("accent", held_out)),
        )
    ]
    if not np.allclose(metric, validation, equal_nan=True):
        plots.append(
            Plot(
                f"{label} on {held_out}",
                f"{_at(at, metric, best)} at the kept epoch.",
                _over_epochs("metric", at, {svg.ACCENT: metric}, best, label),
            )
        )
    plots.append(
        Plot(
            "Learning rate",
            f"At most {number(_largest(rates))}.",
            _over_epochs("rate", at, {svg.MUTED: rates}, None, "learning rate"),
        )
    )
    return plots


def reliability_plot(evaluation: Evaluation) -> Plot | None:
    """Draw the observed share of a class over its predicted probability.

    Of two classes the second is drawn, with the rows of each bin below; of more, the commonest.
    """
    curves = {name: curve for name, curve in evaluation.calibration.items() if curve.x}
    if not curves:
        return None
    if evaluation.task == "binary":
        positive = evaluation.classes[-1] if evaluation.classes else ""
        name = positive if positive in curves else next(iter(curves))
        curves = {name: curves[name]}
    else:
        common = sorted(curves, key=lambda name: -_rows_of(curves[name]))
        curves = {name: curves[name] for name in common[:MOST_CURVES]}
    weights = next(iter(curves.values())).weight if len(curves) == 1 else []

    def draw(figure: Figure) -> None:
        ratios = [4, 1] if weights else [1]
        above, *below = figure.subplots(
            len(ratios), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": ratios}
        )[:, 0]
        _diagonal(above, 0.0, 1.0)
        for place, curve in enumerate(curves.values()):
            _reliability(above, curve, svg.series(place))
        above.set_ylabel("observed share")
        for axes in below:
            _density(axes, next(iter(curves.values())))
        (below or [above])[-1].set_xlabel("predicted probability")

    most = (
        f" The {len(curves)} commonest classes."
        if len(evaluation.calibration) > len(curves) > 1
        else ""
    )
    return Plot(
        "Reliability",
        "On the diagonal, a probability of 70% comes true in 70% of rows. "
        f"Above it, the model is too modest; below it, too sure.{most}",
        drawn("reliability", "Observed share of a class over its predicted probability", draw),
        tuple((f"series-{place}", name) for place, name in enumerate(curves, 1)),
    )


def regression_plots(evaluation: Evaluation) -> list[Plot]:
    """Draw predicted against true values, residuals, and how often intervals hold the truth.

    ``evaluation.residuals`` has the predictions as x and truth minus prediction as y; where it
    has weights, each point stands for so many rows.
    """
    plots = []
    residuals = evaluation.residuals
    if residuals is not None and (points := _points(residuals)) is not None:
        predicted, missed, weights = points
        plots += [_truth_plot(predicted, predicted + missed, weights)]
        plots += [_residual_plot(predicted, missed, weights)]
    return plots


def coverage_sentence(evaluation: Evaluation) -> str:
    """Say how often the intervals held the truth, or nothing where that was not measured.

    Examples
    --------
    >>> from thalweg.models.record import Figure
    >>> held = Figure(value=0.897, low=0.888, high=0.905)
    >>> coverage_sentence(
    ...     Evaluation(task="regression", rows=9, metric="rmse", metrics={"coverage": held}))
    'Of the 90% intervals, 89.7% hold the true value (95% interval 88.8% to 90.5%).'
    """
    held = evaluation.metrics.get(COVERAGE)
    if held is None or not finite(held.value):
        return ""
    known = finite(held.low) and finite(held.high)
    bounds = f" (95% interval {share(held.low)} to {share(held.high)})" if known else ""
    return f"Of the 90% intervals, {share(held.value)} hold the true value{bounds}."


def _over_epochs(
    name: str, at: _Numbers, lines: Mapping[str, _Numbers], best: int | None, label: str
) -> str:
    """Draw lines over epochs; the last is the one on which the best epoch is marked."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for colour, values in lines.items():
            axes.plot(at, values, color=colour, marker="o" if len(at) < 3 else None, markersize=3)
        known = np.concatenate([values[np.isfinite(values)] for values in lines.values()])
        if len(known) and known.min() > 0 and known.max() > 20 * known.min():
            axes.set_yscale("log")
        else:
            axes.locator_params(axis="y", nbins=6)
        if len(known) and known.max() >= 1000:
            axes.yaxis.set_major_formatter(lambda value, _: compact(value))
        if best is not None and best in at:
            axes.axvline(best, color=svg.MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
            axes.plot([best], values[at == best], "o", color=colour, markersize=4.5)
        axes.set_xlabel("epoch")
        axes.locator_params(axis="x", integer=True)

    values = [series[np.isfinite(series)] for series in lines.values()]
    ends = " and ".join(f"from {number(v[0])} to {number(v[-1])}" for v in values if len(v))
    return drawn(name, f"{label} over {counted(len(at), 'epoch')}: {ends or 'not known'}", draw)


def _rows_of(curve: Curve) -> float:
    """Say how many rows a class has: of each bin, the observed share."""
    return sum(share * rows for share, rows in zip(curve.y, curve.weight, strict=False))


def _reliability(axes: Axes, curve: Curve, colour: str) -> None:
    weights = np.asarray(curve.weight or np.ones(len(curve.x)), dtype=np.float64)
    sizes = 8 + 40 * weights / max(float(weights.max()), 1e-300)
    axes.plot(curve.x, curve.y, color=colour, linewidth=1.2)
    axes.scatter(curve.x, curve.y, s=sizes, color=colour, linewidth=0.8, edgecolor=svg.PAPER)


def _density(axes: Axes, curve: Curve) -> None:
    """Draw where the rows lie: bins may hold equally many, so each is as wide as its place."""
    at, rows = np.asarray(curve.x), np.asarray(curve.weight)
    edges = np.concatenate(([0.0], (at[1:] + at[:-1]) / 2, [1.0]))
    widths = np.maximum(np.diff(edges), 1e-3)
    axes.bar(edges[:-1], rows / widths, widths, align="edge", color=svg.series(0), alpha=0.5)
    axes.set_yticks([])
    axes.set_ylabel("rows")


def _truth_plot(predicted: _Numbers, true: _Numbers, weights: _Numbers) -> Plot:
    low = float(min(_quantile(predicted, 0.002), _quantile(true, 0.002)))
    high = float(max(_quantile(predicted, 0.998), _quantile(true, 0.998)))

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _hexagons(axes, predicted, true, weights, (low, high, low, high))
        _diagonal(axes, low, high)
        _compact_ticks(axes)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")

    return Plot(
        "Predicted and true values",
        "Darker means more rows. On the dashed line, predictions are exact.",
        drawn(
            "truth", f"True over predicted values, both from {number(low)} to {number(high)}", draw
        ),
    )


def _residual_plot(predicted: _Numbers, missed: _Numbers, weights: _Numbers) -> Plot:
    left, right = (_quantile(predicted, q) for q in (0.002, 0.998))
    reach = max(abs(_quantile(missed, q)) for q in (0.005, 0.995)) or 1.0

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        _hexagons(axes, predicted, missed, weights, (left, right, -reach, reach))
        axes.axhline(0, color=svg.INK, linewidth=0.8, linestyle=(0, (3, 3)))
        _compact_ticks(axes)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true − predicted")

    return Plot(
        "Residuals",
        "What is left over: above the line the truth was higher. A slope or a funnel would mean "
        "that errors depend on the prediction.",
        drawn("residuals", f"True minus predicted values, within {number(reach)} of 0", draw),
    )


def _hexagons(
    axes: Axes,
    x: _Numbers,
    y: _Numbers,
    weights: _Numbers,
    extent: tuple[float, float, float, float],
) -> None:
    """Count points in hexagons; the more, the less transparent, on a logarithmic scale."""
    left, right, low, high = extent
    right, high = max(right, left + 1e-9), max(high, low + 1e-9)
    drawn = axes.hexbin(
        np.clip(x, left, right),
        np.clip(y, low, high),
        C=weights,
        reduce_C_function=np.sum,
        gridsize=(34, 20),
        extent=(left, right, low, high),
        linewidths=0.2,
    )
    counts = np.log1p(np.asarray(drawn.get_array(), dtype=np.float64))
    from matplotlib.colors import to_rgba

    colours = np.tile(to_rgba(svg.ACCENT), (len(counts), 1))
    # A few steps of opacity instead of one for every count keep the text short.
    colours[:, 3] = 0.12 + 0.88 * np.round(12 * counts / max(float(counts.max()), 1e-300)) / 12
    drawn.set_array(None)
    drawn.set_facecolor(colours)
    drawn.set_edgecolor("none")


def _diagonal(axes: Axes, low: float, high: float) -> None:
    axes.plot([low, high], [low, high], color=svg.MUTED, linewidth=0.8, linestyle=(0, (3, 3)))


def _compact_ticks(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: compact(value))


def drawn(name: str, alt: str, draw: Callable[[Figure], None]) -> str:
    """Make a figure of the one size and style, let it be drawn, and write it."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: dict[str, Any] = {**svg.style(), "svg.hashsalt": name}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(4.3, 2.9), layout="constrained")
        draw(figure)
        return svg.inline(figure, name, alt)


def _points(residuals: Curve) -> tuple[_Numbers, _Numbers, _Numbers] | None:
    """Give the finite points of a curve [N] and how many rows each stands for."""
    x, y = _floats(residuals.x), _floats(residuals.y)
    weights = _floats(residuals.weight) if residuals.weight else np.ones(len(x))
    known = np.isfinite(x) & np.isfinite(y)
    return (x[known], y[known], weights[known]) if known.any() else None


def _floats(values: Any) -> _Numbers:
    """Give float64 [N] with NaN, which is not drawn, for what is not finite."""
    found = np.array(list(values), dtype=np.float64)
    found[~np.isfinite(found)] = np.nan
    return found


def _largest(values: _Numbers) -> float:
    known = values[np.isfinite(values)]
    return float(known.max()) if len(known) else float("nan")


def _quantile(values: _Numbers, at: float) -> float:
    return float(np.quantile(values, at))


def _at(at: _Numbers, values: _Numbers, best: int) -> str:
    chosen = values[at == best]
    return number(float(chosen[0])) if len(chosen) else number(None)
