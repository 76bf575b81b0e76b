"""The whole network, which learns on in micro-batches: from the last rows and from all."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Final, final

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from thalweg.core.progress import Silent
from thalweg.core.seeds import derive
from thalweg.data.arrays import Arrays
from thalweg.kinds import KINDS
from thalweg.models.model import Model
from thalweg.models.network import forward_all, settled
from thalweg.training import optimizers
from thalweg.training.online.base import Expert, News, Script, State
from thalweg.training.online.experts.frozen import fitted, require_single
from thalweg.training.online.replay import Reservoir, Ring, bytes_of, unflatten
from thalweg.training.state import flatten_optimizer, restore_optimizer

MICRO_BATCH: Final = 256
"""Rows in a step: half of them recent, half from all that came."""

LEAST: Final = 256
"""The fewest recent rows that are drawn from, however short the stretch without change."""

MOST: Final = 4096
"""The most rows that are kept of either sort: more were worse on every stream that changes."""

BYTES: Final = 64 << 20
"""What the kept rows of both sorts may take together."""

RATE: Final = 1.0
"""The rate of learning as a share of the trained model's peak."""

BOOST: Final = 3.0
"""How much higher the rate is after a change, for classes. Numbers have no bound that holds it."""

BOOSTED: Final = 8
"""For how many settles it is."""


