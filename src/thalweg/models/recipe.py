"""How to train: every dial in one place, each with a default that follows from the table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, Self, final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from thalweg.blocks.rotations import STRONG, interactions
from thalweg.core.errors import OptionError, near
from thalweg.data.arrays import target_columns
from thalweg.data.parts import Prepared

LARGE: Final = 200_000
"""From more rows on the time is short, not the rows; up to here no dial depends on it."""

MEMBERS: Final = 8

SMALL: Final = 10_000
"""Fewer rows of classes are learned slowly, under stronger regularisation and without pairs."""


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
    fusion
        How tokens of all columns are joined: ``concat``, ``gated`` or ``attention``; see
        `thalweg.models.fusion`.
    activation
        ``relu``, ``silu``, ``gelu`` or ``mish``.
    dropout
        The share of hidden units silenced while training.
    batch_size
        Rows in a step.
    epochs
        How many epochs the learning rate's schedule is made for.
    share
        The share of the training rows that an epoch shows, others in the next one; 1 makes an
        epoch a pass over all of them.
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
    mixup
        Rows are mixed in pairs, by shares drawn from Beta(mixup, mixup) (Zhang et al. 2018): what
        the encoders made of them, and their losses. 0 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    members: int = Field(default=MEMBERS, ge=1, le=256)
    width: int = Field(default=256, ge=1, le=16_384)
    depth: int = Field(default=2, ge=1, le=32)
    embedding: int = Field(default=16, ge=1, le=1024)
    pairs: int = Field(default=0, ge=0, le=64)
    fusion: str = "concat"
    activation: str = "silu"
    dropout: float = Field(default=0.1, ge=0, lt=1)
    batch_size: int = Field(default=256, ge=1)
    epochs: int = Field(default=40, ge=1)
    share: float = Field(default=1.0, gt=0, le=1)
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
    mixup: float = Field(default=0.0, ge=0)

    @classmethod
    def for_table(cls, prepared: Prepared) -> Self:
        """Set the dials for a table.

        Parameters
        ----------
        prepared
            Its schema and training rows.
        """
        rows = prepared.train.rows
        if prepared.schema.task == "anomaly":
            return cls(**_quickened(_density(rows), rows))
        dials = _regression(rows) if prepared.schema.task == "regression" else _classification(rows)
        kinds = prepared.schema.by_kind()
        if prepared.schema.common:
            dials |= _looking(rows)
        if "text" in kinds:
            dials |= _reading(rows, dials)
        if prepared.schema.task == "regression":
            return cls(**_quickened(dials, rows), pairs=_strong_pairs(prepared))
        # A few thousand rows of classes cannot fill the grid that shows an interaction.
        pairs = 0 if rows < SMALL else _strong_pairs(prepared)
        return cls(**_quickened(dials, rows), pairs=pairs)

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


def _regression(rows: int) -> dict[str, Any]:
    """Set the dials for a number: measured at 13,000 to 16,000 rows, scaled by steps."""
    batch = _power_of_two(rows / 32, 32, 1024)
    steps = min(12_000 * max(1.0, math.sqrt(rows / LARGE)), max(300, 40 * rows / 512))
    return {
        "width": 256,
        "embedding": 16,
        "activation": "silu",
        "dropout": 0.1 if rows >= 3_000 else 0.2,
        "batch_size": batch,
        "epochs": max(1, round(steps * batch / max(rows, 1))),
        "patience": 10,
        "learning_rate": 5e-3,
        "weight_decay": 0.1,
        "averaging": 0.0,
    }


def _classification(rows: int) -> dict[str, Any]:
    """Set the dials for classes: measured from 600 to 81,000 rows.

    Classes are learned within a few passes and then by heart, so: narrow, slow, averaged.
    """
    batch = _power_of_two(rows / 40, 64, 512)
    epochs, patience = (40, 6) if rows < SMALL else (12, 5) if rows < 60_000 else (8, 2)
    return {
        "width": 128,
        "embedding": 8,
        "activation": "relu",
        "dropout": 0.3 if rows < SMALL else 0.15,
        "batch_size": batch,
        "epochs": epochs,
        "patience": patience,
        "learning_rate": 1e-3 if rows < 5_000 else 3e-3,
        "warmup": min(0.2, 100 * batch / (epochs * max(rows, 1))),
        "weight_decay": 0.1 if rows < SMALL else 1e-3,
        "averaging": 0.995,
    }


def _density(rows: int) -> dict[str, Any]:
    """Set the dials for a table without a target: measured at 130 to 11,000 rows.

    A density that is learned for long knows its odd rows by heart: few steps at a fair rate.
    """
    batch = _power_of_two(rows / 40, 64, 512)
    steps = 1_000 * max(1.0, math.sqrt(rows / LARGE))
    return {
        "width": 128,
        "embedding": 8,
        "activation": "silu",
        "dropout": 0.1,
        "batch_size": batch,
        "epochs": int(min(60, max(6, round(steps * batch / max(rows, 1))))),
        "patience": 6,
        "learning_rate": 3e-3,
        "weight_decay": 0.01,
    }


def _reading(rows: int, dials: Mapping[str, Any]) -> dict[str, Any]:
    """Change the dials where words are read: measured on 4,500 to 19,000 texts.

    What n-grams say adds up, so that a second hidden layer learns them by heart; and so do many
    passes at a high rate.
    """
    few = rows < 5_000
    return {
        "embedding": max(16, dials["embedding"]),
        "depth": 1,
        "dropout": 0.1,
        "learning_rate": 1e-3,
        "epochs": min(dials["epochs"], 12 if few else 8),
        "label_smoothing": 0.1,
    }


def _looking(rows: int) -> dict[str, Any]:
    """Change the dials where members share an encoder of pictures, sounds or long texts.

    That encoder does the work and is as wide as the members' slices together: few members, wide
    slices. The time decides how many epochs there are; what is drawn at random makes each of them
    new.
    """
    return {
        "members": 2,
        "embedding": 128,
        "width": 256,
        "depth": 1,
        "dropout": 0.0,
        "batch_size": _power_of_two(rows / 40, 32, 128),
        "epochs": 40 if rows < SMALL else 16,
        "patience": 10,
        "learning_rate": 3e-3,
        "warmup": 0.15,
        "weight_decay": 0.05,
        "averaging": 0.99,
        "label_smoothing": 0.1,
    }


def _quickened(dials: dict[str, Any], rows: int) -> dict[str, Any]:
    """Spend the time on rows rather than on members, the more so the more rows there are.

    Measured at 1.4 million rows of classes, where in the same time few members that saw more rows
    did better than eight, and from the third pass on rows were learned by heart. Batches grow with
    the root of the rows, so that steps still do.
    """
    if rows <= LARGE:
        return dials
    root = math.sqrt(rows / LARGE)
    batch = _power_of_two(dials["batch_size"] * root, 1, 4096)
    epochs = min(dials["epochs"], max(2, round(dials["epochs"] / root)))
    # As many steps to warm up as with smaller batches and more epochs.
    longer = batch / dials["batch_size"] * dials["epochs"] / epochs
    return dials | {
        "members": max(2, round(MEMBERS / root)),
        "batch_size": batch,
        "epochs": epochs,
        "warmup": min(0.2, dials.get("warmup", 0.0) * longer),
    }


def _power_of_two(size: float, least: int, most: int) -> int:
    """Give the power of two nearest to a size, within bounds."""
    return int(min(most, max(least, 2 ** round(math.log2(max(size, 1))))))


def _strong_pairs(prepared: Prepared) -> int:
    """Count the pairs of numbers worth looking at from several angles: none or one."""
    numbers = prepared.train.arrays.features.get("number")
    if numbers is None:
        return 0
    found = interactions(numbers["values"], target_columns(prepared.train.arrays.target))
    return int(bool(found) and found[0][0] >= STRONG)
