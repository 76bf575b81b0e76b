"""Spectra as ears part them: frames, mel filters and cepstra, in NumPy alone."""

from __future__ import annotations

from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

FLOOR: Final = 1e-7
"""Added to a band's energy before its logarithm: about the noise of 16 bits."""

_LOWEST: Final = 20.0
"""Where the lowest filter begins, in Hz."""

_POINTS: Final = 16
"""Places within a bin of the spectrum over which a filter is averaged: none is ever empty."""

_PIECE: Final = 1 << 22
"""How many samples are looked at together."""


@final
class Frames:
    """How a sound is cut into frames: 25 ms long, every 10 ms.

    Parameters
    ----------
    rate
        Samples in a second.

    Examples
    --------
    >>> frames = Frames(8_000)
    >>> frames.window, frames.hop, frames.fft
    (200, 80, 256)
    >>> frames.count(np.array([0, 1, 80, 8_000])).tolist()
    [0, 1, 2, 101]
    """

    def __init__(self, rate: int) -> None:
        self.window = max(8, round(0.025 * rate))
        self.hop = max(3, round(0.010 * rate))
        self.fft = 1 << (self.window - 1).bit_length()

    def count(self, samples: Any) -> Any:
        """Say how many frames so many samples have: one is centred on every ``hop``-th of them."""
        return (samples > 0) * (samples // self.hop + 1)

    def taper(self) -> NDArray[np.float32]:
        """Give the Hann window, in the middle of a frame: float32 [fft]."""
        taper = np.zeros(self.fft, np.float32)
        start = (self.fft - self.window) // 2
        taper[start : start + self.window] = np.hanning(self.window + 2)[1:-1]
        return taper


def mel_filters(rate: int, mels: int) -> NDArray[np.float32]:
    """Give triangles, evenly apart on the mel scale, that gather a spectrum into bands.

    Returns
    -------
    numpy.ndarray
        float32 [fft // 2 + 1, mels].

    Examples
    --------
    >>> filters = mel_filters(8_000, 40)
    >>> filters.shape, bool((filters.sum(axis=0) > 0).all())
    ((129, 40), True)
    """
    fft = Frames(rate).fft
    edges = np.linspace(_mel(_LOWEST), _mel(rate / 2), mels + 2)
    within = (np.arange(_POINTS) + 0.5) / _POINTS - 0.5
    bins = np.arange(fft // 2 + 1)[:, None] + within
    heights = _mel(np.maximum(bins * rate / fft, 0))[:, :, None]
    rising = (heights - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - heights) / (edges[2:] - edges[1:-1])
    filters: NDArray[np.float32] = (
        np.minimum(rising, falling).clip(min=0).mean(axis=1).astype(np.float32)
    )
    return filters


def cepstra(
    waves: NDArray[np.int16], lengths: NDArray[np.integer[Any]], rate: int, count: int = 20
) -> NDArray[np.float32]:
    """Describe sounds as textbook models like it: mean and deviation of their cepstra over time.

    Parameters
    ----------
    waves
        int16 [N, L].
    lengths
        How many samples of each are there [N].
    rate
        Samples in a second.
    count
        How many cepstral coefficients.

    Returns
    -------
    numpy.ndarray
        float32 [N, 2 * count].
    """
    frames = Frames(rate)
    filters = mel_filters(rate, 2 * count)
    order = np.arange(2 * count)
    cosines = np.cos(np.pi * (order[:, None] + 0.5) * order[None, :count] / (2 * count))
    taper = frames.taper()
    step = max(1, _PIECE // max(1, waves.shape[1] * frames.fft // frames.hop))
    found = np.zeros((len(waves), 2 * count), np.float32)
    for start in range(0, len(waves), step):
        piece = waves[start : start + step].astype(np.float32) / np.float32(32768)
        padded = np.pad(piece, ((0, 0), (frames.fft // 2, frames.fft // 2)))
        cut = np.lib.stride_tricks.sliding_window_view(padded, frames.fft, axis=1)
        spectra = np.abs(np.fft.rfft(cut[:, :: frames.hop] * taper, axis=2)) ** 2
        values = np.log(spectra @ filters + FLOOR) @ cosines
        there = frames.count(lengths[start : start + step])
        valid = (np.arange(values.shape[1]) < there[:, None])[:, :, None]
        held = np.maximum(there, 1)[:, None]
        mean = (values * valid).sum(axis=1) / held
        apart = ((values - mean[:, None]) ** 2 * valid).sum(axis=1) / held
        found[start : start + step] = np.concatenate([mean, np.sqrt(apart)], axis=1)
    return found


def _mel(hertz: Any) -> Any:
    """Give frequencies on the mel scale."""
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)
