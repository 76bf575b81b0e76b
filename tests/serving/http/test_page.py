"""The page shows what is served, asks nothing of others, and nothing in a model can act in it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shlex
from html.parser import HTMLParser
from typing import Any

import pytest
from showcase import HARM, harmful, rich

from thalweg.serving.http.columns import example, fields
from thalweg.serving.http.page import Page, locked, page
from thalweg.serving.http.snippets import curl, python, tritonclient

VOID = {"meta", "link", "input", "br"}


class Tree(HTMLParser):
    """Every element with its attributes and the text in it; that tags end in order is checked."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(body.decode())
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        text: list[str] = []
        self.elements.append((tag, dict(attrs), text))
        if tag not in VOID:
            self._open.append((tag, text))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _, text in self._open:
            text.append(data)

    def all(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(facts, "".join(text)) for name, facts, text in self.elements if name == tag]


def data_of(tree: Tree) -> Any:
    [found] = [text for facts, text in tree.all("script") if facts.get("id") == "models"]
    return json.loads(found)


def cells(tree: Tree) -> list[str]:
    found = []
    for tag, facts, text in tree.elements:
        if "data-field" in facts:
            found.append("".join(text) if tag == "textarea" else facts.get("value") or "")
    return found


def allowed(found: Page, tree: Tree) -> None:
    """Check that the policy allows the page's own style and script, and nothing else."""
    policy = dict(
        part.split(" ", 1) for part in found.headers["content-security-policy"].split("; ")
    )
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    own = [text for facts, text in tree.all("script") if "id" not in facts]
    for name, texts in {"script-src": own, "style-src": [t for _, t in tree.all("style")]}.items():
        [text] = texts
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[name] == f"'sha256-{digest}'"
    for tag, facts, _ in tree.elements:
        assert not {name for name in facts if name.startswith("on") or name in {"style", "src"}}
        if tag in {"a", "link"}:
            assert re.match(r"#|/|data:,$", facts["href"] or "")


@pytest.mark.parametrize("secured", [False, True])
@pytest.mark.parametrize("target", ["class", "price", "member", "tags", None])
def test_the_page_is_whole_and_allows_itself_alone(target: str | None, secured: bool) -> None:
    found = page({"a": rich(target), "b": rich("price")}, "1.0", secured=secured)
    tree = Tree(found.body)
    allowed(found, tree)
    ids = [facts["id"] for _, facts, _ in tree.elements if "id" in facts]
    assert len(set(ids)) == len(ids)
    labelled = {facts["for"] for facts, _ in tree.all("label") if "for" in facts}
    for tag in ("input", "select", "textarea"):
        for facts, _ in tree.all(tag):
            assert facts.get("type") == "checkbox" or facts["id"] in labelled
    assert ("key" in ids) == secured
    assert page({"a": rich(target), "b": rich("price")}, "1.0", secured=secured) == found


def test_the_form_holds_a_row_of_every_column() -> None:
    model = rich()
    tree = Tree(page({"a": model}, "1.0").body)
    [told] = data_of(tree)
    described = fields(model.schema)
    assert told["target"] == "class"
    assert told["path"] == "/v1/models/a/predict"
    assert [one["name"] for one in told["fields"]] == model.schema.names
    assert {one["name"]: one["typical"] for one in told["fields"]} == example(described)
    shown = cells(tree)
    row = example(described)
    assert shown[0] == str(row["amount"])
    assert sorted(dict(tree.elements[0][1])) == ["lang"]
    options = [text for facts, text in tree.all("option") if "selected" in facts]
    assert options == ["true" if row["member"] else "false"]
    text = "".join(text for _, text in tree.all("table"))
    assert "From 18 to 89 in training" in text
    assert "1.0" in "".join(text for _, text in tree.all("footer"))
    assert "0123456789ab" in "".join(text for _, text in tree.all("dl"))


def test_nothing_in_a_model_can_act_or_hide() -> None:
    found = page({"a": harmful()}, "<b>1</b>", secured=True)
    tree = Tree(found.body)
    allowed(found, tree)
    assert not {"b", "img"} & {tag for tag, _, _ in tree.elements}
    assert len(tree.all("script")) == 2
    [told] = data_of(tree)
    assert [one["name"] for one in told["fields"]] == HARM
    shown = [text for facts, text in tree.all("label") if "for" in facts][: len(HARM)]
    assert shown == [name.replace("\u202e", "\ufffd") for name in HARM]
    # What is sent is what was learned, though one cannot see all of it.
    assert set(cells(tree)) <= set(HARM)
    script = found.body.decode().split('id="models">')[1].split("</script>")[0]
    assert not set("<>&") & set(script)
    outside = found.body.decode().replace(script, "")
    values = [v or "" for _, facts, _ in tree.elements for v in facts.values()]
    assert outside.count("\u202e") == sum(value.count("\u202e") for value in values)


def test_without_a_key_the_page_says_nothing_of_the_models() -> None:
    found = locked("1.0")
    allowed(found, Tree(found.body))
    whole = page({"secret_name": rich()}, "1.0", secured=True)
    assert b"secret_name" in whole.body
    assert b"amount" in whole.body
    # The one becomes the other, so that what allows the one has to allow the other.
    assert found.headers == whole.headers
    for word in (b"secret_name", b"amount", b"town", b"0123456789ab", b'id="models"'):
        assert word not in found.body
    assert locked("1.0") == found


def test_many_columns_are_folded() -> None:
    import numpy as np
    import pyarrow as pa
    from showcase import fitted

    random = np.random.default_rng(0)
    rows = pa.table({f"c{place}": random.normal(size=100) for place in range(40)})
    tree = Tree(page({"a": fitted(rows, "c0", {}, [])}, "1.0").body)
    assert [text for _, text in tree.all("summary")] == ["9 more columns"]
    assert len(cells(tree)) == 39


@pytest.mark.parametrize("secured", [False, True])
def test_commands_say_the_row_that_they_are_given(secured: bool) -> None:
    for model in (rich(), harmful()):
        described = fields(model.schema)
        row = example(described)
        words = shlex.split(curl("/v1/predict", row, secured=secured))
        assert json.loads(words[words.index("-d") + 1]) == row
        assert ("authorization: Bearer $THALWEG_KEY" in words) == secured
        program = python("/v1/predict", row, secured=secured)
        space: dict[str, Any] = {}
        exec(program.split("request = ")[0], space)  # noqa: S102 - our own text
        assert space["row"] == row
        compile(program, "shown", "exec")
        client = tritonclient("a", described, secured=secured)
        compile(client, "shown", "exec")
        for text in (program, client, curl("/v1/predict", row)):
            assert "\u202e" not in text
        assert ("THALWEG_KEY" in client) == secured
