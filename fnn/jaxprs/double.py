"""The same function in float64: what it creates in, or casts to, a narrower dtype inside is widened.

Promises: a trace under x64 gives literals in double precision; bits that are read as numbers, and samplers, stay as
they are.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.jaxprs.evaluation import Hooks, alone, bind, evaluate, function_of
from fnn.jaxprs.parts import Values, bare, body_of, equations, inside, is_literal, value_of
from fnn.jaxprs.places import NOWHERE, Place, is_sampler, name_of, place_of
from fnn.types import PyTree, is_key


class Narrow(NamedTuple):
    """A step of a function that computes in a dtype narrower than float64, although its inputs do not have one."""

    dtype: str
    primitive: str
    place: Place


#: The name of a scope in which a value is cast to the dtype in which a function captured it.
AS_CAPTURED = "as captured"


def narrow_in(jaxpr: Any, depends: Sequence[bool] | None = None) -> Narrow | None:
    """The first step of a jaxpr that returns a floating dtype narrower than float64, if there is one.

    Steps that compute only with what a function captured do not count: nothing that is passed is cast there.

    Args:
        jaxpr: any jaxpr.
        depends: which of its inputs depend on the arguments; by default all.
    """
    inner = bare(jaxpr)
    flags = [True] * len(inner.invars) if depends is None else depends
    known: dict[Any, bool] = dict(zip(inner.invars, flags, strict=True))
    for equation in inner.eqns:
        inputs = [not is_literal(atom) and known.get(atom, False) for atom in equation.invars]
        known.update(dict.fromkeys(equation.outvars, any(inputs)))
        if not any(inputs) or _is_cast_back(equation):
            known.update(dict.fromkeys(equation.outvars, False))
            continue
        for out in equation.outvars:
            if _is_narrow(getattr(out.aval, "dtype", None)):
                name = equation.primitive.name
                return Narrow(out.aval.dtype.name, name, place_of(equation, installed=False) or NOWHERE)
        body = body_of(equation)
        held = [(body, inputs)] if body is not None else [(each, None) for each in inside(equation)]
        for each, own in held:
            if (narrow := narrow_in(each, own)) is not None:
                return narrow
    return None


def _is_cast_back(equation: Any) -> bool:
    """True for the cast of a value to the dtype in which it was captured, and for that of its cotangent."""
    scope = str(equation.source_info.name_stack)
    transposed = equation.primitive.name == "convert_element_type" and "transpose(" in scope
    return AS_CAPTURED in scope or (transposed and place_of(equation, installed=False) is None)


def narrowest_in(jaxpr: Any) -> Any:
    """The narrowest floating dtype of any value, constant or literal of a jaxpr; None if all are float64."""
    atoms = [*bare(jaxpr).invars, *bare(jaxpr).constvars]
    for equation in equations(jaxpr):
        atoms += [*equation.invars, *equation.outvars]
        for inner in inside(equation):
            atoms += inner.jaxpr.constvars
    narrow = {atom.aval.dtype for atom in atoms if _is_narrow(getattr(atom.aval, "dtype", None))}
    return max(narrow, key=lambda dtype: float(jnp.finfo(dtype).eps), default=None)


def coarseness(jaxpr: Any) -> float:
    """How far a constant inside may be rounded, as a share: the epsilon of its dtype if that is narrow, else 0.

    Numbers that fit into half the digits of their dtype, such as 0.5 or 3, count as exact.
    """
    values = [*getattr(jaxpr, "consts", ())]
    for equation in equations(jaxpr):
        values += [value_of(atom) for atom in equation.invars if is_literal(atom)]
        for inner in inside(equation):
            values += inner.consts
    return max((_rounded_by(value) for value in values if _is_narrow(getattr(value, "dtype", None))), default=0.0)


def _rounded_by(value: Any) -> float:
    information = jnp.finfo(value.dtype)
    mantissa, _ = np.frexp(np.asarray(value).astype(np.float64))
    scaled = mantissa * 2.0 ** (information.nmant // 2 + 1)
    return 0.0 if (scaled == np.round(scaled)).all() else float(information.eps)


#: What tracing returns: a closed jaxpr, and the shapes of what the function returns.
Traced = tuple[Any, PyTree]


def doubled(
    f: Callable[..., PyTree], working: Callable[[], Traced] | None = None, seen: Callable[[Any], None] | None = None
) -> Callable[..., PyTree]:
    """The same function in float64 throughout: what it creates in, or casts to, a narrower dtype inside is widened.

    Call it under `jax.enable_x64`, on float64. A trace there gives numbers in double precision; a function that cannot
    be traced there, for instance because it fixes the dtype of a carry, is widened as the user runs it. Bits that are
    read as numbers stay narrow, and so do samplers: in float64 a key gives other numbers.

    Args:
        f: any function that can be traced.
        working: traces the same function as the user runs it.
        seen: called with the jaxpr that is widened, if something in it is narrow.
    """

    def wide(*args: PyTree) -> PyTree:
        samplers: dict[int, Any] = {}
        try:
            program, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        except Exception:
            # an unknown function may raise anything on dtypes that it was not written for
            if working is None:
                raise
            program, shape = working()
            samplers = {id(each): each for each in equations(program) if is_sampler(each)}
        else:
            here = [each for each in equations(program) if is_sampler(each)]
            own = [each for each in equations(working()[0]) if is_sampler(each)] if here and working else []
            if [name_of(each) for each in here] == [name_of(each) for each in own]:
                samplers = dict(zip(map(id, here), own, strict=True))
        leaves = jax.tree.leaves(args)
        narrow = narrowest_in(program) is not None
        if narrow and seen is not None:
            seen(program)
        if narrow or samplers:
            out = evaluate(program, list(map(_widened, leaves)), widening(samplers))
        else:
            out = function_of(program)(*leaves)
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return wide


def widening(samplers: dict[int, Any] | None = None) -> Hooks:
    """Hooks that run a jaxpr in float64 throughout; samplers by identity, with the equations that draw for them.

    Hand-written rules must be resolved first, by tracing the derivative itself: here only their values count.
    """
    samplers = samplers or {}

    def call(equation: Any, values: Values) -> Values | None:
        own = samplers.get(id(equation))
        if own is None:
            return None
        inputs = [_cast(v, atom.aval.dtype) for v, atom in zip(values, own.invars, strict=True)]
        out = evaluate(body_of(own), inputs)
        return [_cast(v, atom.aval.dtype) for v, atom in zip(out, equation.outvars, strict=True)]

    return Hooks(plain=_bind_wide, call=call, constant=_widened)


#: Equations with results that depend on the bits of a number: they run in their narrow dtype.
NARROW = ("bitcast_convert_type", "nextafter", "pure_callback", "io_callback", "random_bits")


def _bind_wide(equation: Any, values: Values) -> Values:
    name, held = equation.primitive.name, next(inside(equation), None)
    if name == "reduce_precision":
        return list(values)
    if name in NARROW or held is not None:
        inputs = [_cast(v, atom.aval.dtype) for v, atom in zip(values, equation.invars, strict=True)]
        if held is None:
            return list(map(_widened, bind(equation, inputs)))
        free = [v for v, atom in zip(inputs, equation.invars, strict=True) if not is_literal(atom)]
        return list(map(_widened, alone(equation)(*free)))
    params = {key: _wide_dtype(value) for key, value in equation.params.items()}
    out = equation.primitive.bind(*values, **params)
    return list(map(_widened, out if equation.primitive.multiple_results else [out]))


def _wide_dtype(value: Any) -> Any:
    return np.dtype(np.float64) if isinstance(value, np.dtype) and _is_narrow(value) else value


def _is_narrow(dtype: Any) -> bool:
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 8


def _widened(value: Any) -> Any:
    return _cast(value, np.float64) if _is_narrow(getattr(value, "dtype", None)) else value


def _cast(value: Any, dtype: Any) -> Any:
    return value if is_key(value) or value.dtype == dtype else jnp.asarray(value).astype(dtype)
