"""The parts of an equation: the body of a call, the carry of a loop, the named axes.

Promises: the only table of calls (`CALLS`) and of loops; however a release stores a jaxpr, its constants and the parts
of a scan, they are read in the same way.
Letters: values are the arrays that a jaxpr runs on, atoms its variables and literals.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.core import Tracer

from fnn.types import is_key

#: Primitives that only call their body, with the parameter that holds it.
CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "remat": "jaxpr",
    "remat2": "jaxpr", "checkpoint": "jaxpr", "custom_lin": "jaxpr",
    "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
}  # fmt: skip

#: Those among them with a hand-written derivative.
CUSTOM = ("custom_vjp_call", "custom_jvp_call")

#: Primitives that run bodies, some of them many times; their results are those of the bodies.
LOOPS = ("scan", "while", "cond", "shard_map")

Values = list[Any]


def bare(jaxpr: Any) -> Any:
    """A jaxpr without its constants."""
    return getattr(jaxpr, "jaxpr", jaxpr)


def closed(jaxpr: Any) -> Any:
    """A jaxpr with its constants; some releases of JAX store it so, others do not."""
    from jax.extend import core  # takes 15 ms, which `import fnn` need not spend

    return jaxpr if hasattr(jaxpr, "consts") else core.ClosedJaxpr(jaxpr, ())


def is_literal(atom: Any) -> bool:
    """True for a number that is written in the jaxpr itself."""
    return hasattr(atom, "val")


def value_of(literal: Any) -> Any:
    """A literal's number, in its dtype there."""
    return literal.val if is_key(literal.val) else np.asarray(literal.val, literal.aval.dtype)


def body_of(equation: Any) -> Any:
    """The closed jaxpr that a call holds; None for an equation that is not a call."""
    held = equation.params.get(CALLS.get(equation.primitive.name, ""))
    return None if held is None else closed(held)


