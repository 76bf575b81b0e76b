"""The environment of processes that tests start, and often kill."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import thalweg

SOURCE: Final = Path(thalweg.__file__).parent.parent

# Whoever is killed while coverage writes its file leaves one that cannot be read.
UNCOVERED: Final = {
    name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")
}
ONE_THREAD: Final = {
    **UNCOVERED,
    "OMP_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "PYTHONPATH": str(SOURCE),
}
