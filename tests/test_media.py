"""Tables with pictures, sounds and texts: one command, and bad cells are set aside by the row."""

from __future__ import annotations

import io
import json
import struct
import wave
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import thalweg
from thalweg.core.progress import Silent
from thalweg.data.cache import Cache
from thalweg.data.infer import Given
from thalweg.data.parts import Wishes
from thalweg.data.split import TEST, TRAIN, Split
from thalweg.kinds import KINDS
from thalweg.sources import open_source

ROWS = 240
DIALS = {"members": 2, "width": 8, "embedding": 4, "epochs": 2, "batch_size": 32}
QUICK: dict[str, Any] = {"baselines": "constant", "recipe": DIALS, "minutes": None}


def png(width: int, height: int, shade: int = 0, noise: int = 0) -> bytes:
    """Write a grey picture, of which the header may claim more than there is."""

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = min(height, 16)
    shades = np.random.default_rng(noise).integers(shade, shade + 20, (rows, min(width, 16)))
    raw = zlib.compress(b"".join(b"\0" + line.astype(np.uint8).tobytes() for line in shades))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", raw) + chunk(b"IEND", b"")


def wav(hertz: float, samples: int = 800) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        tone = 8000 * np.sin(2 * np.pi * hertz * np.arange(samples) / 8000)
        sound.writeframes(tone.astype("<i2").tobytes())
    return file.getvalue()


def table(rows: int = ROWS) -> dict[str, list[Any]]:
    random = np.random.default_rng(0)
    yes = random.random(rows) < 0.5
    words = [["good", "fine", "lovely"], ["bad", "poor", "awful"]]
    return {
        "note": [
            f"{row} a {random.choice(words[int(not one)])} thing to see, 很{'好' if one else '坏'}"
            for row, one in enumerate(yes)
        ],
        "picture": [png(16, 16, 200 if one else 20, row) for row, one in enumerate(yes)],
        "sound": [wav(900 if one else 300 + row % 9) for row, one in enumerate(yes)],
        "tags": [["a", "b"] if one else ["b", "c"][: 1 + row % 2] for row, one in enumerate(yes)],
        "place": [[float(one), 0.5, float(row)] for row, one in enumerate(yes)],
        "size": random.normal(size=rows).tolist(),
        "good": np.where(yes ^ (random.random(rows) < 0.1), "yes", "no").tolist(),
    }


BAD: dict[str, tuple[str, Any]] = {
    "a corrupt picture": ("picture", png(16, 16)[:50]),
    "bytes that are no picture": ("picture", b"GIF89a, or so it says"),
    "a decompression bomb": ("picture", png(20_000, 20_000)),
    "100,000 by 100,000 pixels": ("picture", png(100_000, 100_000)),
    "an empty sound": ("sound", wav(300, samples=0)),
    "a corrupt sound": ("sound", b"RIFF\x10\x00\x00\x00WAVEjunk"),
    "a text of ten megabytes": ("note", "very " * 2_000_000),
    "bytes that are no UTF-8": ("note", b"\xff\xfe broken"),
}


def test_one_command_learns_from_every_kind_at_once(tmp_path: Path) -> None:
    rows = pa.table(table())
    model = thalweg.train(rows, "good", out=tmp_path / "model", **QUICK)
    kinds = {column.name: column.kind for column in model.schema.columns}
    assert kinds == {
        "note": "text",
        "picture": "image",
        "sound": "audio",
        "tags": "set",
        "place": "vector",
        "size": "number",
    }
    again = thalweg.load(tmp_path / "model")
    few = rows.slice(0, 9)
    one, other = (each.predict(few).columns for each in (model, again))
    assert one.equals(other)
    alone = pa.concat_tables(
        pa.Table.from_batches([again.predict(few.slice(at, 1)).columns]) for at in range(9)
    )
    for name in one.schema.names[1:]:
        np.testing.assert_allclose(alone[name].to_numpy(), one[name].to_numpy(), atol=1e-5)
    page = (tmp_path / "model" / "report.html").read_text()
    assert "data:image/png;base64," in page
    assert "data:audio/wav;base64," in page


def test_what_is_missing_in_a_row_is_masked_and_the_row_predicted() -> None:
    rows = table()
    model = thalweg.train(rows, "good", **QUICK)
    bare = pa.table({name: pa.nulls(3, pa.table(rows).schema.field(name).type) for name in rows})
    assert not model.predict(bare).dropped.any()


@pytest.mark.parametrize("large", [False, True], ids=["in memory", "on disk"])
def test_bad_cells_set_their_rows_aside_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, large: bool
) -> None:
    if large:
        monkeypatch.setattr("thalweg.data.gather.HELD_BYTES", 1)
    rows = table()
    rows["note"] = [text.encode() for text in rows["note"]]
    for place, (column, cell) in enumerate(BAD.values()):
        rows[column][place * 7] = cell.encode() if isinstance(cell, str) else cell
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table(rows), path)
    columns = {"note": "text"}
    model = thalweg.train(path, "good", out=tmp_path / "model", columns=columns, **QUICK)
    written = (tmp_path / "model.rejects.ndjson").read_text().splitlines()
    rejects = {one["line"]: one for one in map(json.loads, written)}
    assert sorted(rejects) == [1 + place * 7 for place in range(len(BAD))]
    for place, (column, _) in enumerate(BAD.values()):
        assert rejects[1 + place * 7]["reason"].startswith(f"{column}: ")
    assert sum(model.rows.model_dump()[part] for part in ("train", "validation", "test")) == (
        ROWS - len(BAD)
    )
    page = (tmp_path / "model" / "report.html").read_text()
    assert "no picture that can be read" in page
    found = thalweg.predict(tmp_path / "model", path, to=tmp_path / "out.parquet")
    assert found.schema.metadata[b"predicted"] == str(ROWS - len(BAD)).encode()


