"""Small heat maps of arrays: at most 16 × 16 cells, zero neutral, the largest entry in full colour.

The cells of up to six entries hold their numbers.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from fnn.glassbox.picture import symbols
from fnn.glassbox.picture.themes import SHADES

#: How many cells there are along a side; larger arrays are averaged.
CELLS = 16
#: Arrays of up to this many rows, columns and entries show their numbers, in cells of this height.
ROWS, COLUMNS, ENTRIES, NUMBERED = 3, 3, 6, 20.0
#: The widest cell with a number in it; a number of so many signs and more has no room.
WIDEST = 80.0
#: The deepest shade under a number, which must be read on it.
DEEPEST = 3
#: Pixels of a cell, and limits for the whole map.
CELL, SIDE = 13.0, 64.0


class Map(NamedTuple):
    """A heat map as SVG, with its origin at the top left."""

    width: float
    height: float
    drawing: str
    scale: str
    """What full colour means: `±1.3`; "" where the numbers stand in the cells."""
    averaged: str
    """`mean of 4 × 2` if a cell represents several entries, else ""."""


def heat_map(value: Any) -> Map | None:
    """The map of an array of numbers; None if there are no entries to draw."""
    if not symbols.numeric(value) or value.size == 0 or value.dtype.kind == "c":
        return None
    entries = np.asarray(value, np.float64)
    # an image with one example and one channel: its own rows and columns
    sides = [size for size in entries.shape if size > 1]
    columns = sides[-1] if entries.ndim > 2 and len(sides) == 2 else entries.shape[-1] if entries.ndim else 1
    table = entries.reshape(-1, columns) if entries.ndim > 1 else entries.reshape(1, -1)
    # the entry farthest from zero, taken before averages hide it
    finite = np.abs(table[np.isfinite(table)])
    if (numbered := _numbered(table, value.dtype.kind)) is not None:
        return numbered
    cells, block = _averaged(table)
    largest = float(np.max(np.abs(cells[np.isfinite(cells)]), initial=0.0))
    rows, columns = cells.shape
    size = max(4.0, min(CELL, SIDE / max(rows, columns)))
    # a row or a column of many cells would be a thin line
    across, along = (max(size, CELL) if count == 1 else size for count in (columns, rows))
    paths: dict[str, list[str]] = {}
    for i, row in enumerate(cells):
        j = 0
        shades = [shade(x, largest) for x in row]
        while j < columns:
            run = next((k for k in range(j, columns) if shades[k] != shades[j]), columns) - j
            paths.setdefault(shades[j], []).append(f"M{j} {i}h{run}v1h-{run}z")
            j += run
    drawn = "".join(f'<path class="{shade}" d="{"".join(marks)}"/>' for shade, marks in sorted(paths.items()))
    scale = "all 0" if not largest else f"±{symbols.number(float(np.max(finite)) if block == (1, 1) else largest)}"
    if not len(finite):
        scale = "not finite"
    each = f"{block[1]}" if entries.ndim < 2 else f"{block[0]} × {block[1]}"
    note = f"mean of {each}" if block != (1, 1) else ""
    width, height = columns * across, rows * along
    drawing = (
        f'<g transform="scale({across:g} {along:g})" shape-rendering="crispEdges">{drawn}</g>'
        f'<rect class="frame" width="{width:g}" height="{height:g}"/>'
    )
    return Map(width, height, drawing, scale, note)


def _numbered(table: np.ndarray, kind: str) -> Map | None:
    """The map of a small array, its numbers in the cells; None where they have no room."""
    rows, columns = table.shape
    if rows > ROWS or columns > COLUMNS or table.size > ENTRIES or kind == "b":
        return None
    texts = [[symbols.number(int(x) if kind in "iu" else x) for x in row] for row in table]
    across = max(symbols.text_width(text, 12.0) for row in texts for text in row) + 10
    if across > WIDEST:
        return None
    largest = float(np.max(np.abs(table[np.isfinite(table)]), initial=0.0))
    out = []
    for (i, row), words in zip(enumerate(table), texts, strict=True):
        for (j, x), text in zip(enumerate(row), words, strict=True):
            x, y = j * across, i * NUMBERED
            out.append(
                f'<rect class="{shade(table[i, j], largest, DEEPEST)}" x="{x:g}" y="{y:g}" width="{across:g}" '
                f'height="{NUMBERED:g}"/><text class="cell{"" if np.isfinite(table[i, j]) else " off"}" '
                f'x="{x + across / 2:g}" y="{y + 14:g}" text-anchor="middle">{text}</text>'
            )
    width, height = columns * across, rows * NUMBERED
    frame = f'<rect class="frame" width="{width:g}" height="{height:g}"/>'
    return Map(width, height, "".join([*out, frame]), "", "")


def shade(x: float, largest: float, deepest: int = SHADES) -> str:
    if not math.isfinite(x):
        return "bad"
    level = round(abs(x) / largest * deepest) if largest else 0
    return f"{'n' if x < 0 else 'p'}{level}" if level else "m0"


def _averaged(table: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """(at most CELLS × CELLS cells, the entries per cell); blocks at the end may be smaller."""
    block = tuple(-(-size // CELLS) for size in table.shape)
    if block == (1, 1):
        return table, (1, 1)
    for axis, size in enumerate(block):
        starts = np.arange(0, table.shape[axis], size)
        counts = np.diff([*starts, table.shape[axis]])
        with np.errstate(invalid="ignore"):
            sums = np.add.reduceat(table, starts, axis=axis)
        table = sums / (counts[:, None] if axis == 0 else counts)
    return table, (block[0], block[1])
