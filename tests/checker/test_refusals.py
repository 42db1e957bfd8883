"""What cannot be checked is refused in a sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.checker.nets import V, X


def test_what_cannot_be_checked_is_refused_in_a_sentence():
    x = jnp.asarray([1.0, 2.0])
    with pytest.raises(
        TypeError, match=r"one floating number; it returns \(2,\) float32.*a derived function has no rules left"
    ):
        fnn.check(jax.grad(lambda x: jnp.sum(x**2)), x)
    with pytest.raises(TypeError, match="cannot run inside jit, grad or vmap"):
        jax.jit(lambda x: fnn.check(jnp.sum, x))(x)
    with pytest.raises(ValueError, match="the value of the function is nan there"):
        fnn.check(lambda x: jnp.sum(jnp.log(x)), -x)
    calls = iter(range(10))
    with pytest.raises(ValueError, match="two calls of the function on the same arguments differ"):
        fnn.check(lambda x: jnp.sum(x) + next(calls), x)


def test_nothing_to_check_is_no_success():
    with pytest.raises(ValueError, match="there is nothing to check: no argument holds a floating number"):
        fnn.check(lambda w: jnp.sum(w * 2.0), 3, gradient=lambda w: 0 * w)
    # the other arguments have no gradient beside the function
    with pytest.raises(ValueError, match=r"argument 0 holds no floating number, .* Give floats, 1.0 and not 1"):
        fnn.check(lambda w, x: float(np.sum(np.dot(w, x))), np.arange(3), np.ones(3), gradient=lambda w, x: x)


def test_misuse_is_said():
    x, net = jnp.asarray([1.0, 2.0]), fnn.mlp(4, 3)
    with pytest.raises(TypeError, match="check needs a function or a backprop record"):
        fnn.check(net, x)
    with pytest.raises(TypeError, match=r"needs \(params, x, y\), got 2 arguments"):
        fnn.check(fnn.backprop(net, "squared_error"), net.init(jax.random.key(0)), X)
    with pytest.raises(TypeError, match="gradient must be a function such as jax"):
        fnn.check(jnp.sum, x, gradient=x)
    for args, place in (((jnp.sin, x), "second"), ((x, jnp.sin), "last")):
        says = rf"got a function as the {place} argument. Write gradient=sin\."
        with pytest.raises(TypeError, match=says):
            fnn.check(lambda w: jnp.sum(w), *args)
    with pytest.raises(ValueError, match="got regularizer=l2 without a strength"):
        fnn.check(fnn.backprop(net, "squared_error", "l2"), net.init(jax.random.key(0)), X, jnp.ones((6, 3)))


def test_the_numbers_of_the_whole_gradient_are_those_of_the_user():
    (found,) = fnn.check(lambda w: jnp.sum(w**2), jnp.arange(3.0), gradient=lambda w: w).findings
    assert (found.by_hand, found.truth, found.entry) == (2.0, 4.0, (2,))


def test_the_first_value_that_is_not_finite_is_named_with_its_place():
    with pytest.raises(ValueError, match=r"`log` \(test_refusals.py:\d+\) makes it, of inputs from -0.7 to 1"):
        fnn.check(lambda x: jnp.sum(jnp.log(x - 1) ** 2), V)
    with pytest.raises(ValueError, match=r"argument leaf 0 .* is not finite already"):
        fnn.check(jnp.sum, V * jnp.nan)


def test_a_gradient_that_is_impure_or_of_another_dtype_is_said():
    calls = iter(range(10))
    with pytest.raises(ValueError, match="two calls of the gradient on the same arguments differ"):
        fnn.check(lambda x: jnp.sum(x**2), V, gradient=lambda x: 2 * x + next(calls))
    report = fnn.check(lambda x: jnp.sum(x**2), V, gradient=lambda x: (2 * x).astype(jnp.float16))
    assert [f.verdict for f in report.findings] == ["PRECISION"]
    assert "its gradient must have the dtype float32 of the argument, got float16" in str(report)


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="order must be 1 or 2, got 3"):
        fnn.check(jnp.sum, V, order=3)
    with pytest.raises(TypeError, match="expected must be names, got"):
        fnn.check(jnp.sum, V, expected=(1,))
    with pytest.raises(ValueError, match=r"expected must name rules of what is checked, got 'relu'. There is no rule"):
        fnn.check(jnp.sum, V, expected=("relu",))
    with pytest.raises(ValueError, match=r"data must name arguments of rules, got 't'. They are argument 0\."):
        fnn.check(jnp.sum, V, data=("t",))
    with pytest.raises(ValueError, match="miss must be a chance between 0 and 1, got 0"):
        fnn.check(jnp.sum, V, miss=0)
