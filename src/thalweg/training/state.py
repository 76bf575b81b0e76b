"""A run's state as plain tensors and JSON: what a checkpoint holds. No pickle."""

from __future__ import annotations

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
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


@final
class Snapshot:
    """A moment of training that can be gone on from.

    Parameters
    ----------
    facts
        Plain data: the next epoch, the history, what callbacks remember.
    tensors
        Group -> name -> tensor: ``network``, ``optimizer`` and what callbacks remember.
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
        with atomic_folder(folder) as building:
            (building / TENSORS).write_bytes(save_tensors(flat))
            (building / FACTS).write_text(json.dumps(self.facts))

    @classmethod
    def load(cls, folder: Path) -> Snapshot:
        """Read a snapshot.

        Raises
        ------
        ArtifactError
            Where it is damaged.
        """
        try:
            flat = load_tensors((folder / TENSORS).read_bytes())
            facts = json.loads((folder / FACTS).read_text())
        except (OSError, ValueError, SafetensorError) as error:
            raise ArtifactError(
                f"the checkpoint {folder} cannot be read ({error})",
                "a whole checkpoint",
                "Start again without --resume.",
            ) from None
        tensors: dict[str, dict[str, Tensor]] = {}
        for key, value in flat.items():
            group, _, name = key.partition("/")
            tensors.setdefault(group, {})[name] = value
        return cls(facts, tensors)


def copy_weights(network: nn.Module) -> dict[str, Tensor]:
    """Copy a network's weights and buffers."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
