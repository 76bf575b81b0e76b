"""The contract of a format: bytes to a question, an answer to bytes, and nothing else."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Final

from thalweg.serving.http.question import Answer, Question
from thalweg.serving.http.reading import Reader
from thalweg.serving.http.refusal import BodyError

MOST_ROWS: Final = 100_000
"""So many rows a request may have, unless it is said otherwise."""


class Format(ABC):
    """How rows come and how answers go. Pure: no file, no clock, no state.

    Attributes
    ----------
    name
        What people call it.
    media_types
        What ``content-type`` and ``accept`` call it; the first is what answers are sent as.
    """

    name: ClassVar[str]
    media_types: ClassVar[tuple[str, ...]]

    @abstractmethod
    def question(self, body: bytes, reader: Reader, most_rows: int = MOST_ROWS) -> Question:
        """Read the body of a request.

        Parameters
        ----------
        body
            As it came, decompressed.
        reader
            Reads rows for the model that is asked.
        most_rows
            Requests with more rows are refused.

        Raises
        ------
        BodyError
            Where it cannot be read at all. What is amiss about single rows is told there.
        """

    @abstractmethod
    def answer(self, answer: Answer) -> bytes:
        """Write the body of an answer."""


def require_few(rows: int, most: int) -> None:
    """Refuse more rows than a request may have.

    Raises
    ------
    BodyError
        With status 413.
    """
    if rows > most:
        raise BodyError(
            f"a request of {rows:,} rows",
            f"at most {most:,}",
            "Send several requests.",
            413,
        )
