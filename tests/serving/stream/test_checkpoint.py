"""A checkpoint is there whole or not at all; a damaged one is passed over for the one before."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from thalweg.core.errors import ArtifactError
from thalweg.serving.stream import checkpoint
from thalweg.serving.stream.checkpoint import KEPT, Checkpoint

FILES = ["keys.arrow", "manifest.json", "manifest.sha256", "windows-cells:x.arrow"]


def made(batch: int) -> Checkpoint:
    tables = {
        "keys": pa.table({"a": [batch, None], "b": ["x", "ü"]}),
        "windows-cells:x": pa.table({"n": pa.array([], pa.int64())}),
    }
    return Checkpoint(batch, {"0": batch, "eins": f"{batch}-0"}, {"n": [1, None, "ü"]}, tables)


def refuse_to_be_told(line: str) -> None:
    raise AssertionError(line)


def same(found: Checkpoint | None, wanted: Checkpoint) -> None:
    assert found is not None
    assert (found.batch, found.facts) == (wanted.batch, wanted.facts)
    assert found.positions == wanted.positions
    assert set(found.tables) == set(wanted.tables)
    for name, table in wanted.tables.items():
        assert found.tables[name].equals(table)


def names(lane: Path) -> list[str]:
    return sorted(path.name for path in lane.iterdir())


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    checkpoint.save(made(7), tmp_path)
    same(checkpoint.load_newest(tmp_path, refuse_to_be_told), made(7))
    (folder,) = tmp_path.iterdir()
    assert sorted(path.name for path in folder.iterdir()) == FILES


def test_there_may_be_none(tmp_path: Path) -> None:
    assert checkpoint.load_newest(tmp_path, refuse_to_be_told) is None
    assert checkpoint.load_newest(tmp_path / "nowhere", refuse_to_be_told) is None


def test_an_empty_one(tmp_path: Path) -> None:
    assert checkpoint.save(Checkpoint(), tmp_path) == 0
    same(checkpoint.load_newest(tmp_path, refuse_to_be_told), Checkpoint())


def test_the_newest_three_are_kept(tmp_path: Path) -> None:
    oldest = [checkpoint.save(made(batch), tmp_path) for batch in (0, 5, 9, 10, 1_000_000)]
    assert KEPT == 3
    assert oldest == [0, 0, 0, 5, 9]
    assert names(tmp_path) == [f"checkpoint-{batch:012d}" for batch in (9, 10, 1_000_000)]
    same(checkpoint.load_newest(tmp_path, refuse_to_be_told), made(1_000_000))


def test_one_that_is_there_is_replaced(tmp_path: Path) -> None:
    checkpoint.save(Checkpoint(3), tmp_path)
    checkpoint.save(made(3), tmp_path)
    same(checkpoint.load_newest(tmp_path, refuse_to_be_told), made(3))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["flipped", "cut", "emptied", "missing"])
def test_a_damaged_one_is_passed_over_and_told(tmp_path: Path, name: str, how: str) -> None:
    for batch in (1, 2, 3):
        checkpoint.save(made(batch), tmp_path)
    path = tmp_path / "checkpoint-000000000003" / name
    content = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
    elif how == "flipped":
        content[len(content) // 2] ^= 0x80
        path.write_bytes(content)
    else:
        path.write_bytes(content[: len(content) // 2 if how == "cut" else 0])
    told: list[str] = []
    same(checkpoint.load_newest(tmp_path, told.append), made(2))
    (line,) = told
    assert "checkpoint-000000000003 is damaged" in line
    assert "passed over" in line
    assert "\n" not in line


def test_every_byte_counts(tmp_path: Path) -> None:
    for batch in (1, 2):
        checkpoint.save(made(batch), tmp_path)
    for path in sorted((tmp_path / "checkpoint-000000000002").iterdir()):
        content = path.read_bytes()
        for place in range(0, len(content), 37):
            hurt = bytearray(content)
            hurt[place] ^= 1
            path.write_bytes(hurt)
            told: list[str] = []
            same(checkpoint.load_newest(tmp_path, told.append), made(1))
            assert len(told) == 1
        path.write_bytes(content)
    same(checkpoint.load_newest(tmp_path, refuse_to_be_told), made(2))


def test_two_damaged_ones_are_passed_over(tmp_path: Path) -> None:
    for batch in (1, 2, 3):
        checkpoint.save(made(batch), tmp_path)
    (tmp_path / "checkpoint-000000000003" / "keys.arrow").unlink()
    shutil.rmtree(tmp_path / "checkpoint-000000000002")
    (tmp_path / "checkpoint-000000000002").mkdir()
    told: list[str] = []
    same(checkpoint.load_newest(tmp_path, told.append), made(1))
    assert len(told) == 2


def test_where_all_are_damaged_nothing_is_made_up(tmp_path: Path) -> None:
    for batch in (1, 2):
        checkpoint.save(made(batch), tmp_path)
        (tmp_path / f"checkpoint-{batch:012d}" / "manifest.json").write_text("{}")
    told: list[str] = []
    with pytest.raises(ArtifactError, match=r"not one of 2 checkpoints .* --state"):
        checkpoint.load_newest(tmp_path, told.append)
    assert len(told) == 2


def test_what_was_half_written_is_no_checkpoint(tmp_path: Path) -> None:
    checkpoint.save(made(1), tmp_path)
    half = tmp_path / ".checkpoint-000000000002.abcd.partial"
    shutil.copytree(tmp_path / "checkpoint-000000000001", half)
    (half / "manifest.json").unlink()
    same(checkpoint.load_newest(tmp_path, refuse_to_be_told), made(1))


@pytest.mark.parametrize("form", [0, 2, "1", None])
def test_another_format_is_refused(tmp_path: Path, form: object) -> None:
    for batch in (1, 2):
        checkpoint.save(made(batch), tmp_path)
    folder = tmp_path / "checkpoint-000000000002"
    said = json.loads((folder / "manifest.json").read_text())
    text = json.dumps({**said, "format": form})
    (folder / "manifest.json").write_text(text)
    (folder / "manifest.sha256").write_text(hashlib.sha256(text.encode()).hexdigest())
    with pytest.raises(ArtifactError, match="format 1"):
        checkpoint.load_newest(tmp_path, refuse_to_be_told)


def test_a_name_in_the_manifest_leads_nowhere_else(tmp_path: Path) -> None:
    checkpoint.save(Checkpoint(1), tmp_path)
    secret = tmp_path / "secret.arrow"
    secret.write_bytes(b"secret")
    folder = tmp_path / "checkpoint-000000000001"
    said = json.loads((folder / "manifest.json").read_text())
    said["files"] = {"../secret.arrow": hashlib.sha256(b"secret").hexdigest()}
    text = json.dumps(said)
    (folder / "manifest.json").write_text(text)
    (folder / "manifest.sha256").write_text(hashlib.sha256(text.encode()).hexdigest())
    with pytest.raises(ArtifactError, match="not one of"):
        checkpoint.load_newest(tmp_path, lambda _: None)


def test_nothing_is_pickled(tmp_path: Path) -> None:
    """Neither the code nor what it writes."""
    assert checkpoint.__file__ is not None
    for path in Path(checkpoint.__file__).parent.glob("*.py"):
        text = path.read_text()
        assert "import pickle" not in text
        assert "allow_pickle" not in text
        assert "torch.load" not in text
    checkpoint.save(made(1), tmp_path)
    for path in (tmp_path / "checkpoint-000000000001").iterdir():
        assert path.suffix in {".json", ".sha256", ".arrow"}
        if path.suffix == ".arrow":
            with pa.OSFile(str(path), "rb") as file:
                pa.ipc.open_file(file).read_all()


def test_what_is_no_number_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        checkpoint.save(Checkpoint(1, facts={"a": float("nan")}), tmp_path)
    assert names(tmp_path) == []


FILL = """
import resource, sys
from pathlib import Path
import pyarrow as pa
from thalweg.core.errors import FullDiskError
from thalweg.serving.stream.checkpoint import Checkpoint, load_newest, save
lane = Path(sys.argv[1])
save(Checkpoint(1, facts={"one": 1}), lane)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
try:
    save(Checkpoint(2, tables={"big": pa.table({"a": list(range(100_000))})}), lane)
except FullDiskError as error:
    print(error)
print(load_newest(lane, print).batch)
"""


def test_a_full_disk_leaves_the_one_before(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FILL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "room for it" in done.stdout
    assert done.stdout.splitlines()[-1] == "1"
    assert names(tmp_path) == ["checkpoint-000000000001"]
