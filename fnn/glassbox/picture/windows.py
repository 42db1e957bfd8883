"""Convolutions and pools in words: which window each output saw, and where its gradient goes.

Promises: indices of the arrays as they are, padding left out; axes of size 1 are not written. Letters: y the output, x
the input, k the kernel.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from fnn.glassbox.picture import symbols
from fnn.glassbox.records import Node

#: At most so many outputs are listed.
OUTPUTS = 16
EXTREMES = {"reduce_window_max": np.argmax, "reduce_window_min": np.argmin}


def windows(node: Node, inputs: Sequence[Node]) -> str:
    """A line per output of a convolution or a pool; "" for every other step, and where there are too many.

    Args:
        node: the step. inputs: what it reads. Both under the names by which they are drawn.
    """
    if node.operation == "conv_general_dilated":
        return _convolution(node, inputs)
    if node.operation in ("reduce_window_sum", *EXTREMES):
        return _pool(node, inputs[0])
    return ""


def _convolution(node: Node, inputs: Sequence[Node]) -> str:
    x, kernel = inputs
    p = node.params
    of_x, of_kernel, of_y = (tuple(axes)[2:] for axes in p["dimension_numbers"])
    sizes, counts = ([each.shape[axis] for axis in axes] for each, axes in ((x, of_x), (node, of_y)))
    if not of_x or np.prod(counts) > OUTPUTS:
        return ""
    spans = [kernel.shape[axis] for axis in of_kernel]
    ways = (sizes, spans, p["window_strides"], p["padding"], p["lhs_dilation"], p["rhs_dilation"])
    own, bar = symbols.barred(node.name), symbols.barred(x.name)
    lines = [f"to {bar} at every place of a window goes {own} times the weight of {kernel.name} there"]
    for at in itertools.product(*map(range, counts)):
        lines.append(f"{node.name}{_index(at, counts)} saw {x.name}{_box(_seen(at, *ways), sizes)}")
    return "\n".join(lines)


def _pool(node: Node, x: Node) -> str:
    p = node.params
    if node.size > OUTPUTS or not symbols.numeric(x.value):
        return ""
    ways = (
        *(x.shape, p["window_dimensions"], p["window_strides"], p["padding"]),
        *(p["base_dilation"], p["window_dilation"]),
    )
    own, lines = symbols.barred(node.name), []
    for at in itertools.product(*map(range, node.shape)):
        seen = _seen(at, *ways)
        line = f"{node.name}{_index(at, node.shape)} saw {x.name}{_box(seen, x.shape)}"
        if (chosen := EXTREMES.get(node.operation)) and all(map(len, seen)):
            part = np.asarray(x.value)[np.ix_(*seen)]
            place = [axis[k] for axis, k in zip(seen, np.unravel_index(chosen(part), part.shape), strict=True)]
            taken = f"{x.name}{_index(place, x.shape)}"
            line += (
                f", took {taken} = {symbols.number(part.flat[chosen(part)])}: to it goes {own}{_index(at, node.shape)}"
            )
        lines.append(line)
    return "\n".join(lines)


def _seen(
    at: Sequence[int], sizes: Sequence[int], spans: Sequence[int], strides: Sequence[int], padding: Any,
    between: Sequence[int], apart: Sequence[int],
) -> list[list[int]]:  # fmt: skip
    """Per axis, the entries of x in the window of output `at`.

    Args:
        spans: places of the window. between: one more than the gaps between entries of x. apart: between its places.
    """
    result = []
    for o, size, span, stride, (low, _), gap, step in zip(
        at, sizes, spans, strides, padding, between, apart, strict=True
    ):
        places = [o * stride - low + k * step for k in range(span)]
        result.append([place // gap for place in places if place % gap == 0 and 0 <= place // gap < size])
    return result


def _index(at: Sequence[int], sizes: Sequence[int]) -> str:
    shown = [str(int(k)) for k, size in zip(at, sizes, strict=True) if size > 1]
    return f"[{', '.join(shown)}]" if shown else ""


def _box(seen: Sequence[Sequence[int]], sizes: Sequence[int]) -> str:
    """`[0:3]` where the entries follow each other, `[0 2 4]` where there are gaps."""
    if not all(map(len, seen)):
        return " nowhere"
    shown = []
    for places, size in zip(seen, sizes, strict=True):
        whole = list(places) == list(range(places[0], places[-1] + 1))
        text = str(places[0]) if len(places) == 1 else f"{places[0]}:{places[-1] + 1}"
        shown += [text if whole else " ".join(map(str, places))] if size > 1 else []
    return f"[{', '.join(shown)}]"
