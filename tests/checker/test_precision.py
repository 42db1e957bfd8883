"""What is right in float64 and loses digits, and what rounding explains."""

import re

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from fnn.checker.rounding import rounded
from tests.checker.nets import checked


def test_what_is_right_in_float64_and_poor_in_the_working_dtype():
    @jax.custom_vjp
    def f(x):
        return jnp.sin(x)

    # adding and taking away 10⁵ x costs five digits, which float64 has to spare
    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, bar: (bar * ((jnp.cos(x) + 1e5 * x) - 1e5 * x),))
    report = fnn.check(lambda x: jnp.sum(f(x)), jnp.asarray([0.3, 1.0, 2.0]))
    assert not report.ok and report.culprits == ()
    assert {f.verdict for f in report.findings if f.rule == "f"} == {fnn.checker.Verdict.PRECISION}


def test_a_factor_that_is_wrong_in_half_precision_alone():
    """64 ulp of bfloat16 are half of the entry."""

    @jax.custom_vjp
    def square(x):
        return x * x

    square.defvjp(lambda x: (x * x, x), lambda x, bar: (bar * (1 if x.dtype == jnp.bfloat16 else 2) * x,))
    for dtype, verdict in ((jnp.float32, "OK"), (jnp.bfloat16, "PRECISION")):
        report = fnn.check(lambda x: jnp.sum(square(x)), jnp.asarray([0.3, 1.0, 2.0], dtype))
        assert {f.verdict for f in report.findings} == {verdict}, str(report)


def lossy(x):
    """x, with nine digits fewer: a sum of constants the compiler would simplify."""
    return (x + 1e9 * x) - 1e9 * x


def test_rounding_of_inner_values_is_measured():
    cancelled = rounded(lambda x: (lossy(x), 3 * x), jax.random.key(0))
    looped = rounded(lambda x: jax.lax.scan(lambda c, _: (lossy(c), None), x, None, 3)[0], jax.random.key(1))
    with jax.enable_x64(True):
        x = jnp.ones(50)
        poor, good = cancelled(x)
        assert 1e-8 < np.abs(poor - 1).max() < 1e-6 and 0 < np.abs(good - 3).max() < 1e-14
        assert 1e-8 < np.abs(looped(x) - 1).max() < 1e-5


def test_what_rounding_of_an_inner_value_explains_is_not_called_wrong():
    # autodiff goes through a value that lost half its digits, the gradient by hand does not: both are as good as can be
    with jax.enable_x64(True):
        x64 = jnp.asarray([0.3, 1.1, 2.3])
        value = lambda x: jnp.sum(lossy(x) ** 2)  # noqa: E731
        assert not np.allclose(jax.jit(jax.grad(value))(x64), 2 * x64, rtol=1e-9, atol=0)
        assert "FORMULA" not in {f.verdict for f in fnn.check(value, x64, gradient=lambda x: 2 * x).findings}
        # and the other way about: the rule is what loses the digits, which is said as such
        report = fnn.check(lambda x: jnp.sum(x**2), x64, gradient=lambda x: 2 * lossy(x))
        assert {f.verdict for f in report.findings} == {fnn.checker.Verdict.PRECISION}
        # what rounding does not explain is still wrong, however small
        off = {"1e-8": 1e-8, "1e-7": 1e-7, "1e-3": 1e-3}
        report = fnn.check(
            lambda x: sum(jnp.sum(leaf**2) for leaf in x.values()),
            dict.fromkeys(off, x64),
            gradient=lambda x: {name: 2 * leaf * (1 + off[name]) for name, leaf in x.items()},
        )
        assert [f.verdict for f in report.findings] == [fnn.checker.Verdict.FORMULA] * 3


def test_a_narrower_cast_inside_is_undecided_and_never_called_wrong():
    report = fnn.check(lambda x: jnp.sum(x.astype(jnp.float16).astype(x.dtype) ** 2), jnp.asarray([0.3, 1.0]))
    assert "FORMULA" not in {f.verdict for f in report.findings}


def test_a_cast_inside_is_widened_and_noted():
    class Cast(fnn.Activation):
        def forward(self, z):
            return jnp.tanh(z.astype(jnp.float32)).astype(z.dtype), z

        def backward(self, z, a_bar):
            return a_bar * (1 - jnp.tanh(z) ** 2)

    report = checked(fnn.sequential(fnn.dense(4, 3, activation=Cast())))
    assert report.ok, str(report)
    assert any(
        re.search(r"cast: something inside computes in float32 .*test_precision.py:\d+", n) for n in report.notes
    )

    class Wrong(Cast):
        def backward(self, z, a_bar):
            return 2 * a_bar * (1 - jnp.tanh(z) ** 2)

    # what was never sure to be seen behind a cast is a factor of 2 now
    report = checked(fnn.sequential(fnn.dense(4, 3, activation=Wrong())))
    assert report.culprits == ("wrong",) and "a factor of 2 too many" in str(report)


def cancelled(z):
    """The cross-entropy of one class, which is 0: so are its gradient and, to rounding, its differences."""
    shifted = z - jax.lax.stop_gradient(jnp.max(z, axis=-1, keepdims=True))
    return jnp.log(jnp.sum(jnp.exp(shifted), axis=-1)) - shifted[..., 0]


def test_what_cancels_to_nothing_is_known_to_its_own_rounding():
    def check(backward):
        rule = jax.custom_vjp(cancelled)
        # by hand the value is 0 otherwise than that of the function
        value = lambda z: jax.scipy.special.logsumexp(z, axis=-1) - z[..., 0] + 1e-16  # noqa: E731
        rule.defvjp(lambda z: (value(z), jax.nn.softmax(z)), lambda p, bar: (backward(p, bar[:, None]),))
        return fnn.check(lambda z: jnp.sum(rule(z)), jnp.linspace(-2, 2, 12)[:, None])

    report = check(lambda p, bar: bar * (p - 1))
    assert report.ok and "differences are 0 to rounding, as the gradient says" in str(report), str(report)
    assert check(lambda p, bar: bar * p).culprits == ("cancelled",)
