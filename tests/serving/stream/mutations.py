"""JSON lines as they should not be: mutated bytes, wrong types, missing and huge and strange."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

ODD = [
    b"",
    b" ",
    b"null",
    b"3",
    b"[]",
    b"{}",
    b'"text"',
    b"nope",
    b"\xff\xfe",
    b"\x00" * 10,
    b'{"amount": 1e400}',
    b'{"amount": 1e999999}',
    b'{"amount": -1e308}',
    b'{"amount": NaN}',
    b'{"amount": "12"}',
    b'{"amount": " 3.5 "}',
    b'{"amount": "many"}',
    b'{"amount": true}',
    b'{"amount": [1, 2]}',
    b'{"amount": {"a": 1}}',
    b'{"amount": 123456789012345678901234567890}',
    b'{"amount": 1, "amount": 2}',
    b'{"city": "\\ud800", "amount": 1}',
    b'{"city": "\\u0000", "amount": 1}',
    b'{"city": "a\nb", "amount": 1}',
    b'{"city": 7, "amount": 1}',
    b'{"at": "0001-01-01T00:00:00Z", "amount": 1}',
    b'{"at": "9999-12-31T23:59:59Z", "amount": 1}',
    b'{"at": 1e300, "amount": 1}',
    b'{"at": -62135596800, "amount": 1}',
    b'{"at": "soon", "amount": 1}',
    b'{"at": null, "amount": 1}',
    b'\xef\xbb\xbf{"amount": 1}',
    b'{"amount": 1}{"amount": 2}',
    b'{"amount": 1} ',
    b'{"amount": 01}',
    b'{"amount": .5}',
    b'{"amount": +1}',
    b'{"amount": 1.}',
    b'{"amount": 0x10}',
    b"{'amount': 1}",
    b'{"amount": 1,}',
    b'{"amount": 1 /* one */}',
    b'{"city": "' + b"x" * 200_000 + b'"}',
    b'{"a":' * 2000 + b"1" + b"}" * 2000,
    b"[" * 5000,
]


def good(number: int, chance: random.Random) -> bytes:
    """Write an event as it should be."""
    row = {
        "event": number,
        "city": chance.choice(["Ulm", "Bonn", "Köln", 'Sankt "Peter"', "北京"]),
        "amount": round(chance.gammavariate(2, 30), 2),
        "at": f"2024-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z",
    }
    return json.dumps(row, ensure_ascii=chance.random() < 0.5).encode()


def mutated(count: int, seed: int = 0) -> Iterator[bytes]:
    """Give payloads of which a half or so are hurt."""
    chance = random.Random(seed)
    for number in range(count):
        text = bytearray(good(number, chance))
        kind = chance.random()
        if kind < 0.3:
            for _ in range(chance.randint(1, 4)):
                text[chance.randrange(len(text))] = chance.randrange(256)
        elif kind < 0.4:
            del text[chance.randrange(len(text)) :]
        elif kind < 0.45:
            at = chance.randrange(len(text))
            text[at:at] = chance.randbytes(chance.randint(1, 8))
        elif kind < 0.5:
            yield chance.choice(ODD)
            continue
        yield bytes(text)
