"""The conformance suites of publishers and outlets: what each promises, as functions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, final

import pyarrow as pa

from thalweg.sources.check import NonconformityError, require
from thalweg.sources.streams.base import FencedError, Outlet, Publisher, Writer

PIPELINE: Final = "trial"
"""The name of the work that writes."""


@final
@dataclass(frozen=True, slots=True)
class PublisherTrial:
    """A place to try a publisher on, with nothing in it.

    Parameters
    ----------
    open
        Opens it for a writer, again and again, also while another one is open.
    read
        Gives the payloads that are there, for each partition, in order.
    exact
        Whether it promises exactly once.
    fences
        Whether it refuses a process that another one has taken over from.
    large
        A payload of so many bytes must come through; 0 for none.
    """

    open: Callable[[Writer], Publisher]
    read: Callable[[], Sequence[Sequence[bytes]]]
    exact: bool = True
    fences: bool = True
    large: int = 1 << 20


@final
@dataclass(frozen=True, slots=True)
class OutletTrial:
    """A place to try an outlet on, with nothing in it.

    Parameters
    ----------
    open
        Opens it for a writer, again and again, also while another one is open.
    read
        Gives the values of the column ``n`` of all rows that are there, in any order.
    exact
        Whether it promises exactly once.
    fences
        Whether it refuses a process that another one has taken over from.
    """

    open: Callable[[Writer], Outlet]
    read: Callable[[], Sequence[int]]
    exact: bool = True
    fences: bool = True


def check_publisher(make: Callable[[], PublisherTrial]) -> None:
    """Run every check of a publisher.

    Raises
    ------
    NonconformityError
        At the first promise that is broken.
    """

    def outlet() -> _Trial:
        trial = make()

        def read() -> list[int]:
            return [json.loads(one)["n"] for part in trial.read() for one in part]

        return _Trial(
            lambda lane: _Sender(trial.open(_writer(lane))), read, trial.exact, trial.fences
        )

    for check in WRITING_CHECKS:
        check(outlet())
    keys_keep_their_order(make())
    large_payloads_are_published(make())


def check_outlet(make: Callable[[], OutletTrial]) -> None:
    """Run every check of an outlet.

    Raises
    ------
    NonconformityError
        At the first promise that is broken.
    """

    def outlet() -> _Trial:
        trial = make()
        return _Trial(
            lambda lane: _Rows(trial.open(_writer(lane))), trial.read, trial.exact, trial.fences
        )

    for check in WRITING_CHECKS:
        check(outlet())


def keys_keep_their_order(trial: PublisherTrial) -> None:
    """Require records of one key to be in one partition, in order."""
    keys = [f"key {number % 5}" for number in range(40)]
    publisher = trial.open(_writer("0"))
    try:
        publisher.resume(1)
        for batch in range(1, 5):
            numbers = range(batch * 10 - 10, batch * 10)
            publisher.send(
                batch,
                pa.array([b'{"n":%d}' % number for number in numbers], pa.large_binary()),
                pa.array([keys[number] for number in numbers], pa.large_string()),
            )
            if batch != 2:
                publisher.flush({})
    finally:
        publisher.close()
    found = [[json.loads(one)["n"] for one in part] for part in trial.read()]
    for key in set(keys):
        parts = [[one for one in part if keys[one] == key] for part in found]
        filled = [part for part in parts if part]
        require(len(filled) == 1, f"records of one key are in {len(filled)} partitions")
        require(filled[0] == sorted(filled[0]), "records of one key are out of order")


def large_payloads_are_published(trial: PublisherTrial) -> None:
    """Require a large payload to come through as it is."""
    if not trial.large:
        return
    sent = b'{"n":1,"text":"' + b"x" * (trial.large - 17) + b'"}'
    publisher = trial.open(_writer("0"))
    try:
        publisher.resume(1)
        publisher.send(1, pa.array([sent], pa.large_binary()))
        publisher.flush({})
    finally:
        publisher.close()
    require([one for part in trial.read() for one in part] == [sent], "a large payload is changed")


@final
class _Rows:
    """An outlet, written to by numbers."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self.resume, self.flush, self.close = outlet.resume, outlet.flush, outlet.close

    def write(self, batch: int, numbers: Sequence[int]) -> None:
        """Write rows with these numbers."""
        texts = [f"row {number}, 'quoted'" if number % 3 else None for number in numbers]
        columns = {
            "n": pa.array(numbers, pa.int64()),
            "text": pa.array(texts, pa.string()),
            "amount": pa.array([number / 4 for number in numbers], pa.float64()),
        }
        self._outlet.write(batch, pa.record_batch(columns))


