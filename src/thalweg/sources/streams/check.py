"""The conformance suites of streams, publishers and outlets: what each promises, as functions.

Each check raises `NonconformityError` where a promise is broken. A stream of your own is done when
this passes::

    from thalweg.sources.streams.check import StreamTrial, check_stream
    check_stream(lambda: StreamTrial(open=..., append=...))

The functions that make a trial give a new, empty place each time they are called.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Thread, Timer
from typing import Final, final

import numpy as np
import pyarrow as pa

from thalweg.sources.check import NonconformityError, require
from thalweg.sources.streams.base import Position, Records, Stream
from thalweg.sources.streams.check_writing import (
    OutletTrial,
    PublisherTrial,
    check_outlet,
    check_publisher,
)

__all__ = [
    "NonconformityError",
    "OutletTrial",
    "PublisherTrial",
    "StreamTrial",
    "check_outlet",
    "check_publisher",
    "check_stream",
    "plain",
]

_PATIENCE: Final = 60.0  # seconds until what was appended must have been read
_LONG: Final = 20.0  # seconds that a wait is told of that shall return before


def plain(records: Records) -> list[bytes]:
    """Give the payloads as they came."""
    found: list[bytes] = records.payloads.to_pylist()
    return found


@final
@dataclass(frozen=True, slots=True)
class StreamTrial:
    """A place to try a stream on, with nothing in it.

    Parameters
    ----------
    open
        Opens the stream, again and again.
    append
        Puts payloads into it, in their order; they are there when it returns. To which partition
        is its own choice, but those in one partition stay in order.
    unpack
        Gives the payloads that were appended back from what was fetched; more than one, perhaps,
        for a record.
    large
        A payload of so many bytes must come through; 0 for none.
    empty
        Whether a payload may be empty.
    """

    open: Callable[[], Stream]
    append: Callable[[Sequence[bytes]], None]
    unpack: Callable[[Records], list[bytes]] = plain
    large: int = 20 << 20
    empty: bool = True


# ---- streams -------------------------------------------------------------------------------


def check_stream(make: Callable[[], StreamTrial]) -> None:
    """Run every check of a stream.

    Raises
    ------
    NonconformityError
        At the first promise that is broken.
    """
    for check in STREAM_CHECKS:
        check(make())


def an_empty_stream_has_nothing(trial: StreamTrial) -> None:
    """Require no record, no newest and no lag where nothing was appended."""
    with trial.open() as stream:
        names = list(stream.partitions())
        require(bool(names), "there are no partitions")
        require(len(set(names)) == len(names), "two partitions have one name")
        nowhere: dict[str, Position | None] = dict.fromkeys(names)
        for name in names:
            require(stream.fetch(name, None) is None, "an empty stream gives records")
            require(stream.newest(name) is None, "an empty stream has a newest record")
        require(not stream.lag(nowhere), "an empty stream has a lag")
        begun = time.monotonic()
        stream.wait(nowhere, 0.1)
        require(time.monotonic() - begun < _LONG, "waiting takes no notice of its time")


def everything_comes_once_in_order(trial: StreamTrial) -> None:
    """Require what was appended, once each, in order, with positions and times."""
    sent = _payloads(0, 100)
    trial.append(sent[:1])
    trial.append(sent[1:60])
    trial.append(sent[60:])
    with trial.open() as stream:
        found = {name: _rest(trial, stream, name) for name in stream.partitions()}
        again = {name: _rest(trial, stream, name) for name in stream.partitions()}
        _require_all(found, sent)
        require(found == again, "a second reading gives other records")
        for name in stream.partitions():
            records = stream.fetch(name, None)
            if records is None:
                continue
            require(records.partition == name, f"records of {records.partition}, not of {name}")
            require(len(records.positions) == len(records), "not every record has a position")
            require(len(records.times) == len(records), "not every record has a time")
            require(records.times.dtype == np.int64, f"times are {records.times.dtype}")
            require(records.payloads.type == pa.large_binary(), f"{records.payloads.type} payloads")
            positions = records.positions.to_pylist()
            require(json.loads(json.dumps(positions)) == positions, "positions are no plain JSON")
            require(len(set(positions)) == len(positions), "two records have one position")
    with trial.open() as stream:
        other = {name: _rest(trial, stream, name) for name in stream.partitions()}
        require(found == other, "opened again it gives other records")


def pieces_change_nothing(trial: StreamTrial) -> None:
    """Require the same records whatever the most are that may come at once."""
    sent = _payloads(0, 50)
    trial.append(sent)
    with trial.open() as stream:
        for most in (1, 3, 7, 1_000):
            found = {name: _rest(trial, stream, name, most=most) for name in stream.partitions()}
            _require_all(found, sent)
            for name in stream.partitions():
                records = stream.fetch(name, None, most)
                require(records is None or len(records) <= most, f"more than {most} records")


def going_on_gives_the_rest(trial: StreamTrial) -> None:
    """Require from every position exactly what lies behind it, and up to every position all."""
    for start in range(0, 24, 8):
        trial.append(_payloads(start, start + 8))
    with trial.open() as stream, trial.open() as other:
        for name in stream.partitions():
            whole = _rest(trial, stream, name)
            done: list[bytes] = []
            position: Position | None = None
            while (records := stream.fetch(name, position, 1)) is not None:
                done += trial.unpack(records)
                position = records.last
                rest = _rest(trial, other, name, position)
                require(done + rest == whole, f"going on behind {position!r} gives other records")
                before = _rest(trial, other, name, until=position)
                require(before == done, f"up to {position!r} come other records")
            for one in (stream, other):
                require(one.fetch(name, position) is None, "records come behind the last one")


def newest_and_lag_agree(trial: StreamTrial) -> None:
    """Require the newest position to be the last one read, and the lag to fall to nothing."""
    trial.append(_payloads(0, 30))
    with trial.open() as stream:
        names = list(stream.partitions())
        at: dict[str, Position | None] = dict.fromkeys(names)
        behind = stream.lag(at)
        require(behind is None or behind > 0, f"a lag of {behind} with everything to come")
        stream.wait(at, _LONG)
        for name in names:
            while (records := stream.fetch(name, at[name], 11)) is not None:
                at[name] = records.last
            newest = stream.newest(name)
            require(newest == at[name], f"newest is {newest!r}, the last one read {at[name]!r}")
        require(not stream.lag(at), "a lag with nothing to come")


def appended_meanwhile_comes_once(trial: StreamTrial) -> None:
    """Require nothing lost and nothing doubled while others append."""
    sent = _payloads(0, 300)
    failed: list[BaseException] = []

    def append() -> None:
        try:
            for start in range(0, len(sent), 10):
                trial.append(sent[start : start + 10])
        except BaseException as error:
            failed.append(error)

    with trial.open() as stream:
        names = list(stream.partitions())
        at: dict[str, Position | None] = dict.fromkeys(names)
        found: dict[str, list[bytes]] = {name: [] for name in names}
        thread = Thread(target=append, daemon=True)
        thread.start()
        until = time.monotonic() + _PATIENCE
        while sum(map(len, found.values())) < len(sent) and time.monotonic() < until:
            for name in names:
                records = stream.fetch(name, at[name], 17)
                if records is not None:
                    found[name] += trial.unpack(records)
                    at[name] = records.last
            stream.wait(at, 0.05)
        thread.join(_PATIENCE)
        if failed:
            raise failed[0]
        _require_all(found, sent)


def waiting_ends_with_an_append(trial: StreamTrial) -> None:
    """Require waiting to end when something comes, and at once where something is there."""
    trial.append(_payloads(0, 1))
    with trial.open() as stream:
        at = {name: stream.newest(name) for name in stream.partitions()}
        begun = time.monotonic()
        stream.wait(dict.fromkeys(at), _LONG)
        require(time.monotonic() - begun < _LONG / 2, "waiting goes on with records there")
        stream.wait(at, 0.05)
        thread = Timer(0.1, trial.append, [_payloads(1, 2)])
        begun = time.monotonic()
        thread.start()
        try:
            while all(stream.fetch(name, one) is None for name, one in at.items()):
                stream.wait(at, _LONG)
                passed = time.monotonic() - begun
                require(passed < _LONG / 2, "waiting does not end when a record comes")
        finally:
            thread.join()


def large_and_empty_payloads_come_through(trial: StreamTrial) -> None:
    """Require payloads of any size to come as they are."""
    sent = _payloads(0, 3)
    if trial.empty:
        sent += [b"", b""]
    if trial.large:
        sent.append(b'{"text":"' + b"x" * (trial.large - 11) + b'"}')
    sent += _payloads(3, 5)
    for one in sent:
        trial.append([one])
    with trial.open() as stream:
        found = [one for name in stream.partitions() for one in _rest(trial, stream, name)]
        require(sorted(found) == sorted(sent), "payloads come otherwise than they were appended")


def committing_changes_nothing(trial: StreamTrial) -> None:
    """Require what lies behind a committed position to come as before, also when opened again."""
    trial.append(_payloads(0, 20))
    at: dict[str, Position] = {}
    rest: dict[str, list[bytes]] = {}
    with trial.open() as stream:
        for name in stream.partitions():
            records = stream.fetch(name, None, 5)
            if records is not None:
                at[name] = records.last
                rest[name] = _rest(trial, stream, name, records.last)
        stream.commit(at)
        for name, expected in rest.items():
            found = _rest(trial, stream, name, at[name])
            require(found == expected, "a commit changes what comes")
    with trial.open() as stream:
        for name, expected in rest.items():
            found = _rest(trial, stream, name, at[name])
            require(found == expected, "after a commit, opened again, other records come")
        stream.commit(at)


STREAM_CHECKS: Final = (
    an_empty_stream_has_nothing,
    everything_comes_once_in_order,
    pieces_change_nothing,
    going_on_gives_the_rest,
    newest_and_lag_agree,
    appended_meanwhile_comes_once,
    waiting_ends_with_an_append,
    large_and_empty_payloads_come_through,
    committing_changes_nothing,
)


def _payloads(start: int, end: int) -> list[bytes]:
    """Make payloads that are JSON and tell their order."""
    return [b'{"n":%d}' % number for number in range(start, end)]


def _rest(
    trial: StreamTrial,
    stream: Stream,
    name: str,
    after: Position | None = None,
    until: Position | None = None,
    most: int = 65_536,
) -> list[bytes]:
    """Read all that is there behind a position."""
    found: list[bytes] = []
    while (records := stream.fetch(name, after, most, until)) is not None:
        require(len(records) > 0, "no records are given as some")
        require(records.last != after, "the position stands still")
        found += trial.unpack(records)
        after = records.last
    return found


def _require_all(found: dict[str, list[bytes]], sent: Sequence[bytes]) -> None:
    """Require all that was sent, once, those of each partition in order."""
    places = {payload: place for place, payload in enumerate(sent)}
    together = [one for part in found.values() for one in part]
    require(len(together) >= len(sent), f"{len(sent)} records were sent, {len(together)} came")
    require(len(together) <= len(sent), f"{len(sent)} records were sent, {len(together)} came")
    require(set(together) == set(sent), "other records than were sent")
    for name, part in found.items():
        order = [places[one] for one in part]
        require(order == sorted(order), f"the records of partition {name} are out of order")
