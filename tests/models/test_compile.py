"""A compiled graph: one, quiet, whole, and as small as its precision says."""

from __future__ import annotations

import json
import logging

import numpy as np
import onnx
import pyarrow as pa
import pytest
import torch

from compiled_models import graph, pair, table
from thalweg.blocks.choices import BinnedNumbers, _smooth_powers
from thalweg.blocks.recurrent import both_ways
from thalweg.core.errors import OptionError
from thalweg.models.agreement import Difference, DisagreementError, check, made_rows
from thalweg.models.compile import compile_models
from thalweg.models.compiled import CompiledModel
from thalweg.models.graphfile import refusal


def test_one_graph_takes_raw_cells_and_gives_answers() -> None:
    model, content = graph("price")
    proto = onnx.load_from_string(content)
    onnx.checker.check_model(proto, full_check=True)
    assert {one.name for one in proto.graph.input} <= {"number", "category", "boolean", "datetime"}
    assert [one.name for one in proto.graph.output] == ["prediction", "low", "high"]
    (entry,) = proto.metadata_props
    told = json.loads(entry.value)
    assert told["identity"] == model.identity
    assert told["inputs"]["number"] == [
        column.name for column in model.schema.columns if column.kind == "number"
    ]
    assert refusal(content) is None


def test_the_graph_says_which_rows_are_set_aside_where_some_may_be() -> None:
    proto = onnx.load_from_string(graph("sold")[1])
    assert [one.name for one in proto.graph.output] == ["prediction", "dropped"]


def test_smaller_precisions_are_smaller_and_near(capfd: pytest.CaptureFixture[str]) -> None:
    model = graph("grade")[0]
    records: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[assignment, method-assign]
    logging.getLogger("torch.onnx").addHandler(handler)
    found = compile_models(model, ["float32", "float16", "int8"])
    logging.getLogger("torch.onnx").removeHandler(handler)
    assert capfd.readouterr() == ("", "")
    assert records == []
    assert found["float32"] == graph("grade")[1]
    sizes = [len(content) for content in found.values()]
    assert sizes == sorted(sizes, reverse=True)
    worst = {}
    for precision, content in found.items():
        small = CompiledModel(model.schema, model.calibration, model.identity, precision, content)
        difference = check(model, small, table(300, seed=4))
        worst[precision] = difference.largest
        assert difference.dropped == 0
        # What is rounded is rounded for every row alike: none depends on its neighbours.
        rows = table(20, seed=4)
        whole, alone = small.predict(rows).columns, small.predict(rows.slice(0, 1)).columns
        for name in whole.schema.names[1:]:
            assert whole[name][0].as_py() == pytest.approx(alone[name][0].as_py(), abs=1e-6)
    assert worst["float32"] < worst["float16"] < worst["int8"] < 0.1
    assert worst["float32"] < 1e-6


def test_an_unknown_precision_is_refused_before_any_work() -> None:
    with pytest.raises(OptionError, match="float32, float16, int8"):
        compile_models(pair("price")[0], ["bfloat"])


def test_what_cannot_be_said_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        message = "no such operator\nand a long trace"
        raise torch.onnx.errors.OnnxExporterError(message)

    monkeypatch.setattr(torch.export, "export", refuse)
    with pytest.raises(OptionError, match=r"cannot be compiled \(no such operator\);") as caught:
        compile_models(pair("price")[0], ["float32"])
    assert "\n" not in str(caught.value)


def test_full_precision_must_agree() -> None:
    Difference(10, 9e-6, "prediction", 3, 0).require()
    with pytest.raises(DisagreementError, match=r"0\.0002.*'low'"):
        Difference(10, 2e-4, "low", 0, 0).require()
    with pytest.raises(DisagreementError):
        Difference(10, 0.0, "", 0, 1).require()


def test_a_wrong_answer_is_seen() -> None:
    model, compiled = pair("price")
    rows = table(50)
    moved = rows.set_column(0, "x", pa.array(np.zeros(50)))
    from thalweg.models.agreement import difference

    found = difference(model, model.predict(rows), compiled.predict(moved))
    assert found.largest > 1e-3
    assert found.column.startswith("prediction")


@pytest.mark.parametrize("name", ["price", "sold", "grade", "tags", "odd", "wide"])
def test_rows_are_made_of_what_a_schema_knows(name: str) -> None:
    model, compiled = pair(name)
    rows = made_rows(model.schema, 200)
    assert rows.num_rows == 200
    assert set(model.schema.names) <= set(rows.column_names)
    assert rows.equals(made_rows(model.schema, 200))
    for column in rows.columns:
        assert column.null_count < 200
        assert len({str(cell) for cell in column.to_pylist()}) > 1
    check(model, compiled, rows).require()


def test_both_ways_without_packing_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    units = torch.nn.GRU(5, 4, batch_first=True, bidirectional=True)
    x, lengths = torch.randn(6, 9, 5), torch.tensor([1, 9, 4, 2, 9, 7])
    there = torch.arange(9) < lengths[:, None]
    wanted = both_ways(units, x, lengths)[there]
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(both_ways(units, x, lengths)[there], wanted)


def test_a_normal_curve_is_the_same_in_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(_smooth_powers()) == 17
    random = np.random.default_rng(0)
    # Whole numbers lie on the bins' edges, where both halves of the curve have to meet.
    values = np.stack([random.normal(size=900), random.integers(0, 4, 900)], 1).astype(np.float32)
    fields = {"values": values, "missing": np.zeros((900, 2), np.uint8)}
    bins = BinnedNumbers(2)
    bins.prepare(fields)
    tensors = {name: torch.from_numpy(field) for name, field in fields.items()}
    wanted = bins(tensors)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(bins(tensors), wanted, rtol=1e-6, atol=1e-9)
