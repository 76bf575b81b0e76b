"""The page at ``/docs``: what is served, a form that asks it, and how programs do.

One file that asks nothing of anybody else: its style and its script stand in it, and its policy
(Content Security Policy, level 3) names their hashes and allows nothing else to act. Whatever comes
from a model is escaped here, and goes in as text there.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.resources import files
from typing import Final, final

import orjson

from thalweg.serving.http.columns import Cell, Described, Field, Json, fields, written
from thalweg.serving.http.snippets import HIDDEN, ORIGIN, curl, python, tritonclient

__all__ = ["Page", "locked", "page"]

SHOWN: Final = 30
"""How many columns the form shows at once; the others are folded."""

_TASKS: Final = {
    "regression": "a number",
    "binary": "one of two classes",
    "multiclass": "one of several classes",
    "multilabel": "any number of labels",
    "anomaly": "how odd a row is",
}


@final
@dataclass(frozen=True, slots=True)
class Page:
    """A page and what it must be sent with.

    Parameters
    ----------
    body
        HTML, UTF-8.
    headers
        Names and values: type, policy and that nobody may frame it or keep it.
    """

    body: bytes
    headers: Mapping[str, str]


def page(models: Mapping[str, Described], version: str, *, secured: bool = False) -> Page:
    """Write the page of a server. Build it once for each change of what is served.

    Parameters
    ----------
    models
        Name -> the version that answers; the first is the one that ``/v1/predict`` asks.
    version
        Thalweg's own.
    secured
        Whether a key is needed.
    """
    described = {name: fields(model.schema) for name, model in models.items()}
    sections = [
        _model(place, name, model, described[name], secured=secured)
        for place, (name, model) in enumerate(models.items())
    ]
    data = [_data(name, model, described[name]) for name, model in models.items()]
    links = {f"#model-{place}": _named(name) for place, name in enumerate(models)}
    if len(models) == 1:
        links = {}
    if not secured:
        # A browser sends no key with what it opens by itself.
        links |= {"/openapi.json": "OpenAPI", "/v1/models": "Models", "/metrics": "Metrics"}
    listed = "".join(f'<li><a href="{to}">{shown}</a></li>' for to, shown in links.items())
    content = f"""{"".join(sections)}
<script type="application/json" id="models">{_script(data)}</script>"""
    return _page(", ".join(models), version, content, listed)


def locked(version: str) -> Page:
    """Write the page for who has not shown a key: it says nothing of the models.

    With a key its script asks for the page once more, and then shows what `page` wrote.
    """
    content = """<h1>A key, please</h1>
<p class="lede">This server answers those who have one.</p>
<noscript><p class="note">This page needs JavaScript. Programs send the key as a header:
<code>Authorization: Bearer tw_…</code></p></noscript>
<form id="unlock" class="live" autocomplete="off"><div class="key">
<label for="key">Key (stays on this page, and is gone with it)</label>
<input id="key" type="password" autocomplete="off" spellcheck="false" placeholder="tw_…" required>
</div><div class="acts"><button class="main" type="submit">Open</button></div>
<p class="failed" role="alert" hidden></p></form>"""
    return _page("A key, please", version, content)


def _page(title: str, version: str, content: str, links: str = "") -> Page:
    """Put the page around its content. Both pages have one policy: one can become the other."""
    style, script = _file("page.css"), _file("page.js")
    policy = "; ".join(
        [
            "default-src 'none'",
            f"style-src '{_hash(style)}'",
            f"script-src '{_hash(script)}'",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )
    body = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{_text(title)} · Thalweg</title>
<link rel="icon" href="data:,">
<style>{style}</style>
</head>
<body>
<a class="skip" href="#content">To the content</a>
<header class="top">
<p class="brand">Thalweg</p>
<nav aria-label="Models and documents"><ul>{links}</ul></nav>
</header>
<main id="content">
{content}
</main>
<footer class="ends"><span>Thalweg {_text(version)}</span><span>Rows are sent as they are: cleaning
and encoding are the model’s own.</span></footer>
<script>{script}</script>
</body>
</html>
"""
    headers = {
        "content-type": "text/html; charset=utf-8",
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }
    return Page(body.encode(), headers)


