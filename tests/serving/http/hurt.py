"""Requests to a server: good ones of every format, and what can be done to them."""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pyarrow as pa

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
ARROW: Final = "application/vnd.apache.arrow.stream"
BINARY: Final = "application/octet-stream"
LENGTH: Final = "inference-header-content-length"


@dataclass(frozen=True)
class Request:
    """A request; ``length`` is what it says of its body where that is not so."""

    name: str
    target: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    length: str | None = None

    def wire(self) -> bytes:
        """Write it down."""
        told = {"host": "localhost", **self.headers}
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in told.items()]
        if "transfer-encoding" not in self.headers:
            lines.append(f"content-length: {self.length or len(self.body)}")
        head = "\r\n".join(lines) + "\r\n\r\n"
        return head.encode("latin-1", "replace") + self.body


def stream(table: pa.Table, compression: str | None = None) -> bytes:
    """Write a table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def tensors(rows: Sequence[Mapping[str, Any]], *, binary: bool) -> tuple[bytes, int]:
    """Write rows for the Open Inference Protocol: the body, and the length of its JSON."""
    inputs, blobs = [], []
    for name in rows[0]:
        cells = [row[name] for row in rows]
        if isinstance(cells[0], bool):
            datatype, blob = "BOOL", bytes(cells)
        elif isinstance(cells[0], int | float):
            datatype, blob = "FP64", struct.pack(f"<{len(cells)}d", *cells)
        else:
            cells = [str(cell) for cell in cells]
            datatype = "BYTES"
            encoded = [cell.encode() for cell in cells]
            blob = b"".join(struct.pack("<I", len(one)) + one for one in encoded)
        one: dict[str, Any] = {"name": name, "shape": [len(rows)], "datatype": datatype}
        if binary:
            one["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            one["data"] = cells
        inputs.append(one)
    head = json.dumps({"id": "1", "inputs": inputs}).encode()
    return head + b"".join(blobs), len(head)


def good(rows: Sequence[Mapping[str, Any]], name: str) -> list[Request]:
    """Ask for rows in every way, as it should be.

    Parameters
    ----------
    rows
        Some rows, each with all columns.
    name
        What the model is served by.
    """
    path, asked = "/v1/predict", {"content-type": JSON}
    some, table = list(rows[:3]), pa.Table.from_pylist(list(rows))
    texts = [one.name for one in table.schema if pa.types.is_string(one.type)]
    coded = table
    for text in texts:
        place = coded.schema.get_field_index(text)
        coded = coded.set_column(place, text, coded[text].dictionary_encode())
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in some)
    flat, _ = tensors(some, binary=False)
    packed, head = tensors(some, binary=True)
    infer = f"/v2/models/{name}/infer"
    arrow = {"content-type": ARROW}
    return [
        Request("row", path, json.dumps(some[0]).encode(), asked),
        Request("rows", path, json.dumps({"rows": some}).encode(), asked),
        Request("list", f"/v1/models/{name}/predict", json.dumps(some).encode(), asked),
        Request("explain", f"{path}?explain=true", json.dumps(some[0]).encode(), asked),
        Request("lines", path, lines, {"content-type": NDJSON}),
        Request("arrow", path, stream(table), arrow),
        Request("coded", path, stream(coded), {**arrow, "accept": ARROW}),
        Request("packed", path, stream(table, "zstd"), arrow),
        Request("tensors", infer, flat, asked),
        Request("binary", infer, packed, {"content-type": BINARY, LENGTH: str(head)}),
    ]


WORDS: Final = [
    *(b"null", b"true", b"[]", b"{}", b'""', b"[[]]", b"NaN", b"-Infinity", b"1e400", b"-1e400"),
    *(b"1e308", b"-0", b"5e-324", b"18446744073709551616", b"-9223372036854775809", b"1" * 400),
    *(b"9007199254740993", b"0x10", b"01", b".5", b"+1", b"1e", b'"\\ud800"', b'"\\u0000"'),
    *(b'"\xff\xfe"', b'"\xed\xa0\x80"', b'"nan"', b'"1e999"', b'" 39 "', b'"\xd9\xa1"', b"'a'"),
    *(b'"' + b"x" * 3000 + b'"', b"[" * 600 + b"]" * 600, b'{"a":' * 600 + b"1" + b"}" * 600),
    *(b"[1,2,3]", b'{"a":1}', b'["a",null]', b'"2024-13-45"', b'"9999-12-31T23:59:59Z"'),
    *(b'"data:image/png;base64,AAAA"', b'"../../etc/passwd"', b'"file:///etc/passwd"'),
]
"""What may stand where a value should."""

SIZES: Final = [
    *(0, 1, 4, 7, 8, 255, 2**15, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1),
    *(2**32, 2**48, 2**62, 2**63 - 1, 2**63, 2**64 - 1),
]
"""What may stand where a length should."""

_VALUE: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null')


class Mutator:
    """Hurts requests, the same ones for the same seed."""

    def __init__(self, seeds: Sequence[Request], seed: int = 0) -> None:
        self._seeds = list(seeds)
        self._chance = random.Random(seed)
        self._ways: list[Callable[[bytes], bytes]] = [
            *(self._flip, self._flip, self._cut, self._drop, self._repeat, self._insert),
            *(self._splice, self._size, self._size, self._size),
        ]
        # Most of what is done to bytes is no JSON any more: values must be reached as well.
        self._of_text = [*self._ways, *[self._word] * 14, *[self._swap] * 6]

    def bodies(self, count: int) -> Iterator[Request]:
        """Give requests whose frame is whole and whose body may be anything."""
        chance = self._chance
        for _ in range(count):
            one = chance.choice(self._seeds)
            body = one.body
            ways = self._of_text if body[:1] in b"{[" else self._ways
            for _ in range(chance.choice((1, 1, 1, 2, 4))):
                body = chance.choice(ways)(body)
            one = replace(one, body=body)
            yield one if chance.random() < 0.85 else self._told_wrong(one)

    def _told_wrong(self, one: Request) -> Request:
        """Say of a request what is not so, but nothing of its frame."""
        chance, headers = self._chance, dict(one.headers)
        match chance.randrange(9):
            case 0:
                headers["content-type"] = chance.choice(
                    (JSON, NDJSON, ARROW, BINARY, "a/b", "", ";")
                )
            case 1:
                headers[LENGTH] = str(chance.choice((*SIZES, -1, "a", "", "1, 1", "1e3", "٣")))
            case 2:
                headers["content-encoding"] = chance.choice(("gzip", "deflate", "br", "identity"))
            case 3:
                headers["accept"] = chance.choice((ARROW, "image/png", "*/*;q=x", "", "," * 99))
            case 4:
                return replace(one, target=one.target.partition("?")[0] + chance.choice(QUERIES))
            case 5:
                return replace(one, target=chance.choice(PATHS))
            case 6:
                method = chance.choice(("GET", "PUT", "DELETE", "OPTIONS", "PATCH"))
                return replace(one, method=method)
            case 7:
                headers["x-" + "a" * chance.choice((1, 100, 900))] = "b" * chance.choice((1, 999))
            case _:
                headers["authorization"] = chance.choice(
                    ("Bearer x", "Bearer", "Basic eA==", "\xff")
                )
        return replace(one, headers=headers)

    def _place(self, body: bytes) -> int:
        return self._chance.randrange(len(body) + 1)

    def _flip(self, body: bytes) -> bytes:
        changed = bytearray(body)
        for _ in range(self._chance.choice((1, 1, 2, 8)) if body else 0):
            changed[self._chance.randrange(len(body))] ^= 1 << self._chance.randrange(8)
        return bytes(changed)

    def _cut(self, body: bytes) -> bytes:
        return body[: self._place(body)]

    def _drop(self, body: bytes) -> bytes:
        at = self._place(body)
        return body[:at] + body[at + self._chance.choice((1, 4, 8, 64)) :]

    def _repeat(self, body: bytes) -> bytes:
        at = self._place(body)
        piece = body[at : at + self._chance.choice((1, 8, 64, 512))]
        return body[:at] + piece * self._chance.choice((2, 2, 20)) + body[at:]

    def _insert(self, body: bytes) -> bytes:
        at = self._place(body)
        return body[:at] + self._chance.randbytes(self._chance.choice((1, 4, 8, 40))) + body[at:]

    def _splice(self, body: bytes) -> bytes:
        other = self._chance.choice(self._seeds).body
        return body[: self._place(body)] + other[self._place(other) :]

    def _size(self, body: bytes) -> bytes:
        size, form = self._chance.choice(SIZES), self._chance.choice(("<I", "<Q", "<H"))
        written = struct.pack(form, size % 2 ** (8 * struct.calcsize(form)))
        at = self._place(body) & ~3
        return body[:at] + written + body[at + len(written) :]

    def _value(self, body: bytes) -> re.Match[bytes] | None:
        """Find a value: the first behind any place."""
        return _VALUE.search(body, self._place(body)) or _VALUE.search(body)

    def _word(self, body: bytes) -> bytes:
        found = self._value(body)
        if found is None:
            return self._chance.choice(WORDS)
        return body[: found.start()] + self._chance.choice(WORDS) + body[found.end() :]

    def _swap(self, body: bytes) -> bytes:
        """Put one value in another's place: columns that are there twice, shapes that are texts."""
        one, other = self._value(body), self._value(body)
        if one is None or other is None:
            return self._flip(body)
        return body[: one.start()] + other.group() + body[one.end() :]


