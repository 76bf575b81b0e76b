"""Several experts' predictions mixed by how well each did of late."""

from __future__ import annotations

from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from thalweg.training.online.base import Script, State
from thalweg.training.online.compiled import compiled

FLOOR: Final = 1e-4
"""The least probability whose logarithm counts against an expert."""

WORST: Final = 16.0
"""The most that one scaled squared error counts against an expert."""


@final
class Hedge:
    """Fixed share over experts' losses (Herbster and Warmuth 1998).

    The mixture is never much worse than the best expert, nor than the best sequence of few of
    them. Experts that say nothing of a row sleep: the others share its weight (Freund, Schapire,
    Singer and Warmuth 1997).

    Parameters
    ----------
    experts
        How many there are.
    numbers
        Whether numbers are predicted. Their loss is the squared error by a running mean of the
        mixture's; that of classes is the log loss.
    share
        What part of all weight is dealt out anew after each label, so that one that did badly for
        long is heard again soon after it does well.
    rate
        How fast weights follow losses; 1 is Bayes' rule, less doubts confident experts.

    Examples
    --------
    >>> Hedge(3, numbers=False).weights.round(2).tolist()
    [0.33, 0.33, 0.33]
    """

    def __init__(
        self, experts: int, *, numbers: bool, share: float = 0.01, rate: float = 0.5
    ) -> None:
        self._numbers = numbers
        self._share, self._rate = float(share), float(rate)
        self._weights = np.full(experts, 1 / max(1, experts))
        self._scale = np.zeros(2)  # labels so far, and the mixture's running squared error

    @property
    def weights(self) -> NDArray[np.float64]:
        """How much each expert counts now, float64 [E]; they sum to 1."""
        return self._weights.copy()

    def run(
        self, script: Script, said: NDArray[np.float64], answers: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Mix what is said at each step that predicts, and weigh at each that learns.

        Parameters
        ----------
        script
            What to do.
        said
            float64 [N, E, width]: what each expert says; NaN where it says nothing.
        answers
            float64 [N, width], to be filled for each row that is predicted.

        Returns
        -------
        numpy.ndarray
            float64 [M, E + 1]: at each step that learns the loss of each expert and, last, of
            the mixture; NaN elsewhere, and for those who said nothing.
        """
        losses = np.full((len(script.steps), len(self._weights) + 1), np.nan)
        _weigh(
            self._weights,
            self._scale,
            self._numbers,
            self._share,
            self._rate,
            script.steps,
            script.targets,
            said,
            answers,
            losses,
        )
        return losses

    def state(self) -> State:
        """Give the weights and the scale; arrays are copies."""
        facts = {"numbers": self._numbers, "share": self._share, "rate": self._rate}
        return State(facts, {"weights": self._weights.copy(), "scale": self._scale.copy()})

    def restore(self, state: State) -> None:
        """Be what `state` gave, down to the last bit."""
        self._numbers = bool(state.facts["numbers"])
        self._share, self._rate = float(state.facts["share"]), float(state.facts["rate"])
        self._weights = np.array(state.arrays["weights"], np.float64)
        self._scale = np.array(state.arrays["scale"], np.float64)


@compiled
def _weigh(
    weights: NDArray[np.float64],
    scale: NDArray[np.float64],
    numbers: bool,  # noqa: FBT001 (compiled code takes its arguments by place)
    share: float,
    rate: float,
    steps: NDArray[np.int64],
    targets: NDArray[np.float64],
    said: NDArray[np.float64],
    answers: NDArray[np.float64],
    losses: NDArray[np.float64],
) -> None:
    """Take all steps in order."""
    experts = weights.shape[0]
    for s in range(steps.shape[0]):
        r = steps[s]
        if r >= 0:
            _mix(weights, said[r], answers[r])
            continue
        r = ~r
        if np.isnan(targets[r]):
            continue
        if numbers and not np.isnan(answers[r, 0]):
            scale[0] += 1
            apart = (answers[r, 0] - targets[r]) ** 2
            # One label that is out of all bounds is no measure of the others.
            most = WORST * scale[1] if scale[1] > 0 else 1e300
            scale[1] += (min(apart, most) - scale[1]) / min(scale[0], 1000.0)
        for e in range(experts):
            losses[s, e] = _loss(numbers, scale[1], said[r, e], targets[r])
        losses[s, experts] = _loss(numbers, scale[1], answers[r], targets[r])
        _follow(weights, losses[s, :experts], share, rate)


@compiled
def _follow(
    weights: NDArray[np.float64], losses: NDArray[np.float64], share: float, rate: float
) -> None:
    """Move the weight of those who are awake to those who did well, then deal some out anew."""
    experts = weights.shape[0]
    awake, best = 0.0, np.inf
    for e in range(experts):
        if not np.isnan(losses[e]):
            awake += weights[e]
            best = min(best, losses[e])
    if awake <= 0:
        return
    after = 0.0
    for e in range(experts):
        if not np.isnan(losses[e]):
            weights[e] *= np.exp(-rate * (min(losses[e], best + WORST) - best))
            after += weights[e]
    whole = 0.0
    for e in range(experts):
        if not np.isnan(losses[e]):
            weights[e] *= awake / after
        weights[e] = (1 - share) * weights[e] + share / experts
        whole += weights[e]
    for e in range(experts):
        weights[e] /= whole


@compiled
def _mix(
    weights: NDArray[np.float64], said: NDArray[np.float64], answer: NDArray[np.float64]
) -> None:
    """Mix what those say who are awake."""
    awake = 0.0
    for e in range(weights.shape[0]):
        if not np.isnan(said[e, 0]):
            awake += weights[e]
    answer[:] = 0.0 if awake > 0 else np.nan
    for e in range(weights.shape[0]):
        if not np.isnan(said[e, 0]):
            for c in range(answer.shape[0]):
                answer[c] += weights[e] / awake * said[e, c]


@compiled
def _loss(
    numbers: bool,  # noqa: FBT001 (compiled code takes its arguments by place)
    scale: float,
    said: NDArray[np.float64],
    target: float,
) -> float:
    """Give a loss; NaN where nothing was said."""
    if np.isnan(said[0]):
        return np.nan
    if numbers:
        apart: float = (said[0] - target) ** 2
        return min(apart / scale if scale > 0 else 0.0, 1e300)
    return -float(np.log(max(said[int(target)], FLOOR)))
