"""Jaxprs, read: what JAX traced of a function, for the checker, the glass box, the training and the tests.

Promises: public names of JAX only, and the one table of calls (`CALLS`) and of loops; whichever way a release stores a
jaxpr, its constants and the parts of a scan, they are read alike. `evaluate` runs a jaxpr with hooks that see every
equation at any depth: within jit, checkpoint, scan, while, cond and shard_map. `doubled` is the same function in
float64, whatever it makes in a narrower dtype inside. `fingerprint` says what a function computes, in any process.
Letters: values are the arrays that a jaxpr runs on, atoms its variables and literals.
"""

import contextlib
import functools
import hashlib
import linecache
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.types import PyTree, is_key

#: Primitives that only call what they hold, with the parameter that holds it.
CALLS = {
    "jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "remat": "jaxpr",
    "remat2": "jaxpr", "checkpoint": "jaxpr", "custom_lin": "jaxpr",
    "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr",
}  # fmt: skip
#: Those among them that carry a derivative written by hand.
CUSTOM = ("custom_vjp_call", "custom_jvp_call")
#: Primitives that run bodies of their own, some of them many times; their results are those of the bodies.
LOOPS = ("scan", "while", "cond", "shard_map")
_JAX = Path(jax.__file__).parent
_HERE = Path(__file__).parent
#: Files of this package that trace functions of others, and are never where an equation comes from.
_READERS = (_HERE / "jaxprs.py", _HERE / "checker", _HERE / "glassbox")

Values = list[Any]


# ---- the parts of an equation ---------------------------------------------------------------------------------------


def bare(jaxpr: Any) -> Any:
    """A jaxpr without its constants."""
    return getattr(jaxpr, "jaxpr", jaxpr)


def closed(jaxpr: Any) -> Any:
    """A jaxpr with its constants, as some releases of JAX store it and others do not."""
    from jax.extend import core  # 15 ms, which `import fnn` need not spend

    return jaxpr if hasattr(jaxpr, "consts") else core.ClosedJaxpr(jaxpr, ())


def is_literal(atom: Any) -> bool:
    """True for a number that stands in the jaxpr itself."""
    return hasattr(atom, "val")


def body_of(equation: Any) -> Any:
    """The closed jaxpr that a call holds; None for an equation that is no call."""
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


def axes_of(jaxpr: Any) -> frozenset[str]:
    """The named axes that a jaxpr uses, as a mean over devices does, and that no map inside it makes."""
    used: set[str] = set()
    for equation in bare(jaxpr).eqns:
        params, bodies = equation.params, list(inside(equation))
        values = [params.get("axes", ()), params.get("axis_name", ()), getattr(params.get("mesh"), "axis_names", ())]
        each = [name for value in values for name in (value if isinstance(value, tuple | list) else (value,))]
        named = {name for name in each if isinstance(name, str)}
        # what holds a body makes the axes that it names
        used |= frozenset().union(*map(axes_of, bodies)) - named if bodies else named
    return frozenset(used)


class Scan(NamedTuple):
    """A scan: `constants` inputs of the body stay, the next `carried` are carried on, the others are sequences."""

    body: Any
    constants: int
    carried: int
    length: int
    reverse: bool

    @classmethod
    def of(cls, equation: Any) -> "Scan":
        """The parts of a scan equation; the releases of JAX name their numbers apart."""
        body, params = closed(equation.params["jaxpr"]), equation.params

        def unchanged(outside: Any, inside: Any) -> int:
            # constants and carries have their own shape within, sequences lose an axis
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


def name_of(equation: Any) -> str:
    """The name of the function that a call holds, without the underscore of a private one; "" if it has none."""
    name = str(equation.params.get("name") or "")
    if "call_jaxpr" in equation.params and not name:
        name = source_of(equation.params["call_jaxpr"])[0]
    return "" if "<" in name else name.lstrip("_")


def source_of(jaxpr: Any) -> tuple[str, str]:
    """(name, "file:line") of the function behind a jaxpr, as far as JAX tells: "relu at …/activations.py:82"."""
    information = str(getattr(bare(jaxpr).debug_info, "func_src_info", None) or "")
    name, _, where = information.partition(" at ")
    return name, where


def derivative_of(equation: Any) -> str:
    """The "file:line" of the derivative by hand of an equation of CUSTOM, "" where JAX does not tell."""
    held = equation.params.get("bwd", equation.params.get("jvp_jaxpr_fun"))
    information = str(getattr(getattr(held, "debug_info", None), "func_src_info", None) or "")
    return information.partition(" at ")[2]


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


