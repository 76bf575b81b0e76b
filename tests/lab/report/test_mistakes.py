from __future__ import annotations

import base64
import io
import re
from typing import Any

import numpy as np
import pytest

from thalweg.kinds.waves import wav
from thalweg.lab.report import mistakes, render_report
from thalweg.models.record import Exhibit, Mistake

Story = Any  # the dataclass of conftest.py
HOSTILE = "</p><script>alert(1)</script>\"'{{ 7*7 }}\x00"


def picture(size: int = 28) -> str:
    from PIL import Image

    random = np.random.default_rng(size)
    written = io.BytesIO()
    Image.fromarray(random.integers(0, 255, (size, size), np.uint8)).save(written, "PNG")
    return base64.b64encode(written.getvalue()).decode()


def sound(samples: int = 800) -> str:
    return base64.b64encode(wav(np.zeros(samples, np.int16), 8_000)).decode()


def text(*pieces: tuple[str, float]) -> Exhibit:
    whole = "".join(piece for piece, _ in pieces)
    return Exhibit(column="review", media="text", data=whole, pieces=[*pieces])


def told(story: Story, *exhibits: Exhibit, **changes: Any) -> str:
    given: dict[str, Any] = {"truth": "bad", "prediction": "good", "probability": 0.98765} | changes
    one = Mistake(loss=4.2, exhibits=[*exhibits], **given)
    return render_report(**story.judged(mistakes=[one]).given())


def test_pictures_and_sounds_are_shown_and_the_policy_lets_them(binary: Story) -> None:
    page = told(
        binary,
        Exhibit(column="photo", media="image", data=picture()),
        Exhibit(column="voice", media="audio", data=sound()),
    )
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    assert "img-src data:" in policy
    assert "media-src data:" in policy
    assert "default-src &#39;none&#39;" in policy
    assert "script-src" not in policy
    assert f'<img src="data:image/png;base64,{picture()[:60]}' in page
    assert '<audio controls preload="metadata" src="data:audio/wav;base64,UklGR' in page
    assert "98.8%" in page


def test_a_page_without_pictures_allows_none(binary: Story) -> None:
    page = told(binary, Exhibit(column="age", media="value", data="39"))
    assert "img-src" not in page
    assert "media-src" not in page
    assert "Its worst mistakes" in page
    assert "Its worst mistakes" not in render_report(**binary.given())


def test_words_are_coloured_by_what_they_did(binary: Story) -> None:
    page = told(binary, text(("not ", -0.2), ("good ", 0.4), ("at all", 0.001)))
    assert '<span class="against-2" title="−0.2">not </span>' in page
    assert '<span class="for-5" title="+0.4">good </span>at all' in page
    assert "the predicted class loses when each is left out" in page


def test_words_that_hardly_matter_stay_pale(binary: Story) -> None:
    page = told(binary, text(("one ", 0.001), ("two", -0.004)))
    assert "one <span" in page
    assert '<span class="against-1"' in page
    assert "for-5" not in page.partition("</style>")[2]


def test_what_is_missing_or_too_large_says_so(binary: Story) -> None:
    page = told(
        binary,
        Exhibit(column="photo", media="image", data="", note="missing"),
        Exhibit(column="age", media="value", data="", note="missing"),
    )
    assert page.count("missing</p>") == 1
    assert "<i>missing</i>" in page
    assert "<img" not in page


def test_a_page_brings_no_more_than_it_has_room_for(binary: Story) -> None:
    large = "A" * 900_000
    shown = [Exhibit(column=f"photo{n}", media="image", data=large) for n in range(9)]
    page = told(binary, *shown)
    assert page.count("<img") == mistakes.MOST_SOURCES // 900_000 == 5
    assert page.count("no room for it here") == 4


@pytest.mark.parametrize("media", ["text", "value"])
def test_nothing_from_data_acts(binary: Story, media: Any) -> None:
    one = Exhibit(column=HOSTILE, media=media, data=HOSTILE, pieces=[(HOSTILE, 0.3)])
    page = told(binary, one, truth=HOSTILE, prediction=HOSTILE)
    assert "<script" not in page
    assert "49" not in re.findall(r'<ol class="mistakes.*?</ol>', page, re.DOTALL)[0]


def test_each_task_says_what_its_mistakes_are(
    binary: Story, multiclass: Story, regression: Story
) -> None:
    one = Exhibit(column="age", media="value", data="39")
    assert "called wrongly with the most confidence" in told(binary, one)
    assert "called wrongly" in told(multiclass, one)
    page = told(regression, one, probability=None)
    assert "farthest from the truth" in page
    assert "<small>at" not in page
