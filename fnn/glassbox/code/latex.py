"""The words of LaTeX: each operation as a formula, for a slide or a page of notes."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from fnn.glassbox.code.expressions import Piece, Spread, Writer, written
from fnn.glassbox.rules.loops import parts_of_scan
from fnn.glassbox.rules.products import letters
from fnn.glassbox.trace.program import Step, closed, flattened

GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
    "xi", "pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega",
}  # fmt: skip
#: name of the primitive -> (between its sides, level of left and right, level of the whole)
SIGNS = {
    "add": (" + ", 4, 4, 4), "add_any": (" + ", 4, 4, 4), "sub": (" - ", 4, 3, 4), "lt": (" < ", 4, 4, 5),
    "le": (r" \le ", 4, 4, 5), "gt": (" > ", 4, 4, 5), "ge": (r" \ge ", 4, 4, 5), "eq": (" = ", 4, 4, 5),
    "ne": (r" \ne ", 4, 4, 5), "and": (r" \wedge ", 4, 4, 5), "or": (r" \vee ", 4, 4, 5),
}  # fmt: skip
FUNCTIONS = {
    "exp": r"\exp", "log": r"\log", "sin": r"\sin", "cos": r"\cos", "tan": r"\tan", "sinh": r"\sinh", "cosh": r"\cosh",
    "tanh": r"\tanh", "asin": r"\arcsin", "acos": r"\arccos", "atan": r"\arctan", "max": r"\max", "min": r"\min",
    "logistic": r"\sigma", "custom_jvp_call": r"\operatorname{relu}", "lgamma": r"\log\Gamma", "digamma": r"\psi",
}  # fmt: skip
REDUCTIONS = {"reduce_sum": r"\sum", "reduce_prod": r"\prod", "reduce_max": r"\max", "reduce_min": r"\min"}
#: The same numbers in another arrangement: nothing that a formula would say.
SILENT = (
    "reshape",
    "squeeze",
    "expand_dims",
    "convert_element_type",
    "copy",
    "copy_p",
    "stop_gradient",
    "broadcast_in_dim",
)


class Latex:
    """The dialect."""

    def block(self, lines: Sequence[str]) -> str:
        """The lines as one aligned block."""
        rows = [
            r"&\text{" + line.strip().lstrip("# ") + "}" if line.strip().startswith("#") else line for line in lines
        ]
        return r"\begin{aligned}" + "\n" + " \\\\\n".join(rows) + "\n" + r"\end{aligned}"

    def word(self, name: str) -> str:
        stem, barred = name.removesuffix("_bar"), name.endswith("_bar")
        found = re.fullmatch(r"(.*?)_?(\d+(?:_\d+)*)?", stem)
        stem, index = (found[1] or stem, found[2]) if found else (stem, None)
        letter = rf"\{stem}" if stem in GREEK else stem
        if len(stem) > 1 and stem not in GREEK:
            letter = r"\mathit{" + stem.replace("_", r"\_") + "}"
        marked = (
            (rf"\overline{{{letter}}}" if len(stem) > 1 and stem not in GREEK else rf"\bar{{{letter}}}")
            if barred
            else letter
        )
        return f"{marked}_{{{index.replace('_', ',')}}}" if index else marked

    def assign(self, targets: Sequence[str], piece: Piece) -> str:
        return f"{', '.join(map(self.word, targets))} &= {piece.text}"

    def constant(self, value: Any, dtype: Any) -> Piece:
        told = written(value, dtype)
        if told is not None:
            told = {"inf": r"\infty", "-inf": r"-\infty"}.get(told, told.removesuffix(".0"))
            found = re.fullmatch(r"(-?[\d.]+)e([+-]?)0*(\d+)", told)
            if found:
                told = rf"{found[1]} \cdot 10^{{{found[2].replace('+', '')}{found[3]}}}"
            return Piece(told, 2 if told.startswith("-") else 0, (), dtype, literal=True)
        shape = r" \times ".join(map(str, np.shape(value)))
        return Piece(rf"C^{{({shape})}}", 0, np.shape(value), dtype, word=True)

    def operation(self, step: Step, given: Sequence[Piece], shapes: Sequence[Any]) -> list[Piece]:
        out = shapes[step.outputs[0]]
        if step.primitive.name in SILENT:
            (x, *_) = given
            spread = Spread(x.text, x.level, x.shape, (), x.literal or x.word)
            return [Piece(x.text, x.level, out.shape, out.dtype, spread, literal=x.literal, word=x.word)]
        text, level = self._told(step, list(given))
        return [Piece(text, level, out.shape, out.dtype)]

    def _told(self, step: Step, given: list[Piece]) -> tuple[str, int]:
        name, p = step.primitive.name, step.params
        a, b = (*given, *[Piece("", 0)] * 2)[:2]
        if name in SIGNS:
            sign, left, right, level = SIGNS[name]
            if name.startswith("add") and b.text.startswith("-") and b.level in (2, 3):
                return f"{a.within(4)} - {b.text[1:]}", 4
            return f"{_in(a, left)}{sign}{_in(b, right)}", level
        if name == "mul":
            return self._times(a, b)
        if name == "div":
            if a.text.startswith("-") and a.level in (2, 3):
                return rf"-\frac{{{a.text[1:]}}}{{{b.text}}}", 3
            return rf"\frac{{{a.text}}}{{{b.text}}}", 1
        if name == "neg" and a.text.startswith("-") and a.level in (2, 3):
            return a.text[1:], a.level if a.level == 3 else 0
        if name == "neg":
            return f"-{_in(a, 3)}", 3 if a.level == 3 else 2
        if name in ("square", "integer_pow", "pow"):
            power = b.text if name == "pow" else str(p.get("y", 2))
            return (a.text, a.level) if power == "1" else (f"{_in(a, 0)}^{{{power}}}", 1)
        if name == "sqrt":
            return rf"\sqrt{{{a.text}}}", 0
        if name == "rsqrt":
            return rf"\frac{{1}}{{\sqrt{{{a.text}}}}}", 1
        if name == "abs":
            return rf"\left|{a.text}\right|", 0
        if name == "dot_general":
            return self._product(a, b, p)
        if name == "transpose":
            return rf"{_in(a, 0)}^\top", 1
        if name in REDUCTIONS:
            axes = ",".join(str(axis + 1) for axis in p["axes"])
            over = "" if len(p["axes"]) == len(a.shape) else rf"_{{({axes})}}"
            return rf"{REDUCTIONS[name]}{over} {_in(a, 3)}", 3
        if name == "select_n" and len(given) == 3:
            return rf"\begin{{cases}} {given[2].text} & {a.text} \\ {b.text} & \text{{else}} \end{{cases}}", 0
        told = FUNCTIONS.get(name) or r"\operatorname{" + name.replace("_", r"\_") + "}"
        return rf"{told}\left({', '.join(each.text for each in given)}\right)", 0

    def _times(self, a: Piece, b: Piece) -> tuple[str, int]:
        if a.literal and a.text == "1":
            return b.text, b.level
        if b.literal and b.text == "1":
            return a.text, a.level
        if b.literal and not a.literal:
            a, b = b, a
        # a product of arrays is entry by entry; a number times anything needs no sign
        plain = not (a.spread or a).shape or not (b.spread or b).shape
        left, right = _in(a, 3), _in(b, 2)
        if a.literal and b.literal:
            return rf"{left} \cdot {right}", 3
        return (rf"{left}\, {right}" if plain else rf"{left} \odot {right}"), 3

    def _product(self, a: Piece, b: Piece, p: dict[str, Any]) -> tuple[str, int]:
        (of_a, of_b), (batch, _) = p["dimension_numbers"]
        if len(of_a) == 1 and not batch and len(a.shape) <= 2 and len(b.shape) <= 2:
            left = _in(a, 1) + ("" if of_a[0] == len(a.shape) - 1 and len(a.shape) == 2 else r"^\top")
            right = _in(b, 1) + ("" if of_b[0] == 0 else r"^\top")
            return rf"{left}\, {right}", 3
        if not of_a and not batch and len(a.shape) == len(b.shape) == 1:
            return rf"{_in(a, 1)}\, {_in(b, 1)}^\top", 3
        a_axes, b_axes, y_axes = letters(p["dimension_numbers"], len(a.shape), len(b.shape))
        over = "".join(letter for letter in a_axes if letter not in y_axes)
        return (
            rf"\Bigl[\textstyle\sum_{{{over}}} {_in(a, 1)}_{{{a_axes}}}\, {_in(b, 1)}_{{{b_axes}}}\Bigr]_{{{y_axes}}}",
            3,
        )

    def loop(self, writer: Writer, step: Step, given: Sequence[Piece], shapes: Sequence[Any]) -> list[str]:
        name, p = step.primitive.name, step.params
        targets = [writer.name("last" if name != "cond" else "result") for _ in step.outputs]
        if name != "scan":
            told = r",\ ".join(each.text for each in given)
            writer.line(rf"{', '.join(map(self.word, targets))} &= \operatorname{{{name}}}\left({told}\right)")
            return targets
        body = flattened(closed(p["jaxpr"]))
        constants, carried = parts_of_scan([shapes[n] for n in step.inputs], [shapes[n] for n in step.outputs], body)
        order = f"{p['length']}, \\dots, 1" if p["reverse"] else f"1, \\dots, {p['length']}"
        writer.line(rf"&\text{{for }} k = {order}:")
        writer.indent += 1
        pieces = {}
        for k, number in enumerate(body.inputs):
            aval, piece = body.shapes[number], given[k]
            if k >= constants:
                own = writer.name("carry" if k < constants + carried else "row")
                telling = rf"\text{{ (at first }} {piece.text})" if k < constants + carried else ""
                where = "" if k < constants + carried else "[k]"
                source = self.word(own) if k < constants + carried else rf"{_in(piece, 1)}{where}"
                if k >= constants + carried:
                    writer.line(rf"{self.word(own)} &= {source}")
                else:
                    writer.line(rf"&\quad {source}{telling}")
                piece = Piece(self.word(own), 0, aval.shape, aval.dtype, word=True)
            pieces[number] = piece
        found = writer.write(body, pieces)
        for target, number in zip(targets, body.outputs, strict=True):
            writer.line(rf"{self.word(target)} &= {found[number].text}")
        writer.indent -= 1
        return targets


def _in(piece: Piece, level: int) -> str:
    return rf"\left({piece.text}\right)" if piece.level > level else piece.text
