"""Functions mapped over devices, read as a function on a single device, which they are on a mesh of one.

Promises: on one device every exchange between devices returns its numbers unchanged; a mesh of several devices is
refused.
"""

from typing import Any

import jax
from jax import lax

#: Primitives that exchange numbers between the devices of an axis.
EXCHANGES = {
    "psum", "psum_invariant", "pmax", "pmin", "pbroadcast", "ppermute", "all_gather", "all_gather_invariant",
    "all_gather_reduced", "all_to_all", "reduce_scatter", "unreduced_psum", "unreduced_reduce_scatter",
}  # fmt: skip
#: Primitives that only say how an array varies over the devices of an axis.
CASTS = {
    "pvary", "pcast", "preduced", "reduced_vary_cast", "reduced_vary_cast_p", "vary_unreduced_cast",
    "vary_unreduced_cast_p",
}  # fmt: skip
#: Which device this is (number 0), and which kind of device.
INDEX, PLATFORM = "axis_index", "platform_index"
#: Primitives without a meaning outside a map over devices; on one device the glass box looks inside them.
ON_ONE_DEVICE = {"shard_map", INDEX, PLATFORM, *EXCHANGES, *CASTS}


def refuse_many(equation: Any, place: Any) -> None:
    """Raise `NotImplementedError` if a `shard_map` has more than one device."""
    size = equation.params["mesh"].size
    if size != 1:
        where = f" ({place})" if str(place) else ""
        raise NotImplementedError(
            f"the operation `shard_map`{where} maps over {size} devices, and the glass box looks into only one. Run it "
            "on a mesh of one device: the function is the same."
        )


def reshaping(shape: tuple[int, ...], aval: Any) -> Any:
    """The equation that gives an array another shape with the same entries."""
    return _equation(lambda x: lax.reshape(x, shape), aval)


def transposing(order: tuple[int, ...], aval: Any) -> Any:
    """The equation that gives the axes of an array another order."""
    return _equation(lambda x: lax.transpose(x, order), aval)


def reducing(name: str, axes: tuple[int, ...], aval: Any) -> Any:
    """The equation of an exchange along axes of the array itself, which `jax.vmap` makes of one over its axis."""
    return _equation(lambda x: _REDUCTIONS[name](x, axes), aval)


#: What exchanges over the axis of a `jax.vmap` are.
_REDUCTIONS = {"psum": lax.reduce_sum, "pmax": lax.reduce_max, "pmin": lax.reduce_min}


def _equation(f: Any, aval: Any) -> Any:
    return jax.make_jaxpr(f)(jax.ShapeDtypeStruct(aval.shape, aval.dtype)).jaxpr.eqns[0]
