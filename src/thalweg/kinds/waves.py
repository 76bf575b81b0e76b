"""Sounds as bytes: told by how they begin, decoded to 16 bits, written as WAV."""

from __future__ import annotations

import base64
import binascii
import io
import math
import os
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Final, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from thalweg.kinds.cells import is_text, require_flat
from thalweg.stats.arrays import is_bytes, plain, present
from thalweg.stats.parsing import is_missing_text

DAMAGED: Final = "no sound that can be read"
EMPTY: Final = "an empty sound"
LONG: Final = "a sound of more than an hour"
LARGE: Final = "a sound that is too large when decoded"
REASONS: Final = (DAMAGED, EMPTY, LONG, LARGE)

MOST_SECONDS: Final = 3600
MOST_VALUES: Final = 1 << 25
"""How many values of all channels are decoded at most: 128 MiB."""

MARGIN: Final = 0.05
"""Seconds decoded beyond what is kept, so that a resampled end is not an edge."""

LEAST_BYTES: Final = 12
"""A text that says fewer bytes in base64 is a word."""

ENDINGS: Final = r"(?i)\.(wav|wave|flac|mp3|ogg|oga|opus|aif|aiff)$"

_LONGEST_WORD: Final = 64
_ENDLESS: Final = 0xFFFF_0000
"""A size from which on it is none: what is written while it is recorded cannot know its end."""


