"""Exponentials, logarithms, trigonometric, hyperbolic and error functions.

Where a derivative can be written with the output y, it is: y is there already, and nothing is computed twice.
The activations of this package have their rules in `fnn.activations`, which are called here.
Sources: claims A10, B5, E4.
"""

import math

import jax
import jax.numpy as jnp

from fnn.activations import sigmoid as _sigmoid
from fnn.activations import tanh as _tanh
from fnn.glassbox.table import rule


@rule("exp")
def exp(y_bar, y, x):
    # y = eˣ
    return (y_bar * y,)


@rule("exp2")
def exp2(y_bar, y, x):
    # y = 2ˣ
    return (y_bar * y * math.log(2),)


@rule("expm1")
def expm1(y_bar, y, x):
    # y = eˣ − 1
    return (y_bar * (y + 1),)


@rule("log")
def log(y_bar, y, x):
    # y = log x
    return (y_bar / x,)


@rule("log1p")
def log1p(y_bar, y, x):
    # y = log(1 + x)
    return (y_bar / (1 + x),)


@rule("logistic")
def logistic(y_bar, y, x):
    # y = 1 / (1 + e⁻ˣ); what sigmoid keeps is its output
    return (_sigmoid.backward(y, y_bar),)


@rule("tanh")
def tanh(y_bar, y, x):
    # y = tanh x; what tanh keeps is its output
    return (_tanh.backward(y, y_bar),)


@rule("sin")
def sin(y_bar, y, x):
    # y = sin x
    return (y_bar * jnp.cos(x),)


@rule("cos")
def cos(y_bar, y, x):
    # y = cos x
    return (-y_bar * jnp.sin(x),)


@rule("tan")
def tan(y_bar, y, x):
    # y = tan x
    return (y_bar * (1 + y * y),)


@rule("asin")
def asin(y_bar, y, x):
    # y = arcsin x; (1 − x)(1 + x) keeps the digits that 1 − x² loses near ±1
    return (y_bar / jnp.sqrt((1 - x) * (1 + x)),)


@rule("acos")
def acos(y_bar, y, x):
    # y = arccos x
    return (-y_bar / jnp.sqrt((1 - x) * (1 + x)),)


@rule("atan")
def atan(y_bar, y, x):
    # y = arctan x
    return (y_bar / (1 + x * x),)


@rule("atan2")
def atan2(y_bar, y, a, b):
    # y = angle of the point (b, a)
    square = a * a + b * b
    return y_bar * b / square, -y_bar * a / square


@rule("sinh")
def sinh(y_bar, y, x):
    # y = sinh x
    return (y_bar * jnp.cosh(x),)


@rule("cosh")
def cosh(y_bar, y, x):
    # y = cosh x
    return (y_bar * jnp.sinh(x),)


@rule("asinh")
def asinh(y_bar, y, x):
    # y = arsinh x
    return (y_bar / jnp.sqrt(x * x + 1),)


@rule("acosh")
def acosh(y_bar, y, x):
    # y = arcosh x
    return (y_bar / jnp.sqrt((x - 1) * (x + 1)),)


@rule("atanh")
def atanh(y_bar, y, x):
    # y = artanh x
    return (y_bar / ((1 - x) * (1 + x)),)


@rule("erf")
def erf(y_bar, y, x):
    # y = 2/√π ∫₀ˣ e^(−t²) dt
    return (y_bar * (2 / math.sqrt(math.pi)) * jnp.exp(-x * x),)


@rule("erfc")
def erfc(y_bar, y, x):
    # y = 1 − erf x
    return (-y_bar * (2 / math.sqrt(math.pi)) * jnp.exp(-x * x),)


@rule("erf_inv")
def erf_inv(y_bar, y, x):
    # x = erf y, so that dy/dx = √π/2 e^(y²)
    return (y_bar * (math.sqrt(math.pi) / 2) * jnp.exp(y * y),)


@rule("lgamma")
def lgamma(y_bar, y, x):
    # y = log |Γ(x)|
    return (y_bar * jax.scipy.special.digamma(x),)


@rule("digamma")
def digamma(y_bar, y, x):
    # y = Γ'(x)/Γ(x)
    return (y_bar * jax.scipy.special.polygamma(1, x),)
