"""The champion: nobody until a network is promoted, then that one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from thalweg.models.model import Model
from thalweg.training.online.base import Script
from thalweg.training.online.check import play, stream
from thalweg.training.online.experts.champion import Champion
from thalweg.training.online.experts.frozen import Frozen
from thalweg.training.online.experts.slow import Slow

Modelling = Callable[[int], Model]
Reading = Callable[[Script, Model], Script]


def test_it_says_nothing_until_one_is_promoted(modelling: Modelling, readable: Reading) -> None:
    model, script = modelling(3), readable(stream(400, 3), modelling(3))
    slow = Slow(model, rate=3.0)
    play(slow, script)
    other, half = slow.promote(), len(script.steps) // 2
    expert, said = Champion(model), np.full((400, 3), np.nan)
    expert.prepare(script)
    expert.run(script.part(0, half), said)
    assert expert.model is model
    expert.become(other)
    assert expert.there
    expert.run(script.part(half, len(script.steps)), said)
    after = play(Frozen(other), script).said
    early = script.steps[:half][script.steps[:half] >= 0]
    late = script.steps[half:][script.steps[half:] >= 0]
    assert np.isnan(said[early]).all()
    np.testing.assert_allclose(said[late], after[late], atol=1e-5)
