"""The rules inside any JAX function: its `custom_vjp` and `custom_jvp` equations, each run again on its own.

Promises: rules are found at any depth, inside calls, loops, branches and maps over devices, and are distinguished by
what they compute forward and backward, including their static arguments and what they captured; the function of each
rule is its primal computation with every rule inside stripped. Every argument of a rule is a separate variable.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn import jaxprs
from fnn.checker import reach
from fnn.checker.oracles import as_dtype_of, is_float, pushforward
from fnn.checker.pairs import OfEquation
from fnn.checker.points import cast
from fnn.checker.rules import Rule
from fnn.checker.witnesses import DOES_NOT_RUN
from fnn.jaxprs import Hooks, Values
from fnn.types import Array, PyTree, is_key

#: A step that is repeated this often may be an iteration towards a fixed point.
ITERATION = 10


def stripped(f: Callable[..., PyTree], keep: frozenset[str] = frozenset()) -> Callable[..., PyTree]:
    """The same function without any hand-written derivative, except for the rules with these names."""

    def custom(equation: Any, values: Values, hooks: Hooks) -> Values:
        if jaxprs.name_of(equation) in keep or _label(equation) in keep:
            return jaxprs.bind(equation, values)
        return jaxprs.primal(equation, values, hooks)

    return jaxprs.replaced(f, Hooks(custom=custom) if keep else jaxprs.AS_IT_IS)


@dataclass(frozen=True)
class Declared:
    """What the user declares about the rules: which differ on purpose, and which arguments are data."""

    expected: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Run:
    """A function as the user runs it: its trace, its results, and what each rule inside is called on."""

    program: Any
    out: PyTree
    inputs: tuple[Values | None, ...]
    """The arguments of each equation with a rule, the first time; in a loop, in its first iteration. None if not
    reached."""


def run(f: Callable[..., PyTree], args: tuple) -> Run:
    """Trace f and run it, with the settings of the user; what computes the same is compiled once."""
    program, shape = jax.make_jaxpr(lambda *args: f(*args), return_shape=True)(*args)
    try:
        key: Any = jaxprs.fingerprint_of(program)
    except ValueError:
        # it calls back into Python, and nothing identifies it
        key = object()
    out, inputs = jax.device_get(_recorded(_Known(key, program), *jax.tree.leaves(args)))
    return Run(program, jax.tree.unflatten(jax.tree.structure(shape), out), tuple(inputs))


def of_function(f: Callable[..., Array], args: tuple, run: Run, x64: bool, declared: Declared) -> list[Rule]:
    """Every `custom_vjp` and `custom_jvp` equation that f reaches, with the arguments of its call; each rule once."""
    here = list(_custom_equations(run.program))
    if not here:
        return []
    try:
        wide = list(_custom_equations(jax.make_jaxpr(f)(*cast(args, np.float64))))
    except DOES_NOT_RUN:
        # it fixes a dtype somewhere: its rules are taken as the user runs them, and then widened
        wide = []
    if [_label(each) for each in wide] != [_label(each) for each in here]:
        wide = here
    used, straight = reach.used(run.program), reach.straight(run.program, args)
    around, wanted = reach.maps(run.program), reach.wanted(run.program)
    rules = []
    for own, double, values in zip(here, wide, run.inputs, strict=True):
        free = used.get(id(own), ())
        unused = frozenset(k for k, each in enumerate(free) if not each)
        rule = _of_equation(own, double, values, unused, x64)
        rule = replace(
            rule, straight=straight.get(id(own), ()), axes=_axes(own, rule, around.get(id(own), {})),
            idle=_idle(own, wanted.get(id(own), ())),
        )  # fmt: skip
        if not _refuses(rule):
            rules.append(_declared(reach.with_blanks(own, rule, x64), declared))
    return rules


def _idle(equation: Any, wanted: tuple[bool, ...]) -> frozenset[int]:
    """Which of the floating outputs nothing depends on."""
    floats = [flag for out, flag in zip(equation.outvars, wanted, strict=False) if is_float(out.aval)]
    return frozenset(k for k, flag in enumerate(floats) if not flag)


def _refuses(rule: Rule) -> bool:
    """True for a rule that takes no derivative at all and gets none, such as the one by which Equinox refuses
    tangents."""
    floats = {k for k, leaf in enumerate(rule.inputs) if is_float(leaf)}
    return bool(floats) and isinstance(rule.pair, OfEquation) and floats <= rule.pair.held & rule.optional


def _declared(rule: Rule, declared: Declared) -> Rule:
    names = itertools.zip_longest(rule.labels, rule.straight, fillvalue="")
    named = frozenset(k for k, each in enumerate(names) if set(each) & set(declared.data))
    expected = declared.reason if rule.name in declared.expected else ""
    return replace(rule, named_data=named, expected=expected)


def _custom_equations(jaxpr: Any) -> Iterator[Any]:
    """The equations with a hand-written rule, each once; rules inside such a rule have no part in the gradient."""
    seen: set[int] = set()

    def walk(jaxpr: Any) -> Iterator[Any]:
        for equation in jaxprs.bare(jaxpr).eqns:
            if equation.primitive.name in jaxprs.CUSTOM:
                if id(equation) not in seen:
                    seen.add(id(equation))
                    yield equation
            else:
                for inner in jaxprs.inside(equation):
                    yield from walk(inner)

    yield from walk(jaxpr)


def _label(equation: Any) -> str:
    return jaxprs.source_of(jaxprs.body_of(equation))[0]


@dataclass(frozen=True)
class _Known:
    """A program, identified by what it computes; equal ones share what is compiled."""

    key: Any
    program: Any = field(compare=False)


@partial(jax.jit, static_argnums=0)
def _recorded(known: _Known, *leaves: Any) -> tuple[Values, list[Values | None]]:
    """(the results, what each equation with a rule is called on)."""
    kept: dict[int, Values] = {}

    def record(equation: Any, values: Values, _: Hooks) -> Values:
        kept.setdefault(id(equation), values)
        return jaxprs.primal(equation, values)

    def first_turn(equation: Any, values: Values, hooks: Hooks) -> Values | None:
        name = equation.primitive.name
        if name == "scan":
            scan = jaxprs.Scan.of(equation)
            constants, carry, sequences = scan.split(values)
            if scan.length:
                turn = -1 if scan.reverse else 0
                jaxprs.evaluate(scan.body, [*constants, *carry, *(each[turn] for each in sequences)], hooks)
        elif name == "while":
            loop = jaxprs.While.of(equation)
            first, second, carry = loop.split(values)
            jaxprs.evaluate(loop.condition, [*first, *carry], hooks)
            jaxprs.evaluate(loop.body, [*second, *carry], hooks)
        elif name == "cond":
            for branch in equation.params["branches"]:
                jaxprs.evaluate(jaxprs.closed(branch), values[1:], hooks)
        return jaxprs.apply(equation, values)

    out = jaxprs.evaluate(known.program, leaves, Hooks(custom=record, loop=first_turn))
    return out, [kept.get(id(equation)) for equation in _custom_equations(known.program)]


def _of_equation(own: Any, double: Any, values: Values | None, unused: frozenset[int], x64: bool) -> Rule:
    """The rule of an equation: `own` as in the user's run, `double` as in a trace in float64."""
    free = [k for k, atom in enumerate(own.invars) if not jaxprs.is_literal(atom)]
    shapes = [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in own.invars]
    inputs = tuple((shapes if values is None else values)[k] for k in free)
    body = jaxprs.body_of(own)
    (name, where), derivative = jaxprs.source_of(body), jaxprs.derivative_of(own)
    if not jaxprs.is_own(where.rpartition(":")[0]) and jaxprs.is_own(derivative.rpartition(":")[0]):
        # a JAX function with a user's rule
        where = derivative
    names = getattr(body.jaxpr.debug_info, "arg_names", None) or ()
    hoisted = own.params.get("num_consts", 0)
    labels = tuple(_argument(k - hoisted, names) for k in free)
    with jax.enable_x64(x64):
        held = _held(own, [shapes[k] for k in free], unused)
        key = _key(own, [shapes[k] for k in free], held)
    working = _pair(own, f"{key} as it is" if isinstance(key, str) else object(), held)
    captured = [(own.invars[k], double.invars[k], u) for k, u in zip(free, inputs, strict=True) if k < hoisted]
    pair = replace(_pair(double, key, held), working=working, captured=_rounding_of(captured))
    iterates = any(each.primitive.name == "while" for each in jaxprs.equations(body))
    return Rule(
        name or "unknown", _where(own, where), pair, inputs, labels, optional=unused,
        fixed=frozenset(n for n, k in enumerate(free) if k < hoisted and values is not None),
        own=jaxprs.is_own(where.rpartition(":")[0]), iterates=iterates,
        converges=any(map(_repeats, jaxprs.equations(body))),
    )  # fmt: skip


