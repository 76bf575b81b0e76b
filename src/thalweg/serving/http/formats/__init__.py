"""The formats in which rows come and answers go, one in each file."""

from __future__ import annotations

from typing import Final

from thalweg.serving.http.formats.arrow import ArrowStream
from thalweg.serving.http.formats.base import Format
from thalweg.serving.http.formats.json import Json
from thalweg.serving.http.formats.ndjson import NdJson

FORMATS: Final[tuple[Format, ...]] = (Json(), NdJson(), ArrowStream())
"""The first is what is spoken where a request does not say."""


def format_sent(content_type: str | None) -> Format | None:
    """Find the format that a request's ``content-type`` names; None for one that is not spoken.

    Parameters
    ----------
    content_type
        As it came; None or nothing for the first of `FORMATS`.

    Examples
    --------
    >>> format_sent("application/json; charset=utf-8").name
    'JSON'
    """
    named = (content_type or "").partition(";")[0].strip().lower()
    if not named:
        return FORMATS[0]
    return next((one for one in FORMATS if named in one.media_types), None)


def format_wanted(accept: str | None, sent: Format) -> Format | None:
    """Find the format that a request's ``accept`` asks for; None where none of them is spoken.

    Parameters
    ----------
    accept
        As it came. Where it is missing or takes anything, the answer is of the question's format.
    sent
        The question's.

    Examples
    --------
    >>> format_wanted("text/html, application/x-ndjson;q=0.5", FORMATS[0]).name
    'NDJSON'
    >>> format_wanted("*/*", FORMATS[2]).name
    'Arrow'
    """
    if not accept or accept == "*/*":
        return sent
    offers: list[tuple[float, Format]] = []
    for part in accept.lower().split(","):
        named, _, rest = part.partition(";")
        weight = _weight(rest)
        if named.strip() in {"*/*", "application/*"}:
            offers.append((weight, sent))
        offers += [(weight, one) for one in FORMATS if named.strip() in one.media_types]
    offers = [offer for offer in offers if offer[0] > 0]
    return max(offers, key=lambda offer: offer[0])[1] if offers else None


def _weight(parameters: str) -> float:
    """Read the weight of one of the things that a client accepts; 1 where it says none."""
    for parameter in parameters.split(";"):
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
