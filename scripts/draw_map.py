"""Draw the tree in ``docs/architecture.md``: each file with the first line it says of itself.

Usage: ``python scripts/draw_map.py`` writes the page; ``--check`` fails where it is stale.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "thalweg"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- map: drawn by scripts/draw_map.py -->\n```text\n", "```\n<!-- end of map -->"


def said(path: Path) -> str:
    """Give the first line of a module's or package's docstring."""
    module = path / "__init__.py" if path.is_dir() else path
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    if not docstring:
        sys.exit(f"{module.relative_to(ROOT)} has no docstring: say in one line what it is")
    return docstring.splitlines()[0]


def branches(folder: Path, indent: str = "") -> Iterator[tuple[str, str]]:
    """Walk a package: each file's place in the tree, and what it says of itself."""
    inside = [
        path
        for path in sorted(folder.iterdir(), key=lambda path: (path.is_file(), path.name))
        if (path.suffix == ".py" and path.name != "__init__.py") or (path / "__init__.py").exists()
    ]
    for path in inside:
        last = path is inside[-1]
        yield (
            f"{indent}{'└' if last else '├'}── {path.name}{'/' if path.is_dir() else ''}",
            said(path),
        )
        if path.is_dir():
            yield from branches(path, f"{indent}{'    ' if last else '│   '}")


def drawn() -> str:
    """Draw the whole tree."""
    lines = [("src/thalweg/", said(PACKAGE)), *branches(PACKAGE)]
    width = max(len(place) for place, _ in lines)
    return "".join(f"{place:<{width}}  {words}\n" for place, words in lines)


def main() -> None:
    """Write the page, or compare it."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    fresh = f"{before}{BEGIN}{drawn()}{END}{after}"
    if "--check" not in sys.argv:
        PAGE.write_text(fresh, encoding="utf-8")
    elif page != fresh:
        sys.exit("docs/architecture.md: the map is stale. Run make docs.")


if __name__ == "__main__":
    main()
