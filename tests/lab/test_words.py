from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from thalweg.kinds.base import Design
from thalweg.lab.baselines import BASELINES, fit_baselines
from thalweg.lab.words import Words


def reviews(seed: int, rows: int = 400) -> tuple[pa.Array, np.ndarray]:
    """English reviews whose mood hangs on single words."""
    random = np.random.default_rng(seed)
    target = random.integers(0, 2, rows)
    moods = (["bad", "awful", "poor"], ["good", "lovely", "fine"])
    plain = ["the", "dress", "was", "and", "fits", "me", "size", "colour", "very"]
    texts = []
    for mood in target:
        words = [*random.choice(plain, 6), random.choice(moods[mood])]
        texts.append(" ".join(random.permutation(words)))
    return pa.array(texts, pa.large_string()), target


def chinese(seed: int, rows: int = 400) -> tuple[pa.Array, np.ndarray]:
    """The same without blanks."""
    texts, target = reviews(seed, rows)
    signs = dict(
        zip(
            "abcdefghijklmnopqrstuvwxyz",
            "的一是了我不人在他有这个上们来到时大地为子中你说生国",
            strict=True,
        )
    )
    spelt = ["".join(signs.get(one, "") for one in text) for text in texts.to_pylist()]
    return pa.array(spelt, pa.large_string()), target


def design(texts: pa.Array) -> Design:
    rows = len(texts)
    return Design(np.empty((rows, 0), np.float32), np.empty((rows, 0), np.int32), (texts,))


@pytest.mark.parametrize("make", [reviews, chinese])
@pytest.mark.parametrize("name", [*BASELINES])
def test_a_table_of_texts_alone_suits_every_rival(name: str, make) -> None:
    pytest.importorskip(BASELINES[name].package)
    (texts, target), (others, truth) = make(0), make(1)
    found = fit_baselines(
        design(texts), target, design(others), "binary", 2, names=[name], threads=1
    )[name]
    right = (found.prediction.argmax(axis=1) == truth).mean()
    least = {"constant": 0.4, "linear": 0.97}.get(name, 0.8)
    assert right > least


def test_only_training_rows_are_learned_from() -> None:
    train = pa.array(["a cat", "a dog", "a cat"], pa.large_string())
    test = pa.array(["xylem xylem", "a cat"], pa.large_string())
    rows, asked = Words([train], [test]).weighted
    assert asked[[0]].nnz == 0
    np.testing.assert_allclose(asked[[1]].toarray(), rows[[0]].toarray())
    again, _ = Words([train], [test.slice(1)]).weighted
    assert (rows != again).nnz == 0


def test_texts_of_nothing() -> None:
    nothing = pa.array(["", None, ""], pa.large_string())
    words = Words([nothing], [nothing])
    assert words.weighted[0].shape == (3, 0)
    assert words.themes[1].shape == (3, 0)
    found = fit_baselines(design(nothing), np.array([0, 1, 1]), design(nothing), "binary", 2)
    assert all(np.isfinite(one.prediction).all() for one in found.values())


def test_numbers_stand_beside_words() -> None:
    texts, target = reviews(0)
    value = target * 10.0 + np.random.default_rng(0).normal(size=len(target))
    both = Design(np.float32(value)[:, None], np.empty((len(target), 0), np.int32), (texts,))
    found = fit_baselines(both, value, both, "regression", names=["linear", "boosting"], threads=1)
    for one in found.values():
        assert np.corrcoef(one.prediction, value)[0, 1] > 0.97
