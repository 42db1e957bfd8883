"""The glass box: forward and backward of any JAX function, node by node.

Promises: `graph(f, *args).gradients` is the gradient by the hand-written local rules of `fnn.glassbox.rules`, without
any automatic differentiation; every value, every cotangent and every consumer's share of it is kept.
Refuses, in a sentence: steps without a rule, and everything that `fnn.glassbox.trace.problem` refuses.
Source: claims A10, B13, C7, C9, E3 to E6.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnn.glassbox import costs, trouble
from fnn.glassbox import rules as _rules  # noqa: F401  (it fills the table)
from fnn.glassbox.backpass import ONCE, active, backward, forward, gradients
from fnn.glassbox.picture import as_html, as_notebook, as_svg, as_text
from fnn.glassbox.records import LARGEST, Node, Record, Share, Summary
from fnn.glassbox.trace import names
from fnn.glassbox.trace.problem import floating, pose, starting, traced_or_refused
from fnn.glassbox.trace.program import Program
from fnn.glassbox.trouble import Size, Trouble
from fnn.types import Array, PyTree


@dataclass(frozen=True, eq=False)
class Graph(Record):
    """Forward and backward of one function on one set of arguments. Made by `graph`.

    >>> def f(x, y):
    ...     return fnn.glassbox.name(x + y, "s") * y
    >>> box = fnn.graph(f, 2.0, 3.0)
    >>> float(box.value), [float(g) for g in box.gradients], float(box.cotangent("s"))
    (15.0, [3.0, 8.0], 3.0)
    """

    @property
    def trouble(self) -> Trouble | None:
        """The first value or cotangent that is NaN, infinite or has underflowed to 0; None if all is well."""
        return trouble.first(self.nodes, self.outputs)

    def sizes(self) -> list[Size]:
        """Return the size of each value and of the gradient that flows back into it, in topological order."""
        return trouble.sizes(self.nodes)

    def __str__(self) -> str:
        """The graph as text for a terminal."""
        return as_text(self)

    def svg(self, *, fold: bool | tuple[str, ...] = False, dark: bool = False) -> str:
        """Return the graph as an SVG picture.

        Args:
            fold: draw nested calls and named scopes as one node each: all of them, or those of these names.
            dark: for a dark page.

        Raises:
            ValueError: there is nothing with such a name to fold.
        """
        return as_svg(self, fold=fold, dark=dark)

    def html(self) -> str:
        """Return the graph as a self-contained HTML page: step through it with buttons or arrow keys."""
        return as_html(self)

    def _repr_html_(self) -> str:
        return as_notebook(self)


def graph(
    f: Callable[..., PyTree], *args: PyTree, output: int | None = None, cotangents: PyTree | None = None
) -> Graph:
    """Run f forward, then backward by hand-written local rules, and keep everything.

    Args:
        f: any JAX function; the glass box looks inside jitted functions and those with their own derivatives.
        args: pytrees of arrays of any shape; integers and keys have no gradient.
        output: which leaf of the output to differentiate, from 0, if there are several.
        cotangents: the values the backward pass starts with, in the structure and shapes of the output, if it is not a
            single number.

    Returns:
        a `Graph`; its `gradients` hold one entry per argument, with the argument's structure and shapes.

    Raises:
        ValueError: the output is not a single number, and neither `output` nor `cotangents` says what to do.
        TypeError: an argument is a tracer, or f cannot be traced, or there is nothing to differentiate.
        NotImplementedError: a gradient would flow through an operation without a rule; it is named with its place.

    >>> box = fnn.graph(lambda x, y, z: (x + y) * z, -2.0, 5.0, -4.0)
    >>> float(box.value), [float(g) for g in box.gradients]
    (-12.0, [-4.0, -4.0, 3.0])

    Source: claims A10, B13, C7, E3.
    """
    program, starts, inputs = pose(f, args, output, cotangents)
    leaves = jax.tree.leaves(args)
    values, bars, shares = _run(program, leaves, starts, inputs)

    order = [*program.inputs, *program.constants, *(n for step in program.steps for n in step.outputs)]
    index = {number: k for k, number in enumerate(order)}
    called = names.named(program, f, args, order)
    makers = {n: step for step in program.steps for n in step.outputs}
    counting = active(program, inputs)
    nodes = []
    for number in order:
        step = makers.get(number)
        aval = program.shapes[number]
        made: dict[str, Any] = {"operation": "argument" if number in program.inputs else "constant", "inputs": ()}
        if step is not None:
            made = {
                "operation": step.primitive.name, "inputs": tuple(index[n] for n in step.inputs),
                "params": step.params, "calls": step.calls, "place": step.place,
                "operations": costs.operations(step, program.shapes),
            }  # fmt: skip
            wanted = [position for position, n in enumerate(step.inputs) if n in counting]
            if wanted and number in bars and any(n in counting for n in step.outputs):
                back, residuals = costs.of_rule(step, program, wanted)
                made |= {"operations_back": back, "residuals": tuple(index[n] for n in residuals)}
        nodes.append(
            Node(
                index=index[number], name=called[number], shape=tuple(aval.shape), dtype=aval.dtype,
                value=values[number], cotangent=bars.get(number),
                shares=tuple(Share(index[n], bar) for n, bar in shares.get(number, ())), **made,
            )
        )  # fmt: skip
    outputs = tuple(dict.fromkeys(index[n] for n, _ in starts))
    first = trouble.first(nodes, outputs)
    by_argument = jax.device_get(gradients(args, program, bars))
    large = (f"Values with more than {LARGEST:,} entries are shown by their range; the gradients are complete.",)
    summed = any(isinstance(each, Summary) for node in nodes for each in (node.value, node.cotangent))
    notes = (*_notes(program), *(large if summed else ()), *([f"First trouble: {first}"] if first else []))
    return Graph(names.called(f), tuple(nodes), outputs, by_argument, notes)


def gradient_by_rules(f: Callable[..., PyTree]) -> Callable[..., tuple[PyTree, ...]]:
    """Return the gradient of f with respect to all its arguments, by the local rules, as a function that can be
    compiled.

    Args:
        f: a function that returns one number.

    Returns:
        a function of the same arguments: one gradient per argument, None for leaves without a derivative. It raises
            what `graph` raises.

    >>> by_rules = fnn.glassbox.gradient_by_rules(lambda x, y: jnp.sin(x) * y)
    >>> [float(g) for g in jax.jit(by_rules)(0.0, 2.0)]
    [2.0, 0.0]
    """

    def gradient(*args: PyTree) -> tuple[PyTree, ...]:
        program, shape = traced_or_refused(f, args)
        inputs, starts = floating(program), starting(program, shape, None, None)
        values = forward(program, jax.tree.leaves(args))
        bars, _ = backward(program, values, starts, inputs)
        return gradients(args, program, bars)

    return gradient


def _run(
    program: Program, leaves: list[Any], starts: list[tuple[int, Any]], inputs: list[int]
) -> tuple[dict[int, Any], dict[int, Any], dict[int, list[tuple[int, Any]]]]:
    """Everything, in one compiled program: values, cotangents, and the contributions to each."""
    consumers: list[tuple[int, int]] = []
    order = [*program.inputs, *program.constants, *(n for step in program.steps for n in step.outputs)]

    def both(leaves: list[Any], seeds: list[Array]) -> Any:
        values = forward(program, leaves)
        numbered = list(zip([n for n, _ in starts], seeds, strict=True))
        bars, contributions = backward(program, values, numbered, inputs)
        consumers[:] = [(c.value, program.steps[c.step].outputs[0]) for c in contributions]
        shown = {n: _shown(values[n]) for n in order}
        # a gradient is returned, however large
        returned = {n: bar if n in program.inputs else _shown(bar) for n, bar in bars.items()}
        return shown, returned, [_shown(c.bar) for c in contributions]

    values, bars, contributed = jax.device_get(jax.jit(both, compiler_options=ONCE)(leaves, [bar for _, bar in starts]))
    shares: dict[int, list[tuple[int, Any]]] = {}
    for (number, consumer), bar in zip(consumers, contributed, strict=True):
        shares.setdefault(number, []).append((consumer, bar))
    return values, bars, shares


def _shown(value: Any) -> Any:
    value = jnp.asarray(value) if not hasattr(value, "dtype") else value
    if value.size <= LARGEST or not jnp.issubdtype(value.dtype, jnp.number):
        return value
    real = (jnp.abs(value) if jnp.iscomplexobj(value) else value).astype(jnp.float32)
    # device_get turns them into numbers
    summary: Any = (real.min(), real.max(), jnp.sqrt(jnp.sum(real * real)), jnp.sum(~jnp.isfinite(real)))
    return Summary(*summary)


def _notes(program: Program) -> tuple[str, ...]:
    others = [name for name in program.rewritten if name != "relu"]
    effects = ("The function has side effects (it prints, or calls back), which are left out here.",)
    return (effects if program.effects else ()) + tuple(
        f"{name} has its own derivative; here the glass box looks inside its forward pass and differentiates it by the "
        "local rules."
        for name in others
    )
