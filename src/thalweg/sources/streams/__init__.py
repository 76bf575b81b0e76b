"""Endless rows: one file for each system that they come from or go to.

To add a system: write its file, with a `Stream` and a `Publisher` or an `Outlet`, and add its
scheme to `open_stream` and `open_outlet`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from thalweg.core.errors import SourceError, near
from thalweg.sources.databases.address import database_of, without_secrets
from thalweg.sources.paths import scheme_of, suffix_of
from thalweg.sources.streams.base import Outlet, Publisher, Stream, Writer
from thalweg.sources.streams.messages import MessageOutlet

STREAMS: Final = ("log", "redis", "rediss", "nats", "kafka", "postgresql")
OUTLETS: Final = (*STREAMS, "sqlite", "mysql", "http", "https")

_WORDS: Final = (
    "log://folder, redis://, nats://, kafka://, postgresql://, a file or folder that grows, or - "
    "for standard input"
)


def open_stream(uri: str, state: Path) -> Stream:
    """Open whatever endless rows can come from.

    Parameters
    ----------
    uri
        ``log://folder``, ``redis://host/0?stream=events``, ``nats://host?stream=EVENTS``,
        ``kafka://host/topic``, ``postgresql://host/shop?table=events&key=id``, the path of a file
        or folder that grows, or ``-`` for standard input.
    state
        Where a stream may keep what cannot be read again.

    Raises
    ------
    SourceError
        Where it is none of these, or cannot be opened.
    """
    if uri == "-":
        from thalweg.sources.streams.stdin import StandardInput

        return StandardInput(state / "stdin")
    match scheme_of(uri):
        case "log":
            from thalweg.sources.streams.log import LogStream

            return LogStream(uri)
        case "redis" | "rediss":
            from thalweg.sources.streams.redis import RedisStream

            return RedisStream(uri)
        case "nats":
            from thalweg.sources.streams.nats import NatsStream

            return NatsStream(uri)
        case "kafka":
            from thalweg.sources.streams.kafka import KafkaStream

            return KafkaStream(uri)
        case "":
            return _followed(Path(uri))
        case scheme:
            if database_of(uri) == "postgresql":
                from thalweg.sources.streams.postgresql import PostgresqlStream

                return PostgresqlStream(uri)
            raise SourceError(
                f"{without_secrets(uri)} is no stream that is known", _WORDS, near(scheme, STREAMS)
            )


def _followed(path: Path) -> Stream:
    """Open a file or folder that grows."""
    from thalweg.sources.streams.tail import FollowedFile, FollowedFolder

    if path.is_dir():
        return FollowedFolder(path)
    if path.is_file() or suffix_of(path):
        return FollowedFile(path)
    raise SourceError(f"{path} does not exist", _WORDS, "Name a file or folder that is there.")


def open_outlet(uri: str, writer: Writer, state: Path) -> Outlet:
    """Open wherever endless rows can go to, for one writer.

    Parameters
    ----------
    uri
        What `open_publisher` takes; a table, ``postgresql://host/shop?table=scores`` (or sqlite,
        mysql); a folder for Parquet files, ``scores/``; a file that grows, ``alerts.ndjson``;
        ``https://...`` to post to; ``-`` for standard output.
    writer
        Who writes.
    state
        A folder of the writer's own.

    Raises
    ------
    SourceError
        Where it is none of these, or cannot be opened.
    """
    if uri == "-":
        from thalweg.sources.streams.stdout import StandardOutput

        return StandardOutput()
    scheme = scheme_of(uri)
    if database_of(uri):
        from thalweg.sources.streams.sql import SqlOutlet

        return SqlOutlet(uri, writer)
    if scheme in {"http", "https"}:
        from thalweg.sources.streams.webhook import Webhook

        return Webhook(uri, writer, state / "webhook")
    if not scheme:
        return _grown(uri, writer)
    return MessageOutlet(open_publisher(uri, writer))


def _grown(uri: str, writer: Writer) -> Outlet:
    """Open a folder, or a file of lines, that is added to."""
    path = Path(uri)
    if not path.is_dir() and not uri.endswith("/"):
        from thalweg.sources.streams.lines import ENDINGS, LinesOutlet

        if path.suffix.lower() in ENDINGS:
            return LinesOutlet(path, writer)
        if suffix_of(path):
            raise SourceError(
                f"{uri} looks like a file",
                "a folder, whose files are added to and never changed, or a file.ndjson",
                "Name a folder, such as scores/.",
            )
    from thalweg.sources.streams.parts import PartsOutlet

    return PartsOutlet(path, writer)


def open_publisher(uri: str, writer: Writer) -> Publisher:
    """Open wherever messages can go to, for one writer.

    Parameters
    ----------
    uri
        ``log://folder``, ``redis://``, ``nats://`` or ``kafka://`` as for `open_stream`.
    writer
        Who writes.

    Raises
    ------
    SourceError
        Where it is none of these, or cannot be opened.
    """
    match scheme_of(uri):
        case "log":
            from thalweg.sources.streams.log import LogPublisher

            return LogPublisher(uri, writer)
        case "redis" | "rediss":
            from thalweg.sources.streams.redis import RedisPublisher

            return RedisPublisher(uri, writer)
        case "nats":
            from thalweg.sources.streams.nats import NatsPublisher

            return NatsPublisher(uri, writer)
        case "kafka":
            from thalweg.sources.streams.kafka import KafkaPublisher

            return KafkaPublisher(uri, writer)
        case scheme:
            raise SourceError(
                f"{without_secrets(uri)} is nowhere that rows can be sent to",
                "log://folder, redis://, nats://, kafka://, a database's table, a folder, "
                "https:// or - for standard output",
                near(scheme, OUTLETS) if scheme else "",
            )
