from __future__ import annotations

import base64
import io
import json
import struct
import warnings
import zlib

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image as Pillow

from thalweg.core.errors import ColumnError, OptionError, TargetError
from thalweg.kinds.base import Settles
from thalweg.kinds.check import summarise
from thalweg.kinds.image import Image, ImageOptions, ImageState
from thalweg.kinds.pictures import BROKEN, TOO_LARGE, decode

IMAGE = Image()
RANDOM = np.random.default_rng(0)
GREY = np.linspace(0, 255, 256).astype(np.uint8).reshape(16, 16)
COLOUR = np.stack([GREY, GREY.T, 255 - GREY], axis=2)


def written(pixels: np.ndarray, kind: str = "PNG", **how: object) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, kind, **how)
    return file.getvalue()


def fitted(cells: pa.Array, **options: object) -> ImageState:
    return IMAGE.fit(summarise([cells]), ImageOptions.model_validate(options), "feature")


def encoded(*cells: object, **options: object):
    array = pa.array(cells)
    state = fitted(pa.array([written(COLOUR)]), **options)
    return IMAGE.encode([array], [state])


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 100_000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_all_formats_are_read(kind: str) -> None:
    how = {"quality": 95} if kind in {"JPEG", "WEBP"} else {}
    smooth = np.stack([GREY // 2, GREY // 2, 255 - GREY], axis=2)
    got = encoded(written(smooth, kind, **how))
    assert got.fields["missing"].tolist() == [[0]]
    apart = np.abs(got.fields["pixels"][0, 0].astype(int) - smooth)
    assert apart.mean() < 12
    assert not got.dropped.any()


def test_pixels_are_the_file_s_own() -> None:
    got = encoded(written(COLOUR), None, written(GREY))
    assert np.array_equal(got.fields["pixels"][0, 0], COLOUR)
    assert got.fields["missing"][:, 0].tolist() == [0, 1, 0]
    assert not got.fields["pixels"][1].any()
    assert np.array_equal(got.fields["pixels"][2, 0], np.stack([GREY] * 3, axis=2))


def test_base64_and_data_uris_are_files() -> None:
    file = written(COLOUR)
    plain = base64.b64encode(file).decode()
    texts = [plain, f" {plain}\n", f"data:image/png;base64,{plain}", "?", "", "hello"]
    got = encoded(*texts)
    assert (got.fields["pixels"][:3, 0] == COLOUR).all()
    assert got.fields["missing"][:, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert got.refused[BROKEN][:, 0].tolist() == [False] * 5 + [True]


@pytest.mark.parametrize("wide", [True, False])
def test_lists_are_pixels(wide: bool) -> None:
    line = pa.list_(pa.uint8(), 16) if wide else pa.list_(pa.uint8())
    odd = None if wide else [[1, 2], [3]]
    cells = pa.array([GREY.tolist(), None, odd, (GREY // 2).tolist()], pa.list_(line))
    state = fitted(cells.filter(pa.array([True, True, False, True])))
    assert (state.size, state.channels) == (16, 1)
    got = IMAGE.encode([cells], [state])
    assert np.array_equal(got.fields["pixels"][0, 0, :, :, 0], GREY)
    assert np.array_equal(got.fields["pixels"][3, 0, :, :, 0], GREY // 2)
    assert got.dropped.tolist() == [False, False, not wide, False]


def test_real_numbers_up_to_one_are_light() -> None:
    cells = pa.array([(COLOUR / 255).tolist()])
    state = fitted(cells)
    assert (state.size, state.channels) == (16, 3)
    assert state.mean == pytest.approx((0.5,) * 3, abs=0.01)
    got = IMAGE.encode([cells], [state])
    assert np.array_equal(got.fields["pixels"][0, 0], COLOUR)


@pytest.mark.parametrize(
    "damaged",
    [
        written(COLOUR)[:60],
        written(RANDOM.integers(0, 256, (64, 64, 3), np.uint8), "JPEG")[:900],
        b"\x89PNG\r\n\x1a\nnothing",
        b"RIFF\x00\x00\x00\x00WEBPVP8X",
        b"GIF89a",
        b"BM",
        b"II*\0",
        b"a text",
        b"%!PS-Adobe-3.0 EPSF-3.0",
    ],
)
def test_damaged_files_are_refused(damaged: bytes) -> None:
    got = encoded(written(COLOUR), damaged, b"")
    assert got.refused[BROKEN][:, 0].tolist() == [False, True, False]
    assert got.dropped.tolist() == [False, True, False]
    assert got.fields["missing"][:, 0].tolist() == [0, 1, 1]
    assert not got.fields["pixels"][1].any()


def test_bombs_are_refused_before_they_are_decoded() -> None:
    webp = b"RIFF\x64\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\x9f\x86\x01" * 2 + b"\0" * 64
    gif = b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + b"\0" * 64
    lossy = b"RIFF\x64\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a" + b"\xff\x3f" * 2 + b"\0" * 64
    exact = b"RIFF\x64\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + b"\xff\xff\xff\x0f" + b"\0" * 64
    bombs = [
        lossy,
        exact,
        png_that_claims(100_000, 100_000),
        png_that_claims(9_000, 9_000),
        webp,
        gif,
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = encoded(*bombs, png_that_claims(0, 5))
    assert got.refused[TOO_LARGE][:, 0].tolist() == [True] * 6 + [False]
    assert got.refused[BROKEN][:, 0].tolist() == [False] * 6 + [True]


def test_turned_photographs_are_set_upright() -> None:
    tag = Pillow.Exif()
    tag[0x0112] = 6  # held with its right side down
    upright = encoded(written(np.rot90(COLOUR), exif=tag)).fields["pixels"][0, 0]
    assert np.array_equal(upright, COLOUR)
    nonsense = encoded(written(COLOUR, exif=b"Exif\0\0nonsense")).fields["pixels"][0, 0]
    assert np.array_equal(nonsense, COLOUR)


def test_what_is_transparent_is_white() -> None:
    clear = np.dstack([COLOUR, np.zeros((16, 16), np.uint8)])
    assert (encoded(written(clear)).fields["pixels"] == 255).all()
    palette = io.BytesIO()
    Pillow.fromarray(COLOUR).quantize(4).save(palette, "PNG", transparency=bytes([0, 0, 0, 0]))
    assert (encoded(palette.getvalue()).fields["pixels"] == 255).all()


def test_sixteen_bits_are_the_upper_eight() -> None:
    deep = GREY.astype(np.uint16) * 257
    got = encoded(written(deep)).fields["pixels"][0, 0]
    assert np.array_equal(got, np.stack([GREY] * 3, axis=2))
    reals = encoded(written(GREY.astype(np.float32) / 255, "TIFF")).fields["pixels"][0, 0]
    assert np.array_equal(reals, np.stack([GREY] * 3, axis=2))


def test_the_middle_is_cut_out_of_what_is_no_square() -> None:
    wide = np.zeros((20, 60), np.uint8)
    wide[:, 20:40] = 200
    for pixels in (wide, wide.T):
        got = decode(written(pixels), 10, 1)
        assert got.shape == (10, 10, 1)
        assert (got[1:-1, 1:-1] == 200).all()
        assert (got > 150).all()


def test_a_large_photograph_is_scaled() -> None:
    large = np.asarray(Pillow.fromarray(COLOUR).resize((800, 640)))
    small = np.asarray(Pillow.fromarray(large[:, 80:720]).resize((16, 16)))
    got = decode(written(large, "JPEG", quality=95), 16, 3)
    assert np.abs(got.astype(int) - small).mean() < 8


def test_size_channels_and_light_are_learned() -> None:
    grey = fitted(pa.array([written(GREY), written(np.stack([GREY] * 3, axis=2)), None]))
    assert (grey.size, grey.channels, grey.mean) == (16, 1, (0.5,))
    high = np.full((300, 200, 3), [10, 20, 200], np.uint8)
    colour = fitted(pa.array([written(high)]))
    assert (colour.size, colour.channels) == (64, 3)
    assert colour.mean == pytest.approx((10 / 255, 20 / 255, 200 / 255), abs=1e-3)
    assert fitted(pa.array([written(COLOUR)]), size=24).size == 24


def test_columns_that_are_no_pictures_are_refused() -> None:
    for cells in (pa.array([1, 2]), pa.array(["one", "two"]), pa.array([[1, 2]])):
        with pytest.raises(ColumnError):
            fitted(cells)
    with pytest.raises(ColumnError, match="int64"):
        IMAGE.encode([pa.array([1])], [fitted(pa.nulls(3))])
    with pytest.raises(TargetError):
        IMAGE.fit(summarise([pa.array([written(GREY)])]), ImageOptions(), "target")


@pytest.mark.parametrize(
    ("cells", "score"),
    [
        ([written(GREY), None], 0.95),
        ([b"RIFF1234WAVEfmt "], 0.0),
        (["a/b.png", "c.JPEG", "d.webp"], 0.95),
        (["a/b.png", "c.txt", "d.doc"], 0.0),
        (["data:image/png;base64,iVBO"], 0.95),
        ([base64.b64encode(written(GREY)).decode()], 0.95),
        (["some", "words"], 0.0),
        ([1, 2, 3], 0.0),
        ([[[1, 2], [3, 4]]], 0.0),
    ],
)
def test_columns_are_recognised(cells: list[object], score: float) -> None:
    assert IMAGE.sniff(summarise([pa.array(cells)])) == score


def test_smaller_and_grey_columns_stand_beside_zeros() -> None:
    cells = pa.array([written(GREY)])
    small, large = fitted(cells, size=8), fitted(pa.array([written(COLOUR)]))
    got = IMAGE.encode([cells, cells], [small, large])
    assert got.fields["pixels"].shape == (1, 2, 16, 16, 3)
    alone = IMAGE.encode([cells], [small]).fields["pixels"][0, 0]
    assert np.array_equal(got.fields["pixels"][0, 0, :8, :8, :1], alone)
    assert not got.fields["pixels"][0, 0, 8:].any()
    restored = IMAGE.restore(got, 0, small)
    assert np.array_equal(decode(restored[0].as_py(), None, None), alone)


def test_textbook_models_see_eight_by_eight_means() -> None:
    cells = pa.array([written(GREY), None])
    state = fitted(cells)
    seen = IMAGE.design(IMAGE.encode([cells], [state]).fields, [state])
    assert seen.numbers.shape == (2, 64)
    assert seen.codes.shape == (2, 0)
    means = GREY.reshape(8, 2, 8, 2).mean(axis=(1, 3)).ravel()
    assert np.allclose(seen.numbers[0], means)
    assert np.isnan(seen.numbers[1]).all()


def test_rows_from_many_threads_keep_their_order() -> None:
    light = RANDOM.integers(0, 256, 700, np.uint8)
    cells = pa.array([written(np.full((8, 8), one, np.uint8)) for one in light])
    got = IMAGE.encode([cells], [fitted(cells, size=8)])
    assert np.array_equal(got.fields["pixels"][:, 0, 4, 4, 0], light)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=16,
        patch_size=8,
    )
    transformers.ViTModel(config).save_pretrained(folder)
    light = {"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.2, 0.2]}
    (folder / "preprocessor_config.json").write_text(json.dumps(light))
    return str(folder)


@pytest.mark.parametrize("train", ["frozen", "last", "whole"])
def test_a_pretrained_model_sees_pictures(model: str, train: str) -> None:
    cells = pa.array([written(GREY), None, written(COLOUR)])
    state = fitted(cells, model=model, train=train)
    assert (state.encoder, state.size, state.channels) == ("pretrained", 16, 3)
    assert (state.mean, state.std) == ((0.4, 0.5, 0.6), (0.2, 0.2, 0.2))
    raw = IMAGE.encode([cells], [state]).fields
    encoder = IMAGE.encoder([state], 6)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    encoder.prepare(raw, np.zeros((3, 1)))
    changed = [
        name for name, value in encoder.state_dict().items() if (value != before[name]).any()
    ]
    assert changed
    encoder.eval()
    fields = {name: torch.from_numpy(field) for name, field in raw.items()}
    embedded = encoder(fields)
    assert embedded.shape == (3, 1, 6)
    assert not embedded[1].any()
    assert embedded[[0, 2]].any()
    learn = [name for name, weight in encoder.named_parameters() if weight.requires_grad]
    assert any("core" in name for name in learn) == (train != "frozen")
    assert isinstance(encoder, Settles)
    assert encoder.settles == (train == "frozen")
    if encoder.settles:
        settled = encoder.settle(fields)
        assert set(settled) == {"missing", "settled"}
        assert torch.allclose(encoder(settled), embedded, atol=1e-6)


def test_a_model_and_its_options_must_agree(model: str) -> None:
    cells = pa.array([written(GREY)])
    for wrong in ({"encoder": "pretrained"}, {"encoder": "vit", "model": model}):
        with pytest.raises(OptionError, match="model"):
            fitted(cells, **wrong)
    with pytest.raises(OptionError, match="size=16"):
        fitted(cells, model=model, size=32)
