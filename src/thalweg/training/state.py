"""A run's state as plain tensors and JSON: what a checkpoint holds. No pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, final

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from thalweg.core.errors import ArtifactError
from thalweg.core.files import atomic_folder

TENSORS: Final = "state.safetensors"
FACTS: Final = "state.json"
SEAL: Final = "state.sha256"
"""The hash of both files, so that a flipped byte is an error, never another outcome."""


def flatten_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Give an optimiser's moments as named tensors."""
    state: Mapping[int, Mapping[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{index}.{name}": torch.as_tensor(value)
        for index, moments in state.items()
        for name, value in moments.items()
        if value is not None
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put named tensors back as an optimiser's moments."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        # Copied, for what was read from a file need not be aligned as weights are.
        state.setdefault(int(index), {})[name] = value.clone()
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


@final
class Snapshot:
    """A moment of training that can be gone on from.

    Parameters
    ----------
    facts
        Plain data: the history, how far the epoch at hand is, what callbacks remember.
    tensors
        Group -> name -> tensor: ``network``, ``optimizer``, ``passing`` and what callbacks
        remember.
    """

    def __init__(self, facts: dict[str, Any], tensors: dict[str, dict[str, Tensor]]) -> None:
        self.facts = facts
        self.tensors = tensors

    def save(self, folder: Path) -> None:
        """Write the snapshot, whole or not at all."""
        flat = {
            f"{group}/{name}": value.detach().contiguous()
            for group, tensors in self.tensors.items()
            for name, value in tensors.items()
        }
        tensors, facts = save_tensors(flat), json.dumps(self.facts).encode()
        with atomic_folder(folder) as building:
            (building / TENSORS).write_bytes(tensors)
            (building / FACTS).write_bytes(facts)
            (building / SEAL).write_text(_seal(tensors, facts))

    @classmethod
    def load(cls, folder: Path) -> Snapshot:
        """Read a snapshot.

        Raises
        ------
        ArtifactError
            Where it is damaged.
        """
        try:
            content, plain = (folder / TENSORS).read_bytes(), (folder / FACTS).read_bytes()
            if (folder / SEAL).read_bytes() != _seal(content, plain).encode():
                raise damaged(folder, "its hash differs")
            flat, facts = load_tensors(content), json.loads(plain)
        except (OSError, ValueError, SafetensorError) as error:
            raise damaged(folder, str(error)) from None
        tensors: dict[str, dict[str, Tensor]] = {}
        for key, value in flat.items():
            group, _, name = key.partition("/")
            tensors.setdefault(group, {})[name] = value
        return cls(facts, tensors)


def damaged(folder: Path, why: str) -> ArtifactError:
    """Say that a checkpoint cannot be gone on from."""
    return ArtifactError(
        f"the checkpoint {folder} cannot be read ({why})",
        "a whole checkpoint",
        "Start again without --resume.",
    )


def _seal(tensors: bytes, facts: bytes) -> str:
    """Hash both files."""
    return hashlib.sha256(hashlib.sha256(tensors).digest() + facts).hexdigest()


def copy_weights(network: nn.Module) -> dict[str, Tensor]:
    """Copy a network's weights and buffers."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
