"""Sums, products, powers, and choices between numbers.

Ties: max and min share the cotangent in halves between equal arguments; |x| and sign have derivative 0 at 0; clamp
passes it where the number is strictly within its limits; relu has derivative 0 at 0.
Sources: claims A10, A14, C7, E3, E5.
"""

import jax.numpy as jnp

from fnn.activations import relu as _relu
from fnn.glassbox.spelling import latex as tex
from fnn.glassbox.spelling import python as py
from fnn.glassbox.spelling.letters import raised
from fnn.glassbox.table import Primitive, Symbol, enter, free


def add(y_bar, y, a, b):
    # y = a + b
    return y_bar, y_bar


def sub(y_bar, y, a, b):
    # y = a − b
    return y_bar, -y_bar


def mul(y_bar, y, a, b):
    # y = a · b
    return y_bar * b, y_bar * a


def div(y_bar, y, a, b):
    # y = a / b, so that dy/db = −a/b² = −y/b
    return y_bar / b, -y_bar * y / b


def rem(y_bar, y, a, b):
    # y = a − b · (a/b, cut towards zero)
    return y_bar, -y_bar * jnp.trunc(a / b)


def neg(y_bar, y, x):
    # y = −x
    return (-y_bar,)


def absolute(y_bar, y, x):
    # y = |x|; of a complex number x the sign is x/|x|, 0 at 0
    if jnp.iscomplexobj(x):
        return (y_bar.astype(x.dtype) * jnp.conj(jnp.sign(x)),)
    return (y_bar * jnp.sign(x),)


def sign(y_bar, y, x):
    # y = x/|x|, flat for real numbers; for a complex x it turns with the angle of x, and its size does not count. JAX
    # has 0
    size = jnp.abs(x)
    size = jnp.where(size == 0, jnp.inf, size).astype(x.dtype)
    along = jnp.real(y_bar * y).astype(x.dtype)
    return ((y_bar - along * jnp.conj(y)) / size,)


def nextafter(y_bar, y, a, b):
    # y = the number next to a in the direction of b: it moves with a, while b only gives the direction
    return y_bar, jnp.zeros_like(y_bar)


def square(y_bar, y, x):
    # y = x²
    return (y_bar * 2 * x,)


def integer_pow(y_bar, _, x, /, *, y):
    # xⁿ; the primitive calls its exponent y
    n = y
    return (y_bar * n * x ** (n - 1) if n != 0 else jnp.zeros_like(x),)


def power(y_bar, y, a, b):
    # y = aᵇ = exp(b log a); where b = 0 the power is constant in a, and 0ᵇ is constant in b
    b = jnp.asarray(b, y.dtype) if not jnp.issubdtype(jnp.result_type(b), jnp.floating) else b
    slope = jnp.where(b == 0, jnp.zeros_like(y), b * a ** jnp.where(b == 0, jnp.ones_like(b), b - 1))
    logarithm = jnp.log(jnp.where(a == 0, jnp.ones_like(a), a))
    return y_bar * slope, y_bar * jnp.where(a == 0, jnp.zeros_like(y), y * logarithm)


def sqrt(y_bar, y, x):
    # y = √x, so that dy/dx = 1/(2y)
    return (y_bar / (2 * y),)


def rsqrt(y_bar, y, x):
    # y = 1/√x, so that dy/dx = −y/(2x)
    return (-y_bar * y / (2 * x),)


def cbrt(y_bar, y, x):
    # y = ∛x, so that dy/dx = 1/(3y²), infinite at 0
    return (y_bar / (3 * y * y),)


def maximum(y_bar, y, a, b):
    # y = max(a, b)
    return y_bar * _share(a > b, a == b, y_bar), y_bar * _share(b > a, a == b, y_bar)


def minimum(y_bar, y, a, b):
    # y = min(a, b)
    return y_bar * _share(a < b, a == b, y_bar), y_bar * _share(b < a, a == b, y_bar)


def _share(wins, tie, like):
    """1 where this argument wins, ½ at a tie, 0 elsewhere."""
    return wins.astype(like.dtype) + tie.astype(like.dtype) / 2


def clamp(y_bar, y, low, x, high):
    # y = min(max(x, low), high)
    none = jnp.zeros_like(y_bar)
    inside = (x > low) & (x < high)
    below = jnp.where((low > x) & (low < high), y_bar, none)
    above = jnp.where(high < x, y_bar, none)
    return below, jnp.where(inside, y_bar, none), above


def select(y_bar, y, which, *cases):
    # y = cases[which], entry by entry
    none = jnp.zeros_like(y_bar)
    return (None, *(jnp.where(which == k, y_bar, none) for k in range(len(cases))))


def relu(y_bar, y, x):
    # y = relu(x), the only function with its own derivative that the glass box does not look inside
    return (_relu.backward(_relu.forward(x)[1], y_bar[0]),)


def polynomial(y_bar, y, x, *coefficients):
    # y = Σ cₖ xᵏ; its slope by Horner's scheme
    slope = jnp.zeros_like(x)
    for k, c in reversed(list(enumerate(coefficients))[1:]):
        slope = slope * x + k * c
    return y_bar * slope, *(y_bar * x**k for k in range(len(coefficients)))


