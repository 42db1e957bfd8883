"""The stations of the course as notebooks: `docs/generated/notebooks/`, each made from its page.

Promises: a notebook has the page's text, code and outputs, in its order, and nothing else; its pictures are within the
file, and links into this site are left out, so that it needs neither a network nor the repository. Its page offers it.
Sphinx is not needed to import this file: tests do.
"""

import base64
import json
import re
from pathlib import Path
from typing import Any

import generated

DOCS = Path(__file__).parents[1]
FOLDER = DOCS / "story"
PIECES = re.compile(r"^```(\w+)\n(.*?)^```\n", re.M | re.S)
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
#: A link to a place of this site.
INSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:)[^)]+\)")


def stations() -> list[Path]:
    """The pages, in the order of the course."""
    named = (FOLDER / "index.md").read_text(encoding="utf-8").rpartition(":hidden:")[2]
    return [FOLDER / f"{name}.md" for name in re.findall(r"^\w+$", named, re.M)]


def notebook(page: Path) -> dict[str, Any]:
    """The notebook of a page, as nbformat 4 has it."""
    text = page.read_text(encoding="utf-8")
    cells: list[dict[str, Any]] = []
    end = 0
    for piece in PIECES.finditer(text):
        if piece[1] in ("python", "output"):
            cells += _words(text[end : piece.start()], page.parent)
            if piece[1] == "python":
                cells.append(_cell("code", piece[2].rstrip("\n"), outputs=[], execution_count=None))
            else:
                cells[-1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": piece[2]}]
            end = piece.end()
    cells += _words(text[end:], page.parent)
    named = [{"id": f"{page.stem}-{k}"} | each for k, each in enumerate(cells)]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return {"cells": named, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


def _words(text: str, folder: Path) -> list[dict[str, Any]]:
    text = re.sub(r"<details><summary>(.*?)</summary>", r"### \1", text).replace("</details>", "")
    text = re.sub(r"^Next: .*\n", "", text, flags=re.M)
    text = INSIDE.sub(r"\1", text).strip()
    if not text:
        return []
    attached: dict[str, dict[str, str]] = {}

    def within(picture: re.Match[str]) -> str:
        file = folder / picture[2]
        attached[file.name] = {"image/svg+xml": base64.b64encode(file.read_bytes()).decode()}
        return f"![{picture[1]}](attachment:{file.name})"

    text = PICTURE.sub(within, text)
    return [_cell("markdown", text, **({"attachments": attached} if attached else {}))]


def _cell(kind: str, source: str, **more: Any) -> dict[str, Any]:
    return {"cell_type": kind, "metadata": {}, "source": source.splitlines(keepends=True)} | more


def pages() -> dict[str, str]:
    """{file name: the notebook as text}."""
    return {f"{page.stem}.ipynb": json.dumps(notebook(page), indent=1, ensure_ascii=False) for page in stations()}


# ---- Sphinx ---------------------------------------------------------------------------------------------------------


def setup(app: Any) -> dict[str, bool]:
    app.connect("builder-inited", lambda app: generated.write("notebooks", pages()))
    app.connect("source-read", _offered)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _offered(app: Any, page: str, source: list[str]) -> None:
    folder, _, name = page.rpartition("/")
    if folder == FOLDER.name and name != "index":
        source[0] += f"\n{{download}}`This station as a notebook <../generated/notebooks/{name}.ipynb>`\n"
