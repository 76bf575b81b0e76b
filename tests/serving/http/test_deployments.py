from __future__ import annotations

import asyncio
import gc
import io
import json
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thalweg.core.errors import ArtifactError, OptionError
from thalweg.core.files import atomic_folder
from thalweg.models.artifact import SEAL
from thalweg.models.compiled import CompiledModel
from thalweg.serving.http.deployments import Deployments
from thalweg.serving.http.log import Log
from thalweg.serving.http.metrics import Metrics


class Fake:
    """A model as far as versions need one; the seal is its description."""

    def __init__(self, plain: dict[str, Any]) -> None:
        self.identity = plain["version"]
        self.precision = "float32"
        self.columns = ["age"]
        target = plain.get("target", "income")
        self.schema = SimpleNamespace(target=SimpleNamespace(name=target) if target else None)
        self.decoder = SimpleNamespace(task=plain.get("task", "binary"))
        self.weights = plain.get("weights", "whole")
        self.asked = 0

    def predict(self, rows: Any) -> None:
        assert (rows.num_rows, rows.column_names) == (1, ["age"])
        if self.weights == "mute":
            raise ValueError
        self.asked += 1


def load(folder: Path) -> CompiledModel:
    try:
        plain = json.loads((folder / SEAL).read_text())
        weights = (folder / "weights").read_text()
    except (OSError, ValueError):
        raise ArtifactError(f"{folder} is no model", "one") from None
    if weights == "half":
        raise ArtifactError(f"{folder} is damaged", "all of it")
    if weights == "raw":
        raise OptionError("not compiled", "a compiled one")
    return cast("CompiledModel", Fake(plain | {"weights": weights}))


def put(folder: Path, version: str, weights: str = "whole", **plain: Any) -> None:
    with atomic_folder(folder) as building:
        (building / SEAL).write_text(json.dumps({"version": version, **plain}))
        (building / "weights").write_text(weights)


class Server:
    """Deployments with what they tell."""

    def __init__(self, *words: str, **more: Any) -> None:
        self.lines = io.StringIO()
        self.metrics = Metrics()
        log = Log(self.lines, lines="json")
        self.all = Deployments(words, more.pop("load", load), log=log, metrics=self.metrics, **more)

    def events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.lines.getvalue().splitlines()]

    def page(self) -> str:
        return self.metrics.expose()[0].decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    put(tmp_path / "adult", "v1")
    return tmp_path / "adult"


def test_names(folder: Path) -> None:
    assert Server(str(folder), f"b={folder}").all.names == ["adult", "b"]
    link = folder.with_name("now")
    link.symlink_to(folder)
    assert Server(f"{link}/").all.names == ["now"]
    for words, said in (
        ([str(folder), f"adult={folder}"], "names 'adult' twice"),
        ([], "no model is named"),
        ([f"ü={folder}"], "letters, digits"),
        (["adult="], "letters, digits"),
    ):
        with pytest.raises(OptionError, match=said):
            Server(*words)
    with pytest.raises(OptionError, match="which is not served"):
        Server(str(folder), candidates=[f"other={folder}"])
    with pytest.raises(OptionError, match="percent"):
        Server(str(folder), percent=101)
    with pytest.raises(OptionError, match="Did you mean 'adult'"):
        Server(str(folder)).all["adul"]


def test_a_missing_model_is_told_at_the_start(tmp_path: Path) -> None:
    server = Server(f"adult={tmp_path}/nowhere")
    with pytest.raises(ArtifactError, match="is no model"):
        asyncio.run(server.all.open())
    assert not server.all.ready


