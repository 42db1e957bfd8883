"""How LaTeX writes it: each operation as a formula, for a slide or a page of notes."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from fnn.glassbox.code.expressions import Writer
from fnn.glassbox.rules.loops import parts_of_scan
from fnn.glassbox.spelling.latex import bracketed, operator
from fnn.glassbox.spelling.pieces import Piece, written
from fnn.glassbox.table import known
from fnn.glassbox.trace.program import Step
from fnn.glassbox.trace.simplify import body_of

GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
    "xi", "pi", "rho", "sigma", "tau", "phi", "chi", "psi", "omega",
}  # fmt: skip


_WORDS = {"inf": r"\infty", "-inf": r"-\infty", "nan": r"\text{NaN}", "True": r"\text{true}", "False": r"\text{false}"}


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
        match = re.fullmatch(r"(.*?)_?(\d+(?:_\d+)*)?", stem)
        stem, index = (match[1] or stem, match[2]) if match else (stem, None)
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
        text = written(value, dtype)
        if text is not None:
            text = _WORDS.get(text, text.removesuffix(".0"))
            match = re.fullmatch(r"(-?[\d.]+)e([+-]?)0*(\d+)", text)
            if match:
                text = rf"{match[1]} \cdot 10^{{{match[2].replace('+', '')}{match[3]}}}"
            return Piece(text, 2 if text.startswith("-") else 0, (), dtype, literal=True)
        shape = r" \times ".join(map(str, np.shape(value)))
        return Piece(rf"C^{{({shape})}}", 0, np.shape(value), dtype, word=True)

    def operation(self, step: Step, operands: Sequence[Piece], shapes: Sequence[Any]) -> Piece:
        out, name = shapes[step.outputs[0]], step.primitive.name
        spelled = known(name).latex or operator(name)
        return spelled(list(operands), step.params, out)._replace(shape=out.shape, dtype=out.dtype)

    def loop(self, writer: Writer, step: Step, operands: Sequence[Piece], shapes: Sequence[Any]) -> list[str]:
        name, p = step.primitive.name, step.params
        targets = [writer.name("last" if name != "cond" else "result") for _ in step.outputs]
        if name != "scan":
            inside = r",\ ".join(each.text for each in operands)
            writer.line(rf"{', '.join(map(self.word, targets))} &= \operatorname{{{name}}}\left({inside}\right)")
            return targets
        body = body_of(p["jaxpr"])
        constants, carried = parts_of_scan([shapes[n] for n in step.inputs], [shapes[n] for n in step.outputs], body)
        order = f"{p['length']}, \\dots, 1" if p["reverse"] else f"1, \\dots, {p['length']}"
        writer.line(rf"&\text{{for }} k = {order}:")
        writer.indent += 1
        pieces = {}
        for k, number in enumerate(body.inputs):
            aval, piece = body.shapes[number], operands[k]
            if k >= constants:
                own = writer.name("carry" if k < constants + carried else "row")
                telling = rf"\text{{ (at first }} {piece.text})" if k < constants + carried else ""
                where = "" if k < constants + carried else "[k]"
                source = self.word(own) if k < constants + carried else rf"{bracketed(piece, 1)}{where}"
                if k >= constants + carried:
                    writer.line(rf"{self.word(own)} &= {source}")
                else:
                    writer.line(rf"&\quad {source}{telling}")
                piece = Piece(self.word(own), 0, aval.shape, aval.dtype, word=True)
            pieces[number] = piece
        results = writer.write(body, pieces)
        for target, number in zip(targets, body.outputs, strict=True):
            writer.line(rf"{self.word(target)} &= {results[number].text}")
        writer.indent -= 1
        return targets
