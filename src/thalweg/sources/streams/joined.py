"""Two streams read as one: the partitions of the second have names that begin with a prefix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar, final

from thalweg.sources.streams.base import Format, Position, Records, Stream

TURN: Final = 0.02
"""The most seconds that one of the two is waited for before the other is looked at."""

_Place = TypeVar("_Place", Position, Position | None)


@final
class Joined(Stream):
    """Reads two streams, such as events and their labels. Payloads are each stream's own.

    Parameters
    ----------
    first
        Whose URI, format and columns are told.
    second
        The other one.
    prefix
        What the names of the second one's partitions begin with.
    """

    def __init__(self, first: Stream, second: Stream, prefix: str) -> None:
        self._first = first
        self._prefix = prefix
        self.second = second

    @property
    def uri(self) -> str:
        """The first one's URI."""
        return self._first.uri

    @property
    def format(self) -> Format:
        """How payloads of the first one are written."""
        return self._first.format

    @property
    def columns(self) -> Sequence[str] | None:
        """The columns of a line of CSV of the first one."""
        return self._first.columns

    @property
    def separator(self) -> str:
        """What parts the cells of a line of CSV of the first one."""
        return self._first.separator

    def partitions(self) -> Sequence[str]:
        """Name the partitions, the first stream's before the second's."""
        return [*self._first.partitions(), *(self._prefix + n for n in self.second.partitions())]

    def fetch(
        self,
        partition: str,
        after: Position | None,
        most: int = 65_536,
        until: Position | None = None,
    ) -> Records | None:
        """See `Stream.fetch`."""
        if not partition.startswith(self._prefix):
            return self._first.fetch(partition, after, most, until)
        found = self.second.fetch(partition.removeprefix(self._prefix), after, most, until)
        if found is None:
            return None
        return Records(partition, found.payloads, found.positions, found.times)

    def newest(self, partition: str) -> Position | None:
        """See `Stream.newest`."""
        if not partition.startswith(self._prefix):
            return self._first.newest(partition)
        return self.second.newest(partition.removeprefix(self._prefix))

    def wait(self, after: Mapping[str, Position | None], seconds: float) -> None:
        """Wait a little for each in turn."""
        for stream, places in zip((self._first, self.second), self._parted(after), strict=True):
            stream.wait(places, min(seconds, TURN))

    def lag(self, after: Mapping[str, Position | None]) -> int | None:
        """Add up what waits in both, where that is known."""
        first, second = self._parted(after)
        one, other = self._first.lag(first), self.second.lag(second)
        return None if one is None or other is None else one + other

    def commit(self, positions: Mapping[str, Position]) -> None:
        """Tell both."""
        first, second = self._parted(positions)
        self._first.commit(first)
        self.second.commit(second)

    def ended(self) -> bool:
        """Say whether nothing can come from either."""
        return self._first.ended() and self.second.ended()

    def close(self) -> None:
        """Let go of both."""
        self._first.close()
        self.second.close()

    def _parted(self, places: Mapping[str, _Place]) -> tuple[dict[str, _Place], dict[str, _Place]]:
        """Share out what is said by partition."""
        first: dict[str, _Place] = {}
        second: dict[str, _Place] = {}
        for name, place in places.items():
            if name.startswith(self._prefix):
                second[name.removeprefix(self._prefix)] = place
            else:
                first[name] = place
        return first, second
