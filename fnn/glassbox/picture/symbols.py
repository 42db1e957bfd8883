"""How numbers and operations are written: four digits, and the signs of a formula sheet.

`symbol` writes an operation with its constants (`− 1`, `x²`, `1/x`), `sentence` with the names of what it reads.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn.glassbox.records import Node

#: Digits that are shown of a number.
DIGITS = 4
INFIX = {
    "add": "+", "add_any": "+", "sub": "−", "mul": "×", "div": "/", "rem": "mod", "dot_general": "@",
    "lt": "<", "le": "≤", "gt": ">", "ge": "≥", "eq": "=", "ne": "≠", "and": "and", "or": "or", "xor": "xor",
}  # fmt: skip
#: With x for what is read.
FORMULAS = {
    "neg": "−x", "exp": "eˣ", "exp2": "2ˣ", "log": "ln x", "log1p": "ln(1 + x)", "expm1": "eˣ − 1", "sqrt": "√x",
    "rsqrt": "1/√x", "cbrt": "∛x", "square": "x²", "abs": "|x|", "logistic": "σ(x)", "floor": "⌊x⌋", "ceil": "⌈x⌉",
    "transpose": "xᵀ", "not": "not x", "reduce_sum": "Σ x", "reduce_prod": "Π x", "gather": "x[i]",
    "dynamic_slice": "x[i:j]", "slice": "x[i:j]", "erf_inv": "erf⁻¹(x)",
}  # fmt: skip
WORDS = {
    "broadcast_in_dim": "copies", "convert_element_type": "convert", "concatenate": "join", "select_n": "where",
    "reduce_max": "max", "reduce_min": "min", "reduce_and": "all", "reduce_or": "any", "custom_jvp_call": "relu",
    "stop_gradient": "stop", "scatter-add": "add at", "scatter": "set at", "scatter-mul": "multiply at",
    "rev": "reverse", "iota": "0, 1, 2, …", "clamp": "clip", "dynamic_update_slice": "replace", "top_k": "largest",
    "expand_dims": "reshape", "squeeze": "reshape", "integer_pow": "power", "pow": "power", "asin": "arcsin",
    "acos": "arccos", "atan": "arctan",
}  # fmt: skip
#: What a sentence calls them, their argument in brackets.
SPOKEN = {"log": "ln", "sqrt": "√", "cbrt": "∛", "logistic": "σ", "reduce_sum": "Σ", "reduce_prod": "Π"}
#: Formulas that are written around the name of what they read.
AROUND = frozenset(("integer_pow", "square", "neg", "abs", "transpose", "floor", "ceil"))
_RAISED = str.maketrans("-−0123456789", "⁻⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: Any) -> str:
    """A number in four digits: `0.1966`, `−4`, `1.2·10⁻⁷`, `∞`, `NaN`, `true`.

    >>> number(0.19661193), number(-4.0), number(1.2e-7), number(float("-inf")), number(True)
    ('0.1966', '−4', '1.2·10⁻⁷', '−∞', 'true')
    """
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, int | np.integer):
        text = f"{value:d}" if abs(int(value)) < 10**7 else f"{int(value):.{DIGITS}g}"
    elif isinstance(value, complex | np.complexfloating):
        return f"{number(value.real)} + {number(value.imag)}i"
    else:
        real = float(value)
        if not math.isfinite(real):
            return "NaN" if math.isnan(real) else "∞" if real > 0 else "−∞"
        text = f"{real:.{DIGITS}g}" if real else "0"
    mantissa, _, exponent = text.replace("-", "−").partition("e")
    if not exponent:
        return mantissa
    power = f"10{raised(int(exponent.replace('−', '-')))}"
    return f"{mantissa}·{power}" if mantissa.strip("−") != "1" else mantissa.replace("1", power)


def raised(exponent: Any) -> str:
    """The number as an exponent: ⁻³."""
    return str(exponent).translate(_RAISED)


def shape(node: Node) -> str:
    """`4 × 3`, and "" for a scalar."""
    return " × ".join(map(str, node.shape))


def numeric(value: Any) -> bool:
    """True for an array of numbers or truths that was kept: no `Summary`, no key."""
    dtype = getattr(value, "dtype", None)
    return dtype is not None and (jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_))


def single(value: Any) -> bool:
    """True for one number in an array of any rank."""
    return numeric(value) and value.size == 1


def entry(value: Any) -> Any:
    """The number that a `single` array holds."""
    return np.asarray(value).reshape(-1)[0]


def symbol(node: Node, texts: Sequence[str | None]) -> str:
    """The operation in a few signs.

    Args:
        node: the step.
        texts: per input, the constant as text, or None for what is drawn.
    """
    name, drawn = node.operation, [text for text in texts if text is None]
    if name in INFIX and len(texts) == 2:
        sign = INFIX[name]
        if len(drawn) == 2:
            return sign
        left, right = texts
        if right is not None and left is None:
            return f"{sign} {right}"
        if name in ("add", "add_any", "mul"):
            return f"{sign} {left}"
        return f"{left}/x" if name == "div" else f"{left} {sign} x"
    if name == "pow" and len(texts) == 2:
        base, exponent = texts
        if exponent is not None and base is None:
            return f"x{raised(exponent)}" if set(exponent) <= set("−0123456789") else f"x^{exponent}"
        return f"{base}ˣ" if base is not None else "xʸ"
    if name in ("max", "min", "atan2", "clamp", "nextafter") and len(drawn) < len(texts):
        return f"{WORDS.get(name, name)}({', '.join(text or 'x' for text in texts)})"
    if name == "select_n" and len(drawn) < len(texts) and len(texts) == 3:
        # select_n takes the second case where it is true
        choice, false, true = (text or "·" for text in texts)
        return f"where({choice}, {true}, {false})"
    return _unary(node)


def sentence(node: Node, texts: Sequence[str]) -> str:
    """The operation as a formula over the names of what it reads: `q × z`, `ln(total)`."""
    name, listed = node.operation, ", ".join(texts)
    if name in INFIX and len(texts) == 2:
        return f"{texts[0]} {INFIX[name]} {texts[1]}"
    if name in ("gather", "dynamic_slice") and len(texts) > 1:
        return f"{texts[0]}[{', '.join(texts[1:])}]"
    if name == "pow" and len(texts) == 2:
        return f"{texts[0]}^{texts[1]}"
    if name in AROUND and len(texts) == 1:
        return _unary(node).replace("x", texts[0])
    return f"{SPOKEN.get(name) or WORDS.get(name) or name.removeprefix('reduce_').replace('_', ' ')}({listed})"


def _unary(node: Node) -> str:
    name = node.operation
    if name == "integer_pow":
        power = node.params.get("y", 1)
        return "1/x" if power == -1 else f"x{raised(power)}"
    if name.startswith(("reduce_", "cum", "arg")):
        axes = node.params.get("axes", ())
        word = FORMULAS.get(name) or WORDS.get(name) or name.removeprefix("reduce_")
        partial = node.size > 1 and name.startswith("reduce_") and len(axes) == 1
        return f"{word} over axis {axes[0]}" if partial else word
    if name == "scan":
        return f"scan × {node.params.get('length')}"
    return FORMULAS.get(name) or WORDS.get(name) or name.replace("_", " ")
