"""Law 1: the compiled model says what the model says, for every task, kind and number of rows."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiled_models import CASES, graph, pair, table, wide
from thalweg.core.errors import ArtifactError, ColumnError, OptionError
from thalweg.models import artifact
from thalweg.models.agreement import CLOSE, check
from thalweg.models.compiled import CompiledModel, Feed
from thalweg.models.model import Model


def alike(model: Model, compiled: CompiledModel, rows: pa.Table) -> None:
    found = check(model, compiled, rows)
    assert found.rows == rows.num_rows
    assert found.largest < CLOSE, found
    assert found.dropped == 0
    assert found.decisions == 0
    own, other = model.predict(rows), compiled.predict(rows)
    assert own.columns.schema.equals(other.columns.schema)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rows", [0, 1, 7, 5000])
def test_it_says_what_the_model_says(name: str, rows: int) -> None:
    alike(
        *pair(name), table(max(rows, 8), seed=rows).slice(3, rows) if rows < 8 else table(rows, 5)
    )


@pytest.mark.parametrize("rows", [0, 1, 60])
def test_it_says_the_same_of_texts_pictures_and_sets(rows: int) -> None:
    alike(*pair("wide"), wide(60, seed=1).slice(0, rows))


@pytest.mark.parametrize("name", ["price", "sold", "odd"])
def test_one_row_is_a_batch(name: str) -> None:
    _, compiled = pair(name)
    rows = table(40, seed=3)
    whole = compiled.predict(rows).columns
    for place in range(40):
        alone = compiled.predict(rows.slice(place, 1)).columns
        for column in whole.schema.names:
            one, other = alone[column][0].as_py(), whole[column][place].as_py()
            if isinstance(one, float):
                assert one == pytest.approx(other, rel=CLOSE, abs=CLOSE)
            elif column != "because":
                assert one == other


def test_many_rows_are_run_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = pair("odd")[1]
    asked: list[int] = []
    run = compiled.run

    def counted(inputs: Any) -> Any:
        asked.append(len(next(iter(inputs.values()))))
        return run(inputs)

    monkeypatch.setattr(compiled, "run", counted)
    assert compiled.predict(table(9000)).columns.num_rows == 9000
    assert asked == [4096, 4096, 808]


CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["Ulm", "Bonn", "Köln", " Ulm ", "2024-03-01", "12", "1e3", "yes", "NaN", "?"]),
    st.lists(st.integers(), max_size=2),
)


@pytest.mark.parametrize("name", ["sold", "grade"])
@given(
    rows=st.lists(
        st.fixed_dictionaries({}, optional=dict.fromkeys(table(1).column_names[:6], CELLS)),
        max_size=4,
    )
)
@settings(max_examples=150)
def test_what_is_read_quickly_is_what_is_read_with_care(
    name: str, rows: list[dict[str, object]]
) -> None:
    _, compiled = pair(name)
    quick = compiled.quick(rows)
    if quick is None:
        return
    assert quick.rows == len(rows)
    for place, row in enumerate(rows):
        # By themselves: what an array makes of a cell is to depend on no other.
        told = {column: [row.get(column)] for column in compiled.columns}
        care = compiled.feed(pa.table(told))
        for kind, values in care.inputs.items():
            np.testing.assert_array_equal(quick.inputs[kind][place], values[0])
        assert not care.unreadable


def test_plain_rows_are_read_quickly() -> None:
    _, compiled = pair("grade")
    row = {"x": 0.5, "count": 3, "town": "Ulm", "open": True, "z": 1}
    found = compiled.quick([row, {"town": None}])
    assert isinstance(found, Feed)
    run = compiled.run(found.inputs)
    rows = pa.Table.from_pylist([row | {"when": None}, dict.fromkeys(compiled.columns)])
    said = compiled.predict(rows).columns
    for place, label in enumerate(compiled.decoder.classes):
        wanted = said[f"probability_{label}"].to_numpy()
        np.testing.assert_allclose(run.answers.prediction[:, place], wanted, atol=1e-12)
    assert compiled.quick([{"x": "1,5 or so"}]) is None or compiled.quick([]) is not None


@pytest.mark.parametrize("name", ["price", "wide"])
def test_curves_and_encoded_kinds_need_care(name: str) -> None:
    assert pair(name)[1].quick([{"x": 1.0}]) is None


def test_missing_columns_are_named() -> None:
    _, compiled = pair("grade")
    with pytest.raises(ColumnError, match="'town' not found"):
        compiled.predict(table(3).drop_columns(["town"]))


ALONE = """
import sys, json
import pyarrow as pa
from pathlib import Path
from thalweg.models.compiled import CompiledModel
model = CompiledModel.load(Path(sys.argv[1]))
with pa.ipc.open_file(sys.argv[2]) as file:
    rows = file.read_all()
