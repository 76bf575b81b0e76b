"""The laws that the whole package keeps, each from end to end."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import thalweg
from processes import ONE_THREAD
from thalweg.core.errors import ArtifactError, OptionError
from thalweg.data.infer import fit_schema
from thalweg.models.model import Model
from thalweg.sources import open_source
from thalweg.stats import TableSummary

DATA = Path(os.environ.get("THALWEG_DATA", Path(__file__).parents[2] / "shared" / "data"))
PACKAGE = Path(thalweg.__file__).parent
RECIPE = {"members": 2, "width": 16, "embedding": 4, "epochs": 3, "batch_size": 64}


def table(rows: int = 500, seed: int = 0) -> pl.DataFrame:
    """Make a table of every kind, with gaps."""
    random = np.random.default_rng(seed)
    x = random.normal(size=rows).round(4)
    town = random.choice(["Ulm", "Bonn", "Köln"], rows)
    day = np.datetime64("2024-01-01") + random.integers(0, 300, rows)
    gone = random.random(rows) < 0.1
    price = 3 * x + (town == "Ulm") + random.normal(size=rows).round(4)
    return pl.DataFrame(
        {
            "x": [None if g else one for g, one in zip(gone, x.tolist(), strict=True)],
            "rooms": random.integers(1, 9, rows),
            "town": town,
            "garden": random.choice(["yes", "no"], rows),
            "day": day,
            "price": price,
        }
    )


@pytest.fixture(scope="module")
def model() -> Model:
    return thalweg.train(table(), "price", recipe=RECIPE, baselines=[], minutes=None)


def given_as(form: str, rows: pl.DataFrame, folder: Path) -> Any:
    """Give rows in a format."""
    path = folder / f"rows.{form}"
    match form:
        case "csv":
            rows.write_csv(path)
        case "ndjson":
            rows.write_ndjson(path)
        case "parquet":
            rows.write_parquet(path, row_group_size=77)
        case "pandas":
            return rows.to_pandas()
        case "arrow":
            return rows.to_arrow()
        case _:
            return rows
    return path


# ---- 1. one predict --------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "ndjson", "parquet", "pandas", "arrow", "polars"])
def test_law_1_every_format_is_answered_with_equal_bits(
    model: Model, form: str, tmp_path: Path
) -> None:
    rows = table(300, seed=1)
    wanted = thalweg.predict(model, rows, keep=False)
    found = thalweg.predict(model, given_as(form, rows, tmp_path), keep=False)
    for name in ("prediction", "prediction_low"):
        assert found.column(name).to_pylist() == wanted.column(name).to_pylist()


@pytest.mark.parametrize("form", ["csv", "parquet", "ndjson"])
def test_law_1_a_shuffled_file_and_a_row_alone_are_encoded_with_equal_bits(
    model: Model, form: str, tmp_path: Path
) -> None:
    rows = table(200, seed=1)
    order = np.random.default_rng(2).permutation(200)
    whole = model.schema.encode(rows.to_arrow()).fields
    path = given_as(form, rows[order], tmp_path)
    batches = [batch.rows for batch in open_source(path).batches(size=33)]
    mixed = model.schema.encode(pa.Table.from_batches(batches)).fields
    for kind, fields in whole.items():
        for name, array in fields.items():
            assert array[order].tobytes() == mixed[kind][name].tobytes()
            alone = [
                model.schema.encode(batches[0].slice(row, 1)).fields[kind][name]
                for row in range(20)
            ]
            assert np.concatenate(alone).tobytes() == array[order[:20]].tobytes()


def test_law_1_batches_of_any_size_agree(model: Model) -> None:
    rows = table(200, seed=1).to_arrow()
    whole = model.predict(rows).columns["prediction"].to_numpy()
    for size in (1, 13, 128):
        parts = [model.predict(rows.slice(at, size)).columns for at in range(0, 200, size)]
        found = np.concatenate([part["prediction"].to_numpy() for part in parts])
        np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-5)


def test_law_1_saved_and_loaded_it_answers_with_equal_bits(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    rows = table(100, seed=1)
    again = thalweg.predict(tmp_path / "model", rows)
    assert again.equals(thalweg.predict(model, rows))


# ---- 2. fit from summaries -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("adult_train", "income"),
        ("diabetes_readmission", "readmitted"),
        ("california_housing", "median_house_value"),
    ],
)
def test_law_2_any_shards_in_any_order_give_the_same_schema(name: str, target: str) -> None:
    path = DATA / "tabular" / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"{path.name} is not there")
    rows = pq.read_table(path).slice(0, 2_000)
    whole = TableSummary()
    whole.update(rows)
    wanted = fit_schema(whole, target).to_json()
    for shards in (7, 50):
        cuts = np.linspace(0, rows.num_rows, shards + 1).astype(int)
        order = np.random.default_rng(shards).permutation(shards)
        merged = TableSummary()
        merged.update(rows.slice(0, 0))  # the columns' order is the table's
        for place in order:
            start, end = list(pairwise(cuts))[place]
            shard = TableSummary()
            shard.update(rows.slice(start, end - start))
            merged.merge(TableSummary.from_bytes(shard.to_bytes()))
        assert fit_schema(merged, target).to_json() == wanted


# ---- 3. memory does not grow with rows -------------------------------------------------------

ENDLESS = """
import resource, sys
from pathlib import Path
import numpy as np
import pyarrow as pa
from thalweg.core.progress import Silent
from thalweg.models.model import Model
from thalweg.serving.batch import predict_all
from thalweg.sources.base import Batch, Position, Source

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

