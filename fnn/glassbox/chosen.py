"""Which entries count: those of a value that reach the output, and those of a cotangent that reach an argument.

Promises: an entry that a choice (`jnp.where`) leaves out does not count, nor do the entries that it was computed from
elementwise, nor those only tested for being NaN or finite. If a step mixes entries, all of them count.
Letters: a count is a Boolean array with the shape of the value, or one Boolean for all of its entries.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fnn.glassbox.records import Node, Summary
from fnn.glassbox.table import known

#: Steps that test what a number is: NaN is the only number that is not equal to itself.
QUESTIONS = ("is_finite", "eq", "ne")


def counting_values(nodes: Sequence[Node], outputs: Iterable[int]) -> list[Any]:
    """For each node, which entries of its value reach an output."""
    counts: list[Any] = [False] * len(nodes)
    for k in outputs:
        counts[k] = True
    for node in reversed(nodes):
        for position, k in enumerate(node.inputs):
            if node.operation not in QUESTIONS:
                passed = _through(node, position, nodes, counts[node.index], nodes[k].shape)
                counts[k] = counts[k] | passed
    return counts


def counting_cotangents(nodes: Sequence[Node]) -> list[Any]:
    """For each node, from which entries the cotangent flows on to an argument."""
    counts: list[Any] = []
    for node in nodes:
        reached: Any = node.operation == "argument"
        for position, k in enumerate(node.inputs):
            if nodes[k].cotangent is not None:
                reached = reached | _through(node, position, nodes, counts[k], node.shape)
        counts.append(reached)
    return counts


def _through(node: Node, position: int, nodes: Sequence[Node], count: Any, shape: tuple[int, ...]) -> Any:
    """The part of a count that passes between a step and one of its inputs, with the shape of the side where it
    arrives."""
    given, primitive = nodes[node.inputs[position]], known(node.operation)
    if node.operation == "select_n" and position and given.shape == node.shape:
        which = nodes[node.inputs[0]].value
        if not isinstance(which, Summary):
            return count & (np.asarray(which).astype(int) == position - 1)
    if primitive.entrywise and given.shape == node.shape:
        return count
    if primitive.passes_on and given.size == node.size and np.ndim(count):
        return np.reshape(count, shape)
    return bool(np.any(count))
