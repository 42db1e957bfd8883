"""Which entries count: those of a value that reach the output, and those of a cotangent that reach an argument.

Promises: an entry that a choice (`jnp.where`) leaves out does not count, nor does what made it entry by entry, nor what
is only asked whether it is NaN or finite. Wherever a step mixes entries, all of them count.
Letters: a count is an array of truths in the shape of the value, or one truth for all of its entries.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fnn.glassbox.records import Node, Summary
from fnn.glassbox.table import known

#: Steps that ask what a number is: NaN is the only number that is not equal to itself.
QUESTIONS = ("is_finite", "eq", "ne")


def counting_values(nodes: Sequence[Node], outputs: Iterable[int]) -> list[Any]:
    """Per node, which entries of its value reach an output."""
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
    """Per node, from which entries the cotangent goes on to an argument."""
    counts: list[Any] = []
    for node in nodes:
        reached: Any = node.operation == "argument"
        for position, k in enumerate(node.inputs):
            if nodes[k].cotangent is not None:
                reached = reached | _through(node, position, nodes, counts[k], node.shape)
        counts.append(reached)
    return counts


def _through(node: Node, position: int, nodes: Sequence[Node], count: Any, shape: tuple[int, ...]) -> Any:
    """What of a count passes between a step and one of its inputs, in the shape of the side that it arrives at."""
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
