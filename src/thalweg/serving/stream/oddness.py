"""What counts as odd on a stream: the tail of its own scores, as they are of late."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.monitor.tail import Tail

if TYPE_CHECKING:
    from thalweg.models.compiled import CompiledModel
    from thalweg.models.decoder import Prediction
    from thalweg.models.model import Model

SCORE, PROBABILITY, CALLED = "anomaly_score", "anomaly_probability", "prediction"


@final
class Oddness:
    """Judges the scores of a model of what rows are like by those that the stream had before.

    Parameters
    ----------
    model
        The model: where its tail begins, and how rare an anomaly is.
    """

    def __init__(self, model: Model | CompiledModel) -> None:
        calibration = model.decoder.calibration
        threshold = calibration.threshold
        if not isinstance(threshold, float):
            raise AssertionError
        self._threshold = threshold
        self._tail = Tail(calibration.tail, threshold)

    def take(self, prediction: Prediction) -> Prediction:
        """Say anew how likely each score is, and which rows are odd; learn from the scores."""
        from thalweg.models.decoder import ANOMALY, NORMAL

        columns = {
            name: prediction.columns.column(name) for name in prediction.columns.schema.names
        }
        scores = columns[SCORE]
        likely = self._tail.take(scores.to_numpy(zero_copy_only=False))
        gone = pc.is_null(scores)
        odd = pc.if_else(pa.array(likely <= self._threshold), ANOMALY, NORMAL)
        columns[CALLED] = pc.if_else(gone, pa.scalar(None, odd.type), odd)
        columns[PROBABILITY] = pc.if_else(gone, pa.scalar(None, pa.float64()), pa.array(likely))
        return replace(prediction, columns=pa.RecordBatch.from_pydict(columns))

    def state(self) -> tuple[dict[str, Any], dict[str, pa.Table]]:
        """Give all that it remembers."""
        return self._tail.state(), {}

    def restore(self, facts: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> None:
        """Remember what `state` gave."""
        del tables
        self._tail = Tail.restore(facts)