def _model(place: int, name: str, model: Described, own: Sequence[Field], *, secured: bool) -> str:
    target = model.schema.target
    classes = model.decoder.classes
    says = f"Says {_TASKS[model.decoder.task]}"
    if target is not None:
        says = f"Predicts {_named(target.name)}, {_TASKS[model.decoder.task]}"
    told = ""
    if classes and target is not None:
        more = f" and {len(classes) - 8} more" if len(classes) > 8 else ""
        told = f" ({', '.join(map(_named, classes[:8]))}{more})"
    facts = {
        "version": f"<code>{_text(model.identity)}</code>",
        "precision": _text(model.precision),
        "columns": f"{len(own):,}",
        "path": f"<code>/v1/models/{_text(name)}/predict</code>",
    }
    strip = "".join(f"<div><dt>{one}</dt><dd>{value}</dd></div>" for one, value in facts.items())
    level = "h2" if place else "h1"
    return f"""<section class="model" id="model-{place}" aria-labelledby="name-{place}">
<header>
<p class="kicker">A model that answers</p>
<{level} id="name-{place}">{_named(name)}</{level}>
<p class="lede">{says}{told}, from {len(own):,} column{"s" if len(own) != 1 else ""}.</p>
<dl class="strip">{strip}</dl>
</header>
<h3>Ask it</h3>
<noscript><p class="note">The form needs JavaScript. The commands below do not.</p></noscript>
{_form(place, own, secured=secured)}
<h3>From a program</h3>
{_ways(name, own, secured=secured)}
<h3>Its columns</h3>
{_table(own)}
</section>
"""


def _form(place: int, own: Sequence[Field], *, secured: bool) -> str:
    drawn = [_input(place, at, one, one.example) for at, one in enumerate(own)]
    folded = "".join(drawn[SHOWN:])
    more = (
        f'<details><summary>{len(drawn) - SHOWN:,} more columns</summary><div class="fields">'
        f"{folded}</div></details>"
        if folded
        else ""
    )
    key = (
        """<div class="key"><label for="key">Key (stays on this page, and is gone with it)</label>
<input id="key" type="password" autocomplete="off" spellcheck="false" placeholder="tw_…"></div>"""
        if secured and not place
        else ""
    )
    return f"""<div class="try live">
<form autocomplete="off">
<fieldset class="fields"><legend class="unseen">A row</legend>{"".join(drawn[:SHOWN])}</fieldset>
{more}{key}
<div class="acts"><button class="main" type="submit">Predict</button>
<label class="check"><input type="checkbox" data-explain checked>Explain</label>
<button type="button" data-another>Another row</button>
<button type="button" data-typical>The typical row</button></div>
</form>
<div class="said" role="region" aria-live="polite" aria-label="The answer">
<p class="note">The answer appears here. An empty field is a missing cell; what was never seen in
training is answered all the same, with a warning.</p></div>
</div>"""


