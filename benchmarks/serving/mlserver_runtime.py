"""The network as a runtime of MLServer: what ``mlserver start`` loads from a model's settings."""

import os

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Network(MLModel):
    """Runs the network on the one tensor of a request."""

    async def load(self) -> bool:
        """Read the network."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["NETWORK"], options, providers=["CPUExecutionProvider"]
        )
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer for the rows of a request."""
        (answers,) = self.session.run(None, {"floats": NumpyCodec.decode_input(payload.inputs[0])})
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("answers", answers)]
        )
