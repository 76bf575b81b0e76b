"""What all tests and examples share."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.doctest import DoctestItem
from hypothesis import settings

# A law holds however busy the machine is.
settings.register_profile("thalweg", deadline=None)
settings.load_profile("thalweg")


@pytest.fixture(autouse=True)
def encoded_rows_are_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the encoded rows of large tables where the test keeps its files."""
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def examples_write_elsewhere(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run examples in an empty folder, so that what they save does not stay."""
    if isinstance(request.node, DoctestItem):
        monkeypatch.chdir(tmp_path)
