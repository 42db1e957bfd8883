"""What a step costs, and which values its backward rule reads: counted from programs, never timed."""

from collections.abc import Sequence
from typing import Any

import jax

from fnn.glassbox.backpass import pulled
from fnn.glassbox.table import known
from fnn.glassbox.trace.program import Program, Step, differentiable, flattened, needed_for


def operations(step: Step, shapes: Sequence[Any]) -> int:
    """How many arithmetic operations one step takes; a multiplication and an addition are two, any function of a number
    is one."""
    inputs, outputs = ([shapes[n] for n in numbers] for numbers in (step.inputs, step.outputs))
    return known(step.primitive.name).cost(step.params, inputs, outputs)


def of_rule(step: Step, program: Program, wanted: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """(operations of the backward rule of a step, the values among its inputs and outputs that the rule reads).

    Args:
        wanted: positions of the inputs that need a gradient.
    """
    held = tuple(dict.fromkeys((*step.inputs, *step.outputs)))
    bars = tuple(n for n in step.outputs if differentiable(program.shapes[n]))

    def rule(values: Any, y_bar: Any) -> Any:
        known = dict(zip(held, values, strict=True))
        return pulled(step, known, dict(zip(bars, y_bar, strict=True)), wanted)

    inner = flattened(jax.make_jaxpr(rule)([program.shapes[n] for n in held], [program.shapes[n] for n in bars]))
    needed = needed_for(inner, inner.outputs)
    read = {n for k in needed for n in inner.steps[k].inputs} | set(inner.outputs)
    count = sum(operations(inner.steps[k], inner.shapes) for k in needed)
    return count, tuple(value for value, number in zip(held, inner.inputs, strict=False) if number in read)


def of_program(program: Program) -> int:
    """How many arithmetic operations all steps take."""
    return sum(operations(step, program.shapes) for step in program.steps)
