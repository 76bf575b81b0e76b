"""Sounds: speech, music, noises, as files or bytes."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from thalweg.core.errors import ColumnError, OptionError, TargetError
from thalweg.kinds.base import Design, Encoded, Kind, Options, Role, State, Threshold
from thalweg.kinds.cells import present
from thalweg.kinds.waves import ENDINGS, REASONS, headers, hear, is_sound, raw_bytes, wav, written
from thalweg.stats import ColumnSummary

if TYPE_CHECKING:
    from torch import nn

SEEN: Final = 256
"""How many sounds are looked at for the rate and the length."""

MOST_RATE: Final = 16_000
MOST_SECONDS: Final = 10.0

LEAST_HEARD: Final = 0.1
"""Seconds that a pretrained model needs to say anything."""

WAVES: Final = frozenset(
    ("wav2vec2", "hubert", "wavlm", "data2vec-audio", "unispeech", "unispeech-sat", "sew", "sew-d")
)
"""The types of pretrained models that take waves."""

EncoderName = Literal["conv", "recurrent", "pretrained"]


@final
class AudioOptions(Options):
    """What may be said about a column of sounds.

    Parameters
    ----------
    encoder
        ``conv`` (default), a small residual network over log-mel spectra; ``recurrent``; or
        ``pretrained``, which is the default where a model is named.
    rate
        Samples in a second that all sounds are brought to. Default: the commonest, at most 16,000,
        which is also what pretrained models were made for.
    seconds
        How much of a sound is kept. Default: what 99% of them need, at most 10.
    mels
        The bands of the spectra. Default 40 up to 8,000 samples in a second, else 64.
    model
        For ``pretrained``: the folder or name of a Hugging Face model that takes waves.
    train
        How much of a pretrained model learns: nothing (``frozen``, default), its ``last`` two
        layers or the ``whole``.
    pooling
        What a pretrained model says of a sound: the ``mean`` over its places (default) or the
        first one (``cls``).
    """

    encoder: EncoderName | None = None
    rate: Annotated[int, Field(ge=1_000, le=192_000)] | None = None
    seconds: Annotated[float, Field(ge=0.05, le=600)] | None = None
    mels: Annotated[int, Field(ge=8, le=256)] | None = None
    model: str | None = None
    train: Literal["frozen", "last", "whole"] = "frozen"
    pooling: Literal["mean", "cls"] = "mean"


@final
class AudioState(State):
    """What is learned about a column of sounds.

    Parameters
    ----------
    encoder
        What reads it.
    rate
        Samples in a second.
    samples
        How many are kept at most.
    mels
        The bands of the spectra.
    model
        The pretrained model's folder or name, from which its weights are read once.
    config
        The pretrained model's configuration, as JSON.
    train, pooling
        See `AudioOptions`.
    """

    encoder: EncoderName
    rate: int
    samples: int
    mels: int
    model: str = ""
    config: str = ""
    train: Literal["frozen", "last", "whole"] = "frozen"
    pooling: Literal["mean", "cls"] = "mean"


@final
class Audio(Kind[AudioState, AudioOptions]):
    """Sounds: bytes of a file, base64 of it, or the path of one.

    Fields: ``wave`` int16 [N, C, L], one channel, 0 beyond its end; ``length`` int32 [N, C], how
    many samples are there; ``missing`` uint8 [N, C].
    """

    name = "audio"
    description = "Sounds: WAV, FLAC, MP3 or Ogg, as bytes or as paths of files."
    holds = frozenset({"bytes"})
    attaches = True
    grouped = False
    packages = ("soundfile", "soxr")
    state_type = AudioState
    options_type = AudioOptions

    def sniff(self, summary: ColumnSummary) -> float:
        """Say how likely the column holds sounds, by how cells begin or what they are named."""
        cells = summary.cells().slice(0, SEEN)
        if not len(cells) or not present(summary):
            return 0.0
        if pa.types.is_large_string(cells.type):
            named = pc.match_substring_regex(cells, ENDINGS + r"|^data:audio/")
            begun = [is_sound(raw_bytes(text[:64]) or b"") for text in cells.to_pylist()]
            share = float((named.to_numpy(zero_copy_only=False) | np.array(begun)).mean())
        else:
            share = float(np.mean([is_sound(cell[:12]) for cell in cells.to_pylist()]))
        return 0.97 * share if share > 0.5 else 0.0

    def fit(self, summary: ColumnSummary, options: AudioOptions, role: Role) -> AudioState:
        """Learn the rate and the length."""
        if role == "target":
            raise TargetError(
                "a target of sounds",
                "a number, a category, a boolean, labels or a time",
                "Choose another target: sounds can be read, but not predicted.",
            )
        if summary.type.startswith(("list", "large_list", "fixed_size_list", "struct", "map")):
            raise ColumnError(
                f"a column whose cells are {summary.type}",
                "the bytes of a sound, or the path of one",
                "Say column=vector for numbers that are no sound, or leave the column out.",
            )
        encoder = options.encoder or ("pretrained" if options.model else "conv")
        if (encoder == "pretrained") != bool(options.model):
            raise OptionError(
                f"encoder={encoder} with "
                + (f"model={options.model}" if options.model else "no model"),
                "a model with encoder=pretrained, and none with others",
                "Say model=FOLDER (or a Hugging Face name), or choose another encoder.",
            )
        found = headers(summary.cells(), SEEN)
        rates = Counter(one.rate for one in found)
        common = min(rates, key=lambda rate: (-rates[rate], rate), default=MOST_RATE)
        rate = options.rate or (MOST_RATE if options.model else max(1_000, min(common, MOST_RATE)))
        lengths = [one.seconds for one in found] or [MOST_SECONDS]
        # Whole tenths, so that one long sound more or less changes little.
        needed = math.ceil(float(np.quantile(lengths, 0.99, method="higher")) * 10) / 10
        seconds = options.seconds or min(max(LEAST_HEARD, needed), MOST_SECONDS)
        return AudioState(
            encoder=encoder,
            rate=rate,
            samples=max(1, round(seconds * rate)),
            mels=options.mels or (40 if rate <= 8_000 else 64),
            model=options.model or "",
            config=_described(options.model) if options.model else "",
            train=options.train,
            pooling=options.pooling,
        )

    def encode(self, arrays: Sequence[pa.Array], states: Sequence[AudioState]) -> Encoded:
        """Decode every sound; see the class for the fields."""
        width = max(state.samples for state in states)
        heard = [
            hear(array, state.rate, state.samples, width)
            for array, state in zip(arrays, states, strict=True)
        ]
        waves = (
            heard[0].waves[:, None]
            if len(heard) == 1
            else np.stack([one.waves for one in heard], axis=1)
        )
        lengths = np.stack([one.lengths for one in heard], axis=1)
        reasons = np.stack([one.refused for one in heard], axis=1)
        refused = {
            reason: reasons == place
            for place, reason in enumerate(REASONS)
            if (reasons == place).any()
        }
        dropped = np.asarray((reasons >= 0).any(axis=1))
        return Encoded(
            {"wave": waves, "length": lengths, "missing": (lengths == 0).astype(np.uint8)},
            dropped,
            np.stack([one.unreadable for one in heard], axis=1),
            refused,
        )

    def decode(
        self, outputs: NDArray[np.floating[Any]], state: AudioState, threshold: Threshold = None
    ) -> dict[str, pa.Array]:
        """Never called: sounds are input only."""
        raise AssertionError

    def restore(self, encoded: Encoded, column: int, state: AudioState) -> pa.Array:
        """Give WAV files of what the network hears; missing ones are null."""
        lengths = encoded.fields["length"][:, column].tolist()
        waves = encoded.fields["wave"][:, column]
        return pa.array(written(waves, lengths, state.rate), pa.large_binary())

    def design(self, fields: Mapping[str, NDArray[Any]], states: Sequence[AudioState]) -> Design:
        """Give mean and deviation of 20 cepstra over time, and the length in seconds."""
        from thalweg.blocks.mel import cepstra

        parts = []
        for column, state in enumerate(states):
            lengths = fields["length"][:, column]
            waves = fields["wave"][:, column, : state.samples]
            seconds = (lengths / state.rate).astype(np.float32)
            found = np.column_stack([cepstra(waves, lengths, state.rate), seconds])
            found[fields["missing"][:, column].astype(np.bool_)] = np.nan
            parts.append(found)
        numbers = np.concatenate(parts, axis=1, dtype=np.float32)
        return Design(numbers, np.empty((len(numbers), 0), np.int32))

    def common(self, state: AudioState) -> bool:
        """Say yes: one network hears for all members."""
        return True

    def encoder(self, states: Sequence[AudioState], width: int, pairs: int = 0) -> nn.Module:
        """Build a network for each column."""
        from thalweg.blocks.hearing import Sound, SoundEncoder

        sounds = [
            Sound(
                *(state.encoder, state.rate, state.samples, state.mels),
                *(state.model, state.config, state.train, state.pooling),
            )
            for state in states
        ]
        return SoundEncoder(sounds, width)

    def sample(self, seed: int, rows: int) -> pa.Array:
        """Make short tones as WAV, with gaps and cells without a byte."""
        random = np.random.default_rng(seed)
        rate = 8_000
        tones = []
        for row, draw in enumerate(random.random((rows, 4))):
            times = np.arange(round(rate * (0.05 + 0.01 * int(5 * draw[0])))) / rate
            wave = (0.2 + 0.6 * draw[1]) * np.sin(2 * np.pi * (200 + 2_000 * draw[2]) * times)
            silent = row > 9 and draw[3] < 0.02
            tones.append(b"" if silent else wav((wave * 32_767).astype(np.int16), rate))
        return pa.array(tones, pa.binary(), mask=random.random(rows) < 0.05)


def _described(model: str) -> str:
    """Read a pretrained model's configuration; refuse models that do not take waves."""
    from thalweg.blocks.pretrained import describe

    config = describe(model)
    kind = json.loads(config).get("model_type")
    if kind not in WAVES:
        raise OptionError(
            f"the model {model!r} is of type {kind!r}",
            "a model that takes waves: " + ", ".join(sorted(WAVES)),
            "Choose another model, or encoder=conv.",
        )
    return config
