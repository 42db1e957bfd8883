"""The rules inside any JAX function: its `custom_vjp` and `custom_jvp` equations, each bound again by itself.

Promises: only public names of JAX are used; rules are found at any depth, inside `jit`, `scan`, `cond` and `while`; the
function beside each rule is its primal computation with every rule inside stripped.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checker.oracles import is_float
from fnn.checker.pairs import OfEquation
from fnn.checker.rules import Rule, known
from fnn.types import Array, PyTree

#: Primitives that carry a hand-written rule.
CUSTOM = ("custom_vjp_call", "custom_jvp_call")
#: Primitives that only call what they hold.
CALLS = ("jit", "pjit", "closed_call", "remat", "checkpoint", "custom_lin")
#: Primitives that move or select numbers and never round them.
EXACT = (
    "abs", "broadcast_in_dim", "concatenate", "copy", "dynamic_slice", "dynamic_update_slice", "expand_dims", "gather",
    "max", "min", "neg", "pad", "reduce_max", "reduce_min", "reshape", "rev", "scatter", "select_n", "sign", "slice",
    "squeeze", "stop_gradient", "transpose",
)  # fmt: skip

#: Primitives whose bodies are run, and whose results are those of their bodies.
LOOPS = ("scan", "cond", "while")
#: Places in the row of random signs at which a result may begin.
PIECES = 997

Custom = Callable[[Any, list[Any]], list[Any]]
After = Callable[[list[Any]], list[Any]]


def stripped(f: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """The same function with no hand-written derivative anywhere: its jaxpr, every custom call by its primal."""

    def plain(*args: PyTree) -> PyTree:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        out = _run(closed.jaxpr, closed.consts, jax.tree.leaves(args), _primal)
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return plain


def rounded(f: Callable[..., PyTree], key: Array) -> Callable[..., PyTree]:
    """The same function with every result inside moved by an ulp, up or down at random: another way it might round.

    Monte Carlo arithmetic (Vignes 1993; Parker 1997): how far the outputs of several such runs are apart is how far
    rounding takes them, however the numbers inside cancel or amplify it. The body of a loop moves alike in each turn.
    """

    def shaken(*args: PyTree) -> PyTree:
        closed, shape = jax.make_jaxpr(f, return_shape=True)(*args)
        # one row of signs, of which each result takes a piece: to draw anew for each would take long to compile
        signs = jax.random.rademacher(key, (PIECES + max(_largest(closed.jaxpr), 1),), jnp.int8)
        number = itertools.count()

        def moved(value: Any) -> Any:
            if not is_float(value):
                return value
            start = next(number) * 7 % PIECES
            piece = signs[start : start + value.size].reshape(value.shape).astype(value.dtype)
            return value * (1 + jnp.finfo(value.dtype).eps * piece)

        def after(values: list[Any]) -> list[Any]:
            return [moved(value) for value in values]

        out = _run(closed.jaxpr, closed.consts, after(jax.tree.leaves(args)), _primal, after)
        return jax.tree.unflatten(jax.tree.structure(shape), out)

    return shaken


def _largest(jaxpr: Any) -> int:
    """The number of entries of the largest result inside."""
    sizes = [v.aval.size for v in jaxpr.invars]
    for equation in jaxpr.eqns:
        sizes += [v.aval.size for v in equation.outvars]
        sizes += [_largest(_closed(inner).jaxpr) for inner in _inside(equation)]
    return max(sizes, default=0)


def _inside(equation: Any) -> Iterator[Any]:
    """The jaxprs that an equation holds."""
    for value in equation.params.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if hasattr(each, "eqns") or hasattr(getattr(each, "jaxpr", None), "eqns"):
                yield each


def narrow_in(jaxpr: Any) -> str:
    """The first floating dtype narrower than float64 in which some equation computes, or ""."""
    for equation in jaxpr.eqns:
        for out in equation.outvars:
            if jnp.issubdtype(out.aval.dtype, jnp.floating) and out.aval.dtype.itemsize < 8:
                return out.aval.dtype.name
        for inner in _inside(equation):
            if found := narrow_in(_closed(inner).jaxpr):
                return found
    return ""


def of_function(f: Callable[..., Array], args: tuple) -> list[Rule]:
    """Every `custom_vjp` and `custom_jvp` equation that f reaches, on what it was called on; each place once."""

    def found(args: tuple) -> list[Rule]:
        rules: list[Rule] = []

        def note(equation: Any, values: list[Any]) -> list[Any]:
            rules.append(_of_equation(equation, [known(v) for v in values]))
            return _primal(equation, values)

        closed = jax.make_jaxpr(f)(*args)
        _run(closed.jaxpr, closed.consts, jax.tree.leaves(args), note)
        return rules

    # an equation has the dtypes it was traced with: float64 for the formula, those of the real run for the precision
    exact = found(jax.tree.map(lambda leaf: leaf.astype(jnp.float64) if is_float(leaf) else leaf, args))
    real = found(args)
    if len(exact) != len(real):
        return exact
    return [
        dataclasses.replace(rule, pair=dataclasses.replace(rule.pair, working=own.pair), working=own.inputs)
        for rule, own in zip(exact, real, strict=True)
    ]


def _of_equation(equation: Any, values: list[Any]) -> Rule:
    from jax.extend import core  # 15 ms, which `import fnn` need not spend

    variables = [v for v in equation.invars if not hasattr(v, "val")]
    literal = [hasattr(v, "val") for v in equation.invars]
    inputs = tuple(v for v, known in zip(values, literal, strict=True) if not known)
    inner = _closed(equation.params["call_jaxpr"])
    single = core.jaxpr_as_fun(core.ClosedJaxpr(_only(equation, variables), []))

    def floating(outputs: Any) -> tuple:
        # what is whole-numbered has no cotangent
        return tuple(out for out in outputs if jnp.issubdtype(out.dtype, jnp.floating))

    def plain(*inputs: Array) -> tuple:
        given = iter(inputs)
        every = [v.val if known else next(given) for v, known in zip(equation.invars, literal, strict=True)]
        return floating(_run(inner.jaxpr, inner.consts, every, _primal))

    def bound(*inputs: Array) -> tuple:
        return floating(single(*inputs))

    told = str(getattr(inner.jaxpr.debug_info, "func_src_info", "") or "unknown")
    name, _, where = told.partition(" at ")
    names = getattr(inner.jaxpr.debug_info, "arg_names", None) or ()
    labels = tuple(names) if len(names) == len(inputs) else tuple(f"argument {k}" for k in range(len(inputs)))
    where = Path(where).name or "unknown"
    pair = OfEquation(bound, plain, equation.primitive.name == "custom_jvp_call")
    return Rule(name or "unknown", where, pair, inputs, labels, identity=(name, where))


def first_bad(f: Callable[..., Array], args: tuple) -> str:
    """Where NaN or infinity first appears when f runs on these arguments: operation, place in the source, inputs."""
    for k, leaf in enumerate(jax.tree.leaves(args)):
        if is_float(leaf) and not _finite(leaf):
            return f"argument leaf {k} (shape {leaf.shape}) is not finite already"
    closed = jax.make_jaxpr(f)(*args)
    return _bad_in(closed.jaxpr, closed.consts, jax.tree.leaves(args)) or "no single operation shows it"


def _bad_in(jaxpr: Any, consts: Any, values: list[Any]) -> str:
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    known.update(zip(jaxpr.invars, values, strict=True))
    for equation in jaxpr.eqns:
        given = [atom.val if hasattr(atom, "val") else known[atom] for atom in equation.invars]
        out = _bind(equation, given, _primal) if equation.primitive.name not in CUSTOM else _primal(equation, given)
        if not all(_finite(each) for each in out if is_float(each)) and all(_finite(v) for v in given if is_float(v)):
            # look inside calls: the operation itself says more than the function that holds it
            inner = next((equation.params[k] for k in ("call_jaxpr", "jaxpr") if k in equation.params), None)
            if inner is not None and equation.primitive.name != "scan":
                inner = _closed(inner)
                return _bad_in(inner.jaxpr, inner.consts, given)
            ranges = ", ".join(f"from {np.min(v):.4g} to {np.max(v):.4g}" for v in given if is_float(v) and np.size(v))
            return f"`{equation.primitive.name}`{_line(equation)} makes it, of inputs {ranges}"
        known.update(zip(equation.outvars, out, strict=True))
    return ""


def _finite(value: Any) -> bool:
    return bool(jnp.isfinite(value).all())


def _line(equation: Any) -> str:
    """The last line of the user's own source behind an equation, as far as JAX tells."""
    traceback = getattr(getattr(equation, "source_info", None), "traceback", None)
    for frame in getattr(traceback, "frames", ()):
        path = Path(frame.file_name)
        if not {"site-packages", "dist-packages"} & set(path.parts) and "fnn/checker" not in path.as_posix():
            return f" ({path.name}:{frame.line_num})"
    return ""


