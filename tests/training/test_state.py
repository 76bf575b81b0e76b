from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from thalweg.core.errors import ArtifactError
from thalweg.training.optimizers import NAMES, build, decayed
from thalweg.training.state import (
    FACTS,
    SEAL,
    TENSORS,
    Snapshot,
    copy_weights,
    flatten_optimizer,
    restore_optimizer,
)


def _learn(layer: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        (layer(torch.full((1, 3), step + 1.0)) - 2).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", NAMES)
def test_an_optimizer_goes_on_with_equal_bits(name: str, tmp_path: Path) -> None:
    layer = nn.Linear(3, 2)
    optimizer = build(name, decayed(layer, 0.1), 0.01)
    _learn(layer, optimizer, 5)
    tensors = {"network": copy_weights(layer), "optimizer": flatten_optimizer(optimizer)}
    Snapshot({}, tensors).save(tmp_path / "point")
    _learn(layer, optimizer, 5)

    other = nn.Linear(3, 2)
    fresh = build(name, decayed(other, 0.1), 0.01)
    found = Snapshot.load(tmp_path / "point")
    other.load_state_dict(found.tensors["network"])
    restore_optimizer(fresh, found.tensors.get("optimizer", {}))
    _learn(other, fresh, 5)
    assert all(
        torch.equal(a, b) for a, b in zip(layer.parameters(), other.parameters(), strict=True)
    )


def test_a_snapshot_is_read_back(tmp_path: Path) -> None:
    weights = {"a.b": torch.arange(6.0).reshape(2, 3).T, "c": torch.tensor(3)}
    facts: dict[str, Any] = {"epochs": [], "best": math.inf, "stopped": ""}
    Snapshot(facts, {"network": weights, "other": {"c": torch.zeros(0)}}).save(tmp_path / "point")
    found = Snapshot.load(tmp_path / "point")
    assert found.facts == facts
    assert found.tensors.keys() == {"network", "other"}
    for name, value in weights.items():
        assert torch.equal(found.tensors["network"][name], value)


@pytest.mark.parametrize("name", [TENSORS, FACTS, SEAL])
@pytest.mark.parametrize("where", [0.0, 0.5, 0.999])
def test_a_flipped_byte_is_an_error_not_another_outcome(
    tmp_path: Path, name: str, where: float
) -> None:
    point = tmp_path / "point"
    Snapshot({"loss": 0.5312}, {"network": {"a": torch.arange(50.0)}}).save(point)
    content = bytearray((point / name).read_bytes())
    content[int(where * len(content))] ^= 1
    (point / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"checkpoint .* cannot be read.*without --resume"):
        Snapshot.load(point)


@pytest.mark.parametrize("name", [TENSORS, FACTS, SEAL])
def test_a_missing_file_is_an_error(tmp_path: Path, name: str) -> None:
    Snapshot({}, {"network": {"a": torch.zeros(1)}}).save(tmp_path / "point")
    (tmp_path / "point" / name).unlink()
    with pytest.raises(ArtifactError, match="cannot be read"):
        Snapshot.load(tmp_path / "point")


def test_copied_weights_stay_when_the_network_learns() -> None:
    layer = nn.Linear(2, 1)
    kept = copy_weights(layer)
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.weight.add_(1)
    assert torch.equal(kept["weight"], before)
