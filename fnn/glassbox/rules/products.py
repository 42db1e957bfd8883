"""Products of matrices and of their many-axed kin.

`dot_general` in full: axes are a letter each, so that both cotangents are one sum of products over the letters that the
argument lacks. For z = x W they read x_bar = z_bar Wᵀ and W_bar = xᵀ z_bar. Source: claims A15, C8, D6, E6.
"""

import string

import jax.numpy as jnp

from fnn.glassbox.table import rule


def letters(dimension_numbers, a_ndim: int, b_ndim: int) -> tuple[str, str, str]:
    """One letter per axis of a, of b, and of the product: batch axes, then a's own, then b's own."""
    (a_contracted, b_contracted), (a_batch, b_batch) = dimension_numbers
    fresh = iter(string.ascii_letters)
    a, b = [next(fresh) for _ in range(a_ndim)], [""] * b_ndim
    for of_a, of_b in (*zip(a_contracted, b_contracted, strict=True), *zip(a_batch, b_batch, strict=True)):
        b[of_b] = a[of_a]
    b = [letter or next(fresh) for letter in b]
    y = [a[axis] for axis in a_batch]
    y += [letter for axis, letter in enumerate(a) if axis not in (*a_contracted, *a_batch)]
    y += [letter for axis, letter in enumerate(b) if axis not in (*b_contracted, *b_batch)]
    return "".join(a), "".join(b), "".join(y)


@rule("dot_general")
def dot_general(y_bar, y, a, b, *, dimension_numbers, precision=None):
    # y = Σ a · b over the contracted axes
    a_axes, b_axes, y_axes = letters(dimension_numbers, a.ndim, b.ndim)
    a_bar = jnp.einsum(f"{y_axes},{b_axes}->{a_axes}", y_bar, b, precision=precision)
    b_bar = jnp.einsum(f"{a_axes},{y_axes}->{b_axes}", a, y_bar, precision=precision)
    return a_bar.astype(a.dtype), b_bar.astype(b.dtype)