QUERIES: Final = [
    *("?explain=maybe", "?explain=true&explain=false", "?version=0", "?version=../..", "?a=b"),
    *("?%00", "?%ff=%ff", "?" + "a=b&" * 400, "?explain", "?=", "?version=%f0%9f%98%80"),
]
PATHS: Final = [
    *("/v1/models/nobody/predict", "/v1/models/../predict", "/v1/models/%2e%2e/predict", "//", "/"),
    *("/v2/models/adult/infer/", "/v2/models/x/versions/y/infer", "/v1/predict/%00", "/%ff", "/v1"),
    *(
        "/v2/repository/index",
        "/v1/models",
        "/healthz",
        "/v2",
        "/docs/../v1/predict",
        "/v1/" + "a" * 900,
    ),
]


def frames(seeds: Sequence[Request], chance: random.Random, count: int) -> Iterator[bytes]:
    """Give requests whose very frame is hurt: each for a connection of its own."""
    ways = (_hurt_length, _hurt_line, _hurt_headers, _hurt_bytes)
    for _ in range(count):
        yield chance.choice(ways)(chance.choice(seeds), chance)


def _hurt_length(one: Request, chance: random.Random) -> bytes:
    """Say of a body how long it is not."""
    chunked = {**one.headers, "transfer-encoding": "chunked"}
    match chance.randrange(4):
        case 0:
            length = chance.choice(("-1", "1e3", "99999999999999999999", "0x10", "", "1, 2"))
            return replace(one, length=length).wire()
        case 1:
            return replace(one, length=str(len(one.body) + chance.randrange(1, 99))).wire()
        case 2:
            sizes = (b"-1", b"zz", b"ffffffffffffffffff", b"0x5", b"5;" + b"a" * 9000, b"")
            body = chance.choice(sizes) + b"\r\n" + one.body
            return replace(one, headers=chunked, body=body).wire()
        case _:  # one server's end of a request is another's middle
            body = b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
            return replace(one, headers={**chunked, "content-length": "5"}, body=body).wire()


