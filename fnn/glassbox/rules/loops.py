"""Loops and branches: their bodies are programs, which the backward pass goes through with the same rules.

A scan is traversed from its last iteration to its first; the carry at each iteration is recomputed and stored. In a
branch, only the case that was taken is traversed. `while` runs an unknown number of iterations, so nothing can be
stored for the backward pass.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from fnn.glassbox.backpass import backward, forward
from fnn.glassbox.costs import of_program
from fnn.glassbox.table import Primitive, Symbol, enter
from fnn.glassbox.trace.program import Program, differentiable, flattened
from fnn.jaxprs import closed


def parts_of_scan(inputs: Sequence[Any], outputs: Sequence[Any], inside: Program) -> tuple[int, int]:
    """(how many inputs are constants, how many outputs are carried).

    Constants and carries have the same shape inside, sequences lose an axis; releases of JAX name them differently.
    """

    def unchanged(outer: Any, numbers: tuple[int, ...]) -> int:
        return sum(v.shape == inside.shapes[n].shape for v, n in zip(outer, numbers, strict=True))

    carried = unchanged(outputs, inside.outputs)
    return unchanged(inputs, inside.inputs) - carried, carried


def scan(y_bar, y, *inputs, jaxpr, length, reverse):
    # carry, yₖ = body(constants, carry, xₖ), for each k in turn
    body = flattened(closed(jaxpr))
    inputs = [jnp.asarray(v) if not hasattr(v, "dtype") else v for v in inputs]
    constants, carried = parts_of_scan(inputs, y, body)
    consts, carry, xs = inputs[:constants], inputs[constants : constants + carried], inputs[constants + carried :]

    def again(carry: Any, x: Any) -> tuple[Any, Any]:
        values = forward(body, (*consts, *carry, *x))
        return [values[n] for n in body.outputs[:carried]], carry

    _, carries = lax.scan(again, list(carry), list(xs), length=length, reverse=reverse)

    def back(bars: Any, here: Any) -> tuple[Any, Any]:
        carry_bar, consts_bar = bars
        carry, x, ys_bar = here
        x_bar = _pulled(body, (*consts, *carry, *x), [*carry_bar, *ys_bar])
        added = [old + new for old, new in zip(consts_bar, _floats(x_bar[:constants], consts), strict=True)]
        rest = x_bar[constants + carried :]
        return (_or_nothing(x_bar[constants : constants + carried], carry), added), _floats(rest, x)

    start = (_or_nothing(y_bar[:carried], carry), [jnp.zeros_like(c) for c in consts if differentiable(c)])
    here = (carries, list(xs), list(y_bar[carried:]))
    (carry_bar, consts_bar), xs_bar = lax.scan(back, start, here, length=length, reverse=not reverse)
    return (*_full(consts_bar, consts), *_nones(carry_bar, carry), *_full(xs_bar, xs))


def cond(y_bar, y, index, *operands, branches):
    # y = branches[index](operands)
    programs = [flattened(closed(branch)) for branch in branches]

    def passed(body: Program) -> Any:
        return lambda operands, y_bar: _floats(_pulled(body, operands, y_bar), operands)

    bars = lax.switch(index, [passed(body) for body in programs], list(operands), list(y_bar))
    return None, *_full(bars, operands)


def _pulled(body: Program, inputs: Any, bars: Any) -> list[Any]:
    """The cotangents of the inputs of a body, zeros where nothing flows, from those of its outputs."""
    values = forward(body, inputs)
    seeds = [(n, bar) for n, bar in zip(body.outputs, bars, strict=True) if differentiable(body.shapes[n])]
    result, _ = backward(body, values, seeds, body.inputs)
    return [result.get(n, jnp.zeros_like(v)) for n, v in zip(body.inputs, inputs, strict=True)]


def _floats(bars: Any, values: Any) -> list[Any]:
    return [bar for bar, value in zip(bars, values, strict=True) if differentiable(value)]


def _full(bars: Any, values: Any) -> list[Any]:
    remaining = iter(bars)
    return [next(remaining) if differentiable(value) else None for value in values]


def _or_nothing(bars: Any, values: Any) -> list[Any]:
    # carried integers have no cotangent; the loop needs something in their place
    return [bar if differentiable(value) else jnp.zeros(()) for bar, value in zip(bars, values, strict=True)]


def _nones(bars: Any, values: Any) -> list[Any]:
    return [bar if differentiable(value) else None for bar, value in zip(bars, values, strict=True)]


# ---- the table -------------------------------------------------------------------------------------------------------


def _turns(params, inputs, outputs):
    return params["length"] * of_program(flattened(closed(params["jaxpr"])))


def _dearest(params, inputs, outputs):
    return max(of_program(flattened(closed(branch))) for branch in params["branches"])


enter(
    Primitive(
        "scan", scan, symbol=Symbol(formula=lambda p: f"scan × {p.get('length')}", label="scan"), cost=_turns,
        block=True, foldable=False,
        back=("{g} turn by turn, from the last to the first",),
    ),
    Primitive(
        "cond", cond, cost=_dearest, block=True, foldable=False,
        back=("", "{g} through the case that was taken"),
    ),
    Primitive(
        "while", block=True, foldable=False,
        refused="the number of its iterations is not known before it runs, so nothing can be stored for the backward "
        "pass. Use jax.lax.scan, or jax.lax.fori_loop with constant limits",
    ),
)  # fmt: skip
