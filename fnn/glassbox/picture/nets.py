"""A net as units and edges: a column of circles for each layer, a line for each weight.

Promises: identical nets give identical bytes; the width of a line is proportional to the size of its weight, and its
colour shows the sign; an entry that is not finite is dashed, in a colour that no number has. In a wide layer the first
and the last units are drawn, and the picture says how many are left out.
Refuses: weights of other sizes than the layers, and names that are not one per unit.
"""

import math
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fnn.glassbox.picture import symbols
from fnn.glassbox.picture.maps import shade
from fnn.glassbox.picture.themes import DARK, LIGHT, Theme, style

#: Pixels between columns and between rows, of a unit's radius, around the picture, and for the largest weight.
COLUMN, ROW, RADIUS, MARGIN, WIDEST = 160.0, 50.0, 17.0, 30.0, 6.0
#: A column has this many places; a layer with more units leaves out those in the middle.
PLACES = 16


class _Unit(NamedTuple):
    """A unit that is drawn: its number in its layer, and its position."""

    number: int
    x: float
    y: float


def as_net(
    layers: Sequence[Any], params: Sequence[Any] | None, names: Sequence[Sequence[str]] = (), *, dark: bool = False
) -> str:
    """Return dense layers, one after the other, as a standalone SVG.

    Args:
        layers: dense layers, with inputs, outputs and an activation each.
        params: {"W": (I, O), "b": (O,)} for each layer; without them all lines look alike.
        names: for each column of units, the inputs first, a list of texts for its circles.
        dark: for a dark page.
    """
    sizes = [layers[0].inputs, *(layer.outputs for layer in layers)]
    weights = [] if params is None else [_matrix(k, each, *pair) for k, (each, pair) in _numbered(params, sizes)]
    biases = [] if params is None else [np.asarray(each["b"], np.float64) for each in params]
    if names and [len(each) for each in names] != sizes:
        raise ValueError(
            f"svg: names must hold one per unit, in columns of {sizes}, got {[len(each) for each in names]}. "
            "Give a list for the inputs and one for each layer."
        )
    height = ROW * min(max(sizes), PLACES)
    columns = [_column(size, MARGIN + RADIUS + COLUMN * k, MARGIN / 2 + height / 2) for k, size in enumerate(sizes)]
    theme, root = (DARK, "fnn-dark") if dark else (LIGHT, "fnn-light")
    legend = _legend(weights, biases)
    below = MARGIN / 2 + height
    width = max(2 * (MARGIN + RADIUS) + COLUMN * len(layers), 2 * MARGIN + max(map(_wide, legend), default=0))
    wide, high = round(width), round(below + 46 + 18 * len(legend))
    described = escape(f"A net of {', '.join(map(str, sizes[:-1]))} and {sizes[-1]} units")
    parts = [*_edges(columns, weights), *_circles(columns, sizes, biases, names), *_words(columns, layers, below)]
    parts += [
        f'<text class="note" x="{MARGIN:g}" y="{below + 56 + 18 * k:g}">{escape(line)}</text>'
        for k, line in enumerate(legend)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="{root}" viewBox="0 0 {wide} {high}" width="{wide}" '
        f'height="{high}" role="img" aria-label="{described}"><style>{_sheet(theme, root)}</style>'
        f'<rect class="sheet" width="{wide}" height="{high}"/>{"".join(parts)}</svg>\n'
    )


def _numbered(params: Sequence[Any], sizes: Sequence[int]) -> Iterator[tuple[int, tuple[Any, tuple[int, int]]]]:
    return enumerate(zip(params, pairwise(sizes), strict=True), start=1)


def _matrix(k: int, params: Any, inputs: int, outputs: int) -> np.ndarray:
    if not isinstance(params, dict) or set(params) != {"W", "b"}:
        got = f"a dict of {sorted(params)}" if isinstance(params, dict) else type(params).__name__
        raise ValueError(f"svg: layer {k} needs {{'W': …, 'b': …}}, got {got}. Make it with net.init(key).")
    W, b = (np.asarray(params[name], np.float64) for name in ("W", "b"))
    if W.shape != (inputs, outputs) or b.shape != (outputs,):
        raise ValueError(
            f"svg: layer {k} needs W of shape {(inputs, outputs)} and b of shape {(outputs,)}, got {W.shape} and "
            f"{b.shape}. Do the parameters belong to another network, or to several? Make them with net.init(key)."
        )
    return W


