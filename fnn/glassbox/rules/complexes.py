"""Complex numbers, by the convention of JAX: the cotangent of z = a + ib is a_bar − i b_bar.

A real loss then changes by Re(z_bar dz), without a conjugate, so every rule of a function with a complex derivative
(products, powers, exponentials) is the same as for real numbers. `z − learning_rate * z_bar` is not descent: use the
conjugate of z_bar.
"""

import jax.numpy as jnp
from jax import lax

from fnn.glassbox.spelling import latex as tex
from fnn.glassbox.spelling import python as py
from fnn.glassbox.table import Primitive, Symbol, enter, free


def real(y_bar, y, z):
    # y = a of z = a + ib
    return (lax.complex(y_bar, jnp.zeros_like(y_bar)),)


def imag(y_bar, y, z):
    # y = b of z = a + ib
    return (lax.complex(jnp.zeros_like(y_bar), -y_bar),)


def joined(y_bar, y, a, b):
    # y = a + ib
    return jnp.real(y_bar), -jnp.imag(y_bar)


def conj(y_bar, y, z):
    # y = a − ib of z = a + ib
    turned = jnp.conj(y_bar)
    return (turned if jnp.iscomplexobj(z) else jnp.real(turned),)


# ---- the table -------------------------------------------------------------------------------------------------------


enter(
    Primitive("real", real, py.function("jnp.real"), tex.operator("Re"), symbol=Symbol(label="Re"), cost=free),
    Primitive("imag", imag, py.function("jnp.imag"), tex.operator("Im"), symbol=Symbol(label="Im"), cost=free),
    Primitive("complex", joined, py.exactly("lax.complex"), symbol=Symbol(label="a + ib"), cost=free),
    Primitive(
        "conj",
        conj,
        py.function("jnp.conj"),
        tex.around(r"\overline{", "}"),
        word="conjugate",
        symbol=Symbol(label="conj"),
        cost=free,
    ),
)
