"""Arguments, indices and constants of every form: the code that is written gives what autodiff gives."""

import collections
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental.ode import odeint

import fnn
from fnn.glassbox.spelling import python as py
from fnn.glassbox.table import TABLE
from tests import tolerances
from tests.witnesses import named_leaves

X = np.array([1.0, 2.0, 3.0])
SQUARE, WIDE = np.diag([2.0, 3.0]), np.ones((2, 3)) + np.eye(2, 3)
#: Too large to be written out.
LARGE = np.cos(np.arange(90.0)).reshape(3, 30)
PLACES = np.array([0, 1])
Pair = collections.namedtuple("Pair", "left right")


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Layer:
    W: Any
    b: Any


@jax.tree_util.register_pytree_node_class
class Nameless:
    """A tree whose leaves have no names."""

    def __init__(self, *parts):
        self.parts = parts

    def tree_flatten(self):
        return self.parts, None

    @classmethod
    def tree_unflatten(cls, _, parts):
        return cls(*parts)


@jax.custom_batching.custom_vmap
def squared(x):
    return x * x


squared.def_vmap(lambda size, batched, x: (x * x, True))

#: Comparisons in the total order of floating numbers, which JAX has under no other name.
COMPARE = {name: getattr(lax, f"{name}_p").bind for name in ("eq_to", "le_to", "lt_to")}


def spread(v):
    return lax.pmax(v, "i") - lax.pmin(v, "i")


def looked_at(x):
    """Printing, calling back, and asking where an array lies change nothing."""
    jax.debug.print("{}", x[0])
    jax.debug.callback(lambda x: None, x)
    jax.debug.inspect_array_sharding(x, callback=lambda _: None)
    lax.dce_sink(x)
    return jnp.sum(x * x)


