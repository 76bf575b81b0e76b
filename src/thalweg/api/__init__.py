"""The verbs: what a user calls, from Python here and from a shell through `thalweg.cli`.

Each verb joins rooms below it and holds no logic of its own. What is not needed is not imported:
`profile` never loads torch.
"""

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
    "drift",
    "evaluate",
    "explain_stream",
    "load",
    "pipeline",
    "predict",
    "prequential",
    "profile",
    "publish",
    "redrive",
    "rollback",
    "seconds_of",
    "show",
    "stream",
    "train",
    "watch",
]