def _rounding_of(captured: list[tuple[Any, Any, Any]]) -> float:
    """How far captured values are rounded that a trace in float64 makes wide, so that the rule makes others anew."""
    narrow = [value for own, double, value in captured if own.aval.dtype != double.aval.dtype]
    return max((jaxprs.rounded_by(value) for value in narrow if hasattr(value, "__array__")), default=0.0)


def _where(equation: Any, where: str) -> str:
    """File and line of a rule; for a rule that a library makes, the user's line that calls it."""
    file = where.rpartition(":")[0]
    called = jaxprs.place_of(equation, installed=False)
    if jaxprs.is_own(file) and jaxprs.is_installed(file) and called is not None:
        return f"called at {called}"
    return Path(where).name or "unknown"


def _argument(k: int, names: tuple[str, ...]) -> str:
    if k < 0:
        return f"captured value {-k}"
    return names[k] if k < len(names) else f"argument {k}"


def _repeats(equation: Any) -> bool:
    if equation.primitive.name != "scan":
        return False
    scan = jaxprs.Scan.of(equation)
    return scan.length >= ITERATION and not scan.split(equation.invars)[2]


def _pair(equation: Any, key: Any, held: frozenset[int]) -> OfEquation:
    literal = [jaxprs.is_literal(atom) for atom in equation.invars]
    avals = [atom.aval for atom, fixed in zip(equation.invars, literal, strict=True) if not fixed]
    inner, single = jaxprs.body_of(equation), jaxprs.alone(equation)

    def typed(inputs: tuple) -> Values:
        # what was captured in a narrower dtype is as the user has it, and is not the user's cast
        with jax.named_scope(jaxprs.AS_CAPTURED):
            return [u if is_key(u) else as_dtype_of(u, aval) for u, aval in zip(inputs, avals, strict=True)]

    def floating(outputs: Any) -> tuple:
        # integers have no cotangent
        return tuple(out for out in outputs if jnp.issubdtype(out.dtype, jnp.floating))

    def plain(*inputs: Array) -> tuple:
        rest = iter(typed(inputs))
        every = [
            jaxprs.value_of(atom) if fixed else next(rest)
            for atom, fixed in zip(equation.invars, literal, strict=True)
        ]  # fmt: skip
        return floating(jaxprs.evaluate(inner, every))

    def bound(*inputs: Array) -> tuple:
        return floating(single(*typed(inputs)))

    return OfEquation(key, bound, plain, equation.primitive.name == "custom_jvp_call", fixed=held)


