"""The problem to solve: a function's program, where the backward pass starts, and what to differentiate with respect
to.

Refuses, each in a sentence: tracers, outputs that are not a single number (choose one, or give cotangents), functions
with Python code that branches on values.
"""

import math
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from fnn.glassbox.trace import names
from fnn.glassbox.trace.program import Program, differentiable, needed_for, traced
from fnn.jaxprs import is_own
from fnn.types import PyTree

_TRACE = "a trace runs f once with placeholders that know only shape and dtype"


class Problem(NamedTuple):
    """A function on its arguments, and what to differentiate."""

    program: Program
    """The program, as far as the outputs need it."""
    starts: list[tuple[int, Any]]
    """(value, cotangent) where the backward pass starts."""
    inputs: list[int]
    """The floating arguments."""


def pose(f: Callable[..., PyTree], args: tuple, output: int | None, cotangents: PyTree | None) -> Problem:
    """The problem of `graph` and `show_backward`."""
    _refuse_tracers(args)
    program, shape = traced_or_refused(f, args)
    inputs = floating(program)
    if not inputs:
        raise TypeError("there is nothing to differentiate: no argument holds floating numbers. Give 1.0 instead of 1.")
    starts = starting(program, shape, output, cotangents)
    return Problem(_pruned(program, [number for number, _ in starts]), starts, inputs)


def floating(program: Program) -> list[int]:
    """The inputs that have a derivative."""
    return [number for number in program.inputs if differentiable(program.shapes[number])]


def starting(program: Program, shape: PyTree, output: int | None, cotangents: PyTree | None) -> list[tuple[int, Any]]:
    """(value, cotangent) for each output at which the backward pass starts."""
    leaves = jax.tree.leaves(shape)
    if cotangents is not None:
        values, tree = jax.tree.flatten(cotangents)
        if tree != jax.tree.structure(shape) or [jnp.shape(g) for g in values] != [leaf.shape for leaf in leaves]:
            raise ValueError(
                f"cotangents must have the structure and the shapes of the output, {_described(shape)}, "
                f"got {_described(cotangents)}."
            )
        return [(n, jnp.asarray(g, leaf.dtype)) for n, g, leaf in zip(program.outputs, values, leaves, strict=True)]
    if output is not None:
        if not 0 <= output < len(leaves):
            raise ValueError(
                f"output must be 0 to {len(leaves) - 1}, one of the leaves of {_described(shape)}, got {output}."
            )
        chosen = output
    elif len(leaves) == 1:
        chosen = 0
    else:
        raise ValueError(
            f"the function returns {len(leaves)} outputs, {_described(shape)}; choose one by output=0 to "
            f"{len(leaves) - 1}, or give cotangents in their structure. (If these are a loss and its gradients, show "
            "only the loss: fnn.objective(net, loss).)"
        )
    leaf = leaves[chosen]
    if math.prod(leaf.shape) != 1:
        raise ValueError(
            f"the output has shape {leaf.shape}, and a gradient needs a single number. Sum it inside the function, or "
            "give cotangents=… of that shape."
        )
    if not differentiable(leaf):
        raise TypeError(f"the output is {leaf.dtype}, which has no derivative. Return a floating number.")
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        raise TypeError(
            f"the output is {leaf.dtype}, and a gradient needs a real number. Return jnp.real, jnp.imag or jnp.abs of "
            "it, or give cotangents=…."
        )
    return [(program.outputs[chosen], jnp.ones(leaf.shape, leaf.dtype))]


def _pruned(program: Program, outputs: list[int]) -> Program:
    """The program, reduced to what these outputs need."""
    steps = [program.steps[k] for k in needed_for(program, outputs)]
    read = {n for step in steps for n in step.inputs} | set(outputs)
    constants = {n: value for n, value in program.constants.items() if n in read}
    return program._replace(steps=tuple(steps), constants=constants, outputs=tuple(outputs))


def traced_or_refused(f: Callable[..., PyTree], args: tuple) -> tuple[Program, PyTree]:
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
            f"{names.called(f)} passes an argument to NumPy{_where(error)}, which needs numbers, and while the "
            f"function is traced the argument has none yet: {_TRACE}. Use jax.numpy instead of numpy."
        ) from None
    except jax.errors.NonConcreteBooleanIndexError as error:
        raise TypeError(
            f"{names.called(f)} picks entries by a mask{_where(error)}, and how many there are depends on values that "
            f"are not known while the function is traced: {_TRACE}. Use jnp.where(mask, x, 0)."
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
    """ " at lecture.py:7", the innermost line of the user's own source; "" if it is not known."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_own(frame.filename)]
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _refuse_tracers(args: tuple) -> None:
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(args)):
        raise TypeError("graph needs numbers to look at, got a tracer. Call it outside of jit, grad and vmap.")
    for k, arg in enumerate(args):
        for leaf in jax.tree.leaves(arg):
            if not hasattr(leaf, "dtype") and not isinstance(leaf, int | float | bool | complex):
                raise TypeError(f"argument {k} must be a pytree of arrays, got a {type(leaf).__name__}: {leaf!r:.60}.")


def _described(tree: PyTree) -> str:
    """The structure of a pytree with shapes at the leaves."""
    return str(jax.tree.map(lambda leaf: _Shape(jnp.shape(leaf)), tree))


class _Shape:
    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __repr__(self) -> str:
        return f"array{list(self.shape)}"
