"""A log's URI, taken apart."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast, final, get_args
from urllib.parse import unquote

from thalweg.core.errors import SourceError, near
from thalweg.sources.streams.base import Format

_SCHEME: Final = "log://"
_OPTIONS: Final = ("partitions", "key", "format", "keep", "group")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_MOST: Final = 1024


@final
@dataclass(frozen=True, slots=True)
class LogAddress:
    """A log's URI, taken apart.

    Parameters
    ----------
    uri
        As it was given.
    folder
        The log's folder.
    partitions, format
        What it is made with, or must have; None where the URI is silent.
    key
        The column whose values choose the partition; empty for none.
    keep
        How many seconds a segment stays at least after it was written to; None for ever.
    group
        The name under which a reader commits.
    """

    uri: str
    folder: Path
    partitions: int | None = None
    format: Format | None = None
    key: str = ""
    keep: float | None = None
    group: str = "default"

    @classmethod
    def parse(cls, uri: str) -> LogAddress:
        """Take a URI apart.

        Examples
        --------
        >>> LogAddress.parse("log://events?partitions=4&keep=7d").keep
        604800.0
        """
        body, _, said = uri.removeprefix(_SCHEME).partition("?")
        pairs = [one.partition("=") for one in said.split("&") if one]
        options = {name: unquote(value) for name, _, value in pairs}
        strange = next((name for name in options if name not in _OPTIONS), None)
        if strange is not None:
            raise SourceError(
                f"{uri} says {strange}", "known options of a log", near(strange, _OPTIONS)
            )
        if not uri.startswith(_SCHEME) or not body:
            raise SourceError(uri, "log://folder or log:///absolute/folder", "Name a folder.")
        form = options.get("format")
        if form is not None and form not in get_args(Format):
            raise SourceError(
                f"{uri} says format={form}", "json, csv or arrow", near(form, get_args(Format))
            )
        count = options.get("partitions")
        if count is not None and not (count.isdigit() and 1 <= int(count) <= _MOST):
            raise SourceError(f"{uri} says partitions={count}", f"a number from 1 to {_MOST}")
        group = options.get("group", "default")
        if not re.fullmatch(r"[\w-][\w.-]{0,99}", group):
            raise SourceError(f"{uri} says group={group}", "letters, digits, dots and dashes")
        return cls(
            uri,
            Path(unquote(body)),
            int(count) if count else None,
            cast("Format | None", form),
            options.get("key", ""),
            _seconds(options["keep"], uri) if "keep" in options else None,
            group,
        )


def _seconds(text: str, uri: str) -> float:
    """Read a time such as 7d."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw]?)", text)
    if match is None:
        raise SourceError(f"{uri} says keep={text}", "a time such as 90s, 30m, 12h or 7d")
    return float(match[1]) * _UNITS[match[2] or "s"]
