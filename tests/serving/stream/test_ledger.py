"""The ledger keeps whole batches, whatever was torn off behind them, and never skips one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from thalweg.core.errors import SourceError
from thalweg.serving.stream.ledger import Batch, Ledger, Part


def batch(number: int) -> Batch:
    parts = (
        Part("0", None if number == 1 else 10 * number, 10 * number + 10, 10),
        Part("eins", f"{number}-0", f"{number}-9", 9),
    )
    return Batch(number, 1_700_000_000_000_000 + number, parts[: number % 3], number == 1)


def written(folder: Path, numbers: range, after: int | None = None) -> Path:
    ledger = Ledger(folder)
    ledger.begin(numbers[0] - 1 if after is None else after)
    for number in numbers:
        ledger.append(batch(number))
    ledger.close()
    return ledger.files()[-1]


def numbers(folder: Path, after: int = 0) -> list[int]:
    return [one.number for one in Ledger(folder).read(after)]


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    written(tmp_path, range(1, 7))
    assert list(Ledger(tmp_path).read(0)) == [batch(number) for number in range(1, 7)]
    assert numbers(tmp_path, after=4) == [5, 6]
    assert numbers(tmp_path, after=6) == []
    assert numbers(tmp_path, after=9) == []


def test_an_empty_folder_has_no_batches(tmp_path: Path) -> None:
    assert numbers(tmp_path) == []
    assert list(Ledger(tmp_path).files()) == []


def test_a_last_line_torn_anywhere_is_as_if_it_was_never_begun(tmp_path: Path) -> None:
    path = written(tmp_path, range(1, 4))
    content = path.read_bytes()
    start = content[:-1].rfind(b"\n") + 1
    for end in range(start, len(content)):
        path.write_bytes(content[:end])
        assert numbers(tmp_path) == [1, 2], end
        ledger = Ledger(tmp_path)
        ledger.begin(0)
        ledger.append(batch(3))
        ledger.append(batch(4))
        ledger.close()
        assert numbers(tmp_path) == [1, 2, 3, 4], end
    path.write_bytes(content)
    assert numbers(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("fill", [b"\0", b"x", b"\n"])
def test_a_last_line_that_never_reached_the_disk(tmp_path: Path, fill: bytes) -> None:
    """A machine that fails may leave a file longer than what was written of it."""
    path = written(tmp_path, range(1, 4))
    content = path.read_bytes()
    start = content[:-1].rfind(b"\n") + 1
    path.write_bytes(content[:start] + fill * (len(content) - start))
    assert numbers(tmp_path) == [1, 2]


def test_a_flipped_byte_never_gives_another_batch(tmp_path: Path) -> None:
    path = written(tmp_path, range(1, 3))
    content = path.read_bytes()
    start = content[:-1].rfind(b"\n") + 1
    for place in range(start, len(content)):
        hurt = bytearray(content)
        hurt[place] ^= 0x04
        path.write_bytes(hurt)
        assert list(Ledger(tmp_path).read(0)) == [batch(1)], place


def test_a_damaged_line_with_others_behind_it_is_no_torn_end(tmp_path: Path) -> None:
    """Else the batches behind it would be made anew, of other records than what was written."""
    path = written(tmp_path, range(1, 5))
    content = path.read_bytes()
    first = content.find(b"\n") + 1
    for place in range(first, content.find(b"\n", first), 7):
        hurt = bytearray(content)
        hurt[place] ^= 0x04
        path.write_bytes(hurt)
        with pytest.raises(SourceError, match="damaged"):
            numbers(tmp_path)
        with pytest.raises(SourceError, match="damaged"):
            Ledger(tmp_path).begin(0)
        assert path.read_bytes() == bytes(hurt)


def test_a_file_for_each_checkpoint(tmp_path: Path) -> None:
    for first in (1, 4, 7):
        written(tmp_path, range(first, first + 3))
    ledger = Ledger(tmp_path)
    assert len(ledger.files()) == 3
    assert numbers(tmp_path) == list(range(1, 10))
    assert numbers(tmp_path, after=5) == [6, 7, 8, 9]
    ledger.forget(2)
    assert len(ledger.files()) == 3
    ledger.forget(5)
    assert numbers(tmp_path, after=3) == list(range(4, 10))
    assert len(ledger.files()) == 2
    ledger.forget(6)
    assert numbers(tmp_path, after=6) == [7, 8, 9]
    ledger.forget(100)  # the one that is written to stays
    assert len(ledger.files()) == 1


def test_a_gap_is_refused(tmp_path: Path) -> None:
    for first in (1, 4, 7):
        written(tmp_path, range(first, first + 3))
    Ledger(tmp_path).files()[1].unlink()
    with pytest.raises(SourceError, match="batch 7 where 4 is missing"):
        numbers(tmp_path)
    assert numbers(tmp_path, after=6) == [7, 8, 9]


def test_begun_again_it_goes_on(tmp_path: Path) -> None:
    written(tmp_path, range(1, 3))
    written(tmp_path, range(3, 5), after=0)
    assert numbers(tmp_path) == [1, 2, 3, 4]
    assert len(Ledger(tmp_path).files()) == 1


FILL = """
import resource, sys
from pathlib import Path
from thalweg.core.errors import FullDiskError
from thalweg.serving.stream.ledger import Batch, Ledger, Part
folder, room = Path(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
ledger = Ledger(folder)
ledger.begin(0)
number = 0
try:
    while True:
        ledger.append(Batch(number + 1, 0, (Part("0", number, number + 1, 1),)))
        number += 1
except FullDiskError as error:
    print(number, error)
assert [one.number for one in Ledger(folder).read(0)] == list(range(1, number + 1))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
ledger.append(Batch(number + 1, 0, (Part("0", number, number + 1, 1),)))
assert [one.number for one in Ledger(folder).read(0)] == list(range(1, number + 2))
"""


@pytest.mark.parametrize("room", [1000, 1017])
def test_a_full_disk_leaves_whole_batches(tmp_path: Path, room: int) -> None:
    """The room ends within a line; with more of it the same ledger goes on."""
    command = [sys.executable, "-c", FILL, str(tmp_path), str(room)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "room for it" in done.stdout
    assert int(done.stdout.split()[0]) > 3
