"""What a step costs, and what its backward rule reads: counted from programs, never timed."""

import math
from collections.abc import Sequence
from typing import Any

import jax

from fnn.glassbox.sweep import is_float, pulled
from fnn.glassbox.trace.program import Program, Step, closed, flattened

#: Steps that move, name or choose numbers and compute none.
FREE = {
    "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose", "slice", "dynamic_slice",
    "dynamic_update_slice", "concatenate", "pad", "rev", "copy", "copy_p", "gather", "scatter", "split", "iota",
    "convert_element_type", "stop_gradient", "select_n", "sort", "top_k", "argmax", "argmin",
    "optimization_barrier", "bitcast_convert_type", "reduce_precision",
}  # fmt: skip


def operations(step: Step, shapes: Sequence[Any]) -> int:
    """Arithmetic operations of one step; a multiplication and an addition are two, any function of a number is one."""
    name = step.primitive.name
    given, made = ([math.prod(shapes[n].shape) for n in numbers] for numbers in (step.inputs, step.outputs))
    if name == "dot_general":
        (contracted, _), _ = step.params["dimension_numbers"]
        return 2 * made[0] * math.prod(shapes[step.inputs[0]].shape[axis] for axis in contracted)
    if name == "scan":
        return step.params["length"] * _of(flattened(closed(step.params["jaxpr"])))
    if name == "cond":
        return max(_of(flattened(closed(branch))) for branch in step.params["branches"])
    if name in FREE:
        return 0
    if name.startswith(("reduce_", "cum")):
        return given[0]
    return given[-1] if name.startswith("scatter") else sum(made[:1])


def of_rule(step: Step, program: Program, wanted: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """(operations of the backward rule of a step, the values among its inputs and outputs that the rule reads).

    Args:
        wanted: positions of the inputs that take a gradient.
    """
    held = tuple(dict.fromkeys((*step.inputs, *step.outputs)))
    bars = tuple(n for n in step.outputs if is_float(program.shapes[n]))

    def rule(values: Any, y_bar: Any) -> Any:
        known = dict(zip(held, values, strict=True))
        return pulled(step, known, dict(zip(bars, y_bar, strict=True)), wanted)

    inner = flattened(jax.make_jaxpr(rule)([program.shapes[n] for n in held], [program.shapes[n] for n in bars]))
    needed = needed_for(inner, inner.outputs)
    read = {n for k in needed for n in inner.steps[k].inputs} | set(inner.outputs)
    count = sum(operations(inner.steps[k], inner.shapes) for k in needed)
    return count, tuple(value for value, number in zip(held, inner.inputs, strict=False) if number in read)


def needed_for(program: Program, outputs: Sequence[int]) -> list[int]:
    """The steps, by their places, without which these values could not be computed."""
    wanted, kept = set(outputs), []
    for k in reversed(range(len(program.steps))):
        step = program.steps[k]
        if wanted.intersection(step.outputs):
            wanted.update(step.inputs)
            kept.append(k)
    return kept[::-1]


def _of(program: Program) -> int:
    return sum(operations(step, program.shapes) for step in program.steps)
