"""Situations from public bug reports of other projects: right code is never called wrong, wrong code never ok."""

import functools
import re

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
    "arrays of the default dtype": (
        lambda x: jnp.sum(
            x * jnp.ones(3) + x**2 * jnp.arange(1.0, 4) * jnp.linspace(0, 1, 3) + jnp.zeros(3).at[:].add(x**2)
        ),
        V,
    ),
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


def weighted_squares(z):
    # three constants of the default dtype, made anew at each call
    return jnp.sum(jnp.array([0.1, 0.2, 0.7]) * z**2)


ROUNDED = {
    # NumPy's float32 leaves 0.10000000149 beside a float64, and the rule holds 0.1
    "a number in float32": (lambda z: jnp.sum(jnp.tanh(np.float32(0.1) * z)), lambda z: 0.1 / jnp.cosh(0.1 * z) ** 2),
    "made inside, and again": (weighted_squares, lambda z: 2 * z * jnp.array([0.1, 0.2, 0.7])),
}


@pytest.mark.parametrize("what", ROUNDED)
def test_a_constant_may_be_rounded_as_in_float32(what):
    f, gradient = ROUNDED[what]
    report = fnn.check(rule(f, lambda bar, z: (bar * gradient(z),)), V)
    assert report.ok, str(report)
    assert not fnn.check(rule(f, lambda bar, z: (1.0001 * bar * gradient(z),)), V).ok


def relu6(z):
    return jnp.clip(z, 0, 6)


def test_a_rule_is_tried_beyond_the_numbers_with_which_it_compares():
    """Of random numbers of ordinary size none is above 6, and what is wrong there alone was ok."""
    for slope, ok in ((lambda z: (z > 0) & (z < 6), True), (lambda z: z > 0, False)):
        own = rule(relu6, lambda bar, z, slope=slope: (bar * slope(z),))
        report = fnn.check(lambda z, own=own: own(z), 1.5)
        assert report.ok == ok, str(report)
    # with the number captured as an array
    six = jnp.float32(6)
    own = rule(lambda z: jnp.minimum(z, six), lambda bar, z: (bar * jnp.ones_like(z),))
    assert not fnn.check(lambda z: jnp.sum(own(z)), V).ok


ONES, TWICE = jnp.ones(3, bool), jnp.array([0, 2, 1])


def masked(z, m):
    return jnp.sum(jnp.where(m, z**2, 0))


def looked_up(z, y):
    return jnp.sum(z[y] ** 2)


def without_marked(z, y):
    return jnp.sum(jnp.where(y == -1, 0, z[jnp.maximum(y, 0)] ** 2))


def scattered(z, y, bar):
    return jnp.zeros_like(z).at[y].add(2 * bar * z[y])


