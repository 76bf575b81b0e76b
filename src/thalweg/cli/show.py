"""``thalweg show``: what a saved model is and how well it does."""

from __future__ import annotations

from pathlib import Path

from thalweg.cli import options


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

    answer = api.show(model)
    if as_toml:
        import typer

        typer.echo(write_settings(answer["settings"]))
    elif as_json:
        answer_json(answer)
    else:
        card = (Path(model) / "card.md").read_text(encoding="utf-8")
        console = screen()
        if console.is_terminal:
            from rich.markdown import Markdown

            console.print(Markdown(card))
        else:
            console.print(card, markup=False, soft_wrap=True, end="")
