"""Operations that are written as calls: each primitive beside the words of `jax.numpy` or `jax.lax` that compute it.

Letters: g the operands as pieces of source, p the parameters of the primitive, y the shape and dtype of what comes out.
"""

import string
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from fnn.glassbox.code.expressions import Piece, written
from fnn.glassbox.rules.products import letters

Call: TypeAlias = Callable[[list[Piece], dict[str, Any], Any], str]


def parenthesized(texts: Sequence[str]) -> str:
    """The source of a tuple."""
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"


def _listed(pieces: Sequence[Piece]) -> str:
    return ", ".join(each.text for each in pieces)


# ---- products and transposes ----------------------------------------------------------------------------------------


def _turned(x: Piece) -> str:
    if " @ " in x.text and x.text.count("@") == 1 and x.level == 3:
        a, b = x.text.split(" @ ")
        return f"{_flip(b)} @ {_flip(a)}"
    return f"{x.within(0)}.T"


def _flip(text: str) -> str:
    return text.removesuffix(".T") if text.endswith(".T") else f"{text}.T"


def _product(given: list[Piece], p: dict[str, Any], _out: Any) -> str:
    a, b = given
    (of_a, of_b), (batch, _) = p["dimension_numbers"]
    precision = p.get("precision")
    plain = precision is None or all(each is None for each in np.atleast_1d(precision).tolist())
    one = len(of_a) == 1 and not batch and plain
    if one and len(a.shape) <= 2 and len(b.shape) <= 2:
        left = a.within(0) if of_a[0] == len(a.shape) - 1 else f"{a.within(0)}.T"
        right = b.within(0) if of_b[0] == 0 else f"{b.within(0)}.T"
        return f"{left} @ {right}"
    a_axes, b_axes, y_axes = letters(p["dimension_numbers"], len(a.shape), len(b.shape))
    if plain and len(a.shape) == len(b.shape) == 1 and not of_a and not batch:
        return f"jnp.outer({a.text}, {b.text})"
    told = f"{a_axes},{b_axes}->{y_axes}"
    extra = "" if plain else f", precision={_precision(precision)!r}"
    return f'jnp.einsum("{_renamed(told)}", {a.text}, {b.text}{extra})'


def _precision(precision: Any) -> Any:
    told = [str(each).split(".")[-1].lower() for each in np.atleast_1d(precision).tolist()]
    return told[0] if len(set(told)) == 1 else tuple(told)


def _renamed(formula: str) -> str:
    """The letters in the order in which they come, from a on."""
    fresh: dict[str, str] = {}
    for letter in formula:
        if letter.isalpha() and letter not in fresh:
            fresh[letter] = string.ascii_letters[len(fresh)]
    return "".join(fresh.get(letter, letter) for letter in formula)


# ---- axes and parts -------------------------------------------------------------------------------------------------


def _axes(axes: Sequence[int]) -> str:
    return str(axes[0]) if len(axes) == 1 else str(tuple(int(axis) for axis in axes))


def _plain(config: Any) -> str:
    return str([tuple(int(n) for n in each) for each in config])


def _box(p: dict[str, Any], shape: tuple[int, ...]) -> str:
    steps = p["strides"] or (1,) * len(shape)
    parts = []
    for start, stop, step, size in zip(p["start_indices"], p["limit_indices"], steps, shape, strict=True):
        text = f"{start or ''}:{'' if stop == size else stop}"
        parts.append(text + (f":{step}" if step != 1 else ""))
    while len(parts) > 1 and parts[-1] == ":":
        parts.pop()
    return ", ".join(parts)


def _starts(indices: Sequence[Piece]) -> str:
    """A tuple of indices of one dtype, numbers written out included."""
    named = [each for each in indices if not each.literal]
    kind = f", jnp.{named[0].dtype.name})" if named else ""
    return parenthesized([f"jnp.array({each.text}{kind}" if each.literal and named else each.text for each in indices])


# ---- looking up and writing at indices ------------------------------------------------------------------------------


