from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from thalweg.core.errors import TargetError
from thalweg.models.model import Model
from thalweg.training.online.base import Script
from thalweg.training.online.check import play, stream
from thalweg.training.online.experts.frozen import Frozen
from thalweg.training.online.experts.slow import Slow

Modelling = Callable[[int], Model]
Reading = Callable[[Script, Model], Script]


@pytest.mark.parametrize("classes", [0, 3])
def test_it_says_what_the_model_predicts(
    classes: int, modelling: Modelling, readable: Reading
) -> None:
    model = modelling(classes)
    script = readable(stream(300, classes), model)
    said = play(Frozen(model), script).said
    columns = model.predict(script.rows).columns
    names = [f"probability_{name}" for name in model.classes] or ["prediction"]
    wanted = np.stack([columns[name].to_numpy() for name in names], axis=1)
    np.testing.assert_array_equal(said, wanted)


def test_further_classes_get_nothing(modelling: Modelling, readable: Reading) -> None:
    script = replace(readable(stream(50, 3), modelling(3)), classes=5)
    said = play(Frozen(modelling(3)), script).said
    assert (said[:, 3:] == 0).all()
    np.testing.assert_allclose(said.sum(axis=1), 1)


def test_without_readable_rows_it_says_nothing(modelling: Modelling) -> None:
    for make in (Frozen, Slow):
        assert np.isnan(play(make(modelling(3)), stream(50, 3)).said).all()


def test_several_labels_are_refused(modelling: Modelling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "task", "multilabel")
    for make in (Frozen, Slow):
        with pytest.raises(TargetError, match="several labels"):
            make(modelling(3))
