"""The plots of a model without a target: how scores are spread, and the tail that is fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from thalweg.lab.report import svg
from thalweg.lab.report.plots import Plot, drawn
from thalweg.lab.report.wording import counted, number, share
from thalweg.models.record import Oddness

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def oddness_plots(found: Oddness) -> list[Plot]:
    """Draw how many rows have each score, and how rare high ones are."""
    return [_scores(found), _tail(found)]


def _scores(found: Oddness) -> Plot:
    at, rows = np.asarray(found.scores.x), np.asarray(found.scores.y)
    width = float(at[1] - at[0]) if len(at) > 1 else 1.0

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.bar(at, rows, width, color=svg.ACCENT, alpha=0.6)
        axes.set_yscale("symlog", linthresh=1)
        axes.axvline(found.threshold, color=svg.SECOND, linewidth=1, linestyle=(0, (3, 3)))
        axes.set_xlabel("score")
        axes.set_ylabel("rows")

    return Plot(
        "Scores",
        f"Unseen rows by score, on a logarithmic scale. From {number(found.threshold)} on, the "
        "dashed line, they are called anomalies.",
        drawn("scores", f"Rows over their score; the threshold is {number(found.threshold)}", draw),
        (("accent", "unseen rows"), ("second", "threshold")),
    )


def _tail(found: Oddness) -> Plot:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(found.fitted.x, found.fitted.y, color=svg.SECOND, linewidth=1.2)
        axes.plot(found.seen.x, found.seen.y, "o", color=svg.ACCENT, markersize=2.5)
        axes.axhline(found.wanted, color=svg.MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
        lowest = min([*found.seen.y, found.wanted])
        axes.set_yscale("log")
        axes.set_ylim(lowest / 4, 1)
        axes.set_xlabel("score")
        axes.set_ylabel("share of rows")

    return Plot(
        "The tail",
        f"The share of rows with at least a score. Fitted to the highest of "
        f"{counted(found.count, 'held-out row')}: shape {number(found.shape)}, scale "
        f"{number(found.scale)}. The dashed line is the wanted share, {share(found.wanted)}; "
        "points far to the right of the curve are odder than chance.",
        drawn("tail", "Share of unseen rows over their least score, beside the fitted tail", draw),
        (("accent", "unseen rows"), ("second", "fitted to held-out rows")),
    )
