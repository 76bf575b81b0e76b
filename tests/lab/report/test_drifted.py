"""The page of a comparison: pictures on one scale, hostile names, nothing that acts."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa
import pytest

from thalweg.lab.report import render_drift
from thalweg.lab.report.drifted import Pair, line, pairs
from thalweg.stats import TableSummary
from thalweg.stats.drift.compare import compare
from thalweg.stats.drift.reference import Reference

HOSTILE = "</script><img src=x onerror=alert(1)>\"'`|*{{ 7*7 }}\n\x00"


def summed(columns: dict[str, object]) -> TableSummary:
    summary = TableSummary()
    summary.update(pa.table(columns))
    return summary


def tables() -> tuple[Reference, TableSummary]:
    drawn = np.random.default_rng(1)
    letters = np.array(["a", "b", HOSTILE])
    before = {
        "number": drawn.normal(size=900),
        "heap": np.where(drawn.random(900) < 0.9, 0.0, drawn.exponential(size=900)),
        "letter": letters[drawn.integers(0, 2, 900)],
        "text": [f"{'w ' * one}{place}" for place, one in enumerate(drawn.poisson(5, 900))],
        "gone": np.arange(900) / 7,
        "empty": pa.array([1.5, 2.5, None] * 300),
        "same": drawn.integers(0, 30, 900),
    }
    after = {
        "number": drawn.normal(1, 1, 800),
        "heap": np.where(drawn.random(800) < 0.5, 0.0, drawn.exponential(size=800)),
        "letter": letters[drawn.integers(0, 3, 800)],
        "text": [f"{'w ' * one}{place}" for place, one in enumerate(drawn.poisson(9, 800))],
        HOSTILE: ["x", "y"] * 400,
        "empty": pa.array([None] * 800, pa.float64()),
        "same": drawn.integers(0, 30, 800),
    }
    return Reference.of(summed(before)), summed(after)


def drawn_pairs() -> dict[str, Pair]:
    reference, summary = tables()
    changed = [one for one in compare(reference, summary) if one.drifted]
    return {one.name: one for one in pairs(changed, reference, summary)}


def test_both_pictures_are_on_one_scale() -> None:
    found = drawn_pairs()
    assert set(found) == {"number", "heap", "letter", "text", "gone", HOSTILE, "empty"}
    for name in ("number", "heap", "text"):
        one = found[name]
        assert one.before.ends == one.after.ends
        heights = [bar.height for bar in (*one.before.bars, *one.after.bars)]
        assert max(heights) == 100
        assert all(0 <= bar.left <= 100 - bar.width / 2 for bar in one.before.bars)
    assert found["number"].before.bars[0].left < found["number"].after.bars[0].left
    # Nine in ten are nought: the first bar, though the picture ends there.
    assert found["heap"].before.bars[0].height == 100
    assert found["heap"].before.ends[0] == "0"
    assert found["heap"].after.bars[0].height == pytest.approx(100 * 0.5 / 0.9, abs=9)
    assert [top.text for top in found["letter"].before.tops] == [
        top.text for top in found["letter"].after.tops
    ]
    assert found["letter"].before.tops[2].share == "0%"


def test_what_is_not_there_is_said() -> None:
    found = drawn_pairs()
    assert found["gone"].after.nothing == "no such column"
    assert found[HOSTILE].before.nothing == "no such column"
    assert found["gone"].before.bars
    assert found["empty"].after.nothing == "every cell is missing"
    (drift,) = (one for one in compare(*tables()) if one.name == "gone")
    assert (line(drift).words, line(drift).distance) == ("the column is gone", "–")


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") or name in {"style", "src"} for name, _ in attrs)


def test_the_page_is_whole_the_same_again_and_escapes_names() -> None:
    reference, summary = tables()

    def page() -> str:
        return render_drift(
            before=f"{HOSTILE}1",
            after=f"{HOSTILE}2",
            reference=reference,
            summary=summary,
            drifts=compare(reference, summary),
        )

    text = page()
    assert text == page()
    tags = Page(text).tags
    assert not {"script", "img", "iframe", "link"} & set(tags)
    assert "<img" not in text
    assert "{{ 7*7 }}" in text
    assert tags.count("article") == 7
    assert tags.count("tr") >= 9
    body = re.sub(r"&\w+;", "", text[text.index("<body") : text.index("</body>") + 7])
    ET.fromstring(body)  # noqa: S314 - our own page: every element is closed, in order


def test_a_page_of_nothing_that_changed() -> None:
    reference, _ = tables()
    summary = summed({"number": np.random.default_rng(5).normal(size=900)})
    drifts = compare(reference, summary, columns=["number"])
    text = render_drift(before="a", after="b", reference=reference, summary=summary, drifts=drifts)
    assert "None of 1 column has changed" in text
    assert "<article" not in text
