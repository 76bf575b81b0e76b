"""The training loop, as a ladder of small methods: fit, epoch, step, judge.

Nothing that an epoch draws (shuffle, dropout) depends on an epoch before: every epoch seeds
itself from the run's seed and its number. A snapshot within an epoch holds the random numbers'
state and the step. So a run that was killed goes on from its last checkpoint and ends with the
same weights, bit for bit.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thalweg.core.errors import OptionError
from thalweg.core.seeds import derive
from thalweg.data.arrays import Arrays
from thalweg.data.loader import Loader
from thalweg.models.decoder import Outputs
from thalweg.models.network import Blend, Network, forward_all
from thalweg.models.recipe import Recipe
from thalweg.models.record import Epoch
from thalweg.training import optimizers, schedules
from thalweg.training.callbacks.base import Callback
from thalweg.training.state import Snapshot, flatten_optimizer, restore_optimizer

Judge = Callable[[Outputs], tuple[float, float]]

LOOKED_AT: Final = 256
"""Steps between two looks at whether a long epoch's loss is still a number."""


@final
@dataclass(frozen=True, slots=True)
class Judged:
    """The rows that choose when to stop.

    Parameters
    ----------
    arrays
        The encoded rows [N].
    held
        int64 [N, judges]: for each row the members that hold it out and so may judge it; None
        where no member learns from these rows.
    """

    arrays: Arrays
    held: NDArray[np.int64] | None = None


@final
@dataclass(slots=True)
class Passing:
    """How far the epoch at hand has come.

    Parameters
    ----------
    steps
        How many steps it has done.
    loss
        float32 []: the sum of their losses.
    seconds
        What it took in processes that were killed.
    random
        The state of torch's random numbers where it is to go on; None where it begins.
    began
        When this process began or went on with it.
    """

    steps: int = 0
    loss: Tensor = field(default_factory=lambda: torch.zeros(()))
    seconds: float = 0.0
    random: Tensor | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        """Seconds up to now, in all processes."""
        return self.seconds + time.monotonic() - self.began


