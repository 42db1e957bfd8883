"""Which parts of a graph are drawn: boxes and the flows between them.

Promises: no gradient is hidden. Constant numbers are in the label of their step; steps that only rename entries, and
arithmetic on indices, are part of the flow; the numbers drawn are those of the value itself. A `Part` represents a node
or, when folded, a whole call or named scope, or a row of equal ones; the contributions on the flows into a value add up
to its cotangent.
"""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fnn.glassbox.picture import symbols
from fnn.glassbox.picture.maps import Map
from fnn.glassbox.picture.windows import drawn as windows_drawn
from fnn.glassbox.records import Node, Record, Summary
from fnn.glassbox.table import known

#: This many equal neighbours become one box.
ROW = 3


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
    drawing = _Drawing(graph)
    if not isinstance(fold, bool):
        _require_known(drawing, (fold,) if isinstance(fold, str) else fold)
    groups = _groups(drawing, fold) if fold else {}
    return _composed(drawing, groups)


def foldable(graph: Record) -> bool:
    """True if folding changes the picture."""
    return bool(_groups(_Drawing(graph), True))


class _Drawing:
    """Which nodes are drawn, which are in labels, and which are part of a flow."""

    def __init__(self, graph: Record) -> None:
        self.graph, self.nodes = graph, graph.nodes
        self.fixed = self._constants()
        self.source = self._passed()
        self.leader = self._siblings()
        self.outputs = tuple(dict.fromkeys(self.resolved(k) for k in graph.outputs))
        self.drawn, self.reads = self._reached()
        self.back = self._contributions()
        self.named = self._names()

    def resolved(self, k: int) -> int:
        """The node with the entries that node k passes on."""
        while k in self.source:
            k = self.source[k]
        return k

    def text(self, k: int) -> str | None:
        """The number that all entries of node k equal, if it is constant; otherwise None."""
        value = self.nodes[k].value
        if k not in self.fixed or not symbols.numeric(value):
            return None
        entries = np.asarray(value)
        if entries.size == 0 or not np.array_equal(
            entries, np.full_like(entries, entries.flat[0]), equal_nan=entries.dtype.kind == "f"
        ):
            return None
        return symbols.number(entries.flat[0])

    def _constants(self) -> set[int]:
        """Nodes that no argument reaches."""
        fixed: set[int] = set()
        for node in self.nodes:
            if node.operation != "argument" and all(k in fixed for k in node.inputs) and node.cotangent is None:
                fixed.add(node.index)
        return fixed

    def _passed(self) -> dict[int, int]:
        """{node: the node with the entries that it passes on}."""
        self.source = {}
        for node in self.nodes:
            if node.source or node.index in self.fixed:
                continue
            moving = {root for k in node.inputs for root in self._roots(k)}
            if self._passes_on(node):
                self.source[node.index] = node.inputs[0]
            elif node.operation == "select_n" and self.text(node.inputs[0]) is not None:
                chosen = node.inputs[1 + int(np.asarray(self.nodes[node.inputs[0]].value).flat[0])]
                if chosen not in self.fixed:
                    self.source[node.index] = chosen
            elif (valid := self._valid(node)) is not None:
                self.source[node.index] = valid
            elif len(moving) == 1 and node.cotangent is None:
                (root,) = moving
                index = self._whole(node.index) and self._whole(root)
                if index or (node.operation == "max" and any(self.text(k) == "−∞" for k in node.inputs)):
                    self.source[node.index] = root
        return self.source

    def _valid(self, node: Node) -> int | None:
        """What a choice passes on, if its other case is the NaN of an invalid index and no index is invalid."""
        if node.operation != "select_n" or not (roots := self._roots(node.inputs[0])):
            return None
        cases = [k for k in node.inputs[1:] if self.text(k) != "NaN"]
        if len(cases) != 1 or len(node.inputs) != 3 or not all(map(self._whole, roots)):
            return None
        same = symbols.numeric(node.value) and np.array_equal(node.value, self.nodes[cases[0]].value)
        return cases[0] if same else None

    def _roots(self, k: int) -> set[int]:
        """The nodes that a value moves with; a comparison of indices moves with the indices."""
        k = self.resolved(k)
        node = self.nodes[k]
        if k in self.fixed:
            return set()
        if node.source or getattr(node.dtype, "kind", "") != "b":
            return {k}
        roots = {root for i in node.inputs for root in self._roots(i)}
        return roots if all(map(self._whole, roots)) else {k}

    def _whole(self, k: int) -> bool:
        return getattr(self.nodes[k].dtype, "kind", "") in "iu"

    def _passes_on(self, node: Node) -> bool:
        if known(node.operation).passes_on:
            return True
        if node.operation == "transpose":
            return sum(size > 1 for size in node.shape) < 2
        if node.operation == "stop_gradient":
            return node.cotangent is None and self.nodes[node.inputs[0]].cotangent is None
        return node.operation == "broadcast_in_dim" and (
            node.cotangent is None or node.size == self.nodes[node.inputs[0]].size
        )

    def _siblings(self) -> dict[int, int]:
        """{output of a step with several: the output at which the step is drawn, the first that is used}."""
        used = set(self.graph.outputs).union(*(node.inputs for node in self.nodes))
        steps: dict[int, list[int]] = defaultdict(list)
        for node in self.nodes:
            if not node.source and node.params:
                # the outputs of one step share one dictionary of parameters
                steps[id(node.params)].append(node.index)
        leader: dict[int, int] = {}
        for made in steps.values():
            first = next((k for k in made if k in used), made[0])
            leader.update((k, first) for k in made if k != first)
        return leader

    def _reached(self) -> tuple[list[int], dict[int, list[tuple[int | None, int]]]]:
        """(drawn nodes in order, {drawn node: per input (the drawn node or None, the node itself)})."""
        reads: dict[int, list[tuple[int | None, int]]] = {}
        stack = [*self.outputs, *(node.index for node in self.nodes if node.operation == "argument")]
        while stack:
            k = stack.pop()
            if k in reads:
                continue
            if k in self.leader:
                reads[k] = [(self.leader[k], self.leader[k])]
            else:
                inputs = [self.resolved(i) for i in self.nodes[k].inputs] if k not in self.fixed else []
                reads[k] = [(None if self.text(i) is not None else i, i) for i in inputs]
            stack += [i for i, _ in reads[k] if i is not None]
        return sorted(reads), reads

    def _contributions(self) -> dict[int, dict[int, list[Any]]]:
        """{drawn node: {drawn consumer: its contributions}}."""
        result: dict[int, dict[int, list[Any]]] = {}
        for k in self.drawn:
            each: dict[int, list[Any]] = defaultdict(list)
            waiting = [k]
            while waiting:
                at = waiting.pop()
                for share in self.nodes[at].shares:
                    consumer = share.consumer
                    if consumer in self.source and self.resolved(consumer) == k:
                        waiting.append(consumer)
                    else:
                        each[self.leader.get(consumer, consumer)].append(share.bar)
            result[k] = each
        return result

    def _names(self) -> dict[int, str]:
        """Names of drawn nodes; a node that the user named passes its name on to the node with its entries."""
        names = {k: self.nodes[k].name for k in self.drawn}

        def _stem(k: int) -> str:
            return re.sub(r"_?\d+$", "", self.nodes[k].name)

        for k in self.source:
            root = self.resolved(k)
            if (
                root in names
                and automatic(self.nodes[root])
                and not automatic(self.nodes[k])
                and _stem(k) != _stem(root)
            ):
                names[root] = self.nodes[k].name
        return names


