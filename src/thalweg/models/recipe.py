"""How to train: every dial in one place, each with a default that follows from the table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from thalweg.blocks.rotations import STRONG, interactions
from thalweg.core.errors import OptionError, near
from thalweg.data.arrays import target_columns
from thalweg.data.prepare import Prepared


@final
class Recipe(BaseModel):
    """The dials of a network and its training.

    `Recipe.for_table` sets them from the table; ``--set NAME=VALUE`` turns one.

    Parameters
    ----------
    members
        How many networks are trained side by side and averaged.
    width, depth
        The width and number of each member's hidden layers.
    embedding
        The width of each column's embedding.
    pairs
        How many pairs of numbers are also seen from several angles; see
        `thalweg.blocks.rotations`.
    activation
        ``relu``, ``silu``, ``gelu`` or ``mish``.
    dropout
        The share of hidden units silenced while training.
    batch_size
        Rows in a step.
    epochs
        Passes over the training rows that the learning rate's schedule is made for.
    patience
        Epochs without a better validation loss after which training stops.
    optimizer
        ``adamw``, ``adam``, ``momentum`` or ``sgd``.
    learning_rate
        Its peak.
    schedule
        ``cosine``, ``linear`` or ``constant``.
    warmup
        The share of steps over which the rate rises.
    weight_decay
        Pulls weights (not biases) towards 0.
    clip
        The largest norm of one member's gradient; 0 for no limit.
    averaging
        The decay of the running average of the weights, which is what predicts; 0 for none.
    label_smoothing
        The share of each class label spread over all classes.
    focusing
        The focal loss's exponent; 0 for the plain log loss.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    members: int = Field(default=8, ge=1, le=256)
    width: int = Field(default=256, ge=1, le=16_384)
    depth: int = Field(default=2, ge=1, le=32)
    embedding: int = Field(default=16, ge=1, le=1024)
    pairs: int = Field(default=0, ge=0, le=64)
    activation: str = "silu"
    dropout: float = Field(default=0.1, ge=0, lt=1)
    batch_size: int = Field(default=256, ge=1)
    epochs: int = Field(default=40, ge=1)
    patience: int = Field(default=8, ge=1)
    optimizer: str = "adamw"
    learning_rate: float = Field(default=3e-3, gt=0)
    schedule: str = "cosine"
    warmup: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, ge=0)
    averaging: float = Field(default=0.0, ge=0, lt=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    focusing: float = Field(default=0.0, ge=0)

    @classmethod
    def for_table(cls, prepared: Prepared) -> Self:
        """Set the dials for a table.

        Parameters
        ----------
        prepared
            Its schema and training rows.
        """
        rows = len(prepared.train.arrays)
        batch = 2 ** round(math.log2(min(1024, max(32, rows / 32))))
        steps = min(12_000, max(300, 40 * rows / 512))
        return cls(
            batch_size=batch,
            epochs=max(1, round(steps * batch / rows)),
            pairs=_strong_pairs(prepared),
        )

    def turned(self, dials: Mapping[str, Any]) -> Self:
        """Turn some dials.

        Parameters
        ----------
        dials
            Name -> value, which may be text.

        Raises
        ------
        OptionError
            Where a dial does not exist or its value cannot be, with near names.

        Examples
        --------
        >>> Recipe().turned({"width": "64"}).width
        64
        """
        for name in dials:
            if name not in type(self).model_fields:
                raise OptionError(
                    f"the recipe has no dial {name!r}",
                    "one of " + ", ".join(type(self).model_fields),
                    near(name, type(self).model_fields),
                )
        try:
            return self.model_validate({**self.model_dump(), **dials})
        except ValidationError as error:
            first = error.errors()[0]
            raise OptionError(
                f"{first['loc'][0]} is {first['input']!r}",
                first["msg"].removeprefix("Input should be "),
            ) from None


def _strong_pairs(prepared: Prepared) -> int:
    """Count the pairs of numbers worth looking at from several angles: none or one."""
    numbers = prepared.train.arrays.features.get("number")
    if numbers is None:
        return 0
    found = interactions(numbers["values"], target_columns(prepared.train.arrays.target))
    return int(bool(found) and found[0][0] >= STRONG)