class Long(Source):
    uri = "a long source"
    def schema(self):
        return self.rows(0).schema
    def rows(self, seed):
        random = np.random.default_rng(seed)
        x = random.normal(size=10_000)
        return pa.record_batch({
            "x": pa.array(x, mask=x > 1.5), "rooms": random.integers(1, 9, 10_000),
            "town": ["Ulm"] * 10_000, "garden": ["yes"] * 10_000, "day": ["2024-05-05"] * 10_000,
        })
    def batches(self, columns=None, size=65_536, start=None):
        for number in range(int(sys.argv[2])):
            if number == int(sys.argv[2]) // 10:
                print(peak(), flush=True)
            yield Batch(self.rows(number), Position(0, 10_000 * (number + 1)))
    def length(self):
        return None
    def fingerprint(self):
        return ""

predict_all(Model.load(Path(sys.argv[1])), Long(), Path(sys.argv[3]), Silent())
print(peak())
"""


@pytest.mark.parametrize("batches", [30, pytest.param(1000, marks=pytest.mark.soak)])
def test_law_3_predicting_holds_constant_memory(tmp_path: Path, batches: int) -> None:
    picky = thalweg.train(
        table(),
        "price",
        columns={"x": "number,missing=drop"},
        recipe=RECIPE,
        baselines=[],
        minutes=None,
    )
    picky.save(tmp_path / "model")
    out = tmp_path / "out.parquet"
    command = [sys.executable, "-c", ENDLESS, str(tmp_path / "model"), str(batches), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ONE_THREAD)
    early, late = (int(line) for line in done.stdout.split())
    assert late - early < 40, f"{early} MiB after a tenth, {late} MiB at the end"
    with (tmp_path / "out.parquet.rejects.ndjson").open() as file:
        aside = sum(1 for _ in file)
    assert pq.read_metadata(out).num_rows + aside == 10_000 * batches


LARGE = """
import resource, sys
from pathlib import Path
import numpy as np
import pyarrow as pa
from thalweg.core.progress import Silent
from thalweg.data import passes
from thalweg.data.cache import Cache
from thalweg.data.loader import Loader
from thalweg.data.parts import Wishes
from thalweg.data.spill import spill
from thalweg.data.split import Split
from thalweg.sources import Batch, Position, Source

passes.SAMPLE = 20_000
passes.MOST_JUDGES.update({1: 5_000, 2: 5_000})
ROWS = 20_000

