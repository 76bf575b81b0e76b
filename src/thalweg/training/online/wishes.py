"""What a user may say of a learner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user may say of a learner.

    Parameters
    ----------
    detector
        Which detector watches the error: see `thalweg.stats.drift.detectors`.
    experts
        Who is asked; by default those of `thalweg.training.online.start`.
    columns, drop
        Of a cold start: column -> ``KIND[,OPTION=VALUE...]``, and columns not to use.
    seed
        Draws first weights and what is replayed.
    """

    detector: str = "adwin"
    experts: Sequence[str] | None = None
    columns: Mapping[str, str] | None = None
    drop: Sequence[str] = ()
    seed: int = 0
