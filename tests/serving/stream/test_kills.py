"""Killed again and again, a stream loses nothing, doubles nothing and changes nothing."""

from __future__ import annotations

import time
from pathlib import Path

import chaos
import pytest

import servers


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return chaos.train(tmp_path_factory.mktemp("model"))


def redis_streams(redis: servers.Broker, port: int | None = None) -> chaos.Messages:
    return chaos.Messages(f"redis://127.0.0.1:{port or redis.port}/0?stream={redis.fresh()}-{{}}")


def test_log(model: Path, tmp_path: Path) -> None:
    log = chaos.Messages(f"log://{tmp_path}/{{}}")
    chaos.survive(log, model, tmp_path, kills=6)


def test_log_shared_by_two_processes(model: Path, tmp_path: Path) -> None:
    log = chaos.Messages(f"log://{tmp_path}/{{}}?partitions=2&key=city")
    chaos.survive(log, model, tmp_path, kills=6, processes=2)


def test_postgresql(model: Path, tmp_path: Path, postgresql: servers.Server) -> None:
    chaos.survive(chaos.Tables(postgresql.fresh()), model, tmp_path, kills=4)


def test_redis(model: Path, tmp_path: Path, redis: servers.Broker) -> None:
    chaos.survive(redis_streams(redis), model, tmp_path, kills=4)


def test_learning(tmp_path: Path) -> None:
    chaos.survive_learning(tmp_path, None, kills=5, count=2500, least=2000)


def test_a_trained_model_that_goes_on_learning(model: Path, tmp_path: Path) -> None:
    chaos.survive_learning(tmp_path, model, kills=3, count=1500, least=1200)


def test_a_broker_killed_and_restarted(model: Path, tmp_path: Path) -> None:
    with servers.redis(["--appendfsync", "always"]) as redis:

        def trouble() -> None:
            time.sleep(1.5)
            redis.kill()
            time.sleep(1.5)
            redis.start()

        system = redis_streams(redis)
        chaos.survive(system, model, tmp_path, kills=2, trouble=trouble)


def test_a_network_that_is_cut(model: Path, tmp_path: Path, redis: servers.Broker) -> None:
    with servers.Cable(redis.port) as cable:

        def trouble() -> None:
            time.sleep(1.5)
            cable.cut()
            time.sleep(2)
            cable.mend()

        near, far = redis_streams(redis), redis_streams(redis, cable.port)
        far.fed_by(near)
        chaos.survive(far, model, tmp_path, kills=2, trouble=trouble)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("system", ["log", "shared", "postgresql", "redis"])
def test_a_hundred_kills(
    system: str,
    model: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    made: chaos.System
    if system == "postgresql":
        made = chaos.Tables(request.getfixturevalue("postgresql").fresh())
    elif system == "redis":
        made = redis_streams(request.getfixturevalue("redis"))
    else:
        options = "?partitions=2&key=city" if system == "shared" else ""
        made = chaos.Messages(f"log://{tmp_path}/{{}}{options}")
    processes = 2 if system == "shared" else 1
    chaos.survive(made, model, tmp_path, kills=100, processes=processes, count=20_000)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("begun", ["cold", "trained"])
def test_fifty_kills_while_learning(begun: str, model: Path, tmp_path: Path) -> None:
    known = model if begun == "trained" else None
    chaos.survive_learning(tmp_path, known, kills=50, count=20_000, least=15_000)


@pytest.mark.soak
def test_a_network_that_is_cut_for_half_a_minute(
    model: Path, tmp_path: Path, redis: servers.Broker
) -> None:
    with servers.Cable(redis.port) as cable:

        def trouble() -> None:
            time.sleep(2)
            cable.cut()
            time.sleep(30)
            cable.mend()

        near, far = redis_streams(redis), redis_streams(redis, cable.port)
        far.fed_by(near)
        chaos.survive(far, model, tmp_path, kills=50, trouble=trouble)