def test_a_new_model_takes_over_and_is_known_by_its_version(folder: Path) -> None:
    async def run() -> None:
        server = Server(str(folder))
        await server.all.open()
        one = server.all["adult"]
        first = one.choose()
        assert (first.version, cast("Any", first.model).asked) == ("v1", 1)
        await one.look()
        assert one.choose() is first
        put(folder, "v2")
        assert one.choose() is first
        await one.look()
        second = one.choose()
        assert (second.version, one.previous, cast("Any", second.model).asked) == ("v2", first, 1)
        assert one.choose("v1") is first
        with pytest.raises(OptionError, match="There are: v2, v1"):
            one.choose("v3")
        put(folder, "v3")
        await one.look()
        assert [each.version for each in one.versions()] == ["v3", "v2"]
        assert server.events() == ["serving", "swapped", "swapped"]
        assert 'thalweg_swaps_total{model="adult",outcome="swapped"} 2.0' in server.page()
        assert 'version="v1"' not in server.page()
        assert server.all.state() == {
            "models": [
                {
                    "name": "adult",
                    "version": "v3",
                    "versions": [
                        {"version": "v3", "role": "current", "precision": "float32"},
                        {"version": "v2", "role": "previous", "precision": "float32"},
                    ],
                    "traffic": {"percent": 0.0, "shadow": False},
                }
            ]
        }

    asyncio.run(run())


@pytest.mark.parametrize(
    ("plain", "outcome", "said"),
    [
        ({"target": "age", "task": "binary"}, "refused", "predicts age"),
        ({"task": "regression"}, "refused", "income (regression); expected income (classes)"),
        ({"target": None, "task": "anomaly"}, "refused", "how odd rows are"),
        ({"weights": "half"}, "broken", "is damaged"),
        ({"weights": "mute"}, "broken", "ValueError"),
        ({"weights": "raw"}, "broken", "not compiled"),
    ],
)
def test_what_cannot_be_served_is_told_once_and_changes_nothing(
    folder: Path, plain: dict[str, Any], outcome: str, said: str
) -> None:
    async def run() -> None:
        server = Server(str(folder))
        await server.all.open()
        one = server.all["adult"]
        first = one.choose()
        put(folder, "v2", **plain)
        for _ in range(4):
            await one.look()
        assert (one.choose(), one.previous) == (first, None)
        assert server.events() == ["serving", f"model {outcome}"]
        assert said in server.lines.getvalue()
        put(folder, "v3", task="multiclass")
        await one.look()
        assert one.choose().version == "v3"

    asyncio.run(run())


def test_a_folder_that_is_copied_file_by_file(folder: Path) -> None:
    async def run() -> None:
        server = Server(str(folder))
        await server.all.open()
        one = server.all["adult"]
        (folder / "weights").write_text("half")
        (folder / SEAL).write_text(json.dumps({"version": "v2"}))
        await one.look()
        for size in range(3):  # what is being copied is not tried
            (folder / "report").write_text("x" * size)
            await one.look()
        (folder / "weights").write_text("whole")
        await one.look()
        assert one.choose().version == "v1"
        await one.look()
        assert one.choose().version == "v2"
        assert server.events() == ["serving", "model broken", "swapped"]

    asyncio.run(run())


def test_damage_under_the_same_seal_is_told_once(folder: Path) -> None:
    async def run() -> None:
        server = Server(str(folder))
        await server.all.open()
        one = server.all["adult"]
        (folder / "weights").write_text("half")
        for _ in range(5):
            await one.look()
        assert server.events() == ["serving", "model broken"]
        assert one.choose().version == "v1"
        (folder / "weights").write_text("whole")
        for _ in range(5):
            await one.look()
        assert server.events() == ["serving", "model broken"]

    asyncio.run(run())


def test_a_folder_that_goes_and_comes_back(folder: Path) -> None:
    async def run() -> None:
        server = Server(str(folder))
        await server.all.open()
        one = server.all["adult"]
        first = one.choose()
        aside = folder.rename(folder.with_name("aside"))
        for _ in range(3):
            await one.look()
        aside.rename(folder)
        await one.look()
        assert one.choose() is first
        assert server.events() == ["serving", "model broken"]

    asyncio.run(run())


def test_what_is_not_compiled_is_compiled_elsewhere(folder: Path) -> None:
    compiled = []

    def compile_folder(path: Path) -> None:
        compiled.append(path)
        put(path, json.loads((path / SEAL).read_text())["version"], by="compile")

    async def run() -> None:
        put(folder, "v1", "raw")
        server = Server(str(folder), compile_folder=compile_folder)
        await server.all.open()
        one = server.all["adult"]
        put(folder, "v2", "raw")
        await one.look()
        await one.look()
        assert one.choose().version == "v2"
        assert compiled == [folder, folder]
        assert server.events() == ["serving", "swapped"]

    asyncio.run(run())