def line_of(error: BaseException) -> str:
    """The line of the user's own code at which an error was raised, "" where it stands in none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if is_own(frame.filename) and not is_installed(frame.filename):
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return ""


#: Where JAX does not tell.
NOWHERE = Place("", 0)


def place_of(equation: Any, *, installed: bool = True) -> Place | None:
    """The innermost line of source outside JAX; with `installed=False`, outside all installed packages."""
    source = getattr(getattr(equation, "source_info", None), "traceback", None)
    for frame in getattr(source, "frames", ()):
        if is_own(frame.file_name) and (installed or not is_installed(frame.file_name)):
            return Place(frame.file_name, frame.line_num, frame.function_name)
    return None


@functools.cache
def is_own(file: str) -> bool:
    """False for the files of JAX and for those of this package that trace functions of others."""
    path = Path(file)
    if path.is_relative_to(_JAX) or "/jax/_src/" in path.as_posix():
        return False
    return not any(path.is_relative_to(reader) for reader in _READERS)


def is_installed(file: str) -> bool:
    """True for a file of an installed package."""
    return bool({"site-packages", "dist-packages"} & set(Path(file).parts))


# ---- running a jaxpr ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hooks:
    """What a run of a jaxpr does otherwise than JAX does."""

    custom: "Callable[[Any, Values, Hooks], Values] | None" = None
    """For each equation with a derivative by hand; by default its primal computation runs, and the rule is gone."""
    plain: "Callable[[Any, Values], Values] | None" = None
    """For each equation that is neither call nor loop."""
    call: "Callable[[Any, Values], Values | None] | None" = None
    """For each other call; None where it is to be run as usual."""
    loop: "Callable[[Any, Values, Hooks], Values | None] | None" = None
    """For each loop, branch or map over devices; None where it is to be run as usual."""
    constant: Callable[[Any], Any] = lambda value: value
    """For each constant and each literal."""
    after: Callable[[Any, Values], Values] = lambda _, values: values
    """For the results of each equation that is neither call nor loop."""


AS_IT_IS = Hooks()


def evaluate(jaxpr: Any, values: Sequence[Any], hooks: Hooks = AS_IT_IS) -> Values:
    """Run a closed jaxpr; the bodies of calls, loops and branches inside run with the same hooks."""
    inner = bare(jaxpr)
    known: dict[Any, Any] = dict(zip(inner.constvars, map(hooks.constant, getattr(jaxpr, "consts", ())), strict=True))
    known.update(zip(inner.invars, values, strict=True))

    def read(atom: Any) -> Any:
        return hooks.constant(value_of(atom)) if is_literal(atom) else known[atom]

    for equation in inner.eqns:
        out = apply(equation, [read(atom) for atom in equation.invars], hooks)
        known.update(zip(equation.outvars, out, strict=True))
    return [read(atom) for atom in inner.outvars]


def value_of(literal: Any) -> Any:
    """A literal's number in the dtype that it has there."""
    return literal.val if is_key(literal.val) else np.asarray(literal.val, literal.aval.dtype)


def apply(equation: Any, values: Values, hooks: Hooks = AS_IT_IS) -> Values:
    """The results of one equation."""
    name = equation.primitive.name
    if name in CUSTOM and hooks.custom is not None:
        return hooks.custom(equation, values, hooks)
    if (body := body_of(equation)) is not None:
        own = hooks.call(equation, values) if hooks.call is not None else None
        if own is None and is_sampler(equation):
            # kept whole, so that it can be known for one later
            own = hooks.after(equation, bind(equation, values))
        return evaluate(body, values, hooks) if own is None else own
    if name in LOOPS:
        own = hooks.loop(equation, values, hooks) if hooks.loop is not None else None
        return _loop(equation, values, hooks) if own is None else own
    # an equation that is run again has the traceback of that run: the scope remembers whose it is
    with jax.named_scope(STOPPED) if is_stopped_by_user(equation) else contextlib.nullcontext():
        return hooks.after(equation, (hooks.plain or bind)(equation, values))


#: The name of a scope around each `stop_gradient` of the user's that is run again.
STOPPED = "stopped by the user"


def is_stopped_by_user(equation: Any) -> bool:
    """True for a `stop_gradient` that the user, or a library, calls; False for those inside the functions of JAX."""
    if equation.primitive.name != "stop_gradient":
        return False
    if STOPPED in str(equation.source_info.name_stack):
        return True
    frames = list(getattr(equation.source_info.traceback, "frames", ()))
    inner = [k for k, frame in enumerate(frames) if frame.function_name == "stop_gradient"]
    return bool(inner) and inner[-1] + 1 < len(frames) and is_own(frames[inner[-1] + 1].file_name)


