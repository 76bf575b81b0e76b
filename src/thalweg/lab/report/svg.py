"""Turn a matplotlib figure into SVG that is part of a page: its fonts, its colours, its themes.

Matplotlib writes a whole document with fixed colours, random ids and inline styles. Here that
becomes an element without any of them: colours are CSS variables, so that a plot follows the
page's light and dark theme; text is text in the page's font; nothing in it changes from run to
run or needs the page to allow inline styles.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Final
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The colours that plots are drawn in, and the variable of the stylesheet that each stands for.
INK: Final = "#0a0b0c"
MUTED: Final = "#6a6b6c"
RULE: Final = "#cacbcc"
ACCENT: Final = "#0a6b8c"
SECOND: Final = "#c06b2c"
PAPER: Final = "#fafbfc"
_SERIES: Final = ("#0a6b8d", "#c06b2d", "#4a8b5c", "#8a5bac", "#b04b6c", "#7a7b3c")

_VARIABLES: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    ACCENT: "var(--accent)",
    SECOND: "var(--second)",
    PAPER: "var(--paper)",
} | {colour: f"var(--series-{place})" for place, colour in enumerate(_SERIES, 1)}

_STYLE: Final = {
    "svg.fonttype": "none",
    "font.size": 8.0,
    "axes.edgecolor": RULE,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.0,
    "axes.linewidth": 0.8,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "savefig.facecolor": "none",
    "text.color": MUTED,
    "xtick.color": MUTED,
    "xtick.major.size": 0.0,
    "xtick.minor.size": 0.0,
    "ytick.color": MUTED,
    "ytick.major.size": 0.0,
    "ytick.minor.size": 0.0,
}

_NAMESPACE: Final = re.compile(r"^\{[^}]*\}")
_LINK: Final = "{http://www.w3.org/1999/xlink}href"
_REFERENCE: Final = re.compile(r"#([\w.-]+)")
_FRACTION: Final = re.compile(r"-?\d+\.\d{3,}")
_DROPPED: Final = frozenset({"font", "font-family", "font-size", "font-style", "font-weight"})
_FONTLESS: Final = frozenset({"metadata", "style", "title"})


def series(place: int) -> str:
    """Give the colour of the nth line of a plot that has several, from 0."""
    return _SERIES[place % len(_SERIES)]


def style() -> dict[str, object]:
    """Give matplotlib's settings under which a figure must be made and written."""
    return dict(_STYLE)


def inline(figure: Figure, name: str, alt: str) -> str:
    """Write a figure as an SVG element.

    Parameters
    ----------
    figure
        Drawn in this module's colours. Its texts must hold no character that matplotlib's own
        font lacks: names from data belong into the page around the plot.
    name
        The figure's name on the page: the beginning of every id in it.
    alt
        What the figure shows, for those who cannot see it.

    Returns
    -------
    str
        ``<svg ...>...</svg>``; equal figures give equal texts.
    """
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    root = ET.fromstring(written.getvalue())  # noqa: S314 - our own output
    _prune(root)
    _rename_ids(root, name)
    for element in root.iter():
        _restyle(element)
        element.tag = _NAMESPACE.sub("", element.tag)
        element.text = (element.text or "").strip() or None
        element.tail = None
    root.attrib = {
        "class": "plot",
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": alt,
    }
    return ET.tostring(root, encoding="unicode")


def _prune(element: ET.Element) -> None:
    """Take out what a page has itself or must not have: metadata and a stylesheet for all."""
    for child in list(element):
        if _NAMESPACE.sub("", child.tag) in _FONTLESS:
            element.remove(child)
        else:
            _prune(child)


def _rename_ids(root: ET.Element, name: str) -> None:
    """Keep and number the ids that something refers to, drop all others."""
    wanted: dict[str, str] = {}
    for element in root.iter():
        for value in element.attrib.values():
            for found in _REFERENCE.findall(value) if "url(" in value or value[0:1] == "#" else ():
                wanted.setdefault(found, f"{name}-{len(wanted)}")
    for element in root.iter():
        given = element.attrib.pop("id", None)
        if given in wanted:
            element.set("id", wanted[given])
        link = element.attrib.pop(_LINK, None)
        if link is not None:
            element.set("href", f"#{wanted[link[1:]]}")
        clip = element.get("clip-path")
        if clip is not None:
            element.set("clip-path", _REFERENCE.sub(lambda hit: f"#{wanted[hit.group(1)]}", clip))


def _restyle(element: ET.Element) -> None:
    """Turn inline styles into attributes, colours into variables, and cut idle digits."""
    for part in element.attrib.pop("style", "").split(";"):
        key, _, value = (text.strip() for text in part.partition(":"))
        if key and key not in _DROPPED:
            element.set(key, value)
    for key, value in element.attrib.items():
        if key in {"fill", "stroke"}:
            element.set(key, _VARIABLES.get(value, value))
        elif key in {"d", "x", "y", "width", "height", "transform", "points"}:
            element.set(key, " ".join(_FRACTION.sub(_rounded, value).split()))


def _rounded(match: re.Match[str]) -> str:
    return f"{float(match.group()):.2f}".rstrip("0").rstrip(".")
