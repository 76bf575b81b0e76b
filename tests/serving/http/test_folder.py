from __future__ import annotations

import asyncio
import gc
import io
import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from thalweg.core.errors import ArtifactError, OptionError
from thalweg.core.progress import Silent
from thalweg.data.parts import Wishes
from thalweg.data.prepare import prepare
from thalweg.data.split import Split
from thalweg.models import artifact
from thalweg.models.compile import compile_model
from thalweg.models.compiled import CompiledModel
from thalweg.models.model import Model
from thalweg.models.recipe import Recipe
from thalweg.serving.http.deployments import Deployments
from thalweg.serving.http.folder import WatchedFolder
from thalweg.serving.http.log import Log
from thalweg.serving.http.metrics import Metrics
from thalweg.serving.http.question import Question
from thalweg.sources import open_source
from thalweg.training.train import Run, train

pytest.importorskip("onnxruntime")

RECIPE = Recipe(members=2, width=8, embedding=3, epochs=1, batch_size=64)


def table(rows: int = 200) -> pa.Table:
    random = np.random.default_rng(0)
    x = random.normal(size=rows).round(3)
    return pa.table(
        {
            "x": x,
            "town": random.choice(["Ulm", "Bonn"], rows),
            "sold": np.where(x > 0, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two compiled versions of a tiny model, and one that is not compiled."""
    base = tmp_path_factory.mktemp("models")
    prepared = prepare(open_source(table()), Wishes("sold", {}), Split(), None, Silent())
    places = []
    for seed in (0, 1):
        places.append(base / f"v{seed}")
        train(prepared, RECIPE, Run(seed=seed), Silent()).save(places[-1])
    places.append(base / "raw")
    shutil.copytree(places[0], places[-1])
    for place in places[:2]:
        artifact.add(place, {"model.onnx": compile_model(Model.load(place))})
    return places


def test_real_models_are_opened_and_warmed(folders: list[Path], tmp_path: Path) -> None:
    raw = shutil.copytree(folders[2], tmp_path / "sold")
    graph = (folders[0] / "model.onnx").read_bytes()

    def compile_folder(place: Path) -> None:
        artifact.add(place, {"model.onnx": graph})

    with pytest.raises(OptionError, match="is not compiled"):
        WatchedFolder(raw, CompiledModel.load).open()
    watched = WatchedFolder(raw, CompiledModel.load, compile_folder)
    opened = watched.open()
    assert opened.identity == CompiledModel.load(folders[0]).identity
    # What was compiled meanwhile is not a new model.
    assert watched.look() is None
    (raw / "model.onnx").write_bytes(b"")
    with pytest.raises(ArtifactError, match="is damaged"):
        watched.open()


def test_real_models_take_turns_and_none_stays(folders: list[Path], tmp_path: Path) -> None:
    alive: weakref.WeakSet[CompiledModel] = weakref.WeakSet()

    def load(place: Path) -> CompiledModel:
        model = CompiledModel.load(place)
        alive.add(model)
        return model

    async def run() -> None:
        served = shutil.copytree(folders[0], tmp_path / "sold")
        log, metrics = Log(io.StringIO()), Metrics()
        all_of_them = Deployments([str(served)], load, log=log, metrics=metrics)
        await all_of_them.open()
        one = all_of_them.first
        versions = [one.choose().version]
        gc.collect()
        gc.disable()
        try:
            for number in range(1, 31):
                shutil.copytree(folders[number % 2], tmp_path / "next")
                (tmp_path / "next").rename(tmp_path / "sold.next")
                served.rename(tmp_path / "old")
                (tmp_path / "sold.next").rename(served)
                shutil.rmtree(tmp_path / "old")
                await one.look()
                versions.append(one.choose().version)
                one.choose().model.predict(table(5))
            assert len(alive) == 2
        finally:
            gc.enable()
        assert versions[:2] * 15 == versions[:30]
        assert len(set(versions)) == 2

    asyncio.run(run())


def test_a_real_shadow_is_compared(folders: list[Path]) -> None:
    async def run() -> str:
        metrics = Metrics()
        all_of_them = Deployments(
            [f"sold={folders[0]}"], CompiledModel.load, log=Log(io.StringIO()), metrics=metrics,
            candidates=[str(folders[1])], shadow=True,
        )  # fmt: skip
        await all_of_them.open()
        one = all_of_them.first
        served = one.choose()

        def read(model: Any) -> Question:
            feed = model.feed(table(20))
            return Question(20, feed)

        question = read(served.model)
        said = served.model.run(question.feed.inputs)
        assert one.shadow(served, question, said, read)
        for _ in range(2_000):
            page = metrics.expose()[0].decode()
            if "thalweg_shadow_rows_total{" in page:
                break
            await asyncio.sleep(0.005)
        all_of_them.close()
        return page

    page = asyncio.run(run())
    versions = [CompiledModel.load(place) for place in folders[:2]]
    label = f'{{model="sold",version="{versions[1].identity}"}}'
    one, two = (model.predict(table(20)).columns.to_pydict() for model in versions)
    wanted = sum(
        abs(a - b) for a, b in zip(one["probability_yes"], two["probability_yes"], strict=True)
    )
    told = float(page.split(f"thalweg_shadow_difference_total{label} ")[1].split()[0])
    assert told == pytest.approx(wanted, rel=1e-6)
    assert f"thalweg_shadow_rows_total{label} 20.0" in page
    apart = sum(a != b for a, b in zip(one["prediction"], two["prediction"], strict=True))
    assert f"thalweg_shadow_disagreements_total{label} {float(apart)}" in page
