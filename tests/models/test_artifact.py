"""No code in artifacts; damaged and foreign folders are one clear error."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from thalweg.core.errors import ArtifactError, OptionError
from thalweg.models.artifact import (
    DESCRIPTION,
    FORMAT,
    SEAL,
    WEIGHTS,
    Artifact,
    add,
    identity,
    load,
    load_graph,
    read_description,
    save,
)

FILES = (DESCRIPTION, SEAL, WEIGHTS, "card.md", "report.html")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = {"card.md": "# Größe\n", "report.html": "<p>good</p>"}
    save(Artifact({"task": "binary"}, bytes(range(256)) * 8, texts), tmp_path / "model")
    return tmp_path / "model"


def sealed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the description as a stranger would who knows how to seal it."""
    facts = json.loads((folder / DESCRIPTION).read_bytes())
    change(facts)
    content = json.dumps(facts).encode()
    (folder / DESCRIPTION).write_bytes(content)
    (folder / SEAL).write_text(hashlib.sha256(content).hexdigest())


def test_what_was_saved_is_loaded(folder: Path) -> None:
    found = load(folder)
    assert found.weights == bytes(range(256)) * 8
    assert found.texts == {"card.md": "# Größe\n", "report.html": "<p>good</p>"}
    assert found.description["task"] == "binary"
    assert found.description["format"] == FORMAT
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", [0.0, 0.37, 0.99])
@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80])
def test_a_flipped_byte_anywhere_is_an_error(
    folder: Path, name: str, where: float, flip: int
) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int(where * len(content))] ^= flip
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError):
        load(folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["missing", "truncated", "empty", "longer", "a folder"])
def test_a_file_that_is_not_whole_is_an_error(folder: Path, name: str, how: str) -> None:
    path = folder / name
    content = path.read_bytes()
    path.unlink()
    match how:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "empty":
            path.write_bytes(b"")
        case "longer":
            path.write_bytes(content + b"x")
        case "a folder":
            path.mkdir()
    with pytest.raises(ArtifactError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_a_pickle_in_place_of_the_weights_is_never_opened(folder: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    evil = pickle.dumps(Evil())
    (folder / WEIGHTS).write_bytes(evil)
    with pytest.raises(ArtifactError, match="damaged"):
        load(folder)
    sealed(folder, lambda f: f["files"].update({WEIGHTS: hashlib.sha256(evil).hexdigest()}))
    from thalweg.models.model import Model

    with pytest.raises(ArtifactError):
        Model.load(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["../secret.txt", "/etc/hostname", "a/b", "..", ".", "", "sub/../card.md"]
)
def test_names_that_lead_elsewhere_are_refused(folder: Path, name: str) -> None:
    secret = b"secret"
    (folder.parent / "secret.txt").write_bytes(secret)
    sealed(folder, lambda f: f["files"].update({name: hashlib.sha256(secret).hexdigest()}))
    with pytest.raises(ArtifactError):
        load(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: f.update(format=FORMAT + 1), f"format {FORMAT + 1}.*Use the version"),
        (lambda f: f.update(format="1"), "format '1'"),
        (lambda f: f.pop("format"), "describes no model"),
        (lambda f: f.pop("files"), "describes no model"),
        (lambda f: f.update(files=[]), "names no weights"),
        (lambda f: f["files"].pop(WEIGHTS), "names no weights"),
        (lambda f: f["files"].update({"card.md": 7}), "damaged"),
    ],
)
def test_a_description_that_cannot_be_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    sealed(folder, change)
    with pytest.raises(ArtifactError, match=words):
        load(folder)


@pytest.mark.parametrize("content", [b"", b"[]", b"7", b"\xff\xfe", b"{", b"[" * 100_000])
def test_what_is_not_json_is_refused(folder: Path, content: bytes) -> None:
    (folder / DESCRIPTION).write_bytes(content)
    (folder / SEAL).write_text(hashlib.sha256(content).hexdigest())
    with pytest.raises(ArtifactError):
        read_description(folder)


