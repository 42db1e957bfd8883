"""How far rounding moves a function: every result inside is moved by an ulp, up or down at random.

Promises: Monte Carlo arithmetic (Vignes 1993; Parker 1997): the spread of the outputs of several such runs shows how
far rounding moves them, however the numbers inside cancel or amplify it. The body of a loop moves in the same way in
each iteration.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn import jaxprs
from fnn.checker.oracles import is_float
from fnn.jaxprs import Hooks, Values
from fnn.types import Array, PyTree

#: Primitives that move or select numbers and never round them.
EXACT = (
    "abs", "broadcast_in_dim", "concatenate", "copy", "dynamic_slice", "dynamic_update_slice", "expand_dims", "gather",
    "max", "min", "neg", "pad", "reduce_max", "reduce_min", "reshape", "rev", "scatter", "select_n", "sign", "slice",
    "squeeze", "stop_gradient", "transpose",
)  # fmt: skip
#: How many places in the row of random signs a result may begin at.
PIECES = 997


def rounded(f: Callable[..., PyTree], key: Array) -> Callable[..., PyTree]:
    """The same function with every result inside moved by an ulp: another way it might round."""

    def shaken(*args: PyTree) -> PyTree:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        # one row of signs, of which each result takes a piece: drawing new ones for each would take long to compile
        signs = jax.random.rademacher(key, (PIECES + max(jaxprs.largest(closed), 1),), jnp.int8)
        number = itertools.count()

        def moved(value: Any) -> Any:
            if not is_float(value):
                return value
            start = next(number) * 7 % PIECES
            piece = signs[start : start + value.size].reshape(value.shape).astype(value.dtype)
            return value * (1 + jnp.finfo(value.dtype).eps * piece)

        def after(equation: Any, values: Values) -> Values:
            return values if equation.primitive.name in EXACT else list(map(moved, values))

        out = jaxprs.evaluate(closed, list(map(moved, jax.tree.leaves(args))), Hooks(after=after))
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return shaken