#: What a user may write: (the function, its arguments).
FORMS = {
    "None": (lambda p, x: jnp.sum((p["w"] * x) ** 2), {"w": X, "b": None}, 3.0),
    "a dataclass in a dict": (lambda p: jnp.sum(p["a"].W ** 2) * p["a"].b, {"a": Layer(X, np.float64(2.0))}),
    "named tuples in a list": (lambda p: jnp.sum(p[0].left * p[1].right), [Pair(X, 1.0), Pair(2.0, X)]),
    "keys of any text": (
        lambda p, x: jnp.sum(p['a"b'] * p["it's"] * p["p"] * p[""] * p["x"] * p["{\n"] * p["class"] * x),
        {'a"b': X, "it's": X + 1, "p": X, "": X, "x": X, "{\n": X, "class": X}, X + 2,
    ),
    "keys that are numbers": (lambda p: jnp.sum(p[-1] * p[0.5] ** 2 * p[10]), {-1: X, 0.5: X, 10: X}),
    "keys that are tuples": (lambda p: jnp.sum(p["a", 1] * p["b", 2]), {("a", 1): X, ("b", 2): X}),
    "a tree without names": (lambda p: jnp.sum(p["k"].parts[0] * p["k"].parts[1]), {"k": Nameless(X, X + 1)}),
    "an ordered dict": (lambda p: jnp.sum(p["z"] * p["y"]["q"]), collections.OrderedDict(z=X, y={"q": X})),
    "several by star": (lambda p, *q: jnp.sum(p * q[0] * q[1]), X, X, 2.0),
    "names of modules": (
        lambda lax, jnp_, jnp, constant1: ((lax * jnp_ * lax * jnp)[:, None] * LARGE).sum() * constant1, X, X, X, 2.0,
    ),
    "names with a line": (lambda _x, y_: (_x * y_ * _x).sum(), X, X),
    "infinity": (lambda x: jnp.sum(jnp.where(x > 1.5, x, jnp.inf)[1:] * x[1:]), X),
    "constants that are no numbers": (
        lambda x: jnp.sum(jnp.where(np.array([True, False, True]), x, np.array([np.nan, -np.inf, np.inf]))[::2]), X,
    ),
    "a complex constant": (lambda x: jnp.real(jnp.sum(jnp.exp(1j * x) * (2 - 1j) * np.array([1j, 2.0, 3.0]))), X),
    "axes in another order": (
        lambda x: jnp.sum(lax.reshape(jnp.outer(x, x[:2]), (6,), dimensions=(1, 0)) * np.arange(6.0)), X,
    ),
    "sums and extremes over a mapped axis": (
        lambda x: jnp.sum(jax.vmap(lambda v: v / lax.psum(v, "i") * spread(lax.stop_gradient(v)), axis_name="i")(x)), X,
    ),
    "loops that run together": (
        lambda x: jnp.sum(
            x * jax.vmap(lambda n: lax.while_loop(lambda c: c[0] < n, lambda c: (c[0] + 2, c[1] * 2), (0, np.ones(2))))(
                np.array([1, 4, 6])
            )[1][:, 0]
        ), X,
    ),
    "a name that begins with a digit": (lambda x: jnp.sum(fnn.glassbox.name(x * x, "2nd") ** 2), X),
    "a place in a loop": (
        lambda x: lax.scan(lambda c, k: (c * x[k] + jnp.diag(x[:2])[:, k] @ x[:2], None), 1.0, PLACES)[0], X,
    ),
    "nothing to sum": (lambda x: jnp.sum(jnp.zeros((0, 3)) * x) + x[0], X),
    "a key": (lambda x: jnp.sum(jax.random.normal(jax.random.key(1), x.shape, x.dtype) * x * x), X),
    "keys of keys": (
        lambda x: jnp.sum(
            x * jax.random.uniform(
                jax.random.fold_in(
                    jax.random.split(jax.random.wrap_key_data(jax.random.key_data(jax.random.key(1))))[0], 3
                ), x.shape, x.dtype,
            )
        ), X,
    ),
    "whole numbers and truths": (
        lambda x: x[jnp.argmin(x)] * (jnp.argmax(x) << 2 >> 1) * x[2]
        + jnp.sum(jnp.where(~(x > 1.5) ^ (x < 2.5), x * x, 1.0))
        + jnp.floor(x[1]) * jnp.ceil(x[0]) * jnp.round(x[2]) * x[0]
        + jnp.sum(x[jnp.searchsorted(x, x + 0.5) % 3] * x), X,
    ),
    "numbers in total order": (
        lambda x: jnp.sum(
            jnp.where(COMPARE["eq_to"](x, x), x, 0.0) * jnp.where(COMPARE["le_to"](x, 2 * x), x, 0.0)
            * jnp.where(COMPARE["lt_to"](x, x), 0.0, x)
        ), X,
    ),
    "what only looks": (looked_at, X),
    "logarithms of base 2": (lambda x: jnp.sum(jnp.log2(x) * x), X),
    "a slope of tanh": (lambda x: jnp.sum(jax.grad(lambda x: jnp.sum(jnp.tanh(x)))(x) * x), X),
    "a named value": (lambda x: jnp.sum(fnn.glassbox.name(jnp.sin(x), "wave") * x), X),
    "a sample of a gamma": (lambda a: jnp.sum(jax.random.gamma(jax.random.key(3), a)), X),
    "a sample in logarithms": (lambda a: jnp.sum(jax.random.loggamma(jax.random.key(3), a)), X),
    "clipped indices": (lambda x: jnp.sum(jnp.take(x, np.array([-1, 2]), mode="clip") ** 2), X),
    "wrapped indices": (lambda x: jnp.sum(jnp.take(x, np.array([-1, 4]), mode="wrap") ** 2), X),
    "filled indices": (lambda x: jnp.sum(x.at[np.array([-1, 5, -7])].get(mode="fill", fill_value=0) ** 2), X),
    "filled with a number": (lambda x: jnp.sum(jnp.take(x, np.array([-1, -9]), fill_value=7.0, mode="fill") ** 2), X),
    "dropped indices": (lambda x: jnp.sum(x.at[np.array([-1, 5, -7])].set(x**2, mode="drop") ** 2), X),
    "clipped additions": (lambda x: jnp.sum(x.at[np.array([-1, 5, -7])].add(x**2, mode="clip") ** 2), X),
    "a start before the first": (lambda x: jnp.sum(lax.dynamic_slice(x, (jnp.argmax(x) - 9,), (2,)) ** 2), X),
    "a number before the first": (
        lambda x: jnp.sum(lax.dynamic_update_slice(x, x[:2] ** 2, (-9,)) * lax.dynamic_slice(x, (-9,), (1,))), X,
    ),
    "a window longer than the row": (
        lambda x, k: jnp.sum(lax.conv(x[None, None], k[None, None], (1,), "VALID")) + x[0] * k[1], X, np.ones(4),
    ),
    "an infinite slope": (lambda x: jnp.sum((x - 1) ** 0.5), X),
    "fewer digits": (lambda x: jnp.sum(lax.reduce_precision(x / 3, 8, 7) * jnp.sin(x)), X),
    "whole numbers divided": (lambda x: jnp.interp(1.5, x, x**2), X),
    "one part": (lambda x: jax.hessian(lambda x: jnp.sum(jnp.sin(x) * x[0]))(x).sum(), X),
    "a loop without a gradient": (
        lambda x: jnp.sum(x * lax.while_loop(lambda c: c < 7, lambda c: c + 3, 1))
        * lax.stop_gradient(lax.while_loop(lambda c: c < x[1], lambda c: c * 1.5 + x[0], 0.1)), X,
    ),
    "a solver of its own": (
        lambda x: lax.custom_root(
            lambda y: y * y - x[1], 1.0,
            lambda f, y: lax.fori_loop(0, 20, lambda _, y: y - f(y) / (2 * y), y), lambda g, y: y / g(1.0),
        ), X,
    ),
    "a transpose": (
        lambda x: jnp.sum(jax.custom_derivatives.linear_call(lambda r, x: r * x, lambda r, y: r * y, X, x * x)), X,
    ),
}  # fmt: skip
if hasattr(lax, "mulhi"):  # a newer release of JAX, which differentiates `nextafter` too
    FORMS["high words"] = (lambda x: jnp.sum(x * lax.mulhi(jnp.uint32(2**31), jnp.uint32(6))), X)
    FORMS["the next number"] = (lambda x: jnp.sum(jnp.nextafter(x * x, 2 * x) * x), X)


