"""Which parts of a graph are drawn: boxes and the flows between them.

Promises: no gradient is hidden. Constant numbers are in the label of their step; steps that only rename entries, and
arithmetic on indices, are part of the flow; the numbers drawn are those of the value itself. A `Part` represents a node
or, when folded, a whole call or named scope, or a row of equal ones; the contributions on the flows into a value add up
to its cotangent.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fnn.glassbox.picture import symbols
from fnn.glassbox.picture.drawing import Drawing, automatic
from fnn.glassbox.picture.groups import folded, require_known
from fnn.glassbox.picture.maps import Map
from fnn.glassbox.picture.windows import drawn as windows_drawn
from fnn.glassbox.records import Node, Record, Summary
from fnn.glassbox.table import known


@dataclass(frozen=True, eq=False)
class Part:
    """A box of the picture."""

    key: str
    """Unique within the scene."""
    kind: str
    """argument, constant, step, small (a copy, with a sum as its backward pass), group, or output (of a step with
    several)."""
    name: str
    symbol: str
    node: Node
    """The node with the value and cotangent shown in the box."""
    members: tuple[int, ...]
    """The nodes that it represents."""
    sentence: str = ""
    """What it computes, with the names of what it reads."""
    times: int = 1
    """How many equal parts it represents."""
    reads: tuple[str, ...] = ()
    """For a single step, what it reads, in order, by name or number."""
    window: Map | None = None
    """For a convolution or a pool, one of its windows."""


@dataclass(frozen=True, eq=False)
class Flow:
    """An arrow: a value from the part that made it to a part that reads it, and the contribution that comes back."""

    tail: int
    head: int
    share: Any = None
    """The contribution of the head to the cotangent of the tail's value; None if nothing flows back."""
    local: float | None = None
    """The derivative of the head's value with respect to the tail's, if both are numbers."""
    active: bool = False
    """Whether a gradient flows back along it."""
    rule: str = ""
    """The formula of what the head passes back along it, with the names of values; "" if there is none."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Parts in topological order, and the flows between them."""

    parts: tuple[Part, ...]
    flows: tuple[Flow, ...]
    outputs: tuple[int, ...]

    def into(self, part: int) -> list[Flow]:
        """What a part reads."""
        return [self.flows[e] for e in self.arriving[part]]

    def out_of(self, part: int) -> list[Flow]:
        """Who reads a part."""
        return [self.flows[e] for e in self._leaving[part]]

    @cached_property
    def arriving(self) -> list[list[int]]:
        """For each part, the positions in `flows` of what it reads."""
        return self._by(flow.head for flow in self.flows)

    @cached_property
    def _leaving(self) -> list[list[int]]:
        return self._by(flow.tail for flow in self.flows)

    def _by(self, ends: Iterable[int]) -> list[list[int]]:
        result: list[list[int]] = [[] for _ in self.parts]
        for e, part in enumerate(ends):
            result[part].append(e)
        return result

    def terms(self, part: int) -> list[Any]:
        """The contributions to the cotangent of a part, in the order in which the backward pass makes them."""
        return [flow.share for flow in self.readers(part) if flow.share is not None]

    def readers(self, part: int) -> list[Flow]:
        """Who reads a part, the last first; its other outputs, which are drawn beside it, read nothing."""
        readers = [flow for flow in self.out_of(part) if self.parts[flow.head].kind != "output"]
        return sorted(readers, key=lambda flow: -flow.head)


def scene(graph: Record, fold: bool | tuple[str, ...] = False) -> Scene:
    """The scene of a graph.

    Args:
        fold: draw nested calls and named scopes as one box each: all of them, or those of these names.
    """
    drawing = Drawing(graph)
    if not isinstance(fold, bool):
        require_known(drawing, (fold,) if isinstance(fold, str) else fold)
    groups = folded(drawing, fold) if fold else {}
    return _composed(drawing, groups)


def foldable(graph: Record) -> bool:
    """True if folding changes the picture."""
    return bool(folded(Drawing(graph), True))