@final
class Slow(Expert):
    """A copy of a model's whole network that goes on learning under a budget.

    Every so many labels it takes a few steps of AdamW at a constant rate, each on a micro-batch of
    which half are of the last rows (as many as the detector of drift takes for one stretch) and
    half of a fair sample of all (Rolnick et al. 2019; Vitter 1985). A confirmed change begins both
    anew; for a while it then learns from the last rows alone, faster and with fresh moments.

    Parameters
    ----------
    model
        Where it starts. It stays as it is.
    budget
        Steps at each settle. Default 1: about one micro-batch for as many labels.
    rate
        The rate of learning, as a share of the recipe's peak.
    seed
        Draws the rows and what is silenced.
    """

    name: ClassVar[str] = "slow"

    def __init__(self, model: Model, *, budget: int = 1, rate: float = RATE, seed: int = 0) -> None:
        require_single(model)
        self._boost = 1.0 if model.task == "regression" else BOOST
        self._model = model
        self._network = copy.deepcopy(model.network).eval()
        self._rate = model.recipe.learning_rate * rate
        self._budget = budget
        self._seed = seed
        self._optimizer = self._fresh()
        self._ring: Ring | None = None
        self._reservoir: Reservoir | None = None
        self._steps = 0
        self._boosted = 0
        self._script: Script | None = None
        self._arrays: Arrays | None = None

    def prepare(self, script: Script) -> None:
        """Do the work of parts that never learn once for all rows."""
        self._script, self._arrays = script, script.arrays
        if script.arrays is not None and self._network.settles:
            self._arrays = settled(self._network, script.arrays, Silent())

    def run(self, script: Script, said: NDArray[np.float64]) -> None:
        """See `Expert.run`: the weights change in `settle` alone."""
        if self._script is None or self._script.rows is not script.rows:
            self.prepare(script)
        if self._arrays is None:
            said[script.steps[script.steps >= 0]] = np.nan
            return
        rows = script.steps[script.steps >= 0]
        if len(rows):
            said[rows] = np.nan
        if len(rows) and self._steps:
            outputs = forward_all(self._network, self._arrays.take(rows))
            said[rows] = fitted(self._model.decoder.calibrated(outputs).prediction, script.width)
        self._keep(~script.steps[script.steps < 0], script.targets)

    def settle(self, news: News) -> None:
        """Take the budget's steps; answer a change."""
        if self._ring is None or self._reservoir is None:
            return
        if news.drift:
            self._ring.keep(max(1, news.stretch))
            self._reservoir.restore({}, 0)  # what was so before the change is so no more
            self._optimizer = self._fresh()
            self._boosted = BOOSTED
        recent = min(len(self._ring), max(LEAST, news.stretch))
        if recent == 0:
            return
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * group["rate"] * (self._boost if self._boosted else 1.0)
        with torch.random.fork_rng(devices=[]):
            for _ in range(self._budget):
                self._step(self._drawn(self._ring, self._reservoir, recent))
        self._boosted = max(0, self._boosted - 1)

    def promote(self) -> Model:
        """Give a model with the weights as they are now; its figures are still to be measured."""
        model = self._model
        return Model(
            model.schema,
            copy.deepcopy(self._network),
            model.recipe,
            model.calibration,
            model.training,
            model.rows,
            model.fingerprint,
            reference=model.reference,
        )

    def state(self) -> State:
        """See `Expert.state`."""
        moments = flatten_optimizer(self._optimizer)
        weights = self._network.state_dict()
        groups: dict[str, Mapping[str, Any]] = {
            "network": {name: value.numpy() for name, value in weights.items()},
            "optimizer": {name: value.numpy() for name, value in moments.items()},
            "ring": {} if self._ring is None else self._ring.state(),
            "reservoir": {} if self._reservoir is None else self._reservoir.state(),
        }
        arrays = {
            f"{group}/{name}": np.array(value, ndmin=1)  # copied; counts of steps have no axis
            for group, values in groups.items()
            for name, value in values.items()
        }
        seen = 0 if self._reservoir is None else self._reservoir.seen
        return State({"steps": self._steps, "boosted": self._boosted, "seen": seen}, arrays)

    def restore(self, state: State) -> None:
        """See `Expert.restore`."""
        groups: dict[str, dict[str, NDArray[Any]]] = {}
        for key, array in state.arrays.items():
            group, _, name = key.partition("/")
            groups.setdefault(group, {})[name] = array
        tensors = {name: torch.from_numpy(one.copy()) for name, one in groups["network"].items()}
        self._network.load_state_dict(tensors)
        self._optimizer = self._fresh()
        moments = groups.get("optimizer", {})
        if moments:
            restore_optimizer(
                self._optimizer,
                {
                    name: torch.from_numpy(one.reshape(()) if name.endswith(".step") else one)
                    for name, one in moments.items()
                },
            )
        self._steps, self._boosted = state.facts["steps"], state.facts["boosted"]
        self._ring = self._reservoir = self._script = self._arrays = None
        if "ring" in groups:
            capacity = _capacity(unflatten(groups["ring"]))
            self._ring = Ring(capacity)
            self._ring.restore(groups["ring"])
            self._reservoir = Reservoir(capacity, derive(self._seed, "reservoir"))
            self._reservoir.restore(groups.get("reservoir", {}), state.facts["seen"])

    def _fresh(self) -> torch.optim.Optimizer:
        groups = optimizers.decayed(self._network, self._model.recipe.weight_decay)
        return optimizers.build("adamw", groups, self._rate)

    def _keep(self, rows: NDArray[np.int64], targets: NDArray[np.float64]) -> None:
        """Keep rows whose labels have come, in that order, to be learned from."""
        if self._arrays is None:
            return
        known = np.isfinite(targets[rows])
        if self._model.task != "regression":
            known &= targets[rows] < self._network.head.outputs
        rows = rows[known]
        if not len(rows):
            return
        target = self._target(targets[rows])
        arrays = Arrays(self._arrays.take(rows).features, target)
        if self._ring is None or self._reservoir is None:
            capacity = _capacity(arrays)
            self._ring = Ring(capacity)
            self._reservoir = Reservoir(capacity, derive(self._seed, "reservoir"))
        self._ring.push(arrays)
        self._reservoir.push(arrays)

    def _target(self, targets: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """Encode targets [N] as the network's head takes them."""
        if self._model.task != "regression":
            return {"code": targets.astype(np.int64)[:, None]}
        column = self._model.schema.target
        if column is None:
            raise AssertionError
        return dict(KINDS[column.kind].encode([pa.array(targets)], [column.state]).fields)

    def _drawn(self, ring: Ring, reservoir: Reservoir, recent: int) -> Arrays:
        """Draw a micro-batch; after a change, from rows since then alone."""
        draw = np.random.default_rng(derive(self._seed, "replay", self._steps))
        last = MICRO_BATCH if self._boosted or not len(reservoir) else MICRO_BATCH // 2
        parts = [ring.take(draw.integers(recent, size=last))]
        if last < MICRO_BATCH:
            parts.append(reservoir.take(draw.integers(len(reservoir), size=MICRO_BATCH - last)))
        return Arrays.join(parts)

    def _step(self, batch: Arrays) -> None:
        """Learn from one micro-batch, each member from its own mean loss."""
        torch.manual_seed(derive(self._seed, "step", self._steps))
        self._network.train()
        self._optimizer.zero_grad(set_to_none=True)
        outputs = self._network(self._network.tensors(batch.features)).float()
        target = {name: torch.from_numpy(array) for name, array in batch.target.items()}
        losses = self._network.head.loss(outputs, target)
        torch.autograd.backward(losses.mean(dim=1).sum())
        self._network.clip(self._model.recipe.clip or 1.0)
        self._optimizer.step()
        self._network.eval()
        self._steps += 1


def _capacity(arrays: Arrays) -> int:
    """Say how many such rows are kept of either sort."""
    return max(1, min(MOST, BYTES // 2 // max(1, bytes_of(arrays))))
