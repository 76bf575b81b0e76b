from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from thalweg.core.errors import ColumnError, OptionError, TargetError
from thalweg.kinds.audio import Audio, AudioOptions, AudioState
from thalweg.kinds.base import Encoded
from thalweg.kinds.check import fit, summarise
from thalweg.kinds.waves import wav

AUDIO = Audio()


def tone(seconds: float = 0.25, hertz: float = 440, rate: int = 8_000) -> np.ndarray:
    times = np.arange(round(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def file(wave: np.ndarray, rate: int = 8_000, form: str = "WAV", sub: str | None = None) -> bytes:
    written = io.BytesIO()
    soundfile.write(written, wave, rate, format=form, subtype=sub)
    return written.getvalue()


def state(**options: object) -> AudioState:
    given = {"rate": 8_000, "seconds": 0.5} | options
    cells = pa.array([file(tone())])
    return AUDIO.fit(summarise([cells]), AudioOptions.model_validate(given), "feature")


def encoded(*cells: object, **options: object) -> Encoded:
    kind = pa.string() if any(isinstance(cell, str) for cell in cells) else pa.binary()
    return AUDIO.encode([pa.array(cells, kind)], [state(**options)])


def test_what_is_fitted_follows_from_most_of_the_sounds() -> None:
    sounds = [file(tone(0.31, hertz)) for hertz in range(200, 240)]
    fitted = fit(AUDIO, pa.array([*sounds, file(tone(0.1, rate=44_100), 44_100), None, b"broken"]))
    assert (fitted.rate, fitted.samples, fitted.mels) == (8_000, 3_200, 40)


def test_high_rates_and_long_sounds_are_cut_down() -> None:
    fitted = fit(AUDIO, pa.array([file(tone(12, rate=44_100), 44_100)]))
    assert (fitted.rate, fitted.samples, fitted.mels) == (16_000, 160_000, 64)


def test_a_sound_of_16_bits_comes_through_exactly() -> None:
    whole = (tone() * 32_767).astype(np.int16)
    found = encoded(wav(whole, 8_000)).fields
    assert np.array_equal(found["wave"][0, 0, : len(whole)], whole)
    assert not found["wave"][0, 0, len(whole) :].any()
    assert found["length"].tolist() == [[len(whole)]]
    assert found["missing"].tolist() == [[0]]


@pytest.mark.parametrize(
    ("form", "sub"), [("WAV", "FLOAT"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("MP3", None)]
)
def test_files_of_many_forms_are_heard_alike(form: str, sub: str | None) -> None:
    wave = tone(0.4)
    heard = encoded(file(wave, form=form, sub=sub)).fields["wave"][0, 0, :3_200] / 32_768
    # An MP3 begins a little late, so it is the spectrum that is compared.
    spectra = [np.abs(np.fft.rfft(one * np.hanning(3_200))) for one in (wave, heard)]
    assert np.argmax(spectra[0]) == np.argmax(spectra[1])
    assert np.linalg.norm(spectra[0] - spectra[1]) < 0.1 * np.linalg.norm(spectra[0])


def test_channels_are_mixed_and_rates_brought_together() -> None:
    left, right = tone(0.4, 300, 44_100), tone(0.4, 900, 44_100)
    both = encoded(file(np.stack([left, right], axis=1), 44_100)).fields
    assert abs(int(both["length"][0, 0]) - 3_200) <= 1
    spectrum = np.abs(np.fft.rfft(both["wave"][0, 0, :3_200] * np.hanning(3_200)))
    assert set(np.argsort(spectrum)[-2:] * 2.5) == {300.0, 900.0}


def test_only_the_beginning_of_a_long_sound_is_kept() -> None:
    whole = (tone(3) * 32_767).astype(np.int16)
    found = encoded(wav(whole, 8_000)).fields
    assert np.array_equal(found["wave"][0, 0], whole[:4_000])


def test_texts_may_say_the_bytes() -> None:
    sound = file(tone())
    text = base64.b64encode(sound).decode()
    found = encoded(text, "data:audio/wav;base64," + text, None, "n/a", "quack", "")
    plain = encoded(sound).fields["wave"][0]
    assert np.array_equal(found.fields["wave"][0], plain)
    assert np.array_equal(found.fields["wave"][1], plain)
    assert found.fields["missing"][:, 0].tolist() == [0, 0, 1, 1, 1, 1]
    assert found.unreadable[:, 0].tolist() == [False, False, False, False, True, False]


def test_nothing_is_missing_and_what_is_broken_is_set_aside_with_a_reason() -> None:
    sound = file(tone())
    cells = [
        sound,
        None,
        b"",
        b"RIFF\x00\x00\x00\x00WAVEjunk",
        sound[:30],
        b"\xff\xfb\x90d" + b"\x00" * 9,
        file(np.zeros(0)),
        file(np.zeros(3_601 * 8_000, np.int16)),
    ]
    found = encoded(*cells)
    assert found.dropped.tolist() == [False, False, False, True, True, True, True, True]
    assert found.fields["missing"][:, 0].tolist() == [0] + [1] * 7
    reasons = {
        reason: np.flatnonzero(flag[:, 0]).tolist() for reason, flag in found.refused.items()
    }
    assert reasons["an empty sound"] == [6]
    assert reasons["a sound of more than an hour"] == [7]
    assert reasons["no sound that can be read"] == [3, 4, 5]
    assert not found.unreadable.any()


def test_values_that_are_none_and_too_many_channels_do_no_harm() -> None:
    wild = np.array([np.nan, np.inf, -np.inf, 2.0], np.float32)
    found = encoded(file(np.tile(wild, 20), sub="FLOAT")).fields
    assert found["wave"][0, 0, :4].tolist() == [0, 32_767, -32_768, 32_767]
    wide = file(np.zeros((40_000, 1_000), np.int16))
    found = encoded(wide, seconds=600)
    assert list(found.refused) == ["a sound that is too large when decoded"]


def test_what_is_restored_is_a_file_of_what_is_heard() -> None:
    found = encoded(file(tone(0.4, rate=44_100), 44_100, "FLAC"), None)
    again = AUDIO.restore(found, 0, state())
    wave, rate = soundfile.read(io.BytesIO(again[0].as_py()), dtype="int16")
    assert rate == 8_000
    assert np.array_equal(wave, found.fields["wave"][0, 0, : found.fields["length"][0, 0]])
    assert not again[1].is_valid
    assert np.array_equal(encoded(again[0].as_py()).fields["wave"][0], found.fields["wave"][0])


def test_columns_of_several_rates_stand_side_by_side() -> None:
    low, high = state(), state(rate=16_000, seconds=0.1)
    cells = pa.array([file(tone()), None])
    both = AUDIO.encode([cells, cells], [low, high]).fields
    assert both["wave"].shape == (2, 2, 4_000)
    assert both["length"].tolist() == [[2_000, 1_600], [0, 0]]
    assert not both["wave"][0, 1, 1_600:].any()


@pytest.mark.parametrize(
    ("cells", "least", "most"),
    [
        (["a/b.wav", "c.FLAC", "d.mp3", "e.ogg"], 0.9, 1),
        (["a.wav", "b.png", "c.txt", "notes"], 0, 0),
        (["data:audio/wav;base64,UklGRiQAAABXQVZF"], 0.9, 1),
        (
            [b"RIFF$\x00\x00\x00WAVEfmt ", b"fLaC\x00\x00", b"OggS", b"ID3\x04", b"\xff\xfb\x90"],
            0.9,
            1,
        ),
        ([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"RIFF\x00\x00\x00\x00WEBP"], 0, 0),
        ([1.5, 2.5], 0, 0),
        ([None, None], 0, 0),
    ],
)
def test_sounds_are_told_by_how_they_begin_or_what_they_are_named(
    cells: list[object], least: float, most: float
) -> None:
    assert least <= AUDIO.sniff(summarise([pa.array(cells)])) <= most


def test_textbook_models_read_cepstra() -> None:
    fitted = state()
    found = AUDIO.encode([pa.array([file(tone()), file(tone(hertz=1_500)), None])], [fitted])
    design = AUDIO.design(found.fields, [fitted])
    assert design.numbers.shape == (3, 41)
    assert design.codes.shape == (3, 0)
    assert np.isnan(design.numbers[2]).all()
    assert design.numbers[0, -1] == pytest.approx(0.25)
    assert np.abs(design.numbers[0] - design.numbers[1]).max() > 1
    longer = AUDIO.encode([pa.array([file(tone())])], [state(seconds=2)])
    again = AUDIO.design(longer.fields, [state(seconds=2)]).numbers
    assert np.allclose(again[0], design.numbers[0], atol=1e-4)


@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_a_file_that_is_cut_off_is_damaged_and_one_without_an_end_is_not(form: str) -> None:
    whole = file(tone(), form=form)
    assert list(encoded(whole[: len(whole) // 2]).refused) == ["no sound that can be read"]
    assert not encoded(whole).refused
    if form == "WAV":
        endless = whole[:4] + b"\xff\xff\xff\xff" + whole[8:]
        assert not encoded(endless).refused


def test_lists_are_no_sounds() -> None:
    with pytest.raises(ColumnError, match="bytes of a sound"):
        fit(AUDIO, pa.array([[1.0, 2.0]]))


@pytest.mark.parametrize("given", [{"encoder": "pretrained"}, {"encoder": "conv", "model": "a"}])
def test_a_model_goes_with_the_encoder_that_takes_one(given: dict[str, str]) -> None:
    with pytest.raises(OptionError, match="a model with encoder=pretrained"):
        state(**given)


@pytest.fixture(scope="module")
def wave_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    transformers = pytest.importorskip("transformers")
    config = transformers.Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_stride=(20, 16),
        conv_kernel=(20, 16),
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        num_feat_extract_layers=2,
    )
    folder = tmp_path_factory.mktemp("model")
    transformers.Wav2Vec2Model(config).save_pretrained(folder)
    return str(folder)


def test_a_pretrained_model_hears_once_and_its_answer_is_kept(wave_model: str) -> None:
    import torch

    fitted = state(model=wave_model, rate=None)
    assert (fitted.rate, fitted.encoder) == (16_000, "pretrained")
    cells = pa.array([file(tone()), None, file(tone(hertz=900)), file(tone(0.05))])
    fields = {k: torch.from_numpy(v) for k, v in AUDIO.encode([cells], [fitted]).fields.items()}
    encoder = AUDIO.encoder([fitted], 6).eval()
    before = encoder(fields)
    encoder.prepare({}, np.zeros((4, 1)))
    after = encoder(fields)
    assert not torch.allclose(before, after)  # the folder's weights are in place
    assert not after[1].any()
    settled = encoder.settle(fields)
    assert "wave" not in settled
    assert torch.allclose(encoder(settled), after, atol=1e-5)
    alone = encoder({name: field[2:3] for name, field in fields.items()})
    assert torch.allclose(alone, after[2:3], atol=1e-5)
    assert torch.equal(encoder.present(settled), encoder.present(fields))


def test_a_model_of_text_hears_nothing(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.BertConfig().save_pretrained(tmp_path)
    with pytest.raises(OptionError, match="a model that takes waves"):
        state(model=str(tmp_path))


def test_a_sound_is_no_target() -> None:
    with pytest.raises(TargetError, match="not predicted"):
        fit(AUDIO, pa.array([file(tone())]), "target")
