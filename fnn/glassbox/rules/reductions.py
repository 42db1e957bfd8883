"""Sums, extremes and products over axes.

Ties: the largest (smallest) entries share the cotangent in equal parts; an average shares it among all (claim E5).
"""

import jax.numpy as jnp
import numpy as np

from fnn.glassbox.spelling import latex as tex
from fnn.glassbox.spelling import python as py
from fnn.glassbox.table import Primitive, Symbol, enter, read


def reduce_sum(y_bar, y, x, *, axes):
    # y = Σ x over axes: each entry has slope 1
    return (jnp.broadcast_to(jnp.expand_dims(y_bar, axes), x.shape),)


def extreme(y_bar, y, x, *, axes):
    # y = the largest (smallest) x over axes
    reached = (x == jnp.expand_dims(y, axes)).astype(x.dtype)
    # half precision counts to 65504 (float16) or 256 (bfloat16) only
    wide = x.dtype if jnp.finfo(x.dtype).bits >= 32 else jnp.float32
    share = y_bar.astype(wide) / jnp.sum(reached, axis=axes, dtype=wide)
    return (reached * jnp.expand_dims(share.astype(x.dtype), axes),)


def reduce_prod(y_bar, y, x, *, axes):
    # y = Π x over axes: the slope is the product of the others, which a quotient y/x is not where x = 0
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    order = (*kept, *axes)
    rows = jnp.transpose(x, order).reshape((*(x.shape[axis] for axis in kept), -1))
    ones = jnp.ones_like(rows[..., :1])
    before = jnp.cumprod(jnp.concatenate([ones, rows[..., :-1]], axis=-1), axis=-1)
    after = jnp.cumprod(jnp.concatenate([ones, rows[..., :0:-1]], axis=-1), axis=-1)[..., ::-1]
    others = (before * after).reshape([x.shape[axis] for axis in order])
    return (jnp.transpose(others, np.argsort(order).tolist()) * jnp.expand_dims(y_bar, axes),)


# ---- the table -------------------------------------------------------------------------------------------------------

enter(
    Primitive(
        "reduce_sum", reduce_sum, py.reduced("jnp.sum"), tex.reduced(r"\sum"), "total",
        Symbol(formula="Σ x", sentence="Σ(x)"), read,
        back=("{g}, repeated for every entry",),
    ),
    Primitive(
        "reduce_prod", reduce_prod, py.reduced("jnp.prod"), tex.reduced(r"\prod"), "product",
        Symbol(formula="Π x", sentence="Π(x)"), read,
        back=("{g} × the product of the other entries",),
    ),
    Primitive(
        "reduce_max", extreme, py.reduced("jnp.max"), tex.reduced(r"\max"), "largest", Symbol(label="max"), read,
        back=("{g} where {a} is largest, shared at ties, 0 elsewhere",),
    ),
    Primitive(
        "reduce_min", extreme, py.reduced("jnp.min"), tex.reduced(r"\min"), "smallest", Symbol(label="min"), read,
        back=("{g} where {a} is smallest, shared at ties, 0 elsewhere",),
    ),
)  # fmt: skip