pytestmark = pytest.mark.usefixtures("small_functions")


@pytest.mark.parametrize("form", FORMS)
def test_the_code_runs_and_is_right(form):
    f, *args = FORMS[form]
    args = jax.tree.map(jnp.asarray, args)
    # samples take long to compile, and what is written runs below anyway
    source = fnn.show_backward(f, *args, tried=not form.startswith("a sample"))
    scope = {}
    exec(source.python, scope)
    written, want = jax.jit(
        lambda *args: (
            scope["gradient"](*args, **source.constants),
            jax.grad(f, argnums=tuple(range(len(args))))(*args),
        )
    )(*args)
    assert jax.tree.structure(written) == jax.tree.structure(want)
    for (name, got), (_, right) in zip(named_leaves(written), named_leaves(want), strict=True):
        np.testing.assert_allclose(got, right, rtol=tolerances.LEAF, err_msg=name)


# ---- what the glass box must not let pass ---------------------------------------------------------------------------


def fast_root(x):
    bits = lax.bitcast_convert_type(x, jnp.int32) >> 1
    return jnp.sum(lax.bitcast_convert_type(bits + 0x1FBD1DF5, jnp.float32) * x)


def test_a_derivative_through_bits_is_refused_and_not_0():
    x = jnp.array([0.7, 2.1], jnp.float32)
    for look in (fnn.graph, fnn.show_backward):
        with pytest.raises(
            NotImplementedError, match=r"`bitcast_convert_type` .test_forms.py:\d+. .*: it makes a number from"
        ):
            look(fast_root, x)
    # the sign bit alone, and the bits of a key, are no such thing
    box = fnn.graph(lambda x: jnp.sum(jnp.copysign(x * x, -x) + jax.random.uniform(jax.random.key(0), (2,)) * x), x)
    np.testing.assert_allclose(
        box.gradients[0], -2 * x + jax.random.uniform(jax.random.key(0), (2,)), rtol=tolerances.FORWARD["float32"]
    )


def test_ldexp_is_refused_and_not_0():
    x = jnp.array([0.7, -1.3, 2.1])
    with pytest.raises(NotImplementedError, match="has no rule in the glass box"):
        fnn.graph(lambda x: jnp.sum(jnp.ldexp(x, jnp.array([2, 0, 1]))), x)


def by(matrix_function):
    return lambda x: jnp.sum(jnp.real(jax.tree.leaves(matrix_function(x))[0]))


