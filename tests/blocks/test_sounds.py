from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.blocks.hearing import PIECE, Sound, SoundEncoder
from thalweg.blocks.mel import Frames, cepstra, mel_filters
from thalweg.blocks.sounds import (
    TOKENS,
    LogMel,
    MaskedNorm,
    masked,
    standardised,
    valid,
    warped,
)

RATE = 8_000


def noise(rows: int, samples: int = 4_000, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(0, 3_000, (rows, samples)).astype(np.int16))


def fields(rows: int, seed: int = 0) -> dict[str, torch.Tensor]:
    random = np.random.default_rng(seed)
    length = torch.from_numpy(random.integers(1, 4_000, (rows, 1)).astype(np.int32))
    wave = noise(rows, seed=seed)[:, None]
    wave[torch.arange(4_000)[None, None] >= length[:, :, None]] = 0
    return {"wave": wave, "length": length, "missing": torch.zeros(rows, 1, dtype=torch.uint8)}


@pytest.fixture(params=["conv", "recurrent"])
def encoder(request: pytest.FixtureRequest) -> SoundEncoder:
    torch.manual_seed(0)
    return SoundEncoder([Sound(request.param, RATE, 4_000, 40)], 6).eval()


@pytest.mark.parametrize("hertz", [200, 1_000, 3_000])
def test_a_tone_is_loudest_in_the_band_of_its_height(hertz: int) -> None:
    wave = (10_000 * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)).astype(np.int16)
    spectra, frames = LogMel(RATE, 40)(torch.from_numpy(wave)[None], torch.tensor([RATE]))
    filters = mel_filters(RATE, 40)
    nearest = filters[round(hertz * Frames(RATE).fft / RATE)].argmax()
    assert spectra.shape == (1, 40, 101)
    assert frames.tolist() == [101]
    assert abs(int(spectra[0, :, 50].argmax()) - nearest) <= 1


def test_cepstra_in_numpy_are_those_of_the_spectra_in_torch() -> None:
    wave, length = noise(3), torch.tensor([4_000, 1_000, 1])
    wave[1, 1_000:] = 0
    wave[2, 1:] = 0
    spectra, frames = LogMel(RATE, 40)(wave, length)
    order = np.arange(40)
    cosines = np.cos(np.pi * (order[:, None] + 0.5) * order[None, :20] / 40)
    own = cepstra(wave.numpy(), length.numpy(), RATE)
    for row in range(3):
        values = spectra[row, :, : frames[row]].numpy().T @ cosines
        assert np.allclose(own[row, :20], values.mean(axis=0), atol=1e-2)
        assert np.allclose(own[row, 20:], values.std(axis=0), atol=1e-2)


def test_loudness_is_taken_out_and_told_apart() -> None:
    quiet = noise(1)
    both = torch.cat([quiet, quiet * 2])
    spectra, frames = LogMel(RATE, 40)(both, torch.tensor([4_000, 4_000]))
    even, levels = standardised(spectra, frames)
    assert torch.allclose(even[0], even[1], atol=1e-2)
    assert levels[1, 0] > levels[0, 0] + 0.1
    assert torch.allclose(levels[0, 1:], levels[1, 1:], atol=1e-2)


def test_what_is_altered_while_training_keeps_its_frames() -> None:
    torch.manual_seed(0)
    frames = torch.tensor([40, 7, 1])
    spectra = torch.ones(3, 20, 40) * valid(frames, 40)[:, None]
    hidden = masked(spectra, frames)
    assert 0 < int((hidden != spectra).sum()) < 0.8 * int(spectra.sum())
    moved, kept = warped(spectra, frames)
    assert bool((kept >= 1).all())
    assert bool((kept <= 40).all())
    assert not (moved * ~valid(kept, 40)[:, None]).any()


def test_a_norm_sees_only_what_is_there() -> None:
    torch.manual_seed(0)
    norm = MaskedNorm(8, groups=4)
    x = torch.randn(2, 8, 3, 10) * 5 + 2
    there = torch.ones(2, 1, 1, 10)
    there[1, :, :, 6:] = 0
    found = norm(x, there)
    plain = torch.nn.functional.group_norm(x[1:, :, :, :6], 4)
    assert torch.allclose(found[1:, :, :, :6], plain, atol=1e-4)
    assert not found[1, :, :, 6:].any()


def test_a_sound_embeds_alike_alone_in_a_batch_and_with_more_silence(encoder: SoundEncoder) -> None:
    batch = fields(6)
    embedded = encoder(batch)
    assert embedded.shape == (6, TOKENS, 6)
    for row in range(6):
        alone = {name: field[row : row + 1] for name, field in batch.items()}
        assert torch.allclose(encoder(alone), embedded[row : row + 1], atol=1e-5)
    longer = batch | {"wave": torch.nn.functional.pad(batch["wave"], (0, 999))}
    assert torch.allclose(encoder(longer), embedded, atol=1e-6)


def test_many_rows_are_read_in_pieces_where_nothing_is_learned(encoder: SoundEncoder) -> None:
    batch = fields(PIECE + 3)
    with torch.no_grad():
        pieces = encoder(batch)
    assert torch.allclose(encoder(batch)[-5:], pieces[-5:], atol=1e-5)


def test_missing_sounds_have_tokens_of_nought(encoder: SoundEncoder) -> None:
    batch = fields(3)
    batch["missing"][1] = 1
    embedded = encoder(batch)
    assert not embedded[1].any()
    assert embedded[0].any()
    there = [[True] * TOKENS, [False] * TOKENS, [True] * TOKENS]
    assert encoder.present(batch).tolist() == there
    batch["missing"][:] = 1
    assert not encoder(batch).any()
    assert encoder({name: field[:0] for name, field in batch.items()}).shape == (0, TOKENS, 6)


def test_every_weight_learns(encoder: SoundEncoder) -> None:
    encoder.train()
    torch.autograd.backward((encoder(fields(8)) * torch.randn(8, TOKENS, 6)).sum())
    for name, weight in encoder.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name
        assert bool(torch.isfinite(weight.grad).all()), name