class Long(Source):
    uri = "long"

    def __init__(self, batches):
        self.count = batches

    def schema(self):
        return next(self.batches()).rows.schema

    def batches(self, columns=None, size=65_536, start=None):
        for number in range(self.count):
            random = np.random.default_rng(number)
            x = random.normal(size=(ROWS, 8))
            rows = {f"x{column}": x[:, column] for column in range(8)}
            rows["town"] = random.integers(0, 5_000, ROWS).astype(str)
            rows["y"] = np.where(x[:, 0] > 0, "yes", "no")
            batch = pa.RecordBatch.from_pydict(rows)
            yield Batch(batch if columns is None else batch.select(columns), Position(0, number))

    def length(self):
        return self.count * ROWS

    def fingerprint(self):
        return str(self.count)

for batches in (int(sys.argv[2]) // 5, int(sys.argv[2])):
    found = spill(Long(batches), Wishes("y", {}), Split(), Cache(Path(sys.argv[1])), Silent())
    loader = Loader(found.parts[0].store, 4_096, seed=0, pool_bytes=1 << 24)
    rows = sum(len(batch) for batch in loader.epoch(0))
    assert rows > 0.6 * batches * ROWS
    del found, loader
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.parametrize("batches", [40, pytest.param(400, marks=pytest.mark.soak)])
def test_law_3_fitting_encoding_and_loading_hold_constant_memory(
    tmp_path: Path, batches: int
) -> None:
    command = [sys.executable, "-c", LARGE, str(tmp_path), str(batches)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ONE_THREAD)
    early, late = (int(line) for line in done.stdout.split())
    assert late - early < 60, f"{early} MiB for a fifth of the rows, {late} MiB for all"


# ---- 6. no code in artifacts -----------------------------------------------------------------

FORBIDDEN = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_law_6_nothing_in_the_package_unpickles_or_evaluates(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=names):
                assert not {name.name.split(".")[0] for name in names} & FORBIDDEN
            case ast.ImportFrom(module=str(module)):
                assert module.split(".")[0] not in FORBIDDEN
            case ast.Call(func=ast.Name(id=name)):
                assert name not in {"eval", "exec", "compile", "__import__"}
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=name)):
                assert (owner, name) not in {("torch", "load"), ("torch", "save"), ("np", "load")}
            case ast.keyword(arg="allow_pickle"):
                raise AssertionError(path)