def _composed(drawing: Drawing, groups: dict[int, tuple[str, int, int]]) -> Scene:
    home = {k: ("group", groups[k][1]) if k in groups else ("node", k) for k in drawing.drawn}
    for k in drawing.drawn:
        if drawing.leader.get(k) in groups:
            home[k] = home[drawing.leader[k]]
    home |= _stacks(drawing, groups, home)
    members: dict[tuple[str, int], list[int]] = defaultdict(list)
    for k in drawing.drawn:
        members[home[k]].append(k)
    leaving = {place: _leaving(drawing, place, held, home) for place, held in members.items()}
    # a group with several outputs shows its last; the others are separate boxes, fed by the group
    spare = {k: place for place, outs in leaving.items() if place[0] == "group" for k in outs[:-1]}
    order = sorted(members, key=lambda place: max(members[place]) if place[0] == "group" else place[1])
    places: list[tuple[str, int]] = []
    for place in order:
        places.append(place)
        places += [("spare", k) for k, owner in spare.items() if owner == place]
    index = {place: i for i, place in enumerate(places)}
    where = {k: index[("spare", k)] if k in spare else index[home[k]] for k in drawing.drawn}

    parts = [_part(drawing, groups, place, members, leaving) for place in places]
    flows: dict[tuple[int, int, int], list[Any]] = {}
    drawn_before: Counter[tuple[int, int]] = Counter()
    for place, owner in ((("spare", k), owner) for k, owner in spare.items()):
        node = drawing.nodes[place[1]]
        flows[index[owner], index[place], 0] = [node.cotangent]
        drawn_before[index[owner], index[place]] = 1
    rules: dict[tuple[int, int, int], str] = {}
    for k in drawing.drawn:
        turns: Counter[int] = Counter()
        for i, taken in _edges(drawing, k):
            turns[i] += 1
            if home[i] == home[k]:
                continue
            tail, head = where[i], index[home[k]]
            single = home[k][0] == home[i][0] == "node"
            count = drawn_before[tail, head] if single else 0
            drawn_before[tail, head] += (tail, head, count) not in flows
            flows.setdefault((tail, head, count), []).extend(taken)
            if single and k not in drawing.leader:
                rules[tail, head, count] = _rule(drawing, k, i, turns[i])
    # with several outputs, what the head passes back depends on all of them: there is no local derivative
    several = {tail for tail, head, _ in flows if parts[head].kind == "output"}
    made = [
        replace(_flow(parts, key[0], key[1], shares, key[1] in several), rule=rules.get(key, ""))
        for key, shares in sorted(flows.items())
    ]
    named = [_spoken(drawing, part, groups) for part in parts]
    return Scene(tuple(named), tuple(made), tuple(dict.fromkeys(where[k] for k in drawing.outputs)))


def _edges(drawing: Drawing, k: int) -> list[tuple[int, list[Any]]]:
    """(input, its contributions from node k) for each input that is drawn, one entry for each time it is read."""
    if k in drawing.leader:
        return [(drawing.leader[k], [drawing.nodes[k].cotangent])]
    result = []
    inputs = [i for i, _ in drawing.reads[k] if i is not None]
    for i in dict.fromkeys(inputs):
        shares, count = list(drawing.back.get(i, {}).get(k, [])), inputs.count(i)
        if len(shares) == count:
            result += [(i, [share]) for share in shares]
        else:
            result += [(i, shares)] + [(i, [])] * (count - 1 if not shares else 0)
    return result


def _stacks(drawing: Drawing, groups: dict, home: dict) -> dict[int, tuple[str, int]]:
    """Arguments that are read only by a row of equal groups, one by each, become one box."""
    consumers: dict[int, set[int]] = defaultdict(set)
    for k in drawing.drawn:
        for i, _ in drawing.reads[k]:
            if i is not None:
                consumers[i].add(k)
    result: dict[int, tuple[str, int]] = {}
    by_role: dict[Any, list[int]] = defaultdict(list)
    for k in drawing.drawn:
        node = drawing.nodes[k]
        if (
            node.operation == "argument"
            and consumers[k]
            and all(c in groups and groups[c][2] > 1 for c in consumers[k])
        ):
            first = min(consumers[k])
            by_role[home[first], re.sub(r"_?\d+$", "", node.name), node.shape].append(k)
    for held in by_role.values():
        if len(held) > 1:
            result.update((k, ("stack", held[0])) for k in held)
    return result


def _leaving(drawing: Drawing, place: tuple[str, int], held: list[int], home: dict) -> list[int]:
    """The nodes of a box that others read, or that are outputs."""
    if place[0] != "group":
        return held[:1]
    inside = set(held)
    read = {i for k in drawing.drawn if k not in inside for i, _ in drawing.reads[k] if i is not None}
    return [k for k in held if k in read or k in drawing.outputs] or held[-1:]


