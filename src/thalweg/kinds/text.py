"""Free text in any script: subwords, read by an encoder learned here or by a pretrained one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from thalweg.core.errors import ColumnError, OptionError, TargetError
from thalweg.kinds import subwords
from thalweg.kinds.base import (
    Design,
    Encoded,
    Kind,
    Options,
    Role,
    State,
    Threshold,
)
from thalweg.kinds.cells import is_text, present, require_flat
from thalweg.stats import ColumnSummary
from thalweg.stats.arrays import is_bytes, plain
from thalweg.stats.parsing import canonical_text, is_missing_text

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

EncoderName = Literal["bag", "conv", "recurrent", "transformer", "pretrained"]
Learns = Literal["frozen", "last", "whole"]
Pooling = Literal["mean", "cls"]

VOCABULARY: Final = 2_000
"""Few subwords, whose pairs and triples are words: whole words as subwords did worse."""

LENGTHS: Final[Mapping[str, int]] = {
    "bag": 512,
    "conv": 256,
    "recurrent": 256,
    "transformer": 256,
    "pretrained": 128,
}
"""The most tokens that are kept by default: what they cost differs."""

SAMPLED: Final = 2_000
"""In how many texts tokens are counted."""

COVERED: Final = 0.98
"""The share of texts that are kept whole by default."""

MOST_CHARACTERS: Final = 1_000_000

NOT_UTF8: Final = "not UTF-8"
TOO_LONG: Final = f"a text of more than {MOST_CHARACTERS:,} characters"


@final
class TextOptions(Options):
    """What may be said about a column of text.

    Parameters
    ----------
    encoder
        ``bag`` (default: subwords and their pairs and triples, quick), ``conv``, ``recurrent``,
        ``transformer``, or ``pretrained``, which is the default where a model is named.
    model
        For ``pretrained``: the folder or name of a Hugging Face model of text.
    train
        How much of a pretrained model learns: nothing (``frozen``, default), its ``last`` two
        layers, or the ``whole`` of it.
    pooling
        What a pretrained model says of a text: the ``mean`` over its tokens (default) or the
        first one (``cls``).
    vocabulary
        The most subwords that are learned. Default 2,000, and two more for each character of a
        script without blanks.
    length
        The most tokens that are kept of a text. By default what 98% of the texts need, up to
        512 for ``bag``, 256 for other encoders and 128 for pretrained ones.
    """

    encoder: EncoderName | None = None
    model: str | None = None
    train: Learns = "frozen"
    pooling: Pooling = "mean"
    vocabulary: Annotated[int, Field(ge=300, le=100_000)] | None = None
    length: Annotated[int, Field(ge=1, le=8_192)] | None = None


@final
class TextState(State):
    """What is learned about a column of text.

    Parameters
    ----------
    encoder
        What reads it.
    tokenizer
        What cuts it into tokens, as JSON of the ``tokenizers`` library.
    size
        How many tokens there are.
    length
        How many tokens are kept of a text.
    plainly
        Whether texts are written in one form first (NFKC, lower case); a pretrained model's
        tokenizer does what it needs by itself.
    model
        The pretrained model's folder or name, from which its weights are read once.
    config
        The pretrained model's configuration, as JSON.
    train, pooling
        See `TextOptions`.
    """

    encoder: EncoderName
    tokenizer: str
    size: int
    length: int
    plainly: bool = True
    model: str = ""
    config: str = ""
    train: Learns = "frozen"
    pooling: Pooling = "mean"

    @cached_property
    def cutter(self) -> Tokenizer:
        """The tokenizer."""
        return subwords.parse(self.tokenizer, self.length)

    def tokens(self, texts: pa.LargeStringArray) -> NDArray[np.integer[Any]]:
        """Write texts [N], none null, as tokens [N, length]."""
        texts = subwords.beginnings(texts, self.length)
        texts = subwords.normalised(texts) if self.plainly else texts
        return subwords.tokens_of(self.cutter, texts, self.length)


@final
class Text(Kind[TextState, TextOptions]):
    """Free text.

    Fields: ``tokens`` int16 or int32 [N, C, L]: 0 pads, from 1 the tokens; ``missing`` uint8
    [N, C]. Refused are cells that are not UTF-8 or of more than a million characters.
    """

    name = "text"
    description = "Free text in any language; bytes are read as UTF-8. Input only."
    holds = frozenset({"bytes"})
    grouped = False
    packages = ("tokenizers",)
    state_type = TextState
    options_type = TextOptions

    def sniff(self, summary: ColumnSummary) -> float:
        """Say how likely a column is free text: many words or characters, seldom the same."""
        cells = present(summary)
        if not cells or summary.texts <= 0.5 * cells or summary.numbers.count >= 0.5 * cells:
            return 0.0
        if summary.times.count >= 0.5 * cells:
            return 0.0
        words, characters = summary.words.mean, summary.lengths.mean
        long = words > 2.5 or characters > 40 or (characters > 10 and _without_blanks(summary))
        fresh = summary.distinct() > 0.5 * cells
        return 0.9 if long and fresh and cells >= 20 else 0.01

    def fit(self, summary: ColumnSummary, options: TextOptions, role: Role) -> TextState:
        """Learn a vocabulary, or read a pretrained model's."""
        if role == "target":
            raise TargetError(
                "the target is text",
                "a number or classes",
                "Name its kind where its texts are classes: --column NAME=category.",
            )
        if summary.sizes.count:
            raise ColumnError(
                "a column whose cells are lists",
                "one text a cell",
                "Use kind set, or leave it out.",
            )
        encoder = options.encoder or ("pretrained" if options.model else "bag")
        if (encoder == "pretrained") != bool(options.model):
            raise OptionError(
                f"encoder={encoder} with "
                + (f"model={options.model}" if options.model else "no model"),
                "a model with encoder=pretrained, and none with others",
                "Say model=FOLDER (or a Hugging Face name), or choose another encoder.",
            )
        cells = _cells(summary)
        if options.model:
            from thalweg.blocks.pretrained import describe, tokenizer_of

            learned, config = tokenizer_of(options.model), describe(options.model)
        else:
            learned, config = subwords.learn(cells, options.vocabulary, VOCABULARY), ""
        plainly, length = not options.model, options.length or LENGTHS[encoder]
        cutter = subwords.parse(learned, length)
        if options.length is None:
            length = _needed(cells.slice(0, SAMPLED), cutter, length, plainly=plainly)
        return TextState(
            encoder=encoder,
            tokenizer=learned,
            size=cutter.get_vocab_size(),
            length=length,
            plainly=plainly,
            model=options.model or "",
            config=config,
            train=options.train,
            pooling=options.pooling,
        )

    def encode(self, arrays: Sequence[pa.Array], states: Sequence[TextState]) -> Encoded:
        """Cut every cell into tokens; see the class for the fields."""
        rows = len(arrays[0])
        cut, empty, broken, endless = [], [], [], []
        for array, state in zip(arrays, states, strict=True):
            tokens, missing, undecodable, long = _encode(array, state)
            cut.append(tokens)
            empty.append(missing)
            broken.append(undecodable)
            endless.append(long)
        longest = max(tokens.shape[1] for tokens in cut)
        fields = np.zeros(
            (rows, len(cut), longest), dtype=np.result_type(*(tokens.dtype for tokens in cut))
        )
        for column, tokens in enumerate(cut):
            fields[:, column, : tokens.shape[1]] = tokens
        refused = {NOT_UTF8: np.stack(broken, axis=1), TOO_LONG: np.stack(endless, axis=1)}
        refused = {reason: cells for reason, cells in refused.items() if cells.any()}
        dropped = np.zeros(rows, dtype=bool)
        for cells in refused.values():
            dropped |= cells.any(axis=1)
        return Encoded(
            {"tokens": fields, "missing": np.stack(empty, axis=1).astype(np.uint8)},
            dropped,
            np.zeros((rows, len(states)), dtype=bool),
            refused,
        )

    def decode(
        self, outputs: NDArray[np.floating[Any]], state: TextState, threshold: Threshold = None
    ) -> dict[str, pa.Array]:
        """Text is not predicted."""
        raise AssertionError

    def restore(self, encoded: Encoded, column: int, state: TextState) -> pa.Array:
        """Give the texts that the network sees: in one form, cut to what is kept."""
        missing = encoded.fields["missing"][:, column].astype(bool)
        texts = subwords.texts_of(state.cutter, encoded.fields["tokens"][:, column])
        return pc.if_else(pa.array(missing), None, texts)

    def design(self, fields: Mapping[str, NDArray[Any]], states: Sequence[TextState]) -> Design:
        """Give the texts that the network sees."""
        tokens = fields["tokens"]
        return Design(
            np.empty((len(tokens), 0), np.float32),
            np.empty((len(tokens), 0), np.int32),
            tuple(
                subwords.texts_of(state.cutter, tokens[:, column])
                for column, state in enumerate(states)
            ),
        )

    def common(self, state: TextState) -> bool:
        """Say whether members share the encoder: each has a bag of its own, no more."""
        return state.encoder != "bag"

    def encoder(self, states: Sequence[TextState], width: int, pairs: int = 0) -> nn.Module:
        """Build the encoders of all columns."""
        from thalweg.blocks.sequences import Reading, TextEncoder

        readings = [
            Reading(
                encoder=state.encoder,
                vocabulary=state.size,
                length=state.length,
                model=state.model,
                config=state.config,
                learns=state.train,
                pooling=state.pooling,
            )
            for state in states
        ]
        return TextEncoder(readings, width)

    def sample(self, seed: int, rows: int) -> pa.Array:
        """Make short reviews in English and Chinese, with gaps."""
        random = np.random.default_rng(seed)
        parts = (
            ["the room was", "our breakfast was", "i found the service", "the bed here is", "房间"],
            ["very", "not at all", "quite", "really", "很", "非常"],
            ["good", "clean", "terrible", "noisy", "friendly", "干净", "糟糕", "安静"],
            [
                "and we will come again",
                "but the street is loud",
                "for this price",
                "下次还会来",
                "服务也不错",
            ],
        )
        drawn = [pa.array(random.choice(part, rows)) for part in parts]
        numbers = pa.array(random.integers(1, 400, rows)).cast(pa.string())
        texts = pc.binary_join_element_wise(*drawn, "room", numbers, " ")
        return pc.if_else(pa.array(random.random(rows) < 0.05), None, texts)