def primal(equation: Any, values: Values, hooks: Hooks = AS_IT_IS) -> Values:
    """The results of an equation with a derivative by hand, by its primal computation."""
    return evaluate(body_of(equation), values, hooks)


def bind(equation: Any, values: Values) -> Values:
    """The results of an equation as JAX computes them."""
    if next(inside(equation), None) is not None:
        return alone(equation)(*(v for v, atom in zip(values, equation.invars, strict=True) if not is_literal(atom)))
    out = equation.primitive.bind(*values, **equation.params)
    return list(out) if equation.primitive.multiple_results else [out]


def alone(equation: Any) -> Callable[..., Values]:
    """The equation as a function of its inputs that are no literals, each a variable of its own.

    An array that is passed twice is two inputs here: what the equation says of each can be told apart.
    """
    from jax.extend import core

    places = [k for k, atom in enumerate(equation.invars) if not is_literal(atom)]
    shapes = [jax.ShapeDtypeStruct(equation.invars[k].aval.shape, equation.invars[k].aval.dtype) for k in places]
    # variables are made by tracing, for how JAX makes them differs between its releases
    fresh = jax.make_jaxpr(lambda *inputs: inputs)(*shapes).jaxpr.invars
    variables = list(equation.invars)
    for k, variable in zip(places, fresh, strict=True):
        variables[k] = variable
    # a result that nobody reads has no variable
    single = equation.replace(invars=variables)
    inner = next(inside(equation), None)
    debug = {} if inner is None else {"debug_info": inner.jaxpr.debug_info}
    try:
        jaxpr = core.Jaxpr((), fresh, list(single.outvars), [single], **debug)
    except TypeError:
        jaxpr = core.Jaxpr((), fresh, list(single.outvars), [single])
    run = function_of(core.ClosedJaxpr(jaxpr, []))
    mesh = _mesh_around(equation)
    if mesh is None:
        return lambda *inputs: list(run(*inputs))
    varying = [_varying(equation.invars[k]) for k in places]
    return lambda *inputs: list(_on_devices(run, mesh, varying)(*inputs))


def _varying(atom: Any) -> frozenset[str]:
    """The axes of the devices along which a value within `shard_map` differs."""
    return frozenset(getattr(getattr(atom.aval, "manual_axis_type", None), "varying", ()))


def _mesh_around(equation: Any) -> Any:
    """The devices of the `shard_map` within which an equation stands; None outside."""
    if not any(map(_varying, [*equation.invars, *equation.outvars])):
        return None
    sizes = dict(equation.outvars[0].aval.sharding.mesh.shape)
    axis_types = (jax.sharding.AxisType.Auto,) * len(sizes)
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=axis_types)


def _on_devices(run: Callable[..., Any], mesh: Any, varying: list[frozenset[str]]) -> Callable[..., Any]:
    """An equation from within `shard_map` as a function outside: every device runs it on the same inputs."""

    def everywhere(*inputs: Any) -> tuple:
        typed = [
            jax.lax.pcast(u, tuple(axes), to="varying") if axes else u for u, axes in zip(inputs, varying, strict=True)
        ]
        return tuple(map(alike, run(*typed)))

    def alike(value: Any) -> Any:
        axes = tuple(jax.typeof(value).manual_axis_type.varying)
        if not axes:
            return value
        mean = jax.lax.pmean if jnp.issubdtype(value.dtype, jnp.inexact) else jax.lax.pmax
        return mean(value, axes)

    spec = jax.sharding.PartitionSpec()
    return jax.shard_map(everywhere, mesh=mesh, in_specs=spec, out_specs=spec)


def _loop(equation: Any, values: Values, hooks: Hooks) -> Values:
    """A loop, a branch or a map over devices, its bodies run with the hooks."""
    name, params = equation.primitive.name, equation.params

    def run(body: Any) -> Callable[..., tuple]:
        return lambda *inner: tuple(evaluate(body, inner, hooks))

    if name == "scan":
        scan = Scan.of(equation)
        constants, carry, sequences = scan.split(values)

        def step(carry: tuple, slices: tuple) -> tuple[tuple, tuple]:
            out = run(scan.body)(*constants, *carry, *slices)
            return out[: scan.carried], out[scan.carried :]

        carry, stacked = jax.lax.scan(step, tuple(carry), tuple(sequences), scan.length, scan.reverse)
        return [*carry, *stacked]
    if name == "while":
        loop = While.of(equation)
        first, second, carry = loop.split(values)
        test, step = run(loop.condition), run(loop.body)
        return list(jax.lax.while_loop(lambda c: test(*first, *c)[0], lambda c: step(*second, *c), tuple(carry)))
    if name == "cond":
        index, *operands = values
        return list(jax.lax.switch(index, [run(closed(each)) for each in params["branches"]], *operands))
    axes = next((params[key] for key in ("newly_manual_axes", "manual_axes") if key in params), None)
    mapped = jax.shard_map(
        run(closed(params["jaxpr"])), mesh=params["mesh"], in_specs=params["in_specs"],
        out_specs=tuple(params["out_specs"]), axis_names=set(axes or ()), check_vma=params.get("check_vma", True),
    )  # fmt: skip
    return list(mapped(*values))


