"""Special functions: gamma and beta integrals, and Bessel functions.

If a derivative is a function of its own (that of the incomplete gamma integral in its first argument), JAX has it as an
operation; if JAX has none either, the input has no rule.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from fnn.glassbox.spelling import python as py
from fnn.glassbox.table import Primitive, enter
from fnn.types import Array

#: At run time it takes only its two arguments.
_random_gamma_grad: Callable[..., Array] = lax.random_gamma_grad


def bessel_i0e(y_bar, y, x):
    # y = e^(−|x|) I₀(x), and I₀' = I₁
    return (y_bar * (lax.bessel_i1e(x) - jnp.sign(x) * y),)


def bessel_i1e(y_bar, y, x):
    # y = e^(−|x|) I₁(x), and I₁' = I₀ − I₁/x, ½ at 0
    safe = jnp.where(x == 0, jnp.ones_like(x), x)
    slope = lax.bessel_i0e(x) - y * (jnp.sign(x) + 1 / safe)
    return (y_bar * jnp.where(x == 0, jnp.full_like(x, 0.5), slope),)


def igamma(y_bar, y, a, x):
    # y = 1/Γ(a) ∫₀ˣ t^(a−1) e^(−t) dt
    return y_bar * lax.igamma_grad_a(a, x), y_bar * _gamma_density(a, x)


def igammac(y_bar, y, a, x):
    # y = 1 − igamma(a, x)
    return -y_bar * lax.igamma_grad_a(a, x), -y_bar * _gamma_density(a, x)


def _gamma_density(a, x):
    return jnp.exp((a - 1) * jnp.log(x) - x - lax.lgamma(a))


def regularized_incomplete_beta(y_bar, y, a, b, x):
    # y = 1/B(a, b) ∫₀ˣ t^(a−1) (1 − t)^(b−1) dt
    log_beta = lax.lgamma(a) + lax.lgamma(b) - lax.lgamma(a + b)
    return None, None, y_bar * jnp.exp((b - 1) * jnp.log1p(-x) + (a - 1) * jnp.log(x) - log_beta)


def random_gamma(y_bar, y, key, a, *, log_space):
    # y = the number that igamma(a, ·) takes to a fixed share, or its logarithm
    if log_space:
        return None, y_bar * _random_gamma_grad(a, jnp.exp(y)) / jnp.exp(y)
    return None, y_bar * _random_gamma_grad(a, y)


# ---- the table -------------------------------------------------------------------------------------------------------

_NONE = "JAX has no derivative of it either"


def _gamma(g, p, y):
    name = "loggamma" if p["log_space"] else "gamma"
    return f"jax.random.{name}({g[0].text}, {py.typed(g[1], g[1].dtype)}, {y.shape}, jnp.{y.dtype.name})"


enter(
    Primitive("bessel_i0e", bessel_i0e, py.function("lax.bessel_i0e")),
    Primitive("bessel_i1e", bessel_i1e, py.function("lax.bessel_i1e")),
    Primitive("igamma", igamma, py.exactly("lax.igamma")),
    Primitive("igammac", igammac, py.exactly("lax.igammac")),
    Primitive("regularized_incomplete_beta", regularized_incomplete_beta, py.exactly("lax.betainc")),
    Primitive("random_gamma", random_gamma, py.call(_gamma), foldable=False),
    Primitive("igamma_grad_a", None, py.exactly("lax.igamma_grad_a"), refused=_NONE),
    Primitive("random_gamma_grad", None, py.exactly("lax.random_gamma_grad"), refused=_NONE),
    Primitive("zeta", None, py.exactly("lax.zeta"), refused=_NONE),
)
