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


def times(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    a, b = g
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
    return Piece(rf"{bracketed(g[0], 0)}^\top", 1)


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
        matrix = bracketed(b, 1) + (r"^\top" if of_b[0] == 0 else "")
        return Piece(rf"{matrix}\, {bracketed(a, 1)}", 3)
    if len(of_a) == 1 and not batch and len(a.shape) <= 2 and len(b.shape) <= 2:
        left = bracketed(a, 1) + ("" if of_a[0] == len(a.shape) - 1 and len(a.shape) == 2 else r"^\top")
        right = bracketed(b, 1) + ("" if of_b[0] == 0 else r"^\top")
        return Piece(rf"{left}\, {right}", 3)
    if not (a.shape and b.shape):
        return Piece(rf"{bracketed(a, 1)}\, {bracketed(b, 1)}", 3)
    if not of_a and not batch and len(a.shape) == len(b.shape) == 1:
        return Piece(rf"{bracketed(a, 1)}\, {bracketed(b, 1)}^\top", 3)
    a_axes, b_axes, y_axes = letters(p["dimension_numbers"], len(a.shape), len(b.shape))
    over = "".join(letter for letter in a_axes if letter not in y_axes)
    factors = rf"{bracketed(a, 1)}_{{{a_axes}}}\, {bracketed(b, 1)}_{{{b_axes}}}"
    return Piece(rf"\Bigl[\textstyle\sum_{{{over}}} {factors}\Bigr]_{{{y_axes}}}", 3)
