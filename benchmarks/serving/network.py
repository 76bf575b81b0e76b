"""The network of a model for its rivals: one tensor of ready-made floats in, its answers out."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from thalweg.data.arrays import Arrays
from thalweg.models.model import Model
from thalweg.models.network import forward_all


class Floats(nn.Module):
    """A network whose fields are columns of one float tensor [N, F]."""

    def __init__(self, model: Model, rows: pa.RecordBatch) -> None:
        super().__init__()
        self.network = model.network
        fields = model.schema.encode(rows).fields
        self.fields: list[tuple[str, str, torch.dtype, int]] = []
        for kind, named in fields.items():
            for name, array in named.items():
                dtype = torch.float32 if array.dtype.kind == "f" else torch.int32
                self.fields.append((kind, name, dtype, array.shape[1]))

    def forward(self, floats: Tensor) -> Tensor:
        """Answer for rows [N, F], [N, classes] or [N, 1]."""
        features: dict[str, dict[str, Tensor]] = {}
        begin = 0
        for kind, name, dtype, width in self.fields:
            part = floats[:, begin : begin + width]
            features.setdefault(kind, {})[name] = part.to(dtype)
            begin += width
        answers: Tensor = self.network.head.combine(self.network(features).float())
        return answers


def floats_of(model: Model, rows: pa.RecordBatch) -> NDArray[np.float32]:
    """Encode raw rows [N] as one array, float32 [N, F]: what someone has prepared for rivals."""
    fields = model.schema.encode(rows).fields
    columns = [array.astype(np.float32) for named in fields.values() for array in named.values()]
    return np.concatenate(columns, axis=1)


def export(model: Model, rows: pa.RecordBatch, path: Path) -> None:
    """Write the network, and check that it says what the model's own says."""
    whole = Floats(model, rows).eval()
    floats = floats_of(model, rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            whole,
            (torch.from_numpy(floats[:5]),),
            dynamo=True,
            verbose=False,
            input_names=["floats"],
            output_names=["answers"],
            dynamic_shapes=({0: torch.export.Dim.DYNAMIC},),
        )
    assert program is not None
    program.save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {"floats": floats})
    expected = forward_all(model.network, Arrays(model.schema.encode(rows).fields)).answers
    apart = float(np.abs(np.asarray(answers).reshape(expected.shape) - expected).max())
    assert apart < 1e-5, apart
