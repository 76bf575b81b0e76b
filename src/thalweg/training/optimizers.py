"""Optimisers by name: stochastic gradient descent, with momentum, Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, get_args

import torch
from torch import nn

from thalweg.core.errors import OptionError, near

Name = Literal["sgd", "momentum", "adam", "adamw"]
NAMES: Final = get_args(Name)


def build(
    name: str, groups: Iterable[dict[str, object]], learning_rate: float
) -> torch.optim.Optimizer:
    """Build an optimiser.

    Parameters
    ----------
    name
        ``sgd``, ``momentum`` (Nesterov, 0.9), ``adam`` (Kingma & Ba 2015, decay as an L2 penalty)
        or ``adamw`` (Loshchilov & Hutter 2019, decay apart from the gradient).
    groups
        Parameter groups, as `decayed` gives them.
    learning_rate
        The peak rate; a schedule scales it.

    Raises
    ------
    OptionError
        Where the name is unknown.
    """
    match name:
        case "sgd":
            return torch.optim.SGD(groups, lr=learning_rate, fused=True)
        case "momentum":
            return torch.optim.SGD(
                groups, lr=learning_rate, momentum=0.9, nesterov=True, fused=True
            )
        case "adam":
            return torch.optim.Adam(groups, lr=learning_rate, fused=True)
        case "adamw":
            return torch.optim.AdamW(groups, lr=learning_rate, fused=True)
    raise OptionError(f"the optimizer is {name!r}", "one of " + ", ".join(NAMES), near(name, NAMES))


def decayed(module: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Part a module's parameters into those that decay and those that do not.

    Biases, scales and embeddings' offsets keep their size: only tensors whose name ends in
    ``weight`` decay. Parameters that bring an attribute ``rate`` (of a network that was trained
    before) learn at that share of the learning rate, and come last; what does not learn, not at
    all.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {(1.0, True): [], (1.0, False): []}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            key = float(getattr(parameter, "rate", 1.0)), name.endswith("weight")
            groups.setdefault(key, []).append(parameter)
    return [
        {"params": some, "weight_decay": weight_decay if decays else 0.0, "rate": rate}
        for (rate, decays), some in groups.items()
        if some
    ]
