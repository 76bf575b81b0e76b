"""How a learner begins: from a trained model, or cold, with no training table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import pyarrow as pa

from thalweg.core.errors import ColumnError, OptionError, SourceError, near
from thalweg.core.seeds import derive
from thalweg.data.infer import IGNORE, fit_schema
from thalweg.data.schema import Schema
from thalweg.models.model import Model
from thalweg.sources.base import Source
from thalweg.stats import TableSummary
from thalweg.stats.drift.detectors import DETECTORS
from thalweg.training.online.base import Expert
from thalweg.training.online.experts.challenger import Challenger
from thalweg.training.online.experts.champion import Champion
from thalweg.training.online.experts.fast import Fast
from thalweg.training.online.experts.frozen import Frozen
from thalweg.training.online.experts.last import Last
from thalweg.training.online.experts.slow import Slow
from thalweg.training.online.experts.tree import Tree
from thalweg.training.online.inputs import Reader
from thalweg.training.online.labels import Labels
from thalweg.training.online.learner import Learner, Promotion
from thalweg.training.online.wishes import Wishes

SAMPLE: Final = 1000
"""By so many of the first rows a cold start tells what the columns are."""

COLD: Final = ("fast", "challenger", "tree", "last")
WARM: Final = ("fast", "challenger", "slow", "champion", "frozen", "tree", "last")
"""The experts of a learner that begins cold, and of one that begins with a trained model."""


@final
@dataclass(frozen=True, slots=True)
class Beginning:
    """What a learner must know of a stream before it begins cold.

    Parameters
    ----------
    schema
        The columns that it reads.
    labels
        What labels are; no class is known yet.
    """

    schema: Schema
    labels: Labels

    def to_json(self) -> dict[str, Any]:
        """Give plain data."""
        return {"schema": self.schema.to_json(), "labels": self.labels.state()}

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Beginning:
        """Read plain data back."""
        return cls(Schema.from_json(given["schema"]), Labels.from_state(given["labels"]))


def look(
    sample: pa.RecordBatch | pa.Table,
    target: str,
    wishes: Wishes,
    labels: pa.Array | None = None,
) -> Beginning:
    """Tell what columns and labels are by the first rows. Nothing is learned from them.

    Parameters
    ----------
    sample
        The first rows.
    target
        The column that labels come in.
    wishes
        See `Wishes`.
    labels
        The first labels, where they do not come with the rows.

    Raises
    ------
    ColumnError
        Where the target or every other column is missing.
    """
    if labels is None:
        if target not in sample.schema.names:
            raise ColumnError(
                f"column {target!r} not found in the first rows",
                "the column that labels come in",
                near(target, sample.schema.names),
            )
        labels = _whole(sample.column(target))
    kind = (wishes.columns or {}).get(target)
    read = Labels.guess(labels) if kind is None else Labels(numbers=kind == "number")
    return Beginning(_columns(sample, target, wishes), read)


def begin(source: Source, target: str, wishes: Wishes, model: Model | None = None) -> Learner:
    """Begin to learn from a bounded source: with a trained model, or else cold.

    Parameters
    ----------
    source
        The rows that will be learned from; its first ones tell what its columns are.
    target
        The column that labels come in.
    wishes
        See `Wishes`.
    model
        The trained model; None for a cold start.
    """
    if model is not None:
        return warm(model, wishes)
    for batch in source.batches(size=SAMPLE):
        if batch.rows.num_rows:
            return cold(look(batch.rows, target, wishes), wishes)
    raise SourceError(f"{source.uri} has no rows", "rows to learn from", "Is it the right one?")


def cold(
    beginning: Beginning, wishes: Wishes, promoted: Callable[[Promotion], None] = lambda _: None
) -> Learner:
    """Begin with no training table.

    Parameters
    ----------
    beginning
        What `look` found.
    wishes
        See `Wishes`.
    promoted
        See `Learner`.
    """
    labels = Labels.from_state(beginning.labels.state())
    return _learner(Reader(beginning.schema), labels, None, COLD, wishes, promoted)


def warm(
    model: Model, wishes: Wishes, promoted: Callable[[Promotion], None] = lambda _: None
) -> Learner:
    """Begin with a trained model.

    Raises
    ------
    OptionError
        Where the model predicts neither classes nor a number.
    """
    require_learnable(model)
    numbers = model.task == "regression"
    labels = Labels(numbers=numbers, classes=model.classes, target=model.schema.target)
    return _learner(Reader(model.schema), labels, model, WARM, wishes, promoted)


def require_learnable(model: Model) -> None:
    """Refuse a model that cannot be learned on from labels that come one by one.

    Raises
    ------
    OptionError
        Where it predicts neither classes nor a number.
    """
    if model.task not in {"regression", "binary", "multiclass"}:
        raise OptionError(
            f"a model whose task is {model.task}",
            "one of classes or of a number, to learn on from labels that come one by one",
            "Use it as it is, without learning.",
        )


def _learner(
    reader: Reader,
    labels: Labels,
    model: Model | None,
    usual: Sequence[str],
    wishes: Wishes,
    promoted: Callable[[Promotion], None],
) -> Learner:
    """Put a learner together."""
    names = usual if wishes.experts is None else wishes.experts
    numbers, seed = labels.numbers, wishes.seed
    makers: dict[str, Callable[[], Expert]] = {
        "fast": lambda: Fast(numbers=numbers, seed=derive(seed, "fast")),
        "challenger": lambda: Challenger(numbers=numbers, seed=derive(seed, "challenger")),
        "tree": lambda: Tree(numbers=numbers),
        "last": lambda: Last(numbers=numbers),
    }
    if model is not None:
        makers["slow"] = lambda: Slow(model, seed=derive(seed, "slow"))
        makers["champion"] = lambda: Champion(model)
        makers["frozen"] = lambda: Frozen(model)
    for name in names:
        if name not in makers:
            raise OptionError(
                f"there is no expert {name!r} here",
                "some of " + ", ".join(makers),
                near(name, makers),
            )
    if wishes.detector not in DETECTORS:
        raise OptionError(
            f"the detector is {wishes.detector!r}",
            "one of " + ", ".join(DETECTORS),
            near(wishes.detector, DETECTORS),
        )
    experts = [makers[name]() for name in dict.fromkeys(names)]
    return Learner(reader, labels, experts, DETECTORS[wishes.detector](), model, promoted)


def _columns(sample: pa.RecordBatch | pa.Table, target: str, wishes: Wishes) -> Schema:
    """Tell what the columns are by the first rows.

    A column that says nothing yet (all missing, or always the same) may say something tomorrow.
    """
    said = dict(wishes.columns or {})
    drop = dict.fromkeys(name for name in (*wishes.drop, target) if name in sample.schema.names)
    summary = TableSummary()
    summary.update(sample)
    for name, column in summary.columns.items():
        if name in said or name in drop:
            continue
        if column.rows == column.nulls + column.missing_texts or column.distinct() < 1.5:
            number = column.numbers.count > 0 or pa.types.is_null(sample.schema.field(name).type)
            said[name] = "number" if number else "category"
    said = {name: kind for name, kind in said.items() if name not in drop}
    schema = fit_schema(summary, None, said, drop)
    if not schema.columns:
        raise ColumnError(
            f"no column is left to predict {target!r} from",
            "at least one usable column besides the target",
            f"Say what one is: --column NAME=KIND ({IGNORE} leaves one out).",
        )
    return schema


def _whole(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
