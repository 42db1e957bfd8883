"""Forward and backward through a program: the values, then the cotangents, step by step in reverse.

Promises: every rule is called once per step that counts, on the cotangent of its output; the contribution of each
consumer of a value is recorded separately, and the cotangent is their sum. Nothing is guessed: if a gradient would flow
through a step without a rule, `NotImplementedError` names the step and its place.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.glassbox.table import NOTHING, known
from fnn.glassbox.trace.program import Program, Step, differentiable
from fnn.types import Array, PyTree

#: Options for what runs only once: the reader mostly waits for the compiler.
ONCE = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
#: Reads the bits of a number as another number: what depends on the bits has a derivative that no rule sees.
BITS = "bitcast_convert_type"


class NoRule(NotImplementedError):
    """A gradient would flow through a step that has no rule; the message names it and its place."""

    def __init__(self, message: str, place: str) -> None:
        super().__init__(message)
        self.place = place


class Contribution(NamedTuple):
    """What one consumer of a value passes back to it."""

    value: int
    step: int
    position: int
    """Which input of the consumer the value is."""
    bar: Array


def _as_it_is(number: int, bar: Array) -> Array:
    return bar


def forward(program: Program, leaves: Sequence[Any], complete: Callable[[int, Array], Array] = _as_it_is) -> list[Any]:
    """Every value of the program, by its number; `complete` is called with (number, value), and its result is used."""
    values: list[Any] = [None] * len(program.shapes)
    for number, constant in program.constants.items():
        values[number] = constant
    for number, leaf in zip(program.inputs, leaves, strict=True):
        values[number] = leaf
    for step in program.steps:
        for number, out in zip(step.outputs, run(step, [values[k] for k in step.inputs]), strict=True):
            values[number] = complete(number, out)
    return values


def run(step: Step, inputs: Sequence[Any]) -> Sequence[Any]:
    """The outputs of one step."""
    if step.primitive.name == "custom_jvp_call":
        return (jax.nn.relu(*inputs),)
    out = step.primitive.bind(*inputs, **step.params)
    return out if step.primitive.multiple_results else (out,)


def backward(
    program: Program,
    values: Sequence[Any],
    seeds: Iterable[tuple[int, Array]],
    inputs: Iterable[int],
    complete: Callable[[int, Array], Array] = _as_it_is,
) -> tuple[dict[int, Array], list[Contribution]]:
    """(the cotangent of each value that counts, every contribution in the order of the backward pass).

    Args:
        seeds: (value, cotangent) where the pass begins; several for one value add up.
        inputs: the values to differentiate with respect to; what does not depend on them is left out.
        complete: called with (value, cotangent) once every consumer has contributed; its result replaces the cotangent.
    """
    counting = active(program, inputs)
    bars: dict[int, Array] = {}
    for number, bar in seeds:
        if number in counting:
            bars[number] = bars[number] + bar if number in bars else bar
    contributions = []
    # steps are in topological order: when one is reached from the end, every consumer of its outputs has contributed
    for k in reversed(range(len(program.steps))):
        step = program.steps[k]
        wanted = [position for position, number in enumerate(step.inputs) if number in counting]
        if not any(number in bars for number in step.outputs) or _stops(step, program):
            continue
        if not wanted and step.primitive.name != BITS:
            continue
        bars.update((number, complete(number, bars[number])) for number in step.outputs if number in bars)
        for position, bar in zip(wanted, pulled(step, values, bars, wanted), strict=True):
            if bar is None:
                continue
            number = step.inputs[position]
            contributions.append(Contribution(number, k, position, bar))
            bars[number] = bars[number] + bar if number in bars else bar
    bars.update((number, complete(number, bars[number])) for number in program.inputs if number in bars)
    return bars, contributions


def pulled(
    step: Step, values: Sequence[Any] | Mapping[int, Any], bars: Mapping[int, Array], wanted: Sequence[int]
) -> list[Array | None]:
    """What the rule of a step contributes to its wanted inputs, with their shapes and dtypes."""
    primitive = known(step.primitive.name)
    where = f" ({step.place})" if str(step.place) else ""
    if primitive.rule is None:
        advice = ". Write the function without it, or differentiate it with jax.grad."
        raise NoRule(
            f"the operation `{step.primitive.name}`{where} has no rule in the glass box, and a gradient would flow "
            f"through it{f': {primitive.refused}.' if primitive.refused else advice}",
            str(step.place),
        )
    y = [values[number] for number in step.outputs]
    y_bar = [bars.get(n, _zeros(value)) for n, value in zip(step.outputs, y, strict=True)]
    inputs = [values[number] for number in step.inputs]
    bar, out = (y_bar, y) if step.primitive.multiple_results else (y_bar[0], y[0])
    try:
        contributions = primitive.pull(bar, out, *inputs, **step.params)
    except NotImplementedError as error:
        if isinstance(error, NoRule) and error.place:
            # raised by a step inside a loop or branch, which has named its place
            raise
        raise NoRule(f"{step.place}: {error}" if where else str(error), str(step.place)) from None
    chosen = [contributions[position] for position in wanted]
    for position, bar in zip(wanted, chosen, strict=True):
        if bar is None:
            raise NoRule(
                f"the operation `{step.primitive.name}`{where} has no rule for its input {position}, and a gradient "
                "would flow into it. Hold it fixed with jax.lax.stop_gradient, or differentiate the function with "
                "jax.grad.",
                str(step.place),
            )
    return [None if bar is NOTHING else _fitting(bar, inputs[k]) for k, bar in zip(wanted, chosen, strict=True)]


def active(program: Program, inputs: Iterable[int]) -> set[int]:
    """The floating values that depend on these inputs."""
    counting = {number for number in inputs if differentiable(program.shapes[number])}
    bits: set[int] = set()
    for step in program.steps:
        reads_bits = any(number in bits for number in step.inputs)
        if step.primitive.name == BITS:
            # the bits of a number, and a number made from such bits again
            if step.inputs[0] in counting and not differentiable(program.shapes[step.outputs[0]]):
                bits.update(step.outputs)
            elif reads_bits or step.inputs[0] in counting:
                counting.update(step.outputs)
        elif not _stops(step, program) and any(number in counting for number in step.inputs):
            counting.update(number for number in step.outputs if differentiable(program.shapes[number]))
        if reads_bits:
            bits.update(n for n in step.outputs if jnp.issubdtype(program.shapes[n].dtype, jnp.integer))
    return counting


def _stops(step: Step, program: Program) -> bool:
    return known(step.primitive.name).stops(*(program.shapes[n] for n in step.inputs))


def _zeros(value: Any) -> Array:
    return jnp.zeros_like(value) if differentiable(value) else value


def _fitting(bar: Array | None, value: Any) -> Array | None:
    """The contribution with the shape of the input: if the input was used once per row or entry, these add up."""
    shape = jnp.shape(value)
    if bar is None or bar.shape == shape:
        return bar
    new = bar.ndim - len(shape)
    lost = [*range(new), *(new + k for k, size in enumerate(shape) if size == 1 and bar.shape[new + k] != 1)]
    return jnp.sum(bar, axis=tuple(lost)).reshape(shape)


def gradients(args: tuple, program: Program, bars: Mapping[int, Any]) -> tuple[PyTree, ...]:
    """The cotangents of the inputs, with the structure of the arguments; None for leaves without a derivative."""
    numbers = iter(program.inputs)

    def gradient(leaf: Any) -> Any:
        number = next(numbers)
        aval = program.shapes[number]
        return bars.get(number, jnp.zeros(aval.shape, aval.dtype)) if differentiable(aval) else None

    return tuple(jax.tree.map(gradient, arg) for arg in args)
