"""Subword tokenizers: learned from a column's cells, or a pretrained model's own."""

from __future__ import annotations

import os
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ALONE: Final = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts that put no blanks between words: each character is a subword, and no merge is learned.
What words would say is said by pairs and triples of characters, or by the layers above."""

_EARLIEST: Final = 0x0E00
"""Before it stands no character of these scripts."""

_PARTS: Final = (
    rf"[{ALONE}]| ?[\p{{L}}\p{{M}}&&[^{ALONE}]]+| ?\p{{N}}| ?[^\s\p{{L}}\p{{N}}\p{{M}}]+| +"
)

ROOM: Final = 24
"""How many characters are looked at for each token that is kept."""

LEARNED_FROM: Final = 4_000_000
"""How many characters a vocabulary is learned from at most."""

LONGEST: Final = 8_192
"""How many characters of one cell a vocabulary is learned from at most."""


def normalised(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Write texts [N] in one form: NFKC, in lower case, single blanks, one before the first word.

    Examples
    --------
    >>> normalised(pa.array(["Ｆｕｌｌ   Width ", " "], pa.large_string())).to_pylist()
    [' full width', '']
    """
    texts = pc.utf8_lower(pc.utf8_normalize(texts, "NFKC"))
    texts = pc.replace_substring_regex(texts, r"\s+", " ")
    # The first word is written like any other one.
    return pc.replace_substring_regex(pc.utf8_trim_whitespace(texts), r"^(.)", r" \1")


def learn(texts: pa.LargeStringArray, vocabulary: int | None, least: int) -> str:
    """Learn a byte-level pair encoding (Sennrich et al. 2016) from texts.

    Any text can be written in it, for its alphabet is the 256 bytes. Equal texts in equal order
    give equal tokenizers.

    Parameters
    ----------
    texts
        Texts [N], none null.
    vocabulary
        The most subwords.
    least
        How many where that is not said; then there are more for characters that stand alone.

    Returns
    -------
    str
        The tokenizer as JSON, in the form of the ``tokenizers`` library.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    _one_thread()
    cells = _portion(normalised(texts)).to_pylist()
    if vocabulary is None:
        # A character of three bytes takes two merges.
        vocabulary = least + 2 * len(set("".join(cells)) - set(map(chr, range(_EARLIEST))))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PARTS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=32,
    )
    tokenizer.train_from_iterator(cells, trainer)
    return str(tokenizer.to_str())


def parse(text: str, length: int) -> Tokenizer:
    """Read a tokenizer from JSON, and let it keep the first ``length`` tokens of each text."""
    from tokenizers import Tokenizer

    _one_thread()
    tokenizer = Tokenizer.from_str(text)
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    return tokenizer


def tokens_of(
    tokenizer: Tokenizer, texts: pa.LargeStringArray, length: int
) -> NDArray[np.integer[Any]]:
    """Write texts [N] as tokens, from 1, padded by 0.

    Parameters
    ----------
    tokenizer
        As `parse` gives it.
    texts
        None null; an empty one has no tokens.
    length
        The most tokens of a text.

    Returns
    -------
    numpy.ndarray
        int16 or int32 [N, length], by the vocabulary.
    """
    size = np.min_scalar_type(-tokenizer.get_vocab_size() - 1)
    tokens = np.zeros((len(texts), length), dtype=np.promote_types(size, np.int16))
    there = np.flatnonzero(pc.greater(pc.binary_length(texts), 0))
    encodings = tokenizer.encode_batch_fast(texts.take(pa.array(there)).to_pylist())
    counts = np.fromiter(map(len, encodings), np.int64, len(encodings))
    flat = np.fromiter(chain.from_iterable(map(attrgetter("ids"), encodings)), np.int64)
    places = np.arange(len(flat)) - np.repeat(counts.cumsum() - counts, counts)
    tokens[np.repeat(there, counts), places] = flat + 1
    return tokens


def beginnings(texts: pa.LargeStringArray, length: int) -> pa.LargeStringArray:
    """Cut texts to what may be kept: one of ten million characters costs no more than that."""
    return pc.utf8_slice_codeunits(texts, 0, ROOM * length + 1_000)


def lengths_of(tokenizer: Tokenizer, texts: pa.LargeStringArray) -> NDArray[np.int64]:
    """Count the tokens of texts [N]."""
    encodings = tokenizer.encode_batch_fast(texts.to_pylist())
    return np.fromiter(map(len, encodings), np.int64, len(encodings))


def texts_of(tokenizer: Tokenizer, tokens: NDArray[np.integer[Any]]) -> pa.LargeStringArray:
    """Read tokens [N, length] as text again; without any, it is empty."""
    flat = tokens[tokens > 0].astype(np.int64) - 1
    rows = np.split(flat, (tokens > 0).sum(axis=1).cumsum()[:-1]) if len(tokens) else []
    found = tokenizer.decode_batch(list(map(np.ndarray.tolist, rows)))
    return pc.utf8_trim_whitespace(pa.array(found, pa.large_string()))


def _portion(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Take the first texts, so long as they hold no more characters than are learned from."""
    starts = pc.utf8_slice_codeunits(texts, 0, LONGEST)
    lengths = pc.utf8_length(starts).to_numpy(zero_copy_only=False)
    return starts.slice(0, int(np.searchsorted(np.cumsum(lengths), LEARNED_FROM)) + 1)


def _one_thread() -> None:
    """Keep the library to the thread that calls it: its own threads do not survive a fork."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
