from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from thalweg.data.schema import Column, Ignored, Schema
from thalweg.kinds.base import State
from thalweg.lab.report import render_profile, render_report
from thalweg.models.record import Curve, Figure, Importance, Slice
from thalweg.stats import TableSummary

Story = Any  # the dataclass of conftest.py
HOSTILE = "</script><img src=x onerror=alert(1)>\"'`|*{{ 7*7 }}"
TASKS = ("binary", "multiclass", "regression")
SECTIONS = ("standing", "errors", "columns", "slices", "learning", "data", "trained", "use")
VOID = {"meta", "br", "img", "hr", "link", "input"}


def summed(table: pa.Table) -> TableSummary:
    summary = TableSummary()
    summary.update(table)
    return summary


def figure(value: float, reach: float) -> Figure:
    return Figure(value=value, low=value - reach, high=value + reach)


class Page(HTMLParser):
    """Reads a page strictly: every element is closed, in order; ids are there once."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, names)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def values(self, attribute: str) -> list[str]:
        return [found[attribute] or "" for _, found in self.tags if attribute in found]


@pytest.fixture(params=TASKS)
def story(request: pytest.FixtureRequest) -> Story:
    found: Story = request.getfixturevalue(request.param)
    return found


def page_of(story: Story, **changes: Any) -> Page:
    return Page(render_report(**replace(story, **changes).given()))


def check(text: str) -> Page:
    """Hold a page against what every page must be."""
    page = Page(text)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    for target in page.values("href"):
        assert target.startswith("#")
        assert target[1:] in ids
    for label in page.values("aria-labelledby"):
        assert label in ids
    for clip in page.values("clip-path"):
        assert clip.removeprefix("url(#").removesuffix(")") in ids
    assert not re.search(r"\b(nan|NaN|None|inf|undefined)\b", page.text)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & {t for t, _ in page.tags}
    for tag, found in page.tags:  # pictures and sounds come along, and the policy lets them
        assert ("src" in found) == (tag in {"img", "audio"})
        if "src" in found:
            own = "image/png" if tag == "img" else "audio/wav"
            assert (found["src"] or "").startswith(f"data:{own};base64,")
            allowed = f"{'img' if tag == 'img' else 'media'}-src data:"
            assert allowed in (page.values("content")[0])
    assert not page.values("style")  # the policy would not let them work
    assert not [name for _, found in page.tags for name in found if name.startswith("on")]
    assert "http://" not in text
    assert "https://" not in text
    assert "url(" not in text.partition("<style>")[2].partition("</style>")[0]
    for tag, found in page.tags:
        if tag == "svg":
            assert found.get("aria-hidden") == "true" or found.get("aria-label")
    return page


def test_every_section_is_there(story: Story) -> None:
    page = check(render_report(**story.given()))
    ids = page.values("id")
    assert [name for name in SECTIONS if name not in ids] == []
    assert page.text.count("was not measured") == 0
    assert "thalweg predict" in page.text
    assert "1,483,920 weights" in page.text
    assert "2.6.0" in page.text


def test_equal_stories_give_equal_bytes(story: Story) -> None:
    assert render_report(**story.given()) == render_report(**story.given())


def test_the_stylesheet_is_the_one_that_the_policy_allows(binary: Story) -> None:
    import base64
    import hashlib

    text = render_report(**binary.given())
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    [policy] = [
        found["content"]
        for tag, found in Page(text).tags
        if found.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_the_headline_stands_beside_the_best_baseline(binary: Story, regression: Story) -> None:
    assert (
        "Trained on 26,048 rows, this model is right about 86.8% of 16,281 others that it "
        "never saw; its log loss is 0.2932 (95% interval 0.2861 to 0.3003), worse than the "
        "best baseline, boosted trees, with 0.2775."
    ) in page_of(binary).text
    assert "A baseline is better at log loss" in page_of(binary).text
    text = page_of(regression).text
    assert "is off by 30,120 on average on 4,128 others" in text
    assert "beside the best baseline, boosted trees, with 45,400" in text
    assert "A baseline is better" not in text


def test_regression_shows_errors_and_classes_show_confusion(
    binary: Story, multiclass: Story, regression: Story
) -> None:
    assert (
        "Of the 90% intervals, 89.7% hold the true value (95% interval 88.8% to 90.6%)."
        in page_of(regression).text
    )
    assert "Residuals" in page_of(regression).text
    assert "A row is called >50K from a probability of 0.4127 on." in page_of(binary).text
    assert "11,420" in page_of(binary).text
    assert "Most frequent mistakes" in page_of(multiclass).text
    assert "云杉" in page_of(multiclass).text


def test_why_columns_are_what_they_are(binary: Story) -> None:
    text = page_of(binary).text
    assert "text of which 99.8% reads as numbers" in text
    assert "a row number: whole numbers that count the rows" in text
    assert "is it known before the target is?" in text


def hostile(story: Story, name: str) -> Story:
    """Put a name wherever a name from outside can stand."""
    state = State()
    rows = pa.table(
        {name: [name, name, "b"], f"{name}2": [1.0, 2.0, 3.0], f"{name}3": ["x", "y", None]}
    )
    schema = Schema(
        (Column(f"{name}2", "number", state, name),),
        Column(name, "category", state, name),
        (Ignored(f"{name}3", name),),
    )
    one = story.evaluation
    evaluation = one.model_copy(
        update={
            "metric": name,
            "metrics": {name: figure(0.5, 0.1)},
            "baselines": {
                name: next(iter(one.baselines.values())).model_copy(
                    update={"metrics": {name: figure(0.4, 0.1)}}
                )
            },
            "classes": [name, f"{name}b"],
            "confusion": [[3, 1], [2, 4]],
            "calibration": {f"{name}b": Curve(x=[0.1, 0.9], y=[0.2, 0.8], weight=[3, 4])},
            "slices": [Slice(where=name, rows=3, loss=1, rest=0.5, value=2, probability=0.01)],
            "importances": [Importance(column=name, kind=name, value=1, low=0.5, high=2)],
            "warnings": [name],
        }
    )
    training = story.training.model_copy(
        update={
            "settings": {name: name, "recipe": {name: [name]}},
            "versions": {name: name},
            "metric": name,
            "stopped": name,
        }
    )
    return replace(
        story,
        name=name,
        schema=schema,
        profile=summed(rows),
        evaluation=evaluation,
        training=training,
        warnings=(f"{name}!",),
    )


@pytest.mark.parametrize(
    "name",
    [
        HOSTILE,
        "'; drop -- \x00\x1b[31m\n\r",
        "\u202egnp.exe",
        "",
        " ",
        "{{ 7*7 }}{% x %}",
        "&lt;b&gt;",
    ],
)
def test_hostile_names_are_shown_and_do_nothing(
    binary: Story, regression: Story, name: str
) -> None:
    told = hostile(regression if name == HOSTILE else binary, name)
    text = render_report(**told.given())
    page = check(text)
    assert "<img" not in text
    assert "\x00" not in text
    assert "\x1b" not in text
    assert "49" not in page.text or "7*7" in page.text
    for fragment in re.findall(r"[\w&;<>{}*%= ]{4,}", name):
        assert " ".join(fragment.split()) in page.text
    check(render_profile(name=name, profile=told.profile, schema=told.schema, warnings=[name]))


def test_long_names_are_cut_with_the_whole_as_title(binary: Story) -> None:
    name = "household_" * 30
    told = hostile(binary, name).judged(warnings=[])
    page = page_of(told, name="model", warnings=())
    assert name in page.values("title")
    assert name not in page.text


@pytest.mark.parametrize("missing", [float("nan"), float("-inf")])
def test_what_is_not_finite_is_not_shown(story: Story, missing: float) -> None:
    none = Figure(value=missing, low=missing, high=missing)
    half = Figure(value=0.5, low=missing, high=missing)
    one = story.evaluation
    told = story.judged(
        metrics={name: none if place else half for place, name in enumerate(one.metrics)},
        importances=[
            Importance(column="a", kind="number", value=missing, low=missing, high=missing)
        ],
        slices=[Slice(where="a", rows=1, loss=missing, rest=0, value=missing, probability=missing)],
        residuals=Curve(x=[missing, 1.0], y=[1.0, missing]) if one.residuals else None,
    )
    epochs = [
        e.model_copy(update={"metric": missing, "validation_loss": missing})
        for e in told.training.epochs
    ]
    training = told.training.model_copy(
        update={"epochs": epochs, "seconds": missing, "rows_per_second": missing}
    )
    check(render_report(**replace(told, training=training).given()))


def test_missing_parts_do_not_break_the_page(story: Story) -> None:
    told = story.judged(
        metrics={},
        baselines={},
        classes=[],
        confusion=[],
        threshold=None,
        calibration={},
        residuals=None,
        slices=[],
        importances=[],
    )
    training = told.training.model_copy(update={"epochs": [], "settings": {}, "versions": {}})
    told = replace(
        told, training=training, profile=summed(pa.table({})), schema=Schema(()), warnings=()
    )
    page = check(render_report(**told.given()))
    assert "No metric was measured." in page.text
    assert "No group was found" in page.text


def test_one_epoch_one_class_one_column(binary: Story) -> None:
    told = binary.judged(
        classes=["only"],
        confusion=[[7]],
        calibration={"only": Curve(x=[1.0], y=[1.0])},
        baselines={},
    )
    epochs = told.training.epochs[:1]
    told = replace(
        told, training=told.training.model_copy(update={"epochs": epochs, "best_epoch": 0})
    )
    page = check(render_report(**told.given()))
    assert "no baseline to compare it with" in page.text


def test_folds_are_not_called_validation_rows(story: Story) -> None:
    folded = replace(story, rows=story.rows.model_copy(update={"validation": 0}))
    text = check(render_report(**folded.given())).text
    assert "held-out folds" in text
    assert "each member of the network held out an eighth of its own" in text
    assert "validation rows" not in text
    assert "to validate" not in text
    assert "to validate" in page_of(story).text


def test_epochs_count_from_1(binary: Story) -> None:
    text = page_of(binary).text
    assert "the weights of epoch 16 were kept" in text
    assert "marks epoch 16, whose weights were kept" in text


def test_it_says_how_rows_are_called(binary: Story, regression: Story) -> None:
    text = page_of(binary).text
    assert "are about the class >50K" in text
    assert "0.413, chosen for F1 on rows it had not learned from; rivals decide at 0.5" in text
    assert "does not by itself show which model is better" in text
    assert "rivals decide" not in page_of(regression).text


def test_residuals_that_are_all_equal(regression: Story) -> None:
    check(render_report(**regression.judged(residuals=Curve(x=[5.0] * 9, y=[0.0] * 9)).given()))
    binned = Curve(x=[1.0, 2.0, 3.0], y=[0.1, -0.2, 0.1], weight=[100.0, 1000.0, 10.0])
    check(render_report(**regression.judged(residuals=binned).given()))


def test_many_classes_are_put_together(multiclass: Story) -> None:
    names = [f"class {number}" for number in range(60)]
    counts = np.diag(np.arange(60) + 5)
    counts[3, 59] = 4
    told = multiclass.judged(
        classes=names,
        confusion=counts.tolist(),
        calibration={name: Curve(x=[0.1, 0.9], y=[0.2, 0.8], weight=[1.0, 2.0]) for name in names},
    )
    page = check(render_report(**told.given()))
    assert "all other classes" in page.text
    assert "class 3 taken for class 59 (4, 33.3% of its rows)" in page.text
    assert "The 6 commonest classes." in page.text


def test_two_hundred_columns_stay_usable(story: Story) -> None:
    random = np.random.default_rng(0)
    state = State()
    columns: dict[str, Any] = {f"number_{place}": random.normal(size=500) for place in range(120)}
    columns |= {f"category {place}": random.choice(list("abcdefghij"), 500) for place in range(80)}
    fitted = tuple(
        Column(name, "number" if "_" in name else "category", state, "given") for name in columns
    )
    target = story.schema.target
    importances = [
        Importance(column=name, kind="number", value=0.1, low=0, high=0.2) for name in columns
    ]
    told = replace(
        story.judged(importances=importances),
        schema=Schema(fitted, target),
        profile=summed(pa.table(columns)),
    )
    text = render_report(**told.given())
    page = check(text)
    assert len(text.encode()) < 1_500_000
    assert [found for tag, found in page.tags if tag == "details"]
    opened = text.partition('id="data"')[2].partition("<details>")[0]
    assert opened.count('<article class="card') == 40
    assert text.count('<article class="card') == 200


def test_a_profile_without_a_schema(binary: Story) -> None:
    page = check(render_profile(name="adult.parquet", profile=binary.profile))
    assert "2,000 rows and 11 columns" in page.text
    assert "every cell is missing" in page.text
    assert "1998-01-01" in page.text


@pytest.mark.parametrize(
    "values",
    [
        [],
        [None],
        [float("nan")] * 3,
        [1e308, -1e308, 3.0],
        [5e-324, 1.0, 2.0],
        [2**63, 1, 2],
        [0, 0, 0],
        [True, False, None],
        ["", " ", "NA"],
        [[1], [2], None],
        [b"\x00\xff", None, b"a"],
        ["x" * 100_000, "y"],
        ["9999-12-31", "0001-01-01", "2000-01-01"],
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["number", "category", "datetime", "boolean", ""])
def test_any_column_can_be_shown_as_any_kind(values: list[Any], kind: str) -> None:
    array = pa.array(values, pa.uint64()) if 2**63 in values else pa.array(values)
    schema = Schema((Column("c", kind, State()),)) if kind else None
    check(render_profile(name="t", profile=summed(pa.table({"c": array})), schema=schema))


def test_charts_are_drawn_without_touching_what_others_draw(binary: Story) -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    render_report(**binary.given())
    assert dict(mpl.rcParams) == before


def test_a_profile_tells_of_repeated_rows() -> None:
    table = pa.table({"a": [1, 1, 1, 2]})
    assert (
        "About 50.0% of the rows repeat an earlier one."
        in check(render_profile(name="t", profile=summed(table))).text
    )


def test_a_group_may_have_no_metric(binary: Story) -> None:
    slices = [
        Slice(where="a = 1", rows=9, loss=0.5, rest=0.2, value=None, probability=0.01),
        Slice(where="a = 2", rows=9, loss=0.4, rest=0.2, value=0.7, probability=0.01),
    ]
    page = check(render_report(**binary.judged(metric="roc_auc", slices=slices).given()))
    assert "a = 1 9 – 0.5000 2.5× 0.2000 0.0100" in page.text


def test_texts_that_mean_missing_are_no_values() -> None:
    table = pa.table({"job": ["?", "?", "?", "Sales", "Craft", "Sales", "NA", "Sales"]})
    text = check(render_profile(name="t", profile=summed(table))).text
    assert "Sales 75.0% Craft 25.0%" in text
    assert "missing 50.0%" in text
    assert "?" not in text
