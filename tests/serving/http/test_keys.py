from __future__ import annotations

import hmac
import io
import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.core.errors import OptionError, SourceError
from thalweg.serving.http.keys import Keys, Who, change_keys
from thalweg.serving.http.log import Log


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_shown_once_and_only_its_hash_is_kept(file: Path) -> None:
    made = change_keys(file, add="mobile")
    boss = change_keys(file, add="boss", admin=True)
    assert (made.key[:3], len(made.key)) == ("tw_", 46)
    assert made.key != boss.key
    assert made.key[3:] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert change_keys(file).key == ""
    for shown in (repr(made), repr(made.keys), repr(Keys(file)), str(boss)):
        assert made.key[3:] not in shown
        assert boss.key[3:] not in shown
        assert made.keys[0].sha256 not in shown
    keys = Keys.load(file)
    assert keys.check(f"Bearer {made.key}") == Who("mobile", "predict")
    assert keys.check(f"bearer  {boss.key} ".encode()) == Who("boss", "admin")
    found = keys.check(f"Bearer {boss.key}")
    assert found is not None
    assert found.admin


@given(st.one_of(st.none(), st.binary(max_size=80), st.text(max_size=80)))
def test_no_other_header_is_a_key(header: bytes | str | None) -> None:
    assert keys_of_one().check(header) is None


def keys_of_one() -> Keys:
    path = Path(os.environ["THALWEG_CACHE"]).with_name("one.json")
    if not path.exists():
        change_keys(path, add="mobile")
    return Keys(path)


def test_near_misses_are_no_keys(file: Path) -> None:
    key = change_keys(file, add="mobile").key
    digest = json.loads(file.read_text())["keys"][0]["sha256"]
    keys = Keys(file)
    for wrong in (
        key, f"Basic {key}", f"Bearer {key[:-1]}", f"Bearer {key}=", f"Bearer{key}", "Bearer ",
        f"Bearer {key.upper()}", f"Bearer {digest}", f"Bearer {key} {key}", f"Bearer {key[3:]}",
        "Bearer \udcff", "Bearer \ud800",
    ):  # fmt: skip
        assert keys.check(wrong) is None


def test_every_header_costs_the_same_comparisons(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [change_keys(file, add=f"k{number}").key for number in range(5)]
    keys = Keys(file)
    compared = []
    real = hmac.compare_digest

    def counting(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    for header in (None, b"", "Basic x", "Bearer x", f"Bearer {made[0]}", f"Bearer {made[4]}"):
        compared.clear()
        keys.check(header)
        assert compared == [(64, 64)] * 5


def test_keys_end(file: Path) -> None:
    now = [1_700_000_000.0]
    made = change_keys(file, add="guest", days=0.5, clock=lambda: now[0])
    assert made.keys[0].expires is not None
    keys = Keys(file, clock=lambda: now[0])
    assert keys.check(f"Bearer {made.key}") is not None
    now[0] += 43_199
    assert keys.check(f"Bearer {made.key}") is not None
    now[0] += 1
    assert keys.check(f"Bearer {made.key}") is None


def test_the_file_is_read_again_when_it_changes(file: Path) -> None:
    now = [0.0]
    lines = io.StringIO()
    one = change_keys(file, add="one").key
    keys = Keys(file, Log(lines), clock=lambda: now[0])
    two = change_keys(file, add="two").key
    assert keys.check(f"Bearer {two}") is None
    now[0] += 1
    assert keys.check(f"Bearer {two}") == Who("two", "predict")
    change_keys(file, remove="one")
    now[0] += 1
    assert keys.check(f"Bearer {one}") is None
    assert len(keys) == 1
    # A slip locks nobody out, and is told of once.
    file.write_text("{")
    for _ in range(3):
        now[0] += 1
        assert keys.check(f"Bearer {two}") is not None
    file.unlink()
    for _ in range(3):
        now[0] += 1
        assert keys.check(f"Bearer {two}") is not None
    told = [json.loads(line)["event"] for line in lines.getvalue().splitlines()]
    assert told == ["keys read again"] * 2 + ["keys not read again, the known ones stay"] * 2
    assert two[3:] not in lines.getvalue()


def test_what_is_mended_counts_though_the_content_stays(file: Path) -> None:
    now = [0.0]
    one = change_keys(file, add="one").key
    change_keys(file, add="two")
    keys = Keys(file, clock=lambda: now[0])
    change_keys(file, remove="one")
    file.chmod(0o664)
    now[0] += 1
    assert keys.check(f"Bearer {one}") is not None
    file.chmod(0o600)
    now[0] += 1
    assert keys.check(f"Bearer {one}") is None


def test_a_clock_that_goes_back_stops_nothing(file: Path) -> None:
    now = [1e9]
    change_keys(file, add="one")
    keys = Keys(file, clock=lambda: now[0])
    two = change_keys(file, add="two").key
    now[0] = 0.0
    assert keys.check(f"Bearer {two}") is not None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"add": "one"}, "has a key 'one' already"),
        ({"add": "a b"}, "is no name of a key"),
        ({"add": "tw_" + "x" * 43}, "begins with tw_"),
        ({"add": "my tw_" + "x" * 43}, "what was given is no name"),
        ({"add": "two", "days": 0}, "--days is 0"),
        ({"add": "two", "days": float("nan")}, "--days is nan"),
        ({"add": "two", "days": 1e9}, "--days is"),
        ({"remove": "ones"}, "Did you mean 'one'"),
        ({"admin": True}, "without --add"),
        ({"remove": "one", "days": 1}, "without --add"),
    ],
)
def test_mistakes(file: Path, words: dict[str, str], said: str) -> None:
    change_keys(file, add="one")
    before = file.read_bytes()
    with pytest.raises(OptionError, match=said) as error:
        change_keys(file, **words)  # type: ignore[arg-type]
    assert "x" * 43 not in str(error.value)
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", '{"keys": 1}', '{"keys": [1]}', '{"keys": [{"name": "a"}]}', "\udcff",
        '{"keys": [{"name": "a", "sha256": "tw_0123456789", "scope": "predict", "created": "x"}]}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_keys(file: Path, content: str) -> None:
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(SourceError, match="is no file of keys") as error:
        Keys(file)
    assert "tw_" not in str(error.value)
    # The traceback of a server that cannot start must not show it either.
    assert error.value.__cause__ is None


def test_places_that_cannot_be(tmp_path: Path, file: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        Keys(file)
    with pytest.raises(SourceError, match="there is no folder"):
        change_keys(tmp_path / "no" / "keys.json", add="one")
    change_keys(file, add="one")
    file.chmod(0o640)
    Keys(file)
    file.chmod(0o660)
    with pytest.raises(SourceError, match="written by others"):
        Keys(file)


def test_keys_that_are_made_at_once_are_all_kept(file: Path) -> None:
    with ThreadPoolExecutor(4) as makers:
        list(makers.map(lambda number: change_keys(file, add=f"k{number}"), range(20)))
    assert len(Keys(file)) == 20
