"""Convolutions and pools: which window each output saw, and where its gradient goes, in words and as a small picture.

Promises: indices refer to the arrays as they are, without padding; axes of size 1 are not written. The picture shows
one window on its input and the output that comes from it, and for an extreme every entry that was chosen; with several
examples and channels it shows the first.
Letters: y the output, x the input, k the kernel.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fnn.glassbox.picture import symbols
from fnn.glassbox.picture.maps import Map
from fnn.glassbox.records import Node

#: At most this many outputs are listed.
OUTPUTS = 16
EXTREMES = {"reduce_window_max": np.argmax, "reduce_window_min": np.argmin}
#: Windows are drawn for arrays with at most this many entries along a side; the pixels of an entry, and of the arrow
#: between input and output.
SIDE, PLACE, ARROW = 16, 10.0, 26.0


class _Sliding(NamedTuple):
    """How a window slides over an input, axis by axis."""

    sizes: list[int]
    """Of the input."""
    counts: list[int]
    """Of the output."""
    spans: list[int]
    """Places of the window."""
    strides: Sequence[int]
    padding: Sequence[tuple[int, int]]
    between: Sequence[int]
    """One more than the number of gaps between entries of the input."""
    apart: Sequence[int]
    """Between places of the window."""

    def seen(self, at: Sequence[int]) -> list[list[int]]:
        """For each axis, the entries of the input in the window of output `at`."""
        result = []
        for o, size, _, span, stride, (low, _), gap, step in zip(at, *self, strict=True):
            places = [o * stride - low + k * step for k in range(span)]
            result.append([place // gap for place in places if place % gap == 0 and 0 <= place // gap < size])
        return result

    def along(self, axes: Sequence[int]) -> "_Sliding":
        """The same along only these axes."""
        return _Sliding._make([each[k] for k in axes] for each in self)


def _sliding(node: Node, inputs: Sequence[Node]) -> _Sliding | None:
    """How the window of a convolution (without examples and features) or of a pool slides; None for any other step."""
    p = node.params
    if node.operation == "conv_general_dilated":
        of_x, of_kernel, of_y = (tuple(axes)[2:] for axes in p["dimension_numbers"])
        arrays = ((inputs[0], of_x), (node, of_y), (inputs[1], of_kernel))
        sizes, counts, spans = ([each.shape[axis] for axis in axes] for each, axes in arrays)
        ways = p["window_strides"], p["padding"], p["lhs_dilation"], p["rhs_dilation"]
        return _Sliding(sizes, counts, spans, *ways)
    if node.operation in ("reduce_window_sum", *EXTREMES):
        ways = p["window_strides"], p["padding"], p["base_dilation"], p["window_dilation"]
        return _Sliding(list(inputs[0].shape), list(node.shape), list(p["window_dimensions"]), *ways)
    return None


def _taken(node: Node, x: Node, seen: list[list[int]]) -> list[int] | None:
    """The position of the entry that an extreme chose; None for other steps, and if the window saw nothing."""
    chosen = EXTREMES.get(node.operation)
    if chosen is None or not all(map(len, seen)) or not symbols.numeric(x.value):
        return None
    part = np.asarray(x.value)[np.ix_(*seen)]
    return [axis[k] for axis, k in zip(seen, np.unravel_index(chosen(part), part.shape), strict=True)]


# ---- in words -------------------------------------------------------------------------------------------------------


def windows(node: Node, inputs: Sequence[Node]) -> str:
    """One line per output of a convolution or a pool; "" for every other step, and if there are too many.

    Args:
        node: the step. inputs: what it reads. Both under the names by which they are drawn.
    """
    sliding = _sliding(node, inputs)
    if sliding is None or not sliding.sizes or np.prod(sliding.counts) > OUTPUTS:
        return ""
    if node.operation == "conv_general_dilated":
        return _convolution(node, inputs, sliding)
    return _pool(node, inputs[0], sliding) if symbols.numeric(inputs[0].value) else ""


def _convolution(node: Node, inputs: Sequence[Node], sliding: _Sliding) -> str:
    x, kernel = inputs
    own, bar = symbols.barred(node.name), symbols.barred(x.name)
    lines = [f"to {bar} at every place of a window goes {own} times the weight of {kernel.name} there"]
    for at in itertools.product(*map(range, sliding.counts)):
        box = _box(sliding.seen(at), sliding.sizes)
        lines.append(f"{node.name}{_index(at, sliding.counts)} saw {x.name}{box}")
    return "\n".join(lines)


def _pool(node: Node, x: Node, sliding: _Sliding) -> str:
    own, lines = symbols.barred(node.name), []
    for at in itertools.product(*map(range, node.shape)):
        seen = sliding.seen(at)
        line = f"{node.name}{_index(at, node.shape)} saw {x.name}{_box(seen, x.shape)}"
        if (place := _taken(node, x, seen)) is not None:
            entry = symbols.number(np.asarray(x.value)[tuple(place)])
            line += f", took {x.name}{_index(place, x.shape)} = {entry}: to it goes {own}{_index(at, node.shape)}"
        lines.append(line)
    return "\n".join(lines)


def _index(at: Sequence[int], sizes: Sequence[int]) -> str:
    shown = [str(int(k)) for k, size in zip(at, sizes, strict=True) if size > 1]
    return f"[{', '.join(shown)}]" if shown else ""


def _box(seen: Sequence[Sequence[int]], sizes: Sequence[int]) -> str:
    """`[0:3]` if the entries are consecutive, `[0 2 4]` if there are gaps."""
    if not all(map(len, seen)):
        return " nowhere"
    shown = []
    for places, size in zip(seen, sizes, strict=True):
        whole = list(places) == list(range(places[0], places[-1] + 1))
        text = str(places[0]) if len(places) == 1 else f"{places[0]}:{places[-1] + 1}"
        shown += [text if whole else " ".join(map(str, places))] if size > 1 else []
    return f"[{', '.join(shown)}]"


# ---- as a picture ---------------------------------------------------------------------------------------------------


def drawn(node: Node, inputs: Sequence[Node]) -> Map | None:
    """The window of the middle output on its input, an arrow, and the output; None if there is nothing to draw."""
    whole = _sliding(node, inputs)
    if whole is None:
        return None
    axes = [k for k, size in enumerate(whole.sizes) if size > 1]
    if len(axes) > 2:
        # examples and channels have windows of one entry
        axes = [k for k in axes if whole.spans[k] > 1]
    sliding = whole.along(axes)
    if not 0 < len(axes) <= 2 or max(sliding.sizes + sliding.counts) > SIDE:
        return None
    middle = [count // 2 for count in sliding.counts]
    seen = sliding.seen(middle)
    if not all(map(len, seen)):
        return None
    before, after = _sides(sliding.sizes), _sides(sliding.counts)
    height = max(before[0], after[0]) * PLACE
    top, down = (height - before[0] * PLACE) / 2, (height - after[0] * PLACE) / 2
    right = before[1] * PLACE + ARROW
    dots = "".join(_dot(place, top) for place in _all_taken(node, inputs[0], whole, axes))
    drawing = (
        _cells(itertools.product(*seen), 0, top) + _grid(before, 0, top) + _frame(seen, top) + dots
        + f'<text class="note" x="{right - ARROW / 2:g}" y="{height / 2 + 4:g}" text-anchor="middle">→</text>'
        + _cells([tuple(middle)], right, down) + _grid(after, right, down)
    )  # fmt: skip
    return Map(right + after[1] * PLACE, height, drawing, "", "")


def _all_taken(node: Node, x: Node, whole: _Sliding, axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every entry that an extreme chose, for the first example and channel."""
    ranges = [range(count) if k in axes else range(1) for k, count in enumerate(whole.counts)]
    places = [_taken(node, x, whole.seen(at)) for at in itertools.product(*ranges)]
    return sorted({tuple(place[k] for k in axes) for place in places if place is not None})


