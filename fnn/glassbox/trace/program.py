"""A program: what a JAX function does, one step after another, with every nested call written out.

Promises: only public JAX names are used; a step knows its place in the user's source (best effort: "" if JAX does not
tell), the calls and named scopes around it, and the name that the user gave its result. Steps are in the order in which
they were traced, so every step comes after those that it reads: a topological order.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.glassbox.trace.devices import INDEX, ON_ONE_DEVICE, PLATFORM, reducing, refuse_many, reshaping, transposing
from fnn.jaxprs import CALLS, CUSTOM, NOWHERE, Place, bare, bind, callers_of, is_literal, name_of, places_of
from fnn.types import PyTree, is_key

#: Primitives that are replaced by their contents, with the parameter that holds these.
LOOKED_THROUGH = CALLS | {
    "composite": "jaxpr",
    "custom_vmap_call": "call",
    "linear_call": "callee",
    "eval_jaxpr": "call_jaxpr",
}


#: Newer releases of JAX trace some functions as one equation, which also says how to write it with others.
HIGH = "call_hi_primitive"


class Lines(NamedTuple):
    """Where an equation stands."""

    every: tuple[Place, ...] = (NOWHERE,)
    """Its line and those that called it, the innermost first."""
    callers: tuple[Place, ...] = ()
    """Those that called it with no function of JAX in between, the innermost first."""


class Step(NamedTuple):
    """One primitive operation. Values are identified by number."""

    primitive: Any
    params: dict[str, Any]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    place: Place
    calls: tuple[str, ...]
    """The nested calls and named scopes around it, outermost first; the second one with a name is `name#2`."""
    around: tuple[Place, ...] = ()
    """The lines that called the one at which it stands, the innermost first."""
    callers: tuple[Place, ...] = ()
    """The first of these lines, as far as no function of JAX stands in between."""


class Program(NamedTuple):
    """Steps over numbered values."""

    shapes: list[Any]
    """For each value, its shape and dtype."""
    inputs: tuple[int, ...]
    constants: dict[int, Any]
    steps: tuple[Step, ...]
    outputs: tuple[int, ...]
    names: dict[int, str]
    """The names that the user gave to values."""
    rewritten: tuple[str, ...]
    """Functions with a derivative of their own that the program looks inside."""
    effects: bool = False
    """True if the function does more than compute its outputs."""


def traced(f: Callable[..., PyTree], args: Sequence[PyTree]) -> tuple[Program, PyTree]:
    """(the program of f on these arguments, the structure of its output with shapes at the leaves)."""
    closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
    return flattened(closed), shape


def flattened(closed: Any, *, labels: bool = False, solving: bool = False) -> Program:
    """The program of a jaxpr with its constants.

    Args:
        labels: whether naming a value is a separate step.
        solving: whether linear systems are written out as they are solved; for a program that is not differentiated
            further.
    """
    written = _Written(labels, solving)
    inputs = [written.value(v.aval) for v in closed.jaxpr.invars]
    outputs = written.walk(closed, inputs, (), Lines())
    rewritten = tuple(dict.fromkeys(written.rewritten))
    effects = bool(getattr(closed, "effects", ()))
    steps, names = tuple(written.steps), written.names
    return Program(written.shapes, tuple(inputs), written.constants, steps, tuple(outputs), names, rewritten, effects)


class _Written:
    """The program as far as it is written. An equation becomes a step, or its contents, or nothing."""

    def __init__(self, labels: bool, solving: bool) -> None:
        self.labels, self.solving = labels, solving
        self.shapes: list[Any] = []
        self.constants: dict[int, Any] = {}
        self.names: dict[int, str] = {}
        self.steps: list[Step] = []
        self.rewritten: list[str] = []
        self.counts: dict[tuple[str, ...], int] = {}

    def value(self, aval: Any) -> int:
        """The number of a new value."""
        self.shapes.append(jax.ShapeDtypeStruct(aval.shape, aval.dtype))
        return len(self.shapes) - 1

    def constant(self, value: Any, aval: Any) -> int:
        number = self.value(aval)
        # a number written in the source has the dtype of the step that reads it
        self.constants[number] = value if is_key(aval) else np.asarray(value, aval.dtype)
        return number

    def walk(self, held: Any, arguments: Sequence[int], calls: tuple[str, ...], outer: Lines) -> list[int]:
        """Write a jaxpr on these values; return the numbers of its outputs."""
        jaxpr = bare(held)
        known: dict[Any, int] = dict(zip(jaxpr.invars, arguments, strict=True))
        for variable, value in zip(jaxpr.constvars, getattr(held, "consts", ()), strict=True):
            known[variable] = self.constant(value, variable.aval)

        def read(atom: Any) -> int:
            return self.constant(atom.val, atom.aval) if is_literal(atom) else known[atom]

        for equation in jaxpr.eqns:
            places = Lines((*places_of(equation), *outer.every), callers_of(equation))
            scopes = (*calls, *_scopes(equation))
            inputs = list(map(read, equation.invars))
            known.update(zip(equation.outvars, self.written(equation, inputs, scopes, places), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def written(self, equation: Any, inputs: list[int], calls: tuple[str, ...], places: Lines) -> Sequence[int]:
        """The numbers of the values that an equation makes."""
        name, params = equation.primitive.name, equation.params
        if name == "name":
            return [self._named(equation, inputs[0], calls, places)]
        if name == "convert_element_type" and self.shapes[inputs[0]].dtype == equation.outvars[0].aval.dtype:
            # it only drops the mark of a Python number
            return inputs
        if name == "reshape" and params["dimensions"] is not None:
            # it first gives the axes another order, which is a step of its own
            order = transposing(tuple(params["dimensions"]), self.shapes[inputs[0]])
            (number,) = self._step(order, inputs, [order.outvars[0].aval], calls, places)
            return [self._reshaped(number, equation.outvars[0].aval, calls, places)]
        if name in ON_ONE_DEVICE:
            return self._on_one_device(equation, inputs, calls, places)
        if name == "custom_linear_solve" and self.solving:
            lengths = params["const_lengths"]
            first = lengths.matvec + lengths.vecmat
            last = first + lengths.solve
            right = inputs[last + lengths.transpose_solve :]
            return self.walk(params["jaxprs"].solve, [*inputs[first:last], *right], calls, places)
        if name == HIGH and hasattr(params.get("_prim"), "expand"):
            if any(differentiable(v.aval) for v in equation.outvars):
                self.rewritten.append(type(params["_prim"]).__name__)
            return self.walk(_expanded(equation), inputs, calls, places)
        if (held := _held(equation)) is not None and not _is_relu(equation):
            called = name_of(equation)
            if name in CUSTOM:
                self.rewritten.append(called or "a function")
            inside = self._within(calls, called) if called else calls
            return self.walk(held, inputs, inside, places)
        return self._step(equation, inputs, [v.aval for v in equation.outvars], calls, places)

    def _step(
        self, equation: Any, inputs: Sequence[int], made: Sequence[Any], calls: tuple[str, ...], places: Lines
    ) -> tuple[int, ...]:
        outputs = tuple(map(self.value, made))
        place, *around = places.every
        step = Step(
            equation.primitive, dict(equation.params), tuple(inputs), outputs, place, calls, tuple(around),
            places.callers,
        )  # fmt: skip
        self.steps.append(step)
        return outputs

    def _named(self, equation: Any, number: int, calls: tuple[str, ...], places: Lines) -> int:
        """`checkpoint_name`: a label on the value, not an operation."""
        if self.labels:
            (number,) = self._step(equation, [number], [equation.outvars[0].aval], calls, places)
        self.names[number] = str(equation.params["name"])
        return number

    def _on_one_device(self, equation: Any, inputs: list[int], calls: tuple[str, ...], places: Lines) -> Sequence[int]:
        """A function mapped over devices, on the only device."""
        name, made = equation.primitive.name, [v.aval for v in equation.outvars]
        if name == "shard_map":
            refuse_many(equation, places.every[0])
            return self.walk(equation.params["jaxpr"], inputs, calls, places)
        if name == INDEX:
            return [self.constant(0, made[0])]
        if name == PLATFORM:
            # the one of several versions that this kind of device uses
            with jax.ensure_compile_time_eval():
                return [self.constant(bind(equation, [])[0], made[0])]
        if name == "ppermute" and not equation.params["perm"]:
            # a device that is sent nothing has zeros
            return [self.constant(np.zeros(made[0].shape), made[0])]
        if axes := tuple(axis for axis in equation.params.get("axes", ()) if isinstance(axis, int)):
            return [self._reduced(name, axes, n, calls, places) for n in inputs]
        return [self._reshaped(n, aval, calls, places) for n, aval in zip(inputs, made, strict=False)]

    def _reduced(self, name: str, axes: tuple[int, ...], number: int, calls: tuple[str, ...], places: Lines) -> int:
        equation = reducing(name, axes, self.shapes[number])
        return self._step(equation, [number], [equation.outvars[0].aval], calls, places)[0]

    def _reshaped(self, number: int, aval: Any, calls: tuple[str, ...], places: Lines) -> int:
        if self.shapes[number].shape == aval.shape:
            return number
        return self._step(reshaping(aval.shape, self.shapes[number]), [number], [aval], calls, places)[0]

    def _within(self, calls: tuple[str, ...], name: str) -> tuple[str, ...]:
        """The calls with one more inside; a second one with the same name gets a number."""
        path = (*calls, name)
        self.counts[path] = self.counts.get(path, 0) + 1
        return path if self.counts[path] == 1 else (*calls, f"{name}#{self.counts[path]}")


def needed_for(program: Program, outputs: Sequence[int]) -> list[int]:
    """The positions of the steps that these values depend on."""
    wanted, kept = set(outputs), []
    for k in reversed(range(len(program.steps))):
        step = program.steps[k]
        if wanted.intersection(step.outputs):
            wanted.update(step.inputs)
            kept.append(k)
    return kept[::-1]


def differentiable(value: Any) -> bool:
    """True for dtypes with a derivative: real and complex numbers of any precision."""
    return jnp.issubdtype(jnp.result_type(value) if not hasattr(value, "dtype") else value.dtype, jnp.inexact)


def _held(equation: Any) -> Any:
    """The contents of an equation that the program looks inside; None for all others."""
    names = (LOOKED_THROUGH.get(equation.primitive.name), "call_jaxpr")  # releases of JAX differ
    return next((equation.params[name] for name in names if name in equation.params), None) if names[0] else None


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
    """True for `jax.nn.relu`, which has derivative 0 at 0; inside, max(x, 0) would give ½."""
    if equation.primitive.name != "custom_jvp_call" or name_of(equation) != "relu":
        return False
    inner = bare(equation.params["call_jaxpr"])
    while len(inner.eqns) == 1 and inner.eqns[0].primitive.name in CALLS:
        inner = bare(inner.eqns[0].params[CALLS[inner.eqns[0].primitive.name]])
    if len(inner.eqns) != 1 or inner.eqns[0].primitive.name != "max":
        return False
    return any(is_literal(atom) and np.ndim(atom.val) == 0 and atom.val == 0 for atom in inner.eqns[0].invars)
