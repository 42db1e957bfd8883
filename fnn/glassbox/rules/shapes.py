"""Moving numbers: each rule moves the cotangent back, and sums it if a number was used more than once."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn.glassbox.spelling import latex as tex
from fnn.glassbox.spelling import python as py
from fnn.glassbox.spelling.pieces import listed
from fnn.glassbox.table import Primitive, Symbol, enter, free


def transpose(y_bar, y, x, *, permutation):
    # y[axes] = x[permuted axes]
    return (jnp.transpose(y_bar, np.argsort(permutation).tolist()),)


def reshape(y_bar, y, x):
    # the same numbers in the same order
    return (jnp.reshape(y_bar, x.shape),)


def squeeze(y_bar, y, x):
    # axes of size 1 come and go
    return (jnp.reshape(y_bar, x.shape),)


def broadcast(y_bar, y, x, *_sizes, shape, broadcast_dimensions):
    # each number is used once per copy, and the copies' cotangents add up (claim E5)
    lost = [axis for axis in range(len(shape)) if axis not in broadcast_dimensions]
    lost += [axis for k, axis in enumerate(broadcast_dimensions) if x.shape[k] == 1 and shape[axis] != 1]
    return (jnp.sum(y_bar, axis=tuple(lost)).reshape(x.shape) if lost else y_bar, *(None for _ in _sizes))


def concatenate(y_bar, y, *parts, dimension):
    # y = the parts, one after another
    ends = np.cumsum([part.shape[dimension] for part in parts])[:-1].tolist()
    return tuple(jnp.split(y_bar, ends, axis=dimension))


def split(y_bar, y, x, *, axis):
    # the inverse of concatenate
    return (jnp.concatenate(y_bar, axis=axis),)


def stack(y_bar, y, *parts, axis):
    # y = the parts, one after another along a new axis
    return tuple(jnp.take(y_bar, k, axis=axis) for k in range(len(parts)))


def unstack(y_bar, y, x, *, axis):
    # the inverse of stack
    return (jnp.stack(y_bar, axis=axis),)


def tile(y_bar, y, x, *, reps):
    # y = copies of x side by side, whose cotangents add up
    split = [size for rep, own in zip(reps, x.shape, strict=True) for size in (rep, own)]
    return (jnp.sum(y_bar.reshape(split), axis=tuple(range(0, 2 * x.ndim, 2))),)


def pad(y_bar, y, x, value, *, padding_config):
    # y = x with `value` before, after and between its entries
    undone = [(-low, -high, 0) for low, high, _ in padding_config]
    inside = lax.pad(y_bar, jnp.zeros((), y_bar.dtype), undone)
    x_bar = lax.slice(inside, [0] * x.ndim, inside.shape, [between + 1 for _, _, between in padding_config])
    return x_bar, jnp.sum(y_bar) - jnp.sum(x_bar)


def slice_(y_bar, y, x, *, start_indices, limit_indices, strides):
    # y = a box of x, every k-th entry; the others do not count
    steps = strides or (1,) * x.ndim
    config = []
    for start, step, taken, size in zip(start_indices, steps, y_bar.shape, x.shape, strict=True):
        covered = (taken - 1) * step + 1 if taken else 0
        config.append((start, size - start - covered, step - 1))
    return (lax.pad(y_bar, jnp.zeros((), y_bar.dtype), config),)


def rev(y_bar, y, x, *, dimensions):
    # y = x backwards
    return (jnp.flip(y_bar, dimensions),)


def copy(y_bar, y, *x):
    return tuple(y_bar) if isinstance(y_bar, tuple | list) else (y_bar,)


def barrier(y_bar, y, *x):
    # the same arrays; only the order of computation is fixed
    return tuple(y_bar)


def convert(y_bar, y, x):
    # the same number in another dtype; a real number made of a complex one, or made complex, has a real part only
    return ((jnp.real(y_bar) if jnp.iscomplexobj(y_bar) and not jnp.iscomplexobj(x) else y_bar).astype(x.dtype),)


def reduce_precision(y_bar, y, x, *, exponent_bits, mantissa_bits):
    # y = x with fewer digits; as in a cast to a narrow dtype and back, the cotangent is rounded too
    return (lax.reduce_precision(y_bar, exponent_bits, mantissa_bits),)


# ---- the table -------------------------------------------------------------------------------------------------------

_SHAPED = py.call(lambda g, p, y: f"jnp.reshape({g[0].text}, {y.shape})")


def _parts(g, p, y):
    text = f"jnp.split({g[0].text}, {np.cumsum(p['sizes'])[:-1].tolist()}, axis={p['axis']})"
    return text if len(p["sizes"]) > 1 else f"{text}[0]"


def _rows(g, p, y):
    text = f"jnp.unstack({g[0].text}, axis={p['axis']})"
    return text if g[0].shape[p["axis"]] > 1 else f"{text}[0]"


def _padded(g, p, y):
    return f"lax.pad({g[0].text}, jnp.asarray({g[1].text}, jnp.{y.dtype.name}), {py.pairs(p['padding_config'])})"


def _rounded(g, p, y):
    return f"lax.reduce_precision({g[0].text}, {p['exponent_bits']}, {p['mantissa_bits']})"


_SAME = py.call(lambda g, p, y: g[0].text)


def _held(g, p, y):
    return f"lax.optimization_barrier({g[0].text if len(g) == 1 else f'({listed(g)})'})"


#: They say on which devices an array is placed and how, and change none of its entries.
_PLACED = ("sharding_constraint", "layout_constraint", "reshard", "relayout", "with_memory_space_constraint")


def _turned_back(params, shapes):
    return "{g}ᵀ" if tuple(params["permutation"]) == (1, 0) else "{g} with its axes turned back"


enter(
    Primitive(
        "transpose", transpose, py.transpose, tex.transpose, "transposed", Symbol(formula="xᵀ", sentence="xᵀ"), free,
        back=(_turned_back,),
    ),
    Primitive("reshape", reshape, _SHAPED, tex.silent, "reshaped", cost=free, passes_on=True),
    Primitive("squeeze", squeeze, _SHAPED, tex.silent, "squeezed", Symbol(label="reshape"), free, passes_on=True),
    Primitive(
        "broadcast_in_dim", broadcast, py.broadcast, tex.repeated, "copies", Symbol(label="copies"), free,
        back=("the sum of {g} over the copies",),
    ),
    Primitive(
        "concatenate", concatenate, py.call(lambda g, p, y: f"jnp.concatenate([{listed(g)}], axis={p['dimension']})"),
        word="joined", symbol=Symbol(label="join"), cost=free,
        back=("its part of {g}",),
    ),
    Primitive("split", split, py.call(_parts), cost=free),
    Primitive(
        "stack", stack, py.call(lambda g, p, y: f"jnp.stack([{listed(g)}], axis={p['axis']})"),
        back=("its part of {g}",),
    ),
    Primitive("unstack", unstack, py.call(_rows)),
    Primitive(
        "tile", tile, py.call(lambda g, p, y: f"jnp.tile({g[0].text}, {tuple(p['reps'])})"),
        back=("the sum of {g} over the copies",),
    ),
    Primitive(
        "pad", pad, py.call(_padded), tex.padded, cost=free,
        back=("{g} without the padding", "the sum of {g} over the padding"),
    ),
    Primitive(
        "slice", slice_, py.call(lambda g, p, y: f"{g[0].within(0)}[{py.box(p, g[0].shape)}]"),
        latex=tex.part, word="part",
        symbol=Symbol(formula="x[i:j]"), cost=free,
        back=("{g} in its place, 0 elsewhere",),
    ),
    Primitive(
        "rev", rev, py.call(lambda g, p, y: f"jnp.flip({g[0].text}, {py.axes(p['dimensions'])})"), word="reversed_",
        symbol=Symbol(label="reverse"), cost=free,
        back=("{g} backwards",),
    ),
    Primitive("copy", copy, _SAME, tex.silent, cost=free, passes_on=True),
    Primitive("copy_p", copy, _SAME, tex.silent, cost=free, passes_on=True),
    Primitive("optimization_barrier", barrier, py.call(_held), tex.silent, cost=free),
    Primitive("device_put", barrier, py.call(lambda g, p, y: listed(g)), tex.silent, cost=free),
    *(Primitive(name, copy, _SAME, tex.silent, cost=free, passes_on=True) for name in _PLACED),
    Primitive(
        "convert_element_type", convert, py.call(lambda g, p, y: f"jnp.asarray({g[0].text}, jnp.{y.dtype.name})"),
        tex.silent, "converted", Symbol(label="convert"), free, passes_on=True,
    ),
    Primitive("reduce_precision", reduce_precision, py.call(_rounded), cost=free),
)  # fmt: skip
