from __future__ import annotations

from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pytest

from thalweg.core.errors import ArtifactError
from thalweg.stats import (
    AdaptiveHistogram,
    ColumnSummary,
    DistinctSample,
    ExactSum,
    NumberSummary,
    TableSummary,
    ValueCounts,
)

KINDS = [
    AdaptiveHistogram,
    ColumnSummary,
    DistinctSample,
    ExactSum,
    NumberSummary,
    TableSummary,
    ValueCounts,
]


def _some() -> ColumnSummary:
    some = ColumnSummary()
    some.update(pa.array(["a", "1", "2020-01-01", None, "ü"]))
    return some


def _signed(body: bytes) -> bytes:
    return body + blake2b(body, digest_size=16).digest()


@pytest.mark.parametrize("kind", KINDS)
def test_empty_ones_survive(kind: type[ColumnSummary]) -> None:
    empty = kind()
    assert kind.from_bytes(empty.to_bytes()) == empty
    assert empty.copy() == empty
    assert empty != 1


@pytest.mark.parametrize("data", [b"", b"PAR1", b"\x80\x04pickle", b"thalweg-summary\n"])
def test_foreign_bytes(data: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"no summary|damaged"):
        ColumnSummary.from_bytes(data)


def test_damaged_bytes() -> None:
    data = _some().to_bytes()
    rng = np.random.default_rng(1)
    for place in rng.integers(16, len(data), 50):
        broken = bytearray(data)
        broken[place] ^= 0x55
        with pytest.raises(ArtifactError, match="damaged"):
            ColumnSummary.from_bytes(bytes(broken))
    with pytest.raises(ArtifactError, match="damaged"):
        ColumnSummary.from_bytes(data[:-40])


def test_bytes_that_were_forged_with_a_right_digest() -> None:
    body = _some().to_bytes()[:-16]
    cuts = [body[:at] for at in range(16, len(body), 97)]
    swaps = [
        body.replace(b'"rows":', b'"r0ws":'),
        body.replace(b'"counts":{', b'"counts":[{', 1),
        body.replace(b"<i8", b"|O8"),
        body.replace(b"YYYY-MM-DD", b"AAAA-MM-DD"),
        body.replace("ü".encode(), b"\xff\xff"),
    ]
    for forged in cuts + swaps:
        assert forged != body
        with pytest.raises(ArtifactError):
            ColumnSummary.from_bytes(_signed(forged))


def test_another_version_and_another_summary() -> None:
    body = _some().to_bytes()[:-16]
    with pytest.raises(ArtifactError, match="version 9"):
        ColumnSummary.from_bytes(_signed(body.replace(b'"version":2', b'"version":9')))
    with pytest.raises(ArtifactError, match="are a ColumnSummary; expected a TableSummary"):
        TableSummary.from_bytes(_signed(body))


def test_what_was_read_can_be_changed() -> None:
    again = ColumnSummary.from_bytes(_some().to_bytes())
    more = pa.array(["a", "b", "3.5", "12"])
    again.update(more)
    direct = _some()
    direct.update(more)
    assert again == direct
