"""The graph as one self-contained SVG: identical graphs give identical bytes.

In a box, values come first, in blue, and derivatives last, in orange with the sign ∂. An arrow shows the local
derivative (× −4) and what flows back along it (← −4), if these are numbers.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from fnn.glassbox.picture import symbols
from fnn.glassbox.picture.cards import Card, card, drawn
from fnn.glassbox.picture.layout import Curve, Layout, Point, layered, layout
from fnn.glassbox.picture.maps import heat_map
from fnn.glassbox.picture.scenes import Flow, Part, Scene, scene
from fnn.glassbox.picture.themes import DARK, LIGHT, style
from fnn.glassbox.records import Record

#: With more layers than this the picture runs downwards: side by side they would be too small on a slide.
SIDE_BY_SIDE = 24
#: How JupyterLab, VS Code and Colab mark a dark theme.
DARK_NOTEBOOK = ":is(body[data-jp-theme-light=false],body.vscode-dark,html[theme=dark])"
#: Pixels of an arrowhead.
HEAD = 9.0


def as_svg(graph: Record, *, fold: bool | tuple[str, ...] = False, dark: bool = False) -> str:
    """The graph as a standalone SVG.

    Args:
        fold: draw nested calls and named scopes as one box each: all of them, or those of these names.
        dark: for a dark page.
    """
    theme = DARK if dark else LIGHT
    root = "fnn-dark" if dark else "fnn-light"
    return picture(scene(graph, fold), graph.name, root, sheet=style(theme, f".{root}"))


def still(graph: Record) -> str:
    """The picture for a notebook cell, in the notebook's own theme; a wide picture scrolls in its cell."""
    root = "fnn-notebook"
    sheet = f"{style(LIGHT, f'.{root}')}\n{style(DARK, f'{DARK_NOTEBOOK} .{root}')}"
    return f'<div style="overflow-x:auto">{picture(scene(graph), graph.name, root, sheet=sheet)}</div>'


class _Label(NamedTuple):
    """The label of an arrow: lines of (kind, words, distance below the arrow)."""

    lines: tuple[tuple[str, str, float], ...]
    width: float

    def box(self, x: float, y: float) -> tuple[float, float, float, float]:
        """The area that the label covers if the arrow passes (x, y)."""
        top, bottom = self.lines[0][2] - 13, self.lines[-1][2] + 4
        return x - self.width / 2, y + top, x + self.width / 2, y + bottom


def picture(drawing: Scene, title: str, root: str, *, sheet: str = "") -> str:
    """The SVG of a scene, with a root of class `root`; `sheet` is its style, if the page has none."""
    down = max(layered(len(drawing.parts), [(f.tail, f.head) for f in drawing.flows]), default=0) >= SIDE_BY_SIDE
    cards = [card(part, drawing.terms(k), beside=down) for k, part in enumerate(drawing.parts)]
    labels = [_label(flow, down) for flow in drawing.flows]
    plan = layout(
        [(each.width, each.height) for each in cards],
        [(flow.tail, flow.head) for flow in drawing.flows],
        [_room(flow, label, drawing, down) for flow, label in zip(drawing.flows, labels, strict=True)],
        down=down,
    )
    legend, legend_height, legend_width = _legend(drawing, labels, plan.size, down)
    width, height = max(plan.size[0], legend_width), plan.size[1] + legend_height
    flows = _flows(drawing, plan, labels, cards, down)
    parts = [
        f'<g class="{_classes(drawing, k)}" data-part="{k}"><title>{escape(_tooltip(part))}</title>'
        f"{_behind(part, each, x, y)}{drawn(each, x, y, part.kind in ('argument', 'stack'))}</g>"
        for k, (part, each, (x, y)) in enumerate(zip(drawing.parts, cards, plan.corners, strict=True))
    ]
    size = f"{round(width)} {round(height)}"
    described = escape(f"The graph of {title}: {len(drawing.parts)} boxes")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{root}" viewBox="0 0 {size}" width="{round(width)}" '
        f'height="{round(height)}" role="img" aria-label="{described}">'
        + (f"<style>{sheet}</style>" if sheet else "")
        + f'<rect class="sheet" width="{round(width)}" height="{round(height)}"/>'
        + "".join(flows) + "".join(parts)
        + f'<g class="legend" transform="translate(0 {round(plan.size[1])})">{legend}</g></svg>\n'
    )  # fmt: skip


