from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from thalweg.models.model import Model
from thalweg.training.online.base import News, Script
from thalweg.training.online.check import play, require_equal, stream, through_disk
from thalweg.training.online.experts import slow as module
from thalweg.training.online.experts.frozen import Frozen
from thalweg.training.online.experts.slow import Slow

Modelling = Callable[[int], Model]
Reading = Callable[[Script, Model], Script]


def error(said: np.ndarray, script: Script, rows: slice) -> float:
    if script.classes:
        return float((said[rows].argmax(axis=1) != script.targets[rows]).mean())
    return float(np.abs(said[rows, 0] - script.targets[rows]).mean())


@pytest.mark.parametrize("classes", [0, 3])
def test_it_follows_a_change_that_the_trained_model_does_not(
    classes: int, modelling: Modelling, readable: Reading
) -> None:
    model = modelling(classes)
    script, late = readable(stream(4000, classes, 7), model), slice(3000, 4000)
    frozen, said = play(Frozen(model), script).said, play(Slow(model, budget=4), script).said
    told = play(Slow(model, budget=4), script, drifts=(8,)).said
    assert error(said, script, late) < 0.97 * error(frozen, script, late)
    assert error(told, script, late) < 0.87 * error(said, script, late)


def test_it_speaks_after_its_first_steps(modelling: Modelling, readable: Reading) -> None:
    model = modelling(3)
    script = readable(stream(600, 3), model)
    said = play(Slow(model), script).said
    spoken = ~np.isnan(said).any(axis=1)
    first = int(np.argmax(spoken))
    assert 250 < first < 320
    assert spoken[first:].all()
    assert not spoken[:first].any()


def test_classes_that_its_head_does_not_know_are_not_learned(
    modelling: Modelling, readable: Reading
) -> None:
    model = modelling(3)
    script = replace(readable(stream(900, 3), model), classes=4)
    strange = script.targets.copy()
    strange[::3] = 3
    told = play(Slow(model), replace(script, targets=strange))
    strange[::3] = np.nan
    without = play(Slow(model), replace(script, targets=strange))
    require_equal(told.state, without.state)
    assert (told.said[600:, 3] == 0).all()


def test_the_trained_model_stays_as_it_is_and_a_promoted_one_is_whole(
    modelling: Modelling, readable: Reading, tmp_path: Path
) -> None:
    model = modelling(3)
    script = readable(stream(900, 3), model)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    expert = Slow(model)
    play(expert, script)
    promoted = expert.promote()
    weights = {name: value.clone() for name, value in promoted.network.state_dict().items()}
    play(expert, script)
    for name, value in model.network.state_dict().items():
        assert value.equal(before[name])
    assert not all(weights[name].equal(before[name]) for name in weights)
    for name, value in promoted.network.state_dict().items():
        assert value.equal(weights[name])  # what is learned later is not its own
    promoted.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert loaded.predict(script.rows).columns == promoted.predict(script.rows).columns
    assert loaded.evaluation is None


def test_equal_streams_give_equal_weights_whatever_torch_drew(
    modelling: Modelling, readable: Reading
) -> None:
    import torch

    model = modelling(3)
    script = readable(stream(900, 3), model)
    torch.manual_seed(1)
    one = play(Slow(model), script).state
    torch.manual_seed(2)
    before = torch.get_rng_state()
    require_equal(play(Slow(model), script).state, one)
    assert torch.get_rng_state().equal(before)
    other = play(Slow(model, seed=1), script).state
    with pytest.raises(AssertionError):
        require_equal(other, one)


def test_kept_rows_have_a_bound_in_bytes(
    modelling: Modelling, readable: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = modelling(3)
    script = readable(stream(900, 3), model)
    monkeypatch.setattr(module, "BYTES", 8000)
    expert = Slow(model)
    state = play(expert, script).state
    kept = {n: a for n, a in state.arrays.items() if n.startswith(("ring/", "reservoir/"))}
    assert 4000 < sum(array.nbytes for array in kept.values()) <= 8000
    other = Slow(model)
    other.restore(through_disk(state))
    for one in (expert, other):
        play(one, script)
    require_equal(one.state(), expert.state())


def test_after_a_change_old_rows_are_forgotten(modelling: Modelling, readable: Reading) -> None:
    model = modelling(3)
    expert = Slow(model)
    play(expert, readable(stream(900, 3), model))
    expert.settle(News(900, 40, drift=True))
    state = expert.state()
    assert all(len(a) == 40 for n, a in state.arrays.items() if n.startswith("ring/"))
    steps = [a for n, a in state.arrays.items() if n.endswith(".step")]
    assert {float(one[0]) for one in steps} == {1.0}
    assert not any(name.startswith("reservoir/") for name in state.arrays)
    other = Slow(model)
    other.restore(through_disk(state))
    script = readable(stream(300, 3, 9), model)
    require_equal(play(other, script).state, play(expert, script).state)
