"""What users give in more forms than one: a model or its folder, one name or several."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.core.errors import not_installed

if TYPE_CHECKING:
    from thalweg.models.model import Model


def require_torch(what: str) -> None:
    """Refuse what needs torch where it is not installed: a server's installation lacks it.

    Raises
    ------
    OptionError
        In one line that says what to install.
    """
    if find_spec("torch") is None:
        raise not_installed(what, "torch", "train")


def model_of(given: Any) -> Model:
    """Take a model as it is, and read the folder of one."""
    require_torch("a model that is not compiled")
    from thalweg.models.model import Model

    return given if isinstance(given, Model) else Model.load(Path(given))


def names_of(given: str | Sequence[str]) -> tuple[str, ...]:
    """Take a lone text as one name, not as a sequence of letters."""
    return (given,) if isinstance(given, str) else tuple(given)
