"""The measures by which a gradient is judged: leaf by leaf, entry by entry, and never blind to NaN.

`magnitudes` is the backward pass run on absolute values: every term enters with its size, so that its result says how
large the terms of a sum were before they cancelled. It walks the jaxpr of the backward pass and shares nothing with
the rules themselves.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from fnn import jaxprs
from tests import tolerances

#: For large programs that run once, of witnesses above all: with few optimizations they compile in two thirds of the
#: time. What a user runs is compiled as users do, here or beside it.
once = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

# Primitives that move entries about or add them up: on magnitudes they do what they do on values.
LINEAR = {
    "reshape", "transpose", "broadcast_in_dim", "squeeze", "expand_dims", "slice", "concatenate", "rev", "gather",
    "reduce_sum", "convert_element_type", "copy", "copy_p", "reduce_max", "max", "min", "clamp", "stop_gradient",
    "scatter-add",
}  # fmt: skip


def magnitudes(fn, *args):
    """The result of fn with every input replaced by its absolute value and every minus by a plus."""
    closed, shape = jax.make_jaxpr(fn, return_shape=True)(*args)
    flat = jax.tree.leaves(args)
    pairs = [(v, jnp.abs(v) if jnp.issubdtype(jnp.result_type(v), jnp.floating) else v) for v in map(jnp.asarray, flat)]
    out = _walk(closed, pairs)
    return jax.tree.unflatten(jax.tree.structure(shape), [size for _, size in out])


def _walk(closed, pairs):
    known, jaxpr = {}, closed.jaxpr

    def read(atom):
        if hasattr(atom, "val"):
            value = jnp.asarray(atom.val, atom.aval.dtype)
            return value, jnp.abs(value) if jnp.issubdtype(value.dtype, jnp.floating) else value
        return known[atom]

    for variable, const in zip(jaxpr.constvars, closed.consts, strict=True):
        known[variable] = (const, jnp.abs(const) if jnp.issubdtype(const.dtype, jnp.floating) else const)
    known.update(zip(jaxpr.invars, pairs, strict=True))
    for equation in jaxpr.eqns:
        results = _equation(equation, [read(atom) for atom in equation.invars])
        known.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _equation(equation, pairs):
    name, params = equation.primitive.name, equation.params
    values, sizes = [v for v, _ in pairs], [s for _, s in pairs]
    if name == "scan":
        return _scan(equation, pairs)
    if (inner := jaxprs.body_of(equation)) is not None:
        return _walk(inner, pairs)
    bind = functools.partial(equation.primitive.bind, **params)
    value = bind(*values)
    if equation.primitive.multiple_results:
        raise NotImplementedError(name)
    if not jnp.issubdtype(value.dtype, jnp.floating):
        size = value
    elif name in ("add", "sub", "add_any"):
        size = sizes[0] + sizes[1]
    elif name in ("mul", "dot_general"):
        size = bind(*sizes)
    elif name == "neg":
        size = sizes[0]
    elif name in LINEAR:
        size = bind(*sizes)
    elif name == "select_n":
        size = bind(values[0], *sizes[1:])
    else:
        # any other elementwise function: an input uncertain by eps · size makes its output uncertain by |f'| times that
        size = jnp.abs(value)
        for k in range(len(values)):
            slope = jax.jvp(
                lambda u, k=k: bind(*values[:k], u, *values[k + 1 :]), (values[k],), (jnp.ones_like(values[k]),)
            )[1]
            size = size + jnp.abs(slope) * sizes[k]
    return [(value, size)]


def _scan(equation, pairs):
    """The loop of a scan, written out: the tests keep it short."""
    scan = jaxprs.Scan.of(equation)
    constants, carry, sequences = scan.split(pairs)
    steps = range(scan.length)
    stacked = []
    for k in reversed(steps) if scan.reverse else steps:
        out = _walk(scan.body, [*constants, *carry, *[(v[k], s[k]) for v, s in sequences]])
        carry = out[: scan.carried]
        stacked.append(out[scan.carried :])
    if scan.reverse:
        stacked.reverse()
    columns = zip(*stacked, strict=True)
    return [*carry, *[(jnp.stack([v for v, _ in c]), jnp.stack([s for _, s in c])) for c in columns]]


def named_leaves(tree):
    """[(path, NumPy array)] of a pytree, half precisions as float32."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path), _numpy(leaf)) for path, leaf in leaves]


