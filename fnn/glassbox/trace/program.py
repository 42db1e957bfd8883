"""A program: what a JAX function does, one step after another, with every nested call written out.

Promises: only public names of JAX; a step knows its place in the user's source (best effort: "" where JAX does not
tell), the calls and named scopes around it, and the name that the user gave its result. Steps stand in the order in
which they were traced, so every step comes after those that it reads: a topological order.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.glassbox.trace.devices import EXCHANGES, INDEX, refuse_many, reshaping
from fnn.jaxprs import CALLS, CUSTOM, NOWHERE, Place, bare, bind, is_literal, name_of, place_of
from fnn.types import PyTree, is_key

#: Primitives that are written out by what they hold, with the parameter that holds it.
LOOKED_THROUGH = CALLS | {
    "composite": "jaxpr",
    "custom_vmap_call": "call",
    "linear_call": "callee",
    "eval_jaxpr": "call_jaxpr",
}


#: Newer releases of JAX trace some functions as one equation, which says by what others it could be written.
HIGH = "call_hi_primitive"


class Step(NamedTuple):
    """One primitive operation. Values are known by number."""

    primitive: Any
    params: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    place: Place
    calls: tuple[str, ...]
    """The nested calls and named scopes around it, the outermost first; the second of a name is `name#2`."""


class Program(NamedTuple):
    """Steps over numbered values."""

    shapes: list[Any]
    """Per value, its shape and dtype."""
    inputs: tuple[int, ...]
    constants: dict[int, Any]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    names: dict[int, str]
    """The names that the user gave to values."""
    rewritten: tuple[str, ...]
    """Functions with a derivative of their own that were looked through."""
    effects: bool = False
    """True if the function does more than compute its outputs."""


def traced(f: Callable[..., PyTree], args: Sequence[PyTree]) -> tuple[Program, PyTree]:
    """(the program of f on these arguments, the structure of its output with shapes at the leaves)."""
    closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
    return flattened(closed), shape


def flattened(closed: Any, *, labels: bool = False, solving: bool = False) -> Program:
    """The program of a jaxpr with its constants.

    Args:
        labels: giving a value a name is a step of its own.
        solving: linear systems are written out as they are solved; for a program that is not differentiated any more.
    """
    shapes: list[Any] = []
    constants: dict[int, Any] = {}
    names: dict[int, str] = {}
    steps: list[Step] = []
    rewritten: list[str] = []
    counts: dict[tuple[str, ...], int] = {}

    def new(aval: Any) -> int:
        shapes.append(jax.ShapeDtypeStruct(aval.shape, aval.dtype))
        return len(shapes) - 1

    def constant(value: Any, aval: Any) -> int:
        number = new(aval)
        # a number written in the source has the dtype of the step that reads it
        constants[number] = value if is_key(aval) else np.asarray(value, aval.dtype)
        return number

    def within(calls: tuple[str, ...], name: str) -> tuple[str, ...]:
        path = (*calls, name)
        counts[path] = counts.get(path, 0) + 1
        return path if counts[path] == 1 else (*calls, f"{name}#{counts[path]}")

    def reshaped(number: int, aval: Any, place: Place, calls: tuple[str, ...]) -> int:
        if shapes[number].shape == aval.shape:
            return number
        equation, made = reshaping(aval.shape, shapes[number]), new(aval)
        steps.append(Step(equation.primitive, dict(equation.params), (number,), (made,), place, calls))
        return made

    def walk(held: Any, arguments: list[int], calls: tuple[str, ...], outer: Place) -> list[int]:
        jaxpr = bare(held)
        known: dict[Any, int] = dict(zip(jaxpr.invars, arguments, strict=True))
        for variable, value in zip(jaxpr.constvars, getattr(held, "consts", ()), strict=True):
            known[variable] = constant(value, variable.aval)

        def read(atom: Any) -> int:
            return constant(atom.val, atom.aval) if is_literal(atom) else known[atom]

        for equation in jaxpr.eqns:
            name = equation.primitive.name
            place = place_of(equation) or outer
            scopes = (*calls, *_scopes(equation))
            if name == "name":
                # checkpoint_name: a label on the value, not an operation
                (number,) = map(read, equation.invars)
                if labels:
                    label = new(equation.outvars[0].aval)
                    steps.append(Step(equation.primitive, dict(equation.params), (number,), (label,), place, scopes))
                    number = label
                names[number] = str(equation.params["name"])
                known[equation.outvars[0]] = number
                continue
            if name == "convert_element_type" and equation.invars[0].aval.dtype == equation.outvars[0].aval.dtype:
                # it only forgets that the number is one of Python
                known[equation.outvars[0]] = read(equation.invars[0])
                continue
            if name == "shard_map":
                refuse_many(equation, place)
                out = walk(equation.params["jaxpr"], list(map(read, equation.invars)), scopes, place)
                known.update(zip(equation.outvars, out, strict=True))
                continue
            if name == "ppermute" and not equation.params["perm"]:
                # who is sent nothing has zeros
                aval = equation.outvars[0].aval
                known[equation.outvars[0]] = constant(np.zeros(aval.shape), aval)
                continue
            if name in EXCHANGES:
                pairs = zip(map(read, equation.invars), equation.outvars, strict=False)
                out = [reshaped(n, v.aval, place, scopes) for n, v in pairs]
                known.update(zip(equation.outvars, out, strict=True))
                continue
            if name == INDEX:
                known[equation.outvars[0]] = constant(0, equation.outvars[0].aval)
                continue
            if name == "platform_index":
                # which of several ways is taken on the kind of device at hand
                with jax.ensure_compile_time_eval():
                    known[equation.outvars[0]] = constant(bind(equation, [])[0], equation.outvars[0].aval)
                continue
            if name == "custom_linear_solve" and solving:
                lengths, solve = equation.params["const_lengths"], equation.params["jaxprs"].solve
                numbers, first = list(map(read, equation.invars)), lengths.matvec + lengths.vecmat
                right = numbers[first + lengths.solve + lengths.transpose_solve :]
                out = walk(solve, [*numbers[first : first + lengths.solve], *right], scopes, place)
                known.update(zip(equation.outvars, out, strict=True))
                continue
            if name == HIGH and hasattr(equation.params.get("_prim"), "expand"):
                if any(differentiable(v.aval) for v in equation.outvars):
                    rewritten.append(type(equation.params["_prim"]).__name__)
                out = walk(_expanded(equation), list(map(read, equation.invars)), scopes, place)
                known.update(zip(equation.outvars, out, strict=True))
                continue
            if LOOKED_THROUGH.get(name) in equation.params and not _is_relu(equation):
                inner = equation.params[LOOKED_THROUGH[name]]
                if name in CUSTOM:
                    rewritten.append(name_of(equation) or "a function")
                inside = within(scopes, name_of(equation)) if name_of(equation) else scopes
                out = walk(inner, list(map(read, equation.invars)), inside, place)
                known.update(zip(equation.outvars, out, strict=True))
                continue
            inputs = tuple(map(read, equation.invars))
            outputs = tuple(new(v.aval) for v in equation.outvars)
            steps.append(Step(equation.primitive, dict(equation.params), inputs, outputs, place, scopes))
            known.update(zip(equation.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    inputs = [new(v.aval) for v in closed.jaxpr.invars]
    outputs = walk(closed, inputs, (), NOWHERE)
    known = tuple(dict.fromkeys(rewritten))
    effects = bool(getattr(closed, "effects", ()))
    return Program(shapes, tuple(inputs), constants, tuple(steps), tuple(outputs), names, known, effects)


def needed_for(program: Program, outputs: Sequence[int]) -> list[int]:
    """The steps, by their places, without which these values could not be computed."""
    wanted, kept = set(outputs), []
    for k in reversed(range(len(program.steps))):
        step = program.steps[k]
        if wanted.intersection(step.outputs):
            wanted.update(step.inputs)
            kept.append(k)
    return kept[::-1]


def differentiable(value: Any) -> bool:
    """True for what has a derivative: real and complex numbers of any precision."""
    return jnp.issubdtype(jnp.result_type(value) if not hasattr(value, "dtype") else value.dtype, jnp.inexact)


def _expanded(equation: Any) -> Any:
    """The closed jaxpr of a function that was traced as one equation."""
    held = equation.params["_prim"]

    def plain(*leaves: Any) -> Any:
        return held.expand(*jax.tree.unflatten(held.in_tree, leaves))

    return jax.make_jaxpr(plain)(*(jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in equation.invars))


def _scopes(equation: Any) -> tuple[str, ...]:
    """The names of `jax.named_scope` around an equation."""
    scope = str(getattr(getattr(equation, "source_info", None), "name_stack", "") or "")
    return tuple(part for part in scope.split("/") if part and "(" not in part)


def _is_relu(equation: Any) -> bool:
    """True for `jax.nn.relu`, whose derivative at 0 is 0: looked through, max(x, 0) would share it, ½."""
    if equation.primitive.name != "custom_jvp_call" or name_of(equation) != "relu":
        return False
    inner = bare(equation.params["call_jaxpr"])
    while len(inner.eqns) == 1 and inner.eqns[0].primitive.name in CALLS:
        inner = bare(inner.eqns[0].params[CALLS[inner.eqns[0].primitive.name]])
    if len(inner.eqns) != 1 or inner.eqns[0].primitive.name != "max":
        return False
    return any(is_literal(atom) and np.ndim(atom.val) == 0 and atom.val == 0 for atom in inner.eqns[0].invars)
