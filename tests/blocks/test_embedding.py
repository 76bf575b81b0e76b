from __future__ import annotations

import pytest
import torch

from thalweg.blocks.embedding import (
    CodeEmbedding,
    NumberEmbedding,
    PartsEmbedding,
    PiecewiseLinear,
    smooth_clip,
)


def test_the_piecewise_encoding_is_the_paper_s() -> None:
    encode = PiecewiseLinear.of([[0.0, 1.0, 3.0, 4.0]])
    got = encode(torch.tensor([[0.5], [2.0], [3.25], [0.0], [4.0]]))[:, 0]
    want = [[0.5, 0, 0], [1, 0.5, 0], [1, 1, 0.25], [0, 0, 0], [1, 1, 1]]
    assert torch.allclose(got, torch.tensor(want))


def test_values_beyond_the_edges_move_their_component_a_little_and_no_more() -> None:
    encode = PiecewiseLinear.of([[0.0, 1.0, 1.0001]])
    got = encode(torch.tensor([[-1e6], [1e6]]))[:, 0]
    assert torch.allclose(got, torch.tensor([[-0.1, 0.0], [1.0, 1.1]]))


def test_columns_with_fewer_bins_are_padded_with_nothing() -> None:
    encode = PiecewiseLinear.of([[0.0, 1.0], [0.0, 1.0, 2.0, 3.0]])
    got = encode(torch.tensor([[5.0, 5.0]]))[0]
    assert torch.allclose(got, torch.tensor([[1.1, 0, 0], [1, 1, 1.1]]))


def test_numbers_start_as_lines_and_slow_waves() -> None:
    torch.manual_seed(0)
    embed = NumberEmbedding([[-1.0, 0.0, 1.0]] * 3, [0, 0, 0], 4, ("missing", "outlier"))
    values = torch.randn(5, 3)
    flags = {"missing": torch.ones(5, 3, dtype=torch.uint8), "outlier": torch.zeros(5, 3)}
    got = embed({"values": values, **flags})
    straight = embed.straight
    want = smooth_clip(values).unsqueeze(-1) * straight.weight[:, 0] + straight.bias
    want = want + embed.waves(smooth_clip(values))
    assert embed.tokens == 3
    assert torch.allclose(got, want)
    assert float(straight.weight.detach().abs().max()) <= 0.25


def test_a_spike_is_told_from_its_neighbours() -> None:
    embed = NumberEmbedding([[0.0, 1.0]] * 2, [3, 0], 4)
    fields = {"values": torch.full((2, 2), 0.5), "missing": torch.zeros(2, 2)}
    spike = torch.tensor([[2, 0], [0, 0]], dtype=torch.uint16)
    got = embed({**fields, "spike": spike}).detach()
    assert not torch.allclose(got[0, 0], got[1, 0])
    assert torch.equal(got[0, 1], got[1, 1])


def test_a_rotated_pair_adds_a_token_for_each_view() -> None:
    embed = NumberEmbedding([[0.0, 1.0]] * 3, [0, 0, 0], 4, pairs=1)
    values = torch.rand(64, 3)
    fields = {"values": values.numpy(), "missing": torch.zeros(64, 3).numpy()}
    embed.prepare(fields, (values[:, :1] * values[:, 2:]).double().numpy())
    got = embed({"values": values, "missing": torch.zeros(64, 3)})
    assert got.shape == (64, embed.tokens, 4)
    assert embed.tokens > 3
    assert bool(got.isfinite().all())


def test_every_column_has_codes_of_its_own() -> None:
    embed = CodeEmbedding([3, 4], 2, neutral=2)
    codes = torch.tensor([[0, 0], [1, 1], [2, 2], [2, 3]], dtype=torch.int8)
    got = embed({"codes": codes}).detach()
    assert (got[:2] == 0).all()
    assert torch.equal(got[2, 0], embed.table[2])
    assert torch.equal(got[3, 1], embed.table[6])
    assert not torch.equal(got[2, 0], got[2, 1])


def test_parts_are_mapped_column_by_column() -> None:
    embed = PartsEmbedding(2, 3, 4)
    parts, missing = torch.randn(5, 2, 3), torch.zeros(5, 2, dtype=torch.uint8)
    got = embed({"parts": parts, "missing": missing})
    for column in range(2):
        want = parts[:, column] @ embed.linear.weight[column] + embed.linear.bias[column]
        assert torch.allclose(got[:, column], want, atol=1e-6)


@pytest.mark.parametrize("width", [1, 8, 512])
def test_first_weights_do_not_shrink_with_the_width(width: int) -> None:
    torch.manual_seed(0)
    table = CodeEmbedding([600], width).table.detach()
    assert 0.2 < float(table.abs().max()) <= 0.25
