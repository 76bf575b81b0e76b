from __future__ import annotations

import io

from rich.console import Console

from thalweg.cli.flow import tell_flow, tell_standing
from thalweg.training.online.record import Flow, Mark, Opponent, Standing


def standing(accuracy: float, **more: object) -> Standing:
    return Standing(
        numbers=False,
        events=1000,
        labels=900,
        metrics={"accuracy": accuracy, "log_loss": 0.3},
        baselines={"no change": {"accuracy": 0.853}},
        **more,
    )


def printed(flow: Flow) -> str:
    text = io.StringIO()
    tell_flow(Console(file=text, width=120, highlight=False), flow)
    return text.getvalue()


def test_delay_and_no_change_stand_beside_the_score() -> None:
    marks = [Mark(at=300, before=0.1, recovered=250), Mark(at=600, before=0.1)]
    flow = Flow(
        target="class",
        delay=32,
        standing=standing(0.81, marks=marks, experts={"fast": {"accuracy": 0.8}}),
        events_per_second=54321.0,
        seconds=0.1,
        rivals={"forest": Opponent(standing=standing(0.79), events_per_second=1180.0)},
        warnings=["Mind this."],
    )
    text = printed(flow)
    for part in (
        "label delay 32 rows",
        "81.00%",
        "no change (the last label known)",
        "★ 85.30%",
        "54,321",
        "1,180",
        "Each label came 32 rows after its own. 90.0% of the rows had one.",
        "no change (the last label known) does better over the whole stream.",
        "2 changes confirmed by the detector; 1 recovered from, after 250 labels.",
        "Mind this.",
    ):
        assert part in text, text


def test_without_labels_nothing_is_claimed() -> None:
    empty = Standing(numbers=False, events=5, labels=0, metrics={})
    flow = Flow(target="y", delay=9, standing=empty, events_per_second=1.0, seconds=1.0)
    assert "No label came" in printed(flow)


def test_a_stream_tells_that_no_label_came_and_counts_changes_in_words() -> None:
    def told(one: Standing) -> str:
        text = io.StringIO()
        tell_standing(Console(file=text, width=120, highlight=False), one)
        return text.getvalue()

    assert "No label came" in told(Standing(numbers=False, events=5, labels=0, metrics={}))
    assert "; 1 change confirmed\n" in told(standing(0.8, marks=[Mark(at=300, before=0.1)]))
