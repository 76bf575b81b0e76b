"""Heavy libraries have an owner, and light commands never load them."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "thalweg"

# Which rooms may load a library as they are imported, and which only inside a function.
OWNERS = {
    "torch": ({"blocks", "models", "training", "sklearn"}, {"kinds", "api"}),
    "safetensors": ({"models", "training"}, set()),
    "sklearn": ({"lab", "sklearn"}, {"data", "models", "training", "api"}),
    "catboost": (set(), {"lab"}),
    "matplotlib": ({"lab"}, {"lab", "data"}),
    "jinja2": ({"lab"}, {"lab", "data"}),
    "rich": ({"cli"}, {"cli"}),
    "typer": ({"cli"}, {"cli"}),
    "numba": ({"training"}, set()),
    "river": ({"training"}, {"stats", "training", "lab"}),
    "onnx": (set(), {"kinds", "models"}),
    "onnxscript": (set(), {"models"}),
    "onnxruntime": (set(), {"kinds", "models"}),
    "orjson": ({"serving"}, {"serving"}),
    "uvicorn": ({"serving"}, {"serving"}),
    "uvloop": (set(), {"serving"}),
    "prometheus_client": ({"serving"}, {"serving"}),
    "pandas": (set(), set()),
}


def imports(tree: ast.AST, *, inside: bool = False) -> Iterator[tuple[str, bool]]:
    """Give each imported library, and whether a function holds the import."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from ((name.name.partition(".")[0], inside) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], inside
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from imports(node, inside=inside or is_function)


def strangers(source: str, room: str) -> list[str]:
    """Name the libraries that a room may not load in this way."""
    found = []
    for library, within in imports(ast.parse(source)):
        at_import, in_functions = OWNERS.get(library, ({room}, {room}))
        if room not in (at_import | in_functions if within else at_import):
            found.append(library)
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_heavy_libraries_are_loaded_by_their_owners_alone(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert strangers(path.read_text(encoding="utf-8"), room) == []


def test_the_check_sees_what_it_forbids() -> None:
    typed = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
    assert strangers("import torch.nn", "data") == ["torch"]
    assert strangers("from torch import nn", "kinds") == ["torch"]
    assert strangers("def encoder():\n    import torch", "kinds") == []
    assert strangers("class A:\n    def f(self):\n        import pandas", "lab") == ["pandas"]
    assert strangers(typed, "data") == []


def loaded_by(code: str) -> set[str]:
    """Run some code in a fresh interpreter and name the libraries that it loaded."""
    tell = "import json, sys; sys.stderr.write('\\n' + json.dumps(sorted(sys.modules)))"
    ended = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tell}"],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return {name.partition(".")[0] for name in json.loads(ended.stderr.splitlines()[-1])}


def test_the_package_alone_loads_nothing() -> None:
    heavy = {"torch", "polars", "pyarrow", "numpy", "pydantic", "sklearn", "rich", "typer"}
    assert not loaded_by("import thalweg") & heavy


def test_help_loads_no_data_library() -> None:
    heavy = {"torch", "polars", "pyarrow", "numpy", "pydantic", "sklearn", "rich"}
    run = "from thalweg.cli.main import main; assert main(['--help']) == 0"
    assert not loaded_by(run) & heavy


def test_a_profile_never_loads_torch(tmp_path: Path) -> None:
    table, page = tmp_path / "table.csv", tmp_path / "page.html"
    rows = [f"{row},{row % 3},2024-01-{row % 28 + 1:02d},{'ab'[row % 2]}\n" for row in range(200)]
    table.write_text("length,group,day,letter\n" + "".join(rows))
    words = ["profile", str(table), "--html", str(page)]
    run = f"from thalweg.cli.main import main; assert main({words}) == 0"
    assert "torch" not in loaded_by(run)
    assert page.exists()


def test_what_a_server_reads_rows_with_is_light() -> None:
    heavy = {"torch", "polars", "scipy", "sklearn", "matplotlib", "jinja2", "safetensors"}
    run = """
import pyarrow as pa
from thalweg.models import compiled
from thalweg.serving.http import app, server
from thalweg.stats.parsing import read_numbers, read_times
read_numbers(pa.array(["+1", "1e3", "1,5"]))
read_times(pa.array(["1/2/2024", "2024-1-2 3:04", "soon"]))
"""
    assert not loaded_by(run) & heavy
