"""The silent progress is silent."""

from __future__ import annotations

import pytest

from thalweg.core.progress import Progress, Silent


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    progress: Progress = Silent()
    progress.start("read", None, "rows")
    progress.advance(3, {"loss": 0.5})
    progress.note("said")
    progress.stop()
    assert capsys.readouterr() == ("", "")


def test_the_contract_is_abstract() -> None:
    with pytest.raises(TypeError):
        Progress()  # type: ignore[abstract]
