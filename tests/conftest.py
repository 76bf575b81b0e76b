"""What the tests of several rooms share: database servers of their own, started when wanted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import servers


@pytest.fixture(scope="session")
def postgresql() -> Iterator[servers.Server]:
    yield from servers.wanted(servers.postgresql)


@pytest.fixture(scope="session")
def mariadb() -> Iterator[servers.Server]:
    yield from servers.wanted(servers.mariadb)


@pytest.fixture(scope="session")
def redis() -> Iterator[servers.Broker]:
    yield from servers.wanted(servers.redis)


@pytest.fixture(scope="session")
def nats() -> Iterator[servers.Broker]:
    yield from servers.wanted(servers.nats)
