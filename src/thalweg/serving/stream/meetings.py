"""Which labels meet which events, in the order in which they came, however a stream is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from thalweg.monitor.pending import Found, Pending, keys_of
from thalweg.serving.stream.lessons import Came
from thalweg.stats.arrays import plain
from thalweg.stats.parsing import canonical_text

Numbers = NDArray[np.int64]


@final
@dataclass(frozen=True, slots=True)
class Meetings:
    """Which labels and events of a batch have one name.

    An event waits until its label or another event of its name comes; of several labels the first
    counts.

    Parameters
    ----------
    asks
        Labels that come before any event of their name: for those of earlier batches, if at all.
    firsts, before
        The first event of each name [F], and the one of `asks` with its name, -1 for none.
    events, labels
        Events, and the label that comes next after each, [K].
    again
        Labels that come after another one, with no event between them.
    replaced
        Events that another one of their name comes after, with no label between them.
    stays
        Bool [N]: events that nothing of their name comes after, those without a name too.

    Examples
    --------
    >>> found = Meetings.of(pa.array(["a", "b", "a"]), pa.array(["c", "a"]), np.array([0, 3]))
    >>> found.asks, found.events, found.labels, found.replaced, found.stays
    (array([0]), array([2]), array([1]), array([0]), array([False,  True, False]))
    """

    asks: Numbers
    firsts: Numbers
    before: Numbers
    events: Numbers
    labels: Numbers
    again: Numbers
    replaced: Numbers
    stays: NDArray[np.bool_]

    @classmethod
    def of(cls, names: pa.Array, keys: pa.Array, places: Numbers) -> Meetings:
        """Find them.

        Parameters
        ----------
        names
            Of events [N] that come without their label; null for others.
        keys
            Of labels [M].
        places
            int64 [M]: how many events came before each label, ascending.
        """
        count = len(names)
        whole = pa.concat_arrays([keys_of(names), keys_of(keys)]).dictionary_encode()
        codes = whole.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        ranks = np.concatenate([4 * np.arange(count), 4 * places - 1])
        order = np.lexsort((ranks, codes))
        order = order[codes[order] >= 0]
        codes, event = codes[order], order < count
        joins = codes[1:] == codes[:-1]
        follows = np.concatenate([[False], joins])[: len(order)]  # one before has its name
        goes_on = np.concatenate([joins, [False]])[: len(order)]
        behind = np.concatenate([[False], event[:-1]])[: len(order)]  # an event comes before it
        groups = np.flatnonzero(~follows)
        head = np.repeat(groups, np.diff(np.append(groups, len(order))))
        seen = np.cumsum(event) - event
        first = event & (seen == seen[head])
        met = np.flatnonzero(~event & follows & behind)
        over = np.flatnonzero(event & follows & behind)
        opens = order[head[first]]
        stays = np.ones(count, dtype=bool)
        stays[order[event & goes_on]] = False
        return cls(
            np.sort(order[~event & ~follows]) - count,
            order[first],
            np.where(opens < count, -1, opens - count),
            order[met - 1],
            order[met] - count,
            order[~event & follows & ~behind] - count,
            order[over - 1],
            stays,
        )


@final
@dataclass(frozen=True, slots=True)
class Met:
    """What came of the labels of a batch.

    Parameters
    ----------
    found, late, turns
        Events of earlier batches, their labels [H], and which of all labels these are.
    here, own, own_turns
        Events [K] of this batch, their labels, and which of all labels these are.
    waits
        Bool [N]: events of this batch whose label is still to come.
    """

    found: Found
    late: Came
    turns: Numbers
    here: Numbers
    own: Came
    own_turns: Numbers
    waits: NDArray[np.bool_]


def meet(pending: Pending, names: pa.Array, times: Numbers, came: Came) -> Met:
    """Let labels [M] meet their events: what waits, and those of a batch.

    Parameters
    ----------
    pending
        What waits; labels without an event wait there from now on.
    names
        Of the batch's events [N] that come without their label; null for others.
    times
        int64 [N]: when they were.
    came
        The labels, as `Came.joined` gives them.
    """
    them = Meetings.of(names, came.keys, came.places)
    found = pending.take(came.keys.take(pa.array(them.asks)))
    missed = np.zeros(len(came.places) + 1, dtype=bool)  # the last one is nobody
    missed[them.asks[found.missed]] = True
    early = pending.early(names.take(pa.array(them.firsts)))
    waited = np.zeros(len(them.firsts), dtype=bool)
    waited[early.places] = True
    opened = missed[them.before]
    missed[them.before[opened]] = False
    rest = np.flatnonzero(missed[:-1])
    if len(rest):
        alone = came.take(rest)
        pending.put_label(alone.keys, alone.cells, alone.times)
    soon = opened & ~waited
    answered = them.firsts[opened | waited]
    again = np.isin(them.events, answered)
    replaced = np.setdiff1d(them.replaced, answered)
    repeated = len(them.again) + int(again.sum()) + int((opened & waited).sum())
    pending.counts.update(
        repeated=repeated,
        replaced=len(replaced),
        events=len(replaced),
        nameless=came.keys.null_count,
    )
    first, second = them.firsts[early.places], them.firsts[soon]
    events, labels = them.events[~again], them.labels[~again]
    here = np.concatenate([first, second, events])
    turns = np.concatenate([np.full(len(first), -1), them.before[soon], labels])
    later = came.take(turns[len(first) :])
    # Whose label was there before it has waited for nothing.
    moments = np.concatenate([times[first], times[second], came.times[labels]])
    places = np.concatenate([np.zeros(len(first), np.int64), later.places])
    own = Came(
        names.take(pa.array(here)), joined_cells([early.cells, later.cells]), moments, places
    )
    waits = them.stays.copy()
    waits[here] = False
    met = them.asks[found.places]
    return Met(found, came.take(met), met, here, own, turns, waits)


def joined_cells(parts: list[pa.Array]) -> pa.Array:
    """Put labels of several places one behind the other, as text where their types differ."""
    some = [plain(one) for one in parts if len(one)]
    if not some:
        return pa.array([], pa.string())
    if len({one.type for one in some}) > 1:
        some = [canonical_text(one).cast(pa.large_string()) for one in some]
    return some[0] if len(some) == 1 else pa.concat_arrays(some)