# ---- the same function in float64 -----------------------------------------------------------------------------------


class Narrow(NamedTuple):
    """A step of a function that computes in a dtype narrower than float64, though its inputs do not."""

    dtype: str
    primitive: str
    place: Place


#: The name of a scope in which a value is cast to the dtype in which a function captured it.
AS_CAPTURED = "as captured"


def narrow_in(jaxpr: Any, depends: Sequence[bool] | None = None) -> Narrow | None:
    """The first step of a jaxpr that gives a floating dtype narrower than float64, if there is one.

    Steps that compute with what a function captured alone do not count: nothing that is passed is cast there.

    Args:
        jaxpr: any.
        depends: which of its inputs depend on what is passed; by default all.
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
    """The narrowest floating dtype of any value, constant or literal of a jaxpr; None where all are float64."""
    atoms = [*bare(jaxpr).invars, *bare(jaxpr).constvars]
    for equation in equations(jaxpr):
        atoms += [*equation.invars, *equation.outvars]
        for inner in inside(equation):
            atoms += inner.jaxpr.constvars
    narrow = {atom.aval.dtype for atom in atoms if _is_narrow(getattr(atom.aval, "dtype", None))}
    return max(narrow, key=lambda dtype: float(jnp.finfo(dtype).eps), default=None)


def coarseness(jaxpr: Any) -> float:
    """How far a constant inside may be rounded, as a share: the epsilon of its dtype if it is narrow; 0 if none is.

    Numbers that half the digits of their dtype hold, 0.5 or 3, are taken for exact.
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


#: What traced gives: a closed jaxpr, and the shapes of what the function returns.
Traced = tuple[Any, PyTree]


def doubled(
    f: Callable[..., PyTree], working: Callable[[], Traced] | None = None, seen: Callable[[Any], None] | None = None
) -> Callable[..., PyTree]:
    """The same function in float64 throughout: what it makes or casts in a narrower dtype inside is widened.

    To be called under `jax.enable_x64`, on float64. Numbers come in double from a trace there; a function that cannot
    be traced there, as where it fixes the dtype of a carry, is widened as the user runs it. Bits that are read as
    numbers stay as narrow as they are, and so do samplers: for a key's float64 numbers are others.

    Args:
        f: any function that can be traced.
        working: traces the same function as the user runs it.
        seen: is given the jaxpr that is widened, if something in it is narrow.
    """

    def wide(*args: PyTree) -> PyTree:
        samplers: dict[int, Any] = {}
        try:
            program, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        except Exception:
            # whatever an unknown function raises on dtypes that it was not written for
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


def function_of(jaxpr: Any) -> Callable[..., Values]:
    """A closed jaxpr as a function."""
    from jax.extend import core

    return core.jaxpr_as_fun(jaxpr)


