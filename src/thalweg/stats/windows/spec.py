"""Which windows a stream is cut into: tumbling, sliding or sessions, by which keys."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, final

from thalweg.core.durations import checked, read_duration
from thalweg.core.errors import OptionError, near

Kind = Literal["tumbling", "sliding", "session"]

KINDS: Final = ("tumbling", "sliding", "session")
MOST_PANES: Final = 100_000
"""The most slides that a sliding window may hold: a row is looked at once for each."""


@final
@dataclass(frozen=True, slots=True)
class WindowSpec:
    """Which windows, by which keys, of which columns. All times are microseconds.

    Windows begin at multiples of their slide since 1970-01-01 UTC, so days begin at midnight UTC
    and weeks on a Thursday. `tumbling`, `sliding` and `session` make one.

    Parameters
    ----------
    kind
        ``tumbling``, ``sliding`` or ``session``.
    size
        How long a window is; of a session, the gap that ends it.
    slide
        How far apart windows begin: ``size`` but of sliding ones.
    by
        The columns whose values part the rows: each combination has windows of its own.
    columns
        The columns that are measured; None for all numbers, texts and booleans that are no key.

    Examples
    --------
    >>> spec = WindowSpec.sliding(read_duration("1h"), read_duration("5m"), by=("city",))
    >>> WindowSpec.from_json(spec.to_json()) == spec
    True
    """

    kind: Kind
    size: int
    slide: int
    by: tuple[str, ...] = ()
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise OptionError(
                f"window kind {self.kind!r}", "a kind there is", near(self.kind, KINDS)
            )
        checked("the window's size", f"{self.size} microseconds", self.size)
        checked("the window's slide", f"{self.slide} microseconds", self.slide)
        if self.kind == "sliding":
            self._check_slide()
        elif self.slide != self.size:
            raise OptionError(f"a slide for {self.kind} windows", "none", "Use sliding windows.")
        twice = {name for name in self.by if self.by.count(name) > 1}
        twice |= set(self.by) & set(self.columns or ())
        if twice:
            raise OptionError(
                f"column {sorted(twice)[0]!r} twice", "each column once", "Name it once."
            )

    @classmethod
    def tumbling(
        cls, size: int, by: tuple[str, ...] = (), columns: tuple[str, ...] | None = None
    ) -> WindowSpec:
        """Make windows that lie side by side."""
        return cls("tumbling", size, size, by, columns)

    @classmethod
    def sliding(
        cls, size: int, slide: int, by: tuple[str, ...] = (), columns: tuple[str, ...] | None = None
    ) -> WindowSpec:
        """Make windows that overlap: one of a size begins at every slide."""
        return cls("sliding", size, slide, by, columns)

    @classmethod
    def session(
        cls, gap: int, by: tuple[str, ...] = (), columns: tuple[str, ...] | None = None
    ) -> WindowSpec:
        """Make windows of rows of which each is closer than a gap to the next."""
        return cls("session", gap, gap, by, columns)

    @classmethod
    def asked(
        cls,
        window: str | None,
        slide: str | None,
        session: str | None,
        by: tuple[str, ...] = (),
        columns: tuple[str, ...] | None = None,
    ) -> WindowSpec | None:
        """Make the windows that a user's options ask for; None where they ask for none.

        Raises
        ------
        OptionError
            Where the options contradict each other.

        Examples
        --------
        >>> WindowSpec.asked("1h", "5m", None, ("city",)).kind
        'sliding'
        """
        if session is not None:
            if window is not None or slide is not None:
                raise OptionError("--session and --window", "one of both", "Leave one out.")
            return cls.session(read_duration(session, "--session"), by, columns)
        if window is None:
            if slide is not None or by or columns:
                raise OptionError(
                    "--slide, --by or --measure without windows", "windows", "Add --window 1m."
                )
            return None
        size = read_duration(window, "--window")
        if slide is None:
            return cls.tumbling(size, by, columns)
        return cls.sliding(size, read_duration(slide, "--slide"), by, columns)

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        plain = asdict(self)
        plain["by"] = list(self.by)
        plain["columns"] = None if self.columns is None else list(self.columns)
        return plain

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> WindowSpec:
        """Make one of what `to_json` gave."""
        columns = plain["columns"]
        return cls(
            plain["kind"],
            int(plain["size"]),
            int(plain["slide"]),
            tuple(plain["by"]),
            None if columns is None else tuple(columns),
        )

    def _check_slide(self) -> None:
        """Refuse slides that leave gaps, and far too many windows at once."""
        if self.slide > self.size:
            raise OptionError(
                f"a slide of {self.slide} for windows of {self.size} microseconds",
                "a slide no longer than the window",
                "Else rows between two windows would be lost: make the window longer.",
            )
        if self.size > MOST_PANES * self.slide:
            raise OptionError(
                f"a window of {self.size // self.slide} slides",
                f"{MOST_PANES} at most",
                "Make the slide longer.",
            )
