from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import pytest
from safetensors.torch import save

from thalweg.core.errors import ArtifactError, OptionError
from thalweg.core.progress import Progress, Silent
from thalweg.data.parts import Prepared, Wishes
from thalweg.data.prepare import prepare
from thalweg.data.split import Split
from thalweg.models.model import Model
from thalweg.models.recipe import Recipe
from thalweg.sources import open_source
from thalweg.training.plan import Pace
from thalweg.training.train import CHECKPOINT, FOLDS, PLAN, Run, folds_of, judged_rows, train

Prepare = Callable[..., Prepared]
RECIPE = Recipe(members=2, width=8, embedding=3, epochs=4, batch_size=64, dropout=0.2)


@final
class Notes(Progress):
    """Keeps what is said; raises in a given step, as a kill would end it."""

    def __init__(self, last: int | None = None) -> None:
        self.said: list[str] = []
        self.steps = 0
        self._last = last

    def start(self, stage: str, total: int | None, unit: str) -> None:
        self.said.append(f"{stage} {total} {unit}")

    def advance(self, amount: int, figures: Mapping[str, float] | None = None) -> None:
        self.steps += amount
        if self._last is not None and self.steps >= self._last:
            raise KeyboardInterrupt

    def note(self, message: str) -> None:
        self.said.append(message)

    def stop(self) -> None:
        self.said.append("stop")


def bits(model: Model) -> bytes:
    return save(dict(model.network.state_dict()))


def test_the_record_tells_how_it_came_to_be(preparing: Prepare) -> None:
    model = train(preparing(), RECIPE, Run(seed=3, settings={"epochs": 4}), Silent())
    assert model.training.seed == 3
    assert model.training.settings == {"epochs": 4}
    assert len(model.training.epochs) == 4
    assert model.training.stopped == "plan"
    assert model.training.metric == "rmse"
    assert model.rows.train + model.rows.test == 400
    assert model.training.parameters == sum(p.numel() for p in model.network.parameters())
    assert "torch" in model.training.versions


@pytest.mark.parametrize("target", ["price", "rare"])
def test_the_seed_is_the_model(preparing: Prepare, target: str) -> None:
    prepared = preparing(target)
    first, again, other = (train(prepared, RECIPE, Run(seed=seed), Silent()) for seed in (1, 1, 2))
    assert bits(first) == bits(again)
    assert first.calibration == again.calibration
    assert bits(first) != bits(other)


def test_the_best_epochs_weights_are_kept(preparing: Prepare) -> None:
    recipe = RECIPE.turned({"epochs": 40, "patience": 2, "learning_rate": 0.05})
    model = train(preparing(), recipe, Run(), Silent())
    losses = [epoch.validation_loss for epoch in model.training.epochs]
    assert model.training.stopped == "early stopping"
    assert model.training.best_epoch == int(np.argmin(losses))
    assert len(losses) == model.training.best_epoch + 3


@pytest.mark.parametrize("balance", ["weights", "oversample", "undersample", "focal"])
def test_balance_changes_training_and_leaves_probabilities_honest(
    preparing: Prepare, balance: str
) -> None:
    prepared = preparing("rare", rows=2000)
    recipe = RECIPE.turned({"learning_rate": 1e-2})
    plain = train(prepared, recipe, Run(), Silent())
    model = train(prepared, recipe, Run(balance=balance), Silent())
    assert bits(model) != bits(plain)
    assert model.calibration.bias
    part = prepared.test
    share = part.arrays.target["code"].mean()
    assert 0.02 < share < 0.15
    assert model.answers(part.arrays).prediction[:, 1].mean() == pytest.approx(share, abs=0.025)


def test_a_regression_has_no_classes_to_balance(preparing: Prepare) -> None:
    with pytest.raises(OptionError, match="'weights'"):
        train(preparing(), RECIPE, Run(balance="weights"), Silent())


def test_the_time_lowers_the_epochs_and_says_so(preparing: Prepare) -> None:
    notes = Notes()
    recipe = RECIPE.turned({"epochs": 100_000, "patience": 100_000})
    model = train(preparing(), recipe, Run(seconds=0.3), notes)
    assert 1 <= model.recipe.epochs < 100_000
    assert any("fit into the time" in one for one in notes.said)
    assert len(model.training.epochs) <= model.recipe.epochs


