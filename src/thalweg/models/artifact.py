"""A saved model: a folder of JSON and safetensors, each file with its hash. No code, no pickle.

::

    model/
    ├── model.json            format, schema, architecture, record, figures, hashes of the others
    ├── model.json.sha256     the hash of model.json itself
    ├── weights.safetensors   the network's weights
    ├── model.onnx            the same model for ONNX Runtime, where it was compiled
    ├── card.md               what a person should know before using it
    └── report.html           how it came to be and how well it does

The folder is written under another name, flushed to the disk and renamed: it is there whole or
not at all. Loading checks the hash of every file that it reads before anything else, so a flipped
byte is an error, never a wrong answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from thalweg.core.errors import ArtifactError, OptionError, near
from thalweg.core.files import atomic_folder

FORMAT: Final = 1
DESCRIPTION: Final = "model.json"
SEAL: Final = "model.json.sha256"
WEIGHTS: Final = "weights.safetensors"

PRECISIONS: Final = ("float32", "float16", "int8")
"""How exactly a compiled model reckons; the first is as exact as the model itself."""

_ANSWERING: Final = ("task", "schema", "recipe", "calibration")
"""What of a description decides the answers."""


@final
@dataclass(frozen=True, slots=True)
class Artifact:
    """What a model's folder holds.

    Parameters
    ----------
    description
        Plain data: schema, architecture, record.
    weights
        The bytes of ``weights.safetensors``.
    texts
        Further files by name: ``card.md``, ``report.html``.
    """

    description: Mapping[str, Any]
    weights: bytes
    texts: Mapping[str, str]


def require_free(folder: Path) -> None:
    """Refuse to replace what is no model.

    Raises
    ------
    OptionError
        Where the folder holds something else, or the name is a file's.
    """
    if folder.is_dir() and ((folder / DESCRIPTION).exists() or not any(folder.iterdir())):
        return
    if folder.exists():
        raise OptionError(
            f"{folder} exists and is no model",
            "a new folder, or that of a model to replace",
            "Name another folder with --out.",
        )


def save(artifact: Artifact, folder: Path) -> None:
    """Write a model's folder, whole or not at all; one that was there is replaced at the end.

    Raises
    ------
    SourceError
        Where the disk is full or the place cannot be written; what was there stays.
    """
    files = {WEIGHTS: artifact.weights}
    files |= {name: text.encode() for name, text in artifact.texts.items()}
    _write({"format": FORMAT, **artifact.description}, files, folder)


def add(folder: Path, graphs: Mapping[str, bytes], own: str = "") -> None:
    """Put compiled graphs into a model's folder, which is replaced as a whole, or not at all.

    Parameters
    ----------
    folder
        A saved model. Its other files stay as they are, byte by byte.
    graphs
        The graphs by the names of their files, see `graph_name`; those of the same name go.
    own
        The `identity` of the model that they were made of; empty for whichever is there.

    Raises
    ------
    ArtifactError
        Where there is no model, a file of it is missing or damaged, or another model lies there by
        now.
    SourceError
        Where the disk is full or the place cannot be written; what was there stays.
    """
    description = read_description(folder)
    if own and identity(description) != own:
        raise ArtifactError(
            f"{folder} holds another model than the one that was compiled",
            "the same model as at the beginning",
            "Compile it again.",
        )
    files = {
        name: _checked(folder / name, digest)
        for name, digest in hashes_of(description, folder).items()
        if name not in graphs and not _is_lost(folder, name)
    }
    _write(description, files | dict(graphs), folder)


def _is_lost(folder: Path, name: str) -> bool:
    """Say whether a file is a graph that somebody has removed: it can be made again."""
    return name in map(graph_name, PRECISIONS) and not (folder / name).exists()


def _write(description: Mapping[str, Any], files: Mapping[str, bytes], folder: Path) -> None:
    """Write files, and a description that has their hashes."""
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    told = json.dumps({**description, "files": hashes}, indent=1, allow_nan=False).encode()
    seal = hashlib.sha256(told).hexdigest().encode()
    with atomic_folder(folder) as building:
        for name, content in {**files, DESCRIPTION: told, SEAL: seal}.items():
            (building / name).write_bytes(content)


def load(folder: Path) -> Artifact:
    """Read a model's folder after checking every file that it reads: compiled graphs are left.

    Raises
    ------
    ArtifactError
        Where there is no model, a file is missing or damaged, or the format is another version's.
    """
    description = read_description(folder)
    contents = {
        name: _checked(folder / name, digest)
        for name, digest in hashes_of(description, folder).items()
        if name not in map(graph_name, PRECISIONS)
    }
    weights = contents.pop(WEIGHTS)
    texts = {name: text.decode(errors="replace") for name, text in contents.items()}
    return Artifact(description, weights, texts)


def load_graph(folder: Path, precision: str) -> tuple[dict[str, Any], bytes]:
    """Read a model's description and its compiled graph, checked, and nothing else.

    Parameters
    ----------
    folder
        A saved model.
    precision
        One of `PRECISIONS`.

    Raises
    ------
    ArtifactError
        Where there is no model, or what is read is missing or damaged.
    OptionError
        Where the model is not compiled to this precision.
    """
    name = graph_name(precision)
    description = read_description(folder)
    hashes = hashes_of(description, folder)
    if name not in hashes:
        flag = "" if precision == PRECISIONS[0] else f" --precision {precision}"
        compiled = [one for one in PRECISIONS if graph_name(one) in hashes]
        raise OptionError(
            f"{folder} is not compiled to {precision}" if compiled else f"{folder} is not compiled",
            f"a model with {name}",
            f"Run: thalweg compile {folder}{flag}.",
        )
    return description, _checked(folder / name, hashes[name])


def graph_name(precision: str) -> str:
    """Name the file of a compiled graph.

    Raises
    ------
    OptionError
        Where there is no such precision, with near names.

    Examples
    --------
    >>> graph_name("float32"), graph_name("int8")
    ('model.onnx', 'model.int8.onnx')
    """
    if precision not in PRECISIONS:
        raise OptionError(
            f"precision is {precision!r}",
            "one of " + ", ".join(PRECISIONS),
            near(precision, PRECISIONS),
        )
    return "model.onnx" if precision == PRECISIONS[0] else f"model.{precision}.onnx"


def identity(description: Mapping[str, Any], weights: str | None = None) -> str:
    """Give the digits that stand for a model: of its weights, and of what decides its answers.

    Compiling, judging or moving a model leaves them; models of equal digits answer alike.

    Parameters
    ----------
    description
        That of the model.
    weights
        The hash of its weights; by default the one that the description names.

    Returns
    -------
    str
        12 hexadecimal digits.

    Examples
    --------
    >>> identity({"task": "binary", "seconds": 1.0}, "ab")
    'd34137d9b70a'
    """
    digest = description["files"][WEIGHTS] if weights is None else weights
    told = {name: description.get(name) for name in _ANSWERING} | {"weights": digest}
    canonical = json.dumps(told, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def hashes_of(description: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Give the hashes of a model's files by name.

    Raises
    ------
    ArtifactError
        Where the format is another version's, or names lead out of the folder.
    """
    if description.get("format") != FORMAT:
        raise ArtifactError(
            f"{folder} has format {description.get('format')!r}",
            f"format {FORMAT}",
            "Use the version of Thalweg that saved it, or train again.",
        )
    hashes = description["files"]
    if not isinstance(hashes, dict) or WEIGHTS not in hashes:
        raise ArtifactError(f"{folder / DESCRIPTION} names no {WEIGHTS}", "a saved model", _AGAIN)
    for name in hashes:
        if name in ("", "..", DESCRIPTION, SEAL) or Path(name).name != name:
            raise ArtifactError(f"{folder} names the file {name!r}", "a plain file name", _AGAIN)
    return hashes