def _room(flow: Flow, label: _Label | None, drawing: Scene, down: bool) -> float:
    """How much of the space between two layers a label takes; downwards, the labels of one box may be stacked."""
    if label is None or not down:
        return label.width if label else 0.0
    return 36.0 if len(drawing.out_of(flow.tail)) < 2 else 66.0


def _classes(drawing: Scene, k: int) -> str:
    part = drawing.parts[k]
    words = ["part", part.kind if part.kind != "output" else "also"]
    words += ["argument"] if part.kind == "stack" else []
    words += ["output"] if k in drawing.outputs else []
    return " ".join([*words, *(["still"] if part.node.cotangent is None else [])])


def _behind(part: Part, each: Card, x: float, y: float) -> str:
    """A second sheet behind a box that represents several."""
    if part.times < 2:
        return ""
    place = f'x="{x + 5:g}" y="{y - 5:g}" width="{round(each.width, 1):g}" height="{round(each.height, 1):g}"'
    radius = 16 if part.kind == "stack" else 7
    return "".join(f'<rect class="{kind}" {place} rx="{radius}"/>' for kind in ("card", "rim"))


def _tooltip(part: Part) -> str:
    """The tooltip of a box."""
    node = part.node
    head = f"{part.name} = {part.sentence}" if part.sentence else part.name or "constant"
    shape = f", {symbols.shape(node)}" if node.shape else ""
    return f"{head}{shape}, {node.dtype}" + (f", {node.place}" if str(node.place) else "")


# ---- arrows and their labels ----------------------------------------------------------------------------------------


def _label(flow: Flow, down: bool) -> _Label | None:
    if flow.share is None or not symbols.single(flow.share):
        return None
    share = f"{'↑' if down else '←'} {symbols.number(symbols.entry(flow.share))}"
    local = f"× {symbols.number(flow.local)}" if flow.local is not None else ""
    # above and below the arrow; an arrow that runs down passes between the letters of one line
    lines = [("local", local, -5.0)] if local else []
    lines.append(("share", share, 5.0 if down and not local else 13.0))
    return _Label(tuple(lines), max(symbols.text_width(share, 14, True), symbols.text_width(local, 13)) + 4)


def _flows(
    drawing: Scene, plan: Layout, labels: Sequence[_Label | None], cards: Sequence[Card], down: bool
) -> list[str]:
    boxes = [(x, y, x + each.width, y + each.height) for (x, y), each in zip(plan.corners, cards, strict=True)]
    taken = _Taken(boxes)
    for e, route in enumerate(plan.routes):
        taken.line(e, route)
    out = []
    for e, (flow, route, label) in enumerate(zip(drawing.flows, plan.routes, labels, strict=True)):
        text = ""
        if label:
            x, y = taken.place(e, route, label)
            text = '<g class="back">' + "".join(
                f'<text class="{kind}" x="{round(x, 1):g}" y="{round(y + dy, 1):g}" text-anchor="middle">'
                f"{escape(words)}</text>"
                for kind, words, dy in label.lines
            ) + "</g>"  # fmt: skip
        still = "" if flow.active else " still"
        out.append((f'<g class="flow{still}" data-flow="{e}">{_arrow(route, down)}', f"{text}</g>"))
    # an arrow must not run over the label of another: all arrows are drawn first, then all labels
    return [f"{arrow}</g>" for arrow, _ in out] + [
        f'<g class="flow" data-flow="{e}">{text}' for e, (_, text) in enumerate(out) if text != "</g>"
    ]


def _arrow(route: Sequence[Curve], down: bool) -> str:
    (x, y), steps = route[0][0], []
    at = (x, y)
    for k, (a, b, c, d) in enumerate(route):
        if k == len(route) - 1:
            # the line ends inside the arrowhead
            d = (d[0], d[1] - HEAD + 1) if down else (d[0] - HEAD + 1, d[1])
            c = (c[0], min(c[1], d[1])) if down else (min(c[0], d[0]), c[1])
        if a != at:
            steps.append(f"L{_p(a)}")
        steps.append(
            f"C{_p(b)} {_p(c)} {_p(d)}"
            if len({a[not down], b[not down], c[not down], d[not down]}) > 1
            else f"L{_p(d)}"
        )
        at = d
    x, y = route[-1][3]
    wing = HEAD / 2
    head = f"M{_p((x, y))}l{-wing:g} {-HEAD:g}h{HEAD:g}z" if down else f"M{_p((x, y))}l{-HEAD:g} {-wing:g}v{HEAD:g}z"
    return f'<path d="M{_p(route[0][0])}{"".join(steps)}"/><path class="head" d="{head}"/>'


