"""Exponentials, logarithms, trigonometric, hyperbolic and error functions.

If a derivative can be written with the output y, it is: y is already known, and nothing is computed twice.
The rules of this package's activations are in `fnn.activations` and are called here.
Sources: claims A10, B5, E4.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

from fnn.activations import sigmoid as _sigmoid
from fnn.activations import tanh as _tanh
from fnn.glassbox.spelling import latex as tex
from fnn.glassbox.spelling import python as py
from fnn.glassbox.table import Primitive, Symbol, enter


def exp(y_bar, y, x):
    # y = eˣ
    return (y_bar * y,)


def exp2(y_bar, y, x):
    # y = 2ˣ
    return (y_bar * y * math.log(2),)


def expm1(y_bar, y, x):
    # y = eˣ − 1
    return (y_bar * (y + 1),)


def log(y_bar, y, x):
    # y = log x
    return (y_bar / x,)


def log2(y_bar, y, x):
    # y = log₂ x
    return (y_bar / (x * math.log(2)),)


def log1p(y_bar, y, x):
    # y = log(1 + x)
    return (y_bar / (1 + x),)


def logistic(y_bar, y, x):
    # y = 1 / (1 + e⁻ˣ); what sigmoid keeps is its output
    return (_sigmoid.backward(y, y_bar),)


def tanh(y_bar, y, x):
    # y = tanh x; what tanh keeps is its output
    return (_tanh.backward(y, y_bar),)


def sin(y_bar, y, x):
    # y = sin x
    return (y_bar * jnp.cos(x),)


def cos(y_bar, y, x):
    # y = cos x
    return (-y_bar * jnp.sin(x),)


def tan(y_bar, y, x):
    # y = tan x
    return (y_bar * (1 + y * y),)


def asin(y_bar, y, x):
    # y = arcsin x; (1 − x)(1 + x) keeps the digits that 1 − x² loses near ±1
    return (y_bar / jnp.sqrt((1 - x) * (1 + x)),)


def acos(y_bar, y, x):
    # y = arccos x
    return (-y_bar / jnp.sqrt((1 - x) * (1 + x)),)


def atan(y_bar, y, x):
    # y = arctan x
    return (y_bar / (1 + x * x),)


def one_minus_square(y_bar, y, x):
    # y = 1 − x²
    return (-y_bar * 2 * x,)


def atan2(y_bar, y, a, b):
    # y = angle of the point (b, a)
    square = a * a + b * b
    return y_bar * b / square, -y_bar * a / square


def sinh(y_bar, y, x):
    # y = sinh x
    return (y_bar * jnp.cosh(x),)


def cosh(y_bar, y, x):
    # y = cosh x
    return (y_bar * jnp.sinh(x),)


def asinh(y_bar, y, x):
    # y = arsinh x
    return (y_bar / jnp.sqrt(x * x + 1),)


def acosh(y_bar, y, x):
    # y = arcosh x
    return (y_bar / jnp.sqrt((x - 1) * (x + 1)),)


def atanh(y_bar, y, x):
    # y = artanh x
    return (y_bar / ((1 - x) * (1 + x)),)


def erf(y_bar, y, x):
    # y = 2/√π ∫₀ˣ e^(−t²) dt
    return (y_bar * (2 / math.sqrt(math.pi)) * jnp.exp(-x * x),)


def erfc(y_bar, y, x):
    # y = 1 − erf x
    return (-y_bar * (2 / math.sqrt(math.pi)) * jnp.exp(-x * x),)


def erf_inv(y_bar, y, x):
    # x = erf y, so that dy/dx = √π/2 e^(y²)
    return (y_bar * (math.sqrt(math.pi) / 2) * jnp.exp(y * y),)


def lgamma(y_bar, y, x):
    # y = log |Γ(x)|
    return (y_bar * jax.scipy.special.digamma(x),)


def digamma(y_bar, y, x):
    # y = Γ'(x)/Γ(x)
    return (y_bar * jax.scipy.special.polygamma(1, x),)


def polygamma(y_bar, y, n, x):
    # y = dⁿ⁺¹/dxⁿ⁺¹ log Γ(x); n is a whole number, in which there is no derivative
    return None, y_bar * lax.polygamma(n + 1, x)


# ---- the table -------------------------------------------------------------------------------------------------------

enter(
    Primitive(
        "exp", exp, py.function("jnp.exp"), tex.function(r"\exp"), symbol=Symbol(formula="eˣ"), positive=True,
        sloped=True,
        back=("{g} × {y}",),
    ),
    Primitive(
        "exp2", exp2, py.function("jnp.exp2"), symbol=Symbol(formula="2ˣ"), positive=True, sloped=True,
        back=("{g} × {y} × ln(2)",),
    ),
    Primitive(
        "expm1", expm1, py.function("jnp.expm1"), symbol=Symbol(formula="eˣ − 1"),
        back=("{g} × ({y} + 1)",),
    ),
    Primitive(
        "log", log, py.function("jnp.log"), tex.function(r"\log"), symbol=Symbol(formula="ln x", sentence="ln(x)"),
        back=("{g} / {a}",),
    ),
    Primitive(
        "log2", log2, py.function("jnp.log2"), tex.function(r"\log_2"),
        back=("{g} / ({a} × ln(2))",),
    ),
    Primitive("one_minus_square", one_minus_square, py.call(lambda g, p, y: f"(1 - {g[0].within(1)}**2)")),
    Primitive(
        "log1p", log1p, py.function("jnp.log1p"), symbol=Symbol(formula="ln(1 + x)"),
        back=("{g} / (1 + {a})",),
    ),
    Primitive(
        "logistic", logistic, py.function("jax.nn.sigmoid"), tex.function(r"\sigma"), "sigmoid",
        Symbol(formula="σ(x)", sentence="σ(x)"), positive=True, sloped=True,
        back=("{g} × {y} × (1 − {y})",),
    ),
    Primitive(
        "tanh", tanh, py.function("jnp.tanh"), tex.function(r"\tanh"), sloped=True,
        back=("{g} × (1 − {y}²)",),
    ),
    Primitive(
        "sin", sin, py.function("jnp.sin"), tex.function(r"\sin"),
        back=("{g} × cos({a})",),
    ),
    Primitive(
        "cos", cos, py.function("jnp.cos"), tex.function(r"\cos"),
        back=("−{g} × sin({a})",),
    ),
    Primitive(
        "tan", tan, py.function("jnp.tan"), tex.function(r"\tan"),
        back=("{g} × (1 + {y}²)",),
    ),
    Primitive(
        "asin", asin, py.function("jnp.arcsin"), tex.function(r"\arcsin"), symbol=Symbol(label="arcsin"),
        back=("{g} / √(1 − {a}²)",),
    ),
    Primitive(
        "acos", acos, py.function("jnp.arccos"), tex.function(r"\arccos"), symbol=Symbol(label="arccos"),
        back=("−{g} / √(1 − {a}²)",),
    ),
    Primitive(
        "atan", atan, py.function("jnp.arctan"), tex.function(r"\arctan"), symbol=Symbol(label="arctan"),
        back=("{g} / (1 + {a}²)",),
    ),
    Primitive("atan2", atan2, py.function("jnp.arctan2")),
    Primitive(
        "sinh", sinh, py.function("jnp.sinh"), tex.function(r"\sinh"),
        back=("{g} × cosh({a})",),
    ),
    Primitive(
        "cosh", cosh, py.function("jnp.cosh"), tex.function(r"\cosh"),
        back=("{g} × sinh({a})",),
    ),
    Primitive("asinh", asinh, py.function("jnp.arcsinh")),
    Primitive("acosh", acosh, py.function("jnp.arccosh")),
    Primitive("atanh", atanh, py.function("jnp.arctanh")),
    Primitive("erf", erf, py.function("lax.erf"), sloped=True),
    Primitive("erfc", erfc, py.function("lax.erfc"), positive=True, sloped=True),
    Primitive("erf_inv", erf_inv, py.function("lax.erf_inv"), symbol=Symbol(formula="erf⁻¹(x)")),
    Primitive("lgamma", lgamma, py.function("lax.lgamma"), tex.function(r"\log\Gamma")),
    Primitive("digamma", digamma, py.function("lax.digamma"), tex.function(r"\psi")),
    Primitive("polygamma", polygamma, py.function("lax.polygamma")),
    entrywise=True,
)  # fmt: skip
