"""The ``thalweg`` command: its verbs, and what becomes of their mistakes.

Exit codes: 0 done, 2 the user's mistake (one line on standard error), 1 our own fault (with a
traceback), 130 interrupted.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, Final

import typer

import thalweg
from thalweg.cli.compile import compile  # noqa: A004 (the verb's own name)
from thalweg.cli.drift import drift
from thalweg.cli.evaluate import evaluate
from thalweg.cli.keys import keys
from thalweg.cli.predict import predict
from thalweg.cli.profile import profile
from thalweg.cli.publish import publish
from thalweg.cli.redrive import redrive
from thalweg.cli.rollback import rollback
from thalweg.cli.serve import serve
from thalweg.cli.show import show
from thalweg.cli.stream import stream
from thalweg.cli.train import train
from thalweg.cli.watch import watch
from thalweg.core.errors import ThalwegError, not_installed

DONE, OURS, YOURS, INTERRUPTED = 0, 1, 2, 130

# What the machine refuses is for its owner to mend: no space, no leave, no such place.
REFUSALS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS})

# What an installation for one purpose lacks is for its owner to add.
EXTRAS: Final = {"torch": "train", "safetensors": "train", "onnx": "train", "onnxruntime": "serve"}

app = typer.Typer(
    name="thalweg",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich would draw boxes, and take three times as long
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    profile,
    train,
    evaluate,
    predict,
    drift,
    show,
    compile,
    serve,
    keys,
    stream,
    watch,
    rollback,
    redrive,
    publish,
):
    app.command()(verb)


def _version(wanted: bool) -> None:  # noqa: FBT001 (the signature that typer calls)
    if wanted:
        typer.echo(f"thalweg {thalweg.__version__}")
        raise typer.Exit


@app.callback()
def thalweg_command(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Deep learning on tables and on streams: one model, from rest to flow."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and give its exit code.

    Parameters
    ----------
    arguments
        The words after ``thalweg``; those of this process by default.
    """
    words = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = app(words, prog_name="thalweg", standalone_mode=False) or DONE
        sys.stdout.flush()
    except (ThalwegError, typer.TyperException) as mistake:
        told = mistake.format_message() if isinstance(mistake, typer.TyperException) else mistake
        return _refuse(str(told), words)
    except BrokenPipeError:
        # Whoever read the answer has gone (`thalweg show model | head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OURS
    except OSError as error:
        if error.errno not in REFUSALS:
            return _confess()
        where = f": {error.filename}" if error.filename else ""
        return _refuse(f"{error.strerror}{where}. Make room or choose another place.", words)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            return _confess()
        return _refuse(str(not_installed("this", package, EXTRAS[package])), words)
    except Exception:
        return _confess()
    if code == INTERRUPTED:
        typer.echo("interrupted", err=True)
    return int(code)


def _refuse(message: str, words: Sequence[str]) -> int:
    line = " ".join(message.split())
    typer.echo(f"error: {line}", err=True)
    if "--json" in words:
        typer.echo(json.dumps({"error": line}))
    return YOURS


def _confess() -> int:
    traceback.print_exc()
    typer.echo(
        "This is a fault in Thalweg, not in what you typed. "
        "Please report it with the lines above and the command.",
        err=True,
    )
    return OURS