def _only(equation: Any, variables: list[Any]) -> Any:
    """A jaxpr of this one equation."""
    from jax.extend import core

    debug = _closed(equation.params["call_jaxpr"]).jaxpr.debug_info
    try:
        return core.Jaxpr((), variables, list(equation.outvars), [equation], debug_info=debug)
    except TypeError:
        return core.Jaxpr((), variables, list(equation.outvars), [equation])


def _closed(jaxpr: Any) -> Any:
    """A jaxpr with its constants, as some releases of JAX store it and others do not."""
    from jax.extend import core

    return jaxpr if hasattr(jaxpr, "consts") else core.ClosedJaxpr(jaxpr, ())


def _primal(equation: Any, values: list[Any]) -> list[Any]:
    inner = _closed(equation.params["call_jaxpr"])
    return _run(inner.jaxpr, inner.consts, values, _primal)


def _run(
    jaxpr: Any, consts: Any, values: list[Any], custom: Custom, after: After | None = None
) -> list[Any]:  # fmt: skip
    """Evaluate a jaxpr; equations with a hand-written rule go through `custom`, rounded results through `after`."""
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    known.update(zip(jaxpr.invars, values, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else known[atom]

    for equation in jaxpr.eqns:
        given = [read(atom) for atom in equation.invars]
        if equation.primitive.name in CUSTOM:
            out = custom(equation, given)
        elif equation.primitive.name in CALLS:
            inner = _closed(equation.params["jaxpr"])
            out = _run(inner.jaxpr, inner.consts, given, custom, after)
        else:
            out = _bind(equation, given, custom, after)
            if after is not None and equation.primitive.name not in (*EXACT, *LOOPS):
                out = after(out)
        known.update(zip(equation.outvars, out, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _bind(equation: Any, given: list[Any], custom: Custom, after: After | None = None) -> list[Any]:
    """One equation; the bodies of loops and branches inside it are rewritten so that their rules are seen too."""
    name, params = equation.primitive.name, dict(equation.params)
    if name == "scan":
        return _scan(equation, given, custom, after)
    if name == "cond":
        index, *operands = given
        branches = [_body(_closed(each), custom, after) for each in params["branches"]]
        return list(jax.lax.switch(index, branches, *operands))
    if name == "while":
        condition, body = _closed(params["cond_jaxpr"]), _closed(params["body_jaxpr"])
        split = params["cond_nconsts"]
        consts, rest = given[:split], given[split:]
        inner, carry = rest[: params["body_nconsts"]], rest[params["body_nconsts"] :]
        test, step = _body(condition, custom), _body(body, custom, after)
        return list(jax.lax.while_loop(lambda c: test(*consts, *c)[0], lambda c: tuple(step(*inner, *c)), tuple(carry)))
    out = equation.primitive.bind(*given, **params)
    return list(out) if equation.primitive.multiple_results else [out]


def _body(closed: Any, custom: Custom, after: After | None = None) -> Callable[..., tuple]:
    return lambda *given: tuple(_run(closed.jaxpr, closed.consts, list(given), custom, after))


def _scan(equation: Any, given: list[Any], custom: Custom, after: After | None) -> list[Any]:
    params, closed = equation.params, _closed(equation.params["jaxpr"])
    body = _body(closed, custom, after)

    def unchanged(outside: Any, inside: Any) -> int:
        # constants and carries have their own shape within, sequences lose an axis; JAX's releases name them apart
        return sum(a.aval.shape == b.aval.shape for a, b in zip(outside, inside, strict=True))

    carried = unchanged(equation.outvars, closed.jaxpr.outvars)
    constants = unchanged(equation.invars, closed.jaxpr.invars) - carried
    consts, carry, sequences = given[:constants], given[constants : constants + carried], given[constants + carried :]

    def step(carry: tuple, sliced: tuple) -> tuple[tuple, tuple]:
        out = body(*consts, *carry, *sliced)
        return out[:carried], out[carried:]

    carry, stacked = jax.lax.scan(
        step, tuple(carry), tuple(sequences), length=params["length"], reverse=params["reverse"]
    )
    return [*carry, *stacked]
