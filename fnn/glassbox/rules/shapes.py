"""Moving numbers about: each rule moves the cotangent back, and adds up where a number was used more than once."""

import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn.glassbox.table import rule


@rule("transpose")
def transpose(y_bar, y, x, *, permutation):
    # y[axes] = x[permuted axes]
    return (jnp.transpose(y_bar, np.argsort(permutation).tolist()),)


@rule("reshape")
def reshape(y_bar, y, x):
    # the same numbers in the same order
    return (jnp.reshape(y_bar, x.shape),)


@rule("squeeze")
def squeeze(y_bar, y, x):
    # axes of size 1 come and go
    return (jnp.reshape(y_bar, x.shape),)


@rule("broadcast_in_dim")
def broadcast(y_bar, y, x, *_sizes, shape, broadcast_dimensions):
    # each number is used once per copy, and the copies' cotangents add up (claim E5)
    lost = [axis for axis in range(len(shape)) if axis not in broadcast_dimensions]
    lost += [axis for k, axis in enumerate(broadcast_dimensions) if x.shape[k] == 1 and shape[axis] != 1]
    return (jnp.sum(y_bar, axis=tuple(lost)).reshape(x.shape) if lost else y_bar, *(None for _ in _sizes))


@rule("concatenate")
def concatenate(y_bar, y, *parts, dimension):
    # y = the parts one behind another
    ends = np.cumsum([part.shape[dimension] for part in parts])[:-1].tolist()
    return tuple(jnp.split(y_bar, ends, axis=dimension))


@rule("split")
def split(y_bar, y, x, *, axis):
    # the inverse of concatenate
    return (jnp.concatenate(y_bar, axis=axis),)


@rule("stack")
def stack(y_bar, y, *parts, axis):
    # y = the parts, one behind another on an axis of their own
    return tuple(jnp.take(y_bar, k, axis=axis) for k in range(len(parts)))


@rule("unstack")
def unstack(y_bar, y, x, *, axis):
    # the inverse of stack
    return (jnp.stack(y_bar, axis=axis),)


@rule("tile")
def tile(y_bar, y, x, *, reps):
    # y = copies of x side by side, whose cotangents add up
    split = [size for rep, own in zip(reps, x.shape, strict=True) for size in (rep, own)]
    return (jnp.sum(y_bar.reshape(split), axis=tuple(range(0, 2 * x.ndim, 2))),)


@rule("pad")
def pad(y_bar, y, x, value, *, padding_config):
    # y = x with `value` before, after and between its entries
    undone = [(-low, -high, 0) for low, high, _ in padding_config]
    inside = lax.pad(y_bar, jnp.zeros((), y_bar.dtype), undone)
    x_bar = lax.slice(inside, [0] * x.ndim, inside.shape, [between + 1 for _, _, between in padding_config])
    return x_bar, jnp.sum(y_bar) - jnp.sum(x_bar)


@rule("slice")
def slice_(y_bar, y, x, *, start_indices, limit_indices, strides):
    # y = a box of x, every so manieth entry; the others do not count
    steps = strides or (1,) * x.ndim
    config = []
    for start, step, taken, size in zip(start_indices, steps, y_bar.shape, x.shape, strict=True):
        covered = (taken - 1) * step + 1 if taken else 0
        config.append((start, size - start - covered, step - 1))
    return (lax.pad(y_bar, jnp.zeros((), y_bar.dtype), config),)


@rule("rev")
def rev(y_bar, y, x, *, dimensions):
    # y = x backwards
    return (jnp.flip(y_bar, dimensions),)


@rule("copy", "copy_p")
def copy(y_bar, y, *x):
    return tuple(y_bar) if isinstance(y_bar, tuple | list) else (y_bar,)


@rule("convert_element_type", "reduce_precision")
def convert(y_bar, y, x):
    # the same number in another dtype
    return (y_bar.astype(x.dtype),)