def test_texts_that_are_no_utf8_though_their_type_says_so_are_set_aside(tmp_path: Path) -> None:
    notes = [text.encode() for text in table()["note"]]
    notes[5] = b"caf\xe9 au lait, and some more words"
    raw = pa.array(notes, pa.binary())
    texts = pa.Array.from_buffers(pa.string(), ROWS, raw.buffers())
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"note": texts, "good": table()["good"]}), path)
    model = thalweg.train(path, "good", out=tmp_path / "model", **QUICK)
    assert model.rows.rejected == 1
    (written,) = (tmp_path / "model.rejects.ndjson").read_text().splitlines()
    assert json.loads(written)["line"] == 6
    assert json.loads(written)["reason"] == "note: not UTF-8"
    assert thalweg.predict(model, path).num_rows == ROWS - 1


def test_pictures_may_be_files_beside_the_table_and_no_others(tmp_path: Path) -> None:
    rows = table()
    (tmp_path / "data" / "pictures").mkdir(parents=True)
    for place, picture in enumerate(rows["picture"]):
        (tmp_path / "data" / "pictures" / f"{place}.png").write_bytes(picture)
    (tmp_path / "secret.png").write_bytes(rows["picture"][0])
    names = [f"pictures/{place}.png" for place in range(ROWS)]
    names[3], names[4] = "../secret.png", "pictures/absent.png"
    path = tmp_path / "data" / "rows.csv"
    lines = [f"{name},{good}" for name, good in zip(names, rows["good"], strict=True)]
    path.write_text("\n".join(["picture,good", *lines]))
    model = thalweg.train(path, "good", out=tmp_path / "model", **QUICK)
    assert [column.kind for column in model.schema.columns] == ["image"]
    written = (tmp_path / "model.rejects.ndjson").read_text().splitlines()
    reasons = {one["line"]: one["reason"] for one in map(json.loads, written)}
    assert reasons == {
        4: "picture: a path that leads out of the folder of files",
        5: "picture: no such file",
    }
    asked = pa.table({"picture": names[:2]})
    assert model.predict(asked).dropped.all()  # no file is read that nobody allowed
    assert not model.predict(asked, path.parent).dropped.any()
    moved = tmp_path / "rows.csv"
    path.rename(moved)
    found = thalweg.predict(tmp_path / "model", moved, files=tmp_path / "data")
    assert found.num_rows == ROWS - 2


def test_a_kind_that_learns_for_all_members_has_rows_of_its_own_to_be_judged_by() -> None:
    from thalweg.data.prepare import prepare

    rows = pa.table(table()).select(["picture", "good"])
    found = prepare(open_source(rows), Wishes("good", {}), Split(), None, Silent())
    assert found.schema.common
    share = len(found.validation.arrays) / (found.train.rows + len(found.validation.arrays))
    assert 0.06 < share < 0.14
    assert not set(found.train.groups) & set(found.validation.groups)


def test_rows_too_wide_for_memory_are_written_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thalweg.data import passes
    from thalweg.data.gather import gather
    from thalweg.data.spill import spill

    rows = pa.table(table()).select(["picture", "good"])
    source, wishes = open_source(rows), Wishes("good", {})
    said: dict[str, Given] = {}
    monkeypatch.setattr("thalweg.data.gather.HELD_BYTES", 16 * 16 * ROWS)
    assert gather(source, wishes, said, Split(), Silent()) is None
    monkeypatch.setattr(passes, "PART_BYTES", 16 * 16 * 20)
    found = spill(source, wishes, Split(), Cache(tmp_path / "cache"), Silent())
    assert found.parts[TRAIN].rows > 100
    assert 0 < len(found.parts[TRAIN].arrays) < 50
    assert 0 < len(found.parts[TEST].arrays) < 45


def test_every_kind_of_the_list_is_told_apart() -> None:
    assert list(KINDS) == [
        *("number", "category", "boolean", "datetime"),
        *("text", "image", "audio", "set", "vector"),
    ]


def test_a_run_over_pictures_and_sounds_goes_on_with_equal_bits(tmp_path: Path) -> None:
    """What is drawn to vary them, and what norms have seen, is in the checkpoint."""
    from thalweg.data.prepare import prepare
    from thalweg.models.recipe import Recipe
    from thalweg.training.state import Snapshot
    from thalweg.training.train import Run, build_loop, build_network

    rows = pa.table(table()).select(["picture", "sound", "note", "good"])
    found = prepare(open_source(rows), Wishes("good", {}), Split(), None, Silent())
    recipe = Recipe(members=2, width=8, embedding=4, epochs=2, batch_size=32, mixup=0.2)

    def loop() -> Any:
        return build_loop(found, build_network(found, recipe, 0), recipe, Run(), Silent())[0]

    whole, first, again = loop(), loop(), loop()
    whole.fit()
    for callback in first.callbacks:
        callback.on_start(first)
    first.run_epoch(0)
    first.snapshot().save(tmp_path / "point")
    again.restore(Snapshot.load(tmp_path / "point"))
    again.fit()
    for (name, one), other in zip(
        whole.network.state_dict().items(), again.network.state_dict().values(), strict=True
    ):
        assert one.equal(other), name