def automatic(node: Node) -> bool:
    """True if the node's name is only that of its operation."""
    stem = re.sub(r"_?\d+$", "", node.name)
    return not node.source and stem in {known(node.operation).result, re.sub(r"\W+", "_", node.operation)}


# ---- folding --------------------------------------------------------------------------------------------------------


def _groups(drawing: _Drawing, fold: bool | tuple[str, ...]) -> dict[int, tuple[str, int, int]]:
    """{drawn node: (name of its group, the first node of the group, how many equal groups it stands for)}.

    A group is a run of steps without a gap, so that no path leaves it and comes back.
    """
    left_out = {*drawing.fixed, *drawing.leader}
    steps = [k for k in drawing.drawn if not drawing.nodes[k].source and k not in left_out]
    wanted = (fold,) if isinstance(fold, str) else fold
    runs: list[tuple[tuple[str, ...], list[int]]] = []
    for path, members in itertools.groupby(steps, key=lambda k: _scope(drawing.nodes[k].calls, wanted)):
        runs.append((path, list(members)))
    result: dict[int, tuple[str, int, int]] = {}
    for (_, name, _), row in itertools.groupby(_signed(drawing, runs), key=lambda each: each[0]):
        rows = [members for _, members in row]
        if not name or (len(rows) < ROW and all(len(members) < 2 for members in rows)):
            continue
        if len(rows) >= ROW:
            result.update((k, (name, rows[0][0], len(rows))) for members in rows for k in members)
        else:
            for members in rows:
                own = _scope(drawing.nodes[members[0]].calls, wanted)[-1]
                result.update((k, (re.sub(r"#\d+$", "", own), members[0], 1)) for k in members)
    return result


