"""Where a value that is not finite comes from: the first operation of a trace that makes one from finite numbers; and
which look-ups read beyond their array."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import jaxprs
from fnn.checker.oracles import is_float
from fnn.jaxprs import Values


def first_bad(program: Any, args: tuple) -> str:
    """Where NaN or infinity first appears when a trace runs on these arguments: operation, place in the source."""
    for k, leaf in enumerate(jax.tree.leaves(args)):
        if is_float(leaf) and not _finite(leaf):
            return f"argument leaf {k} (shape {leaf.shape}) is not finite already"
    return _bad_in(program, jax.tree.leaves(args)) or "no single operation shows it"


def read_beyond(program: Any, args: tuple) -> str:
    """The first look-up that reads beyond its array when a trace runs on these arguments; "" if there is none."""
    return next(_read_beyond(program, jax.tree.leaves(args)), "")


def _read_beyond(closed: Any, values: Values) -> Iterator[str]:
    for equation, inputs, _ in _steps(closed, values):
        if (inner := jaxprs.body_of(equation)) is not None:
            yield from _read_beyond(inner, inputs)
        elif equation.primitive.name == "gather":
            array, indices = (np.asarray(each) for each in inputs[:2])
            axes, sizes = equation.params["dimension_numbers"].start_index_map, equation.params["slice_sizes"]
            last = [array.shape[axis] - sizes[axis] for axis in axes]
            if ((indices < 0) | (indices > last)).any():
                yield _beyond(equation, inputs)


def _steps(closed: Any, values: Values) -> Iterator[tuple[Any, Values, Values]]:
    """(equation, its inputs, its outputs) of each equation of a trace that runs on these values."""
    known: dict[Any, Any] = dict(zip(closed.jaxpr.constvars, closed.consts, strict=True))
    known.update(zip(closed.jaxpr.invars, values, strict=True))
    for equation in closed.jaxpr.eqns:
        inputs = [jaxprs.value_of(atom) if jaxprs.is_literal(atom) else known[atom] for atom in equation.invars]
        out = jaxprs.apply(equation, inputs)
        known.update(zip(equation.outvars, out, strict=True))
        yield equation, inputs, out


def _bad_in(closed: Any, values: Values) -> str:
    for equation, inputs, out in _steps(closed, values):
        if not _all_finite(out) and _all_finite(inputs):
            # look inside calls: the operation itself says more than the function around it
            if (inner := jaxprs.body_of(equation)) is not None:
                return _bad_in(inner, inputs)
            if equation.primitive.name == "gather":
                return _beyond(equation, inputs)
            ranges = ", ".join(f"from {np.min(v):.4g} to {np.max(v):.4g}" for v in inputs if is_float(v) and np.size(v))
            place = jaxprs.place_of(equation, installed=False)
            return f"`{equation.primitive.name}`{f' ({place})' if place else ''} makes it, of inputs {ranges}"
    return ""


def _beyond(equation: Any, inputs: Values) -> str:
    """What to say about a look-up that gives NaN from finite numbers."""
    array, indices = (np.asarray(each) for each in inputs[:2])
    place = jaxprs.place_of(equation, installed=False)
    where = f" ({place})" if place else ""
    return (
        f"`gather`{where} reads beyond an array of shape {array.shape}, at indices up to {indices.max(initial=0)}: a "
        "label out of range? Number the classes from 0"
    )


def _finite(value: Any) -> bool:
    return bool(jnp.isfinite(value).all())


def _all_finite(values: Values) -> bool:
    return all(_finite(each) for each in values if is_float(each))
