"""A program without what a person would not write: arithmetic on constants is done, equal steps are written once,
and what only changes shapes again and again does so once.
"""

from typing import Any

import numpy as np

from fnn.glassbox.table import known
from fnn.glassbox.trace.devices import reshaping
from fnn.glassbox.trace.program import Program, Step, flattened
from fnn.jaxprs import closed
from fnn.types import is_key


def simplified(program: Program, optional: str = "no name") -> Program:
    """The same values in fewer steps. Values keep their numbers; those that are no longer computed are not read.

    Names that begin with `optional` do not hold up a change of shape.
    """
    instead: dict[int, int] = {}
    constants = dict(program.constants)
    made: dict[Any, int] = {}
    # {value: one of another shape with the same entries}
    reshaped: dict[int, int] = {}
    for number, value in program.constants.items():
        if np.ndim(value) == 0 and not is_key(program.shapes[number]):
            key = (str(program.shapes[number].dtype), np.asarray(value).item().__repr__())
            instead[number] = made.setdefault(key, number)
    steps = []
    for step in program.steps:
        inputs = tuple(instead.get(n, n) for n in step.inputs)
        step = step._replace(inputs=inputs)
        if step.primitive.name == "name" and step.params["name"].startswith(optional) and inputs[0] in reshaped:
            reshaped[step.outputs[0]] = reshaped[inputs[0]]
        elif _only_reshapes(step, program):
            number, result = reshaped.get(inputs[0], inputs[0]), step.outputs[0]
            if program.shapes[number] == program.shapes[result]:
                instead[result] = number
                continue
            reshaped[result] = number
            same = reshaping(program.shapes[result].shape, program.shapes[number])
            step = step._replace(primitive=same.primitive, params=dict(same.params), inputs=(number,))
            inputs = step.inputs
        single = len(step.outputs) == 1 and step.primitive.name != "name" and known(step.primitive.name).foldable
        scalar = single and not program.shapes[step.outputs[0]].shape
        if scalar and inputs and all(n in constants and np.ndim(constants[n]) == 0 for n in inputs):
            out = step.primitive.bind(*(constants[n] for n in inputs), **step.params)
            constants[step.outputs[0]] = np.asarray(out)
            continue
        if step.primitive.name == "select_n" and inputs[0] in constants and np.ndim(constants[inputs[0]]) == 0:
            # a choice that is already made
            instead[step.outputs[0]] = inputs[1 + int(constants[inputs[0]])]
            continue
        key = (step.primitive, inputs, tuple(sorted((k, str(v)) for k, v in step.params.items()))) if single else step
        if single and key in made:
            instead[step.outputs[0]] = made[key]
            continue
        if single:
            made[key] = step.outputs[0]
        steps.append(step)
    outputs = tuple(instead.get(n, n) for n in program.outputs)
    return program._replace(steps=tuple(steps), constants=constants, outputs=outputs)


def _only_reshapes(step: Step, program: Program) -> bool:
    """True for another shape, and for a sum over axes of length 1, which a sum over copies leaves behind."""
    shape = program.shapes[step.inputs[0]].shape if step.inputs else ()
    if step.primitive.name == "reduce_sum":
        return bool(shape) and all(shape[axis] == 1 for axis in step.params["axes"])
    return step.primitive.name == "reshape"


def body_of(jaxpr: Any) -> Program:
    """The program of a loop's turn or of a branch, as it is written down."""
    return simplified(flattened(closed(jaxpr), solving=True))