@final
class _Sender:
    """A publisher, written to by numbers."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.resume, self.flush, self.close = publisher.resume, publisher.flush, publisher.close

    def write(self, batch: int, numbers: Sequence[int]) -> None:
        """Send payloads with these numbers, some batches with keys."""
        payloads = pa.array([b'{"n":%d}' % number for number in numbers], pa.large_binary())
        keys = pa.array([str(number % 3) for number in numbers], pa.large_string())
        self._publisher.send(batch, payloads, keys if batch % 2 else None)


@final
@dataclass(frozen=True, slots=True)
class _Trial:
    """What outlets and publishers are tried by alike."""

    open: Callable[[str], _Rows | _Sender]
    read: Callable[[], Sequence[int]]
    exact: bool
    fences: bool


def _writer(lane: str) -> Writer:
    return Writer(PIPELINE, lane, "log://trial")


def what_was_flushed_is_there(trial: _Trial) -> None:
    """Require rows to be there once they are flushed, and several batches of one flush."""
    one = trial.open("0")
    first = one.resume(1)
    require(first == 0, f"at first the last batch is {first}")
    one.write(1, [1, 2, 3])
    one.flush({"0": 3})
    _require_rows(trial, [1, 2, 3])
    one.write(2, [4])
    one.write(3, [])
    one.write(4, [5, 6])
    one.flush({"0": 6, "1": "7-1"})
    one.flush({"0": 6})
    one.close()
    _require_rows(trial, [1, 2, 3, 4, 5, 6])


def resuming_tells_the_last_batch(trial: _Trial) -> None:
    """Require the number of the last batch that was flushed, for each lane its own."""
    if not trial.exact:
        return
    for lane, last in (("0", 2), ("1", 1)):
        one = trial.open(lane)
        found = one.resume(1)
        require(found == 0, f"lane {lane} begins with {found}")
        for batch in range(1, last + 1):
            one.write(batch, [batch * 10 + int(lane)])
            one.flush({"0": batch})
        one.close()
    for lane, last in (("0", 2), ("1", 1)):
        one = trial.open(lane)
        for fence in (2, 2, 3):
            found = one.resume(fence)
            require(found == last, f"the last batch of lane {lane} was {last}, it says {found}")
        one.write(last + 1, [100 + int(lane)])
        one.flush({})
        one.close()
    _require_rows(trial, [10, 11, 20, 100, 101])


def what_was_not_flushed_is_gone(trial: _Trial) -> None:
    """Require nothing of batches that were not flushed, and to take them again."""
    if not trial.exact:
        return
    one = trial.open("0")
    one.resume(1)
    one.write(1, [1, 2])
    one.flush({})
    one.write(2, [3, 4])
    one.close()
    _require_rows(trial, [1, 2])
    one = trial.open("0")
    require(one.resume(2) == 1, "a batch counts that was not flushed")
    one.write(2, [3, 4])
    require(one.resume(2) == 1, "a batch counts that was not flushed")
    one.write(2, [3, 4])
    one.write(3, [5])
    one.flush({})
    one.close()
    _require_rows(trial, [1, 2, 3, 4, 5])


def empty_batches_count(trial: _Trial) -> None:
    """Require a batch of no rows to be remembered like any other."""
    if not trial.exact:
        return
    one = trial.open("0")
    one.resume(1)
    one.write(1, [])
    one.flush({"0": 5})
    require(one.resume(1) == 1, "a batch of no rows was forgotten")
    one.write(2, [1])
    one.flush({})
    one.write(3, [])
    one.flush({})
    one.close()
    one = trial.open("0")
    require(one.resume(2) == 3, "a batch of no rows was forgotten")
    one.close()
    _require_rows(trial, [1])


def who_was_taken_over_is_refused(trial: _Trial) -> None:
    """Require a process with a smaller fence to be refused, and to leave nothing."""
    if not trial.fences:
        return
    old, new = trial.open("0"), trial.open("0")
    old.resume(1)
    old.write(1, [1])
    old.flush({})
    old.write(2, [2, 3])
    require(new.resume(2) == 1, "another process finds another last batch")
    _require_fenced(lambda: old.flush({}))
    _require_rows(trial, [1])
    new.write(2, [2, 3])
    new.flush({})
    _require_fenced(lambda: _written(old, 3, [4]))
    _require_fenced(lambda: old.resume(1))
    _require_rows(trial, [1, 2, 3])
    other = trial.open("1")
    require(other.resume(1) == 0, "a fence of one lane counts for another")
    other.write(1, [7])
    other.flush({})
    for one in (old, new, other):
        one.close()
    _require_rows(trial, [1, 2, 3, 7])


WRITING_CHECKS: Final = (
    what_was_flushed_is_there,
    resuming_tells_the_last_batch,
    what_was_not_flushed_is_gone,
    empty_batches_count,
    who_was_taken_over_is_refused,
)


def _written(one: _Rows | _Sender, batch: int, numbers: Sequence[int]) -> None:
    one.write(batch, numbers)
    one.flush({})


def _require_rows(trial: _Trial, expected: Sequence[int]) -> None:
    found = sorted(trial.read())
    require(found == sorted(expected), f"the rows {found} are there, not {sorted(expected)}")


def _require_fenced(act: Callable[[], object]) -> None:
    try:
        act()
    except FencedError:
        return
    raise NonconformityError("a process that was taken over from is not refused")
