"""The network behind LitServe, as its pages tell to write it."""

import os
import sys

import litserve
import numpy as np
import onnxruntime


class Network(litserve.LitAPI):
    """Answers for one row of floats."""

    def setup(self, device: str) -> None:
        """Read the network."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(
            os.environ["NETWORK"], options, providers=["CPUExecutionProvider"]
        )

    def decode_request(self, request: dict[str, list[float]]) -> np.ndarray:
        """Read the row."""
        return np.array([request["floats"]], np.float32)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Run the network."""
        return self.session.run(None, {"floats": x})[0]

    def encode_response(self, output: np.ndarray) -> dict[str, list[float]]:
        """Write the answer."""
        return {"answers": output[0].tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Network(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        generate_client_file=False,
        log_level="error",
    )
