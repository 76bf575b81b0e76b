"""A saved model: a folder of JSON and safetensors, each file with its hash. No code, no pickle.

::

    model/
    ├── model.json            format, schema, architecture, record, figures, hashes of the others
    ├── model.json.sha256     the hash of model.json itself
    ├── weights.safetensors   the network's weights
    ├── card.md               what a person should know before using it
    └── report.html           how it came to be and how well it does

The folder is written under another name, flushed to the disk and renamed: it is there whole or
not at all. Loading checks every hash first, so a flipped byte is an error, never a wrong answer.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from thalweg.core.errors import ArtifactError, OptionError
from thalweg.core.files import atomic_folder

FORMAT: Final = 1
DESCRIPTION: Final = "model.json"
SEAL: Final = "model.json.sha256"
WEIGHTS: Final = "weights.safetensors"


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
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    description = {"format": FORMAT, **artifact.description, "files": hashes}
    files[DESCRIPTION] = json.dumps(description, indent=1, allow_nan=False).encode()
    files[SEAL] = hashlib.sha256(files[DESCRIPTION]).hexdigest().encode()
    with atomic_folder(folder) as building:
        for name, content in files.items():
            (building / name).write_bytes(content)


def load(folder: Path) -> Artifact:
    """Read a model's folder after checking every file in it.

    Raises
    ------
    ArtifactError
        Where there is no model, a file is missing or damaged, or the format is another version's.
    """
    description = read_description(folder)
    if description.get("format") != FORMAT:
        raise ArtifactError(
            f"{folder} has format {description.get('format')!r}",
            f"format {FORMAT}",
            "Use the version of Thalweg that saved it, or train again.",
        )
    hashes = description["files"]
    if not isinstance(hashes, dict) or WEIGHTS not in hashes:
        raise ArtifactError(f"{folder / DESCRIPTION} names no {WEIGHTS}", "a saved model", _AGAIN)
    contents: dict[str, bytes] = {}
    for name, digest in hashes.items():
        if Path(name).name != name:
            raise ArtifactError(f"{folder} names the file {name!r}", "a plain file name", _AGAIN)
        contents[name] = _checked(folder / name, digest)
    weights = contents.pop(WEIGHTS)
    texts = {name: text.decode(errors="replace") for name, text in contents.items()}
    return Artifact(description, weights, texts)


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
