"""The words of Python: each operation as one would write it with `jax.numpy`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fnn.glassbox.code.calls import CALLS, parenthesized
from fnn.glassbox.code.expressions import Piece, Spread, Writer, written
from fnn.glassbox.rules.loops import parts_of_scan
from fnn.glassbox.trace.program import Step, closed, flattened

#: name of the primitive -> (sign, level of its left and right side, level of the whole)
SIGNS = {
    "add": ("+", 4, 4, 4), "add_any": ("+", 4, 4, 4), "sub": ("-", 4, 3, 4), "mul": ("*", 3, 2, 3),
    "div": ("/", 3, 2, 3), "pow": ("**", 0, 1, 1), "and": ("&", 0, 0, 5), "or": ("|", 0, 0, 5), "xor": ("^", 0, 0, 5),
    "lt": ("<", 4, 4, 5), "le": ("<=", 4, 4, 5), "gt": (">", 4, 4, 5), "ge": (">=", 4, 4, 5), "eq": ("==", 4, 4, 5),
    "ne": ("!=", 4, 4, 5),
}  # fmt: skip
#: Functions of entries that take their operands and nothing else.
FUNCTIONS = {
    "exp": "jnp.exp", "exp2": "jnp.exp2", "expm1": "jnp.expm1", "log": "jnp.log", "log1p": "jnp.log1p",
    "sin": "jnp.sin", "cos": "jnp.cos", "tan": "jnp.tan", "asin": "jnp.arcsin", "acos": "jnp.arccos",
    "atan": "jnp.arctan", "atan2": "jnp.arctan2", "sinh": "jnp.sinh", "cosh": "jnp.cosh", "tanh": "jnp.tanh",
    "asinh": "jnp.arcsinh", "acosh": "jnp.arccosh", "atanh": "jnp.arctanh", "logistic": "jax.nn.sigmoid",
    "erf": "lax.erf", "erfc": "lax.erfc", "erf_inv": "lax.erf_inv", "lgamma": "lax.lgamma", "digamma": "lax.digamma",
    "polygamma": "lax.polygamma", "sqrt": "jnp.sqrt", "rsqrt": "lax.rsqrt", "cbrt": "jnp.cbrt", "abs": "jnp.abs",
    "sign": "jnp.sign", "floor": "jnp.floor", "ceil": "jnp.ceil", "max": "jnp.maximum", "min": "jnp.minimum",
    "rem": "jnp.fmod", "is_finite": "jnp.isfinite", "stop_gradient": "lax.stop_gradient",
    "custom_jvp_call": "jax.nn.relu", "real": "jnp.real", "nextafter": "jnp.nextafter",
}  # fmt: skip


class Python:
    """The dialect."""

    def __init__(self) -> None:
        self.held: dict[str, Any] = {}
        """Constants too large to be written out, by the names that stand for them."""

    def word(self, name: str) -> str:
        return name

    def assign(self, targets: Sequence[str], piece: Piece) -> str:
        return f"{', '.join(targets)} = {piece.text}"

    def constant(self, value: Any, dtype: Any) -> Piece:
        shape = np.shape(value)
        told = written(value, dtype)
        if told is not None:
            told = {"inf": "jnp.inf", "-inf": "-jnp.inf", "nan": "jnp.nan"}.get(told, told)
            return Piece(told, 2 if told.startswith("-") else 0, (), dtype, literal=True)
        if np.size(value) <= 64:
            return Piece(f"jnp.array({np.asarray(value).tolist()}, jnp.{dtype.name})", 0, shape, dtype)
        name = f"constant{len(self.held) + 1}"
        self.held[name] = value
        return Piece(name, 0, shape, dtype)

    def operation(self, step: Step, given: Sequence[Piece], shapes: Sequence[Any]) -> list[Piece]:
        out = shapes[step.outputs[0]]
        text, level, spread = self._told(step, list(given), out)
        return [Piece(text, level, out.shape, out.dtype, spread)]

    def _told(self, step: Step, given: list[Piece], out: Any) -> tuple[str, int, Spread | None]:
        name, p = step.primitive.name, step.params
        if name in SIGNS or name in FUNCTIONS or name in ("select_n", "clamp", "neg", "not", "square", "integer_pow"):
            exact = name == "select_n" and given[0].dtype != bool
            return (*self._entrywise(name, p, given if exact else _thin(given, out.shape)), None)
        if name == "broadcast_in_dim":
            return self._broadcast(given[0], out, p["broadcast_dimensions"])
        if name not in CALLS:
            where = f" ({step.place})" if str(step.place) else ""
            raise NotImplementedError(
                f"the operation `{name}`{where} cannot be written as Python here. Look at its values with fnn.graph."
            )
        told = CALLS[name](given, p, out)
        return told, 3 if name == "dot_general" and "@" in told else 0, None

    def _entrywise(self, name: str, p: dict[str, Any], given: list[Piece]) -> tuple[str, int]:
        a = given[0]
        if name in SIGNS:
            sign, left, right, level = SIGNS[name]
            b = given[1]
            if sign == "+" and b.text.startswith("-") and b.level in (2, 3):
                return f"{a.within(4)} - {b.text[1:]}", 4
            if sign == "*" and (a.text, a.literal) == ("1.0", True):
                return b.text, b.level
            if sign == "*" and (b.text, b.literal) == ("1.0", True):
                return a.text, a.level
            return f"{a.within(left)} {sign} {b.within(right)}", level
        if name == "neg" and a.text.startswith("-") and a.level in (2, 3):
            return a.text[1:], a.level if a.level == 3 else 0
        if name == "neg":
            return f"-{a.within(3)}", 3 if a.level == 3 else 2
        if name == "not":
            return f"~{a.within(0)}", 2
        if name == "square" or (name == "integer_pow" and p["y"] > 1):
            return f"{a.within(0)}**{2 if name == 'square' else p['y']}", 1
        if name == "integer_pow" and p["y"] == 1:
            return a.text, a.level
        if name == "integer_pow":
            return f"lax.integer_pow({a.text}, {p['y']})", 0
        if name == "clamp":
            return f"jnp.clip({given[1].text}, {a.text}, {given[2].text})", 0
        if name == "select_n":
            if a.dtype == bool:
                return f"jnp.where({a.text}, {given[2].text}, {given[1].text})", 0
            return f"lax.select_n({', '.join(each.text for each in given)})", 0
        return f"{FUNCTIONS[name]}({', '.join(each.text for each in given)})", 0

    def _broadcast(self, x: Piece, out: Any, axes: Sequence[int]) -> tuple[str, int, Spread | None]:
        axes = tuple(axes)
        source = Spread(x.text, x.level, x.shape, axes, x.literal or x.word)
        if x.spread is not None:
            source = x.spread._replace(axes=tuple(axes[k] for k in x.spread.axes))
        if x.literal:
            kind = {"0": "zeros", "0.0": "zeros", "1": "ones", "1.0": "ones"}.get(x.text)
            told = f"jnp.{kind}({out.shape}, jnp.{out.dtype.name})" if kind else ""
            return told or f"jnp.full({out.shape}, {x.text}, jnp.{out.dtype.name})", 0, source
        text, level = _aligned(source, len(out.shape))
        sizes = dict(zip(source.axes, source.shape, strict=True))
        if (
            tuple(sizes.get(axis, 1) for axis in range(min(source.axes, default=len(out.shape)), len(out.shape)))
            == out.shape
        ):
            return text, level, source
        return f"jnp.broadcast_to({text}, {out.shape})", 0, source

    # ---- loops: their bodies become functions inside the function, which see what stands around them

    def loop(self, writer: Writer, step: Step, given: Sequence[Piece], shapes: Sequence[Any]) -> list[str]:
        name, p = step.primitive.name, step.params
        if name == "scan":
            return self._scan(writer, step, list(given), shapes)
        if name == "cond":
            index, *operands = given
            made = [self._function(writer, f"case{k}", b, operands) for k, b in enumerate(p["branches"])]
            index = writer.hold(index, "case")
            given_here = "".join(f", {each.text}" for each in operands)
            call = f"lax.switch({index.text}, [{', '.join(made)}]{given_here})"
            return self._taken(writer, step, call)
        conditions, bodies = p["cond_nconsts"], p["body_nconsts"]
        held = [writer.hold(each, "limit") for each in given[: conditions + bodies]]
        carry = list(given[conditions + bodies :])
        test = self._function(writer, "more", p["cond_jaxpr"], carry, held[:conditions], whole=True)
        turn = self._function(writer, "turn", p["body_jaxpr"], carry, held[conditions:], whole=True)
        start = f"({', '.join(each.text for each in carry)},)"
        return self._taken(writer, step, f"lax.while_loop({test}, {turn}, {start})")

    def _taken(self, writer: Writer, step: Step, call: str) -> list[str]:
        targets = [writer.name("result") for _ in step.outputs]
        writer.line(f"{', '.join(targets)}{',' if len(targets) == 1 else ''} = {call}")
        return targets

    def _scan(self, writer: Writer, step: Step, given: list[Piece], shapes: Sequence[Any]) -> list[str]:
        p = step.params
        body = flattened(closed(p["jaxpr"]))
        constants, carried = parts_of_scan([shapes[n] for n in step.inputs], [shapes[n] for n in step.outputs], body)
        held = [writer.hold(each, "held") for each in given[:constants]]
        carry, xs = given[constants : constants + carried], given[constants + carried :]
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
        found = writer.write(body, pieces)
        out = [self._typed(found[n], body.shapes[n]) for n in body.outputs]
        writer.line(f"return {parenthesized(out[:carried])}, {parenthesized(out[carried:])}")
        writer.indent -= 1
        start = parenthesized([self._typed(c, body.shapes[n]) for c, n in zip(carry, body.outputs, strict=False)])
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

    def _typed(self, piece: Piece, aval: Any) -> str:
        """The text, with its dtype where a plain number would bring one of its own."""
        return f"jnp.array({piece.text}, jnp.{aval.dtype.name})" if piece.literal else piece.text

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
        program = flattened(closed(body))
        name = writer.name(wish)
        words = [writer.name("carry" if whole else "given") for _ in operands]
        writer.line(f"def {name}({'carried' if whole else ', '.join(words)}):")
        writer.indent += 1
        if whole:
            writer.line(f"{', '.join(words)}{',' if len(words) == 1 else ''} = carried")
        texts = [*(each.text for each in held), *words]
        pieces = {n: writer.word(w, program.shapes[n]) for n, w in zip(program.inputs, texts, strict=True)}
        found = writer.write(program, pieces)
        out = [self._typed(found[n], program.shapes[n]) for n in program.outputs]
        writer.line(f"return {out[0] if wish == 'more' else parenthesized(out)}")
        writer.indent -= 1
        return name


def _thin(given: list[Piece], shape: tuple[int, ...]) -> list[Piece]:
    """Operands of an entrywise operation, without the repeating that the operation does by itself."""
    full = [each.shape == shape and each.spread is None for each in given]
    if not any(full):
        # one must keep the shape; the others need not
        keep = next((k for k, each in enumerate(given) if each.shape == shape), None)
        full = [k == keep for k in range(len(given))]
    thin = []
    for each, kept in zip(given, full, strict=True):
        if kept or each.spread is None:
            thin.append(each)
            continue
        text, level = _aligned(each.spread, len(shape))
        literal = _is_number(text)
        word = each.spread.plain and not literal and text == each.spread.text
        thin.append(Piece(text, level, each.spread.shape, each.dtype, literal=literal, word=word))
    return thin


def _is_number(text: str) -> bool:
    return text.lstrip("-").replace(".", "", 1).replace("e-", "", 1).isdigit()


def _aligned(spread: Spread, ndim: int) -> tuple[str, int]:
    """The smaller value so that NumPy's rules repeat it along the right axes."""
    trailing = tuple(range(ndim - len(spread.shape), ndim))
    if spread.axes == trailing or not spread.shape:
        return spread.text, spread.level
    # axes that the value lacks become None, those in front come by themselves
    first = spread.axes[0]
    index = ", ".join(":" if axis in spread.axes else "None" for axis in range(first, ndim))
    text = f"({spread.text})" if spread.level else spread.text
    return f"{text}[{index}]", 0
