from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from thalweg.lab.report.flow import behind, flow_plots, render_flow, scores_table, weights_plot
from thalweg.training.online.record import Flow, Opponent
from thalweg.training.online.scores import Scores

HOSTILE = "</script><img src=x onerror=alert(1)>"
VOID = {"meta", "br", "img", "hr", "link", "input"}


class Page(HTMLParser):
    """Reads a page strictly: every element is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def scored(*, numbers: bool = False, good: float = 0.9, marks: bool = True) -> Scores:
    random = np.random.default_rng(0)
    rows = 6000
    scores = Scores(numbers=numbers, experts=("fast", "frozen"))
    if marks:
        scores.mark(3000, "given")
        scores.mark(3100)
    targets = random.integers(0, 2, rows).astype(float)
    shares = np.where(
        random.random(rows) < np.where(np.arange(rows) // 400 == 8, 0.5, good), 0.8, 0.3
    )
    answers = np.where(np.arange(2) == targets[:, None], shares[:, None], 1 - shares[:, None])
    if numbers:
        answers = targets[:, None] + shares[:, None]
    said = np.stack([answers, answers[::-1]], axis=1)
    before = np.concatenate([[np.nan], targets[:-1]])
    for start in range(0, rows, 1000):
        part = slice(start, start + 1000)
        weights = np.array([0.75, 0.25])
        scores.predicted(1100)
        scores.take(
            answers[part],
            targets[part],
            before[part],
            np.full(1000, 7),
            said=said[part],
            weights=weights,
        )
    return scores


def flow_of(scores: Scores, **more: object) -> Flow:
    given = {"target": "class", "delay": 7, "events_per_second": 9876.0, "seconds": 0.7}
    given |= {"frozen": "frozen", **more}
    return Flow(standing=scores.standing(), **given)


@pytest.fixture(scope="module")
def flow() -> Flow:
    rivals = {"forest": Opponent(standing=scored(good=0.95).standing(), events_per_second=1234.0)}
    return flow_of(scored(), rivals=rivals, warnings=["Mind this."])


def test_score_delay_and_no_change_stand_together(flow: Flow) -> None:
    page = Page(render_flow(flow, name="my stream"))
    own = f"{100 * flow.standing.metrics['accuracy']:.2f}%"
    cheap = f"{100 * flow.standing.baselines['no change']['accuracy']:.2f}%"
    assert f"accuracy {own} accuracy, no change {cheap} label delay 7 rows" in page.text
    assert "Each label came 7 rows after its own. 90.9% of the rows had one." in page.text
    for part in (
        "9,876",
        "1,234",
        "Mind this.",
        "my stream",
        "kappa T",
        "the trained model, frozen",
    ):
        assert part in page.text
    assert "Not ahead of all: River’s adaptive random forest does better" in page.text
    assert page.tags.count("svg") > 3


def test_recoveries_are_written_where_the_change_was(flow: Flow) -> None:
    given = flow.standing.marks[0]
    assert (given.at, given.kind) == (3000, "given")
    assert given.recovered is not None
    assert 350 < given.recovered < 700
    words = f"{given.recovered:,} labels to recover"
    plots = flow_plots(flow)
    assert [plot.title for plot in plots] == [
        "Accuracy over the stream",
        "Log loss over the stream",
    ]
    for plot in plots:
        assert words in plot.drawing
        assert "Dashed lines: 1 known change; dotted lines: 1 change that" in plot.caption
        names = [name for _, name in plot.legend]
        assert names[:2] == ["Thalweg", "the trained model, frozen"]
    assert f"3,000 known {given.before:.4f}" in Page(render_flow(flow)).text


def test_a_colour_is_the_same_one_in_every_plot(flow: Flow) -> None:
    colours: dict[str, str] = {}
    for plot in flow_plots(flow):
        for colour, name in plot.legend:
            assert colours.setdefault(name, colour) == colour
    assert len(set(colours.values())) == len(colours) == 5


def test_the_best_is_marked_and_experts_do_not_compete(flow: Flow) -> None:
    columns, lines = scores_table(flow)
    assert columns[0] == "accuracy"
    assert columns[-1] == "events/s"
    best = [line.name for line in lines if line.cells[0][1]]
    assert best == ["River’s adaptive random forest"]
    assert [line.part for line in lines] == ["", "baselines", "", "rivals", "its experts", ""]
    assert behind(flow) == ["River’s adaptive random forest"]
    assert behind(flow_of(scored())) == []


def test_weights_are_drawn_where_they_are_known(flow: Flow) -> None:
    plot = weights_plot(flow.standing.course, flow.standing.labels)
    assert plot is not None
    assert [name for _, name in plot.legend] == ["fast", "the trained model, frozen"]
    assert weights_plot(flow.standing.course.model_copy(update={"weights": {}}), 1) is None


def test_numbers_and_empty_streams_have_pages() -> None:
    page = Page(render_flow(flow_of(scored(numbers=True), frozen="")))
    assert "MAE over the stream" in page.text
    assert "predictions are off by" in page.text
    empty = flow_of(Scores(numbers=False))
    page = Page(render_flow(empty))
    assert "No label came" in page.text


def test_names_from_data_do_nothing(flow: Flow) -> None:
    text = render_flow(flow.model_copy(update={"target": HOSTILE}), name=HOSTILE)
    page = Page(text)
    assert "img" not in page.tags
    assert "script" not in page.tags
    assert "http://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert text == render_flow(flow.model_copy(update={"target": HOSTILE}), name=HOSTILE)
