"""Where boxes are placed and how the edges between them run: a layered layout.

Promises: a pure function of sizes and edges. Every edge runs forward and through no box, no two boxes overlap, chains
are straight, and the work grows almost linearly with boxes and edges. The steps are those of Sugiyama et al. (1981):
layers, an order within each that crosses few edges (sweeps of barycentres, then swaps of neighbours), and coordinates
by Brandes and Köpf (2001). Everything is computed from left to right; downwards is the mirror image. Sums of distances
use `math.fsum`: `sum` rounds differently from Python 3.12 on, and pictures must be equal byte for byte.
Words: a long edge passes each layer between its ends at a bend, a box without size.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

Point = tuple[float, float]
#: A cubic Bézier curve: from, two handles, to.
Curve = tuple[Point, Point, Point, Point]

#: Least distances in pixels: between two boxes of a layer, between a box and a passing edge, between two such edges.
APART, PASSING, ABREAST = 26.0, 18.0, 15.0
#: Between two layers: space for an arrowhead and a curve without a corner.
BETWEEN = 44.0
#: More of it for each of the first two crossings.
CROSSED = 24.0
#: Around the picture.
MARGIN = 18.0
#: Between two arrowheads on one side of a box, and from its corners.
HEADS, CORNER = 17.0, 9.0
#: Sweeps over the layers. Barycentres settle within a few; more sweeps only move what is already right.
SWEEPS = 10


class Layout(NamedTuple):
    """The geometry of a picture in pixels, with the origin at the top left."""

    size: Point
    corners: tuple[Point, ...]
    """The top left corner of each box."""
    routes: tuple[tuple[Curve, ...], ...]
    """For each edge, the curves between the layers; straight lines join one curve to the next."""
    layers: tuple[int, ...]
    """The layer of each box."""


def layout(
    sizes: Sequence[Point], edges: Sequence[tuple[int, int]], labels: Sequence[float] = (), *, down: bool = False
) -> Layout:
    """Place boxes of these (width, height) so that the edges (tail, head) run to the right, or downwards.

    Args:
        sizes: (width, height) of each box; boxes are in a topological order, so tail < head in every edge.
        edges: pairs of positions in `sizes`; the same pair may occur twice.
        labels: for each edge, the space that its label needs along the way, 0 for none.
        down: whether layers are below each other instead of side by side.
    """
    if any(tail >= head for tail, head in edges):
        raise ValueError("layout needs boxes in topological order: every edge must have tail < head.")
    labels = labels or [0.0] * len(edges)
    thick, wide = (1, 0) if not down else (0, 1)
    layers = layered(len(sizes), edges)
    graph = _Bent(len(sizes), edges, layers)
    _order(graph)
    heights = [size[thick] for size in sizes] + [0.0] * (len(graph.layer) - len(sizes))
    middles = _coordinates(graph, heights, len(sizes))
    widths = [max((sizes[v][wide] for v in row if v < len(sizes)), default=0.0) for row in graph.rows]
    starts = _columns(graph, widths, middles, edges, labels)

    lowest = min((middles[v] - heights[v] / 2 for v in range(len(heights))), default=0.0) - MARGIN
    middles = [y - lowest for y in middles]
    highest = max((y + h / 2 for y, h in zip(middles, heights, strict=True)), default=0.0) + MARGIN
    corners = []
    for v, size in enumerate(sizes):
        k = layers[v]
        corners.append((starts[k] + (widths[k] - size[wide]) / 2, middles[v] - size[thick] / 2))
    routes = _routes(graph, edges, [size[wide] for size in sizes], heights, corners, middles, starts, widths)
    end = starts[-1] + widths[-1] + MARGIN if starts else 2 * MARGIN
    swap = (lambda p: (round(p[1], 1), round(p[0], 1))) if down else (lambda p: (round(p[0], 1), round(p[1], 1)))
    curves = tuple(tuple((swap(a), swap(b), swap(c), swap(d)) for a, b, c, d in route) for route in routes)
    return Layout(swap((end, highest)), tuple(map(swap, corners)), curves, tuple(layers))


# ---- layers ---------------------------------------------------------------------------------------------------------


def layered(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The layer of each box: as early as its inputs allow, then moved so that its edges are short."""
    above, below = _neighbours(count, edges)
    layer = [0] * count
    for v in range(count):
        layer[v] = max((layer[u] + 1 for u in above[v]), default=0)
    # a box with at least as many consumers as inputs goes next to its first consumer: above all, arguments
    for v in reversed(range(count)):
        if below[v] and len(below[v]) >= len(above[v]):
            layer[v] = min(layer[w] for w in below[v]) - 1
    for v in range(count):
        if len(above[v]) > len(below[v]):
            layer[v] = max(layer[u] for u in above[v]) + 1
    first = min(layer, default=0)
    used = {k: place for place, k in enumerate(sorted({k - first for k in layer}))}
    return [used[k - first] for k in layer]