def test_less_than_a_pass_fits_and_is_said(
    preparing: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Five steps are a pass: the time of eight steps and four judgings, with its margin.
    monkeypatch.setattr("thalweg.training.train.pace_of", lambda _: Pace(1.0, 1.0))
    notes = Notes()
    recipe = RECIPE.turned({"epochs": 20, "patience": 1, "batch_size": 32})
    model = train(preparing(), recipe, Run(seconds=1.15 * 12), notes)
    assert (model.recipe.epochs, model.recipe.share) == (4, pytest.approx(0.2))
    assert "0.8 passes over the rows fit into the time; 20 would be the recipe's" in notes.said
    assert [epoch.steps for epoch in model.training.epochs] == [2] * 4
    assert model.training.passes == pytest.approx(0.8)


@pytest.mark.parametrize("target", ["price", "rare"])
@pytest.mark.parametrize("step", [1, 9, 14, 18])
def test_a_run_that_was_interrupted_goes_on_to_the_same_model(
    preparing: Prepare, tmp_path: Path, target: str, step: int
) -> None:
    prepared = preparing(target)
    recipe = RECIPE.turned({"averaging": 0.9})
    folder = tmp_path / ".model.run"
    whole = train(prepared, recipe, Run(), Silent())
    with pytest.raises(KeyboardInterrupt):
        train(prepared, recipe, Run(folder=folder, every=0), Notes(step))
    notes = Notes()
    again = train(prepared, recipe, Run(folder=folder, every=0, resume=True), notes)
    assert bits(again) == bits(whole)
    assert again.calibration == whole.calibration
    # Every step has a checkpoint, but the one that was cut off in the middle.
    epochs, steps = divmod(step - 1, 5)
    within = f" and {steps} of 5 steps" if steps else ""
    resumed = [one for one in notes.said if one.startswith("resumed")]
    assert resumed == ([f"resumed after epoch {epochs} of 4{within}"] if step > 1 else [])


def test_a_run_that_had_stopped_finishes_at_once(preparing: Prepare, tmp_path: Path) -> None:
    prepared, folder = preparing(), tmp_path / ".model.run"
    whole = train(prepared, RECIPE, Run(folder=folder), Silent())
    assert (folder / CHECKPOINT).is_dir()
    # Not one step more is taken: only the twenty that are done are counted.
    notes = Notes(21)
    again = train(prepared, RECIPE, Run(folder=folder, resume=True), notes)
    assert notes.steps == 20
    assert bits(again) == bits(whole)


def test_a_resumed_run_keeps_its_plan(preparing: Prepare, tmp_path: Path) -> None:
    prepared, folder = preparing(), tmp_path / ".model.run"
    whole = train(prepared, RECIPE, Run(folder=folder), Silent())
    other = RECIPE.turned({"width": 16, "epochs": 9})
    assert bits(train(prepared, other, Run(folder=folder, resume=True), Silent())) == bits(whole)


def test_other_settings_and_rows_are_refused(preparing: Prepare, tmp_path: Path) -> None:
    folder = tmp_path / ".model.run"
    train(preparing(), RECIPE, Run(folder=folder, settings={"minutes": 1}), Silent())
    resumed = Run(folder=folder, resume=True, settings={"minutes": 2})
    with pytest.raises(OptionError, match=r"minutes = 2.*minutes = 1"):
        train(preparing(), RECIPE, resumed, Silent())
    same = Run(folder=folder, resume=True, settings={"minutes": 1})
    with pytest.raises(OptionError, match="source that has changed"):
        train(preparing(rows=401), RECIPE, same, Silent())


def test_without_resume_the_leftovers_of_another_run_are_gone(
    preparing: Prepare, tmp_path: Path
) -> None:
    folder = tmp_path / ".model.run"
    train(preparing(), RECIPE, Run(folder=folder, seed=1), Silent())
    with pytest.raises(KeyboardInterrupt):
        train(preparing(), RECIPE, Run(folder=folder, seed=2), Notes(1))
    assert [path.name for path in folder.iterdir()] == [PLAN]


@pytest.mark.parametrize("name", ["state.safetensors", "state.json", "state.sha256"])
def test_a_damaged_checkpoint_is_a_clear_error(
    preparing: Prepare, tmp_path: Path, name: str
) -> None:
    prepared, folder = preparing(), tmp_path / ".model.run"
    train(prepared, RECIPE, Run(folder=folder), Silent())
    path = folder / CHECKPOINT / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"checkpoint .*Start again without --resume"):
        train(prepared, RECIPE, Run(folder=folder, resume=True), Silent())


@pytest.mark.parametrize(("members", "judges"), [(2, 1), (8, 1), (12, 1), (16, 2)])
def test_members_hold_out_folds(preparing: Prepare, members: int, judges: int) -> None:
    prepared = preparing()
    fold = folds_of(prepared, seed=0)
    assert fold is not None
    assert fold.shape == (len(prepared.train.arrays),)
    judged = judged_rows(prepared, fold, members)
    assert judged.held is not None
    assert judged.held.shape == (int((fold < members).sum()), judges)
    assert judged.held.max() < members
    assert (judged.held % FOLDS == fold[fold < members][:, None]).all()


def test_a_part_that_nobody_learns_from_is_judged_by_all(preparing: Prepare) -> None:
    prepared = preparing(validation=0.2)
    assert folds_of(prepared, seed=0) is None
    judged = judged_rows(prepared, None, 2)
    assert judged.held is None
    assert len(judged.arrays) == len(prepared.validation.arrays)


@pytest.mark.parametrize("rows", [3, 4, 12])
def test_a_tiny_table_is_learned(preparing: Prepare, rows: int) -> None:
    model = train(preparing(rows=rows), RECIPE, Run(), Silent())
    found = model.predict(_tiny(rows)).columns
    assert np.isfinite(found["prediction"].to_numpy()).all()


def _tiny(rows: int) -> Any:
    import pyarrow as pa

    return pa.table({"x": np.linspace(-1, 1, rows), "town": ["Ulm"] * rows})


@pytest.mark.parametrize("balance", ["weights", "oversample"])
def test_balanced_training_is_not_stopped_at_its_start(balance: str) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(4000, 3))
    rare = x[:, 0] + 0.5 * random.normal(size=4000) > 2.2
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": np.where(rare, "yes", "no")})
    prepared = prepare(open_source(table), Wishes("y", {}), Split(), None, Silent())
    dials = {"members": 2, "width": 16, "embedding": 4, "epochs": 8, "patience": 2}
    model = train(
        prepared, Recipe.for_table(prepared).turned(dials), Run(balance=balance), Silent()
    )
    assert model.training.best_epoch > 1
    losses = [epoch.validation_loss for epoch in model.training.epochs]
    assert min(losses) < losses[0]
