"""Which nodes of a graph are drawn, which are in labels, and which are part of a flow.

Promises: constant numbers are in the label of their step; steps that only rename entries, and arithmetic on indices,
pass on the node whose entries they are; the contributions of what is passed on are those of its readers.
"""

import re
from collections import defaultdict
from typing import Any

import numpy as np

from fnn.glassbox.picture import symbols
from fnn.glassbox.records import Node, Record
from fnn.glassbox.table import known


class Drawing:
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
