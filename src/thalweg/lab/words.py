"""Texts as textbook models read them: weighted words and runs of characters, and their themes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

Matrices = tuple[sparse.csr_array, sparse.csr_array]

MOST_FEATURES: Final = 200_000
"""How many words and runs of a column, the commonest, are told apart."""

THEMES: Final = 50
MOST_CHARACTERS: Final = 2_000
"""How much of a text is read."""

MANY: Final = 3_000_000
"""Characters in all, beyond which words alone are looked at where blanks part them."""

_BLANKS: Final = 0.05


@final
class Words:
    """Texts of rows as numbers; all that is learned is learned from the training rows.

    Parameters
    ----------
    train, test
        For each column of text its cells, large_string [N] and [M].
    seed
        Draws the start of the search for themes.
    """

    def __init__(self, train: Sequence[pa.Array], test: Sequence[pa.Array], seed: int = 0) -> None:
        self._train = train
        self._test = test
        self._seed = seed

    @cached_property
    def weighted(self) -> Matrices:
        """Words and pairs of them, and runs of characters, by how telling they are (TF-IDF).

        Sparse float32 [N, features] and [M, features]; rows of each column have length 1. In a
        script without blanks runs of one to three characters take the place of words.
        """
        parts: list[Matrices] = []
        for train, test in zip(self._train, self._test, strict=True):
            parts += _weighted(train, test)
        if not parts:
            rows, asked = (
                sparse.csr_array(np.empty((len(cells[0]), 0), np.float32))
                for cells in (self._train, self._test)
            )
            return rows, asked
        return (
            sparse.csr_array(sparse.hstack([one for one, _ in parts], format="csr")),
            sparse.csr_array(sparse.hstack([other for _, other in parts], format="csr")),
        )

    @cached_property
    def themes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The 50 directions in which the words differ most (latent semantic analysis).

        float32 [N, themes] and [M, themes].
        """
        from sklearn.decomposition import TruncatedSVD

        train, test = self.weighted
        size = min(THEMES, *(count - 1 for count in train.shape))
        if size < 1:
            return train.toarray(), test.toarray()
        found = TruncatedSVD(size, random_state=self._seed)
        own = found.fit_transform(train).astype(np.float32)
        return own, found.transform(test).astype(np.float32)


def _weighted(train: pa.Array, test: pa.Array) -> list[Matrices]:
    """Weigh the words and runs of one column; none where it holds no text that comes again."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    read, asked = (
        pc.utf8_slice_codeunits(texts.fill_null(""), 0, MOST_CHARACTERS).to_pylist()
        for texts in (train, test)
    )
    found = []
    for form in _forms(read):
        vectors = TfidfVectorizer(
            sublinear_tf=True, min_df=2, max_features=MOST_FEATURES, dtype=np.float32, **form
        )
        try:
            learned = vectors.fit_transform(read)
        except ValueError:
            # Nothing comes twice.
            continue
        found.append((sparse.csr_array(learned), sparse.csr_array(vectors.transform(asked))))
    return found


def _forms(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Choose what to count: words where blanks part them, else runs of characters."""
    some = texts[:: max(1, len(texts) // 1_000)]
    characters = max(1, sum(map(len, some)))
    if sum(text.count(" ") for text in some) < _BLANKS * characters:
        return [{"analyzer": "char", "ngram_range": (1, 3)}]
    words = {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b"}
    if characters / len(some) * len(texts) > MANY:
        return [words]
    return [words, {"analyzer": "char_wb", "ngram_range": (2, 4)}]
