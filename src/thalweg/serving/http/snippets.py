"""Commands and programs that ask a served model, to be copied."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from thalweg.serving.http.columns import Cell, Field

ORIGIN: Final = "http://127.0.0.1:8080"
"""Where the server is, as far as the examples know."""

HIDDEN: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ud800-\udfff]"
)
"""What cannot be seen, or turns the text after it around."""


def curl(path: str, row: Mapping[str, Cell], *, secured: bool = False) -> str:
    """Write a command for a shell."""
    body = HIDDEN.sub(_spelt, orjson.dumps(row).decode()).replace("'", "'\\''")
    key = " \\\n  -H 'authorization: Bearer '\"$THALWEG_KEY\"" if secured else ""
    return (
        f"curl '{ORIGIN}{path}?explain=true' \\\n"
        f"  -H 'content-type: application/json'{key} \\\n  -d '{body}'"
    )


def python(path: str, row: Mapping[str, Cell], *, secured: bool = False) -> str:
    """Write a program that needs Python alone."""
    key = '\n        "authorization": "Bearer " + os.environ["THALWEG_KEY"],' if secured else ""
    import_os = "import os\n" if secured else ""
    cells = "".join(f"    {name!r}: {cell!r},\n" for name, cell in row.items())
    return f"""import json
{import_os}from urllib.request import Request, urlopen

row = {{
{cells}}}
request = Request(
    "{ORIGIN}{path}",
    json.dumps([row]).encode(),
    {{
        "content-type": "application/json",{key}
    }},
)
print(json.load(urlopen(request))["predictions"][0])"""


def tritonclient(name: str, own: Sequence[Field], *, secured: bool = False) -> str:
    """Write a program for a client of the Open Inference Protocol: a tensor a column."""
    key = '\nheaders = {"authorization": "Bearer " + os.environ["THALWEG_KEY"]}' if secured else ""
    said = ", headers=headers" if secured else ""
    import_os = "import os\n" if secured else ""
    listed = "".join(
        f"    ({one.name!r}, {one.example!r}),\n"
        for one in own
        if one.example is not None and one.form not in {"bytes", "array"}
    )
    return f"""import numpy as np
{import_os}from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import np_to_triton_dtype

cells = [
{listed}]
inputs = []
for column, cell in cells:
    data = np.array([cell], dtype=object if isinstance(cell, str) else None)
    one = InferInput(column, data.shape, np_to_triton_dtype(data.dtype))
    one.set_data_from_numpy(data)
    inputs.append(one){key}
client = InferenceServerClient("{ORIGIN.removeprefix("http://")}")
answer = client.infer("{name}", inputs{said})
print(answer.as_numpy("prediction"))"""


def _spelt(match: re.Match[str]) -> str:
    """Spell a character as JSON may."""
    return f"\\u{ord(match.group()):04x}"