def test_rollback_holds_until_another_model_comes(folder: Path) -> None:
    async def run() -> None:
        server = Server(str(folder))
        await server.all.open()
        one = server.all["adult"]
        with pytest.raises(OptionError, match="served no other version"):
            one.rollback()
        put(folder, "v2")
        await one.look()
        with pytest.raises(OptionError, match="cannot go back to 'v7'"):
            one.rollback("v7")
        assert one.rollback().version == "v1"
        await one.look()
        assert one.choose().version == "v1"
        # Who sees the same trouble a moment later does not undo the order.
        with pytest.raises(OptionError, match="rolled back already, from v2 to v1"):
            one.rollback()
        assert one.rollback("v1").version == "v1"
        put(folder, "v2", sealed="again")
        await one.look()
        assert one.choose().version == "v1"
        put(folder, "v3")
        await one.look()
        assert (one.choose().version, one.rollback().version) == ("v3", "v1")
        assert one.promote("v3").version == "v3"
        assert one.rollback().version == "v1"
        assert server.events() == [
            "serving", "swapped", "rolled back", "model stays rolled back", "swapped",
            "rolled back", "promoted", "rolled back",
        ]  # fmt: skip
        assert 'thalweg_rollbacks_total{model="adult"} 3.0' in server.page()

    asyncio.run(run())


def candidate_of(folder: Path, **more: Any) -> Server:
    put(folder.with_name("new"), "c1")
    return Server(str(folder), candidates=[str(folder.with_name("new"))], **more)


@given(st.floats(0, 100), st.integers(0, 300))
def test_a_share_is_exact_over_any_requests(percent: float, before: int) -> None:
    async def run() -> None:
        load_any = {"adult": "v1", "new": "c1"}

        def load(folder: Path) -> CompiledModel:
            return cast("CompiledModel", Fake({"version": load_any[folder.name]}))

        server = Server("adult", candidates=["new"], load=load)
        await server.all.open()
        one = server.all.first
        one.traffic(percent=percent)
        for _ in range(before):
            one.choose()
        chosen = [one.choose().version == "c1" for _ in range(1_000)]
        assert abs(sum(chosen) - percent * 10) < 1.01
        assert abs(sum(chosen[:100]) - percent) < 1.01
        if percent == int(percent):
            assert sum(chosen[:100]) == percent

    asyncio.run(run())


def test_a_candidate_is_steered_and_promoted(folder: Path) -> None:
    async def run() -> None:
        server = candidate_of(folder, percent=10.0)
        await server.all.open()
        one = server.all["adult"]
        assert sum(one.choose().version == "c1" for _ in range(100)) == 10
        one.traffic(percent=50, version="c1")
        assert sum(one.choose().version == "c1" for _ in range(100)) == 50
        with pytest.raises(OptionError, match="not the candidate"):
            one.traffic(percent=60, version="c0")
        for wrong in (-1, 100.1, float("nan")):
            with pytest.raises(OptionError, match="0 to 100"):
                one.traffic(percent=wrong)
        # A candidate that nobody has seen yet begins where every one does.
        put(folder.with_name("new"), "c2")
        await one.look()
        assert (one.percent, one.choose("c2").version) == (10.0, "c2")
        assert one.promote().version == "c2"
        assert (one.percent, one.candidate) == (0.0, None)
        assert {one.choose().version for _ in range(50)} == {"c2"}
        await one.look()
        assert (one.choose().version, one.rollback().version) == ("c2", "v1")
        for order in (one.promote, one.traffic):
            with pytest.raises(OptionError, match="no candidate"):
                order()
        assert server.events() == [
            "serving", "candidate", "traffic", "candidate", "promoted", "rolled back",
        ]  # fmt: skip

    asyncio.run(run())


def test_a_rollback_takes_a_share_of_the_requests_back(folder: Path) -> None:
    async def run() -> None:
        server = candidate_of(folder, percent=50.0)
        await server.all.open()
        one = server.all["adult"]
        assert {one.choose().version for _ in range(4)} == {"v1", "c1"}
        assert one.rollback().version == "v1"
        assert {one.choose().version for _ in range(4)} == {"v1"}
        with pytest.raises(OptionError, match="rolled back already, from c1 to v1"):
            one.rollback()
        one.traffic(percent=10)
        assert one.rollback().version == "v1"
        assert 'thalweg_rollbacks_total{model="adult"} 2.0' in server.page()

    asyncio.run(run())


