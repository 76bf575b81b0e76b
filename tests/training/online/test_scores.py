from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, cohen_kappa_score, log_loss, r2_score

from thalweg.training.online.course import Points, Recoveries, Spread
from thalweg.training.online.record import Standing
from thalweg.training.online.scores import MAJORITY, MEAN, MODEL, NO_CHANGE, Scores


def shares(random: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    drawn = random.gamma(0.5, size=(rows, classes)) + 1e-9
    return np.asarray(drawn / drawn.sum(axis=1, keepdims=True))


def fed(scores: Scores, cuts: list[int], **columns: np.ndarray) -> Scores:
    names = ["answers", "targets", "before"]
    for part in zip(*(np.split(columns[name], cuts) for name in columns), strict=True):
        given = dict(zip(columns, part, strict=True))
        scores.predicted(len(given["targets"]))
        scores.take(*(given.pop(name) for name in names), given.pop("delays", None), **given)
    return scores


def classes_of(seed: int, rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    targets = random.integers(0, 3, rows).astype(float)
    said = np.stack([shares(random, rows, 3) for _ in range(2)], axis=1)
    said[: rows // 3, 1] = np.nan
    return {
        "answers": shares(random, rows, 3),
        "targets": targets,
        "before": np.concatenate([[np.nan], targets[:-1]]),
        "delays": random.integers(0, 500, rows),
        "said": said,
    }


def numbers_of(seed: int, rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    targets = np.cumsum(random.normal(size=rows)) + 1e4
    return {
        "answers": targets[:, None] + random.normal(size=(rows, 1)),
        "targets": targets,
        "before": np.concatenate([[np.nan], targets[:-1]]),
    }


def exact(standing: Standing) -> dict[str, Any]:
    """All that must not depend on how the stream was cut, to the last bit."""
    return standing.model_dump(include={"metrics", "baselines", "experts", "delays", "labels"})


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    rows=st.integers(1, 400),
    cuts=st.lists(st.integers(0, 400), max_size=6).map(sorted),
    numbers=st.booleans(),
)
def test_any_cut_gives_the_same_figures(
    seed: int, rows: int, cuts: list[int], numbers: bool
) -> None:
    columns = (numbers_of if numbers else classes_of)(seed, rows)
    options: dict[str, Any] = {"numbers": numbers, "window": 60, "points": 8}
    whole = fed(Scores(**options), [], **columns).standing()
    cut = fed(Scores(**options), cuts, **columns).standing()
    assert exact(cut) == exact(whole)
    assert cut.fading == pytest.approx(whole.fading)
    assert cut.recent == pytest.approx(whole.recent)
    assert cut.course.at == whole.course.at
    assert cut.course.rows == whole.course.rows
    for metric, lines in whole.course.lines.items():
        for who, line in lines.items():
            assert cut.course.lines[metric][who] == pytest.approx(line)


def test_figures_of_classes_are_those_of_sklearn() -> None:
    columns = classes_of(1, 3000)
    standing = fed(Scores(numbers=False, experts=["one"]), [700], **columns).standing()
    truth, answers = columns["targets"], columns["answers"]
    guess = answers.argmax(axis=1)
    right = accuracy_score(truth, guess)
    same = np.mean(truth[1:] == truth[:-1]) * 2999 / 3000
    assert standing.metrics["accuracy"] == right
    assert standing.metrics["log_loss"] == pytest.approx(log_loss(truth, answers))
    assert standing.metrics["kappa"] == pytest.approx(cohen_kappa_score(truth, guess))
    assert standing.baselines[NO_CHANGE] == {"accuracy": pytest.approx(same)}
    assert standing.metrics["kappa_t"] == pytest.approx((right - same) / (1 - same))
    commonest = [np.bincount(truth[:row].astype(int), minlength=3).argmax() for row in range(3000)]
    majority = np.mean(np.array(commonest) == truth)
    assert standing.baselines[MAJORITY]["accuracy"] == pytest.approx(majority)
    assert standing.baselines[MAJORITY]["log_loss"] == pytest.approx(np.log(3), abs=0.02)
    assert standing.metrics["kappa_m"] == pytest.approx((right - majority) / (1 - majority))
    last = slice(2000, None)
    assert standing.recent["accuracy"] == accuracy_score(truth[last], guess[last])
    assert standing.recent["kappa"] == pytest.approx(cohen_kappa_score(truth[last], guess[last]))
    weights = 0.999 ** np.arange(2999, -1, -1)
    faded = accuracy_score(truth, guess, sample_weight=weights)
    assert standing.fading["accuracy"] == pytest.approx(faded)
    kappa = cohen_kappa_score(truth, guess, sample_weight=weights)
    assert standing.fading["kappa"] == pytest.approx(kappa)
    assert standing.experts.keys() == {"one", "expert 2"}
    second = columns["said"][1000:, 1]
    assert standing.experts["expert 2"]["log_loss"] == pytest.approx(log_loss(truth[1000:], second))
    assert standing.delays is not None
    assert standing.delays.mean == columns["delays"].mean()
    assert standing.delays.median == pytest.approx(np.median(columns["delays"]), rel=0.02)


def test_figures_of_numbers_are_those_of_sklearn() -> None:
    columns = numbers_of(2, 2000)
    columns["targets"][50] = np.nan
    columns["answers"][60] = np.nan
    standing = fed(Scores(numbers=True), [10, 900], **columns).standing()
    judged = np.arange(2000)
    judged = judged[~np.isin(judged, [0, 50, 60])]
    truth, answers = columns["targets"][judged], columns["answers"][judged, 0]
    before = columns["before"][judged]
    assert standing.labels == 1999
    assert standing.silent == 1
    assert standing.metrics["mae"] == pytest.approx(np.abs(truth - answers).mean())
    assert standing.metrics["rmse"] == pytest.approx(np.sqrt(np.mean((truth - answers) ** 2)))
    assert standing.metrics["r2"] == pytest.approx(r2_score(truth, answers))
    gain = 1 - np.sum((truth - answers) ** 2) / np.sum((truth - before) ** 2)
    assert standing.metrics["r2_no_change"] == pytest.approx(gain)
    assert standing.baselines[NO_CHANGE]["mae"] == pytest.approx(np.abs(truth - before).mean())
    known = columns["targets"][~np.isnan(columns["targets"])]
    means = [np.mean(known[: row - (row > 50)]) for row in judged]
    assert standing.baselines[MEAN]["mae"] == pytest.approx(np.abs(truth - means).mean())


def test_no_answer_is_wrong_and_classes_may_come() -> None:
    scores = Scores(numbers=False)
    nan = np.nan
    scores.take(np.array([[nan], [1.0]]), np.array([0.0, 0.0]), np.array([nan, 0.0]))
    scores.take(np.array([[0.7, 0.3], [0.9, 0.1]]), np.array([1.0, 2.0]), np.array([0.0, 1.0]))
    standing = scores.standing()
    assert standing.metrics["accuracy"] == 0.25
    assert standing.silent == 1
    assert standing.metrics["log_loss"] > 36 / 4  # nobody expected the last one


@pytest.mark.parametrize("numbers", [False, True])
def test_state_goes_on_bit_for_bit(numbers: bool) -> None:
    columns = (numbers_of if numbers else classes_of)(3, 2500)
    parts = [{k: v[:1300] for k, v in columns.items()}, {k: v[1300:] for k, v in columns.items()}]
    scores = fed(Scores(numbers=numbers, window=100), [], **parts[0])
    scores.mark(1200)
    scores.mark(1400, "given")
    told = json.loads(json.dumps(scores.state(), allow_nan=False))
    again = Scores(numbers=numbers, window=100)
    again.restore(told)
    assert again.standing() == scores.standing()
    fed(scores, [50], **parts[1])
    fed(again, [50], **parts[1])
    assert again.standing() == scores.standing()
    assert again.state() == scores.state()
    standing = scores.standing()
    assert Standing.model_validate_json(standing.model_dump_json()) == standing
    assert len(standing.marks) == 2


def test_what_is_kept_does_not_grow() -> None:
    scores = Scores(numbers=False, experts=["a", "b"])
    columns = classes_of(4, 20_000)
    fed(scores, [], **columns)
    size = len(json.dumps(scores.state()))
    for _ in range(4):
        fed(scores, [], **columns)
    assert len(json.dumps(scores.state())) < min(1.4 * size, 300_000)
    course = scores.standing().course
    assert 200 <= len(course.at) <= 400
    assert course.at[-1] == sum(course.rows) == 100_000
    line = np.array(course.lines["accuracy"][MODEL], dtype=float)
    whole = scores.standing().metrics["accuracy"]
    assert np.average(line, weights=course.rows) == pytest.approx(whole)


def test_weights_are_those_at_the_end_of_each_point() -> None:
    points = Points(most=3, rows=1)
    for step in range(1, 6):
        points.add(np.ones((1, 1)), np.array([float(step)]))
    assert points.ends.tolist() == [2, 4, 5]
    assert points.told().ravel().tolist() == [2, 4, 5]


@given(values=st.lists(st.integers(0, 10**15), min_size=1, max_size=50))
def test_medians_are_near(values: list[int]) -> None:
    spread = Spread()
    spread.add(np.array(values))
    middle = sorted(values)[(len(values) - 1) // 2]
    assert middle * (1 - 1 / 64) - 1e-9 <= spread.median <= middle
    assert spread.mean == pytest.approx(np.mean(values))


def slow_recovery(errors: np.ndarray, at: int, end: int, kind: str, window: int) -> int | None:
    """The definition, step by step."""
    past = errors[max(0, at - window) : at]
    if kind == "confirmed":
        past = past[: max(0, len(past) - window // 2)]
    if len(past) < 30:
        return None
    share = (past.sum() + 1) / (len(past) + 2)
    spread = np.sqrt(share * (1 - share))
    limit = past.mean() + 2 * spread * np.sqrt(1 / len(past) + 2 / window)
    for start in range(at, end - window // 2 + 1):
        if errors[start : start + window // 2].mean() <= limit + 1e-12:
            return start - at
    return None


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    marks=st.lists(
        st.tuples(st.integers(0, 900), st.sampled_from(["given", "confirmed"])), max_size=4
    ),
    size=st.integers(1, 300),
)
def test_recoveries_are_by_their_definition(
    seed: int, marks: list[tuple[int, Any]], size: int
) -> None:
    random = np.random.default_rng(seed)
    chance = np.repeat(random.choice([0.05, 0.2, 0.5], 10), 100)
    errors = (random.random(1000) < chance).astype(float)
    marks = sorted(set(marks))
    found = Recoveries(window=200)
    left = list(marks)
    for start in range(0, 1000, size):
        while left and left[0][0] <= start + size:
            found.mark(*left.pop(0))
        found.add(errors[start : start + size])
    told = {(one.at, one.kind): one.recovered for one in found.marks}
    assert set(told) == set(marks)
    for at, kind in marks:
        end = min([1000, *(other for other, same in marks if same == kind and other > at)])
        assert told[at, kind] == slow_recovery(errors, at, end, kind, 200)


def test_a_stream_without_change_recovers_at_once() -> None:
    random = np.random.default_rng(0)
    waits = []
    for _ in range(100):
        errors = (random.random(4000) < 0.1).astype(float)
        found = Recoveries()
        found.mark(2000, "given")
        found.add(errors)
        waits.append(found.marks[0].recovered)
    assert np.mean([wait == 0 for wait in waits]) > 0.93
