"""What every fusion promises, whatever it is: found by itself."""

from __future__ import annotations

import pytest
import torch

from thalweg.models.fusion import FUSIONS, Fusion

MEMBERS, ROWS, TOKENS, OWN = 3, 7, 4, 8


def built(name: str) -> tuple[Fusion, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    present = torch.rand(ROWS, TOKENS) < 0.7
    present[0] = False
    tokens = torch.randn(MEMBERS, ROWS, TOKENS, OWN) * present[None, :, :, None]
    return FUSIONS[name](MEMBERS, TOKENS, OWN), tokens, present


@pytest.mark.parametrize("name", FUSIONS)
class TestEveryFusion:
    def test_gives_each_member_a_vector_of_what_it_says(self, name: str) -> None:
        fusion, tokens, present = built(name)
        for rows in (0, 1, ROWS):
            fused = fusion(tokens[:, :rows], present[:rows])
            assert fused.shape == (MEMBERS, rows, fusion.outputs)
            assert torch.isfinite(fused).all()

    def test_a_row_is_joined_as_it_is_alone(self, name: str) -> None:
        fusion, tokens, present = built(name)
        whole = fusion(tokens, present)
        alone = fusion(tokens[:, 2:3], present[2:3])
        torch.testing.assert_close(whole[:, 2:3], alone, atol=1e-5, rtol=1e-5)

    def test_members_share_nothing(self, name: str) -> None:
        fusion, tokens, present = built(name)
        tokens = tokens.clone().requires_grad_()
        (seen,) = torch.autograd.grad(fusion(tokens, present)[1].square().sum(), tokens)
        assert seen[1].abs().sum() > 0
        assert not seen[[0, 2]].any()

    def test_gradients_reach_every_weight_of_every_member(self, name: str) -> None:
        fusion, tokens, present = built(name)
        tokens.requires_grad_()
        loss = (fusion(tokens, present) * torch.randn(1, 1, fusion.outputs)).square().sum()
        torch.autograd.backward(loss)
        for weight in fusion.parameters():
            assert weight.grad is not None
            assert (weight.grad.abs().flatten(1).sum(dim=1) > 0).all()

    def test_what_is_not_there_does_not_count(self, name: str) -> None:
        """Weights of a token's place do not speak where the token stands for nothing."""
        fusion, tokens, present = built(name)
        before = fusion(tokens, present)
        with torch.no_grad():
            for weight in fusion.parameters():
                if weight.dim() == 4 and weight.shape[2] == TOKENS:  # places, biases of tokens
                    weight[:, :, 1] += 5.0
        after = fusion(tokens, present)
        gone = ~present[:, 1]
        torch.testing.assert_close(after[:, gone], before[:, gone])
