from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from standing import Site
from thalweg.serving.http.keys import Keys, change_keys
from thalweg.serving.http.limits import Limits


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"), limits=Limits(body=200_000, rows=1000))
    yield made
    made.server.stop()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Any]:
    made: list[Site] = []

    def make(**more: Any) -> Site:
        made.append(Site(tmp_path, **more))
        return made[-1]

    yield make
    for one in made:
        one.server.stop()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str, str]]:
    folder = tmp_path_factory.mktemp("guarded")
    path = folder / "keys.json"
    user, admin = (
        change_keys(path, add=name, admin=name == "admin").key for name in ("user", "admin")
    )
    made = Site(folder, keys=Keys.load(path))
    yield made, f"Bearer {user}", f"Bearer {admin}"
    made.server.stop()