def _neighbours(count: int, edges: Sequence[tuple[int, int]]) -> tuple[list[list[int]], list[list[int]]]:
    above: list[list[int]] = [[] for _ in range(count)]
    below: list[list[int]] = [[] for _ in range(count)]
    for tail, head in edges:
        above[head].append(tail)
        below[tail].append(head)
    return above, below


class _Bent:
    """The graph with its bends: every link joins neighbouring layers."""

    def __init__(self, count: int, edges: Sequence[tuple[int, int]], layers: Sequence[int]) -> None:
        self.real = count
        self.layer = list(layers)
        self.chains: list[list[int]] = []
        links: list[tuple[int, int]] = []
        for tail, head in edges:
            bends = range(len(self.layer), len(self.layer) + layers[head] - layers[tail] - 1)
            self.layer.extend(range(layers[tail] + 1, layers[head]))
            chain = [tail, *bends, head]
            self.chains.append(chain)
            links += pairwise(chain)
        self.above, self.below = _neighbours(len(self.layer), links)
        self.rows: list[list[int]] = [[] for _ in range(max(self.layer, default=-1) + 1)]
        self.place = [0] * len(self.layer)

    def put(self, k: int, row: list[int]) -> None:
        self.rows[k] = row
        for place, v in enumerate(row):
            self.place[v] = place


# ---- the order within each layer ------------------------------------------------------------------------------------


def _order(graph: _Bent) -> None:
    """Order the rows so that few links cross; the best order of all sweeps is kept."""
    _first_order(graph)
    best, fewest = [list(row) for row in graph.rows], _crossings(graph)
    for sweep in range(SWEEPS):
        if fewest == 0:
            break
        forward = sweep % 2 == 0
        ks = range(1, len(graph.rows)) if forward else range(len(graph.rows) - 2, -1, -1)
        for k in ks:
            _by_barycentre(graph, k, graph.above if forward else graph.below)
        _exchange(graph)
        result = _crossings(graph)
        if result < fewest:
            best, fewest = [list(row) for row in graph.rows], result
    for k, row in enumerate(best):
        graph.put(k, row)


def _first_order(graph: _Bent) -> None:
    """Depth first from the last box back through its inputs, so that related boxes are close together."""
    rows: list[list[int]] = [[] for _ in graph.rows]
    seen = [False] * len(graph.layer)
    for start in reversed(range(len(graph.layer))):
        stack = [start] if not graph.below[start] else []
        while stack:
            v = stack.pop()
            if not seen[v]:
                seen[v] = True
                rows[graph.layer[v]].append(v)
                stack += reversed(graph.above[v])
    for k, row in enumerate(rows):
        graph.put(k, row)


def _by_barycentre(graph: _Bent, k: int, neighbours: list[list[int]]) -> None:
    row, place = graph.rows[k], graph.place
    centre = {v: sum(place[u] for u in neighbours[v]) / len(neighbours[v]) for v in row if neighbours[v]}
    moving = iter(sorted(centre, key=lambda v: (centre[v], place[v])))
    # a box without a neighbour on that side keeps its place
    graph.put(k, [next(moving) if v in centre else v for v in row])


def _exchange(graph: _Bent) -> None:
    """Swap neighbours if that crosses fewer links."""
    for k, row in enumerate(graph.rows):
        for i in range(len(row) - 1):
            u, v = row[i], row[i + 1]
            gain = 0
            for side in (graph.above, graph.below):
                a, b = ([graph.place[w] for w in side[x]] for x in (u, v))
                gain += sum((p > q) - (p < q) for p in a for q in b)
            if gain > 0:
                row[i], row[i + 1] = v, u
        graph.put(k, row)


def _crossings(graph: _Bent) -> int:
    """How many pairs of links cross, by merge counting."""
    return sum(_crossings_below(graph, row) for row in graph.rows)


def _crossings_below(graph: _Bent, row: list[int]) -> int:
    ends = [graph.place[w] for v in row for w in sorted(graph.below[v], key=graph.place.__getitem__)]
    return _inversions(ends)[0]


def _inversions(values: list[int]) -> tuple[int, list[int]]:
    if len(values) < 2:
        return 0, values
    middle = len(values) // 2
    (left, a), (right, b) = _inversions(values[:middle]), _inversions(values[middle:])
    count, merged, j = left + right, [], 0
    for x in a:
        while j < len(b) and b[j] < x:
            merged.append(b[j])
            j += 1
        merged.append(x)
        count += j
    return count, merged + b[j:]