def inside(equation: Any) -> Iterator[Any]:
    """The closed jaxprs that an equation holds in its parameters."""
    for value in equation.params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if hasattr(each, "eqns") or hasattr(getattr(each, "jaxpr", None), "eqns"):
                yield closed(each)


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a jaxpr, each before those that it holds."""
    for equation in bare(jaxpr).eqns:
        yield equation
        for inner in inside(equation):
            yield from equations(inner)


#: Primitives that compare, or choose by a comparison.
COMPARE = ("lt", "le", "gt", "ge", "lt_to", "le_to", "max", "min", "clamp")
#: Primitives that ask for one number among others.
EQUAL = ("eq", "ne")
#: Primitives that leave a number what it is.
MOVE = ("convert_element_type", "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "copy")


def compared_with(jaxpr: Any, passed: Sequence[float | None] = (), *, exactly: bool = False) -> frozenset[float]:
    """The numbers in a jaxpr with which floating values are compared: the 6 of min(x, 6).

    Args:
        jaxpr: any.
        passed: of its inputs, those that are known numbers.
        exactly: True for those for which the values are asked one by one: the 0 of x == 0.
    """
    inner, found = bare(jaxpr), set()
    known = dict(zip(inner.invars, passed, strict=False))
    known.update(zip(inner.constvars, map(_number, getattr(jaxpr, "consts", ())), strict=False))
    for equation in inner.eqns:
        numbers = [_number(a.val) if is_literal(a) else known.get(a) for a in equation.invars]
        name = equation.primitive.name
        if name in (EQUAL if exactly else COMPARE) and _is_of(np.floating, equation.invars[0]):
            found.update(number for number in numbers if number is not None)
        elif name in MOVE:
            known[equation.outvars[0]] = numbers[0]
        body = body_of(equation)
        for each in inside(equation):
            found |= compared_with(each, () if body is None else numbers, exactly=exactly)
    return frozenset(found)


class Asked(NamedTuple):
    """A question about whole numbers: how they compare with one number."""

    source: int | None
    """Which input of the jaxpr they are, moved about at most; None if they are computed."""
    how: str
    number: int


#: The same question asked from the other side.
MIRRORED = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le", "eq": "eq", "ne": "ne"}
#: Primitives that leave all or some of the numbers what they are.
PICK = (*MOVE, "slice", "dynamic_slice", "transpose", "rev")


def asked_for(jaxpr: Any, passed: Sequence[Any] | None = None) -> frozenset[Asked]:
    """What a jaxpr asks about whole numbers: the -1 of labels != -1, the 0 of labels >= 0.

    Args:
        jaxpr: any.
        passed: what each of its inputs is: a number, or an `Asked` with the number of the input; None if neither.
    """
    inner, found = bare(jaxpr), set()
    start = [Asked(k, "", 0) for k in range(len(inner.invars))] if passed is None else passed
    known: dict[Any, Any] = dict(zip(inner.invars, start, strict=False))
    known.update(zip(inner.constvars, map(_number, getattr(jaxpr, "consts", ())), strict=False))
    wraps = _wrapped(inner)
    for equation in inner.eqns:
        what = [_number(a.val) if is_literal(a) else known.get(a) for a in equation.invars]
        name = equation.primitive.name
        if name in MIRRORED and _is_of(np.integer, equation.invars[0]) and equation.outvars[0] not in wraps:
            for this, other, how in ((what[0], what[1], name), (what[1], what[0], MIRRORED[name])):
                if isinstance(other, float) and not isinstance(this, float):
                    found.add(Asked(getattr(this, "source", None), how, int(other)))
        elif name in PICK:
            known[equation.outvars[0]] = what[0]
        body = body_of(equation)
        for each in inside(equation):
            found |= asked_for(each, [None] * len(bare(each).invars) if body is None else what)
    return frozenset(found)


def _wrapped(inner: Any) -> set[Any]:
    """The answers by which a negative index counts from the end: i < 0, then i + n, as JAX writes it for every x[i]."""
    wraps = set()
    for asks, adds in itertools.pairwise(inner.eqns):
        index = asks.invars[0] if asks.invars else None
        if (asks.primitive.name, adds.primitive.name) == ("lt", "add") and any(index is atom for atom in adds.invars):
            wraps.add(asks.outvars[0])
    return wraps


def _is_of(kind: Any, atom: Any) -> bool:
    return np.issubdtype(getattr(atom.aval, "dtype", np.bool_), kind)


def _number(value: Any) -> float | None:
    """A value that is one real number; None of anything else."""
    if isinstance(value, Tracer) or np.ndim(value) or is_key(value):
        return None
    dtype = getattr(value, "dtype", np.asarray(value).dtype)
    return float(value) if np.issubdtype(dtype, np.floating) or np.issubdtype(dtype, np.integer) else None


def axes_of(jaxpr: Any) -> frozenset[str]:
    """The named axes that a jaxpr uses, as a mean over devices does, without those made by a map inside it."""
    used: set[str] = set()
    for equation in bare(jaxpr).eqns:
        params, bodies = equation.params, list(inside(equation))
        values = [params.get("axes", ()), params.get("axis_name", ()), getattr(params.get("mesh"), "axis_names", ())]
        each = [name for value in values for name in (value if isinstance(value, tuple | list) else (value,))]
        named = {name for name in each if isinstance(name, str)}
        # an equation with a body makes the axes that it names
        used |= frozenset().union(*map(axes_of, bodies)) - named if bodies else named
    return frozenset(used)


def largest(jaxpr: Any) -> int:
    """The number of entries of the largest value of a jaxpr."""
    sizes = [v.aval.size for v in bare(jaxpr).invars]
    sizes += [v.aval.size for equation in equations(jaxpr) for v in equation.outvars if hasattr(v.aval, "size")]
    return max(sizes, default=0)


class Scan(NamedTuple):
    """A scan: `constants` inputs of the body stay fixed, the next `carried` are carried on, the others are
    sequences."""

    body: Any
    constants: int
    carried: int
    length: int
    reverse: bool

    @classmethod
    def of(cls, equation: Any) -> "Scan":
        """The parts of a scan equation; releases of JAX name their numbers differently."""
        body, params = closed(equation.params["jaxpr"]), equation.params

        def unchanged(outside: Any, inside: Any) -> int:
            # constants and carries have the same shape inside, sequences lose an axis
            return sum(a.aval.shape == b.aval.shape for a, b in zip(outside, inside, strict=True))

        carried = unchanged(equation.outvars, body.jaxpr.outvars)
        constants = unchanged(equation.invars, body.jaxpr.invars) - carried
        return cls(body, constants, carried, params["length"], params["reverse"])

    def split(self, values: Sequence[Any]) -> tuple[Values, Values, Values]:
        """(constants, carry, sequences) of the inputs of the equation, or of the body."""
        carry = self.constants + self.carried
        return list(values[: self.constants]), list(values[self.constants : carry]), list(values[carry:])


class While(NamedTuple):
    """A while loop: the inputs are the constants of the condition, those of the body, and what is carried."""

    condition: Any
    body: Any
    condition_constants: int
    body_constants: int

    @classmethod
    def of(cls, equation: Any) -> "While":
        params = equation.params
        condition, body = closed(params["cond_jaxpr"]), closed(params["body_jaxpr"])
        return cls(condition, body, params["cond_nconsts"], params["body_nconsts"])

    def split(self, values: Sequence[Any]) -> tuple[Values, Values, Values]:
        """(constants of the condition, constants of the body, carry)."""
        first, second = self.condition_constants, self.condition_constants + self.body_constants
        return list(values[:first]), list(values[first:second]), list(values[second:])