@final
@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of its sound.

    Parameters
    ----------
    rate
        Samples in a second.
    seconds
        How long it is.
    """

    rate: int
    seconds: float


def is_sound(start: bytes) -> bool:
    """Say whether bytes begin as a sound does: WAV, AIFF, FLAC, Ogg or MP3.

    Examples
    --------
    >>> is_sound(wav(np.zeros(3, np.int16), 8_000)), is_sound(b"PK"), is_sound(b"RIFF....WEBP")
    (True, False, False)
    """
    if start[:4] in (b"RIFF", b"RF64", b"FORM"):
        return start[8:12] in (b"WAVE", b"AIFF", b"AIFC")
    if start[:4] in (b"fLaC", b"OggS") or start[:3] == b"ID3":
        return True
    # The eleven set bits with which a frame of MPEG begins, version and layer III.
    frame = len(start) > 1 and start[0] == 0xFF and start[1] & 0xE6 == 0xE2
    return frame and start[1] & 0x18 != 0x08


def wav(wave: NDArray[np.int16], rate: int) -> bytes:
    """Write one channel [L] as the bytes of a WAV file of 16 bits."""
    data = wave.astype("<i2", copy=False).tobytes()
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    rest = b"WAVE" + form + struct.pack("<4sI", b"data", len(data)) + data
    return struct.pack("<4sI", b"RIFF", len(rest)) + rest


def raw_bytes(cell: bytes | str) -> bytes | None:
    r"""Give the bytes that a cell says, in base64 or a ``data:`` URI of it; None where it does not.

    Examples
    --------
    >>> raw_bytes("data:audio/wav;base64,UklGRiQAAABXQVZF")
    b'RIFF$\x00\x00\x00WAVE'
    >>> raw_bytes("quack") is None
    True
    """
    if isinstance(cell, bytes):
        return cell
    text = cell.strip()
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if len(data) >= LEAST_BYTES else None


def header(data: bytes) -> Header | None:
    """Read what a file says of its sound; None where it cannot be read."""
    import soundfile

    try:
        found = soundfile.info(io.BytesIO(data))
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError):
        return None
    return Header(int(found.samplerate), found.frames / max(1, found.samplerate))


def decode(data: bytes, rate: int, samples: int) -> NDArray[np.int16] | str:
    """Decode a sound to one channel, at a rate, its first samples.

    Parameters
    ----------
    data
        A file's bytes.
    rate
        Samples in a second.
    samples
        How many are kept at most.

    Returns
    -------
    numpy.ndarray or str
        int16 [up to samples], one at least; or one of `REASONS`.
    """
    import soundfile

    if _cut_off(data):
        return DAMAGED
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            own = int(file.samplerate)
            if file.frames <= 0 or own <= 0:
                return EMPTY if own > 0 else DAMAGED
            if file.frames > MOST_SECONDS * own:
                return LONG
            wanted = min(int(file.frames), math.ceil((samples / rate + MARGIN) * own))
            if wanted * file.channels > MOST_VALUES:
                return LARGE
            read = file.read(wanted, dtype="float32", always_2d=True)
            if file.format == "FLAC" and len(read) < wanted:
                return DAMAGED
    except (soundfile.SoundFileError, RuntimeError, ValueError, TypeError, MemoryError):
        return DAMAGED
    if not len(read):
        return EMPTY
    return _whole(read, own, rate, samples)


def _cut_off(data: bytes) -> bool:
    """Say whether a WAV file ends before it says; those of streams do not say where they end."""
    if data[:4] != b"RIFF":
        return False
    (said,) = struct.unpack("<I", data[4:8].ljust(4, b"\0"))
    return bool(said < _ENDLESS and said > len(data))


def _whole(read: NDArray[np.float32], own: int, rate: int, samples: int) -> NDArray[np.int16] | str:
    """Mix channels [L, channels] to one, at another rate, in 16 bits."""
    import soxr

    mixed = read[:, 0] if read.shape[1] == 1 else read.mean(axis=1)
    mono = np.nan_to_num(mixed, posinf=1, neginf=-1)
    if own != rate:
        mono = soxr.resample(mono, own, rate)
    whole: NDArray[np.int16] = (
        np.rint(mono[:samples] * 32768.0).clip(-32768, 32767).astype(np.int16)
    )
    return whole if len(whole) else EMPTY


@final
@dataclass(frozen=True, slots=True)
class Heard:
    """A column of sounds.

    Parameters
    ----------
    waves
        int16 [N, samples].
    lengths
        int32 [N]; 0 where there is no sound.
    unreadable
        Bool [N].
    refused
        int8 [N]: the place of a reason in `REASONS`, -1 for none.
    """

    waves: NDArray[np.int16]
    lengths: NDArray[np.int32]
    unreadable: NDArray[np.bool_]
    refused: NDArray[np.int8]


def hear(array: pa.Array, rate: int, samples: int, width: int) -> Heard:
    """Decode a column of bytes or of texts that say bytes.

    Parameters
    ----------
    array
        Cells [N].
    rate
        Samples in a second.
    samples
        How many are kept at most.
    width
        How many samples a row of the result has room for.
    """
    cells = plain(array)
    if pa.types.is_dictionary(cells.type):
        cells = plain(cells.dictionary_decode())
    require_flat(cells)
    count = len(cells)
    there = present(cells)
    heard = Heard(
        np.zeros((count, width), np.int16),
        np.zeros(count, np.int32),
        np.zeros(count, np.bool_),
        np.full(count, -1, np.int8),
    )
    if not (is_text(cells.type) or is_bytes(cells.type)):
        heard.unreadable[:] = there
        return heard
    sizes = pc.binary_length(cells.cast(_large(cells.type))).fill_null(0).to_numpy()
    there &= sizes > 0
    if is_text(cells.type):
        brief = np.flatnonzero(sizes < _LONGEST_WORD)
        there[brief] &= ~is_missing_text(cells.take(pa.array(brief)))
    rows = np.flatnonzero(there)
    workers = min(8, os.cpu_count() or 1)
    task = partial(_hear_rows, cells, heard, rate, samples)
    if len(rows) < 2 * workers:
        task(rows)
        return heard
    with ThreadPoolExecutor(workers, "sounds") as pool:
        for _ in pool.map(task, np.array_split(rows, 4 * workers)):
            pass
    return heard


def _large(kind: pa.DataType) -> pa.DataType:
    return pa.large_string() if is_text(kind) else pa.large_binary()


def _hear_rows(
    cells: pa.Array, heard: Heard, rate: int, samples: int, rows: NDArray[np.int64]
) -> None:
    """Decode some rows into their places."""
    for row in rows.tolist():
        data = raw_bytes(cells[row].as_py())
        if data is None:
            heard.unreadable[row] = True
            continue
        found = decode(data, rate, samples)
        if isinstance(found, str):
            heard.refused[row] = REASONS.index(found)
            continue
        heard.waves[row, : len(found)] = found
        heard.lengths[row] = len(found)


def headers(cells: pa.Array, most: int) -> list[Header]:
    """Read what up to so many cells say of their sounds."""
    if not (is_text(cells.type) or is_bytes(cells.type)):
        return []
    raw = [raw_bytes(cell) for cell in cells.slice(0, most).to_pylist() if cell]
    found = [header(data) for data in raw if data is not None]
    return [one for one in found if one is not None and one.rate > 0]


def written(waves: NDArray[np.int16], lengths: Sequence[int], rate: int) -> list[bytes | None]:
    """Write sounds [N, L] as WAV; None for those without a sample."""
    return [
        wav(wave[:length], rate) if length else None
        for wave, length in zip(waves, lengths, strict=True)
    ]