# ---- coordinates across the layers ----------------------------------------------------------------------------------


def _coordinates(graph: _Bent, heights: list[float], real: int) -> list[float]:
    """The middle of each box across the layers: the mean of the inner two of four extreme placements."""
    conflicts = _conflicts(graph, real) | _minor(graph)
    result = []
    for upwards in (False, True):
        rows = graph.rows[::-1] if upwards else graph.rows
        neighbours = graph.below if upwards else graph.above
        for mirrored in (False, True):
            turned = [row[::-1] for row in rows] if mirrored else rows
            place = {v: i for row in turned for i, v in enumerate(row)}
            root = _aligned(turned, neighbours, place, conflicts)
            y = _packed(turned, root, lambda u, v: _apart(heights, real, u, v))
            result.append([-each for each in y] if mirrored else y)
    spans = [max(y) - min(y) for y in result if y]
    if not spans:
        return []
    narrowest = result[spans.index(min(spans))]
    for k, y in enumerate(result):
        # the upper placements meet at the upper end of the narrowest, the lower at its lower end
        shift = max(narrowest) - max(y) if k % 2 else min(narrowest) - min(y)
        result[k] = [each + shift for each in y]
    y = [math.fsum(sorted(four)[1:3]) / 2 for four in zip(*result, strict=True)]
    _relaxed(graph, y, lambda u, v: _apart(heights, real, u, v))
    return y


def _relaxed(graph: _Bent, y: list[float], apart: Callable[[int, int], float]) -> None:
    """Move the straight inner part of each long edge as close to its ends as its neighbours allow."""
    for chain in [each for each in graph.chains if len(each) > 2] * 2:
        bends = chain[1:-1]
        low, high = float("-inf"), float("inf")
        for v in bends:
            row, i = graph.rows[graph.layer[v]], graph.place[v]
            if i:
                low = max(low, y[row[i - 1]] + apart(row[i - 1], v))
            if i + 1 < len(row):
                high = min(high, y[row[i + 1]] - apart(v, row[i + 1]))
        # at the height of one end there is one curve fewer than in the middle
        wished = min(
            (y[chain[0]], y[chain[-1]]), key=lambda end: (abs(min(max(end, low), high) - end), abs(end - y[bends[0]]))
        )
        if low <= high:
            for v in bends:
                y[v] = min(max(wished, low), high)


def _minor(graph: _Bent) -> set[tuple[int, int]]:
    """Links into a box that also reads something deeper: the longest line runs straight, they do not."""
    depth = [0] * len(graph.layer)
    for row in graph.rows:
        for v in row:
            bend = v >= graph.real
            depth[v] = max((depth[u] + (not bend) for u in graph.above[v]), default=0)
    return {
        (min(u, v), max(u, v))
        for v in range(graph.real)
        for u in graph.above[v]
        if depth[u] < max(depth[w] for w in graph.above[v])
    }


def _apart(heights: list[float], real: int, u: int, v: int) -> float:
    bends = (u >= real) + (v >= real)
    return (heights[u] + heights[v]) / 2 + (APART, PASSING, ABREAST)[bends]


def _conflicts(graph: _Bent, real: int) -> set[tuple[int, int]]:
    """Links that cross the inner part of a long edge: the long edge stays straight."""
    result = set()
    for upper, row in pairwise(graph.rows):
        left, scanned = 0, 0
        for i, v in enumerate(row):
            inner = next((u for u in graph.above[v] if u >= real), None) if v >= real else None
            if inner is None and i < len(row) - 1:
                continue
            right = len(upper) if inner is None else graph.place[inner]
            for w in row[scanned : i + 1]:
                for u in graph.above[w]:
                    if not left <= graph.place[u] <= right and not (u >= real and w >= real):
                        result.add((min(u, w), max(u, w)))
            scanned, left = i + 1, right
    return result


