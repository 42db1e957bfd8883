"""Operations in Python: the functions of `jax.numpy` and `jax.lax` that compute them.

Letters: g the operands as pieces of source, p the parameters of the primitive, y the shape and dtype of the result.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from fnn.glassbox.spelling.letters import letters, renamed
from fnn.glassbox.spelling.pieces import Piece, Spelling, Spread, aligned, listed, parenthesized, thin, written


def unwritten(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    """For operations that have no public name in JAX."""
    raise NotImplementedError("cannot be written as Python here")


# ---- elementwise: what is only repeated is written as it is --------------------------------------------


def infix(sign: str, left: int, right: int, level: int) -> Spelling:
    """An operation between two operands: the sign, the levels of both sides, and the level of the whole."""

    def spelled(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
        if sign == "/" and not jnp.issubdtype(y.dtype, jnp.inexact):
            # Python's slash would make a floating number
            return exactly("lax.div")(g, p, y)
        a, b = thin(g, y.shape)
        if sign == "+" and b.text.startswith("-") and b.level in (2, 3):
            return Piece(f"{a.within(4)} - {b.text[1:]}", 4)
        if sign == "*" and (a.text, a.literal) == ("1.0", True):
            return Piece(b.text, b.level)
        if sign == "*" and (b.text, b.literal) == ("1.0", True):
            return Piece(a.text, a.level)
        return Piece(f"{a.within(left)} {sign} {b.within(right)}", level)

    return spelled


def function(name: str) -> Spelling:
    """An elementwise function that takes the operands and nothing else."""
    return lambda g, p, y: Piece(f"{name}({listed(thin(g, y.shape))})", 0)


def exactly(name: str) -> Spelling:
    """A function that takes only operands of one shape and dtype."""
    return lambda g, p, y: Piece(f"{name}({', '.join(typed(each, each.dtype) for each in g)})", 0)


def negative(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    (a,) = thin(g, y.shape)
    if a.text.startswith("-") and a.level in (2, 3):
        return Piece(a.text[1:], a.level if a.level == 3 else 0)
    return Piece(f"-{a.within(3)}", 3 if a.level == 3 else 2)


def inverted(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    (a,) = thin(g, y.shape)
    return Piece(f"~{a.within(0)}", 2)


def whole_power(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    (a,) = thin(g, y.shape)
    power = p.get("y", 2)
    if power == 1:
        return Piece(a.text, a.level)
    return Piece(f"{a.within(0)}**{power}", 1) if power > 1 else Piece(f"lax.integer_pow({a.text}, {power})", 0)


def clamp(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    low, x, high = thin(g, y.shape)
    return Piece(f"jnp.clip({x.text}, {low.text}, {high.text})", 0)


def select(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    if g[0].dtype != bool:
        return Piece(f"lax.select_n({listed(g)})", 0)
    which, no, yes = thin(g, y.shape)
    return Piece(f"jnp.where({which.text}, {yes.text}, {no.text})", 0)


# ---- repeating ------------------------------------------------------------------------------------------------------


def broadcast(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    x, axes = g[0], tuple(p["broadcast_dimensions"])
    source = Spread(x.text, x.level, x.shape, axes, x.literal or x.word)
    if x.spread is not None:
        source = x.spread._replace(axes=tuple(axes[k] for k in x.spread.axes))
    if x.literal:
        kind = {"0": "zeros", "0.0": "zeros", "1": "ones", "1.0": "ones"}.get(x.text)
        text = f"jnp.{kind}({y.shape}, jnp.{y.dtype.name})" if kind else ""
        return Piece(text or f"jnp.full({y.shape}, {x.text}, jnp.{y.dtype.name})", 0, spread=source)
    text, level = aligned(source, len(y.shape))
    sizes = dict(zip(source.axes, source.shape, strict=True))
    ndim = len(y.shape)
    if tuple(sizes.get(axis, 1) for axis in range(min(source.axes, default=ndim), ndim)) == y.shape:
        return Piece(text, level, spread=source)
    return Piece(f"jnp.broadcast_to({text}, {y.shape})", 0, spread=source)


# ---- calls ----------------------------------------------------------------------------------------------------------


def call(text: Callable[[list[Piece], dict[str, Any], Any], str]) -> Spelling:
    """A call, from the operands, the parameters and the shape of the result."""
    return lambda g, p, y: Piece(text(g, p, y), 0)


def reduced(name: str) -> Spelling:
    """A function over the axes of a parameter."""

    def text(g: list[Piece], p: dict[str, Any], y: Any) -> str:
        over = "" if len(p["axes"]) == len(g[0].shape) else f", axis={axes(p['axes'])}"
        return f"{name}({g[0].text}{over})"

    return call(text)


def running(name: str) -> Spelling:
    """A function along one axis, forwards or backwards."""
    return call(lambda g, p, y: f"{name}({g[0].text}, axis={p['axis']}{', reverse=True' if p['reverse'] else ''})")


def place(name: str) -> Spelling:
    """A function that finds an index along one axis."""
    return call(lambda g, p, y: f"{name}({g[0].text}, {p['axes'][0]}, jnp.{np.dtype(p['index_dtype']).name})")


# ---- products and transposes ----------------------------------------------------------------------------------------


def transpose(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    order = tuple(p["permutation"])
    return Piece(_turned(g[0]) if order == (1, 0) else f"jnp.transpose({g[0].text}, {order})", 0)


def _turned(x: Piece) -> str:
    if x.text.count(" @ ") == 1 and x.level == 3:
        a, b = x.text.split(" @ ")
        if _is_operand(a) and _is_operand(b):
            return f"{_flip(b)} @ {_flip(a)}"
    return f"{x.within(0)}.T"


def _is_operand(text: str) -> bool:
    """True if there is no sign outside the brackets, and every bracket is closed."""
    depth = 0
    for sign in text:
        depth += (sign in "([{") - (sign in ")]}")
        if depth < 0 or (depth == 0 and sign in " -"):
            return False
    return depth == 0


def _flip(text: str) -> str:
    return text.removesuffix(".T") if text.endswith(".T") else f"{text}.T"


def product(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    a, b = g
    (of_a, of_b), (batch, _) = p["dimension_numbers"]
    if y.dtype != a.dtype or y.dtype != b.dtype:
        # the sums are in a wider dtype than the factors, which no sign expresses
        formula = "{},{}->{}".format(*letters(p["dimension_numbers"], len(a.shape), len(b.shape)))
        wide = f"preferred_element_type=jnp.{y.dtype.name}"
        return Piece(f'jnp.einsum("{renamed(formula)}", {a.text}, {b.text}, {wide})', 0)
    precision = p.get("precision")
    plain = precision is None or all(each is None for each in np.atleast_1d(precision).tolist())
    one = len(of_a) == 1 and not batch and plain
    if one and len(a.shape) <= 2 and len(b.shape) <= 2:
        left = a.within(0) if of_a[0] == len(a.shape) - 1 else f"{a.within(0)}.T"
        right = b.within(0) if of_b[0] == 0 else f"{b.within(0)}.T"
        return Piece(f"{left} @ {right}", 3)
    a_axes, b_axes, y_axes = letters(p["dimension_numbers"], len(a.shape), len(b.shape))
    if plain and len(a.shape) == len(b.shape) == 1 and not of_a and not batch:
        text = f"jnp.outer({a.text}, {b.text})"
    else:
        extra = "" if plain else f", precision={_precision(precision)}"
        text = f'jnp.einsum("{renamed(f"{a_axes},{b_axes}->{y_axes}")}", {a.text}, {b.text}{extra})'
    return Piece(text, 3 if "@" in text else 0)


def precision(value: Any) -> str:
    """The source of a precision, "" for the default."""
    if value is None or all(each is None for each in np.atleast_1d(value).tolist()):
        return ""
    return _precision(value)


def _precision(precision: Any) -> str:
    if isinstance(precision, lax.DotAlgorithm):
        return unwritten([], {}, None).text
    if isinstance(precision, lax.DotAlgorithmPreset):
        return f"lax.DotAlgorithmPreset.{precision.name}"
    names = [str(kind).split(".")[-1].lower() for kind in np.atleast_1d(precision).tolist()]
    return repr(names[0] if len(set(names)) == 1 else tuple(names))


# ---- axes and parts -------------------------------------------------------------------------------------------------


def axes(numbers: Sequence[int]) -> str:
    """One axis, or a tuple of several."""
    return str(numbers[0]) if len(numbers) == 1 else str(tuple(int(axis) for axis in numbers))


def pairs(config: Any) -> str:
    """A list of tuples of integers, as paddings are written."""
    return str([tuple(int(n) for n in each) for each in config])


def box(p: dict[str, Any], shape: tuple[int, ...]) -> str:
    """The index that cuts a part out of an array: `1:3, ::2`."""
    steps = p["strides"] or (1,) * len(shape)
    parts = []
    for start, stop, step, size in zip(p["start_indices"], p["limit_indices"], steps, shape, strict=True):
        text = f"{start or ''}:{'' if stop == size else stop}"
        parts.append(text + (f":{step}" if step != 1 else ""))
    while len(parts) > 1 and parts[-1] == ":":
        parts.pop()
    return ", ".join(parts)


def starts(indices: Sequence[Piece]) -> str:
    """A tuple of indices of one dtype, including numbers that are written out."""
    named = [each for each in indices if not each.literal]
    kind = f", jnp.{named[0].dtype.name})" if named else ""
    # a start before the first entry is moved to it; written as a number it would be refused
    texts = ["0" if each.literal and each.text.startswith("-") else each.text for each in indices]
    return parenthesized(
        [
            f"jnp.array({text}{kind}" if each.literal and named else text
            for each, text in zip(indices, texts, strict=True)
        ]
    )


def typed(piece: Piece, dtype: Any) -> str:
    """The text, with its dtype if a plain number would have a different one."""
    return f"jnp.array({piece.text}, jnp.{dtype.name})" if piece.literal else piece.text


# ---- looking up and writing at indices ------------------------------------------------------------------------------


def _mode(mode: Any) -> str:
    # indices that are promised to stay in bounds can be clipped without harm
    return {"FILL_OR_DROP": "fill", "CLIP": "clip", "PROMISE_IN_BOUNDS": "clip"}[str(mode).split(".")[-1]]


#: `jnp.take` and `.at[]` count negative indices from the end; the program itself says what an index means.
_AS_THEY_ARE = ", wrap_negative_indices=False"


def gather(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    x, where = g
    numbers, mode = p["dimension_numbers"], _mode(p["mode"])
    fill = "" if p.get("fill_value") is None else f", fill_value={_number(p['fill_value'])}"
    axis = _single_axis(numbers.start_index_map, numbers.collapsed_slice_dims, numbers.operand_batching_dims)
    if axis is not None and len(where.shape):
        lead = len(where.shape) - 1
        offsets = tuple(k for k in range(len(y.shape)) if k < axis or k >= axis + lead)
        sizes = tuple(1 if k == axis else size for k, size in enumerate(x.shape))
        if tuple(numbers.offset_dims) == offsets and tuple(p["slice_sizes"]) == sizes:
            # clipping turns -1 into 0
            if mode == "clip" or _from_zero(where):
                return Piece(f'jnp.take({x.text}, {_indices(where)}, axis={axis}, mode="{mode}"{fill})', 0)
            rows = ", ".join([*[":"] * axis, _indices(where)])
            return Piece(f'{x.within(0)}.at[{rows}].get(mode="{mode}"{fill}{_AS_THEY_ARE})', 0)
    sizes = tuple(p["slice_sizes"])
    return Piece(f'lax.gather({x.text}, {where.text}, {_dimensions(numbers)}, {sizes}, mode="{mode}"{fill})', 0)


def scatter(how: str) -> Spelling:
    """Writing at indices: "set", "add", "subtract", "multiply", "max", "min"."""

    def spelled(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
        x, where, updates = g
        if how == "set" and p["update_jaxpr"] is not None:
            # a function is applied there, and it has no name
            return unwritten(g, p, y)
        numbers, mode = p["dimension_numbers"], _mode(p["mode"])
        axis = _single_axis(
            numbers.scatter_dims_to_operand_dims, numbers.inserted_window_dims, numbers.operand_batching_dims
        )
        unique = ", unique_indices=True" if p["unique_indices"] else ""
        lead = len(where.shape) - 1
        rows = axis == 0 and where.shape and tuple(numbers.update_window_dims) == tuple(range(lead, len(updates.shape)))
        if rows and updates.shape[lead:] == x.shape[1:]:
            # JAX's own spelling of "out of bounds is dropped" for updates
            mode = {"fill": "drop"}.get(mode, mode)
            wrap = "" if _from_zero(where) else _AS_THEY_ARE
            return Piece(f'{x.within(0)}.at[{_indices(where)}].{how}({updates.text}, mode="{mode}"{unique}{wrap})', 0)
        name = _SCATTERS[how]
        operands = f"{x.text}, {where.text}, {updates.text}"
        return Piece(f'lax.scatter{name}({operands}, {_dimensions(numbers)}, mode="{mode}"{unique})', 0)

    return spelled


_SCATTERS = {"set": "", "add": "_add", "subtract": "_sub", "multiply": "_mul", "max": "_max", "min": "_min"}


def _dimensions(numbers: Any) -> str:
    """The source of the dimension numbers of a gather or a scatter."""
    words = ", ".join(f"{name}={tuple(map(int, axes))}" for name, axes in numbers._asdict().items())
    return f"lax.{type(numbers).__name__}({words})"


def _number(value: Any) -> str:
    if np.isfinite(value):
        return str(written(value, np.asarray(value).dtype))
    return f"{'-' if value < 0 else ''}jnp.{abs(value)}"


def _single_axis(mapped: Any, collapsed: Any, batching: Any) -> int | None:
    return mapped[0] if len(mapped) == 1 and tuple(collapsed) == tuple(mapped) and not batching else None


def _from_zero(where: Piece) -> bool:
    """True for indices that are written out, or a range, and are not negative."""
    text = _indices(where)
    return re.fullmatch(r"\d+|jnp\.(array\(\[[\d, ]*\], jnp\.u?int\d+\)|arange\([^-]*\))", text) is not None


def _indices(where: Piece) -> str:
    """The indices without their last axis of size 1."""
    own, rest = where.spread, where.shape[:-1]
    if own is not None and own.axes == tuple(range(len(rest))) and own.shape == rest:
        return own.text
    return f"{where.within(0)}[..., 0]"


# ---- others ---------------------------------------------------------------------------------------------------------


def iota(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    if len(y.shape) == 1:
        return Piece(f"jnp.arange({y.shape[0]}, dtype=jnp.{y.dtype.name})", 0)
    return Piece(f"lax.broadcasted_iota(jnp.{y.dtype.name}, {y.shape}, {p['dimension']})", 0)


def sort(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    if len(g) == 1:
        return Piece(f"jnp.sort({g[0].text}, {p['dimension']})", 0)
    options = f"dimension={p['dimension']}, is_stable={p['is_stable']}, num_keys={p['num_keys']}"
    return Piece(f"lax.sort(({listed(g)}), {options})", 0)


def polynomial(g: list[Piece], p: dict[str, Any], y: Any) -> Piece:
    x, *coefficients = g
    return Piece(f"({' + '.join(f'{c.within(2)} * {x.within(0)}**{k}' for k, c in enumerate(coefficients))})", 0)