@final
class Loop:
    """Trains a network.

    Parameters
    ----------
    network
        Trained in place.
    recipe
        The dials.
    loader
        The training rows.
    judged
        The rows that choose when to stop.
    judge
        Turns the network's outputs on these rows into the loss and the leading metric.
    seed
        The run's seed.
    callbacks
        What else happens, in order; see `Callback`.
    bfloat16
        Multiply in bfloat16 (autocast): quicker on processors that have it.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        loader: Loader,
        judged: Judged,
        judge: Judge,
        seed: int,
        callbacks: Sequence[Callback] = (),
        *,
        bfloat16: bool = False,
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.loader = loader
        self.judged = judged
        self.judge = judge
        self.seed = seed
        self.callbacks = callbacks
        self.bfloat16 = bfloat16
        self.optimizer = optimizers.build(
            recipe.optimizer,
            optimizers.decayed(network, recipe.weight_decay),
            recipe.learning_rate,
        )
        self.epochs: list[Epoch] = []
        self.steps_done = 0
        self.stopped = ""
        self.passing: Passing | None = None
        self.judging_seconds = 0.0

    @property
    def steps(self) -> int:
        """How many steps the plan has."""
        return self.loader.steps * self.recipe.epochs

    @property
    def seconds(self) -> float:
        """How long all epochs took, the one at hand included, over all processes."""
        within = 0.0 if self.passing is None else self.passing.spent
        return sum(epoch.seconds for epoch in self.epochs) + within

    def fit(self) -> None:
        """Train until the plan is done or a callback stops it."""
        with torch.random.fork_rng(devices=[]):
            for callback in self.callbacks:
                callback.on_start(self)
            while not self.stopped or self.passing is not None:
                self.run_epoch(len(self.epochs))
            for callback in self.callbacks:
                callback.on_end(self)

    def run_epoch(self, number: int) -> None:
        """Show the network an epoch's rows, then judge it.

        Raises
        ------
        OptionError
            Where the loss is no finite number any more.
        """
        at = self.passing = self.passing or Passing()
        torch.manual_seed(derive(self.seed, "epoch", number))
        if at.random is not None:
            torch.set_rng_state(at.random)
        at.began = time.monotonic()
        self.network.train()
        self.steps_done = number * self.loader.steps + at.steps
        with contextlib.closing(self.loader.epoch(number, at.steps)) as batches:
            for batch in batches:
                if self.stopped:
                    break
                at.loss += self.step(batch)
                at.steps += 1
                self.steps_done += 1
                if at.steps % LOOKED_AT == 0:
                    self._check(float(at.loss))
                for callback in self.callbacks:
                    callback.on_step(self)
        began = time.monotonic()
        with self.predicting():
            loss, metric = self.judge(self.outputs())
        self.judging_seconds = time.monotonic() - began
        self._check(loss + float(at.loss))
        self.passing = None
        self.epochs.append(
            Epoch(
                epoch=number,
                steps=at.steps,
                seconds=at.spent,
                learning_rate=self.optimizer.param_groups[0]["lr"],  # of what is learned anew
                train_loss=float(at.loss) / max(1, at.steps),
                validation_loss=loss,
                metric=metric,
            )
        )
        if len(self.epochs) >= self.recipe.epochs and at.steps >= self.loader.steps:
            self.stopped = "plan"
        for callback in self.callbacks:
            callback.on_epoch(self)

    def _check(self, loss: float) -> None:
        """Refuse to go on with a loss that is no finite number."""
        if not math.isfinite(loss):
            raise OptionError(
                f"training diverged in epoch {len(self.epochs) + 1}: its loss is no finite number",
                "a loss that falls",
                f"Lower the learning rate ({self.recipe.learning_rate:g}) or bound the gradient: "
                "--set learning_rate=... --set clip=1.",
            )

    def step(self, batch: Arrays) -> Tensor:
        """Learn from one batch; give its mean loss."""
        scale = schedules.factor(
            self.recipe.schedule, self.steps_done, self.steps, self.recipe.warmup
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * scale * group["rate"]
        self.optimizer.zero_grad(set_to_none=True)
        blend = self._blend(len(batch))
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            outputs = self.network(self.network.tensors(batch.features), blend).float()
        target = {name: torch.from_numpy(array) for name, array in batch.target.items()}
        losses = self.network.head.loss(outputs, target)
        if blend is not None:
            others = {name: tensor[blend.partners] for name, tensor in target.items()}
            losses = torch.lerp(self.network.head.loss(outputs, others), losses, blend.share)
        # Each member learns from its own mean loss: the sum keeps their gradients apart.
        weights = batch.weights
        if weights is not None and blend is not None:
            weights = weights * weights[blend.partners.numpy()]  # no member sees what it holds out
        members = losses.mean(dim=1) if weights is None else _mean(losses, weights)
        torch.autograd.backward(members.sum())
        if self.recipe.clip:
            self.network.clip(self.recipe.clip)
        self.optimizer.step()
        return members.detach().mean()

    def _blend(self, rows: int) -> Blend | None:
        """Draw which rows of a batch are mixed, and how."""
        if not self.recipe.mixup:
            return None
        alpha = torch.tensor(self.recipe.mixup)
        pair = torch._standard_gamma(alpha.expand(2))  # of torch's own random numbers
        return Blend(torch.randperm(rows), float(pair[0] / pair.sum().clamp_min(1e-12)))

    def outputs(self) -> Outputs:
        """Run the network over the judged rows, in the loop's own arithmetic."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            return forward_all(self.network, self.judged.arrays, self.judged.held)

    @contextlib.contextmanager
    def predicting(self) -> Iterator[None]:
        """Put the weights that predict in place: those of the callback that keeps an average."""
        with contextlib.ExitStack() as stack:
            for callback in self.callbacks:
                stack.enter_context(callback.predicting(self))
            self.network.eval()
            yield
            self.network.train()

    def snapshot(self) -> Snapshot:
        """Hold what is needed to go on from the last step."""
        tensors: dict[str, dict[str, Tensor]] = {
            "network": dict(self.network.state_dict()),
            "optimizer": flatten_optimizer(self.optimizer),
        }
        remembered: dict[str, Mapping[str, Any]] = {}
        for callback in self.callbacks:
            remembered[callback.name], tensors[callback.name] = callback.remember()
        facts: dict[str, Any] = {
            "epochs": [epoch.model_dump() for epoch in self.epochs],
            "stopped": self.stopped,
            "callbacks": remembered,
        }
        if self.passing is not None:
            facts["passing"] = {"steps": self.passing.steps, "seconds": self.passing.spent}
            tensors["passing"] = {
                "loss": self.passing.loss.clone(),
                "random": torch.get_rng_state(),
            }
        return Snapshot(facts, tensors)

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot."""
        self.network.load_state_dict(snapshot.tensors["network"])
        restore_optimizer(self.optimizer, snapshot.tensors.get("optimizer", {}))
        self.epochs = [Epoch.model_validate(one) for one in snapshot.facts["epochs"]]
        self.stopped = snapshot.facts["stopped"]
        self.steps_done = sum(epoch.steps for epoch in self.epochs)
        self.passing = None
        within = snapshot.facts.get("passing")
        if within is not None:
            own = snapshot.tensors["passing"]
            self.passing = Passing(
                within["steps"], own["loss"].clone(), within["seconds"], own["random"].clone()
            )
            self.steps_done += self.passing.steps
        for callback in self.callbacks:
            callback.recall(
                snapshot.facts["callbacks"].get(callback.name, {}),
                snapshot.tensors.get(callback.name, {}),
            )


def _mean(losses: Tensor, weights: NDArray[np.float32]) -> Tensor:
    """Weigh losses [members, N] by row [N] or by row and member [N, members]; mean by member."""
    weight = torch.from_numpy(weights).T.expand_as(losses)
    return (losses * weight).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-9)
