"""Operations in LaTeX: each as a formula.

Letters: g the operands as pieces of source, p the parameters of the primitive, y the shape and dtype of the result.
"""

from typing import Any

from fnn.glassbox.spelling.letters import letters
from fnn.glassbox.spelling.pieces import Piece, Spelling, Spread


def bracketed(piece: Piece, level: int) -> str:
    """The text, in brackets if it binds less tightly than `level`."""
    return rf"\left({piece.text}\right)" if piece.level > level else piece.text


def infix(sign: str, left: int, right: int, level: int) -> Spelling:
    """An operation between two operands: the sign, the levels of both sides, and the level of the whole."""

    def spelled(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
        a, b = g
        if outer := _down_and_across(g, y):
            # a column and a row: each is repeated by a vector of ones
            column = Piece(rf"{bracketed(outer[0], 1)}\, \mathbf{{1}}^\top", 3)
            row = Piece(rf"\mathbf{{1}}\, {_turned(outer[1])}", 3)
            a, b = (column, row) if g[0] is outer[0] else (row, column)
        if sign == " + " and b.text.startswith("-") and b.level in (2, 3):
            return Piece(f"{a.within(4)} - {b.text[1:]}", 4)
        return Piece(f"{bracketed(a, left)}{sign}{bracketed(b, right)}", level)

    return spelled


def function(name: str) -> Spelling:
    """A function of its operands."""
    return lambda g, p, y: Piece(rf"{name}\left({', '.join(each.text for each in g)}\right)", 0)


def operator(name: str) -> Spelling:
    """A function that has no sign of its own."""
    return function(r"\operatorname{" + name.replace("_", r"\_") + "}")


def silent(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    """The same numbers in another arrangement, which a formula does not show."""
    x = g[0]
    spread = Spread(x.text, x.level, x.shape, (), x.literal or x.word)
    return Piece(x.text, x.level, spread=spread, literal=x.literal, word=x.word)


def repeated(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    """The same numbers, repeated along new axes; where the old ones went is kept for products."""
    x, axes = g[0], tuple(p["broadcast_dimensions"])
    source = x.spread or Spread(x.text, x.level, x.shape, tuple(range(len(x.shape))), x.literal or x.word)
    known = len(source.axes) == len(source.shape)
    moved = tuple(axes[k] for k in source.axes) if known else ()
    return Piece(x.text, x.level, spread=source._replace(axes=moved), literal=x.literal, word=x.word)


def _down_and_across(g: list[Piece], y: Any) -> tuple[Piece, Piece] | None:
    """A vector that stands as a column of a matrix and one that stands as a row, in this order; None for others."""
    if len(y.shape) != 2 or any(each.spread is None or len(each.spread.shape) != 1 for each in g):
        return None
    standing = {each.spread.axes: each for each in g if each.spread is not None}
    return (standing[0,], standing[1,]) if set(standing) == {(0,), (1,)} else None


def times(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    a, b = g
    if outer := _down_and_across(g, y):
        return Piece(rf"{bracketed(outer[0], 1)}\, {_turned(outer[1])}", 3)
    if a.literal and a.text == "1":
        return Piece(b.text, b.level)
    if b.literal and b.text == "1":
        return Piece(a.text, a.level)
    if b.literal and not a.literal:
        a, b = b, a
    # a product of arrays is elementwise; a number times anything needs no sign
    plain = not (a.spread or a).shape or not (b.spread or b).shape
    left, right = bracketed(a, 3), bracketed(b, 2)
    if a.literal and b.literal:
        return Piece(rf"{left} \cdot {right}", 3)
    return Piece(rf"{left}\, {right}" if plain else rf"{left} \odot {right}", 3)


def quotient(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    a, b = g
    if a.text.startswith("-") and a.level in (2, 3):
        return Piece(rf"-\frac{{{a.text[1:]}}}{{{b.text}}}", 3)
    return Piece(rf"\frac{{{a.text}}}{{{b.text}}}", 1)


def negative(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    (a,) = g
    if a.text.startswith("-") and a.level in (2, 3):
        return Piece(a.text[1:], a.level if a.level == 3 else 0)
    return Piece(f"-{bracketed(a, 3)}", 3 if a.level == 3 else 2)


def power(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    exponent = g[1].text if len(g) > 1 else str(p.get("y", 2))
    if exponent == "1":
        return Piece(g[0].text, g[0].level)
    return Piece(f"{bracketed(g[0], 0)}^{{{exponent}}}", 1)


def around(left: str, right: str, level: int = 0) -> Spelling:
    r"""Something on both sides of the operand: `\sqrt{x}`."""
    return lambda g, p, y: Piece(f"{left}{g[0].text}{right}", level)


def transpose(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    """Rows and columns change places; of more axes, their order, counted from 1, stands beside the sign."""
    order = tuple(p["permutation"])
    if order == (1, 0):
        return Piece(_turned(g[0]), 1)
    axes = ",".join(str(axis + 1) for axis in order)
    return Piece(rf"{bracketed(g[0], 0)}^{{\top({axes})}}", 1)


def _turned(piece: Piece) -> str:
    # a power and a transpose cannot stand at one sign together
    return rf"{bracketed(piece, 0)}^\top"


def part(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    """The entries that are cut out, axis by axis, counted from 1."""
    (x,) = g
    ranges = zip(p["start_indices"], p["limit_indices"], p["strides"] or (1,) * len(x.shape), x.shape, strict=True)
    return Piece(rf"{bracketed(x, 0)}\left[{', '.join(_range(*each) for each in ranges)}\right]", 0)


def padded(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    """How many stand before and behind, and between where there are any, axis by axis."""
    x, filling = g
    each = ", ".join(str((low, high, gap) if gap else (low, high)) for low, high, gap in p["padding_config"])
    return Piece(rf"\operatorname{{pad}}_{{{each}}}\left({x.text}, {filling.text}\right)", 0)


def _range(start: int, stop: int, step: int, size: int) -> str:
    if (start, stop, step) == (0, size, 1):
        return ":"
    last = start + (stop - start - 1) // step * step + 1
    if last == start + 1:
        return str(last)
    if last == start + 1 + step:
        return f"{start + 1}, {last}"
    return rf"{start + 1} \dots {last}" if step == 1 else rf"{start + 1}, {start + 1 + step}, \dots, {last}"


def reduced(sign: str) -> Spelling:
    """A sign over axes, which are counted from 1."""

    def spelled(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
        (a,) = g
        axes = ",".join(str(axis + 1) for axis in p["axes"])
        over = "" if len(p["axes"]) == len(a.shape) else rf"_{{({axes})}}"
        return Piece(rf"{sign}{over} {bracketed(a, 3)}", 3)

    return spelled


def select(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    if len(g) != 3:
        return operator("select_n")(g, p, y)
    which, no, yes = g
    return Piece(rf"\begin{{cases}} {yes.text} & {which.text} \\ {no.text} & \text{{else}} \end{{cases}}", 0)


def product(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    a, b = g
    (of_a, of_b), (batch, _) = p["dimension_numbers"]
    if len(of_a) == 1 and not batch and len(a.shape) == 1 and len(b.shape) == 2:
        # vectors are columns throughout
        matrix = _turned(b) if of_b[0] == 0 else bracketed(b, 1)
        return Piece(rf"{matrix}\, {bracketed(a, 1)}", 3)
    if len(of_a) == 1 and not batch and len(a.shape) <= 2 and len(b.shape) <= 2:
        left = bracketed(a, 1) if of_a[0] == len(a.shape) - 1 and len(a.shape) == 2 else _turned(a)
        right = bracketed(b, 1) if of_b[0] == 0 else _turned(b)
        return Piece(rf"{left}\, {right}", 3)
    if not (a.shape and b.shape):
        return Piece(rf"{bracketed(a, 1)}\, {bracketed(b, 1)}", 3)
    if not of_a and not batch and len(a.shape) == len(b.shape) == 1:
        return Piece(rf"{bracketed(a, 1)}\, {_turned(b)}", 3)
    a_axes, b_axes, y_axes = letters(p["dimension_numbers"], len(a.shape), len(b.shape))
    over = "".join(letter for letter in a_axes if letter not in y_axes)
    # a name with a number has a subscript already
    factors = rf"{{{bracketed(a, 0)}}}_{{{a_axes}}}\, {{{bracketed(b, 0)}}}_{{{b_axes}}}"
    return Piece(rf"\Bigl[\textstyle\sum_{{{over}}} {factors}\Bigr]_{{{y_axes}}}", 3)
