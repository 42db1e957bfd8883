"""What a rule may rely on of its data, and what it may not: a coincidence of the run excuses nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.checker import Verdict
from fnn.checker.points import kind_of
from tests.cases import random
from tests.checker.nets import V


@pytest.fixture(autouse=True)
def promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def rule(forward, backward, name):
    def primal(*args):
        return forward(*args)

    primal.__name__ = primal.__qualname__ = name
    function = jax.custom_vjp(primal)
    function.defvjp(lambda *args: (forward(*args), args), lambda args, bar: backward(bar, *args))
    return function


def normal(*shape):
    return jnp.asarray(random("assumes", shape).normal(size=shape), jnp.float32)


Z, LABELS = normal(6, 3), jnp.array([0, 2, 1, 1, 0, 2])
ONE_HOT = jax.nn.one_hot(LABELS, 3)


def cross_entropy(z, t):
    return -jnp.sum(t * jax.nn.log_softmax(z)) / len(z)


short = rule(cross_entropy, lambda bar, z, t: (bar * (jax.nn.softmax(z) - t) / len(z), None), "cross_entropy")
wrong = rule(cross_entropy, lambda bar, z, t: (bar * (jax.nn.softmax(z) - t), None), "cross_entropy")


@pytest.mark.parametrize("targets", [ONE_HOT, 0.9 * ONE_HOT + 0.1 / 3], ids=["one-hot", "smoothed"])
def test_the_most_written_gradient_is_right_where_rows_sum_to_one(targets):
    for f, args in ((lambda z: short(z, targets), (Z,)), (short, (Z, targets))):
        report = fnn.check(f, *args)
        assert report.ok, str(report)
        assert Verdict.ASSUMES in {f.verdict for f in report.findings}
        assert "right where each row of argument 1" in str(report) and "as in your run; off them its entry" in str(
            report
        )
        assert not fnn.check(f, *args, strict=True).ok
        with pytest.raises(AssertionError, match="ASSUMES"):
            fnn.assert_gradients(f, *args, strict=True)
    # the same without the mean is wrong, and its factor is named, which is none at random targets
    report = fnn.check(lambda z: wrong(z, targets), Z)
    (finding,) = [f for f in report.findings if f.rule != "gradient" and not f.verdict.fine]
    assert report.culprits == ("cross_entropy",) and finding.certain and finding.kind == "factor", str(report)
    says = "a factor of 6 too many (6 is the number of rows: a sum in place of a mean?), where each row of argument 1 "
    assert finding.message.startswith(says) and finding.message.endswith(", as in your run"), finding.message


def test_a_gradient_beside_the_function_says_the_same():
    gradient = lambda z, t: (jax.nn.softmax(z) - t) / len(z)  # noqa: E731
    report = fnn.check(cross_entropy, Z, ONE_HOT, gradient=gradient)
    assert report.ok and [f.verdict for f in report.findings] == [Verdict.ASSUMES], str(report)
    assert fnn.check(cross_entropy, Z, ONE_HOT, gradient=jax.grad(cross_entropy)).findings[0].verdict == Verdict.OK
    assert not fnn.check(cross_entropy, Z, ONE_HOT, gradient=lambda z, t: 2 * gradient(z, t)).ok


def test_a_mask_of_zeros_and_ones_may_be_relied_on():
    # m² = m
    masked = rule(lambda x, m: jnp.sum((x * m) ** 2), lambda bar, x, m: (bar * 2 * x * m, None), "masked")
    mask = (jnp.arange(18).reshape(6, 3) % 4 > 0) * jnp.float32(1)
    report = fnn.check(lambda x: masked(x, mask), Z)
    assert report.ok and "each entry of argument 1 is 0 or 1" in str(report), str(report)
    assert not fnn.check(lambda x: masked(x, 2 * mask), Z).ok


def trap(name, forward, backward, *args):
    return pytest.param(rule(forward, backward, name), args, id=name)


def layer_norm(x, g):
    c = x - x.mean(-1, keepdims=True)
    return g * c / jnp.sqrt((c**2).mean(-1, keepdims=True) + 1e-5)


def layer_norm_without_gain(bar, x, g):
    _, back = jax.vjp(lambda x, g: layer_norm(x, 1.0) + 0 * g, x, g)
    return back(bar)[0], jax.vjp(layer_norm, x, g)[1](bar)[1]


def mean_times(x, t):
    return x * t.mean(0)


def turned(x, k):
    return x * jnp.cos(2 * jnp.pi * k)


TRAPS = [
    trap("layer norm without the gain (1)", layer_norm, layer_norm_without_gain, Z, jnp.ones(3)),
    trap("no transpose (identity)", jnp.matmul, lambda bar, x, W: (bar @ W, x.T @ bar), Z, jnp.eye(3)),
    trap("no transpose (symmetric)", jnp.matmul, lambda bar, x, S: (bar @ S, x.T @ bar), Z, Z.T @ Z),
    trap(
        "without e^b (0)", lambda x, b: x * jnp.exp(b), lambda bar, x, b: (bar, bar * x * jnp.exp(b)), Z, 0 * Z
    ),
    trap("3 x for 3 x² (1)", lambda x: x**3, lambda bar, x: (bar * 3 * x,), jnp.ones(3)),
    trap("without the sign (after relu)", jnp.abs, lambda bar, h: (bar,), jax.nn.relu(Z)),
    trap(
        "without the mean (equal rows)", mean_times,
        lambda bar, x, t: (bar * t, jax.vjp(lambda t: mean_times(x, t), t)[1](bar)[0]), Z, jnp.tile(Z[:1], (6, 1)),
    ),
    trap(
        "without the cosine (whole numbers)", turned,
        lambda bar, x, k: (bar, jax.vjp(lambda k: turned(x, k), k)[1](bar)[0]), Z, jnp.round(3 * Z),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("function", "args"), TRAPS)
def test_a_coincidence_of_the_run_excuses_nothing(function, args):
    """Among the arguments, and captured: where nobody differentiates with respect to what hides the mistake."""
    f = lambda *args: jnp.sum(jnp.sin(function(*args)))  # noqa: E731
    report = fnn.check(f, *args)
    assert not report.ok and report.culprits == (function.__name__,), str(report)
    report = fnn.check(lambda x: f(x, *args[1:]), args[0])
    assert not report.ok and report.culprits == (function.__name__,), str(report)


def test_exchanged_cotangents_are_wrong_where_all_three_are_one_array():
    def attention(q, k, v):
        return jax.nn.softmax(q @ k.T) @ v

    def exchanged(bar, q, k, v):
        dq, dk, dv = jax.vjp(attention, q, k, v)[1](bar)
        return dk, dq, dv

    right = rule(attention, lambda bar, *a: jax.vjp(attention, *a)[1](bar), "attention")
    assert fnn.check(lambda x: jnp.sum(jnp.sin(right(x, x, x))), Z).ok
    report = fnn.check(lambda x: jnp.sum(jnp.sin(rule(attention, exchanged, "attention")(x, x, x))), Z)
    assert report.culprits == ("attention",), str(report)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (ONE_HOT, "is one-hot"),
        (jax.nn.softmax(Z), "sums to 1"),
        (jnp.array([0.0, 1.0, 1.0, 0.0]), "is 0 or 1"),
        (jnp.array([0.2, 0.8]), "sums to 1"),
        (jnp.zeros((2, 3)), None),
        (jnp.ones((2, 3)), None),
        (jnp.eye(3), None),
        (jnp.full((2, 4), 0.25), None),
        (jnp.array([[0.2, 0.8], [0.2, 0.8]]), None),
        (jnp.array([1.0, 2.0, 3.0]), None),
        (Z, None),
        (jax.nn.relu(Z), None),
        (jnp.array([jnp.nan, 1.0]), None),
        (jnp.zeros((0, 3)), None),
        (jnp.ones((4, 1)), None),
    ],
)
def test_kinds_of_data(value, kind):
    found = kind_of(value)
    assert (None if found is None else found.name) == kind
    if found is not None:
        drawn = found.draw(np.random.default_rng(0), value.shape)
        assert drawn.shape == value.shape and kind_of(drawn).name == kind


def test_an_argument_that_the_user_names_as_data():
    # its own cotangent is right, so that only the name says that it is data
    def backward(bar, z, t):
        return bar * (jax.nn.softmax(z) - t) / len(z), jax.vjp(cross_entropy, z, t)[1](bar)[1]

    both = rule(cross_entropy, backward, "cross_entropy")
    assert not fnn.check(both, Z, ONE_HOT).ok
    report = fnn.check(both, Z, ONE_HOT, data=("argument 1",))
    assert report.ok and "each row of argument 1 is one-hot" in str(report), str(report)


def squared(w, b):
    return jnp.sum((w - b) ** 2)


#: What a rule writes for its second argument.
WRITTEN = {"None": lambda b: None, "zeros": jnp.zeros_like, "zeros of a shape": lambda b: jnp.zeros(b.shape)}


@pytest.mark.parametrize("written", WRITTEN)
def test_zeros_for_what_looks_like_a_parameter_are_wrong(written):
    """None says that an argument is data; zeros do so only of what targets and masks look like."""
    f = rule(squared, lambda bar, w, b: (2 * bar * (w - b), WRITTEN[written](b)), "squared")
    mask = jnp.array([0.0, 1.0, 1.0])
    for b in (V, jnp.zeros(3)) if written == "zeros" else (V,):
        report = fnn.check(f, 2 * V, b)
        assert report.ok == (written == "None"), str(report)
        if not report.ok:
            assert report.culprits == ("squared",)
            assert "the gradient is zero: a term is missing" in str(report)
            assert "if it is data, say so: data=('argument 1',)" in str(report)
            assert fnn.check(f, 2 * V, b, data=("argument 1",)).ok
    report = fnn.check(f, 2 * V, mask)
    assert report.ok and Verdict.ASSUMES in {finding.verdict for finding in report.findings}, str(report)
    assert not fnn.check(f, 2 * V, mask, strict=True).ok
