"""How numbers and operations are written: four digits, and the signs of a formula sheet; and how wide a text is.

`symbol` writes an operation with its constants (`− 1`, `x²`, `1/x`), `sentence` with the names of its inputs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from fnn.glassbox.records import Node
from fnn.glassbox.spelling.letters import raised
from fnn.glassbox.table import known

#: How many digits of a number are shown.
DIGITS = 4


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
        imaginary = number(value.imag)
        sign = "−" if imaginary.startswith("−") else "+"
        return f"{number(value.real)} {sign} {imaginary.removeprefix('−')}i"
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


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Roughly how wide a text is; rather too wide, since fonts differ."""
    narrow, wide = " ijltfrI.,:;|!'()[]·", "mwMW@…→←↑≤≥×−+=<>≠Σ∂∞"
    units = math.fsum(
        0.36 if c in narrow else 0.86 if c in wide else 0.5 if c in "ˣ⁻⁰¹²³⁴⁵⁶⁷⁸⁹ᵀ" else 0.6 for c in text
    )
    # letters of other scripts may be as wide as they are high
    units += math.fsum(0.4 for c in text if ord(c) > 0x2E80)
    return units * size * (1.06 if bold else 1.0)


def barred(name: str) -> str:
    """The name of the cotangent of a value with that name: `x̄`, `hidden_bar`."""
    return f"{name}\u0304" if len(name) == 1 else f"{name}_bar"


def shape(node: Node) -> str:
    """`4 × 3`, and "" for a scalar."""
    return " × ".join(map(str, node.shape))


def numeric(value: Any) -> bool:
    """True for an array of numbers or Booleans that was kept: not a `Summary` and not a key."""
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
        texts: for each input, the constant as text, or None if the input is drawn.
    """
    name, drawn = node.operation, [text for text in texts if text is None]
    sign = known(name).symbol.infix
    if sign and len(texts) == 2:
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
        return f"{known(name).symbol.label or name}({', '.join(text or 'x' for text in texts)})"
    if name == "select_n" and len(drawn) < len(texts) and len(texts) == 3:
        # select_n takes the second case where the condition is true
        choice, false, true = (text or "·" for text in texts)
        return f"where({choice}, {true}, {false})"
    return _unary(node)


def sentence(node: Node, texts: Sequence[str]) -> str:
    """The operation as a formula over the names of what it reads: `q × z`, `ln(total)`."""
    name, listed = node.operation, ", ".join(texts)
    written = known(name).symbol
    if written.infix and len(texts) == 2:
        return f"{texts[0]} {written.infix} {texts[1]}"
    if name in ("gather", "dynamic_slice") and len(texts) > 1:
        return f"{texts[0]}[{', '.join(texts[1:])}]"
    if name == "pow" and len(texts) == 2:
        return f"{texts[0]}^{texts[1]}"
    if written.sentence:
        return _of(written.sentence, node).replace("x", listed)
    return f"{written.label or name.removeprefix('reduce_').replace('_', ' ')}({listed})"


def _unary(node: Node) -> str:
    name, written = node.operation, known(node.operation).symbol
    if name.startswith(("reduce_", "cum", "arg")):
        axes = node.params.get("axes", ())
        word = _of(written.formula, node) or written.label or name.removeprefix("reduce_")
        partial = node.size > 1 and name.startswith("reduce_") and len(axes) == 1
        return f"{word} over axis {axes[0]}" if partial else word
    return _of(written.formula, node) or written.label or name.replace("_", " ")


def _of(formula: str | Callable[[Mapping[str, Any]], str], node: Node) -> str:
    """A formula that may depend on the parameters of the step."""
    return formula if isinstance(formula, str) else formula(node.params)
