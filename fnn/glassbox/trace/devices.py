"""Functions mapped over devices, read as the function of one device that they are on a mesh of one.

Promises: on one device every exchange between devices passes its numbers on as they are; a mesh of several is refused.
"""

from typing import Any

import jax
from jax import lax

#: Primitives that exchange numbers between the devices of an axis.
EXCHANGES = {
    "psum", "psum_invariant", "pmax", "pmin", "pbroadcast", "ppermute", "all_gather", "all_gather_invariant",
    "all_gather_reduced", "all_to_all", "reduce_scatter", "unreduced_psum", "unreduced_reduce_scatter",
}  # fmt: skip
#: Primitives that only say of an array how it varies over the devices of an axis.
CASTS = {
    "pvary", "pcast", "preduced", "reduced_vary_cast", "reduced_vary_cast_p", "vary_unreduced_cast",
    "vary_unreduced_cast_p",
}  # fmt: skip
#: Which device this is: number 0. And which kind of device.
INDEX, PLATFORM = "axis_index", "platform_index"
#: What has no meaning outside of a map over devices; on one device it is looked through.
ON_ONE_DEVICE = {"shard_map", INDEX, PLATFORM, *EXCHANGES, *CASTS}


def refuse_many(equation: Any, place: Any) -> None:
    """Raise `NotImplementedError` where a `shard_map` has more devices than one."""
    size = equation.params["mesh"].size
    if size != 1:
        where = f" ({place})" if str(place) else ""
        raise NotImplementedError(
            f"the operation `shard_map`{where} maps over {size} devices, and the glass box looks into one. Run it on a "
            "mesh of one device: the function is the same."
        )


def reshaping(shape: tuple[int, ...], aval: Any) -> Any:
    """The equation that brings an array into another shape of the same entries."""
    traced = jax.make_jaxpr(lambda x: lax.reshape(x, shape))(jax.ShapeDtypeStruct(aval.shape, aval.dtype))
    return traced.jaxpr.eqns[0]
