"""The conformance suite of kinds: what every kind promises, as plain functions.

Each check takes a kind and raises `NonconformityError` where a promise is broken; `check_kind` runs
them all. A kind of your own is done when this passes::

    from thalweg.kinds.check import check_kind
    check_kind(MyKind())
"""

from __future__ import annotations

import gc
import json
import math
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa

from thalweg.core.errors import ColumnError, TargetError
from thalweg.kinds import KINDS
from thalweg.kinds.base import Encoded, Head, LossOptions, Masks, Role, State
from thalweg.kinds.check_raw import RAW_CHECKS
from thalweg.kinds.evidence import (
    AnyKind,
    NonconformityError,
    agree,
    lines,
    require,
    rows,
    same,
    well_formed,
)
from thalweg.kinds.odd import odd_columns
from thalweg.stats import ColumnSummary
from thalweg.stats.arrays import is_bytes

Check = Callable[[AnyKind], None]

ROWS: Final = 600
WIDTH: Final = 6
MEMBERS: Final = 3


def check_kind(kind: AnyKind) -> None:
    """Run every check.

    Raises
    ------
    NonconformityError
        At the first promise that is broken, naming it.
    """
    for check in CHECKS:
        check(kind)


def summarise(arrays: Iterable[pa.Array]) -> ColumnSummary:
    """Summarise one column that comes in pieces."""
    summary = ColumnSummary()
    for array in arrays:
        summary.update(array)
    return summary


def fit(kind: AnyKind, array: pa.Array, role: Role = "feature") -> Any:
    """Fit one column with the kind's default options."""
    return kind.fit(summarise([array]), kind.options_type(), role)


# ---- the data half -------------------------------------------------------------------------


def merged_fits_equal_whole_fits(kind: AnyKind) -> None:
    """Require shards merged in any order to give the state of the whole column."""
    array = kind.sample(0, ROWS)
    whole = fit(kind, array)
    random = np.random.default_rng(0)
    for shards in (1, 7, 50):
        cuts = np.linspace(0, ROWS, shards + 1).astype(int).tolist()
        parts = [array.slice(a, b - a) for a, b in pairwise(cuts)]
        for order in (np.arange(shards), np.arange(shards)[::-1], random.permutation(shards)):
            merged = ColumnSummary()
            for place in order:
                merged.merge(summarise([parts[place]]))
            state = kind.fit(merged, kind.options_type(), "feature")
            broken = f"{shards} merged shards give another state than the whole column"
            require(state == whole, kind, broken)


def fitting_is_pure(kind: AnyKind) -> None:
    """Require fitting to give equal states for equal summaries and to leave them as they were."""
    summary = summarise([kind.sample(0, ROWS)])
    before = summary.to_bytes()
    first, second = (kind.fit(summary, kind.options_type(), "feature") for _ in range(2))
    require(first == second, kind, "fitting twice gives two states")
    require(summary.to_bytes() == before, kind, "fitting changes the summary")


def state_survives_json(kind: AnyKind) -> None:
    """Require a state read back from JSON to be equal and to encode to the same bits."""
    array = kind.sample(0, ROWS)
    for state in _states(kind, array):
        again = kind.state_type.model_validate_json(state.model_dump_json())
        require(again == state, kind, "a state read back from JSON differs")
        text = json.dumps(state.model_dump(mode="json"), allow_nan=False)
        require(kind.state_type.model_validate(json.loads(text)) == state, kind, "JSON loses")
        same(kind.encode([array], [state]), kind.encode([array], [again]), kind, "JSON")


def row_equals_batch(kind: AnyKind) -> None:
    """Require the same bits for a cell alone, in a batch, in another order or beside others."""
    array = kind.sample(0, ROWS)
    other = kind.sample(1, ROWS)
    for state in _states(kind, array):
        whole = kind.encode([array], [state])
        order = np.random.default_rng(0).permutation(ROWS)
        mixed = kind.encode([array.take(pa.array(order))], [state])
        same(rows(whole, order), mixed, kind, "a shuffled batch")
        for start in range(60):
            alone = kind.encode([array.slice(start, 1)], [state])
            same(rows(whole, slice(start, start + 1)), alone, kind, "a row alone")
        for start in range(0, ROWS, 77):
            part = kind.encode([array.slice(start, 77)], [state])
            same(rows(whole, slice(start, start + 77)), part, kind, "a smaller batch")
    left, right = fit(kind, array), fit(kind, other)
    both = kind.encode([array, other], [left, right])
    for column, (cells, state) in enumerate([(array, left), (other, right)]):
        alone = kind.encode([cells], [state])
        for name, field in alone.fields.items():
            # Columns may differ in size: then the smaller one is followed by zeros.
            beside = both.fields[name][:, column].copy()
            own = (slice(None), *(slice(size) for size in field.shape[2:]))
            broken = f"field {name!r} of a column depends on the column beside it"
            require(np.array_equal(field[:, 0], beside[own]), kind, broken)
            beside[own] = 0
            require(not beside.any(), kind, f"field {name!r} is not 0 where it is unused")


