"""How Python writes it: each operation as a person would write it with `jax.numpy`."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fnn.glassbox.code.expressions import Writer
from fnn.glassbox.rules.loops import parts_of_scan
from fnn.glassbox.spelling.pieces import Piece, parenthesized, written
from fnn.glassbox.spelling.python import typed, unwritten
from fnn.glassbox.table import known
from fnn.glassbox.trace.program import Step
from fnn.glassbox.trace.simplify import body_of
from fnn.jaxprs import Place
from fnn.types import is_key

_NUMBERS = {"inf": "jnp.inf", "-inf": "-jnp.inf", "nan": "jnp.nan"}


class Python:
    """The dialect."""

    def __init__(self, places: Mapping[str, Place], taken: Iterable[str] = ()) -> None:
        self.places = places
        """The place of an operation in the user's source, by its primitive."""
        self.taken = frozenset(taken)
        """Names of arguments, which a constant must not have."""
        self.held: dict[str, Any] = {}
        """Constants too large to be written out, by the names that replace them."""

    def word(self, name: str) -> str:
        return name

    def assign(self, targets: Sequence[str], piece: Piece) -> str:
        return f"{', '.join(targets)} = {piece.text}"

    def constant(self, value: Any, dtype: Any) -> Piece:
        text = written(value, dtype)
        if text is not None:
            text = _NUMBERS.get(text, text)
            return Piece(text, 2 if text.startswith("-") else 0, (), dtype, literal=True)
        if not is_key(value) and np.size(value) <= 64 and (dtype.kind != "c" or np.isfinite(value).all()):
            entries = re.sub(r"\b(inf|nan)\b", r"jnp.\1", str(np.asarray(value).tolist()))
            return Piece(f"jnp.array({entries}, jnp.{dtype.name})", 0, np.shape(value), dtype)
        numbered = (f"constant{k}" for k in itertools.count(len(self.held) + 1))
        name = next(each for each in numbered if each not in self.taken and each not in self.held)
        self.held[name] = value
        return Piece(name, 0, value.shape, dtype)

    def operation(self, step: Step, operands: Sequence[Piece], shapes: Sequence[Any]) -> Piece:
        out, spelled = shapes[step.outputs[0]], known(step.primitive.name).python
        try:
            piece = (spelled or unwritten)(list(operands), step.params, out)
        except NotImplementedError as error:
            place = self.places.get(step.primitive.name, step.place)
            where = f" ({place})" if str(place) else ""
            raise NotImplementedError(
                f"the operation `{step.primitive.name}`{where} {error}. Look at its values with fnn.graph."
            ) from None
        return piece._replace(shape=out.shape, dtype=out.dtype)

    # ---- loops: their bodies become functions inside the function, which see the values around them

    def loop(self, writer: Writer, step: Step, operands: Sequence[Piece], shapes: Sequence[Any]) -> list[str]:
        name, p = step.primitive.name, step.params
        if name == "scan":
            return self._scan(writer, step, list(operands), shapes)
        if name == "cond":
            index, *rest = operands
            made = [self._function(writer, f"case{k}", b, rest) for k, b in enumerate(p["branches"])]
            index = writer.hold(index, "case")
            passed = "".join(f", {each.text}" for each in rest)
            call = f"lax.switch({index.text}, [{', '.join(made)}]{passed})"
            return self._taken(writer, step, call)
        conditions, bodies = p["cond_nconsts"], p["body_nconsts"]
        held = [writer.hold(each, "limit") for each in operands[: conditions + bodies]]
        carry = list(operands[conditions + bodies :])
        test = self._function(writer, "more", p["cond_jaxpr"], carry, held[:conditions], whole=True)
        turn = self._function(writer, "turn", p["body_jaxpr"], carry, held[conditions:], whole=True)
        if p["cond_jaxpr"].out_avals[0].shape:
            test, turn = self._some(writer, test, turn)
        start = f"({', '.join(each.text for each in carry)},)"
        return self._taken(writer, step, f"lax.while_loop({test}, {turn}, {start})")

    def _some(self, writer: Writer, test: str, turn: str) -> tuple[str, str]:
        """Loops that `jax.vmap` runs together, until all are done; a finished loop keeps what it has."""
        going, kept = writer.name("some_more"), writer.name("turn_some")
        new = "jnp.where(on.reshape(on.shape + (1,) * (new.ndim - on.ndim)), new, old)"
        for line in (
            f"def {going}(carried):", f"    return jnp.any({test}(carried))", f"def {kept}(carried):",
            f"    on = {test}(carried)", f"    return tuple({new} for new, old in zip({turn}(carried), carried))",
        ):  # fmt: skip
            writer.line(line)
        return going, kept

    def _taken(self, writer: Writer, step: Step, call: str) -> list[str]:
        targets = [writer.name("result") for _ in step.outputs]
        writer.line(f"{', '.join(targets)}{',' if len(targets) == 1 else ''} = {call}")
        return targets

    def _scan(self, writer: Writer, step: Step, operands: list[Piece], shapes: Sequence[Any]) -> list[str]:
        p = step.params
        body = body_of(p["jaxpr"])
        constants, carried = parts_of_scan([shapes[n] for n in step.inputs], [shapes[n] for n in step.outputs], body)
        held = [writer.hold(each, "held") for each in operands[:constants]]
        carry, xs = operands[constants : constants + carried], operands[constants + carried :]
        turn = writer.name("turn")
        inner = [writer.name("carry") for _ in carry], [writer.name("here") for _ in xs]
        writer.line(f"def {turn}(carried, row):")
        writer.indent += 1
        if carry:
            writer.line(f"{', '.join(inner[0])}, = carried" if len(carry) == 1 else f"{', '.join(inner[0])} = carried")
        if xs:
            writer.line(f"{', '.join(inner[1])}, = row" if len(xs) == 1 else f"{', '.join(inner[1])} = row")
        words = [*(each.text for each in held), *inner[0], *inner[1]]
        pieces = {n: writer.word(w, body.shapes[n]) for n, w in zip(body.inputs, words, strict=True)}
        pieces |= {n: h for n, h in zip(body.inputs, held, strict=False) if h.literal}
        pieces = writer.write(body, pieces)
        out = [typed(pieces[n], body.shapes[n].dtype) for n in body.outputs]
        writer.line(f"return {parenthesized(out[:carried])}, {parenthesized(out[carried:])}")
        writer.indent -= 1
        start = parenthesized([typed(c, body.shapes[n].dtype) for c, n in zip(carry, body.outputs, strict=False)])
        rows = parenthesized([each.text for each in xs])
        options = f", length={p['length']}" + (", reverse=True" if p["reverse"] else "")
        ends = [writer.name("last") for _ in carry]
        stacked = [writer.name("rows") for _ in out[carried:]]
        left = f"({', '.join(ends)}{',' if len(ends) == 1 else ''})"
        right = f"({', '.join(stacked)}{',' if len(stacked) == 1 else ''})"
        writer.line(
            f"{left if ends else '_'}, {right if stacked else '_'} = lax.scan({turn}, {start}, {rows}{options})"
        )
        return [*ends, *stacked]

    def _function(
        self,
        writer: Writer,
        wish: str,
        body: Any,
        operands: list[Piece],
        held: Sequence[Piece] = (),
        whole: bool = False,
    ) -> str:
        """Write a function of these operands; return its name."""
        program = body_of(body)
        name = writer.name(wish)
        words = [writer.name("carry" if whole else "given") for _ in operands]
        writer.line(f"def {name}({'carried' if whole else ', '.join(words)}):")
        writer.indent += 1
        if whole:
            writer.line(f"{', '.join(words)}{',' if len(words) == 1 else ''} = carried")
        texts = [*(each.text for each in held), *words]
        pieces = {n: writer.word(w, program.shapes[n]) for n, w in zip(program.inputs, texts, strict=True)}
        pieces = writer.write(program, pieces)
        out = [typed(pieces[n], program.shapes[n].dtype) for n in program.outputs]
        writer.line(f"return {out[0] if wish == 'more' else parenthesized(out)}")
        writer.indent -= 1
        return name