def _numpy(leaf):
    array = np.asarray(leaf)
    return array.astype(np.float32) if array.dtype == jnp.bfloat16 else array


def assert_finite(tree, what=""):
    """No NaN, no infinity anywhere: the comparisons of NumPy and chex pass on NaN against NaN."""
    for path, leaf in named_leaves(tree):
        assert np.isfinite(leaf).all(), f"{what}{path} holds {leaf[~np.isfinite(leaf)][:3]}"


def assert_close(got, want, tolerance, what=""):
    """|got − want| ≤ tolerance · (1 + max |want|), leaf by leaf, same structure, same shapes, finite on both sides."""
    assert jax.tree.structure(got) == jax.tree.structure(want), what
    assert_finite(got, f"{what} got ")
    assert_finite(want, f"{what} want ")
    for (path, g), (_, w) in zip(named_leaves(got), named_leaves(want), strict=True):
        assert g.shape == w.shape, f"{what}{path}: shape {g.shape}, not {w.shape}"
        error = np.abs(g - w).max(initial=0)
        assert error <= tolerance * (1 + np.abs(w).max(initial=0)), f"{what}{path}: off by {error:.3g}"


def assert_gradients_float64(hand, auto, size, what=""):
    """The two bounds of float64: per leaf, and per entry against the backward pass on absolute values (`size`)."""
    assert jax.tree.structure(hand) == jax.tree.structure(auto), what
    for each in (hand, auto, size):
        assert_finite(each, what)
    eps, tiny = np.finfo(np.float64).eps, tolerances.smallest_normal(np.float64)
    for (path, h), (_, a), (_, s) in zip(*map(named_leaves, (hand, auto, size)), strict=True):
        assert (h.shape, h.dtype) == (a.shape, a.dtype) == (s.shape, np.float64), f"{what}{path}"
        error = np.abs(h - a)
        if (h == 0).all() != (a == 0).all():
            assert (np.maximum(np.abs(h), np.abs(a)) <= tolerances.LEAF * s + tiny).all(), f"{what}{path}: one is zero"
        elif not ((h == 0).all() and (a == 0).all()):
            cancelled = np.abs(a).max(initial=0) <= tolerances.LEAF * s.max(initial=0)
            scale = s if cancelled else a
            bound = tolerances.LEAF * np.abs(scale).max(initial=0) + tiny
            assert error.max(initial=0) <= bound, f"{what}{path}: off by {error.max():.3g}, leaf bound {bound:.3g}"
        excess = error - (tolerances.ENTRY * eps * s + tiny)
        assert (excess <= 0).all(), (
            f"{what}{path}: entry {np.argmax(excess)} off by {error.ravel()[np.argmax(excess)]:.3g}"
        )


def assert_gradients_float32(hand, auto, truth, what=""):
    """By hand no worse than automatic: err(hand) ≤ 4 err(auto) + 4 ulp of the leaf's largest entry, against float64."""
    for each in (hand, auto, truth):
        assert_finite(each, what)
    for (path, h), (_, a), (_, t) in zip(*map(named_leaves, (hand, auto, truth)), strict=True):
        assert (h.shape, h.dtype) == (a.shape, a.dtype) == (t.shape, np.float32), f"{what}{path}"
        ulp = np.spacing(np.float32(np.abs(t).max(initial=0)))
        tiny = tolerances.smallest_normal(np.float32)
        hand_error, auto_error = np.abs(h - t).max(initial=0), np.abs(a - t).max(initial=0)
        bound = tolerances.RATIO * auto_error + tolerances.ULPS * ulp + tiny
        assert hand_error <= bound, f"{what}{path}: by hand off by {hand_error:.3g}, automatic by {auto_error:.3g}"
