"""Sums, products, powers, and choices between numbers.

Ties: max and min share the cotangent in halves between equal arguments; |x| and sign have derivative 0 at 0; clamp
passes it where the number is strictly within its limits; relu has derivative 0 at 0.
Sources: claims A10, A14, C7, E3, E5.
"""

import jax.numpy as jnp

from fnn.activations import relu as _relu
from fnn.glassbox.table import rule


@rule("add", "add_any")
def add(y_bar, y, a, b):
    # y = a + b
    return y_bar, y_bar


@rule("sub")
def sub(y_bar, y, a, b):
    # y = a − b
    return y_bar, -y_bar


@rule("mul")
def mul(y_bar, y, a, b):
    # y = a · b
    return y_bar * b, y_bar * a


@rule("div")
def div(y_bar, y, a, b):
    # y = a / b, so that dy/db = −a/b² = −y/b
    return y_bar / b, -y_bar * y / b


@rule("rem")
def rem(y_bar, y, a, b):
    # y = a − b · (a/b, cut towards zero)
    return y_bar, -y_bar * jnp.trunc(a / b)


@rule("neg")
def neg(y_bar, y, x):
    # y = −x
    return (-y_bar,)


@rule("abs")
def absolute(y_bar, y, x):
    # y = |x|
    return (y_bar * jnp.sign(x),)


@rule("square")
def square(y_bar, y, x):
    # y = x²
    return (y_bar * 2 * x,)


@rule("integer_pow")
def integer_pow(y_bar, _, x, /, *, y):
    # xⁿ; the primitive calls its exponent y
    n = y
    return (y_bar * n * x ** (n - 1) if n != 0 else jnp.zeros_like(x),)


@rule("pow")
def power(y_bar, y, a, b):
    # y = aᵇ = exp(b log a); where b = 0 the power is constant in a, and 0ᵇ is constant in b
    b = jnp.asarray(b, y.dtype) if not jnp.issubdtype(jnp.result_type(b), jnp.floating) else b
    slope = jnp.where(b == 0, jnp.zeros_like(y), b * a ** jnp.where(b == 0, jnp.ones_like(b), b - 1))
    logarithm = jnp.log(jnp.where(a == 0, jnp.ones_like(a), a))
    return y_bar * slope, y_bar * jnp.where(a == 0, jnp.zeros_like(y), y * logarithm)


@rule("sqrt")
def sqrt(y_bar, y, x):
    # y = √x, so that dy/dx = 1/(2y)
    return (y_bar / (2 * y),)


@rule("rsqrt")
def rsqrt(y_bar, y, x):
    # y = 1/√x, so that dy/dx = −y/(2x)
    return (-y_bar * y / (2 * x),)


@rule("cbrt")
def cbrt(y_bar, y, x):
    # y = ∛x, so that dy/dx = y/(3x)
    return (y_bar * y / (3 * x),)


@rule("max")
def maximum(y_bar, y, a, b):
    # y = max(a, b)
    return y_bar * _share(a > b, a == b, y_bar), y_bar * _share(b > a, a == b, y_bar)


@rule("min")
def minimum(y_bar, y, a, b):
    # y = min(a, b)
    return y_bar * _share(a < b, a == b, y_bar), y_bar * _share(b < a, a == b, y_bar)


def _share(wins, tie, like):
    """1 where this argument wins, ½ at a tie, 0 elsewhere."""
    return wins.astype(like.dtype) + tie.astype(like.dtype) / 2


@rule("clamp")
def clamp(y_bar, y, low, x, high):
    # y = min(max(x, low), high)
    none = jnp.zeros_like(y_bar)
    inside = (x > low) & (x < high)
    below = jnp.where((low > x) & (low < high), y_bar, none)
    above = jnp.where(high < x, y_bar, none)
    return below, jnp.where(inside, y_bar, none), above


@rule("select_n")
def select(y_bar, y, which, *cases):
    # y = cases[which], entry by entry
    none = jnp.zeros_like(y_bar)
    return (None, *(jnp.where(which == k, y_bar, none) for k in range(len(cases))))


@rule("custom_jvp_call")
def relu(y_bar, y, x):
    # y = relu(x), the one function with a derivative of its own that is not looked through
    return (_relu.backward(_relu.forward(x)[1], y_bar[0]),)


@rule("polynomial")
def polynomial(y_bar, y, x, *coefficients):
    # y = Σ cₖ xᵏ; its slope by Horner's scheme
    slope = jnp.zeros_like(x)
    for k, c in reversed(list(enumerate(coefficients))[1:]):
        slope = slope * x + k * c
    return y_bar * slope, *(y_bar * x**k for k in range(len(coefficients)))
