"""``thalweg show``: what a saved model is and how well it does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from thalweg.cli import options

if TYPE_CHECKING:
    from thalweg.models.model import Model


def show(
    model: options.Model,
    *,
    as_toml: options.AsToml = False,
    as_json: options.Json = False,
) -> None:
    """Tell what a saved model is and can do.

    Prints its card: what it predicts, from which columns, how it was trained, how well it does.
    """
    from thalweg import api
    from thalweg.cli.answer import answer_json, screen
    from thalweg.cli.settings import write_settings

    loaded = api.load(model)
    if as_toml:
        import typer

        typer.echo(write_settings(_replayed(loaded.training.settings)))
    elif as_json:
        answer_json(api.show(loaded))
    else:
        card = _card(loaded)
        console = screen()
        if console.is_terminal:
            from rich.markdown import Markdown

            console.print(Markdown(card))
        else:
            console.print(card, markup=False, soft_wrap=True, end="")


def _replayed(settings: dict[str, Any]) -> dict[str, Any]:
    """Say what would otherwise be left out and read back as the default: no limit of time."""
    unlimited = "minutes" in settings and settings["minutes"] is None
    return settings | {"minutes": math.inf} if unlimited else settings


def _card(model: Model) -> str:
    """Read the model's card, or write it: one that was saved from Python has none."""
    from thalweg.lab.report import render_card

    if model.path is not None and (model.path / "card.md").is_file():
        return (model.path / "card.md").read_text(encoding="utf-8") + _features(model)
    card = render_card(
        name=str(model.path),
        schema=model.schema,
        fingerprint=model.fingerprint,
        rows=model.rows,
        training=model.training,
        evaluation=model.evaluation,
    )
    return card + _features(model)


def _features(model: Model) -> str:
    """List the windowed features."""
    windowed = model.schema.features
    if windowed is None:
        return ""
    lines = [f"- `{one}`" for one in windowed.features]
    return "\n".join(
        ["", f"## Windowed features, by the time in `{windowed.time}`", "", *lines, ""]
    )
