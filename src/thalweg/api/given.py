"""What users give in more forms than one: a model or its folder, one name or several."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thalweg.core.errors import OptionError, not_installed

if TYPE_CHECKING:
    from thalweg.models.compiled import CompiledModel
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


def predictor_of(given: Any, *, compiled: bool) -> Model | CompiledModel:
    """Take what predicts: a model, or what it was compiled to.

    Raises
    ------
    OptionError
        Where the compiled form of a model is asked for that was not compiled, or never saved.
    """
    from thalweg.models.compiled import CompiledModel

    if isinstance(given, CompiledModel):
        return given
    if not compiled:
        return model_of(given)
    folder = given if isinstance(given, str | Path) else given.path
    if folder is None:
        raise OptionError(
            "the compiled form of a model that was never saved",
            "a model's folder",
            "Save it, and run: thalweg compile MODEL.",
        )
    return CompiledModel.load(Path(folder))


def names_of(given: str | Sequence[str]) -> tuple[str, ...]:
    """Take a lone text as one name, not as a sequence of letters."""
    return (given,) if isinstance(given, str) else tuple(given)