def _require_known(drawing: _Drawing, wanted: Sequence[str]) -> None:
    known = dict.fromkeys(name for node in drawing.nodes for name in node.calls)
    known |= {re.sub(r"#\d+$", "", name): None for name in known}
    for name in wanted:
        if name not in known:
            listed = ", ".join(known) or "none: put jax.jit or jax.named_scope around the part"
            raise ValueError(f"fold must name nested calls or named scopes, got {name!r}. There are: {listed}.")


def _scope(calls: tuple[str, ...], wanted: bool | Sequence[str]) -> tuple[str, ...]:
    """The outermost call to fold, with those around it; () for none."""
    if isinstance(wanted, bool):
        return calls[:1] if wanted else ()
    for depth, name in enumerate(calls):
        if name in wanted or re.sub(r"#\d+$", "", name) in wanted:
            return calls[: depth + 1]
    return ()


def _signed(
    drawing: _Drawing, runs: list[tuple[tuple[str, ...], list[int]]]
) -> list[tuple[tuple[Any, str, Any], list[int]]]:
    """Each run with what makes it equal to another: its surroundings, its name without a number, steps and shapes."""
    signed = []
    for path, members in runs:
        stem = re.sub(r"#\d+$", "", path[-1]) if path else ""
        stem = re.sub(r"_?\d+$", "", stem) or stem
        steps = tuple((drawing.nodes[k].operation, drawing.nodes[k].shape) for k in members)
        signed.append(((path[:-1], stem, steps if path else members[0]), members))
    return signed


# ---- parts and flows ------------------------------------------------------------------------------------------------


def _composed(drawing: _Drawing, groups: dict[int, tuple[str, int, int]]) -> Scene:
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


def _edges(drawing: _Drawing, k: int) -> list[tuple[int, list[Any]]]:
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


def _stacks(drawing: _Drawing, groups: dict, home: dict) -> dict[int, tuple[str, int]]:
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


def _leaving(drawing: _Drawing, place: tuple[str, int], held: list[int], home: dict) -> list[int]:
    """The nodes of a box that others read, or that are outputs."""
    if place[0] != "group":
        return held[:1]
    inside = set(held)
    read = {i for k in drawing.drawn if k not in inside for i, _ in drawing.reads[k] if i is not None}
    return [k for k in held if k in read or k in drawing.outputs] or held[-1:]


def _part(drawing: _Drawing, groups: dict, place: tuple[str, int], members: dict, leaving: dict) -> Part:
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


def _spoken(drawing: _Drawing, part: Part, groups: dict) -> Part:
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


def _read(drawing: _Drawing, k: int) -> list[str]:
    """What a step reads, by name, or by number if it is a constant."""
    names = []
    for i, whole in drawing.reads[k]:
        unnamed = i is not None and i in drawing.fixed and automatic(drawing.nodes[i])
        names.append("constants" if unnamed else drawing.named[i] if i is not None else drawing.text(whole) or "?")
    return names


def _rule(drawing: _Drawing, k: int, i: int, turn: int) -> str:
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