def test_law_6_a_model_is_json_and_safetensors_and_every_byte_is_checked(
    model: Model, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    model.save(folder, {"card.md": "# Card", "report.html": "<p>"})
    for path in sorted(folder.iterdir()):
        assert path.suffix in {".json", ".sha256", ".safetensors", ".md", ".html"}
        whole = path.read_bytes()
        for place in {0, 8, len(whole) // 3, len(whole) // 2, len(whole) - 1} & set(
            range(len(whole))
        ):
            broken = bytearray(whole)
            broken[place] ^= 0x10
            path.write_bytes(broken)
            with pytest.raises(ArtifactError):
                thalweg.load(folder)
        path.write_bytes(whole)
    assert thalweg.load(folder).predict(table().to_arrow()).columns.num_rows == 500


# ---- 7. bad rows neither stop nor vanish -----------------------------------------------------


def test_law_7_every_row_is_counted_once(tmp_path: Path) -> None:
    lines = table().write_csv().splitlines()
    holes = sum(line.startswith(",") for line in lines)
    lines[40:40] = ["1,2", "a,b,c,d,e,f,g,h"]
    source = tmp_path / "rows.csv"
    source.write_text("\n".join(lines) + "\n", encoding="utf-8")
    model = thalweg.train(
        source,
        "price",
        out=tmp_path / "model",
        columns={"x": "number,missing=drop"},
        recipe=RECIPE,
        baselines=[],
        minutes=None,
    )
    rows = model.rows
    assert rows.rejected == 2
    assert rows.dropped == holes
    assert rows.train + rows.validation + rows.test + rows.dropped == 500

    def rejects(path: Path) -> list[dict[str, Any]]:
        text = path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    kept = rejects(tmp_path / "model.rejects.ndjson")
    assert [one["line"] for one in kept] == [41, 42]
    assert all(one["reason"] and one["content"] for one in kept)
    thalweg.predict(model, source, to=tmp_path / "out.csv")
    aside = rejects(tmp_path / "out.csv.rejects.ndjson")
    assert all(one["reason"] and one["line"] > 0 for one in aside)
    assert len(pl.read_csv(tmp_path / "out.csv")) + len(aside) == 502


# ---- 8. killed anywhere, started again -------------------------------------------------------

KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import matplotlib.pyplot
import torch._dynamo  # as optimisers do, and slowly: once for all children
from thalweg.core.progress import Silent
from thalweg.lab.study import Question, study
from thalweg.training.train import Run

os.fsync = lambda handle: None  # slow, and needed where the power is cut, not where a run is
source, folder, kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
dials = {"members": 2, "width": 16, "embedding": 4, "batch_size": 32, "averaging": 0.9,
         "epochs": 20, "patience": 20}
question = Question(source, "garden", None, "random", {}, (), dials, (), None)

def begin(name, resume):
    child = os.fork()
    if not child:
        run = Run(seed=4, folder=folder / f".{name}.run", resume=resume, every=0.0)
        study(question, run, folder / name, Silent())
        os._exit(0)
    return child

began = time.monotonic()
if os.waitpid(begin("unbroken", False), 0)[1]:
    sys.exit("the unbroken run failed")
whole = time.monotonic() - began
moments = random.Random(kills)
for number in range(kills):
    child = begin("killed", number > 0)
    time.sleep(whole * moments.random())
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
if os.waitpid(begin("killed", True), 0)[1]:
    sys.exit("the resumed run failed")
"""


@pytest.mark.parametrize("kills", [3, pytest.param(40, marks=pytest.mark.soak)])
def test_law_8_killed_at_any_moments_the_weights_are_the_same(tmp_path: Path, kills: int) -> None:
    table().write_csv(tmp_path / "rows.csv")
    command = [sys.executable, "-c", KILLED, str(tmp_path / "rows.csv"), str(tmp_path), str(kills)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ONE_THREAD)
    assert done.returncode == 0, done.stderr
    one, other = (tmp_path / name / "weights.safetensors" for name in ("unbroken", "killed"))
    assert one.read_bytes() == other.read_bytes()
    facts = [json.loads((tmp_path / n / "model.json").read_text()) for n in ("unbroken", "killed")]
    assert facts[0]["calibration"] == facts[1]["calibration"]
    assert not list(tmp_path.glob(".*.run"))


def test_law_8_a_run_goes_on_only_as_it_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: Any = {
        "out": tmp_path / "model",
        "recipe": RECIPE,
        "baselines": [],
        "minutes": None,
        "seed": 3,
    }
    from thalweg.lab import evaluate

    def broken(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "judge", broken)
        with pytest.raises(KeyboardInterrupt):
            thalweg.train(table(), "price", **words)
    assert (tmp_path / ".model.run").is_dir()
    with pytest.raises(OptionError, match=r"seed = 5.*seed = 3"):
        thalweg.train(table(), "price", resume=True, **{**words, "seed": 5})
    with pytest.raises(OptionError, match="source that has changed"):
        thalweg.train(table(seed=1), "price", resume=True, **words)
    model = thalweg.train(table(), "price", resume=True, **words)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    whole = thalweg.train(table(), "price", **{**words, "out": None})
    rows = table(50, seed=2)
    assert thalweg.predict(model, rows).equals(thalweg.predict(whole, rows))


# ---- 9. honest numbers -----------------------------------------------------------------------


def test_law_9_figures_are_of_rows_that_nothing_was_fitted_on() -> None:
    noise = np.random.default_rng(99)
    rows = table(900).with_columns(price=pl.Series(noise.normal(size=900)))
    dials = {**RECIPE, "epochs": 12, "width": 64, "learning_rate": 0.01}
    model = thalweg.train(rows, "price", recipe=dials, baselines=["constant"], minutes=None)
    judged = model.evaluation
    assert judged is not None
    assert model.rows.train + model.rows.validation + model.rows.test == 900
    assert judged.rows == model.rows.test
    r2 = judged.metrics["r2"]
    assert r2.low <= r2.value <= r2.high
    assert r2.value < 0.1, "noise cannot be predicted"
    assert set(judged.baselines) == {"constant"}