def _mode(mode: Any) -> str:
    # whoever promises to stay in bounds is clipped to them without harm
    return {"FILL_OR_DROP": "fill", "CLIP": "clip", "PROMISE_IN_BOUNDS": "clip"}[str(mode).split(".")[-1]]


def _gather(given: list[Piece], p: dict[str, Any], out: Any) -> str:
    x, where = given
    numbers, mode = p["dimension_numbers"], _mode(p["mode"])
    fill = "" if p.get("fill_value") is None else f", fill_value={_number(p['fill_value'])}"
    axis = _single_axis(numbers.start_index_map, numbers.collapsed_slice_dims, numbers.operand_batching_dims)
    if axis is not None and len(where.shape):
        lead = len(where.shape) - 1
        offsets = tuple(k for k in range(len(out.shape)) if k < axis or k >= axis + lead)
        sizes = tuple(1 if k == axis else size for k, size in enumerate(x.shape))
        if tuple(numbers.offset_dims) == offsets and tuple(p["slice_sizes"]) == sizes:
            return f'jnp.take({x.text}, {_indices(where)}, axis={axis}, mode="{mode}"{fill})'
    return f'lax.gather({x.text}, {where.text}, lax.{numbers!r}, {tuple(p["slice_sizes"])}, mode="{mode}"{fill})'


def _scatter(how: str, given: list[Piece], p: dict[str, Any], _out: Any) -> str:
    x, where, updates = given
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
        return f'{x.within(0)}.at[{_indices(where)}].{how}({updates.text}, mode="{mode}"{unique})'
    function = {"set": "scatter", "add": "scatter_add", "subtract": "scatter_sub", "multiply": "scatter_mul"}[how]
    return f'lax.{function}({x.text}, {where.text}, {updates.text}, lax.{numbers!r}, mode="{mode}"{unique})'


def _number(value: Any) -> str:
    return str(written(value, np.asarray(value).dtype)) if np.isfinite(value) else f"jnp.{value}"


def _single_axis(mapped: Any, collapsed: Any, batching: Any) -> int | None:
    return mapped[0] if len(mapped) == 1 and tuple(collapsed) == tuple(mapped) and not batching else None


def _indices(where: Piece) -> str:
    """The indices without their last axis of size 1."""
    own, rest = where.spread, where.shape[:-1]
    if own is not None and own.axes == tuple(range(len(rest))) and own.shape == rest:
        return own.text
    return f"{where.within(0)}[..., 0]"


# ---- the table ------------------------------------------------------------------------------------------------------


def _reduced(function: str, given: list[Piece], p: dict[str, Any], _out: Any) -> str:
    axes = "" if len(p["axes"]) == len(given[0].shape) else f", axis={_axes(p['axes'])}"
    return f"{function}({given[0].text}{axes})"


def _running(function: str, given: list[Piece], p: dict[str, Any], _out: Any) -> str:
    return f"{function}({given[0].text}, axis={p['axis']}{', reverse=True' if p['reverse'] else ''})"


def _place(function: str, given: list[Piece], p: dict[str, Any], _out: Any) -> str:
    (axis,) = p["axes"]
    return f"{function}({given[0].text}, {axis}, jnp.{np.dtype(p['index_dtype']).name})"


def _transpose(given: list[Piece], p: dict[str, Any], _out: Any) -> str:
    order = tuple(p["permutation"])
    return _turned(given[0]) if order == (1, 0) else f"jnp.transpose({given[0].text}, {order})"


def _iota(_given: list[Piece], p: dict[str, Any], out: Any) -> str:
    if len(out.shape) == 1:
        return f"jnp.arange({out.shape[0]}, dtype=jnp.{out.dtype.name})"
    return f"lax.broadcasted_iota(jnp.{out.dtype.name}, {out.shape}, {p['dimension']})"


def _sort(given: list[Piece], p: dict[str, Any], _out: Any) -> str:
    if len(given) == 1:
        return f"jnp.sort({given[0].text}, {p['dimension']})"
    options = f"dimension={p['dimension']}, is_stable={p['is_stable']}, num_keys={p['num_keys']}"
    return f"lax.sort(({_listed(given)}), {options})"


