"""What the tests of streams share: one small model, trained once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from thalweg import api


@pytest.fixture(scope="session")
def little(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of `chaos.events`, trained for a moment: what it says is not the question."""
    random = np.random.default_rng(1)
    amounts = random.gamma(2.0, 30.0, 400)
    table = pa.table(
        {
            "city": random.choice(["Ulm", "Bonn", "Kiel", "Köln"], 400),
            "amount": amounts,
            "large": np.where(amounts + random.normal(0, 5, 400) > 60, "yes", "no"),
        }
    )
    out = tmp_path_factory.mktemp("little") / "model"
    dials = {"members": 1, "width": 8, "embedding": 4}
    api.train(table, "large", recipe=dials, baselines=(), epochs=1, out=out)
    return out
