"""Newline-delimited JSON: a row a line in, its answer a line out, in the same order."""

from __future__ import annotations

from typing import ClassVar, final

import orjson

from thalweg.serving.http.formats.base import MOST_ROWS, Format, require_few
from thalweg.serving.http.formats.json import BOM, is_plain, parse
from thalweg.serving.http.formats.rows import told_rows
from thalweg.serving.http.question import Answer, Question
from thalweg.serving.http.reading import Reader, Wrong
from thalweg.serving.http.refusal import BodyError


@final
class NdJson(Format):
    """One JSON object a line; blank lines are passed over."""

    name = "NDJSON"
    media_types: ClassVar[tuple[str, ...]] = (
        "application/x-ndjson",
        "application/ndjson",
        "application/jsonl",
    )

    def question(self, body: bytes, reader: Reader, most_rows: int = MOST_ROWS) -> Question:
        """Read a row a line; a line that is no JSON is that row's error."""
        if (ends := body.count(b"\n")) > 2 * most_rows:
            require_few(ends, most_rows)  # before a list is made of so many
        lines = [line for line in body.removeprefix(BOM).split(b"\n") if line.strip()]
        require_few(len(lines), most_rows)
        if is_plain(body):
            try:
                return reader.rows([*map(orjson.loads, lines)])
            except orjson.JSONDecodeError:
                pass  # It does not say which line.
        return reader.rows([*map(_row, lines)])

    def answer(self, answer: Answer) -> bytes:
        """Write the rows' answers, one a line; who answers is said in the headers."""
        return b"\n".join([*map(orjson.dumps, told_rows(answer)), b""])


def _row(line: bytes) -> object:
    """Read one line, or say why it cannot be read."""
    try:
        return parse(line, "a JSON object")
    except BodyError as error:
        return Wrong(str(error).replace("a body", "a line", 1))