def _sides(sizes: Sequence[int]) -> tuple[int, int]:
    """Rows and columns; a single row if there is one axis."""
    return (sizes[0], sizes[1]) if len(sizes) == 2 else (1, sizes[0])


def _grid(sides: tuple[int, int], x: float, y: float) -> str:
    rows, columns = sides
    lines = [f"M{x:g} {y + k * PLACE:g}h{columns * PLACE:g}" for k in range(rows + 1)]
    lines += [f"M{x + k * PLACE:g} {y:g}v{rows * PLACE:g}" for k in range(columns + 1)]
    return f'<path class="grid" d="{"".join(lines)}"/>'


def _cells(places: Any, x: float, y: float) -> str:
    corners = (place if len(place) == 2 else (0, place[0]) for place in places)
    marks = "".join(f"M{x + j * PLACE:g} {y + i * PLACE:g}h{PLACE:g}v{PLACE:g}h-{PLACE:g}z" for i, j in corners)
    return f'<path class="place" d="{marks}"/>'


def _frame(seen: list[list[int]], y: float) -> str:
    """The outline of a window, from its first entry to its last."""
    rows, columns = seen if len(seen) == 2 else ([0], seen[0])
    across, along = ((each[-1] - each[0] + 1) * PLACE for each in (columns, rows))
    corner = f'x="{columns[0] * PLACE:g}" y="{y + rows[0] * PLACE:g}"'
    return f'<rect class="window" {corner} width="{across:g}" height="{along:g}"/>'


def _dot(place: tuple[int, ...], y: float) -> str:
    i, j = place if len(place) == 2 else (0, place[0])
    return f'<circle class="taken" cx="{(j + 0.5) * PLACE:g}" cy="{y + (i + 0.5) * PLACE:g}" r="{PLACE / 4:g}"/>'
