"""JSON: a row, a list of rows or {"rows": [...]} in; predictions in the order of the rows out."""

from __future__ import annotations

import json
from typing import Any, ClassVar, Final, final

import orjson

from thalweg.serving.http.formats.base import MOST_ROWS, Format, require_few
from thalweg.serving.http.formats.rows import told_rows
from thalweg.serving.http.question import Answer, Question
from thalweg.serving.http.reading import Reader
from thalweg.serving.http.refusal import BodyError

_LONG: Final = b"0" * 19
_DIGITS: Final = bytes.maketrans(b"123456789", b"000000000")
"""Of whole numbers with so many digits orjson makes floating ones; others it gives as they are."""

BOM: Final = b"\xef\xbb\xbf"
"""What some programs write before UTF-8."""

WANTED: Final = 'one row {"column": cell, ...}, a list of rows, or {"rows": [...]}'


@final
class Json(Format):
    """One JSON document."""

    name = "JSON"
    media_types: ClassVar[tuple[str, ...]] = ("application/json",)

    def question(self, body: bytes, reader: Reader, most_rows: int = MOST_ROWS) -> Question:
        """Read a row, a list of rows or ``{"rows": [...]}``."""
        found = parse(body, WANTED)
        if isinstance(found, dict):
            inner = found.get("rows")
            alone = len(found) == 1 and "rows" in found and "rows" not in reader.names
            if alone and not isinstance(inner, list):
                raise BodyError(f"rows that are {type_of(inner)}", WANTED)
            rows = inner if len(found) == 1 and isinstance(inner, list) else [found]
        elif isinstance(found, list):
            rows = found
        else:
            raise BodyError(f"a body that is {type_of(found)}", WANTED)
        require_few(len(rows), most_rows)
        return reader.rows(rows)

    def answer(self, answer: Answer) -> bytes:
        """Write ``{"model": ..., "version": ..., "predictions": [...]}``."""
        return orjson.dumps(
            {
                "model": answer.model,
                "version": answer.version,
                "predictions": told_rows(answer),
            }
        )


def parse(body: bytes, wanted: str) -> Any:
    """Read a JSON document: strictly, and whole numbers of any length as they are.

    Of equal keys in one object the last counts, as in files.

    Parameters
    ----------
    body
        UTF-8.
    wanted
        What it should say, in words.

    Raises
    ------
    BodyError
        Where it is none, with the place in the text.

    Examples
    --------
    >>> parse(b'[12345678901234567890123, {"a": 1, "a": 2}]', "anything")
    [12345678901234567890123, {'a': 2}]
    >>> parse(b"[1, NaN]", "a list")
    Traceback (most recent call last):
    thalweg.serving.http.refusal.BodyError: a body that is no JSON (... line 1 column 5); \
expected a list.
    """
    body = body.removeprefix(BOM)
    try:
        if is_plain(body):
            return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        # Half a character is the error of its row alone, and 1e400 is infinite, as in files.
        if "surrogate" not in str(error) and "infinity" not in str(error):
            raise _unread(error, wanted) from None
    try:
        return json.loads(body.decode(), parse_constant=_refuse)
    except RecursionError:
        raise BodyError("a body nested too deep", wanted) from None
    except UnicodeDecodeError as error:
        raise BodyError(f"a body that is not UTF-8 (at byte {error.start})", wanted) from None
    except ValueError as error:
        raise _unread(error, wanted) from None


def is_plain(body: bytes) -> bool:
    """Say whether orjson reads all whole numbers of some text as they are."""
    return _LONG not in body.translate(_DIGITS)


def type_of(value: object) -> str:
    """Name what JSON gave.

    Examples
    --------
    >>> type_of("a"), type_of(1.5), type_of(None)
    ('a text', 'a number', 'null')
    """
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    words: dict[type, str] = {str: "a text", list: "a list", dict: "an object"}
    return words.get(type(value), "null")


def _unread(error: ValueError, wanted: str) -> BodyError:
    """Say where a text is no JSON, in the words of the library that read it."""
    why = str(error).partition("(char")[0].strip()
    if "digits" in why:
        why = "a whole number of more than 4,300 digits"
    return BodyError(f"a body that is no JSON ({why[:120]})", wanted)


def _refuse(constant: str) -> float:
    """Refuse NaN and Infinity, which Python reads but JSON has not."""
    raise ValueError(f"{constant} is no JSON")