def read_description(folder: Path) -> dict[str, Any]:
    """Read and check ``model.json`` alone.

    Raises
    ------
    ArtifactError
        Where there is no model or the file is damaged.
    """
    if not folder.exists():
        raise ArtifactError(
            f"{folder} does not exist", "the folder of a saved model", "Train one: thalweg train."
        )
    if not (folder / DESCRIPTION).is_file():
        raise ArtifactError(
            f"{folder} holds no {DESCRIPTION}",
            "the folder of a saved model",
            "Was it trained with Thalweg?",
        )
    try:
        digest = (folder / SEAL).read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise ArtifactError(
            f"{folder / SEAL} cannot be read", "the hash of model.json", _AGAIN
        ) from None
    try:
        found = json.loads(_checked(folder / DESCRIPTION, digest))
    except (ValueError, RecursionError):
        raise ArtifactError(
            f"{folder / DESCRIPTION} is not JSON", "a saved model", _AGAIN
        ) from None
    if not isinstance(found, dict) or not {"format", "files"} <= set(found):
        raise ArtifactError(f"{folder / DESCRIPTION} describes no model", "a saved model", _AGAIN)
    return found


_AGAIN: Final = "Copy the model again from where it was whole, or train again."


def _checked(path: Path, digest: str) -> bytes:
    """Read a file whose hash must be the one that was saved."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ArtifactError(
            f"{path} cannot be read ({error.strerror})", "every file of the model", _AGAIN
        ) from None
    if hashlib.sha256(content).hexdigest() != digest:
        raise ArtifactError(
            f"{path} is damaged: its hash differs", "the bytes that were saved", _AGAIN
        )
    return content
