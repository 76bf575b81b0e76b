"""What all tests and examples share."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.doctest import DoctestItem


@pytest.fixture(autouse=True)
def examples_write_elsewhere(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run examples in an empty folder, so that what they save does not stay."""
    if isinstance(request.node, DoctestItem):
        monkeypatch.chdir(tmp_path)
