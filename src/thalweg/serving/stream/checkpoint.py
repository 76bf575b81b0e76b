"""Checkpoints: all that a stream remembers, as one folder that is there whole or not at all.

JSON and Arrow IPC with a hash for each file: no pickle, nothing that can run. Several are kept, and
a damaged one is passed over for the one before.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, final

import pyarrow as pa

from thalweg.core.errors import ArtifactError
from thalweg.core.files import atomic_folder
from thalweg.sources.streams.base import Position

FORMAT: Final = 1
KEPT: Final = 3
"""How many checkpoints are kept."""

_MANIFEST: Final = "manifest.json"
_SEAL: Final = "manifest.sha256"


@final
@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a lane remembered after a batch.

    Parameters
    ----------
    batch
        The number of the last batch that went in.
    positions
        Up to where each partition was read.
    facts
        Plain JSON.
    tables
        What is too large for JSON, by name.
    """

    batch: int = 0
    positions: Mapping[str, Position] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, pa.Table] = field(default_factory=dict)


def save(checkpoint: Checkpoint, lane: Path) -> int:
    """Write a checkpoint into a lane's folder, and remove those that are no longer kept.

    Returns
    -------
    int
        The batch of the oldest one that is kept.

    Raises
    ------
    SourceError
        Where the disk is full; the older ones are there still.
    """
    hashes: dict[str, str] = {}
    with atomic_folder(lane / f"checkpoint-{checkpoint.batch:012d}") as building:
        for name, table in checkpoint.tables.items():
            path = building / f"{name}.arrow"
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
                writer.write_table(table)
            hashes[path.name] = _digest(path)
        manifest = {
            "format": FORMAT,
            "batch": checkpoint.batch,
            "positions": dict(checkpoint.positions),
            "facts": dict(checkpoint.facts),
            "files": hashes,
        }
        text = json.dumps(manifest, allow_nan=False).encode()
        (building / _MANIFEST).write_bytes(text)
        (building / _SEAL).write_text(hashlib.sha256(text).hexdigest())
    found = _folders(lane)
    for old in found[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return _batch_of(found[-KEPT:][0])


def load_newest(lane: Path, tell: Callable[[str], None]) -> Checkpoint | None:
    """Read the newest checkpoint that is whole.

    Parameters
    ----------
    lane
        The lane's folder.
    tell
        Told of each that is damaged and passed over.

    Returns
    -------
    Checkpoint | None
        None where none was ever written.

    Raises
    ------
    ArtifactError
        Where all are damaged, or the newest was written by another version.
    """
    found = _folders(lane)
    for folder in reversed(found):
        try:
            return _load(folder)
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            words = " ".join(str(error).split())[:200]
            tell(f"{folder} is damaged ({words}) and was passed over for the one before")
    if found:
        raise ArtifactError(
            f"not one of {len(found)} checkpoints in {lane} is whole",
            "one that is",
            "Start with another --state; outputs that are there already may then come again.",
        )
    return None


def _load(folder: Path) -> Checkpoint:
    text = (folder / _MANIFEST).read_bytes()
    if hashlib.sha256(text).hexdigest() != (folder / _SEAL).read_text().strip():
        message = f"{_MANIFEST} differs from its hash"
        raise ValueError(message)
    manifest = json.loads(text)
    if manifest.get("format") != FORMAT:
        raise ArtifactError(
            f"{folder} has format {manifest.get('format')!r}",
            f"format {FORMAT}",
            "Use the version of Thalweg that wrote it, or start with another --state.",
        )
    tables: dict[str, pa.Table] = {}
    for name, digest in manifest["files"].items():
        path = folder / Path(name).name
        if _digest(path) != digest:
            message = f"{name} differs from its hash"
            raise ValueError(message)
        with pa.OSFile(str(path), "rb") as file:
            tables[path.stem] = pa.ipc.open_file(file).read_all()
    return Checkpoint(manifest["batch"], manifest["positions"], manifest["facts"], tables)


def _folders(lane: Path) -> Sequence[Path]:
    return sorted(one for one in lane.glob("checkpoint-*") if one.is_dir())


def _batch_of(folder: Path) -> int:
    return int(folder.name.partition("-")[2])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
