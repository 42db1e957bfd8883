"""The graph as one self-contained page: no network, no fonts, no other files.

Promises: everything from the user is text, never markup; the page's own policy forbids every request; identical graphs
give identical bytes. Its script (`page.js`) only shows and hides what is in the page.
"""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html import escape
from importlib import resources
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn.glassbox.picture import symbols
from fnn.glassbox.picture.scenes import Part, Scene, foldable, scene
from fnn.glassbox.picture.steps import Steps, steps
from fnn.glassbox.picture.svg import picture, still
from fnn.glassbox.picture.themes import DARK, LIGHT, Theme, style
from fnn.glassbox.picture.windows import windows
from fnn.glassbox.records import Node, Record, Summary

#: In a notebook, the height in pixels of a picture that does not scroll, and of the buttons, the caption and the
#: details.
TALLEST, AROUND = 560, 300
#: Arrays with more entries are written without their middle.
ENTRIES = 256


def as_notebook(graph: Record) -> str:
    """The graph for a notebook cell: the page to step through, in a frame, followed by the picture alone.

    Viewers that run no scripts, or omit frames, show the picture.
    """
    held = still(graph)
    height = round(min(float(re.findall(r' height="(\d+)"', held)[0]), TALLEST)) + AROUND
    title = escape(f"{graph.name}, to step through")
    frame = (
        f'style="width:100%;height:{height}px;border:0" title="{title}" srcdoc="{escape(as_html(graph, framed=True))}"'
    )
    return f"<iframe {frame}></iframe><details><summary>The picture alone</summary>{held}</details>"


def as_html(graph: Record, *, framed: bool = False) -> str:
    """The page of a graph; `framed` lays it out for a frame."""
    views = [("whole", scene(graph))] + ([("folded", scene(graph, True))] if foldable(graph) else [])
    script, sheet = _file("page.js"), _styles() + _file("page.css")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    data = {"views": {name: _view(graph, drawing) for name, drawing in views}}
    pictures = "\n".join(
        f'<div class="view" id="{name}" tabindex="-1"{" hidden" if name == "folded" else ""}>'
        f"{picture(drawing, graph.name, 'fnn')}</div>"
        for name, drawing in views
    )
    folding = '<button id="fold" type="button" aria-pressed="false">Fold groups</button>' if len(views) > 1 else ""
    notes = "".join(f"<p class='remark'>{escape(note)}</p>" for note in graph.notes)
    return f"""<!doctype html>
<html lang="en"{' data-asked="framed"' if framed else ""}>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(graph.name)}: forward and backward</title>
<style>
{sheet}</style>
</head>
<body>
<header>
<h1>{escape(graph.name)}</h1>
<div class="choices">
{folding}<button id="fit" type="button" aria-pressed="false">Fit width</button>
<button id="theme" type="button">Dark</button>
</div>
</header>
<div class="walk">
<div class="controls" role="group" aria-label="Steps">
<button id="start" type="button" title="Home key">Start</button>
<button id="previous" type="button" title="Left arrow key">Previous</button>
<button id="next" type="button" title="Right arrow key">Next</button>
<button id="play" type="button" title="To the end, step by step">Play</button>
<button id="end" type="button" title="End key">End</button>
</div>
<p id="caption" aria-live="polite">The steps need JavaScript; the picture is whole without it.</p>
</div>
<main>
<div id="pictures">
{pictures}
</div>
<section id="details" aria-label="Details" aria-live="polite"></section>
</main>
{notes}
<script type="application/json" id="data">{_embedded(data)}</script>
<script>{script}</script>
</body>
</html>
"""


def _file(name: str) -> str:
    return resources.files("fnn.glassbox.picture").joinpath(name).read_text(encoding="utf-8")


def _styles() -> str:
    """The themes: as the system prefers, unless the reader chose one.

    `:where` gives the dark colours no more weight than the light ones, so that page.css can mark the step in both.
    """
    asked, chosen = ":root:not([data-theme=light])", ":root[data-theme=dark]"
    return "\n".join(
        [
            f":root{{color-scheme:light dark;{_variables(LIGHT)}}}",
            style(LIGHT, ".fnn"),
            f"@media (prefers-color-scheme:dark){{{asked}{{{_variables(DARK)}}}",
            f"{style(DARK, f':where({asked}) .fnn')}}}",
            f"{chosen}{{color-scheme:dark;{_variables(DARK)}}}",
            style(DARK, f":where({chosen}) .fnn"),
            ":root[data-theme=light]{color-scheme:light}\n",
        ]
    )