def widening(samplers: dict[int, Any] | None = None) -> Hooks:
    """Hooks that run a jaxpr in float64 throughout; samplers by identity, with the equations that draw in their place.

    Rules by hand must be resolved before, by tracing the derivative itself: here only their values count.
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


#: Equations whose results depend on the bits of a number: they run as narrow as they stand.
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


def is_sampler(equation: Any) -> bool:
    """True for a call of a function of `jax.random`."""
    body = body_of(equation)
    if body is None:
        return False
    file = Path(source_of(body)[1].rpartition(":")[0])
    # one file in some releases, a folder in others
    return file.is_relative_to(_JAX) and "random" in file.with_suffix("").parts


# ---- what a function computes, as a text ----------------------------------------------------------------------------


def fingerprint(f: Callable[..., PyTree], *args: PyTree) -> str:
    """SHA-256 of what f computes on arguments of these shapes: its jaxpr, every constant with it.

    Equal in every process with the same release of JAX; names of functions and places in files do not count. Raises
    `ValueError` for a function that calls back to Python: what that computes stands in no jaxpr.

    >>> import jax.numpy as jnp
    >>> scale = lambda c: lambda x: c * x
    >>> fingerprint(scale(2.0), jnp.ones(3)) == fingerprint(scale(2.0), jnp.ones(3))
    True
    >>> fingerprint(scale(2.0), jnp.ones(3)) == fingerprint(scale(3.0), jnp.ones(3))
    False
    """
    program, shape = jax.make_jaxpr(f, return_shape=True)(*args)
    return fingerprint_of(program, f"{jax.tree.structure(args)} -> {jax.tree.structure(shape)}")


def fingerprint_of(jaxpr: Any, structure: str = "") -> str:
    """The fingerprint of what was traced already, with the structure of its arguments and results as a text."""
    if any("callback" in each.primitive.name for each in equations(jaxpr)):
        raise ValueError("a function that calls back to Python has no fingerprint. Write it in JAX.")
    return hashlib.sha256("\n".join([structure, *lines_of(jaxpr)]).encode()).hexdigest()


def lines_of(jaxpr: Any, indent: str = "") -> Iterator[str]:
    """A jaxpr with its constants as text: variables numbered in order, constants by their bytes."""
    inner = bare(jaxpr)
    numbers: dict[Any, str] = {}

    def text(atom: Any) -> str:
        if is_literal(atom):
            return constant_text(value_of(atom))
        return numbers.setdefault(atom, f"v{len(numbers)}") + f":{_shape_text(atom.aval)}"

    yield f"{indent}inputs {' '.join(map(text, inner.invars))}"
    for variable, value in zip(inner.constvars, getattr(jaxpr, "consts", ()), strict=True):
        yield f"{indent}{text(variable)} = {constant_text(value)}"
    for equation in inner.eqns:
        inputs, outputs = " ".join(map(text, equation.invars)), " ".join(map(text, equation.outvars))
        yield f"{indent}{outputs} = {equation.primitive.name} {inputs}"
        for key in sorted(equation.params):
            if key not in _SILENT:
                yield from _parameter_lines(key, equation.params[key], indent + "  ")
    yield f"{indent}outputs {' '.join(map(text, inner.outvars))}"


#: Parameters that say nothing of what is computed, or cannot be read: names, memoized tracers.
_SILENT = (
    "name", "debug_info", "fwd_jaxpr_thunk", "jvp_jaxpr_fun", "bwd", "out_trees", "ctx_mesh", "compiler_options_kvs"
)  # fmt: skip


def _parameter_lines(key: str, value: Any, indent: str) -> Iterator[str]:
    if hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns"):
        yield f"{indent}{key}:"
        yield from lines_of(closed(value), indent + "  ")
    elif isinstance(value, tuple | list):
        yield f"{indent}{key}: {len(value)}"
        for k, each in enumerate(value):
            yield from _parameter_lines(f"{key}[{k}]", each, indent + "  ")
    elif isinstance(value, jax.Array | np.ndarray):
        yield f"{indent}{key}: {constant_text(value)}"
    elif callable(value) and not isinstance(value, type | np.dtype):
        name = getattr(value, "__qualname__", type(value).__name__)
        yield f"{indent}{key}: {getattr(value, '__module__', '')}.{name}"
    else:
        yield f"{indent}{key}: {re.sub(r' at 0x[0-9a-f]+|(?<=id=)[0-9]+', '', repr(value))}"


def constant_text(value: Any) -> str:
    """A constant by its dtype, shape and bytes."""
    if is_key(value):
        return f"key {jax.random.key_impl(value)} {constant_text(jax.random.key_data(value))}"
    array = np.asarray(value)
    return f"{array.dtype.name}{list(array.shape)} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}"


def _shape_text(aval: Any) -> str:
    return f"{getattr(aval, 'dtype', '')}{list(getattr(aval, 'shape', ()))}"


def replaced(f: Callable[..., PyTree], hooks: Hooks) -> Callable[..., PyTree]:
    """The same function, run with these hooks."""

    def run(*args: PyTree) -> PyTree:
        program, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        return jax.tree.unflatten(jax.tree.structure(shape), evaluate(program, jax.tree.leaves(args), hooks))

    return run


def largest(jaxpr: Any) -> int:
    """The number of entries of the largest value of a jaxpr."""
    sizes = [v.aval.size for v in bare(jaxpr).invars]
    sizes += [v.aval.size for equation in equations(jaxpr) for v in equation.outvars if hasattr(v.aval, "size")]
    return max(sizes, default=0)
