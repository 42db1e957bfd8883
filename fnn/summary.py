"""A net at a glance: its layers, shapes, parameters, arithmetic operations, and the bytes kept for the backward pass.

Promises: counted from programs, never timed; for one example. An array that two layers keep counts once, at the
first. Of a net that behaves differently in training, the training pass is counted. Loaded at first use, since it
brings the glass box, which counts the operations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn import notebook
from fnn.glassbox.costs import of_program
from fnn.glassbox.trace.program import flattened
from fnn.types import Params, PyTree

__all__ = ["NetSummary", "Row", "of"]

HEADS = ("layer", "output", "parameters", "operations", "backward", "bytes kept")


class Row(NamedTuple):
    """One layer.

    >>> net = fnn.mlp(3, 4, 2)
    >>> net.summary(net.init(jax.random.key(0))).rows[0].parameters  # 3 × 4 weights and 4 biases
    16
    """

    layer: str
    output: str
    """The shape of what it gives for one example."""
    parameters: int
    operations: int
    """Of the forward pass; a multiplication and an addition are two, any function of a number is one."""
    backward: int
    """Operations of the backward pass."""
    kept: int
    """Bytes kept for the backward pass, its input included."""


@dataclass(frozen=True)
class NetSummary:
    """A table of layers, for one example; printed in a terminal, shown in a notebook. Made by `Layer.summary`.

    >>> net = fnn.mlp(3, 4, 2)
    >>> print(net.summary(net.init(jax.random.key(0))))
    layer                         output  parameters  operations  backward  bytes kept
    dense(3, 4, activation=tanh)  4               16          32        68          28
    dense(4, 2)                   2               10          18        34           0
    in all                                        26          50       102          28
    """

    rows: tuple[Row, ...]

    @property
    def total(self) -> Row:
        """All layers together."""
        counts = zip(*((r.parameters, r.operations, r.backward, r.kept) for r in self.rows), strict=True)
        return Row("in all", "", *map(sum, counts))

    def __str__(self) -> str:
        cells = [HEADS, *([*row[:2], *map(notebook.number, row[2:])] for row in (*self.rows, self.total))]
        widths = [max(len(row[k]) for row in cells) for k in range(len(HEADS))]
        sides = [str.ljust if k < 2 else str.rjust for k in range(len(HEADS))]
        return "\n".join(
            "  ".join(side(text, w) for side, text, w in zip(sides, row, widths, strict=True)) for row in cells
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return notebook.table(HEADS, [*self.rows, self.total])


def of(net: Any, params: Params, x: PyTree = None) -> NetSummary:
    """The summary of a net, which `net.summary` gives.

    Args:
        net: a layer. params: its parameters, or their shapes.
        x: an input of one example, or its shape; needed by a layer that takes any size.

    Raises:
        ValueError: no x, and the layer does not say how many features it takes.

    >>> net = fnn.mlp(3, 4, 2)
    >>> fnn.summary.of(net, net.init(jax.random.key(0))).total.parameters
    26
    """
    x = _example(net, params) if x is None else x
    # a layer that computes statistics of a batch needs more than one example: counted on two, and halved
    count = 2 if net.has_modes else 1
    if count > 1:
        x = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((count, *jnp.shape(leaf)), jnp.result_type(leaf)), x)
    layers: Sequence[Any] = getattr(net, "layers", (net,))
    own = params if hasattr(net, "layers") else (params,)
    traced, (y, saved) = jax.make_jaxpr(_pass(net), return_shape=True)(params, x)
    kept = iter(traced.jaxpr.outvars[len(jax.tree.leaves(y)) :])
    # parameters are there anyway
    counted = {id(v) for v in traced.jaxpr.invars[: len(jax.tree.leaves(params))]}
    rows = []
    for layer, p, residuals in zip(layers, own, saved if hasattr(net, "layers") else (saved,), strict=True):
        size = 0
        for variable in (next(kept) for _ in jax.tree.leaves(residuals)):
            size += 0 if id(variable) in counted else variable.aval.size * variable.aval.dtype.itemsize
            counted.add(id(variable))
        forward, (x, residuals) = jax.make_jaxpr(_pass(layer), return_shape=True)(p, x)
        backward = jax.make_jaxpr(layer.backward)(p, residuals, x)
        parameters = sum(leaf.size for leaf in jax.tree.leaves(p))
        there, back = (of_program(flattened(each)) for each in (forward, backward))
        one = x if count == 1 else jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), x)
        rows.append(Row(repr(layer), _shapes(one), parameters, *(each // count for each in (there, back, size))))
    return NetSummary(tuple(rows))


def _pass(layer: Any) -> Callable[[Params, PyTree], tuple[PyTree, PyTree]]:
    """(params, x) -> (y, what backward needs), in training."""
    if not layer.has_modes:
        return layer.forward
    return lambda params, x: layer.train(params, layer.start(params), x, jax.random.key(0))[:2]


def _example(net: Any, params: Params) -> Any:
    """The shape and dtype of one example of a net that says how many features it takes."""
    if net.inputs is None:
        shown = shorten(repr(net), 60, placeholder=" …")
        raise ValueError(
            f"{shown} takes inputs of any size, got no x. Give an input of one example: net.summary(params, x)."
        )
    floats = [leaf.dtype for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jax.ShapeDtypeStruct((net.inputs,), floats[0] if floats else jnp.float32)


def _shapes(tree: PyTree) -> str:
    """`28 × 28`, several with commas between."""
    return ", ".join(" × ".join(map(str, leaf.shape)) or "a number" for leaf in jax.tree.leaves(tree))
