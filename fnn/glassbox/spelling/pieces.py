"""Pieces of source: text for a value, how tightly it binds, and which part of it is only repetition."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fnn.types import is_key


class Piece(NamedTuple):
    """Text for a value, and how tightly it binds."""

    text: str
    level: int
    """0 a word or a call, 1 a power, 2 a sign, 3 a product, 4 a sum, 5 a comparison."""
    shape: tuple[int, ...] = ()
    dtype: Any = None
    spread: "Spread | None" = None
    """Set if the value is only a smaller one, repeated."""
    literal: bool = False
    """True for a number written out."""
    word: bool = False
    """True for a name."""

    def within(self, level: int) -> str:
        """The text, in brackets if it binds less tightly than `level`."""
        return f"({self.text})" if self.level > level else self.text


class Spread(NamedTuple):
    """A value repeated along new axes, or along axes of size 1."""

    text: str
    level: int
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    """The positions of the smaller value's axes in the larger one."""
    plain: bool = False
    """True for a name or a number."""


#: From the operands, the parameters of the primitive, and the shape and dtype of the result, to the source.
Spelling: TypeAlias = Callable[[list[Piece], dict[str, Any], Any], Piece]


def parenthesized(texts: Sequence[str]) -> str:
    """The source of a tuple."""
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"


def listed(pieces: Sequence[Piece]) -> str:
    """The texts, separated by commas."""
    return ", ".join(each.text for each in pieces)


def written(value: Any, dtype: Any) -> str | None:
    """A number as it would be typed, or None if it is not a single number."""
    if is_key(value):
        return None
    array = np.asarray(value)
    if array.size != 1 or array.ndim:
        return None
    number = array.astype(dtype)[()]
    if array.dtype == bool:
        return str(bool(number))
    if np.issubdtype(array.dtype, np.integer):
        return str(int(number))
    if np.issubdtype(array.dtype, np.complexfloating):
        return repr(complex(number)) if np.isfinite(number) else None
    # the shortest digits that give the same number in its dtype
    text = str(number) if array.dtype in (np.float32, np.float64, np.float16) else str(float(number))
    return text.removesuffix(".0") + ".0" if text.endswith(".0") else text


def thin(operands: list[Piece], shape: tuple[int, ...]) -> list[Piece]:
    """Operands of an elementwise operation, without the repetition that the operation does by itself."""
    full = [each.shape == shape and each.spread is None for each in operands]
    if not any(full):
        # one must keep the shape; the others need not
        keep = next((k for k, each in enumerate(operands) if each.shape == shape), None)
        full = [k == keep for k in range(len(operands))]
    thinned = []
    for each, whole in zip(operands, full, strict=True):
        if whole or each.spread is None:
            thinned.append(each)
            continue
        text, level = aligned(each.spread, len(shape))
        literal = _is_number(text)
        word = each.spread.plain and not literal and text == each.spread.text
        thinned.append(Piece(text, level, each.spread.shape, each.dtype, literal=literal, word=word))
    return thinned


def aligned(spread: Spread, ndim: int) -> tuple[str, int]:
    """The smaller value so that NumPy's rules repeat it along the right axes."""
    trailing = tuple(range(ndim - len(spread.shape), ndim))
    if spread.axes == trailing or not spread.shape:
        return spread.text, spread.level
    # axes that the value lacks become None; those in front are added automatically
    first = spread.axes[0]
    index = ", ".join(":" if axis in spread.axes else "None" for axis in range(first, ndim))
    text = f"({spread.text})" if spread.level else spread.text
    return f"{text}[{index}]", 0


def _is_number(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).replace("e-", "", 1).isdigit()
