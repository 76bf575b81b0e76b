"""The network behind a bare FastAPI endpoint, as a plain user writes it: floats in, answers out.

NETWORK=network.onnx uvicorn --app-dir benchmarks/serving bare:app
"""

import os

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(
    os.environ["NETWORK"], options, providers=["CPUExecutionProvider"]
)
app = FastAPI()


class Row(BaseModel):
    """One row of ready-made floats."""

    floats: list[float]


@app.post("/predict")
async def predict(row: Row) -> dict[str, list[float]]:
    """Answer for one row."""
    (answers,) = session.run(None, {"floats": np.array([row.floats], np.float32)})
    return {"answers": answers[0].tolist()}
