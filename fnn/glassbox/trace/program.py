"""A program: what a JAX function does, one step after another, with every nested call written out.

Promises: only public names of JAX; a step knows its place in the user's source (best effort: "" where JAX does not
tell), the calls and named scopes around it, and the name that the user gave its result. Steps stand in the order in
which they were traced, so every step comes after those that it reads: a topological order.
"""

import functools
import linecache
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn.types import PyTree, is_key

#: Primitives that only call what they hold, with the parameter that holds it.
CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "remat": "jaxpr",
    "remat2": "jaxpr", "checkpoint": "jaxpr",
    "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr", "custom_lin": "jaxpr",
}  # fmt: skip
_JAX = Path(jax.__file__).parent
_HERE = Path(__file__).parent


class Place(NamedTuple):
    """A line of the user's source."""

    file: str
    line: int
    function: str = ""
    """The function in which it stands."""

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}" if self.file else ""

    @property
    def text(self) -> str:
        """The line itself, "" where it cannot be read."""
        return linecache.getline(self.file, self.line).strip() if self.file else ""


#: Where JAX does not tell.
NOWHERE = Place("", 0)


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


def flattened(closed: Any, *, labels: bool = False) -> Program:
    """The program of a jaxpr with its constants; with `labels`, giving a value a name is a step of its own."""
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

    def walk(held: Any, given: list[int], calls: tuple[str, ...], outer: Place) -> list[int]:
        jaxpr = _jaxpr(held)
        known: dict[Any, int] = dict(zip(jaxpr.invars, given, strict=True))
        for variable, value in zip(jaxpr.constvars, getattr(held, "consts", ()), strict=True):
            known[variable] = constant(value, variable.aval)

        def read(atom: Any) -> int:
            return constant(atom.val, atom.aval) if hasattr(atom, "val") else known[atom]

        for equation in jaxpr.eqns:
            name = equation.primitive.name
            place = _place(equation) or outer
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
            if name in CALLS and not _is_relu(equation):
                inner = equation.params[CALLS[name]]
                if name in ("custom_jvp_call", "custom_vjp_call"):
                    rewritten.append(_called(equation) or "a function")
                inside = within(scopes, _called(equation)) if _called(equation) else scopes
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


def _place(equation: Any) -> Place | None:
    """The innermost line of the user's own source, and failing that of this package."""
    traceback = getattr(getattr(equation, "source_info", None), "traceback", None)
    for frame in getattr(traceback, "frames", ()):
        if is_own(frame.file_name):
            return Place(frame.file_name, frame.line_num, frame.function_name)
    return None


@functools.cache
def is_own(file: str) -> bool:
    """False for the files of JAX and of the glass box."""
    path = Path(file)
    return not path.is_relative_to(_JAX) and not path.is_relative_to(_HERE) and "/jax/_src/" not in path.as_posix()


def _scopes(equation: Any) -> tuple[str, ...]:
    """The names of `jax.named_scope` around an equation."""
    told = str(getattr(getattr(equation, "source_info", None), "name_stack", "") or "")
    return tuple(part for part in told.split("/") if part and "(" not in part)


def _called(equation: Any) -> str:
    """The name of the function that a call holds, without the underscore of a private one; "" if it has none."""
    name = str(equation.params.get("name") or "")
    if "call_jaxpr" in equation.params and not name:
        # "relu at …/activations.py:82"
        info = getattr(_jaxpr(equation.params["call_jaxpr"]).debug_info, "func_src_info", None)
        name = str(info or "").split(" at ")[0]
    return "" if "<" in name else name.lstrip("_")


def _jaxpr(held: Any) -> Any:
    return getattr(held, "jaxpr", held)


def closed(held: Any) -> Any:
    """A jaxpr with its constants, as some releases of JAX store it and others do not."""
    from jax.extend import core

    return held if hasattr(held, "consts") else core.ClosedJaxpr(held, ())


def _is_relu(equation: Any) -> bool:
    """True for `jax.nn.relu`, whose derivative at 0 is 0: looked through, max(x, 0) would share it, ½."""
    if equation.primitive.name != "custom_jvp_call" or _called(equation) != "relu":
        return False
    inner = _jaxpr(equation.params["call_jaxpr"])
    while len(inner.eqns) == 1 and inner.eqns[0].primitive.name in CALLS:
        inner = _jaxpr(inner.eqns[0].params[CALLS[inner.eqns[0].primitive.name]])
    if len(inner.eqns) != 1 or inner.eqns[0].primitive.name != "max":
        return False
    return any(hasattr(atom, "val") and np.ndim(atom.val) == 0 and atom.val == 0 for atom in inner.eqns[0].invars)