def read_texts(
    array: pa.Array,
) -> tuple[pa.Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Read cells [N] of any flat Arrow type as texts.

    Returns
    -------
    tuple
        Their texts as large_string, null where there is none; bool [N]: which are not UTF-8;
        bool [N]: which are too long.

    Raises
    ------
    ColumnError
        Where cells are lists or records.

    Examples
    --------
    >>> texts, broken, _ = read_texts(pa.array([b" two words", bytes([255]), None, b"NA"]))
    >>> texts.to_pylist(), broken
    (['two words', None, None, None], array([False,  True, False, False]))
    """
    require_flat(array)
    array = plain(array)
    broken = np.zeros(len(array), dtype=np.bool_)
    if is_text(array.type) or is_bytes(array.type):
        from thalweg.sources.text import STRANGE

        array, broken = _decoded(array.cast(pa.large_binary()))
        strange = pc.match_substring_regex(array, STRANGE).fill_null(False)  # noqa: FBT003
        broken |= strange.to_numpy(zero_copy_only=False)
        long = pc.greater(pc.utf8_length(array), MOST_CHARACTERS).fill_null(False)  # noqa: FBT003
        endless = long.to_numpy(zero_copy_only=False)
        array = pc.if_else(long, None, array) if endless.any() else array
    else:
        endless = np.zeros(len(array), dtype=np.bool_)
    texts = canonical_text(array).cast(pa.large_string())
    gone = is_missing_text(texts)
    return pc.if_else(pa.array(gone), None, texts) if gone.any() else texts, broken, endless


def _decoded(cells: pa.LargeBinaryArray) -> tuple[pa.LargeStringArray, NDArray[np.bool_]]:
    """Decode UTF-8 [N]; where bytes are something else, null, and bool [N]: where they are."""
    try:
        return cells.cast(pa.large_string()), np.zeros(len(cells), dtype=np.bool_)
    except pa.ArrowInvalid:
        if len(cells) == 1:
            return pa.nulls(1, pa.large_string()), np.ones(1, dtype=np.bool_)
    # Damage is rare: halving finds it without a look at every cell.
    middle = len(cells) // 2
    parts = [_decoded(cells.slice(0, middle)), _decoded(cells.slice(middle))]
    texts, broken = zip(*parts, strict=True)
    return pa.concat_arrays(texts), np.concatenate(broken)


def _encode(
    array: pa.Array, state: TextState
) -> tuple[NDArray[np.integer[Any]], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Cut one column's cells [N] into tokens [N, length].

    Beside them three of bool [N]: which are missing, not UTF-8, too long.
    """
    require_flat(array)
    array = plain(array)
    if isinstance(array, pa.DictionaryArray):
        tokens, *flags = _encode(array.dictionary, state)
        indices = array.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        # The last entry is that of no cell at all.
        tokens = np.concatenate([tokens, np.zeros((1, state.length), tokens.dtype)])[indices]
        missing, broken, endless = (
            np.append(flag, last)[indices]
            for flag, last in zip(flags, (True, False, False), strict=True)
        )
        return tokens, missing, broken, endless
    texts, broken, endless = read_texts(array)
    missing = texts.is_null().to_numpy(zero_copy_only=False)
    return state.tokens(texts.fill_null("")), missing, broken, endless


def _needed(cells: pa.LargeStringArray, cutter: Tokenizer, length: int, *, plainly: bool) -> int:
    """Say how many tokens most texts need, up to a length."""
    texts = subwords.beginnings(cells, length)
    counts = subwords.lengths_of(cutter, subwords.normalised(texts) if plainly else texts)
    return max(1, int(np.quantile(counts, COVERED, method="higher"))) if len(counts) else 1


def _cells(summary: ColumnSummary) -> pa.LargeStringArray:
    """Give the cells that a vocabulary is learned from, none null."""
    return read_texts(summary.cells())[0].drop_null()


def _without_blanks(summary: ColumnSummary) -> bool:
    """Say whether most texts are in a script that puts no blanks between words."""
    texts = pa.array(summary.sample(), pa.large_string())
    found = pc.match_substring_regex(texts, f"[{subwords.ALONE}]")
    return 2 * (pc.sum(found).as_py() or 0) > len(texts)