def test_a_candidate_is_another_version(folder: Path) -> None:
    put(folder.with_name("new"), "v1")
    server = Server(str(folder), candidates=[str(folder.with_name("new"))])
    with pytest.raises(OptionError, match="is the version that answers"):
        asyncio.run(server.all.open())


def test_a_foreign_candidate_is_refused(folder: Path) -> None:
    put(folder.with_name("new"), "c1", target="age")
    server = Server(str(folder), candidates=[str(folder.with_name("new"))])
    with pytest.raises(ArtifactError, match="predicts age"):
        asyncio.run(server.all.open())


def test_a_shadow_is_asked_of_what_was_answered_by_another(folder: Path) -> None:
    async def run() -> None:
        server = candidate_of(folder, shadow=True)
        await server.all.open()
        one = server.all["adult"]
        read: list[str] = []

        def reading(model: CompiledModel) -> Any:
            read.append(model.identity)
            raise ValueError

        nothing = cast("Any", SimpleNamespace(feed=SimpleNamespace(inputs={})))
        assert one.shadow(one.choose(), nothing, nothing, reading)
        assert not one.shadow(one.choose("c1"), nothing, nothing, reading)
        await until(lambda: 'why="error"} 1.0' in server.page())
        assert read == ["c1"]
        one.traffic(shadow=False)
        assert not one.shadow(one.choose(), nothing, nothing, reading)
        one.traffic(shadow=True)
        one.promote()
        assert not one.shadow(one.choose(), nothing, nothing, reading)
        assert one.shadowed is False
        server.all.close()

    asyncio.run(run())


def test_memory_is_flat_after_a_thousand_swaps(folder: Path) -> None:
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    count = 0

    def load(path: Path) -> CompiledModel:
        nonlocal count
        count += 1
        model = Fake({"version": f"{count:012x}"})
        alive.add(model)
        return cast("CompiledModel", model)

    async def run() -> None:
        server = Server(str(folder), load=load)
        await server.all.open()
        one = server.all["adult"]
        gc.disable()
        try:
            for number in range(1_000):
                (folder / SEAL).write_text(str(number))
                await one.look()
                now = one.choose()
                server.metrics.request("/v1/predict", "adult", now.version, 200, 0.001, 1)
            del now
            assert (count, len(alive)) == (1_001, 2)
        finally:
            gc.enable()
        assert server.page().count("thalweg_rows_total{") == 2

    asyncio.run(run())


def test_no_request_is_without_an_answer_while_models_come(folder: Path) -> None:
    async def run() -> set[str]:
        server = Server(str(folder))
        await server.all.open()
        watching = asyncio.create_task(server.all.watch(every=0.001))
        seen = set()

        async def ask() -> None:
            held = server.all.first.choose()
            await asyncio.sleep(0.002)
            seen.add(held.version)
            assert held.model.identity == held.version

        for number in range(2, 8):
            put(folder, f"v{number}")
            end = time.monotonic() + 5
            while server.all.first.choose().version != f"v{number}":
                assert time.monotonic() < end
                await asyncio.gather(*(ask() for _ in range(5)))
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        server.all.close()
        return seen

    assert {"v1", "v6"} <= asyncio.run(run())


def test_a_slow_folder_keeps_no_other_waiting(tmp_path: Path) -> None:
    def slow(path: Path) -> CompiledModel:
        model = load(path)
        if model.identity == "slow":
            time.sleep(0.5)
        return model

    async def run() -> None:
        for name in "ab":
            put(tmp_path / name, "v1")
        server = Server(str(tmp_path / "a"), str(tmp_path / "b"), load=slow)
        await server.all.open()
        put(tmp_path / "a", "slow")
        put(tmp_path / "b", "v2")
        watching = asyncio.create_task(server.all.watch(every=0.005))
        await until(lambda: server.all["b"].choose().version == "v2")
        assert server.all["a"].choose().version == "v1"
        await until(lambda: server.all["a"].choose().version == "slow")
        watching.cancel()

    asyncio.run(run())


async def until(held: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not held():
        assert time.monotonic() < end
        await asyncio.sleep(0.002)