def odd_cells_are_safe(kind: AnyKind) -> None:
    """Require missing, empty, huge, foreign and never-seen cells to neither raise nor give NaN."""
    for state in _states(kind, kind.sample(0, ROWS)):
        for array in odd_columns():
            try:
                encoded = kind.encode([array], [state])
            except ColumnError:
                # A type may be refused as a whole; text and nothing at all may not.
                plain = pa.types.is_string(array.type) or pa.types.is_null(array.type)
                typed = not (plain or ("bytes" in kind.holds and is_bytes(array.type)))
                require(typed, kind, f"cells of {array.type} are refused")
                continue
            well_formed(encoded, len(array), 1, kind)
            _refusals(encoded, len(array), kind)
    empty = kind.sample(0, ROWS).slice(0, 0)
    state = fit(kind, pa.nulls(5))
    well_formed(kind.encode([pa.nulls(3)], [state]), 3, 1, kind)
    well_formed(kind.encode([empty, empty], [state, fit(kind, empty)]), 0, 2, kind)


def damaged_files_are_refused(kind: AnyKind) -> None:
    """Require files that are cut off, or foreign, to be set aside with a reason."""
    if not kind.attaches:
        return
    files = kind.sample(0, ROWS).drop_null()
    state = fit(kind, files)
    whole = files[0].as_py()
    cells = pa.array([whole, whole[: len(whole) // 4], b"no such file\x00", None], files.type)
    encoded = kind.encode([cells], [state])
    _refusals(encoded, 4, kind)
    require(not encoded.dropped[[0, 3]].any(), kind, "a whole file, or none, is set aside")
    require(encoded.dropped[[1, 2]].all(), kind, "a damaged file is not set aside")


def odd_columns_can_be_fitted(kind: AnyKind) -> None:
    """Require that a state can be learned from any column and then encodes other cells."""
    array = kind.sample(0, 50)
    for odd in odd_columns():
        try:
            state = fit(kind, odd)
            encoded, again = (kind.encode([cells], [state]) for cells in (array, odd))
        except ColumnError:
            continue
        well_formed(encoded, 50, 1, kind)
        well_formed(again, len(odd), 1, kind)


def input_is_untouched(kind: AnyKind) -> None:
    """Require encoding to change neither cells nor states, and to give arrays of its own."""
    array = kind.sample(0, ROWS)
    for state in _states(kind, array):
        cells, dump = array.to_pylist(), state.model_dump_json()
        first = kind.encode([array], [state])
        copies = {name: field.copy() for name, field in first.fields.items()}
        for field in first.fields.values():
            field[...] = 0
        second = kind.encode([array], [state])
        require(repr(array.to_pylist()) == repr(cells), kind, "encode changes its input")
        require(state.model_dump_json() == dump, kind, "encode changes the state")
        same(Encoded(copies, first.dropped, first.unreadable), second, kind, "encoding again")


def restores_what_it_encodes(kind: AnyKind) -> None:
    """Require restored cells to be those encoded, but for what cleaning altered."""
    array = kind.sample(0, ROWS)
    for state in _states(kind, array):
        encoded = kind.encode([array], [state])
        restored = kind.restore(encoded, 0, state)
        require(len(restored) == ROWS, kind, "restore gives another number of rows")
        kept = np.asarray(restored.is_valid())
        require(kept.mean() > 0.5, kind, "restore gives back fewer than half of the cells")
        right = agree(array, restored)[kept].mean()
        require(right > 0.9, kind, f"only {right:.0%} of the restored cells are what they were")
        again = kind.encode([restored], [state])
        for name, field in again.fields.items():
            close = np.isclose(field, encoded.fields[name], atol=1e-4)[kept]
            require(close.all(), kind, f"field {name!r} changes when encoded once more")


def sample_is_recognised(kind: AnyKind) -> None:
    """Require the kind's sample to score highest with the kind, and to follow from its seed."""
    array = kind.sample(0, ROWS)
    require(array.equals(kind.sample(0, ROWS)), kind, "one seed gives two samples")
    require(not array.equals(kind.sample(1, ROWS)), kind, "two seeds give one sample")
    require(array.null_count > 0, kind, "the sample has no missing cell")
    scores = {name: other.sniff(summarise([array])) for name, other in KINDS.items()}
    mine = kind.sniff(summarise([array]))
    scores.pop(kind.name, None)
    require(0 < mine <= 1, kind, f"the sample scores {mine}, not above 0 and up to 1")
    best = max(scores, key=lambda name: scores[name])
    require(mine > scores[best], kind, f"the sample is taken for {best}")


def data_half_is_light(kind: AnyKind) -> None:
    """Require importing, sniffing, fitting and encoding to do without torch."""
    module, name = type(kind).__module__, type(kind).__qualname__
    script = (
        "import sys; from importlib import import_module; "
        "from thalweg.kinds.check import fit, summarise; "
        f"kind = getattr(import_module({module!r}), {name!r})(); array = kind.sample(0, 50); "
        "kind.sniff(summarise([array])); kind.encode([array], [fit(kind, array)]); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)  # noqa: S603 - our own words
    why = done.stderr.decode()[-500:] or "the data half loads torch"
    require(done.returncode == 0, kind, why)


def memory_is_flat(kind: AnyKind) -> None:
    """Require that no batch is kept."""
    rows = 60 if kind.attaches else ROWS  # a file takes longer than a number
    arrays = [kind.sample(seed, rows) for seed in range(40)]
    state = fit(kind, arrays[0])
    size = sum(field.nbytes for field in kind.encode([arrays[0]], [state]).fields.values())
    traced = tracemalloc.is_tracing()
    if not traced:
        tracemalloc.start()
    held = []
    for part in (arrays[:5], arrays[5:]):
        for array in part:
            kind.encode([array], [state])
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes())
    if not traced:
        tracemalloc.stop()
    grown = held[1] - held[0]
    require(grown < 8 * size, kind, f"35 batches of {size:,} bytes leave {grown:,} behind")


def encode_is_vectorised(kind: AnyKind) -> None:
    """Require thirty times the rows to run no more lines of Python; files are read one by one."""
    if kind.attaches:
        return
    few = kind.sample(0, 100)
    many = pa.concat_arrays([few] * 30)
    for state in _states(kind, few):
        kind.encode([few], [state])
        short, long = (lines(partial(kind.encode, [cells], [state])) for cells in (few, many))
        require(long < 1.5 * short + 50, kind, f"100 rows run {short} lines, 3,000 run {long}")


def targets_are_clean(kind: AnyKind) -> None:
    """Require a target's missing rows to be dropped, and a target of nothing to be refused."""
    array = kind.sample(0, ROWS)
    for nothing in (pa.nulls(20), array.slice(0, 0)):
        require(_target(kind, nothing) is None, kind, "a target of missing cells is not refused")
    state = _target(kind, array)
    if state is None:
        require(kind.task(fit(kind, array)) is None, kind, "a kind without a target has a task")
        return
    require(kind.task(state) is not None, kind, "a target has no task")
    encoded = kind.encode([array], [state])
    well_formed(encoded, ROWS, 1, kind)
    require(encoded.dropped[np.asarray(array.is_null())].all(), kind, "a null target stays")
    require(encoded.dropped.mean() < 0.5, kind, "most targets are dropped")


# ---- the network half ----------------------------------------------------------------------


def gradients_reach_every_weight(kind: AnyKind) -> None:
    """Require the encoder to give [N, tokens, width] and every weight of it to learn."""
    import torch

    fields, encoder = _encoder(kind)
    encoder.eval()  # nothing is drawn
    embedded = encoder(fields)
    shape = (ROWS, int(encoder.tokens), WIDTH)
    require(tuple(embedded.shape) == shape, kind, f"embeds as {tuple(embedded.shape)}, not {shape}")
    require(embedded.dtype == torch.float32, kind, f"embeds as {embedded.dtype}")
    alone = encoder({name: field[:1] for name, field in fields.items()})
    require(torch.allclose(alone, embedded[:1], atol=1e-5), kind, "a row alone embeds otherwise")
    _missing_is_masked(kind, fields, encoder, embedded)
    weights = {name: p for name, p in encoder.named_parameters() if p.requires_grad}
    pulled = (embedded * torch.randn_like(embedded)).sum()
    gradients = torch.autograd.grad(pulled, list(weights.values()), allow_unused=True)
    for name, gradient in zip(weights, gradients, strict=True):
        reached = gradient is not None and gradient.abs().sum() > 0
        require(reached, kind, f"no gradient reaches {name}")
        require(torch.isfinite(gradient).all(), kind, f"{name} has a wild gradient")


def _missing_is_masked(kind: AnyKind, fields: Any, encoder: Any, embedded: Any) -> None:
    """Require tokens that stand for nothing to be 0, where an encoder can tell them."""
    if not isinstance(encoder, Masks):
        return
    present = encoder.present(fields)
    formed = present.shape == embedded.shape[:2] and str(present.dtype) == "torch.bool"
    require(formed, kind, f"says what is present as {tuple(present.shape)}")
    require(present.any() and not present.all(), kind, "all cells of the sample are present")
    require(not embedded[~present].any(), kind, "a cell that is missing embeds as something")


def the_loss_falls(kind: AnyKind) -> None:
    """Require a small network to learn the kind's sample from itself."""
    import torch

    array = kind.sample(0, ROWS)
    state = _target(kind, array)
    if state is None:
        return
    head = _head(kind, state)
    layer = head.layer(MEMBERS, WIDTH)
    shape = tuple(layer(torch.zeros(MEMBERS, 2, WIDTH)).shape)
    require(shape == (MEMBERS, 2, head.outputs), kind, f"the last layer gives {shape}")
    fields, encoder = _encoder(kind)
    encoded = kind.encode([array], [state])
    stays = torch.from_numpy(~encoded.dropped)
    target = {name: torch.from_numpy(field)[stays] for name, field in encoded.fields.items()}
    last = torch.nn.Linear(int(encoder.tokens) * WIDTH, MEMBERS * head.outputs)
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(head.start().repeat(MEMBERS))
    optimiser = torch.optim.Adam([*encoder.parameters(), *last.parameters()], lr=0.03)
    losses = []
    for _ in range(60):
        flat = last(encoder(fields).flatten(1))[stays]
        outputs = flat.unflatten(1, (MEMBERS, head.outputs)).transpose(0, 1)
        loss = head.loss(outputs, target)
        every = {name: field.expand(MEMBERS, *field.shape) for name, field in target.items()}
        require(loss.shape == outputs.shape[:2], kind, f"the loss has shape {tuple(loss.shape)}")
        require(torch.equal(loss, head.loss(outputs, every)), kind, "members' own rows differ")
        optimiser.zero_grad()
        torch.autograd.backward(loss.mean())
        optimiser.step()
        losses.append(float(loss.detach().mean()))
    require(math.isfinite(losses[-1]), kind, "the loss is not finite")
    require(losses[-1] < 0.8 * losses[0], kind, f"the loss goes from {losses[0]} to {losses[-1]}")


def the_start_is_the_best_constant(kind: AnyKind) -> None:
    """Require every constant answer near the head's start to have a higher loss."""
    import torch

    array = kind.sample(0, ROWS)
    state = _target(kind, array)
    if state is None:
        return
    head = _head(kind, state)
    encoded = kind.encode([array], [state])
    stays = ~encoded.dropped
    target = {name: torch.from_numpy(field[stays]) for name, field in encoded.fields.items()}

    def loss(bias: torch.Tensor) -> float:
        return float(head.loss(bias.expand(1, int(stays.sum()), -1), target).mean())

    start = head.start()
    for step in (torch.eye(head.outputs) * size for size in (-0.5, 0.5)):
        for move in step:
            require(loss(start + move) > loss(start), kind, "the start is not the best constant")


def outputs_become_columns(kind: AnyKind) -> None:
    """Require what the head combines to become whole columns of the right length."""
    import torch

    state = _target(kind, kind.sample(0, ROWS))
    if state is None:
        return
    head = _head(kind, state)
    for count, size in ((0, 1.0), (50, 1.0), (50, 1e4)):
        outputs = head.combine(size * torch.randn(MEMBERS, count, head.outputs)).numpy()
        columns = kind.decode(outputs, state)
        require(next(iter(columns)) == "prediction", kind, "decode has no prediction first")
        for name, column in columns.items():
            whole = len(column) == count and column.null_count == 0
            require(whole, kind, f"column {name!r} has {len(column)} rows, not {count}, or nulls")
        shares = [np.asarray(c) for name, c in columns.items() if name.startswith("probability_")]
        if kind.task(state) in {"binary", "multiclass"}:
            require(np.allclose(sum(shares), 1), kind, "probabilities do not add up to 1")


def textbooks_can_read_it(kind: AnyKind) -> None:
    """Require a design of as many rows, finite but for what is missing, the same row by row."""
    array = kind.sample(0, ROWS)
    state = fit(kind, array)
    fields = kind.encode([array], [state]).fields
    whole = kind.design(fields, [state])
    sizes = {len(whole.numbers), len(whole.codes), *(len(text) for text in whole.texts)}
    require(sizes == {ROWS}, kind, f"a design has {sizes} rows, not {ROWS}")
    columns = whole.numbers.shape[1] + whole.codes.shape[1] + len(whole.texts)
    require(columns > 0, kind, "a design has no column")
    require(not np.isinf(whole.numbers).any(), kind, "a design is not finite")
    few = kind.design({name: field[:7] for name, field in fields.items()}, [state])
    part = whole.take(np.arange(7))
    alike = np.array_equal(few.numbers, part.numbers, equal_nan=True)
    alike &= np.array_equal(few.codes, part.codes)
    require(alike and few.texts == part.texts, kind, "a design depends on other rows")


def _refusals(encoded: Encoded, rows: int, kind: AnyKind) -> None:
    """Require reasons in words, each with the cells, whose rows are dropped."""
    for reason, cells in encoded.refused.items():
        formed = cells.dtype == bool and cells.shape == encoded.unreadable.shape
        require(formed, kind, f"{reason!r} is {cells.dtype} {cells.shape}")
        require(reason.strip(), kind, "cells are refused without a reason")
        require(encoded.dropped[cells.any(axis=1)].all(), kind, f"{reason!r} drops no row")
    require(len(encoded.dropped) == rows, kind, "there are other rows than came")


def _states(kind: AnyKind, array: pa.Array) -> Iterator[State]:
    """Fit a column as a feature and, where the kind can be one, as a target."""
    yield fit(kind, array)
    target = _target(kind, array)
    if target is not None:
        yield target


def _target(kind: AnyKind, array: pa.Array) -> Any | None:
    try:
        return fit(kind, array, "target")
    except TargetError:
        return None


def _head(kind: AnyKind, state: State) -> Head:
    head = kind.head(state, LossOptions())
    if head is None:
        message = f"kind {kind.name}: a target can be fitted but has no head"
        raise NonconformityError(message)
    return head


def _encoder(kind: AnyKind) -> tuple[dict[str, Any], Any]:
    """Encode two columns of the kind's sample as tensors, and build their encoder."""
    import torch

    torch.manual_seed(0)
    arrays = [kind.sample(seed, ROWS) for seed in range(2)]
    states = [fit(kind, array) for array in arrays]
    fields = {k: torch.from_numpy(v) for k, v in kind.encode(arrays, states).fields.items()}
    return fields, kind.encoder(states, WIDTH)


CHECKS: Final[tuple[Check, ...]] = (
    merged_fits_equal_whole_fits,
    fitting_is_pure,
    state_survives_json,
    row_equals_batch,
    odd_cells_are_safe,
    damaged_files_are_refused,
    odd_columns_can_be_fitted,
    input_is_untouched,
    restores_what_it_encodes,
    sample_is_recognised,
    data_half_is_light,
    memory_is_flat,
    encode_is_vectorised,
    targets_are_clean,
    textbooks_can_read_it,
    *RAW_CHECKS,
    gradients_reach_every_weight,
    the_loss_falls,
    the_start_is_the_best_constant,
    outputs_become_columns,
)
"""Every check, the cheap and telling ones first."""