def _aligned(
    rows: list[list[int]], neighbours: list[list[int]], place: dict[int, int], conflicts: set[tuple[int, int]]
) -> dict[int, int]:
    """{box: the first box of the straight line that it is on}: each aligns with the median of its neighbours."""
    root = {v: v for v in place}
    taken = set()
    for row in rows:
        last = -1
        for v in row:
            near = sorted(neighbours[v], key=place.__getitem__)
            for u in dict.fromkeys((near[(len(near) - 1) // 2], near[len(near) // 2]) if near else ()):
                if place[u] > last and u not in taken and (min(u, v), max(u, v)) not in conflicts:
                    root[v], last = root[u], place[u]
                    taken.add(u)
                    break
    return root


def _packed(rows: list[list[int]], root: dict[int, int], apart: Callable[[int, int], float]) -> list[float]:
    """Coordinates of the lines: as far up as possible, then down again as far as nothing else has to move."""
    before: dict[int, dict[int, float]] = defaultdict(dict)
    after: dict[int, dict[int, float]] = defaultdict(dict)
    for row in rows:
        for u, v in pairwise(row):
            a, b = root[u], root[v]
            before[b][a] = after[a][b] = max(before[b].get(a, 0.0), apart(u, v))
    lines = _sorted_lines(list(dict.fromkeys(root.values())), before, after)
    y: dict[int, float] = {}
    for b in lines:
        y[b] = max((y[a] + gap for a, gap in before[b].items()), default=0.0)
    for a in reversed(lines):
        if after[a]:
            y[a] = max(y[a], min(y[b] - gap for b, gap in after[a].items()))
    return [y[root[v]] for v in range(len(root))]


def _sorted_lines(lines: list[int], before: dict, after: dict) -> list[int]:
    waiting = {b: len(before[b]) for b in lines}
    ready = [b for b in lines if not waiting[b]]
    for b in ready:
        for c in after[b]:
            waiting[c] -= 1
            if not waiting[c]:
                ready.append(c)
    return ready


# ---- columns and routes ---------------------------------------------------------------------------------------------


def _columns(
    graph: _Bent, widths: list[float], middles: list[float], edges: Sequence[tuple[int, int]], labels: Sequence[float]
) -> list[float]:
    """Where each layer begins: there is space for the labels before the next, and for curves that are not too steep."""
    gaps = [BETWEEN] * len(widths)
    for (_, head), label, chain in zip(edges, labels, graph.chains, strict=True):
        if label:
            k = graph.layer[head] - 1
            gaps[k] = max(gaps[k], label + BETWEEN - 10)
        for u, v in pairwise(chain):
            rise = abs(middles[u] - middles[v])
            gaps[graph.layer[u]] = max(gaps[graph.layer[u]], BETWEEN + min(0.16 * rise, 56.0))
    labelled = {graph.layer[head] - 1 for (_, head), label in zip(edges, labels, strict=True) if label}
    for k in labelled:
        # space for a label to avoid the arrows that cross its own
        gaps[k] += min(CROSSED * _crossings_below(graph, graph.rows[k]), 2 * CROSSED)
    starts, x = [], MARGIN
    for width, gap in zip(widths, gaps, strict=True):
        starts.append(x)
        x += width + gap
    return starts


def _routes(
    graph: _Bent, edges: Sequence[tuple[int, int]], lengths: list[float], heights: list[float], corners: list[Point],
    middles: list[float], starts: list[float], widths: list[float],
) -> list[list[Curve]]:  # fmt: skip
    """The curves of every edge. It changes its height only between layers, where no boxes are."""
    arriving: dict[int, list[int]] = defaultdict(list)
    for e, (_, head) in enumerate(edges):
        arriving[head].append(e)
    landing: dict[int, float] = {}
    for head, each in arriving.items():
        wished = sorted((middles[graph.chains[e][-2]], e) for e in each)
        at = _spread([y for y, _ in wished], middles[head], heights[head])
        landing.update({e: y for (_, e), y in zip(wished, at, strict=True)})
    routes = []
    for e, (tail, head) in enumerate(edges):
        chain = graph.chains[e]
        route = []
        for u, v in pairwise(chain):
            k = graph.layer[u]
            x0 = corners[tail][0] + lengths[tail] if u == tail else starts[k] + widths[k]
            x1 = corners[head][0] if v == head else starts[k + 1]
            y0, y1 = middles[u], landing[e] if v == head else middles[v]
            # a box narrower than its column: straight to the edge of the column, then the curve
            left, right = max(x0, starts[k] + widths[k]), min(x1, starts[k + 1])
            middle = (left + right) / 2
            if x0 < left:
                route.append(_straight((x0, y0), (left, y0)))
            route.append(((left, y0), (middle, y0), (middle, y1), (right, y1)))
            if right < x1:
                route.append(_straight((right, y1), (x1, y1)))
        routes.append(route)
    return routes


def _straight(a: Point, b: Point) -> Curve:
    third = (b[0] - a[0]) / 3
    return a, (a[0] + third, a[1]), (b[0] - third, b[1]), b


def _spread(wished: list[float], middle: float, height: float) -> list[float]:
    """Where the edges reach the side of a box: at the height they come from if possible, in that order, not too
    close."""
    low, high = middle - height / 2 + CORNER, middle + height / 2 - CORNER
    step = min(HEADS, (high - low) / max(len(wished) - 1, 1))
    at: list[float] = []
    for k, y in enumerate(wished):
        at.append(min(max(y, low + k * step, at[-1] + step if at else low), high - (len(wished) - 1 - k) * step))
    return at