def _column(size: int, x: float, middle: float) -> list[_Unit]:
    """The units of a layer that are drawn, from the top."""
    places = min(size, PLACES)
    top = middle - ROW * (places - 1) / 2
    if size <= PLACES:
        return [_Unit(k, x, top + ROW * k) for k in range(size)]
    # one place is kept for the dots
    first, last = range(PLACES // 2), range(size - PLACES // 2 + 1, size)
    return [_Unit(k, x, top + ROW * k) for k in first] + [_Unit(k, x, top + ROW * (k - size + PLACES)) for k in last]


# ---- what is drawn --------------------------------------------------------------------------------------------------


def _largest(arrays: Sequence[np.ndarray]) -> float:
    finite = [np.abs(each[np.isfinite(each)]).max(initial=0.0) for each in arrays]
    return float(max(finite, default=0.0))


def _edges(columns: Sequence[Sequence[_Unit]], weights: Sequence[np.ndarray]) -> Iterator[str]:
    largest = _largest(weights) or 1.0
    for k, (below, above) in enumerate(pairwise(columns)):
        for a in below:
            for b in above:
                way = f'x1="{a.x:g}" y1="{a.y:g}" x2="{b.x:g}" y2="{b.y:g}"'
                if not weights:
                    yield f'<line class="edge" {way}/>'
                    continue
                w = float(weights[k][a.number, b.number])
                kind, wide = "bad", WIDEST
                if math.isfinite(w):
                    kind, wide = ("positive" if w > 0 else "negative" if w < 0 else "none"), WIDEST * abs(w) / largest
                told = f"W{k + 1}[{a.number}, {b.number}] = {symbols.number(w)}"
                yield f'<line class="edge {kind}" {way} stroke-width="{wide}"><title>{told}</title></line>'


def _circles(
    columns: Sequence[Sequence[_Unit]],
    sizes: Sequence[int],
    biases: Sequence[np.ndarray],
    names: Sequence[Sequence[str]],
) -> Iterator[str]:
    largest = _largest(biases)
    for k, column in enumerate(columns):
        for unit in column:
            fill, told = "unit plain", ""
            if k and biases:
                b = float(biases[k - 1][unit.number])
                fill = f"unit {shade(b, largest)}"
                told = f"<title>b{k}[{unit.number}] = {symbols.number(b)}</title>"
            yield f'<circle class="{fill}" cx="{unit.x:g}" cy="{unit.y:g}" r="{RADIUS:g}">{told}</circle>'
            if names:
                text = escape(names[k][unit.number])
                yield f'<text class="own" x="{unit.x:g}" y="{unit.y + 5:g}" text-anchor="middle">{text}</text>'
        if sizes[k] > PLACES:
            y = column[PLACES // 2 - 1].y + ROW
            left = f"⋮ {sizes[k] - len(column)} more"
            yield f'<text class="own" x="{column[0].x:g}" y="{y + 5:g}" text-anchor="middle">{left}</text>'


def _words(columns: Sequence[Sequence[_Unit]], layers: Sequence[Any], below: float) -> Iterator[str]:
    """The text under each column: what it is, and the activation of its units."""
    inner = [f"hidden {k}" if len(layers) > 2 else "hidden" for k in range(1, len(layers))]
    for k, (column, word) in enumerate(zip(columns, ["inputs", *inner, "outputs"], strict=True)):
        x = f'x="{column[0].x:g}" text-anchor="middle"'
        yield f'<text {x} y="{below + 16:g}">{word}</text>'
        if k:
            yield f'<text class="note" {x} y="{below + 33:g}">{escape(str(layers[k - 1].activation))}</text>'


def _legend(weights: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> list[str]:
    if not weights:
        return []
    largest, b = _largest(weights), _largest(biases)
    lines = [f"lines: weights, green +, purple −, widest at ±{symbols.number(largest)}"]
    if not all(np.isfinite(each).all() for each in (*weights, *biases)):
        lines.append("dashed: not finite")
    return [*lines, f"circles: biases, full colour at ±{symbols.number(b)}" if b else "circles: all biases are 0"]


def _wide(line: str) -> float:
    return symbols.text_width(line, 12)


def _sheet(theme: Theme, root: str) -> str:
    rules = {
        ".edge": f"stroke:{theme.line};stroke-opacity:.85",
        ".edge.positive": f"stroke:{theme.positive}",
        ".edge.negative": f"stroke:{theme.negative}",
        ".edge.bad": f"stroke:{theme.bad};stroke-dasharray:5 4",
        ".unit": f"stroke:{theme.text};stroke-width:1.6",
        ".unit.plain": f"fill:{theme.card}",
        ".own": f"fill:{theme.text};paint-order:stroke;stroke:{theme.page};stroke-width:4px;stroke-linejoin:round",
    }
    return "\n".join([style(theme, f".{root}"), *(f".{root} {selector}{{{rule}}}" for selector, rule in rules.items())])