def _input(place: int, at: int, one: Field, cell: Cell) -> str:
    name, value = f"cell-{place}-{at}", "" if cell is None else _written(cell)
    common = f'id="{name}" data-field="{at}"'
    kind = one.form
    wide = ""
    if kind == "bytes":
        drawn = f'<input {common} type="file">'
    elif kind == "boolean":
        options = "".join(
            f'<option value="{text}"{" selected" if value == text else ""}>{shown}</option>'
            for text, shown in (("true", "true"), ("false", "false"), ("", "missing"))
        )
        drawn = f"<select {common}>{options}</select>"
    elif one.kind == "text":
        wide = " wide"
        drawn = f'<textarea {common} rows="3" placeholder="missing">{_text(value)}</textarea>'
    else:
        listed = ""
        if kind in {"string", "either"} and one.choices:
            options = "".join(f'<option value="{_raw(_written(x))}"></option>' for x in one.choices)
            listed = f'<datalist id="{name}-list">{options}</datalist>'
        mode = ' inputmode="decimal"' if kind == "number" else ""
        link = f' list="{name}-list"' if listed else ""
        drawn = (
            f'<input {common} type="text"{mode}{link} value="{_raw(value)}" placeholder="missing" '
            f'spellcheck="false" dir="auto">{listed}'
        )
    label = f'<label for="{name}" title="{_text(one.usual)}">{_named(one.name)}</label>'
    return f'<div class="field{wide}">{label}{drawn}</div>'


def _ways(name: str, own: Sequence[Field], *, secured: bool) -> str:
    row = {one.name: one.example for one in own}
    path = f"/v1/models/{name}/predict"
    ways = {
        "curl": (curl(path, row, secured=secured), f'data-here="{ORIGIN}"'),
        "Python": (python(path, row, secured=secured), f'data-here="{ORIGIN}"'),
        "Python, tritonclient (Open Inference Protocol)": (
            tritonclient(name, own, secured=secured),
            f'data-host="{ORIGIN.removeprefix("http://")}"',
        ),
    }
    drawn = [
        f"<figure><figcaption><span>{how}</span>"
        f'<button class="small live" type="button" data-copy aria-label="Copy {how}">Copy</button>'
        f'</figcaption><pre tabindex="0" aria-label="{how}"><code {mark}>{_raw(text)}</code></pre>'
        "</figure>"
        for how, (text, mark) in ways.items()
    ]
    return f'<div class="ways">{"".join(drawn)}</div>'


def _table(own: Sequence[Field]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{_named(one.name)}</th><td>{_text(one.kind)}</td>'
        f'<td>{_named(_short(one.example))}</td><td class="told">{_text(one.usual)} '
        f"{_text(one.missing)}</td></tr>"
        for one in own
    )
    return (
        '<table class="plain"><thead><tr><th scope="col">column</th><th scope="col">kind</th>'
        '<th scope="col">typical</th><th scope="col">what it holds</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
        '<p class="note">Explanations say by how much each column moves the answer away from that '
        "of the typical row.</p>"
    )


def _data(name: str, model: Described, own: Sequence[Field]) -> Json:
    """Give what the script must know of a model."""
    target = model.schema.target
    return {
        "path": f"/v1/models/{name}/predict",
        "target": None if target is None else target.name,
        "fields": [
            {
                "name": one.name,
                "type": one.form,
                "typical": one.example,
                "choices": list(one.choices),
            }
            for one in own
        ],
    }


def _written(cell: Cell) -> str:
    """Write a cell as the form reads it."""
    if isinstance(cell, str):
        return cell
    return json.dumps(cell, ensure_ascii=False)


def _short(cell: Cell) -> str:
    if isinstance(cell, float):
        return written(cell)
    text = "missing" if cell is None else _written(cell)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _text(text: str) -> str:
    """Escape a text, with what cannot be seen made visible."""
    return escape(HIDDEN.sub("�", text), quote=True)


def _raw(text: str) -> str:
    """Escape a text that is to be read back as it stands."""
    # HTML has no way to write these; everything else comes back as it went in.
    return escape(re.sub("[\x00\ud800-\udfff]", "�", text), quote=True).replace("\r", "&#13;")


def _named(text: str) -> str:
    """Escape a name, kept apart from the direction of the text around it."""
    return f"<bdi>{_text(text)}</bdi>"


def _script(data: object) -> str:
    """Write data so that nothing in it can end the element that it stands in."""
    text = orjson.dumps(data).decode()
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


@cache
def _file(name: str) -> str:
    return files("thalweg.serving.http").joinpath("static", name).read_text("utf-8")
