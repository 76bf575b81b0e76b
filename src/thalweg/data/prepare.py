"""From a source to encoded parts: decide the split, fit the schema, encode."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from thalweg.core.errors import OptionError, SourceError, TargetError
from thalweg.core.progress import Progress
from thalweg.data.cache import Cache
from thalweg.data.copies import LowestHashes
from thalweg.data.features.source import featured, fitted
from thalweg.data.gather import gather
from thalweg.data.infer import Given, check_target
from thalweg.data.judges import read_judges
from thalweg.data.parts import Prepared, Wishes
from thalweg.data.passes import Parted, changed
from thalweg.data.schema import require
from thalweg.data.snapshot import repeatable
from thalweg.data.spill import spill
from thalweg.data.split import FOLDED_ROWS, NAMES, TEST, TRAIN, VALIDATION, Split
from thalweg.data.truth import Truth
from thalweg.sources import Source


def prepare(
    source: Source,
    wishes: Wishes,
    split: Split,
    test: Source | None,
    progress: Progress,
    cache: Cache | None = None,
) -> Prepared:
    """Split, fit and encode.

    Up to `FOLDED_ROWS` rows are held in memory. Of more, the encoded rows are written to the disk.

    Parameters
    ----------
    source
        The training rows (and the test rows, where no other source brings them).
    wishes
        The target and what was said of the columns.
    split
        How rows are parted.
    test
        A source of test rows; the split then takes none from ``source``. Without one, a split with
        a test share of 0 leaves the test part empty.
    progress
        Told of every pass.
    cache
        Where the encoded rows of large tables are kept, so that the same table need not be
        encoded again; without one they are gone when the process ends.

    Raises
    ------
    SourceError, ColumnError, TargetError
        Where nothing can be learned from the source; see `fit_schema`.
    """
    names = source.schema().names
    if wishes.features is not None:
        names = [*names, *wishes.features.of(source.schema()).names]
    own = [] if wishes.target is None else [wishes.target]
    require([*own, *wishes.columns, *wishes.drop], names)
    if wishes.truth is not None:
        Truth.parse(wishes.truth, names)
    if split.column is not None:
        require([split.column], names)
    if split.column is not None and split.column == wishes.target:
        raise OptionError(
            f"the split goes by the target {wishes.target!r}",
            "a column that is known before the target is",
            "Split by another column.",
        )
    said = {name: Given.parse(name, text) for name, text in wishes.columns.items()}
    if wishes.target is not None:
        check_target(wishes.target, said, wishes.drop)
    with contextlib.ExitStack() as stack:
        if cache is None:
            # What is in it stays readable for whoever has opened it.
            cache = Cache(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="thalweg-"))))
        source = stack.enter_context(repeatable(source, cache, progress))
        features = wishes.features and fitted(source, wishes.features, progress)
        source = stack.enter_context(featured(source, features, progress))
        fingerprint = source.fingerprint()
        found = _parted(source, wishes, said, split, cache, progress)
        if source.fingerprint() != fingerprint:
            raise changed(source, sum(found.rows.values()))
        copies = (0, 0)
        if test is not None:
            test = stack.enter_context(featured(test, features, progress))
            found, copies = _with_test(found, test, names, progress)
            fingerprint = f"{fingerprint}+{test.fingerprint()}"
    if features is not None:
        # A feature that is not used need not be computed again.
        used = features.only(found.schema.names)
        found = replace(found, schema=replace(found.schema, features=used))
    _require_parts(found, wishes, split, asked=test is not None)
    return Prepared(
        found.schema,
        found.summary,
        found.parts[TRAIN],
        found.parts[VALIDATION],
        found.parts[TEST],
        sum(gone.total() for gone in found.left_out.values()),
        found.rejects,
        fingerprint,
        {NAMES[code]: dict(gone) for code, gone in found.left_out.items()},
        copies,
        {NAMES[c]: found.rows[c] - found.left_out[c].total() for c in (VALIDATION, TEST)},
    )


def _parted(
    source: Source,
    wishes: Wishes,
    said: Mapping[str, Given],
    split: Split,
    cache: Cache,
    progress: Progress,
) -> Parted:
    """Part a table in memory or, where it has too many rows, on disk."""
    if (source.length() or 0) <= FOLDED_ROWS:
        found = gather(source, wishes, said, split, progress)
        if found is not None:
            return found
    return spill(source, wishes, split, cache, progress)


def _with_test(
    found: Parted, test: Source, names: Sequence[str], progress: Progress
) -> tuple[Parted, tuple[int, int]]:
    """Take the test part from a source of its own, and say how many rows of it are copies.

    ``names`` are the columns of the training rows.
    """
    # Copies are found by what the training rows have too.
    judges = read_judges(test, found.schema, progress, stage="encode test rows", hashed=names)
    copies = found.training.shared(LowestHashes.of(judges.part.hashes))
    taken = replace(
        found,
        parts={**found.parts, TEST: judges.part},
        left_out={**found.left_out, TEST: judges.left_out},
        rows={**found.rows, TEST: judges.rows},
        rejects=[*found.rejects, *judges.rejects] if judges.rejects else found.rejects,
    )
    return taken, copies


def _require_parts(found: Parted, wishes: Wishes, split: Split, *, asked: bool) -> None:
    """Check that every part that should have rows has some with a target."""
    may_be_empty = {
        TRAIN: False,
        VALIDATION: split.held_out(sum(found.rows.values())) == 0,
        TEST: not asked and split.test == 0,
    }
    for code, name in NAMES.items():
        if not (len(found.parts[code].arrays) or may_be_empty[code]):
            if wishes.target is None:
                raise SourceError(
                    f"every {name} row was set aside by a cleaning option",
                    "some rows in each part",
                    "Clean less, or bring more rows.",
                )
            raise TargetError(
                f"no {name} row has a usable {wishes.target!r}",
                "some rows in each part",
                "Bring more rows, or look at the column with thalweg profile.",
            )