def _p(point: Point) -> str:
    return f"{round(point[0], 1):g} {round(point[1], 1):g}"


def on_curve(curve: Curve, t: float) -> Point:
    """The point at t from 0 to 1 of a cubic Bézier curve."""
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
    return (
        math.fsum(w * p[0] for w, p in zip(weights, curve, strict=True)),
        math.fsum(w * p[1] for w, p in zip(weights, curve, strict=True)),
    )


class _Taken:
    """Which cells are taken, so that each label finds a free place quickly."""

    cell = 48.0

    def __init__(self, boxes: Sequence[tuple[float, float, float, float]]) -> None:
        self.boxes: dict[tuple[int, int], list[tuple[float, float, float, float]]] = defaultdict(list)
        self.points: dict[tuple[int, int], list[tuple[float, float, int]]] = defaultdict(list)
        for box in boxes:
            self._add(box)

    def _cells(self, box: tuple[float, float, float, float]) -> list[tuple[int, int]]:
        a, b, c, d = (int(each // self.cell) for each in box)
        return [(i, j) for i in range(a, c + 1) for j in range(b, d + 1)]

    def _add(self, box: tuple[float, float, float, float]) -> None:
        for cell in self._cells(box):
            self.boxes[cell].append(box)

    def line(self, e: int, route: Sequence[Curve]) -> None:
        """Note where an arrow runs."""
        for curve in route:
            for k in range(25):
                x, y = on_curve(curve, k / 24)
                self.points[int(x // self.cell), int(y // self.cell)].append((x, y, e))

    def place(self, e: int, route: Sequence[Curve], label: _Label) -> Point:
        """Where on its arrow a label covers the least: near the middle of a curve between layers."""
        best, least = (0.0, 0.0), float("inf")
        for back, curve in enumerate(reversed(route)):
            for t in (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.2, 0.8):
                x, y = on_curve(curve, t)
                cost = self._cost(e, label.box(x, y)) + abs(t - 0.5) + 0.6 * back
                if cost < least:
                    best, least = (x, y), cost
        self._add(label.box(*best))
        return best

    def _cost(self, e: int, box: tuple[float, float, float, float]) -> float:
        cells = self._cells(box)
        over = {
            b
            for cell in cells
            for b in self.boxes[cell]
            if b[0] < box[2] and box[0] < b[2] and b[1] < box[3] and box[1] < b[3]
        }
        area = math.fsum(
            (min(b[2], box[2]) - max(b[0], box[0])) * (min(b[3], box[3]) - max(b[1], box[1])) for b in over
        )
        crossed = sum(
            1 for cell in cells for x, y, other in self.points[cell]
            if other != e and box[0] < x < box[2] and box[1] < y < box[3]
        )  # fmt: skip
        return area / 20 + crossed / 3


# ---- the legend -----------------------------------------------------------------------------------------------------


def _legend(drawing: Scene, labels: Sequence[_Label | None], size: Point, down: bool) -> tuple[str, float, float]:
    """(the meaning of colours and signs as SVG, its height, its width): only for what the picture contains."""
    entries = [("value", "blue: value"), ("bar", "∂ orange: derivative of the output")]
    if any(label and len(label.lines) > 1 for label in labels):
        entries.append(("local", "× local derivative"))
    if any(labels):
        entries.append(("bar", f"{'↑' if down else '←'} what flows back"))
    if any(not flow.active for flow in drawing.flows):
        entries.append(("note", "dashed: no derivative"))
    maps = [heat_map(part.node.value) for part in drawing.parts if not symbols.single(part.node.value)]
    if maps:
        full = any(each is None or each.scale for each in maps)
        entries.append(("note", f"maps: purple −, green +{', full at ±' if full else ''}"))
    if any(part.window for part in drawing.parts):
        entries.append(("note", "frame: the window of the marked output; dots: entries taken"))
    widths = [symbols.text_width(text, 13) + 22 for _, text in entries]
    limit = max(size[0] - 18, *widths, 320.0)
    x, y, out, widest = 18.0, 14.0, [], 0.0
    for (kind, text), width in zip(entries, widths, strict=True):
        if x > 18 and x + width > limit + 18:
            x, y = 18.0, y + 19
        words = f'<text class="{kind}" x="{round(x, 1):g}" y="{round(y, 1):g}">{escape(text)}</text>'
        out.append(f'<g class="{kind}">{words}</g>' if kind in ("value", "bar") else words)
        x += width
        widest = max(widest, x)
    return "".join(out), y + 14, widest
