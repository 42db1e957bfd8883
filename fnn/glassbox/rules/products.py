"""Products of matrices and of their many-axed kin.

`dot_general` in full: axes are a letter each, so that both cotangents are one sum of products over the letters that the
argument lacks. For z = x W they read x_bar = z_bar Wᵀ and W_bar = xᵀ z_bar. Source: claims A15, C8, D6, E6.
"""

import math

import jax.numpy as jnp

from fnn.glassbox.spelling import latex as tex
from fnn.glassbox.spelling import python as py
from fnn.glassbox.spelling.letters import letters
from fnn.glassbox.table import Primitive, Symbol, enter


def dot_general(y_bar, y, a, b, *, dimension_numbers, precision=None):
    # y = Σ a · b over the contracted axes
    a_axes, b_axes, y_axes = letters(dimension_numbers, a.ndim, b.ndim)
    # the sums may be in a wider dtype than the factors
    wide = y_bar.dtype
    a_bar = jnp.einsum(f"{y_axes},{b_axes}->{a_axes}", y_bar, b.astype(wide), precision=precision)
    b_bar = jnp.einsum(f"{a_axes},{y_axes}->{b_axes}", a.astype(wide), y_bar, precision=precision)
    return a_bar.astype(a.dtype), b_bar.astype(b.dtype)


# ---- the table -------------------------------------------------------------------------------------------------------


def _cost(params, inputs, outputs):
    # a multiplication and an addition are two
    (contracted, _), _ = params["dimension_numbers"]
    return 2 * math.prod(outputs[0].shape) * math.prod(inputs[0].shape[axis] for axis in contracted)


enter(Primitive("dot_general", dot_general, py.product, tex.product, "product", Symbol("@"), _cost))
