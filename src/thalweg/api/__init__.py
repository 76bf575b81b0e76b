"""The verbs: what a user calls, from Python here and from a shell through `thalweg.cli`.

Each verb joins rooms below it and holds no logic of its own. What is not needed is not imported:
`profile` never loads torch.
"""

from thalweg.api.served import compile, keys, serve, server  # noqa: A004 (the verb's own name)
from thalweg.api.streams import (
    explain_stream,
    pipeline,
    publish,
    redrive,
    rollback,
    stream,
    watch,
)
from thalweg.api.tables import drift, evaluate, load, predict, prequential, profile, show
from thalweg.api.training import seconds_of, train

__all__ = [
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
    "seconds_of",
    "serve",
    "server",
    "show",
    "stream",
    "train",
    "watch",
]