def _variables(theme: Theme) -> str:
    return "".join(f"--{name.replace('_', '-')}:{colour};" for name, colour in theme._asdict().items())


def _embedded(data: Any) -> str:
    """JSON in which no character can end the script that holds it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _view(graph: Record, drawing: Scene) -> dict[str, Any]:
    walk: Steps = steps(drawing)
    return {
        "steps": [{"caption": step.caption, "part": step.part, "flows": step.flows} for step in walk.steps],
        "output": drawing.outputs[0], "values": walk.values, "bars": walk.bars, "shares": walk.shares,
        "parts": [_part(graph, drawing, k) for k in range(len(drawing.parts))],
    }  # fmt: skip


def _part(graph: Record, drawing: Scene, k: int) -> dict[str, Any]:
    """What the details say about a part: a heading and rows of (word, text)."""
    part = drawing.parts[k]
    node, held = part.node, [graph.nodes[i] for i in part.members]
    rows = [
        ("operation", _operation(part)),
        ("source", f"{node.place}  {node.place.text}".strip() if node.place.file else ""),
        ("within", " / ".join(node.calls)),
        ("shape", f"{symbols.shape(node) or 'a number'}, {node.dtype}"),
        ("value", _written(node.value)),
        ("derivative", _written(node.cotangent) if node.cotangent is not None else "none flows here"),
        ("contributions", _contributions(drawing, k)),
        ("windows", _windows(graph, part) if part.reads else ""),
        ("saved for backward", ", ".join(dict.fromkeys(graph.nodes[i].name for each in held for i in each.residuals))),
        ("operations", f"{sum(n.operations for n in held)} forward, {sum(n.operations_back for n in held)} backward"),
        ("bytes", f"{sum(n.bytes for n in held)}"),
        (
            "stands for",
            "\n".join(_line(graph, each) for each in held[:24]) + ("\n…" if len(held) > 24 else "")
            if len(held) > 1
            else "",
        ),
    ]
    if node.source:
        rows = [row for row in rows if row[0] not in ("operations", "saved for backward")]
    head = f"{part.name} = {part.sentence}" if part.sentence and part.kind != "group" else part.sentence or part.name
    return {"head": head or "constant", "label": _spoken(part), "rows": [row for row in rows if row[1]]}


def _windows(graph: Record, part: Part) -> str:
    inputs = zip(part.node.inputs, part.reads, strict=False)
    return windows(replace(part.node, name=part.name), [replace(graph.nodes[i], name=name) for i, name in inputs])


def _operation(part: Part) -> str:
    if part.kind == "group":
        return f"{len(part.members)} steps, folded"
    return part.node.operation


def _line(graph: Record, node: Node) -> str:
    inputs = ", ".join(graph.nodes[i].name for i in node.inputs)
    return f"{node.name} = {node.operation}({inputs})" if node.inputs else node.name


def _spoken(part: Part) -> str:
    """The part for a screen reader."""
    head = f"{part.name} = {part.sentence}" if part.sentence else part.name or "constant"
    node = part.node
    if not symbols.single(node.value):
        return f"{head}, an array of {symbols.shape(node)}"
    bar = node.cotangent
    slope = f", derivative {symbols.number(symbols.entry(bar))}" if bar is not None and symbols.single(bar) else ""
    return f"{head}, value {symbols.number(symbols.entry(node.value))}{slope}"


def _contributions(drawing: Scene, k: int) -> str:
    flows = [flow for flow in drawing.readers(k) if flow.share is not None]
    if len(flows) < 2:
        return ""
    return "\n".join(f"{drawing.parts[f.head].name or 'constant'}: {_written(f.share)}" for f in flows)


def _written(value: Any) -> str:
    """The number, or the array as NumPy prints it."""
    if isinstance(value, Summary):
        return f"{value}, {int(value.not_finite)} not finite"
    if not symbols.numeric(value):
        return f"{value.dtype}"
    if value.size == 1 and not value.shape:
        number = np.asarray(value)[()]
        if not jnp.issubdtype(value.dtype, jnp.floating):
            return str(number)
        # the digits that the dtype holds reliably: the next one is rounding, and differs between machines
        return f"{float(number):.{jnp.finfo(value.dtype).precision}g}"
    return np.array2string(np.asarray(value), precision=4, threshold=ENTRIES, max_line_width=64, suppress_small=False)
