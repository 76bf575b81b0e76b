"""Reads a MySQL or MariaDB query by ConnectorX in a process of its own: Arrow to standard output.

It is run as a script, so that it need not load the library: standard input holds the question.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys


def main() -> int:
    """Answer one question; what goes wrong is written to standard error."""
    import connectorx
    import pyarrow as pa

    asked = json.load(sys.stdin)
    try:
        rows = connectorx.read_sql(
            asked["uri"],
            asked["query"],
            return_type="arrow_stream",
            batch_size=asked["size"],
            pre_execution_query=asked["before"],
        )
        # Not sys.stdout: where PYTHONUNBUFFERED is set it may write a part and leave the rest.
        with open(1, "wb", closefd=False) as answer:
            writer = pa.ipc.new_stream(answer, rows.schema)
            for batch in rows:
                writer.write_batch(batch)
            writer.close()
    except BaseException as error:  # a panic is no Exception
        print(f"\n{type(error).__name__}: {error}", file=sys.stderr)  # noqa: T201 - its answer
        return 1
    return 0


if __name__ == "__main__":
    if sys.platform == "linux":
        # It may have been stopped when its reader was killed: it is not to stay for ever.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    code = main()
    sys.stderr.flush()
    os._exit(code)  # The driver's threads may still wait for the server.
