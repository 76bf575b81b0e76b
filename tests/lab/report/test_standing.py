from __future__ import annotations

import pytest

from thalweg.lab.report.standing import contests, decision, lost
from thalweg.lab.report.tables import contest_lines
from thalweg.models.record import Baseline, Evaluation, Figure


def judged(metric: str, own: Figure, **rivals: Figure) -> Evaluation:
    return Evaluation(
        task="regression",
        rows=100,
        metric=metric,
        metrics={metric: own},
        baselines={
            name: Baseline(metrics={metric: one}, seconds=1.0) for name, one in rivals.items()
        },
    )


def near(value: float, reach: float = 1.0) -> Figure:
    return Figure(value=value, low=value - reach, high=value + reach)


@pytest.mark.parametrize(
    ("metric", "own", "rival", "verdict"),
    [
        ("rmse", 10, 20, "ahead"),
        ("rmse", 20, 10, "behind"),
        ("rmse", 10, 11.5, "level"),
        ("r2", 20, 10, "ahead"),
        ("r2", 10, 20, "behind"),
        ("of_their_own", 10, 20, ""),
    ],
)
def test_the_verdict_knows_which_way_is_better(
    metric: str, own: float, rival: float, verdict: str
) -> None:
    [contest] = contests(judged(metric, near(own), trees=near(rival)))
    assert contest.verdict == verdict
    assert lost([contest]) == ([contest] if verdict == "behind" else [])


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("f1", ", chosen for F1 on rows it had not learned from;"),
        ("balanced_accuracy", ", chosen for balanced accuracy on rows"),
        (0.376, "0.376;"),
        ([1, 5], "0.376;"),
        (None, ", chosen for F1 on rows"),
    ],
)
def test_the_threshold_is_said_with_what_it_was_chosen_for(asked: object, why: str) -> None:
    found = judged("f1", near(1), trees=near(1)).model_copy(
        update={"task": "binary", "classes": ["no", "yes"], "threshold": 0.376}
    )
    said = decision(found, {"threshold": asked})
    assert why in said
    assert said.endswith(
        "rivals decide at 0.5: compare accuracy, precision, recall and F1 with that in mind."
    )
    alone = decision(found.model_copy(update={"baselines": {}}))
    assert alone.endswith("calls a row yes from a probability of 0.376.")
    likelier = decision(found.model_copy(update={"threshold": None}))
    assert likelier == "Precision, recall, F1 and average precision are about the class yes."
    assert decision(judged("rmse", near(1))) == ""


def test_the_best_of_each_row_is_marked() -> None:
    [contest] = contests(judged("rmse", near(10), trees=near(9), linear=near(30)))
    assert [(one.name, one.best) for one in contest.contenders] == [
        ("thalweg", False),
        ("trees", True),
        ("linear", False),
    ]


def test_a_rival_far_off_does_not_press_the_others_together() -> None:
    found = judged("rmse", near(10), trees=near(9), linear=near(12), constant=near(900))
    [contest] = contests(found)
    assert contest.axis[1] < 20
    lines = {line.label: line.dot for line in contest_lines(contest)}
    assert lines["constant"].outside == "right"
    assert not lines["linear"].outside
    assert 0 < (lines["trees"].at or 0) < (lines["Thalweg"].at or 0) < 100


def test_the_model_itself_is_never_left_outside() -> None:
    found = judged("rmse", near(900), trees=near(9), linear=near(12), constant=near(10))
    assert not any(line.dot.outside for line in contest_lines(contests(found)[0]))


def test_a_figure_that_is_missing_is_neither_best_nor_a_rival() -> None:
    none = Figure(value=float("nan"), low=float("nan"), high=float("nan"))
    [contest] = contests(judged("rmse", near(10), trees=none, linear=near(30)))
    assert contest.rival is not None
    assert contest.rival.name == "linear"
    assert [one.text for one in contest.contenders if one.name == "trees"] == ["–"]
