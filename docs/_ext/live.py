"""The graphs to step through, within the page that shows them: a picture that leads to a page of the glass box becomes
a frame with that page in it. A code host, which runs no script, goes on showing the picture.

Promises: a frame has a title, and the room that its picture takes; the pages are written beside the site's own.
"""

import re
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

PAGE = re.compile(r'<a href="(graphs/\w+\.html)(?:\?(\w+))?">')
#: Pixels of the text's column that a picture in a frame has.
COLUMN = 710


class Frames(SphinxPostTransform):
    # other builders keep the picture
    formats = ("html",)
    default_priority = 200

    def run(self, **_: Any) -> None:
        for image in list(self.document.findall(nodes.image)):
            before = image.parent.children[0]
            if isinstance(before, nodes.raw) and (link := PAGE.fullmatch(before.astext())):
                image.parent.replace_self(nodes.raw("", self._frame(image, *link.groups("")), format="html"))

    def _frame(self, image: nodes.image, page: str, asked: str) -> str:
        svg = Path(self.app.srcdir, image["uri"]).read_text(encoding="utf-8")
        width, height = (int(size) for size in re.findall(r'(?:width|height)="(\d+)"', svg)[:2])
        # the page draws a picture that is wider than the column smaller, but by no more than this
        height = round(height * min(1, max(0.65, COLUMN / width)))
        name = Path(page).stem
        title = escape(f"{name}, to step through: {image['alt']}")
        return (
            f'<iframe class="graph" loading="lazy" src="{page}?framed{asked and f"&amp;{asked}"}" title="{title}" '
            f'style="--picture: {height}px"></iframe>\n'
            f'<p class="apart"><a href="{page}{asked and f"?{asked}"}">{name} on a page of its own</a></p>\n'
        )


def _write(app: Any, failure: Exception | None) -> None:
    if failure is None and app.builder.format == "html":
        # JAX is needed only here
        from experiments import graphs

        (folder := Path(app.outdir) / "graphs").mkdir(exist_ok=True)
        for name, text in graphs.pages().items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")


def setup(app: Any) -> dict[str, bool]:
    app.add_post_transform(Frames)
    app.connect("build-finished", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