def _axes(equation: Any, rule: Rule, around: dict[str, int]) -> frozenset[str]:
    """The axes of the maps around a rule that it uses, forward or backward."""
    axes = jaxprs.axes_of(jaxprs.body_of(equation))
    if axes or not around:
        return axes
    shapes = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in rule.inputs]
    pair = rule.pair.real

    def derivative(*inputs: Array) -> tuple:
        y_bar = jax.tree.map(lambda y: jnp.ones(y.shape, y.dtype), jax.eval_shape(pair.forward, inputs, ()))
        return pair.derived(inputs, (), y_bar)[1]

    try:
        return jaxprs.axes_of(jax.make_jaxpr(derivative, axis_env=list(around.items()))(*shapes))
    except DOES_NOT_RUN:
        # if a wrong rule raises anything, the judge says so
        return axes


def _held(equation: Any, shapes: list[Any], unused: frozenset[int]) -> frozenset[int]:
    """The unused inputs for which the rule refuses a derivative, as a rule may for targets: all of them, or none.

    A value that the rule closed over, which JAX itself took out of it, has none.
    """
    hoisted = frozenset(range(equation.params.get("num_consts", 0)))
    pair = _pair(equation, None, hoisted)

    def derivative(*inputs: Array) -> tuple:
        y_bar = tuple(jnp.ones(out.shape, out.dtype) for out in jax.eval_shape(pair.plain, *inputs))
        return pair.derived(inputs, (), y_bar)[1]

    if not unused - hoisted:
        return hoisted
    try:
        jax.eval_shape(derivative, *shapes)
    except (*DOES_NOT_RUN, RuntimeError):
        # only traced, so no resources can run out: Equinox raises this if an argument must have no tangent
        return unused | hoisted
    return hoisted


def _key(equation: Any, shapes: list[Any], held: frozenset[int]) -> Any:
    """A text that is equal for equations that compute the same forward and backward, with all that they captured."""
    pair = _pair(equation, None, held)

    def both(*inputs: Array) -> tuple:
        y_bar = tuple(jnp.ones(out.shape, out.dtype) for out in jax.eval_shape(pair.plain, *inputs))
        if pair.forward_mode:
            tangents = [jnp.ones(leaf.shape, leaf.dtype) for leaf in inputs if is_float(leaf)]
            return pair.plain(*inputs), pushforward(pair.bound, inputs, tangents)
        return pair.derived(inputs, (), y_bar)

    return key_of(both, *shapes)


def key_of(f: Callable[..., PyTree], *args: PyTree) -> Any:
    """The fingerprint of a function; unique if it cannot be traced, or calls back into Python."""
    try:
        return jaxprs.fingerprint(f, *args)
    except Exception:
        # if an unknown function raises anything, the judge says so
        return object()
