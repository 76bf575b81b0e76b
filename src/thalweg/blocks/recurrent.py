"""Gated recurrent units over padded sequences, both ways."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

_GRU: Final = (True, 1, 0.0, False, False, True)


def both_ways(units: nn.GRU, x: Tensor, lengths: Tensor) -> Tensor:
    """Run units over sequences of different lengths (Cho et al. 2014).

    Parameters
    ----------
    units
        One layer in both directions, batch first.
    x
        float32 [N, L, inputs].
    lengths
        int64 [N]: how much of each sequence is there, one at least.

    Returns
    -------
    torch.Tensor
        float32 [N, L, 2 * hidden]: forward and backward states; what stands after a sequence's
        end means nothing.
    """
    if torch.compiler.is_exporting():
        return _padded(units, x, lengths)
    packed = nn.utils.rnn.pack_padded_sequence(
        x, lengths.cpu(), batch_first=True, enforce_sorted=False
    )
    said: nn.utils.rnn.PackedSequence = units(packed)[0]
    return nn.utils.rnn.pad_packed_sequence(said, batch_first=True, total_length=x.shape[1])[0]


def _padded(units: nn.GRU, x: Tensor, lengths: Tensor) -> Tensor:
    """Do the same without packing: for a graph, which knows no packed sequences.

    Backwards is forwards over each sequence turned round within its own length.
    """
    place = torch.arange(x.shape[1], device=x.device)
    turned = (lengths[:, None] - 1 - place).clamp_min(0)
    back = turned[:, :, None]
    first = _one_way(units, x, "")
    second = _one_way(units, x.gather(1, back.expand(-1, -1, x.shape[2])), "_reverse")
    return torch.cat([first, second.gather(1, back.expand(-1, -1, second.shape[2]))], dim=2)


def _one_way(units: nn.GRU, x: Tensor, way: str) -> Tensor:
    """Run one direction's units over [N, L, inputs]."""
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    weights = [getattr(units, f"{name}{way}") for name in names]
    start = x.new_zeros(1, x.shape[0], units.hidden_size)
    # With biases, one layer, no dropout, in evaluation, one direction, batch first.
    found: Tensor = torch.gru(x, start, weights, *_GRU)[0]
    return found