OTHERS = {
    # what the rule leaves out does not occur in the run: (function, data, right, wrong, the verdict, what is said)
    "a mask that is forgotten": (
        masked, ONES, lambda bar, z, m: 2 * bar * z * m, lambda bar, z, m: 2 * bar * z, "FORMULA",
        "an entry of argument 1 is not as all others",
    ),
    "one index twice": (
        looked_up, TWICE, lambda bar, z, y: scattered(z, y, bar),
        lambda bar, z, y: jnp.zeros_like(z).at[y].set(2 * bar * z[y]), "ASSUMES",
        "right for the whole numbers of argument 1 in your run; for others of their range its entry",
    ),
    "a label that is left out": (
        without_marked, TWICE, lambda bar, z, y: scattered(z, jnp.where(y == -1, 3, y), bar),
        lambda bar, z, y: scattered(z, jnp.maximum(y, 0), bar), "ASSUMES", "right for the whole numbers of argument 1",
    ),
    "labels below 0 that are left out": (
        lambda z, y: jnp.sum(jnp.where(y >= 0, z[y] ** 2, 0)), TWICE,
        lambda bar, z, y: scattered(z, jnp.where(y >= 0, y, 3), bar), lambda bar, z, y: scattered(z, y, bar), "ASSUMES",
        "right for the whole numbers of argument 1",
    ),
    "padding with a number beyond": (
        lambda z, y: jnp.sum(jnp.where(y != 9, z[jnp.minimum(y, 2)] ** 2, 0)), TWICE,
        lambda bar, z, y: scattered(z, y, bar), lambda bar, z, y: scattered(z, jnp.minimum(y, 2), bar), "ASSUMES",
        "right for the whole numbers of argument 1",
    ),
    "an index as JAX takes it": (
        lambda z, y: jnp.sum(jnp.take(z, y)), TWICE, lambda bar, z, y: bar * jax.nn.one_hot(y, 3).sum(0),
        lambda bar, z, y: bar * jax.nn.one_hot(y, 3).max(0), "ASSUMES", "right for the whole numbers of argument 1",
    ),
    "a flag": (
        lambda z, y: jnp.sum(jnp.where(y, z**2, z)), True, lambda bar, z, y: bar * jnp.where(y, 2 * z, 1),
        lambda bar, z, y: bar * 2 * z, "ASSUMES", "right for the value of argument 1 in your run; for another",
    ),
    "a whole power": (
        lambda z, n: jnp.sum(z**n), 1, lambda bar, z, n: bar * n * z ** (n - 1), lambda bar, z, n: bar * z ** (n - 1),
        "ASSUMES", "right for the value of argument 1 in your run; for another",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
def test_a_rule_is_tried_with_other_booleans_and_whole_numbers(what):
    f, data, right, wrong, verdict, says = OTHERS[what]
    report = fnn.check(rule(f, lambda *args: (right(*args), None)), V, data)
    assert {found.verdict for found in report.findings} == {Verdict.OK}, str(report)
    report = fnn.check(rule(f, lambda *args: (wrong(*args), None)), V, data, strict=True)
    assert not report.ok and report.findings[0].verdict.name == verdict, str(report)
    assert says in report.findings[0].message


def test_a_mask_is_turned_beside_targets_that_get_no_gradient():
    def loss(p, t, m):
        return jnp.sum(jnp.where(m, (p - t) ** 2, 0))

    for kept, verdict in ((lambda m: m, Verdict.ASSUMES), (lambda m: 1, Verdict.FORMULA)):
        own = rule(loss, lambda bar, p, t, m, kept=kept: (2 * bar * (p - t) * kept(m), None, None))
        report = fnn.check(own, V, 2 * V, ONES)
        assert max((found.verdict for found in report.findings), key=lambda each: each.gravity) == verdict, str(report)


def norm(z):
    squares = jnp.sum(z**2)
    return jnp.where(squares == 0, 0.0, jnp.sqrt(jnp.where(squares == 0, 1.0, squares)))


POSITIVE = jnp.array([0.5, 1.5, 2.5])
EXTREMES = {
    # what few random numbers reach: (function, point, right, wrong, the verdict, what is said)
    "a cotangent that is clipped": (
        jnp.sin, V, lambda bar, z: bar * jnp.cos(z), lambda bar, z: jnp.clip(bar, -50, 50) * jnp.cos(z), "FORMULA",
        "right with cotangents of ordinary size",
    ),
    "an end for positive numbers": (
        lambda z: jnp.sqrt(jnp.where(z < 10, z, 10.0)), POSITIVE,
        lambda bar, z: bar * jnp.where(z < 10, 0.5 / jnp.sqrt(z), 0), lambda bar, z: bar * 0.5 / jnp.sqrt(z), "FORMULA",
        "where numbers are beyond 10, with which it compares",
    ),
    "a small threshold": (
        lambda z: jnp.log(jnp.maximum(z, 0.05)) + jnp.sqrt(z), POSITIVE,
        lambda bar, z: bar * (jnp.where(z > 0.05, 1 / z, 0) + 0.5 / jnp.sqrt(z)),
        lambda bar, z: bar * (1 / z + 0.5 / jnp.sqrt(z)), "FORMULA", "where numbers are below 0.05",
    ),
    "a guard against overflow": (
        lambda z: jnp.exp(jnp.minimum(z, 80)), V, lambda bar, z: bar * jnp.where(z < 80, jnp.exp(z), 0),
        lambda bar, z: bar * jnp.exp(z), "ASSUMES", "right up to 80, with which it compares; beyond its entry",
    ),
    "exactly 0": (
        norm, V, lambda bar, z: bar * z / jnp.where(norm(z) == 0, 1, norm(z)), lambda bar, z: bar * z / norm(z),
        "FORMULA", "where numbers are exactly 0, which it asks for",
    ),
    "a division with a guard": (
        lambda z: z / jnp.maximum(jnp.abs(z), 1e-6), V, lambda bar, z: 0 * bar, lambda bar, z: bar * 1e-3, "FORMULA",
        "a local derivative is missing",
    ),
    # those of a library meet the derivative to fewer digits
    "a function in pieces": (
        lambda z: jnp.where(z < 8, 1, 1 + 1e-7) * z, V, lambda bar, z: bar, lambda bar, z: bar * jnp.where(z < 8, 1, 2),
        "FORMULA", "at random inputs, and right where your run called it",
    ),
    # infinity is no number at which it can be tried
    "infinity": (
        lambda z: jnp.where(z == jnp.inf, 1, jnp.tanh(z)), V[None], lambda bar, z: bar * (1 - jnp.tanh(z) ** 2),
        lambda bar, z: bar * (1 - jnp.tanh(z) ** 2) / 2, "FORMULA", "a factor of ½ too many",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", EXTREMES)
def test_a_rule_is_tried_where_few_random_numbers_are(what):
    f, point, right, wrong, verdict, says = EXTREMES[what]
    for backward, expected in ((right, Verdict.OK), (wrong, Verdict(verdict))):
        own = rule(f, lambda bar, z, backward=backward: (backward(bar, z),))
        report = fnn.check(lambda z, own=own: jnp.sum(own(z)), point)
        gravest = max(report.findings, key=lambda found: found.verdict.gravity)
        assert gravest.verdict in (expected, Verdict.KINK if expected == Verdict.OK else expected), str(report)
    assert says in str(gravest.message) and not (gravest.kind == "entry" and gravest.certain), str(report)


def test_a_rule_of_complex_numbers_is_tried_inside_the_whole_gradient():
    """With an imaginary part of 0 a conjugate that is too many cannot be seen."""
    for slope, ok in ((lambda z: z, True), (jnp.conj, False)):
        own = rule(lambda z: z * z, lambda bar, z, slope=slope: (2 * bar * slope(z),))
        report = fnn.check(lambda x, y, own=own: jnp.sum(jnp.real(own(x + 1j * y))), V, jnp.zeros(3))
        assert report.ok == ok and "takes complex numbers, and was judged as a part of the whole" in str(report)


def test_an_output_that_nothing_depends_on_has_no_cotangent():
    """As statistics, or the logarithm of a sum, that a layer gives beside its output."""
    squares = rule(lambda z: (z**2, jnp.exp(z)), lambda bars, z: (2 * z * bars[0],))
    for f, verdict in (
        (lambda z: squares(z)[0], Verdict.ASSUMES),
        (lambda z: squares(z)[0] + jax.lax.stop_gradient(squares(z)[1]), Verdict.ASSUMES),
        (lambda z: squares(z)[0] * squares(z)[1], Verdict.FORMULA),
    ):
        report = fnn.check(lambda z, f=f: jnp.sum(f(z)), V)
        assert max((found.verdict for found in report.findings), key=lambda each: each.gravity) == verdict, str(report)
        assert ("depends on its output 1, as in your run" in str(report)) == (verdict == Verdict.ASSUMES)


def test_what_passes_through_complex_numbers_is_differentiated_too():
    """A zero for what a Fourier transform of the parameters gives is no zero for data."""
    product = rule(lambda a, b: jnp.sum(a * b), lambda bar, a, b: (bar * b, 0 * b))
    report = fnn.check(lambda x: product(x, jnp.abs(jnp.fft.fft(x))), V)
    assert report.culprits != ("gradient",) and not report.ok, str(report)


def test_an_iteration_that_settles_where_it_was_called_is_right_there():
    """Newton's steps for w e^w = x run anywhere, and settle for x > 0 only."""

    @jax.custom_jvp
    def lambert(x):
        def step(_, w):
            return w - (w * jnp.exp(w) - x) / (jnp.exp(w) * (w + 1))

        return jax.lax.fori_loop(0, 40, step, jnp.log1p(x))

    lambert.defjvps(lambda t, w, x: t * w / (x * (1 + w)))
    report = fnn.check(lambda x: jnp.sum(lambert(x)), jnp.array([0.3, 1.2, 4.0]))
    assert report.ok and "right where the iteration has converged" in str(report), str(report)


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


def test_a_solver_on_the_host_that_cannot_be_mapped():
    def host(a, b):
        return jax.pure_callback(lambda a, b: np.linalg.solve(a, b).astype(b.dtype), jax.typeof(b), a, b)

    solve = jax.custom_vjp(host)

    def backward(kept, bar):
        b_bar = host(kept[0].T, bar)
        return -jnp.outer(b_bar, kept[1]), b_bar

    solve.defvjp(lambda a, b: ((x := host(a, b)), (a, x)), backward)
    a, b = jnp.array([[2.0, 0.3], [0.1, 1.5]]), jnp.array([1.0, -0.5])
    report = fnn.check(lambda a, b: jnp.sum(solve(a, b) ** 2), a, b)
    assert report.ok, str(report)


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


def test_kinks_that_have_nothing_to_do_with_each_other():
    """One bends up, the other down: along a direction of both the slope may be one number, and each may be chosen."""
    between = lambda x: jnp.minimum(jnp.maximum(x, 0), 6)  # noqa: E731
    x = jnp.array([-1.0, 0.0, 6.0, 7.0])
    for at_border, ok in ((0.0, True), (1.0, True), (3.0, False)):
        inside = lambda x, v=at_border: jnp.where((x == 0) | (x == 6), v, (x > 0) & (x < 6)).astype(x.dtype)  # noqa: E731
        f = rule(between, lambda bar, x, slope=inside: (bar * slope(x),))
        assert fnn.check(lambda x, f=f: jnp.sum(f(x)), x).ok == ok


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


# ---- what libraries and solvers do -----------------------------------------------------------------------------------


def test_a_rule_may_mend_what_autodiff_makes_nan_at_a_kink():
    def safe_norm(at_zero):
        def backward(bar, x):
            size = jnp.sqrt(jnp.sum(x * x))
            return (jnp.where(size > 0, bar * x / jnp.where(size > 0, size, 1), at_zero),)

        return rule(lambda x: jnp.sqrt(jnp.sum(x * x)), backward)

    zero = jnp.zeros(3)
    report = fnn.check(safe_norm(0.0), zero)
    assert report.ok and "any value from -1 to 1 is possible; autodiff gives NaN or infinity" in str(report), str(
        report
    )
    report = fnn.check(safe_norm(3.0), zero)
    assert not report.ok and "and autodiff gives NaN or infinity" in str(report), str(report)


def test_what_the_function_stops_is_held_in_the_differences_too():
    def with_metrics(z):
        return jnp.mean(z**2), jax.lax.stop_gradient(jax.nn.softmax(z))

    for factor in (1, 2):
        f = rule(with_metrics, lambda bars, z, factor=factor: (factor * bars[0] * 2 * z / z.size,))
        report = fnn.check(lambda z, f=f: f(z)[0], V)
        assert report.ok == (factor == 1), str(report)
    assert re.search(r"what stop_gradient stops \(test_cases.py:\d+\) is held in the differences too", str(report))


def test_what_jax_stops_inside_is_not_held():
    """`jnp.linalg.solve` stops the factors of its matrix, and has a derivative all the same."""
    solve = rule(jnp.linalg.solve, lambda bar, a, b: jax.vjp(jnp.linalg.solve, a, b)[1](bar))
    a, b = jnp.array([[2.0, 0.3], [0.1, 1.5]]), jnp.array([1.0, -0.5])
    report = fnn.check(lambda a, b: jnp.sum(solve(a, b) ** 2) + jnp.linalg.slogdet(a)[1], a, b)
    assert report.ok and "stop_gradient" not in str(report), str(report)


def test_data_captured_in_the_dtype_of_the_run_are_no_cast():
    f = rule(lambda z, t: jnp.sum(t * jnp.sin(z)), lambda bar, z, t: (bar * t * jnp.cos(z), None))
    report = fnn.check(lambda z: f(z, jnp.array([0.1, 0.2, 0.3])), V)
    assert report.ok and not any("float32" in note for note in report.notes), report.notes


def test_a_rule_of_jax_that_is_right_as_a_part_alone():
    def solve(f, start):
        newton = lambda s: (s[0] + 1, s[1] - f(s[1]) / jax.grad(f)(s[1]))  # noqa: E731
        return jax.lax.while_loop(lambda s: s[0] < 30, newton, (0, start))[1]

    def found_root(a):
        return jax.lax.custom_root(
            lambda x: x**3 + x - a, jnp.zeros_like(a), solve, lambda g, y: y / g(jnp.ones_like(y))
        )

    report = fnn.check(lambda a: jnp.sin(found_root(a)), jnp.float32(0.7))
    # some releases of JAX leave no rule in the trace of a root
    says = "of JAX is right as part of the whole gradient, and was not judged alone", "no hand-written rule was found"
    assert report.ok and any(each in str(report) for each in says), str(report)


def conjugate_gradients(a, b):
    def step(state):
        x, r, p, k = state
        rate = jnp.vdot(r, r) / jnp.vdot(p, a @ p)
        new = r - rate * (a @ p)
        return x + rate * p, new, new + jnp.vdot(new, new) / jnp.vdot(r, r) * p, k + 1

    start = jnp.zeros_like(b), b, b, 0
    return jax.lax.while_loop(lambda s: (s[3] < 12) & (jnp.vdot(s[1], s[1]) > 1e-26), step, start)[0]


def test_a_solver_for_symmetric_matrices_is_not_called_wrong():
    solve = jax.custom_vjp(conjugate_gradients)

    def backward(kept, bar):
        b_bar = conjugate_gradients(kept[0], bar)
        return -jnp.outer(b_bar, kept[1]), b_bar

    solve.defvjp(lambda a, b: ((x := conjugate_gradients(a, b)), (a, x)), backward)
    a = jnp.array([[2.0, 0.3, 0.1], [0.3, 1.5, -0.2], [0.1, -0.2, 1.8]])
    report = fnn.check(lambda s, b: jnp.sum(solve(a * s, b) ** 2), jnp.float32(1.3), V)
    assert report.culprits == () and "right where argument 0 is symmetric, as in your run" in str(report), str(report)


def test_what_a_rule_captured_stays_where_it_iterates():
    target = jnp.array([0.5, -0.2])

    def minimum(rate):
        step = lambda w: w - 0.4 * ((w - target) + rate * w)  # noqa: E731
        on = lambda s: (jnp.max(jnp.abs(s[1] - s[0])) > 1e-13) & (s[2] < 500)  # noqa: E731
        return jax.lax.while_loop(on, lambda s: (s[1], step(s[1]), s[2] + 1), (0 * target, step(0 * target), 0))[1]

    f = jax.custom_vjp(minimum)
    f.defvjp(lambda rate: ((w := minimum(rate)), (w, rate)), lambda kept, bar: (-bar @ kept[0] / (1 + kept[1]),))
    report = fnn.check(lambda rate: jnp.sum(f(rate) ** 2), jnp.float32(1.3))
    assert report.ok, str(report)


#: Mistakes, with what is said of them.
TOLD = {
    "the input for the output": (jax.nn.sigmoid, lambda bar, x: (bar * x * (1 - x),), "right with the output kept"),
    "at the output": (jnp.tanh, lambda bar, x: (bar * (1 - jnp.tanh(jnp.tanh(x)) ** 2),), "taken at the output, not"),
    "no cotangent": (jnp.tanh, lambda bar, x: (1 - jnp.tanh(x) ** 2,), "does not depend on the cotangent of the"),
    "wrong branch": (
        lambda x: jnp.where(x > 0, x, 0.1 * x), lambda bar, x: (bar,), "; wrong only where the input is at most 0",
    ),
    "square for the norm": (
        lambda w: 0.3 * jnp.sqrt(jnp.sum(w * w)), lambda bar, w: (bar * 0.3 * w,),
        "it equals 0.3 times the input times the cotangent",
    ),
    "exchanged": (
        lambda x, g, b: x * g + b, lambda bar, x, g, b: (bar * g, bar.sum(0), (bar * x).sum(0)),
        "it equals the gradient of argument 2: exchanged, or copied",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", TOLD)
def test_what_is_wrong_with_a_rule_of_a_function(what):
    forward, backward, says = TOLD[what]
    args = (jnp.outer(V, V), V, V + 1) if what == "exchanged" else (V,)
    report = fnn.check(lambda *args: jnp.sum(jnp.sin(rule(forward, backward)(*args))), *args)
    assert any(says in f.message and f.certain for f in report.findings if f.rule != "gradient"), str(report)


def test_a_mistake_at_one_place_is_not_told_as_a_stale_value():
    keep = jnp.asarray([[1, 0, 1], [0, 1, 1]], jnp.float32)
    forward = lambda x: 2 * x * keep  # noqa: E731
    f = rule(forward, lambda bar, x: (bar * jnp.where(x == 0, 1, forward(x) / jnp.where(x == 0, 1, x)),))
    x = jnp.array([[0.3, 0.0, -1.0], [0.5, 2.0, 0.7]])
    report = fnn.check(lambda x: jnp.sum(jnp.sin(f(x)) + f(x)), x)
    assert "one entry only: [0, 1]" in str(report) and "does not depend on the inputs" not in str(report)


@pytest.mark.parametrize(("axis", "line"), [(1, "row"), (0, "column")])
def test_lines_whose_gradient_must_sum_to_0(axis, line):
    """A softmax along rows, and along columns; neither says anything of the other's."""
    f = rule(lambda z: jax.nn.softmax(z, axis), lambda bar, z: (bar * jax.nn.softmax(z, axis),))
    report = fnn.check(lambda z: jnp.sum(jnp.sin(f(z))), jnp.outer(V, V))
    assert f"its {line}s must sum to 0, for a number added to a {line} changes no value" in str(report), str(report)