def _part(drawing: Drawing, groups: dict, place: tuple[str, int], members: dict, leaving: dict) -> Part:
    kind, k = place
    held = tuple(members.get(place, (k,)))
    node = drawing.nodes[leaving[place][-1] if kind == "group" else k]
    if kind == "group":
        name, _, times = groups[k]
        symbol = f"{len(held)} steps" if times == 1 else f"{times} × {len(held) // times} steps"
        return Part(f"g{k}", "group", name if times == 1 else f"{name} × {times}", symbol, node, held, times=times)
    if kind == "spare":
        return Part(f"o{k}", "output", drawing.named[k], "also out", node, (k,))
    if kind == "stack":
        names = [drawing.nodes[each].name for each in held]
        return Part(f"s{k}", "stack", f"{names[0]} … {names[-1]}", "", node, held, times=len(held))
    if k in drawing.fixed:
        return Part(
            f"n{k}", "constant", "" if automatic(node) or node.operation == "constant" else node.name, "", node, held
        )
    if node.operation == "argument":
        return Part(f"n{k}", "argument", node.name, "", node, held)
    if k in drawing.leader:
        return Part(f"n{k}", "output", drawing.named[k], "also out", node, held)
    small = node.operation == "broadcast_in_dim"
    texts = [None if i is not None else drawing.text(whole) for i, whole in drawing.reads[k]]
    window = windows_drawn(node, [drawing.nodes[i] for i in node.inputs])
    kind, symbol = "small" if small else "step", symbols.symbol(node, texts)
    return Part(f"n{k}", kind, drawing.named[k], symbol, node, held, window=window)


def _spoken(drawing: Drawing, part: Part, groups: dict) -> Part:
    """The part with its sentence."""
    if part.kind not in ("step", "small", "group"):
        return part
    if part.kind == "group":
        inside = set(part.members)
        read = dict.fromkeys(i for k in part.members for i, _ in drawing.reads[k] if i is not None and i not in inside)
        read_names = [drawing.named[i] for i in read]
        return replace(part, sentence=f"{part.name}({', '.join(read_names[:6])}{', …' if len(read_names) > 6 else ''})")
    names = _read(drawing, part.node.index)
    return replace(part, sentence=symbols.sentence(part.node, names), reads=tuple(names))


def _read(drawing: Drawing, k: int) -> list[str]:
    """What a step reads, by name, or by number if it is a constant."""
    names = []
    for i, whole in drawing.reads[k]:
        unnamed = i is not None and i in drawing.fixed and automatic(drawing.nodes[i])
        names.append("constants" if unnamed else drawing.named[i] if i is not None else drawing.text(whole) or "?")
    return names


def _rule(drawing: Drawing, k: int, i: int, turn: int) -> str:
    """The formula of what step k passes back to value i, which it may read several times."""
    node, names = drawing.nodes[k], [f"({name})" if name[0] == "−" else name for name in _read(drawing, k)]
    positions = [position for position, (drawn, _) in enumerate(drawing.reads[k]) if drawn == i]
    shapes = [drawing.nodes[each].shape for each in node.inputs]
    formula = known(node.operation).formula(positions[min(turn, len(positions)) - 1], node.params, shapes)
    own = drawing.named[k]
    if formula and known(node.operation).entrywise and drawing.nodes[i].size < node.size:
        # a number beside an array is used once per entry
        formula = f"the sum of {formula}"
    return formula.format(g=symbols.barred(own), y=own, **dict(zip("abc", names, strict=False)))


def _flow(parts: list[Part], tail: int, head: int, shares: list[Any], several: bool) -> Flow:
    held = [share for share in shares if share is not None and not isinstance(share, Summary)]
    if not held or parts[tail].times > 1:
        return Flow(tail, head, active=bool([share for share in shares if share is not None]))
    total = held[0]
    for share in held[1:]:
        total = total + share if np.shape(total) == np.shape(share) else total + np.reshape(share, np.shape(total))
    local = None
    bar = parts[head].node.cotangent
    if (
        symbols.single(total)
        and bar is not None
        and symbols.single(bar)
        and not several
        and parts[head].kind != "output"
    ):
        above, below = (complex(symbols.entry(each)) for each in (total, bar))
        # for complex numbers only what flows is shown
        above, below = (above.real, below.real) if not (above.imag or below.imag) else (0.0, 0.0)
        if below and np.isfinite(above) and np.isfinite(below):
            local = above / below
    return Flow(tail, head, total, local, True)