@pytest.mark.parametrize("what", ["nothing", "an empty folder", "a foreign folder", "a file"])
def test_what_is_no_model_is_refused(tmp_path: Path, what: str) -> None:
    place = tmp_path / "place"
    if what == "a file":
        place.write_text("{}")
    elif what != "nothing":
        place.mkdir()
    if what == "a foreign folder":
        (place / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"saved model"):
        load(place)


def test_figures_that_are_no_numbers_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save(Artifact({"metric": float("nan")}, b"", {}), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


FILL = """
import resource, sys
from pathlib import Path
from thalweg.core.errors import SourceError
from thalweg.models.artifact import Artifact, save
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    save(Artifact({"task": "new"}, bytes(100_000), {"card.md": "x" * 9000}), Path(sys.argv[1]))
except SourceError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.parametrize("room", [0, 100, 50_000])
def test_a_full_disk_leaves_the_old_model(folder: Path, room: int) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    command = [sys.executable, "-c", FILL, str(folder), str(room)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert "cannot be written" in done.stdout
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(folder.parent.iterdir()) == [folder]
    shutil.rmtree(folder)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 3
    assert list(folder.parent.iterdir()) == []


GRAPH = b"\x08\x0a\xff\xfe graph"


@pytest.fixture
def compiled(folder: Path) -> Path:
    add(folder, {"model.onnx": GRAPH})
    return folder


def test_a_graph_is_added_and_all_else_stays(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in (WEIGHTS, "card.md", "report.html")}
    facts = read_description(folder)
    add(folder, {"model.onnx": GRAPH})
    add(folder, {"model.int8.onnx": b"small"})
    assert {name: (folder / name).read_bytes() for name in before} == before
    found = read_description(folder)
    assert set(found["files"]) == {*before, "model.onnx", "model.int8.onnx"}
    assert found | {"files": 0} == facts | {"files": 0}
    assert identity(found) == identity(facts)
    assert load_graph(folder, "float32") == (found, GRAPH)
    assert load_graph(folder, "int8")[1] == b"small"
    add(folder, {"model.onnx": b"newer"})
    assert load_graph(folder, "float32")[1] == b"newer"


def test_loading_the_model_leaves_its_graphs_and_the_other_way_round(compiled: Path) -> None:
    (compiled / "model.onnx").write_bytes(b"damaged")
    assert load(compiled).texts == {"card.md": "# Größe\n", "report.html": "<p>good</p>"}
    with pytest.raises(ArtifactError, match="damaged"):
        load_graph(compiled, "float32")


def test_a_graph_is_read_without_the_weights(compiled: Path) -> None:
    (compiled / WEIGHTS).unlink()
    assert load_graph(compiled, "float32")[1] == GRAPH
    with pytest.raises(ArtifactError, match=WEIGHTS):
        add(compiled, {"model.onnx": b"newer"})


def test_a_model_that_is_not_compiled_says_how(folder: Path) -> None:
    with pytest.raises(OptionError, match=r"is not compiled; .*thalweg compile .*model\.$"):
        load_graph(folder, "float32")
    with pytest.raises(OptionError, match="precision is 'half'"):
        load_graph(folder, "half")


def test_digits_stand_for_what_answers() -> None:
    facts: dict[str, Any] = {"schema": {"a": 1}, "recipe": {}, "files": {WEIGHTS: "ab"}}
    told = identity(facts)
    assert len(told) == 12
    assert int(told, 16) >= 0
    assert identity(facts | {"seconds": 3, "evaluation": {}, "rows": 1}) == told
    assert identity(facts, "cd") != told
    assert identity(facts | {"schema": {"a": 2}}) != told
    assert identity(facts | {"files": {WEIGHTS: "ab", "model.onnx": "ef"}}) == told


FILL_GRAPH = FILL.replace("import Artifact, save", "import Artifact, add").replace(
    'save(Artifact({"task": "new"}, bytes(100_000), {"card.md": "x" * 9000}), Path(sys.argv[1]))',
    'add(Path(sys.argv[1]), {"model.onnx": bytes(100_000)})',
)


def test_a_full_disk_leaves_the_model_without_the_graph(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    command = [sys.executable, "-c", FILL_GRAPH, str(folder), "50000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(folder.parent.iterdir()) == [folder]