REFUSED = {
    "a complex output": (lambda x: jnp.sum(x * 1j), X, TypeError, "the output is complex128, and a gradient"),
    "no rule for one input": (
        lambda a: jnp.sum(lax.betainc(a, a, X / 4)), X,
        NotImplementedError, "`regularized_incomplete_beta` .* has no rule for its input 0, .*stop_gradient",
    ),
    "no rule anywhere": (lambda x: jnp.sum(lax.zeta(x + 1, x)), X, NotImplementedError, "`zeta` .*: JAX has no"),
    # JAX binds it as writing 0 at indices, with the function among its parameters
    "a function applied at indices": (
        lambda x: jnp.sum(x.at[np.array([0, 2])].apply(jnp.sin) ** 2), X,
        NotImplementedError, "test_forms.py:.*scatter that applies a function",
    ),
    "a wide matrix": (by(jnp.linalg.qr), WIDE, NotImplementedError, "qr has a rule only without pivoting"),
    "a pivoted factor": (
        by(lambda x: jax.scipy.linalg.qr(x, pivoting=True)), SQUARE,
        NotImplementedError, "qr has a rule only without pivoting",
    ),
    "a complex matrix": (by(lambda x: jnp.linalg.qr(x * 1j)), SQUARE, NotImplementedError, "qr of complex matrices"),
    "undetermined columns": (
        lambda x: jnp.sum(jnp.linalg.svd(x)[2]), WIDE, NotImplementedError, "full_matrices=True has a rule only",
    ),
    "some singular values": (
        by(lambda x: lax.linalg.svd(x, full_matrices=False, subset_by_index=(0, 1))[1]), SQUARE,
        NotImplementedError, "svd of a subset",
    ),
    "left eigenvectors": (by(lambda x: lax.linalg.eig(x)[1]), SQUARE, NotImplementedError, "eig with left"),
    "a pool with gaps": (
        lambda x: jnp.sum(lax.reduce_window(x, -jnp.inf, lax.max, (2,), (1,), "VALID", (1,), (2,))), X,
        NotImplementedError, "an extreme over windows with dilation has no rule",
    ),
    "a maximum from 0": (
        lambda x: jnp.sum(lax.reduce_window(x, 0.0, lax.max, (2,), (1,), "VALID")), X,
        NotImplementedError, "`reduce_window` .test_forms.py.* For sums start at 0, for a maximum at -jnp.inf",
    ),
    "a while of a library in a scan": (
        lambda x: jnp.sum(odeint(lambda y, t: -y, x, X)), X,
        NotImplementedError, r"^test_forms.py:\d+: the operation `while` has no",
    ),
    "a solver without a way back": (
        lambda b: jnp.sum(lax.custom_linear_solve(lambda x: 2 * x, b, lambda _, b: b / 2)), X,
        NotImplementedError, "a linear solver without transpose_solve has no backward pass",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_rule_is_refused_in_a_sentence(what):
    f, x, error, message = REFUSED[what]
    for look in (fnn.graph, fnn.show_backward):
        with pytest.raises(error, match=message):
            look(f, jnp.asarray(x))


def test_a_function_with_a_rule_for_batches_is_looked_through():
    # JAX itself has no way back through it
    np.testing.assert_array_equal(fnn.graph(lambda x: jnp.sum(squared(x)), X).gradients[0], 2 * X)


def test_a_shared_maximum_of_many_in_half_precision():
    # 70 000 is more than float16 holds: counted in it, each would get 0
    gradient = fnn.graph(jnp.max, jnp.ones(70_000, jnp.float16)).gradients[0]
    np.testing.assert_allclose(gradient.astype(np.float64), 1 / 70_000, rtol=tolerances.FORWARD["bfloat16"])


def test_a_convolution_in_half_precision_with_sums_in_single():
    x, k = jnp.arange(8, dtype=jnp.bfloat16).reshape(1, 1, 8), jnp.ones((1, 1, 3), jnp.bfloat16)

    def f(x, k):
        return jnp.sum(lax.conv_general_dilated(x, k, (1,), "VALID", preferred_element_type=jnp.float32) ** 2)

    for got, want in zip(fnn.graph(f, x, k).gradients, jax.grad(f, argnums=(0, 1))(x, k), strict=True):
        assert got.dtype == want.dtype and np.array_equal(got, want)
    assert "preferred_element_type=jnp.float32" in str(fnn.show_backward(f, x, k))


def test_a_product_in_half_precision_with_sums_in_single():
    x, w = jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3), jnp.ones((3, 2), jnp.bfloat16)

    def f(x, w):
        return jnp.sum(jnp.dot(x, w, preferred_element_type=jnp.float32) ** 2)

    for got, want in zip(fnn.graph(f, x, w).gradients, jax.grad(f, argnums=(0, 1))(x, w), strict=True):
        assert got.dtype == want.dtype and np.array_equal(got, want)
    assert "preferred_element_type=jnp.float32" in str(fnn.show_backward(f, x, w))


@pytest.mark.parametrize("f", [jnp.cbrt, jnp.sqrt, lax.rsqrt, lambda x: jnp.arctan2(x, x)])
def test_slopes_of_roots_at_0_are_those_of_jax(f):
    ours, theirs = fnn.graph(f, 0.0).gradients[0], jax.grad(f)(0.0)
    assert np.array_equal(ours, theirs, equal_nan=True)


def test_the_sign_of_a_complex_number_has_a_slope():
    # JAX gives 0. The sign of e^{ix} is itself
    gradient = fnn.graph(lambda x: jnp.real(jnp.sign(2 * jnp.exp(1j * x))), 0.7).gradients[0]
    np.testing.assert_allclose(gradient, -np.sin(0.7), rtol=tolerances.LEAF)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jnp.cos", "gives another gradient than the local rules"),
        ("jnp.nothing", "does not run: AttributeError"),
        ("(lambda x: (x, x))", "does not run: TypeError"),
    ],
)
def test_code_that_is_wrong_is_not_handed_out(text, message, monkeypatch):
    monkeypatch.setitem(TABLE, "sin", dataclasses.replace(TABLE["sin"], python=py.function(text)))
    f = lambda x: jnp.sin(x) ** 2  # noqa: E731
    with pytest.raises(NotImplementedError, match=f"{message}.* report the function. tried=False returns the source"):
        fnn.show_backward(f, 1.0)
    assert text in str(fnn.show_backward(f, 1.0, tried=False))