found = model.predict(rows).columns
model.quick([{}])
heavy = {"torch", "scipy", "polars", "sklearn", "onnx"} & set(sys.modules)
print(json.dumps([sorted(heavy), found["prediction"].to_pylist()]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled model of classes, on the disk."""
    folder = tmp_path_factory.mktemp("home") / "grade"
    model, content = graph("grade")
    model.save(folder)
    artifact.add(folder, {"model.onnx": content})
    return folder


def test_no_torch_is_loaded(folder: Path, tmp_path: Path) -> None:
    rows = table(30, seed=8)
    with pa.ipc.new_file(tmp_path / "rows.arrow", rows.schema) as file:
        file.write_table(rows)
    words = [sys.executable, "-c", ALONE, str(folder), str(tmp_path / "rows.arrow")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    heavy, said = json.loads(done.stdout)
    assert heavy == []
    assert said == pair("grade")[0].predict(rows).columns["prediction"].to_pylist()


def test_what_is_loaded_answers_alike(folder: Path) -> None:
    model, loaded = Model.load(folder), CompiledModel.load(folder)
    assert loaded.identity == model.identity == artifact.identity(artifact.read_description(folder))
    assert math.isclose(check(model, loaded, table(50)).largest, 0, abs_tol=CLOSE)


def test_what_the_training_rows_looked_like_is_read_when_it_is_asked_for(folder: Path) -> None:
    model, loaded = Model.load(folder), CompiledModel.load(folder)
    assert loaded.reference == model.reference
    own, content = graph("grade")
    parts = (own.schema, own.calibration, own.identity, "float32", content, 1)
    assert CompiledModel(*parts).reference is None
    odd = CompiledModel(*parts, {"columns": 3})
    with pytest.raises(ArtifactError, match="the model's reference cannot be read"):
        _ = odd.reference


def test_a_model_that_is_not_compiled_says_how(folder: Path, tmp_path: Path) -> None:
    pair("grade")[0].save(tmp_path / "plain")
    with pytest.raises(OptionError, match=r"is not compiled; .*thalweg compile .*plain\.$"):
        CompiledModel.load(tmp_path / "plain")
    with pytest.raises(OptionError, match=r"not compiled to int8.*--precision int8\.$"):
        CompiledModel.load(folder, "int8")
    with pytest.raises(OptionError, match="Did you mean 'int8'"):
        CompiledModel.load(folder, "int9")


def test_a_damaged_graph_is_an_error_and_the_weights_are_not_looked_at(
    folder: Path, tmp_path: Path
) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / artifact.WEIGHTS).write_bytes(b"")
    CompiledModel.load(copy)
    content = bytearray((copy / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "model.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        CompiledModel.load(copy)


def test_another_models_graph_is_refused(folder: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    artifact.add(copy, {"model.onnx": graph("sold")[1]})
    with pytest.raises(ArtifactError, match="of another model"):
        CompiledModel.load(copy)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04\x95.", b"{}" * 40])
def test_what_is_no_graph_is_refused(folder: Path, tmp_path: Path, content: bytes) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    artifact.add(copy, {"model.onnx": content})
    with pytest.raises(ArtifactError) as caught:
        CompiledModel.load(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", CASES)
def test_plain_rows_say_what_the_columns_say(name: str) -> None:
    compiled = pair(name)[1]
    answers = compiled.run(compiled.feed(table(300, 6)).inputs).answers
    columns = pa.RecordBatch.from_pydict(compiled.decoder.columns(answers))
    assert compiled.decoder.rows(answers) == columns.to_pylist()
