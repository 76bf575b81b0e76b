"""A training run's settings: the options of ``thalweg train`` as a TOML file, there and back."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from thalweg.core.errors import OptionError, near


class Settings(BaseModel):
    """The arguments of `thalweg.api.train` that a user may set; None where the default is meant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str | None = None
    query: str | None = None
    target: str | None = None
    truth: str | None = None
    out: str | None = None
    test: str | None = None
    split: str | None = None
    minutes: float | None = None
    epochs: int | None = None
    columns: dict[str, str] | None = None
    drop: list[str] | None = None
    files: str | None = None
    features: list[str] | None = None
    time: str | None = None
    seed: int | None = None
    resume: bool | None = None
    balance: str | None = None
    threshold: str | float | None = None
    baselines: list[str] | None = None
    cache: str | None = None
    recipe: dict[str, Any] | None = None

    def over(self, other: Settings) -> Settings:
        """Lay these settings over others: what is set here wins, tables are joined by name."""
        joined = other.model_dump(exclude_none=True)
        for name, value in self.model_dump(exclude_none=True).items():
            joined[name] = joined.get(name, {}) | value if isinstance(value, dict) else value
        return Settings(**joined)

    def given(self) -> dict[str, Any]:
        """Give the settings that are set."""
        return self.model_dump(exclude_none=True)


def read_settings(path: str) -> Settings:
    """Read a settings file.

    Raises
    ------
    OptionError
        Where it is not there, is not TOML, or says something that training does not know.
    """
    try:
        told = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise OptionError(
            f"--settings {path} cannot be read ({error.strerror})", "a TOML file", "Check the path."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(
            f"--settings {path} is not TOML ({error})", 'lines such as target = "price"'
        ) from error
    for name in told:
        if name not in Settings.model_fields:
            raise OptionError(
                f"--settings {path} sets {name!r}",
                "the options of thalweg train",
                near(name, Settings.model_fields),
            )
    try:
        return Settings.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise OptionError(
            f"--settings {path} sets {name} to {first['input']!r}",
            first["msg"].removeprefix("Input should be "),
        ) from error


def write_settings(settings: Mapping[str, Any]) -> str:
    """Write settings as TOML: plain values first, then one table for each mapping.

    Examples
    --------
    >>> print(write_settings({"columns": {"zip code": "category"}, "seed": 1, "out": None}))
    seed = 1
    <BLANKLINE>
    [columns]
    "zip code" = "category"
    """
    plain = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    lines = _lines(plain)
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            lines += ["", f"[{_key(name)}]", *_lines(value)]
    return "\n".join(lines)


def _lines(values: Mapping[str, Any]) -> list[str]:
    # A scalar or a list of scalars in JSON is the same in TOML. What is None is left out.
    return [
        f"{_key(name)} = {'inf' if value == math.inf else json.dumps(value, ensure_ascii=False)}"
        for name, value in values.items()
        if value is not None
    ]


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else json.dumps(name, ensure_ascii=False)