def test_what_has_no_source_is_refused(monkeypatch):
    monkeypatch.setitem(TABLE, "sin", dataclasses.replace(TABLE["sin"], python=py.unwritten))
    with pytest.raises(NotImplementedError, match=r"`sin` .test_forms.py:\d+. cannot be written as Python here"):
        fnn.show_backward(lambda x: jnp.sin(x) ** 2, 1.0)
    with pytest.raises(NotImplementedError, match="cannot be written as Python here"):
        py.unwritten([], {}, None)


def test_an_algorithm_of_products_has_its_name_in_the_source():
    assert py.precision(lax.DotAlgorithmPreset.F64_F64_F64) == "lax.DotAlgorithmPreset.F64_F64_F64"
    assert py.precision((lax.Precision.HIGH, lax.Precision.HIGHEST)) == "('high', 'highest')"
    with pytest.raises(NotImplementedError, match="cannot be written as Python here"):
        py.precision(lax.DotAlgorithm(np.float32, np.float32, np.float32))


def test_a_function_applied_at_indices_of_data_has_no_source():
    f = lambda x: jnp.sum(x * lax.stop_gradient(x).at[0].apply(jnp.sin))  # noqa: E731
    with pytest.raises(NotImplementedError, match=r"`scatter` .test_forms.py:\d+. cannot be written as Python here"):
        fnn.show_backward(f, X)


def test_some_eigenvalues_alone_have_no_rule():
    with pytest.raises(NotImplementedError, match="eigh of a subset of the eigenvalues"):
        TABLE["eigh"].pull((SQUARE, X[:2]), (SQUARE, X[:2]), SQUARE, subset_by_index=(0, 1))


def test_code_that_returns_another_structure_is_not_handed_out(monkeypatch):
    module = __import__("sys").modules["fnn.glassbox.code.backward"]
    monkeypatch.setattr(module, "_literal", lambda tree, texts, parameter: f"[{next(texts)}]")
    with pytest.raises(NotImplementedError, match="returns another structure than the arguments"):
        fnn.show_backward(lambda x: x * x, 1.0)


def test_complex_numbers_are_shown():
    box = fnn.graph(lambda z: jnp.sum(jnp.abs(z * z) ** 2) + jnp.real(z[0]), jnp.array([1 + 2j, -1j]))
    assert "<svg" in box.svg() and "<html" in box.html() and "complex" in repr(box.nodes[0]) and str(box)
    single = fnn.graph(lambda z: jnp.real(z * z), 1 + 2j)
    assert "1 + 2i" in str(single) and "<svg" in single.svg() and single.trouble is None and single.sizes()
    assert complex(single.gradients[0]) == 2 + 4j


def test_the_copies_of_a_row_are_added_in_one_step():
    # JAX makes a row of b first, then copies of it
    source = fnn.show_backward(lambda x, W, b: jnp.sum(jnp.tanh(x @ W + b)), WIDE, SQUARE[[0, 1, 1]], X[:2])
    assert "    b_bar = jnp.sum(added_bar, axis=0)\n" in source.python and "reshape" not in source.python
