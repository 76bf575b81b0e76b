"""The error of a whole request, and what HTTP calls it."""

from __future__ import annotations

from thalweg.core.errors import ThalwegError


class BodyError(ThalwegError):
    """A request that has no answer at all.

    Parameters
    ----------
    given, expected, mend
        See `thalweg.core.errors.ThalwegError`.
    status
        What HTTP calls it: 400 for what cannot be read, 422 for rows that cannot be answered.
    """

    def __init__(self, given: str, expected: str, mend: str = "", status: int = 400) -> None:
        super().__init__(given, expected, mend)
        self.status = status
