"""Deep learning on big data, from rest to flow.

The verbs are those of the command line:

- `profile`: read a table once and say what is in it;
- `train`: train, judge and save a deep model of one of its columns;
- `evaluate`: judge a model on rows that it never saw;
- `predict`: predict every row of a table;
- `prequential`: judge what learns from rows in order, each predicted before it is learned;
- `drift`: compare two tables, or new rows with those that a model was trained on;
- `compile`, `serve`: a model as one graph that answers without torch, and behind HTTP;
- `show`: tell what a saved model is and how well it does;
- `load`: bring a saved model back.

Names are looked up when they are first used, so ``import thalweg`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from thalweg.api import (
        compile,  # noqa: A004 (the verb's own name)
        drift,
        evaluate,
        explain_stream,
        keys,
        load,
        pipeline,
        predict,
        prequential,
        profile,
        publish,
        redrive,
        rollback,
        serve,
        server,
        show,
        stream,
        train,
        watch,
    )

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "compile",
    "drift",
    "evaluate",
    "explain_stream",
    "keys",
    "load",
    "pipeline",
    "predict",
    "prequential",
    "profile",
    "publish",
    "redrive",
    "rollback",
    "serve",
    "server",
    "show",
    "stream",
    "train",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("thalweg.api"), name)
    message = f"module 'thalweg' has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return __all__
