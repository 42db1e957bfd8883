"""Running a jaxpr with hooks that see every equation at any depth.

Promises: hooks reach inside jit, checkpoint, scan, while, cond and shard_map; without hooks the result is what JAX
computes.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnn.jaxprs.parts import CUSTOM, LOOPS, Scan, Values, While, bare, body_of, closed, inside, is_literal, value_of
from fnn.jaxprs.places import STOPPED, is_sampler, is_stopped_by_user
from fnn.types import PyTree


@dataclass(frozen=True)
class Hooks:
    """What a run of a jaxpr does differently from JAX."""

    custom: "Callable[[Any, Values, Hooks], Values] | None" = None
    """For each equation with a hand-written derivative; by default its primal computation runs, without the rule."""
    plain: "Callable[[Any, Values], Values] | None" = None
    """For each equation that is neither a call nor a loop."""
    call: "Callable[[Any, Values], Values | None] | None" = None
    """For each other call; returns None to run it as usual."""
    loop: "Callable[[Any, Values, Hooks], Values | None] | None" = None
    """For each loop, branch or map over devices; returns None to run it as usual."""
    constant: Callable[[Any], Any] = lambda value: value
    """For each constant and each literal."""
    after: Callable[[Any, Values], Values] = lambda _, values: values
    """For the results of each equation that is neither a call nor a loop."""


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


def apply(equation: Any, values: Values, hooks: Hooks = AS_IT_IS) -> Values:
    """The results of one equation."""
    name = equation.primitive.name
    if name in CUSTOM and hooks.custom is not None:
        return hooks.custom(equation, values, hooks)
    if (body := body_of(equation)) is not None:
        own = hooks.call(equation, values) if hooks.call is not None else None
        if own is None and is_sampler(equation):
            # kept whole, so that it can be recognized later
            own = hooks.after(equation, bind(equation, values))
        return evaluate(body, values, hooks) if own is None else own
    if name in LOOPS:
        own = hooks.loop(equation, values, hooks) if hooks.loop is not None else None
        return _loop(equation, values, hooks) if own is None else own
    # an equation that is run again has the traceback of that run: the scope remembers that it is the user's
    with jax.named_scope(STOPPED) if is_stopped_by_user(equation) else contextlib.nullcontext():
        return hooks.after(equation, (hooks.plain or bind)(equation, values))


def primal(equation: Any, values: Values, hooks: Hooks = AS_IT_IS) -> Values:
    """The results of an equation with a hand-written derivative, by its primal computation."""
    return evaluate(body_of(equation), values, hooks)


def bind(equation: Any, values: Values) -> Values:
    """The results of an equation as JAX computes them."""
    if next(inside(equation), None) is not None:
        return alone(equation)(*(v for v, atom in zip(values, equation.invars, strict=True) if not is_literal(atom)))
    out = equation.primitive.bind(*values, **equation.params)
    return list(out) if equation.primitive.multiple_results else [out]


def alone(equation: Any) -> Callable[..., Values]:
    """The equation as a function of its inputs that are not literals, each a separate variable.

    An array that is passed twice is two inputs here, so what the equation says about each can be distinguished.
    """
    from jax.extend import core

    places = [k for k, atom in enumerate(equation.invars) if not is_literal(atom)]
    shapes = [jax.ShapeDtypeStruct(equation.invars[k].aval.shape, equation.invars[k].aval.dtype) for k in places]
    # variables are made by tracing, because releases of JAX make them in different ways
    fresh = jax.make_jaxpr(lambda *inputs: inputs)(*shapes).jaxpr.invars
    variables = list(equation.invars)
    for k, variable in zip(places, fresh, strict=True):
        variables[k] = variable
    # a result that nothing reads has no variable
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
    """The device axes along which a value inside `shard_map` varies."""
    return frozenset(getattr(getattr(atom.aval, "manual_axis_type", None), "varying", ()))


def _mesh_around(equation: Any) -> Any:
    """The devices of the `shard_map` around an equation; None outside."""
    if not any(map(_varying, [*equation.invars, *equation.outvars])):
        return None
    sizes = dict(equation.outvars[0].aval.sharding.mesh.shape)
    axis_types = (jax.sharding.AxisType.Auto,) * len(sizes)
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=axis_types)


def _on_devices(run: Callable[..., Any], mesh: Any, varying: list[frozenset[str]]) -> Callable[..., Any]:
    """An equation from inside `shard_map` as a function outside: every device runs it on the same inputs."""

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
    """A loop, a branch or a map over devices, with its bodies run under the hooks."""
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

        def turn(c: tuple[Any, ...]) -> tuple:
            # under `jax.vmap` each row goes on for as long as its own condition holds
            goes_on = test(*first, *c)[0]
            moved: list[Any] = list(step(*second, *c))
            return tuple(jnp.where(_along_rows(goes_on, new), new, old) for new, old in zip(moved, c, strict=True))

        if loop.condition.out_avals[0].shape:
            return list(jax.lax.while_loop(lambda c: jnp.any(test(*first, *c)[0]), turn, tuple(carry)))
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


def _along_rows(flags: Any, value: Any) -> Any:
    """One flag for each row, with axes for the entries of the rows."""
    return flags.reshape(flags.shape + (1,) * (value.ndim - flags.ndim))


def function_of(jaxpr: Any) -> Callable[..., Values]:
    """A closed jaxpr as a function."""
    from jax.extend import core

    return core.jaxpr_as_fun(jaxpr)


def replaced(f: Callable[..., PyTree], hooks: Hooks) -> Callable[..., PyTree]:
    """The same function, run with these hooks."""

    def run(*args: PyTree) -> PyTree:
        program, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        return jax.tree.unflatten(jax.tree.structure(shape), evaluate(program, jax.tree.leaves(args), hooks))

    return run
