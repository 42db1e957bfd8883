"""Situations from public bug reports of other projects: right code is never called wrong, wrong code never ok."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.checker import Verdict
from tests.checker.nets import V


@pytest.fixture(autouse=True)
def promotion():
    """As users have it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def rule(forward, backward):
    function = jax.custom_vjp(lambda *args: forward(*args))
    function.defvjp(lambda *args: (forward(*args), args), lambda args, bar: backward(bar, *args))
    return function


# ---- the user's own setting: what a right function makes inside ------------------------------------------------------

IMAGES = np.array([0.5, 1.5]), np.array([2.0, 3.0])


def elbo(mu, rho, key):
    return jnp.sum((mu + jnp.exp(rho) * jax.random.normal(key, (3,))) ** 2) - jnp.sum(rho)


def gelu(z):
    return 0.5 * z * (1 + jax.lax.erf(z / np.sqrt(2)))


RIGHT = {
    "ones": (lambda x: jnp.sum(x * jnp.ones(3)), V),
    "arange": (lambda x: jnp.sum(x**2 * jnp.arange(1.0, 4)), V),
    "linspace": (lambda x: jnp.sum(x**2 * jnp.linspace(0, 1, 3)), V),
    "zeros, filled": (lambda x: jnp.sum(jnp.zeros(3).at[:].add(x**2)), V),
    "a number of Python": (lambda x: x * x + 1.0, 2.0),
    "noise from a key": (elbo, jnp.ones(3), jnp.zeros(3), jax.random.key(0)),
    "constants of NumPy": (
        lambda w, x: jnp.sum(jnp.tanh((x - IMAGES[0]) / IMAGES[1] @ w)), jnp.ones((2, 3)), jnp.ones((4, 2)),
    ),
    "a whole power": (lambda x, n: x**n, 3.0, 2),
    "entropy": (lambda p: -jnp.sum(jax.scipy.special.xlogy(p, p)), jnp.array([0.2, 0.3, 0.5])),
    "mixed precision": (
        lambda w, x: jnp.sum(jnp.tanh(w.astype(jnp.float32) * x)), jnp.full(2, 0.7, jnp.bfloat16),
        jnp.array([1.0, 2.0]),
    ),
    "a carry of a fixed dtype": (lambda x: jax.lax.scan(lambda c, u: (c + u**2, None), jnp.float32(0), x)[0], V),
    "softplus at 0": (lambda x: jnp.sum(jax.nn.softplus(x)), jnp.array([0.0, 1.0, -3.0])),
    "logaddexp at a tie": (lambda x: jnp.sum(jnp.logaddexp(x, 0.0)), jnp.array([0.0, 1.0])),
    "dropout": (
        lambda x, key: jnp.sum(jnp.where(jax.random.bernoulli(key, 0.7, (3,)), x / 0.7, 0) ** 2), V, jax.random.key(1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", RIGHT)
def test_a_right_function_is_right_whatever_it_makes_inside(what):
    f, *args = RIGHT[what]
    report = fnn.check(f, *args)
    assert report.ok, str(report)


@pytest.mark.parametrize("factor", [1, 2])
def test_rules_with_constants_of_numpy(factor):
    f = rule(gelu, lambda bar, z: (factor * bar * jax.jvp(gelu, (z,), (jnp.ones_like(z),))[1],))
    assert fnn.check(lambda z: jnp.sum(f(z)), V).ok == (factor == 1)


def test_a_gradient_in_the_default_dtype_is_right():
    report = fnn.check(
        lambda w: w[0] + jnp.sum(w**2), V, gradient=lambda w: jnp.zeros(3).at[0].set(1.0) + 2 * w
    )  # fmt: skip
    assert report.ok, str(report)


def test_64_bit_users_are_served_too():
    with jax.enable_x64(True):
        x = jnp.asarray(np.asarray(V, np.float64))
        assert fnn.check(lambda x: jnp.sum(jnp.tanh(x) * jnp.ones(3)), x).ok
        wide = fnn.check(lambda x: jnp.sum(x.astype(jnp.float32) * IMAGES[0][0]), V)
        assert wide.ok, str(wide)


# ---- two operands, data that are captured, rules of one factory ------------------------------------------------------


def test_one_array_passed_twice_is_two_operands():
    product = rule(lambda a, b: a * b, lambda bar, a, b: (bar * b, bar * a))
    assert fnn.check(lambda x: jnp.sum(product(x, x)), V).ok
    wrong = rule(lambda a, b: a * b, lambda bar, a, b: (2 * bar * b, 0 * bar))
    assert not fnn.check(lambda x: jnp.sum(wrong(x, x)), V).ok


def sine(factor):
    return rule(jnp.sin, lambda bar, x: (factor * bar * jnp.cos(x),))


def test_rules_of_one_factory_are_told_apart():
    right, wrong = sine(1.0), sine(2.0)
    report = fnn.check(lambda x: jnp.sum(jax.lax.cond(x[0] > 0, wrong, right, x)), -V)
    assert not report.ok
    report = fnn.check(lambda x: jnp.sum(right(x)) + jnp.sum(wrong(x)), V)
    assert len(report.culprits) == 1 and report.culprits != ("gradient",) and "a factor of 2" in str(report)


def test_static_arguments_and_captured_constants_tell_rules_apart():
    @functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
    def power(x, n):
        return x**n

    power.defvjp(lambda x, n: (x**n, x), lambda n, x, bar: (bar * (2 if n == 2 else 1) * x ** (n - 1),))
    assert fnn.check(lambda x: jnp.sum(power(x, 2)), V).ok
    assert fnn.check(lambda x: jnp.sum(power(x, 2) + power(x, 3)), V).culprits == ("power",)


def test_data_that_a_function_captures():
    weights = jnp.array([1.0, 0.0, 2.0])

    def weighted(x, w):
        return jnp.where(w != 0, w * x**2, 0.0)

    right = rule(weighted, lambda bar, x, w: (bar * 2 * w * x, bar * x**2 * (w != 0)))
    assert fnn.check(lambda x: jnp.sum(right(x, weights)), V).ok
    none = rule(lambda p, t: jnp.mean((p - t) ** 2), lambda bar, p, t: (bar * 2 * (p - t) / p.size, None))
    assert fnn.check(lambda p: none(p, weights), V).ok
    wrong = rule(lambda p, t: jnp.mean((p - t) ** 2), lambda bar, p, t: (bar * 2 * (p - t), None))
    assert "a factor of 3 too many" in str(fnn.check(lambda p: wrong(p, weights), V))


@pytest.mark.parametrize("loss", [fnn.sigmoid_cross_entropy, fnn.squared_error])
def test_losses_that_the_adapter_lends(loss):
    z, y = jnp.array([[0.3], [-1.0], [2.0]]), jnp.array([[1.0], [0.0], [1.0]])
    report = fnn.check(lambda z: fnn.custom_vjp(loss)(z, y), z)
    assert report.ok, str(report)


# ---- witnesses that do not run ---------------------------------------------------------------------------------------


def root(a):
    start = a, 0.5 * (a + 1)
    step = lambda c: (c[1], 0.5 * (c[1] + a / c[1]))  # noqa: E731
    return jax.lax.while_loop(lambda c: jnp.abs(c[0] - c[1]) > 1e-13 * c[1], step, start)[1]


@pytest.mark.parametrize("factor", [1, 2])
def test_an_iteration_without_reverse_mode(factor):
    f = jax.custom_vjp(root)
    f.defvjp(lambda a: (root(a),) * 2, lambda r, bar: (factor * bar / (2 * r),))
    report = fnn.check(lambda a: f(a), jnp.float32(2.0))
    assert report.ok == (factor == 1), str(report)
    assert report.ok or "a factor of 2 too many" in str(report)


def test_what_nothing_can_judge_is_undecided_and_not_wrong():
    f = jax.custom_vjp(lambda x: jax.lax.while_loop(lambda c: jnp.sum(c) > 1e6, lambda c: c / 2, 3 * x))
    f.defvjp(lambda x: (f(x), None), lambda _, bar: (3 * bar,))
    report = fnn.check(lambda x: jnp.sum(f(x)), jnp.ones(5000))
    assert not report.ok and report.culprits == (), str(report)
    assert "nothing can judge it: the function has no reverse mode, and 5000 entries are too many" in str(report)


def test_forward_mode_alone():
    f = lambda x: jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x))[1]  # noqa: E731
    fnn.checker.check_grads(f, (V,), 1, modes=("fwd",))


def test_sinc_is_right_to_the_second_order():
    assert fnn.check(lambda x: jnp.sum(jnp.sinc(x)), jnp.array([0.0, 0.3]), order=2).ok


X_NUMPY, Y_NUMPY = np.array([[1.0, 2.0], [0.5, -1.0]]), np.array([1.0, 0.5])


def numpy_gradient(w):
    w = np.asarray(w)
    return 2 * X_NUMPY.T @ (X_NUMPY @ w - Y_NUMPY) / len(X_NUMPY)


@pytest.mark.parametrize("numbers", [np, jnp])
def test_a_gradient_in_numpy(numbers):
    loss = lambda w: numbers.mean((X_NUMPY @ w - Y_NUMPY) ** 2)  # noqa: E731
    w = jnp.array([0.3, -0.2])
    assert fnn.check(loss, w, gradient=numpy_gradient).ok
    report = fnn.check(loss, w, gradient=lambda w: 3 * numpy_gradient(w))
    assert not report.ok and "a factor of 3 too many" in str(report)
    report = fnn.check(loss, w, gradient=lambda w: numpy_gradient(w) * np.array([1.0, -1.0]))
    assert not report.ok
    assert not fnn.check(loss, w, gradient=lambda w: numpy_gradient(w)[:1]).ok


# ---- small leaves and kinks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x64", [True, False])
def test_a_small_leaf_cannot_hide(x64):
    with jax.enable_x64(x64):
        x = jnp.asarray([0.5, 1.2, -0.3])
        f = lambda p: jnp.sum(p["a"] ** 2) + 1e-12 * jnp.sum(p["b"] ** 2)  # noqa: E731
        wrong = lambda p: {"a": 2 * p["a"], "b": 3e-12 * p["b"]}  # noqa: E731
        report = fnn.check(f, {"a": x, "b": x}, gradient=wrong)
        assert not report.ok and "right in float64" not in str(report)
        assert fnn.check(f, {"a": x, "b": x}, gradient=jax.grad(f)).ok


@pytest.mark.parametrize("at", [0.0, 2.0])
def test_a_value_outside_the_slopes_at_a_kink_is_wrong_anywhere(at):
    def slope(value):
        return lambda x: jnp.where(x == at, value, jnp.sign(x - at)).astype(x.dtype)

    f = lambda x: jnp.sum(jnp.abs(x - jnp.asarray(at, x.dtype)))  # noqa: E731
    x = jnp.array([at, 5.0])
    assert not fnn.check(f, x, gradient=slope(3.0)).ok
    report = fnn.check(f, x, gradient=slope(0.5))
    assert report.ok and Verdict.KINK in {f.verdict for f in report.findings}, str(report)


def test_ties_of_a_maximum_share_the_slope():
    x = jnp.array([1.0, 2.0, 2.0, 0.5])

    def tied(x):
        return (x == x.max()).astype(x.dtype)

    right = lambda x: tied(x) / tied(x).sum(), lambda x: jax.nn.one_hot(jnp.argmax(x), 4, dtype=x.dtype)
    for gradient in right:
        report = fnn.check(jnp.max, x, gradient=gradient)
        assert report.ok, str(report)
    for gradient in (tied, lambda x: tied(x) * (tied(x).sum() < 2)):
        report = fnn.check(jnp.max, x, gradient=gradient)
        assert not report.ok and "together they are not" in str(report), str(report)


# ---- what is said in place of raw errors -----------------------------------------------------------------------------


def test_texts_and_functions_are_held_fixed():
    def f(x, how, act):
        return jnp.sum(act(x)) if how == "sum" else jnp.mean(act(x))

    report = fnn.check(f, V, "sum", jnp.sin)
    assert report.ok and report.skipped == (
        "argument 1 (str, held fixed)", f"argument 2 ({type(jnp.sin).__name__}, held fixed)",
    )  # fmt: skip
    assert not fnn.check(f, V, "mean", jnp.sin, gradient=lambda x, *_: jnp.cos(x)).ok
    fnn.checker.check_grads(lambda x, how: x**2 if how == "sum" else x, (V, "sum"), 1)


def test_what_cannot_be_traced_is_refused_with_its_line():
    def decides(x):
        return x * x if x > 0 else -x

    def in_numpy(x):
        return np.sum(np.square(x))

    with pytest.raises(TypeError, match=r"test_cases.py:\d+ decides by the values .* Use jnp.where"):
        fnn.check(decides, jnp.float32(1.0))
    with pytest.raises(TypeError, match=r"test_cases.py:\d+ uses NumPy on a value .* gradient=g"):
        fnn.check(in_numpy, V)


def test_complex_and_empty_arguments_are_said():
    with pytest.raises(TypeError, match=r"real numbers, got complex ones \(complex64\) in argument 0"):
        fnn.check(lambda z: jnp.sum(jnp.abs(z) ** 2), jnp.array([1.0 + 2j, -0.5j]))
    with pytest.raises(ValueError, match=r"every floating argument is empty, of shape \(0, 3\)"):
        fnn.check(lambda x: jnp.sum(x**2), jnp.zeros((0, 3)))


def test_a_fresh_closure_compiles_nothing():
    def f():
        g, h = sine(1.0), rule(jnp.tanh, lambda bar, x: (bar * (1 - jnp.tanh(x) ** 2),))
        return lambda x: jnp.sum(h(g(x) * jnp.ones(3)))

    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, *_, **__: compiled.append(name) if "jaxpr_to_mlir" in name else None
    )
    try:
        assert fnn.check(f(), V).ok
        first = len(compiled)
        assert fnn.check(f(), V).ok
        assert 0 < first <= 25 and len(compiled) == first, (first, len(compiled))
    finally:
        jax.monitoring.clear_event_listeners()