# ---- the table -------------------------------------------------------------------------------------------------------


def _raised(params):
    exponent = params.get("y", 1)
    return "1/x" if exponent == -1 else f"x{raised(exponent)}"


def _whole_slope(params, shapes):
    exponent = params["y"]
    if exponent < 0:
        return f"−{{g}}{'' if exponent == -1 else f' × {-exponent}'} / {{a}}{raised(1 - exponent)}"
    return f"{{g}} × {exponent} × {{a}}{raised(exponent - 1) if exponent != 2 else ''}"


def _chosen(truth):
    def formula(params, shapes):
        # with more than two cases, `which` is an integer
        return "{g} where " + (f"{{a}} is {truth}" if len(shapes) == 3 else "it is chosen") + ", 0 elsewhere"

    return formula


_RAISED = Symbol(formula=_raised, label="power", sentence=_raised)

enter(
    Primitive(
        "add", add, py.infix("+", 4, 4, 4), tex.infix(" + ", 4, 4, 4), "added", Symbol("+"),
        back=("{g}",),
    ),
    Primitive(
        "add_any", add, py.infix("+", 4, 4, 4), tex.infix(" + ", 4, 4, 4), "added", Symbol("+"),
        back=("{g}",),
    ),
    Primitive(
        "sub", sub, py.infix("-", 4, 3, 4), tex.infix(" - ", 4, 3, 4), "difference", Symbol("−"),
        back=("{g}", "−{g}"),
    ),
    Primitive(
        "mul", mul, py.infix("*", 3, 2, 3), tex.times, "product", Symbol("×"), product=True,
        back=("{g} × {b}", "{g} × {a}"),
    ),
    Primitive(
        "div", div, py.infix("/", 3, 2, 3), tex.quotient, "quotient", Symbol("/"), product=True,
        back=("{g} / {b}", "−{g} × {y} / {b}"),
    ),
    Primitive("rem", rem, py.function("jnp.fmod"), symbol=Symbol("mod")),
    Primitive(
        "neg", neg, py.negative, tex.negative, "negative", Symbol(formula="−x", sentence="−x"),
        back=("−{g}",),
    ),
    Primitive(
        "abs", absolute, py.function("jnp.abs"), tex.around(r"\left|", r"\right|"), "absolute",
        Symbol(formula="|x|", sentence="|x|"),
        back=("{g} × sign({a})",),
    ),
    Primitive(
        "square", square, py.whole_power, tex.power, symbol=Symbol(formula="x²", sentence="x²"), product=True,
        back=("{g} × 2 × {a}",),
    ),
    Primitive(
        "integer_pow", integer_pow, py.whole_power, tex.power, "power", _RAISED, product=True,
        back=(_whole_slope,),
    ),
    Primitive(
        "pow", power, py.infix("**", 0, 1, 1), tex.power, "power", Symbol(label="power"), product=True,
        back=("{g} × {b} × {a}^({b} − 1)", "{g} × {y} × ln({a})"),
    ),
    Primitive(
        "sqrt", sqrt, py.function("jnp.sqrt"), tex.around(r"\sqrt{", "}"), symbol=Symbol(formula="√x", sentence="√(x)"),
        back=("{g} / (2 × {y})",),
    ),
    Primitive(
        "rsqrt", rsqrt, py.function("lax.rsqrt"), tex.around(r"\frac{1}{\sqrt{", "}}", 1),
        symbol=Symbol(formula="1/√x"),
        back=("−{g} × {y} / (2 × {a})",),
    ),
    Primitive(
        "cbrt", cbrt, py.function("jnp.cbrt"), symbol=Symbol(formula="∛x", sentence="∛(x)"),
        back=("{g} / (3 × {y}²)",),
    ),
    Primitive("sign", sign, py.function("jnp.sign"), flat_for_reals=True),
    Primitive("nextafter", nextafter, py.function("jnp.nextafter")),
    Primitive(
        "max", maximum, py.function("jnp.maximum"), tex.function(r"\max"), "maximum",
        back=("{g} where {a} is larger, half of it at a tie", "{g} where {b} is larger, half of it at a tie"),
    ),
    Primitive(
        "min", minimum, py.function("jnp.minimum"), tex.function(r"\min"), "minimum",
        back=("{g} where {a} is smaller, half of it at a tie", "{g} where {b} is smaller, half of it at a tie"),
    ),
    Primitive(
        "clamp", clamp, py.clamp, symbol=Symbol(label="clip"),
        back=("", "{g} where {b} is within the limits, 0 elsewhere", ""),
    ),
    Primitive(
        "select_n", select, py.select, tex.select, "choice", Symbol(label="where"), free,
        back=("", _chosen("false"), _chosen("true")),
    ),
    Primitive(
        "custom_jvp_call", relu, py.function("jax.nn.relu"), tex.operator("relu"), "relu", Symbol(label="relu"),
        foldable=False,
        back=("{g} where {a} > 0, 0 elsewhere",),
    ),
    Primitive("polynomial", polynomial, py.polynomial),
    entrywise=True,
)  # fmt: skip
