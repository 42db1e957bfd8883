"""The glass box: forward and backward of any JAX function, node by node, to look at.

Promises: `graph(f, *args).gradients` is the gradient by the hand-written local rules of `fnn.glassbox.rules`, with no
automatic differentiation anywhere; every value, every cotangent and every consumer's share of it is kept.
Refuses, each in a sentence: tracers, outputs that are no single number (choose one, or give cotangents), functions
whose Python decides by values, steps without a rule. Source: claims A10, B13, C7, C9, E3 to E6.
"""

import math
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fnn.glassbox import rules as _rules  # noqa: F401  (it fills the table)
from fnn.glassbox import trouble
from fnn.glassbox.picture import page as pages
from fnn.glassbox.picture import svg as pictures
from fnn.glassbox.picture import terminal
from fnn.glassbox.records import LARGEST, Node, Share, Summary
from fnn.glassbox.sweep import active, backward, forward, is_float
from fnn.glassbox.trace import costs, names
from fnn.glassbox.trace.program import Program, is_own, traced
from fnn.glassbox.trouble import Size, Trouble
from fnn.types import Array, PyTree

_TRACE = "a trace runs f once with placeholders that know only shape and dtype"
#: The program of a graph runs once: what a reader waits for is how long it is compiled.
ONCE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclass(frozen=True, eq=False)
class Graph:
    """Forward and backward of one function on one set of arguments. Made by `graph`.

    >>> def f(x, y):
    ...     return fnn.glassbox.name(x + y, "s") * y
    >>> box = fnn.graph(f, 2.0, 3.0)
    >>> float(box.value), [float(g) for g in box.gradients], float(box.cotangent("s"))
    (15.0, [3.0, 8.0], 3.0)
    """

    name: str
    """The function's name."""
    nodes: tuple[Node, ...]
    """In topological order: every node stands behind those that it reads."""
    outputs: tuple[int, ...]
    """The nodes at which the sweep began."""
    gradients: tuple[PyTree, ...]
    """One entry per argument, each in its argument's structure; None for leaves without derivative."""
    notes: tuple[str, ...] = ()
    """What a reader should know of how the function was read."""
    program: Program | None = field(repr=False, default=None)
    """The steps behind the nodes."""

    @property
    def value(self) -> Any:
        """The output."""
        found = [self.nodes[k].value for k in self.outputs]
        return found[0] if len(found) == 1 else tuple(found)

    def __getitem__(self, name: str) -> Node:
        """The node of that name. Raises `KeyError` that lists the names."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes if node.operation != "constant")
        raise KeyError(
            f"no value is called {name!r}. Known: {known}. Name one with fnn.glassbox.name(value, {name!r})."
        )

    def cotangent(self, name: str) -> Any:
        """The derivative of the output with respect to the value of that name; zeros where nothing flows back."""
        node = self[name]
        if node.cotangent is None and jnp.issubdtype(node.dtype, jnp.floating):
            return np.zeros(node.shape, node.dtype)
        return node.cotangent

    def consumers(self, index: int) -> tuple[int, ...]:
        """The nodes that read this one."""
        return tuple(node.index for node in self.nodes if index in node.inputs)

    @property
    def trouble(self) -> Trouble | None:
        """The first value or cotangent that is NaN, infinite or has underflowed to 0; None if all is well."""
        return trouble.first(self.nodes)

    def sizes(self) -> list[Size]:
        """How large each value is and how large what flows back into it, in topological order."""
        return trouble.sizes(self.nodes)

    def __str__(self) -> str:
        """The graph as text for a terminal."""
        return terminal.text(self)

    def svg(self, *, fold: bool | tuple[str, ...] = False, dark: bool = False) -> str:
        """The graph as a picture.

        Args:
            fold: draw nested calls and named scopes as one node each: all of them, or those of these names.
            dark: for a dark page.

        Raises:
            ValueError: nothing of such a name is there to fold.
        """
        return pictures.svg(self, fold=fold, dark=dark)

    def html(self) -> str:
        """The graph as one page that needs nothing else: step through it by buttons or arrow keys."""
        return pages.html(self)

    def _repr_html_(self) -> str:
        return pictures.notebook(self)


def graph(
    f: Callable[..., PyTree], *args: PyTree, output: int | None = None, cotangents: PyTree | None = None
) -> Graph:
    """Run f forward, then sweep backward by hand-written local rules, and keep everything.

    Args:
        f: any JAX function; jitted ones and functions with derivatives of their own are looked through.
        args: pytrees of arrays; whole numbers and keys have no gradient.
        output: which leaf of the output to differentiate, where there are several.
        cotangents: in the structure of the output, where it is not a single number: the sweep begins with these.

    Returns:
        a `Graph`.

    Raises:
        ValueError: the output is not a single number, and neither `output` nor `cotangents` says what to do.
        TypeError: tracers came, or f cannot be traced, or there is nothing to differentiate.
        NotImplementedError: a gradient would flow through an operation without a rule; it is named with its place.

    >>> box = fnn.graph(lambda x, y, z: (x + y) * z, -2.0, 5.0, -4.0)
    >>> float(box.value), [float(g) for g in box.gradients]
    (-12.0, [-4.0, -4.0, 3.0])

    Source: claims A10, B13, C7, E3.
    """
    program, starts, inputs = opened(f, args, output, cotangents)
    leaves = jax.tree.leaves(args)
    values, bars, shares = _swept(program, leaves, starts, inputs)

    order = [*program.inputs, *program.constants, *(n for step in program.steps for n in step.outputs)]
    index = {number: k for k, number in enumerate(order)}
    spoken = names.named(program, f, args, order)
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
                back, kept = costs.of_rule(step, program, wanted)
                made |= {"operations_back": back, "kept": tuple(index[n] for n in kept)}
        nodes.append(
            Node(
                index=index[number], name=spoken[number], shape=tuple(aval.shape), dtype=aval.dtype,
                value=values[number], cotangent=bars.get(number),
                shares=tuple(Share(index[n], bar) for n, bar in shares.get(number, ())), **made,
            )
        )  # fmt: skip
    outputs = tuple(dict.fromkeys(index[n] for n, _ in starts))
    found = trouble.first(nodes)
    gradients = jax.device_get(_gradients(args, program, bars))
    large = (f"Values of more than {LARGEST:,} entries are shown by their range; the gradients are whole.",)
    summed = any(isinstance(each, Summary) for node in nodes for each in (node.value, node.cotangent))
    notes = (*_notes(program), *(large if summed else ()), *([f"First trouble: {found}"] if found else []))
    return Graph(names.called(f), tuple(nodes), outputs, gradients, notes, program)


def opened(
    f: Callable[..., PyTree], args: tuple, output: int | None, cotangents: PyTree | None
) -> tuple[Program, list[tuple[int, Any]], list[int]]:
    """(the program as far as its outputs need it, where the sweep begins and with what, the inputs that count)."""
    _refuse_tracers(args)
    program, shape = _trace(f, args)
    inputs = [number for number in program.inputs if is_float(program.shapes[number])]
    if not inputs:
        raise TypeError("there is nothing to differentiate: no argument holds floating numbers. Give 1.0 instead of 1.")
    starts = _starts(program, shape, output, cotangents)
    return _pruned(program, [number for number, _ in starts]), starts, inputs


def gradient_by_rules(f: Callable[..., PyTree]) -> Callable[..., tuple[PyTree, ...]]:
    """The gradient of f with respect to all its arguments by the local rules, as a function that can be compiled.

    Args:
        f: a function whose output is one number.

    Returns:
        a function of the same arguments: one gradient per argument, None for leaves without derivative.

    >>> by_rules = fnn.glassbox.gradient_by_rules(lambda x, y: jnp.sin(x) * y)
    >>> [float(g) for g in jax.jit(by_rules)(0.0, 2.0)]
    [2.0, 0.0]
    """

    def gradient(*args: PyTree) -> tuple[PyTree, ...]:
        program, shape = _trace(f, args)
        inputs = [number for number in program.inputs if is_float(program.shapes[number])]
        starts = _starts(program, shape, None, None)
        values = forward(program, jax.tree.leaves(args))
        bars, _ = backward(program, values, starts, inputs)
        return _gradients(args, program, bars)

    return gradient


def _swept(
    program: Program, leaves: list[Any], starts: list[tuple[int, Any]], inputs: list[int]
) -> tuple[dict[int, Any], dict[int, Any], dict[int, list[tuple[int, Any]]]]:
    """Everything, by one compiled program: values, cotangents, and who contributed what to each."""
    consumers: list[tuple[int, int]] = []
    order = [*program.inputs, *program.constants, *(n for step in program.steps for n in step.outputs)]

    def both(leaves: list[Any], seeds: list[Array]) -> Any:
        values = forward(program, leaves)
        numbered = list(zip([n for n, _ in starts], seeds, strict=True))
        bars, contributions = backward(program, values, numbered, inputs)
        consumers[:] = [(c.value, program.steps[c.step].outputs[0]) for c in contributions]
        kept = {n: _kept(values[n]) for n in order}
        # a gradient is given out, however large
        told = {n: bar if n in program.inputs else _kept(bar) for n, bar in bars.items()}
        return kept, told, [_kept(c.bar) for c in contributions]

    values, bars, contributed = jax.device_get(jax.jit(both, compiler_options=ONCE)(leaves, [bar for _, bar in starts]))
    shares: dict[int, list[tuple[int, Any]]] = {}
    for (number, consumer), bar in zip(consumers, contributed, strict=True):
        shares.setdefault(number, []).append((consumer, bar))
    return values, bars, shares


def _kept(value: Any) -> Any:
    value = jnp.asarray(value) if not hasattr(value, "dtype") else value
    if value.size <= LARGEST or not jnp.issubdtype(value.dtype, jnp.number):
        return value
    real = value.astype(jnp.float32)
    # device_get turns them into numbers
    told: Any = (real.min(), real.max(), jnp.sqrt(jnp.sum(real * real)), jnp.sum(~jnp.isfinite(real)))
    return Summary(*told)


def _starts(program: Program, shape: PyTree, output: int | None, cotangents: PyTree | None) -> list[tuple[int, Any]]:
    """(value, cotangent) for each output at which the sweep begins."""
    leaves = jax.tree.leaves(shape)
    if cotangents is not None:
        given, tree = jax.tree.flatten(cotangents)
        if tree != jax.tree.structure(shape) or [jnp.shape(g) for g in given] != [leaf.shape for leaf in leaves]:
            raise ValueError(
                f"cotangents must have the structure and the shapes of the output, {_told(shape)}, "
                f"got {_told(cotangents)}."
            )
        return [(n, jnp.asarray(g, leaf.dtype)) for n, g, leaf in zip(program.outputs, given, leaves, strict=True)]
    if output is not None:
        if not 0 <= output < len(leaves):
            raise ValueError(
                f"output must be 0 to {len(leaves) - 1}, one of the leaves of {_told(shape)}, got {output}."
            )
        chosen = output
    elif len(leaves) == 1:
        chosen = 0
    else:
        raise ValueError(
            f"the function returns {len(leaves)} outputs, {_told(shape)}; choose one by output=0 to {len(leaves) - 1}, "
            "or give cotangents in their structure."
        )
    leaf = leaves[chosen]
    if math.prod(leaf.shape) != 1:
        raise ValueError(
            f"the output has shape {leaf.shape}, and a gradient is that of one number. Sum it up inside the function, "
            "or give cotangents=… of that shape."
        )
    if not is_float(leaf):
        raise TypeError(f"the output is {leaf.dtype}, which has no derivative; return a floating number.")
    return [(program.outputs[chosen], jnp.ones(leaf.shape, leaf.dtype))]


def _pruned(program: Program, outputs: list[int]) -> Program:
    """The program without what these outputs do not need."""
    kept = [program.steps[k] for k in costs.needed_for(program, outputs)]
    read = {n for step in kept for n in step.inputs} | set(outputs)
    constants = {n: value for n, value in program.constants.items() if n in read}
    return program._replace(steps=tuple(kept), constants=constants, outputs=tuple(outputs))


def _gradients(args: tuple, program: Program, bars: dict[int, Any]) -> tuple[PyTree, ...]:
    numbers = iter(program.inputs)

    def gradient(leaf: Any) -> Any:
        number = next(numbers)
        aval = program.shapes[number]
        return bars.get(number, jnp.zeros(aval.shape, aval.dtype)) if is_float(aval) else None

    return tuple(jax.tree.map(gradient, arg) for arg in args)


def _notes(program: Program) -> tuple[str, ...]:
    known = [name for name in program.rewritten if name != "relu"]
    effects = ("The function does more than compute (it prints, or calls back); that is left out here.",)
    return (effects if program.effects else ()) + tuple(
        f"{name} brings a derivative of its own; here its forward pass is looked through and differentiated by the "
        "local rules."
        for name in known
    )


def _trace(f: Callable[..., PyTree], args: tuple) -> tuple[Program, PyTree]:
    if not callable(f):
        raise TypeError(
            f"the first argument must be a function, got a {type(f).__name__}: {f!r:.60}. Write graph(f, x), not "
            "graph(f(x))."
        )
    try:
        program, shape = traced(f, args)
    except jax.errors.ConcretizationTypeError as error:
        raise TypeError(
            f"{names.called(f)} decides by the values of its arguments in Python (if, while, float(), bool())"
            f"{_where(error)}, and while it is traced they have none yet: {_TRACE}. Use jnp.where or jax.lax.cond, or "
            "make the value a constant: lambda x: f(3, x)."
        ) from None
    except jax.errors.TracerIntegerConversionError as error:
        raise TypeError(
            f"{names.called(f)} uses an argument as a whole number of Python (range, a shape, the place in a list)"
            f"{_where(error)}, and while it is traced it has no value yet: {_TRACE}. Make the number a constant: "
            "lambda x: f(3, x)."
        ) from None
    except jax.errors.TracerArrayConversionError as error:
        raise TypeError(
            f"{names.called(f)} hands an argument to NumPy{_where(error)}, which wants numbers, and while it is traced "
            f"it has none yet: {_TRACE}. Use jax.numpy instead of numpy."
        ) from None
    except jax.errors.NonConcreteBooleanIndexError as error:
        raise TypeError(
            f"{names.called(f)} picks entries by a mask{_where(error)}, and how many there are depends on values that "
            f"it has not got while it is traced: {_TRACE}. Use jnp.where(mask, x, 0)."
        ) from None
    except TypeError as error:
        if "not a valid JAX type" not in str(error):
            raise
        kind = re.search(r"<class '(.+?)'>", str(error))
        raise TypeError(
            f"{names.called(f)} must return arrays or numbers, or a pytree of them{f', got {kind[1]}' if kind else ''}."
        ) from None
    if not program.outputs:
        raise TypeError(
            f"{names.called(f)} returns nothing to differentiate, {shape}. Return a number; is `return` missing?"
        )
    return program, shape


def _where(error: BaseException) -> str:
    """at lecture.py:7, the innermost line of the user's own source; "" where it is not known."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame.filename)]
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _refuse_tracers(args: tuple) -> None:
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(args)):
        raise TypeError("graph needs numbers to look at, got a tracer. Call it outside of jit, grad and vmap.")
    for k, arg in enumerate(args):
        for leaf in jax.tree.leaves(arg):
            if not hasattr(leaf, "dtype") and not isinstance(leaf, int | float | bool):
                raise TypeError(f"argument {k} must be a pytree of arrays, got a {type(leaf).__name__}: {leaf!r:.60}.")


def _told(tree: PyTree) -> str:
    """The structure of a pytree with shapes at the leaves."""
    return str(jax.tree.map(lambda leaf: _Shape(jnp.shape(leaf)), tree))


class _Shape:
    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __repr__(self) -> str:
        return f"array{list(self.shape)}"
