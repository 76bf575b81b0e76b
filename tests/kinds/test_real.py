"""Real columns: what they are taken for, and that they encode as they should."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from thalweg.kinds import KINDS
from thalweg.kinds.category import Category
from thalweg.kinds.check import fit, summarise
from thalweg.kinds.number import Number

DATA = Path(os.environ.get("THALWEG_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


def table(path: str) -> pa.Table:
    if not (DATA / path).exists():
        pytest.skip(f"{path} is not there")
    return pq.read_table(DATA / path)


def column(path: str, name: str) -> pa.Array:
    return table(path)[name].combine_chunks()


def guesses(path: str) -> dict[str, str]:
    found = {}
    for name, cells in zip(table(path).column_names, table(path).columns, strict=True):
        summary = summarise([cells.combine_chunks()])
        found[name] = max(KINDS, key=lambda kind: KINDS[kind].sniff(summary))
    return found


def test_adult() -> None:
    numbers = {
        "age",
        "fnlwgt",
        *("education_num", "capital_gain", "capital_loss", "hours_per_week"),
    }
    for name, kind in guesses("tabular/adult_train.parquet").items():
        plain = name.replace("-", "_").replace(".", "_")
        assert kind == ("number" if plain in numbers else "category"), name


def test_california() -> None:
    found = guesses("tabular/california_housing.parquet")
    assert {name for name, kind in found.items() if kind != "number"} == {"ocean_proximity"}


def test_diabetes() -> None:
    found = guesses("tabular/diabetes_readmission.parquet")
    assert found["diabetesMed"] == "boolean"
    for name in ("race", "age", "diag_1", "medical_specialty", "examide", "change", "weight"):
        assert found[name] == "category", name
    for name in ("time_in_hospital", "num_medications"):
        assert found[name] == "number", name


def test_horse_colic_is_text_but_numbers() -> None:
    found = guesses("dirty/horse_colic.parquet")
    words = {name for name, kind in found.items() if kind not in {"number", "boolean"}}
    assert words == {"lesion_1", "lesion_2", "lesion_3"}  # codes such as 03111
    cells = table("dirty/horse_colic.parquet")
    arrays = [cells[name].combine_chunks() for name, kind in found.items() if kind == "number"]
    states = [fit(Number(), array) for array in arrays]
    got = Number().encode(arrays, states)
    questions = sum(sum(cell.strip() == "?" for cell in array.to_pylist()) for array in arrays)
    assert got.fields["missing"].sum() == questions > 1_000
    assert not got.unreadable.any()
    assert np.isfinite(got.fields["values"]).all()


@pytest.mark.parametrize("path", ["tabular/california_housing.parquet"])
def test_numbers_come_back(path: str) -> None:
    kind = Number()
    names = [name for name, guess in guesses(path).items() if guess == "number"]
    arrays = [column(path, name) for name in names]
    states = [fit(kind, array) for array in arrays]
    got = kind.encode(arrays, states)
    for place, (array, state) in enumerate(zip(arrays, states, strict=True)):
        given = array.to_numpy(zero_copy_only=False).astype(np.float64)
        kept = np.isfinite(given) & (given >= state.lower) & (given <= state.upper)
        assert kept[np.isfinite(given)].mean() > 0.999
        back = kind.restore(got, place, state).to_numpy(zero_copy_only=False)
        assert np.allclose(back[kept], given[kept], rtol=1e-5, atol=state.scale * 1e-5)
        assert np.abs(got.fields["values"][:, place]).max() < 200


def test_capital_gain_keeps_its_spike_and_its_tail() -> None:
    names = {n.replace("-", "_"): n for n in table("tabular/adult_train.parquet").column_names}
    cells = column("tabular/adult_train.parquet", names["capital_gain"])
    state = fit(Number(), cells)
    values = Number().encode([cells], [state]).fields["values"][:, 0]
    assert len(np.unique(values)) == len(cells.unique())
    assert len(state.edges) > 30


def test_adult_labels_of_the_test_part_end_in_a_full_stop() -> None:
    kind = Category()
    label = table("tabular/adult_train.parquet").column_names[-1]
    state = fit(kind, column("tabular/adult_train.parquet", label), "target")
    assert state.levels == ("<=50K", ">50K")
    test = column("tabular/adult_test.parquet", label)
    got = kind.encode([test], [state])
    assert not got.dropped.any()
    assert got.fields["code"].sum() == 3_846


def test_shards_of_a_real_table_merge_to_the_state_of_the_whole() -> None:
    adult = table("tabular/adult_train.parquet")
    random = np.random.default_rng(0)
    for name in adult.column_names:
        cells = adult[name].combine_chunks()
        whole = summarise([cells])
        cuts = [cells.slice(start, 700) for start in range(0, len(cells), 700)]
        parts = [summarise([cuts[place]]) for place in random.permutation(len(cuts))]
        merged = parts[0]
        for part in parts[1:]:
            merged.merge(part)
        for kind in KINDS.values():
            if kind.attaches:
                continue  # words are no pictures
            options = kind.options_type()
            assert kind.fit(whole, options, "feature") == kind.fit(merged, options, "feature")
