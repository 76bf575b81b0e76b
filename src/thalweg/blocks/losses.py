"""Losses of each member on each row."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def huber_loss(outputs: Tensor, value: Tensor, delta: float = 1.0) -> Tensor:
    """Give the squared error, from ``delta`` on rising only linearly (Huber 1964).

    Parameters
    ----------
    outputs
        [members, N, 1].
    value
        [N, 1] or [members, N, 1].
    delta
        Where the parabola becomes a line, in standard deviations of the target. Default 1;
        infinity gives the squared error.

    Returns
    -------
    torch.Tensor
        float32 [members, N].
    """
    error: Tensor = (outputs.float() - value.float())[..., 0]
    if math.isinf(delta):
        return error.square()
    # Twice torch's, which is half the square: so that it is the squared error of small errors.
    return 2 * nn.functional.huber_loss(
        error, torch.zeros_like(error), reduction="none", delta=delta
    )


def class_loss(
    logits: Tensor,
    code: Tensor | None,
    probabilities: Tensor | None = None,
    *,
    smoothing: float = 0.0,
    focusing: float = 0.0,
) -> Tensor:
    """Give the log loss, bent as asked.

    Parameters
    ----------
    logits
        [members, N, classes].
    code
        The right class, int [N, 1] or [members, N, 1]; not needed with ``probabilities``.
    probabilities
        Soft labels [N, classes] or [members, N, classes], which go before ``code``.
    smoothing
        Share of each label spread evenly over all classes (Szegedy et al. 2016).
    focusing
        The exponent gamma of the focal loss (Lin et al. 2017): 0 is the plain log loss.

    Returns
    -------
    torch.Tensor
        float32 [members, N].
    """
    surprise = -nn.functional.log_softmax(logits.float(), dim=-1)
    if focusing:
        # Never quite 0: the slope of a power below 1 is infinite there.
        surprise = surprise * (1 - (-surprise).exp()).clamp_min(1e-6) ** focusing
    if probabilities is not None:
        right = (surprise * probabilities.float()).sum(-1)
    elif code is not None:
        right = surprise.gather(-1, code.long().expand(*surprise.shape[:-1], 1))[..., 0]
    else:
        message = "a class loss needs codes or probabilities"
        raise ValueError(message)
    return (1 - smoothing) * right + smoothing * surprise.mean(-1) if smoothing else right


def label_loss(
    logits: Tensor, labels: Tensor, *, smoothing: float = 0.0, focusing: float = 0.0
) -> Tensor:
    """Give the mean log loss of several labels, each of which is there or not.

    Parameters
    ----------
    logits
        [members, N, labels].
    labels
        0 or 1, or the probability of a label: [N, 1, labels] or [members, N, 1, labels].
    smoothing
        How far each label is drawn from 0 and 1 towards a half (Szegedy et al. 2016).
    focusing
        The exponent gamma of the focal loss (Lin et al. 2017): 0 is the plain log loss.

    Returns
    -------
    torch.Tensor
        float32 [members, N].
    """
    wanted = labels.squeeze(-2).float().expand_as(logits)
    if smoothing:
        wanted = wanted * (1 - smoothing) + smoothing / 2
    if not focusing:
        return nn.functional.binary_cross_entropy_with_logits(
            logits.float(), wanted, reduction="none"
        ).mean(-1)
    yes, no = (nn.functional.softplus(sign * logits.float()) for sign in (-1, 1))
    bent = (
        surprise * (1 - (-surprise).exp()).clamp_min(1e-6) ** focusing for surprise in (yes, no)
    )
    told = next(bent) * wanted
    return (told + next(bent) * (1 - wanted)).mean(-1)