def _hurt_line(one: Request, chance: random.Random) -> bytes:
    """Begin with what is no HTTP, or far too much of it."""
    whole = one.wire()
    match chance.randrange(3):
        case 0:
            other = chance.choice((b"HTTP/9.9", b"HTTP/2", b"HTTP/1.0", b"", b"\0"))
            return whole.replace(b"HTTP/1.1", other, 1)
        case 1:
            return whole.replace(
                b"POST", chance.choice((b"PRI", b"po st", b"A" * 9999, b"\xff")), 1
            )
        case _:
            return replace(one, target="/" + "a" * chance.choice((9_000, 90_000))).wire()


def _hurt_headers(one: Request, chance: random.Random) -> bytes:
    """Send too many, too long ones, or some that are none."""
    match chance.randrange(3):
        case 0:
            many = {f"x-{number}": "a" for number in range(chance.choice((200, 2000)))}
            return replace(one, headers={**one.headers, **many}).wire()
        case 1:
            return replace(one, headers={**one.headers, "x-long": "a" * 200_000}).wire()
        case _:
            odd = chance.choice((b"\0", b"a b: c", b": c", b" x: y", b"x" * 99, b"x: \x01"))
            return one.wire().replace(b"\r\n", b"\r\n" + odd + b"\r\n", 1)


def _hurt_bytes(one: Request, chance: random.Random) -> bytes:
    """Cut it, or put anything into it."""
    whole = one.wire()
    match chance.randrange(3):
        case 0:
            return whole[: chance.randrange(1, len(whole))]
        case 1:
            return chance.randbytes(chance.choice((1, 16, 600)))
        case _:
            at = chance.randrange(min(len(whole), 200))
            return whole[:at] + chance.randbytes(2) + whole[at:]
