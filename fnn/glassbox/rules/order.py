"""Running sums and products, and sorting."""

import jax.numpy as jnp
from jax import lax

from fnn.glassbox.spelling import python as py
from fnn.glassbox.table import Primitive, Symbol, enter, free, read


def cumsum(y_bar, y, x, *, axis, reverse):
    # yₖ = Σ xᵢ over i ≤ k: xᵢ counts in every yₖ from k = i on
    return (lax.cumsum(y_bar, axis=axis, reverse=not reverse),)


def cumprod(y_bar, y, x, *, axis, reverse):
    # yₖ = Π xᵢ over i ≤ k. From the far end back, s = what flows into yₖ₋₁ from later ones: sₖ₋₁ = (y_barₖ + sₖ) xₖ; a
    # quotient yₖ/xᵢ would be wrong if x = 0
    def back(s, here):
        x, y_bar, before = here
        return (y_bar + s) * x, (y_bar + s) * before

    rows = [jnp.moveaxis(each, axis, 0) for each in (x, y_bar, y)]
    x0, y_bar0, y0 = [jnp.flip(each, 0) for each in rows] if reverse else rows
    before = jnp.concatenate([jnp.ones_like(y0[:1]), y0[:-1]])
    _, x_bar = lax.scan(back, jnp.zeros_like(y_bar0[0]), (x0, y_bar0, before), reverse=True)
    return (jnp.moveaxis(jnp.flip(x_bar, 0) if reverse else x_bar, 0, axis),)


def cumlogsumexp(y_bar, y, x, *, axis, reverse):
    # yₖ = log Σ exp xᵢ over i ≤ k: dyₖ/dxᵢ = exp(xᵢ − yₖ). From the far end back, s = Σ y_barₖ exp(yᵢ − yₖ) over k ≥ i,
    # which never overflows, for yᵢ ≤ yₖ
    def back(carry, here):
        s, later = carry
        x, y_bar, y = here
        s = y_bar + s * jnp.exp(y - later)
        return (s, y), s * jnp.exp(x - y)

    rows = [jnp.moveaxis(each, axis, 0) for each in (x, y_bar, y)]
    rows = [jnp.flip(each, 0) for each in rows] if reverse else rows
    _, x_bar = lax.scan(back, (jnp.zeros_like(rows[1][0]), rows[2][-1]), tuple(rows), reverse=True)
    return (jnp.moveaxis(jnp.flip(x_bar, 0) if reverse else x_bar, 0, axis),)


def running_extreme(y_bar, y, x, *, axis, reverse):
    # yₖ = the largest (smallest) so far, starting again wherever x reaches it; a tie shares it, ½ to the new one
    def back(s, here):
        x, y_bar, y, before = here
        s = s + y_bar
        new = (x == y).astype(s.dtype) * jnp.where(before == x, 0.5, 1.0).astype(s.dtype)
        return s * (1 - new), s * new

    rows = [jnp.moveaxis(each, axis, 0) for each in (x, y_bar, y)]
    x0, y_bar0, y0 = [jnp.flip(each, 0) for each in rows] if reverse else rows
    nothing = jnp.full_like(y0[:1], jnp.nan)
    before = jnp.concatenate([nothing, y0[:-1]])
    _, x_bar = lax.scan(back, jnp.zeros_like(y_bar0[0]), (x0, y_bar0, y0, before), reverse=True)
    return (jnp.moveaxis(jnp.flip(x_bar, 0) if reverse else x_bar, 0, axis),)


def sort(y_bar, y, *x, dimension, is_stable, num_keys):
    # every output is its input in the order of the keys: the cotangents go back in the same order
    place = lax.broadcasted_iota(jnp.int32, x[0].shape, dimension)
    *_, order = lax.sort((*x, place), dimension=dimension, is_stable=is_stable, num_keys=num_keys)
    back = jnp.argsort(order, axis=dimension)
    return tuple(jnp.take_along_axis(bar, back, axis=dimension) for bar in y_bar)


def top_k(y_bar, y, x, *, k, axis=-1):
    # y = the k largest and their positions
    values_bar, where = y_bar[0], y[1]
    return (jnp.put_along_axis(jnp.zeros_like(x), where, values_bar, axis=axis, inplace=False),)


def approx_top_k(y_bar, y, x, *, reduction_dimension):
    # y = about the k largest (smallest) and their positions
    axis = reduction_dimension
    return (jnp.put_along_axis(jnp.zeros_like(x), y[1], y_bar[0], axis=axis, inplace=False),)


# ---- the table -------------------------------------------------------------------------------------------------------


def _largest(g, p, y):
    axis = p.get("axis", len(g[0].shape) - 1)
    return f"lax.top_k({g[0].text}, {p['k']}{'' if axis == len(g[0].shape) - 1 else f', axis={axis}'})"


def _about(g, p, y):
    name = "approx_max_k" if p["is_max_k"] else "approx_min_k"
    return f"lax.{name}({g[0].text}, {p['k']}, {p['reduction_dimension']}, {p['recall_target']})"


enter(
    Primitive("approx_top_k", approx_top_k, py.call(_about), symbol=Symbol(label="largest"), cost=free),
    Primitive(
        "cumsum", cumsum, py.running("lax.cumsum"), cost=read,
        back=("{g} added up from the other end",),
    ),
    Primitive("cumprod", cumprod, py.running("lax.cumprod"), cost=read),
    Primitive("cumlogsumexp", cumlogsumexp, py.running("lax.cumlogsumexp"), cost=read),
    Primitive("cummax", running_extreme, py.running("lax.cummax"), cost=read),
    Primitive("cummin", running_extreme, py.running("lax.cummin"), cost=read),
    Primitive(
        "sort", sort, py.sort, word="sorted_", cost=free,
        back=("{g} in the old order",),
    ),
    Primitive(
        "top_k", top_k, py.call(_largest), symbol=Symbol(label="largest"),
        cost=free,
        back=("{g} where the largest stand, 0 elsewhere",),
    ),
)  # fmt: skip
