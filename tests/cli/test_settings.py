"""Settings that were written are read back, and what they cannot say is refused."""

from __future__ import annotations

import inspect
import math
from pathlib import Path

import pytest

from thalweg import api
from thalweg.cli.settings import Settings, read_settings, write_settings
from thalweg.core.errors import OptionError


def test_settings_are_the_arguments_of_train() -> None:
    arguments = set(inspect.signature(api.train).parameters) - {"progress"}
    # A query becomes a part of the source.
    assert set(Settings.model_fields) - {"query"} == arguments


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    settings = Settings(
        source="data/ä.parquet",
        target='the "price"\\',
        minutes=0.5,
        epochs=3,
        columns={"zip code": "category", "age": "number,missing=mean"},
        drop=["id", "row number"],
        resume=False,
        baselines=[],
        recipe={"learning_rate": 3e-4, "members": 8, "optimizer": "adamw"},
    )
    path = tmp_path / "run.toml"
    path.write_text(write_settings(settings.model_dump()), encoding="utf-8")
    assert read_settings(str(path)) == settings


def test_no_limit_is_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(write_settings({"minutes": math.inf}))
    assert path.read_text() == "minutes = inf"
    assert read_settings(str(path)).minutes == math.inf


def test_what_is_typed_wins_and_tables_are_joined() -> None:
    told = Settings(target="price", seed=1, recipe={"width": 64, "depth": 2})
    typed = Settings(seed=2, recipe={"depth": 3})
    assert typed.over(told) == Settings(target="price", seed=2, recipe={"width": 64, "depth": 3})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('taget = "price"', "Did you mean 'target'"),
        ('minutes = "soon"', "minutes"),
        ("epochs = 1.5", "epochs"),
        ("target: price", "is not TOML"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(OptionError) as refused:
        read_settings(str(path))
    assert words in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="cannot be read"):
        read_settings(str(tmp_path / "none.toml"))