def _polynomial(given: list[Piece], _p: dict[str, Any], _out: Any) -> str:
    x, *coefficients = given
    return f"({' + '.join(f'{c.within(2)} * {x.within(0)}**{k}' for k, c in enumerate(coefficients))})"


#: {primitive: how it is called}
CALLS: dict[str, Call] = {
    "reduce_sum": partial(_reduced, "jnp.sum"),
    "reduce_max": partial(_reduced, "jnp.max"),
    "reduce_min": partial(_reduced, "jnp.min"),
    "reduce_prod": partial(_reduced, "jnp.prod"),
    "reduce_and": partial(_reduced, "jnp.all"),
    "reduce_or": partial(_reduced, "jnp.any"),
    "cumsum": partial(_running, "lax.cumsum"),
    "cumprod": partial(_running, "lax.cumprod"),
    "cummax": partial(_running, "lax.cummax"),
    "cummin": partial(_running, "lax.cummin"),
    "cumlogsumexp": partial(_running, "lax.cumlogsumexp"),
    "argmax": partial(_place, "lax.argmax"),
    "argmin": partial(_place, "lax.argmin"),
    "dot_general": _product,
    "transpose": _transpose,
    "reshape": lambda g, p, y: f"jnp.reshape({g[0].text}, {y.shape})",
    "squeeze": lambda g, p, y: f"jnp.reshape({g[0].text}, {y.shape})",
    "copy": lambda g, p, y: g[0].text,
    "copy_p": lambda g, p, y: g[0].text,
    "concatenate": lambda g, p, y: f"jnp.concatenate([{_listed(g)}], axis={p['dimension']})",
    "stack": lambda g, p, y: f"jnp.stack([{_listed(g)}], axis={p['axis']})",
    "unstack": lambda g, p, y: f"jnp.unstack({g[0].text}, axis={p['axis']})",
    "split": lambda g, p, y: f"jnp.split({g[0].text}, {np.cumsum(p['sizes'])[:-1].tolist()}, axis={p['axis']})",
    "tile": lambda g, p, y: f"jnp.tile({g[0].text}, {tuple(p['reps'])})",
    "pad": lambda g, p, y: (
        f"lax.pad({g[0].text}, jnp.asarray({g[1].text}, jnp.{y.dtype.name}), {_plain(p['padding_config'])})"
    ),
    "slice": lambda g, p, y: f"{g[0].within(0)}[{_box(p, g[0].shape)}]",
    "rev": lambda g, p, y: f"jnp.flip({g[0].text}, {_axes(p['dimensions'])})",
    "dynamic_slice": lambda g, p, y: f"lax.dynamic_slice({g[0].text}, {_starts(g[1:])}, {tuple(p['slice_sizes'])})",
    "dynamic_update_slice": lambda g, p, y: f"lax.dynamic_update_slice({g[0].text}, {g[1].text}, {_starts(g[2:])})",
    "gather": _gather,
    "scatter": partial(_scatter, "set"),
    "scatter-add": partial(_scatter, "add"),
    "scatter_add": partial(_scatter, "add"),
    "scatter-sub": partial(_scatter, "subtract"),
    "scatter_sub": partial(_scatter, "subtract"),
    "scatter-mul": partial(_scatter, "multiply"),
    "scatter_mul": partial(_scatter, "multiply"),
    "iota": _iota,
    "convert_element_type": lambda g, p, y: f"jnp.asarray({g[0].text}, jnp.{y.dtype.name})",
    "round": lambda g, p, y: f"lax.round({g[0].text}, lax.RoundingMethod({int(p['rounding_method'])}))",
    "sort": _sort,
    "reduce_precision": lambda g, p, y: (
        f"lax.reduce_precision({g[0].text}, {p['exponent_bits']}, {p['mantissa_bits']})"
    ),
    "top_k": lambda g, p, y: f"lax.top_k({g[0].text}, {p['k']})",
    "polynomial": _polynomial,
}
