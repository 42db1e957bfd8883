"""Products of matrices and of arrays with more axes.

`dot_general` in full: each axis is a letter, so both cotangents are one sum of products over the letters that the
argument lacks. For z = x W they read x_bar = z_bar Wᵀ and W_bar = xᵀ z_bar. Source: claims A15, C8, D6, E6.
"""

import math

import jax.numpy as jnp

from fnn.glassbox.spelling import latex as tex
from fnn.glassbox.spelling import python as py
from fnn.glassbox.spelling.letters import letters
from fnn.glassbox.spelling.pieces import listed
from fnn.glassbox.table import Primitive, Symbol, enter


def dot_general(y_bar, y, a, b, *, dimension_numbers, precision=None):
    # y = Σ a · b over the contracted axes
    a_axes, b_axes, y_axes = letters(dimension_numbers, a.ndim, b.ndim)
    # the sums may be in a wider dtype than the factors
    wide = y_bar.dtype
    a_bar = jnp.einsum(f"{y_axes},{b_axes}->{a_axes}", y_bar, b.astype(wide), precision=precision)
    b_bar = jnp.einsum(f"{a_axes},{y_axes}->{b_axes}", a.astype(wide), y_bar, precision=precision)
    return a_bar.astype(a.dtype), b_bar.astype(b.dtype)


def ragged_dot_general(y_bar, y, x, w, sizes, *, ragged_dot_dimension_numbers, precision=None, group_offset=None):
    # y[m] = x[m] w[g], where row m belongs to group g; sizes holds the rows of each group, in order
    numbers = ragged_dot_dimension_numbers
    plain = (
        numbers.dot_dimension_numbers == (((1,), (1,)), ((), ())),
        *(tuple(numbers.lhs_ragged_dimensions) == (0,), tuple(numbers.rhs_group_dimensions) == (0,)),
        *(x.ndim == 2, group_offset is None),
    )
    if not all(plain):
        raise NotImplementedError(
            "ragged_dot_general over other axes than those of lax.ragged_dot has no rule in the glass box. Write one "
            "product per group."
        )
    ends, rows = jnp.cumsum(sizes)[:, None], jnp.arange(x.shape[0])
    member = ((ends - sizes[:, None] <= rows) & (rows < ends)).astype(y_bar.dtype)
    x_bar = jnp.einsum("gm,mn,gkn->mk", member, y_bar, w.astype(y_bar.dtype), precision=precision)
    w_bar = jnp.einsum("gm,mk,mn->gkn", member, x.astype(y_bar.dtype), y_bar, precision=precision)
    return x_bar.astype(x.dtype), w_bar.astype(w.dtype), None


# ---- the table -------------------------------------------------------------------------------------------------------


def _cost(params, inputs, outputs):
    # a multiplication and an addition are two
    (contracted, _), _ = params["dimension_numbers"]
    return 2 * math.prod(outputs[0].shape) * math.prod(inputs[0].shape[axis] for axis in contracted)


def _ragged_cost(params, inputs, outputs):
    # every row meets one matrix
    return 2 * math.prod(inputs[0].shape) * inputs[1].shape[-1]


def _ragged(g, p, y):
    precision = py.precision(p.get("precision"))
    words = [f"precision={precision}"] if precision else []
    words += [f"preferred_element_type=jnp.{y.dtype.name}"] if y.dtype != g[0].dtype else []
    return f"lax.ragged_dot({', '.join([listed(g), *words])})"


#: {which axes are contracted: the two cotangents}, of products of matrices.
_OF_MATRICES = {
    (1, 0): ("{g} @ {b}ᵀ", "{a}ᵀ @ {g}"),
    (1, 1): ("{g} @ {b}", "{g}ᵀ @ {a}"),
    (0, 0): ("{b} @ {g}ᵀ", "{a} @ {g}"),
    (0, 1): ("{b}ᵀ @ {g}ᵀ", "{g}ᵀ @ {a}ᵀ"),
}


def _back(position):
    def formula(params, shapes):
        (of_a, of_b), (batch, _) = params["dimension_numbers"]
        ranks = [len(shape) for shape in shapes]
        if batch or len(of_a) != 1 or max(ranks) > 2:
            return ("{g} · {b}, summed over what {a} lacks", "{a} · {g}, summed over what {b} lacks")[position]
        if ranks == [1, 1]:
            return ("{g} × {b}", "{g} × {a}")[position]
        return _OF_MATRICES[of_a[0], of_b[0]][position]

    return formula


enter(
    Primitive(
        "dot_general", dot_general, py.product, tex.product, "product", Symbol("@"), cost=_cost,
        back=(_back(0), _back(1)),
    ),
    Primitive(
        "ragged_dot_general", ragged_dot_general, py.call(_ragged), word="product", symbol=Symbol(label="@ by groups"),
        cost=_ragged_cost,
    )
)  # fmt: skip
