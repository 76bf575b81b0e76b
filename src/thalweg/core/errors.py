"""Every error that a user can cause, and the sentences that help them out of it.

The family::

    ThalwegError
    ├── OptionError      an argument or option that cannot be
    ├── SourceError      rows that cannot be read, or a place that cannot be written
    │   ├── LostConnectionError   a server that cannot be reached now: later it may be
    │   └── FullDiskError         a disk that is full: later there may be room
    ├── ColumnError      a column that is missing, misspelt or of the wrong kind
    ├── TargetError      a target that nothing can be learned from
    └── ArtifactError    a saved model that is damaged, foreign or of another version

A message says what was given, what was expected and how to mend it, in one line.
The command line prints it and exits with 2; anything else that escapes is our own fault.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class ThalwegError(Exception):
    """A mistake that the user can mend.

    Parameters
    ----------
    given
        What was found, with its name or value.
    expected
        What should have been there.
    mend
        What to do about it, as an imperative sentence.

    Examples
    --------
    >>> str(OptionError("--minutes is -1", "a number above 0", "Leave it out for the default."))
    '--minutes is -1; expected a number above 0. Leave it out for the default.'
    """

    def __init__(self, given: str, expected: str, mend: str = "") -> None:
        sentence = f"{given}; expected {expected}."
        super().__init__(" ".join(f"{sentence} {mend}".split()))
        self.given = given
        self.expected = expected
        self.mend = mend


class OptionError(ThalwegError):
    """An argument or option that cannot be."""


def not_installed(what: str, package: str, extra: str) -> OptionError:
    """Say that something needs a package of an extra.

    Examples
    --------
    >>> str(not_installed("the expert tree", "river", "online"))
    "the expert tree needs river, which is not installed; expected an installation with it. Run: \
pip install 'thalweg[online]'."
    """
    return OptionError(
        f"{what} needs {package}, which is not installed",
        "an installation with it",
        f"Run: pip install 'thalweg[{extra}]'.",
    )


class SourceError(ThalwegError):
    """Rows that cannot be read, or a place that cannot be written."""


class LostConnectionError(SourceError):
    """A server that cannot be reached now, or no longer: another attempt may go well."""


class FullDiskError(SourceError):
    """A disk, or a quota of it, that is full."""


class ColumnError(ThalwegError):
    """A column that is missing, misspelt or of the wrong kind."""


class TargetError(ThalwegError):
    """A target that nothing can be learned from."""


class ArtifactError(ThalwegError):
    """A saved model that is damaged, foreign or of another version."""


def near(name: str, available: Iterable[str]) -> str:
    """Say which of the available names may have been meant.

    Parameters
    ----------
    name
        The name that was not found.
    available
        The names that exist.

    Returns
    -------
    str
        ``"Did you mean 'price'?"`` where a name is close, else the first names that exist.

    Examples
    --------
    >>> near("prise", ["price", "rooms"])
    "Did you mean 'price'?"
    >>> near("zzz", ["price", "rooms"])
    'There are: price, rooms.'
    """
    names = list(available)
    folded = {other.casefold(): other for other in names}
    close = get_close_matches(name.casefold(), list(folded), n=3, cutoff=0.6)
    if close:
        return "Did you mean " + " or ".join(repr(folded[other]) for other in close) + "?"
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"There are: {shown}." if names else "There are none."
