"""Bad input: one line that names the way out, exit code 2, and nothing half-written."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from thalweg.cli.main import main

Captured = pytest.CaptureFixture[str]

QUICK = ["--epochs", "1", "--baselines", "none", "--set", "members=1", "--set", "width=8", "-q"]


def rows(count: int = 300) -> pl.DataFrame:
    """A small table with something to learn in it."""
    random = np.random.default_rng(0)
    size = random.normal(50, 10, count).round(3)
    return pl.DataFrame(
        {
            "size": size,
            "rooms": random.integers(1, 6, count),
            "town": random.choice(["Ulm", "Bonn", "Kiel"], count),
            "price": (size * 3 + random.normal(0, 5, count)).round(3),
            "sold": np.where(size + random.normal(0, 5, count) > 50, "yes", "no"),
        }
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows().write_csv("table.csv")
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("trained")
    rows().write_csv(home / "table.csv")
    words = ["train", str(home / "table.csv"), "--target", "price", "--out", str(home / "model")]
    assert main([*words, *QUICK]) == 0
    return home / "model"


@pytest.fixture
def model(trained: Path, folder: Path) -> Path:
    return Path(shutil.copytree(trained, folder / "model"))


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def refused(capsys: Captured, words: list[str], *hints: str) -> None:
    """Run a command that must fail: code 2, one helpful line, and no file changed."""
    before = contents(Path.cwd())
    capsys.readouterr()
    assert main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1, told.err
    for hint in hints:
        assert hint in told.err
    assert contents(Path.cwd()) == before


def training(source: str = "table.csv", target: str = "price") -> list[str]:
    return ["train", source, "--target", target, "--out", "model", *QUICK]


def test_a_misspelt_target_is_guessed(folder: Path, capsys: Captured) -> None:
    refused(capsys, training(target="prise"), "'prise'", "Did you mean 'price'")


def test_a_target_that_is_not_there(folder: Path, capsys: Captured) -> None:
    refused(capsys, training(target="zzz"), "'zzz'", "There are: size, rooms, town, price, sold.")


def test_a_file_that_is_not_there(folder: Path, capsys: Captured) -> None:
    refused(capsys, training("tabel.csv"), "tabel.csv")
    refused(capsys, ["profile", "tabel.csv", "-q"], "tabel.csv")


def test_an_empty_file(folder: Path, capsys: Captured) -> None:
    Path("empty.csv").touch()
    refused(capsys, training("empty.csv"), "empty.csv")
    refused(capsys, ["profile", "empty.csv", "-q"], "empty.csv")


def test_a_header_without_rows(folder: Path, capsys: Captured) -> None:
    rows(0).write_csv("header.csv")
    refused(capsys, training("header.csv"), "header.csv", "no rows")


def test_a_truncated_parquet_file(folder: Path, capsys: Captured) -> None:
    rows().write_parquet("whole.parquet")
    whole = Path("whole.parquet").read_bytes()
    Path("cut.parquet").write_bytes(whole[: len(whole) // 2])
    refused(capsys, training("cut.parquet"), "cut.parquet")


def test_a_target_without_a_value(folder: Path, capsys: Captured) -> None:
    table = rows().with_columns(pl.lit(None, pl.Float64).alias("price"))
    table.write_parquet("null.parquet")
    refused(capsys, training("null.parquet"), "'price'", "no value")


def test_a_target_of_one_class(folder: Path, capsys: Captured) -> None:
    rows().with_columns(pl.lit("yes").alias("sold")).write_csv("one.csv")
    refused(capsys, training("one.csv", "sold"), "'sold'", "'yes'", "two different values")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--column", "towm=category"], "Did you mean 'town'"),
        (["--column", "town=categori"], "Did you mean 'category'"),
        (["--column", "size=number,mising=mean"], "Did you mean 'missing'"),
        (["--drop", "towm"], "Did you mean 'town'"),
        (["--set", "widht=8"], "Did you mean 'width'"),
        (["--set", "width=wide"], "width"),
        (["--split", "grup:town"], "group:COLUMN"),
        (["--split", "group:towm"], "Did you mean 'town'"),
        (["--balance", "wieghts"], "Did you mean 'weights'"),
        (["--threshold", "f2"], "f1"),
        (["--baselines", "liner"], "Did you mean 'linear'"),
        (["--minutes", "-1"], "minutes is -1"),
        (["--minutes", "nan"], "minutes is nan"),
        (["--threshold", "f1"], "Leave out --threshold"),
        (["--out", "."], "exists and is no model"),
        (["--out", "/"], "a folder with a name"),
        (["--epochs", "0"], "epochs"),
        (["--settings", "run.toml"], "run.toml"),
    ],
)
def test_options_that_cannot_be(
    folder: Path, capsys: Captured, words: list[str], hint: str
) -> None:
    refused(capsys, [*training(), *words], hint)


def test_ragged_rows_are_counted_and_set_aside(folder: Path, capsys: Captured) -> None:
    lines = Path("table.csv").read_text().splitlines()
    lines[5] += ",one,two"
    lines[9] = "1"
    Path("ragged.csv").write_text("\n".join(lines) + "\n")
    words = [word for word in training("ragged.csv") if word != "-q"]
    assert main(words) == 0
    assert "2 rows" in capsys.readouterr().err
    rejects = [path for path in folder.rglob("*reject*") if path.is_file()]
    assert len(rejects) == 1
    told = rejects[0].read_text()
    assert "one,two" in told
    assert "6" in told


def test_a_missing_column_at_predict_time(model: Path, capsys: Captured) -> None:
    rows().drop("size").write_csv("new.csv")
    refused(capsys, ["predict", "model", "new.csv", "--to", "out.csv", "-q"], "'size'", "not found")


def test_a_misspelt_column_at_predict_time(model: Path, capsys: Captured) -> None:
    rows().rename({"town": "twon"}).write_csv("new.csv")
    words = ["predict", "model", "new.csv", "--to", "out.csv", "-q"]
    refused(capsys, words, "Did you mean 'twon'")


def test_wrong_types_at_predict_time(model: Path, capsys: Captured) -> None:
    rows().with_columns(pl.lit("large").alias("size")).write_csv("new.csv")
    refused(capsys, ["predict", "model", "new.csv", "--to", "out.csv", "-q"], "'size'", "'large'")
    rows().with_columns(pl.lit([1, 2]).alias("size")).write_parquet("new.parquet")
    refused(capsys, ["predict", "model", "new.parquet", "--to", "out.csv", "-q"], "'size'")


def test_a_sink_that_cannot_be(model: Path, capsys: Captured) -> None:
    refused(capsys, ["predict", "model", "table.csv", "--to", "out.docx", "-q"], "out.docx")
    refused(capsys, ["predict", "model", "table.csv", "--to", "none/out.csv", "-q"], "none")


def test_a_model_that_is_not_there(folder: Path, capsys: Captured) -> None:
    refused(capsys, ["show", "model"], "model does not exist")
    refused(capsys, ["predict", "table.csv", "table.csv"], "table.csv")


def test_a_folder_that_is_no_model(folder: Path, capsys: Captured) -> None:
    Path("foreign").mkdir()
    Path("foreign", "model.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    refused(capsys, ["show", "foreign"], "foreign", "model.json")
    refused(capsys, ["evaluate", "foreign", "table.csv", "-q"], "foreign", "model.json")


FILES = ["card.md", "model.json", "model.json.sha256", "report.html", "weights.safetensors"]


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_in_any_file(model: Path, capsys: Captured, name: str) -> None:
    damaged = model / name
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    for words in (["predict", "model", "table.csv", "-q"], ["show", "model"]):
        refused(capsys, words, "model")


def test_those_are_all_the_files(model: Path) -> None:
    assert sorted(path.name for path in model.iterdir()) == FILES


def test_a_full_disk_while_saving(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Path.write_bytes

    def until_it_is_full(path: Path, content: bytes) -> int:
        if path.name == "weights.safetensors":
            whole(path, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return whole(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", until_it_is_full)
        assert main(training()) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "full" in told
    assert "model" in told
    # What stays is the checkpoint, whole: with room made, --resume only has to save.
    assert {path.parts[0] for path in map(Path, contents(folder))} <= {"table.csv", ".model.run"}
    assert main([*training(), "--resume"]) == 0
    assert {path.parts[0] for path in map(Path, contents(folder))} == {"table.csv", "model"}


def test_a_folder_of_something_else_is_not_replaced(folder: Path, capsys: Captured) -> None:
    Path("photos").mkdir()
    Path("photos", "holiday.jpg").write_bytes(b"sea")
    words = ["train", "table.csv", "--target", "price", "--out", "photos", *QUICK]
    refused(capsys, words, "photos", "another")


def test_rows_to_judge_on_need_the_target(model: Path, capsys: Captured) -> None:
    rows().drop("price").write_csv("new.csv")
    refused(capsys, ["evaluate", "model", "new.csv", "-q"], "'price'")
