"""What else a rule promises: its second order, batches, value, tangent, and the whole along random directions."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.cases import drawn, random
from tests.checker.nets import V, X, Y, custom


def test_the_second_order_is_checked_when_asked_for():
    f = custom(lambda x, bar: bar * jax.lax.stop_gradient(jnp.cos(x)))
    assert fnn.check(f, V).ok
    report = fnn.check(f, V, order=2)
    assert len(report.culprits) == 1 and report.culprits[0].endswith(", second order"), str(report)
    assert fnn.check(custom(lambda x, bar: bar * jnp.cos(x)), V, order=2).ok


def test_a_rule_that_is_wrong_under_vmap_is_found_when_asked_for():
    @jax.custom_batching.custom_vmap
    def slope(x, bar):
        return bar * jnp.cos(x)

    @slope.def_vmap
    def _(size, batched, x, bar):
        return 2 * bar * jnp.broadcast_to(jnp.cos(x), bar.shape), True

    f = custom(slope)
    assert fnn.check(f, V).ok
    found = next(each for each in fnn.check(f, V, batched=True).findings if each.argument == "in a batch")
    assert found.message.startswith("under jax.vmap it gives other cotangents") and found.verdict == "FORMULA"
    assert fnn.check(custom(lambda x, bar: bar * jnp.cos(x)), V, batched=True).ok


def test_the_value_of_the_forward_rule_must_be_that_of_the_function():
    report = fnn.check(custom(lambda x, bar: bar * jnp.cos(x), forward=lambda x: jnp.sin(x) + 1e-3), V)
    (found,) = [each for each in report.findings if each.argument == "the value" and each.rule != "gradient"]
    assert found.message == "the rule's forward pass gives a different value than the function"


def test_a_tangent_that_is_not_linear_is_said():
    rule = jax.custom_jvp(lambda x: x * x)
    rule.defjvp(lambda primals, tangents: (primals[0] ** 2, 2 * primals[0] * jnp.abs(tangents[0])))
    report = fnn.check(lambda x: jnp.sum(rule(x)), V)
    assert not report.ok and "must be linear in its tangents" in str(report)


def test_directions_find_what_autodiff_and_the_rule_share():
    # both take the derivative of one factor only; what is stopped within a loop is not held in the differences
    f = lambda x: jnp.sum(jax.lax.map(lambda u: jax.lax.stop_gradient(u) * u, x))  # noqa: E731
    report = fnn.check(f, jnp.tile(V, 30), gradient=lambda x: x)
    assert not report.ok and report.culprits == ()
    found = next(each for each in report.findings if each.argument == "a random direction")
    assert found.verdict == "UNDECIDED" and abs(found.truth) > abs(found.by_hand)


def test_the_chance_of_missing_something_is_stated_and_can_be_set():
    f = lambda x: jnp.sum(jnp.sin(x))  # noqa: E731
    assert fnn.check(f, V).missed == 2.0**-10
    report = fnn.check(f, V, miss=1e-6)
    assert report.missed == 2.0**-20 and "20 of 20 random directions" in str(report)
    # where every direction crosses a kink there is no such witness, and the report says so
    report = fnn.check(lambda x: jnp.sum(jnp.abs(x)), 0 * V)
    assert report.missed is None and "crosses a kink" in str(report)


def test_equal_rules_are_compiled_once_and_kept_programs_are_used_again():
    programs, counts = fnn.checker.Programs(), []
    for depth in (2, 3):
        net = fnn.mlp([4] * depth + [3])
        by_hand, params = fnn.backprop(net, "softmax_cross_entropy"), drawn(net, random("deep"))
        for _ in range(2):
            # a second check makes no program
            assert fnn.check(by_hand, params, X, Y, programs=programs).ok
            counts.append(len(programs._known))
    # a deeper net of equal layers makes those of what holds all of them: sequential, objective, gradient
    assert counts[0] == counts[1] and counts[2] == counts[3] == counts[0] + 3


def test_a_leaf_of_size_0_is_no_trouble():
    assert fnn.check(lambda p: jnp.sum(p["a"]) + jnp.sum(p["b"] ** 2), {"a": jnp.zeros((0, 3)), "b": V}).ok


def test_check_grads_can_be_dropped_in():
    right, wrong = (jax.custom_vjp(jnp.sin) for _ in range(2))
    right.defvjp(lambda x: (jnp.sin(x), x), lambda x, bar: (bar * jnp.cos(x),))
    wrong.defvjp(lambda x: (jnp.sin(x), x), lambda x, bar: (bar * jnp.sin(x),))
    fnn.checker.check_grads(lambda x: (right(x), {"twice": 2 * x}), (V,), order=1, modes=("rev",), atol=1e-2, eps=1e-3)
    with pytest.raises(AssertionError, match="NOT OK, wrong: sin"):
        fnn.checker.check_grads(wrong, (V,), order=1)
    with pytest.raises(ValueError, match="modes must be"):
        fnn.checker.check_grads(right, (V,), order=1, modes=("both",))


def test_the_bound_is_not_said_of_a_leaf_whose_gradient_is_0_to_rounding():
    """A bias before a batch normalization."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 2)))

    def loss(p):
        z = x @ p["W"] + jnp.broadcast_to(p["b"], (5, 3))
        return jnp.sum(((z - z.mean(0, keepdims=True)) / jnp.sqrt(z.var(0, keepdims=True) + 0.1)) ** 3)

    p = {"W": jnp.asarray(np.random.default_rng(1).normal(size=(2, 3))), "b": jnp.ones(3) / 3}
    (note,) = (note for note in fnn.check(loss, p).notes if "random directions" in note)
    bound = re.search(r"in a leaf whose gradient is not 0 to rounding, an entry wrong by (\S+) of", note)
    assert bound and float(bound[1]) < 1e-3, note


def test_where_only_the_step_is_left_of_a_difference_it_is_no_evidence():
    """Of x³ at 0 a difference leaves h²; what is stopped within a loop leaves a slope."""
    report = fnn.check(lambda x: jnp.sum(x**3), 0 * V, gradient=lambda x: 3 * x**2)
    assert report.ok and "differences are 0 to rounding, as the gradient says" in str(report)
    f = lambda x: jnp.sum(x**3) + 1e-3 * jnp.sum(jax.lax.map(jax.lax.stop_gradient, x))  # noqa: E731
    (found,) = (f for f in fnn.check(f, 0 * V).findings if f.argument == "a random direction")
    assert found.verdict == "UNDECIDED" and abs(found.truth) > 9e-4


@pytest.mark.parametrize("stop", [lambda x: x, jax.lax.stop_gradient])
@pytest.mark.parametrize("mode", ["custom_jvp", "custom_vjp"])
def test_a_rule_may_close_over_an_array_at_either_order(mode, stop):
    c, f = 2 * V, getattr(jax, mode)(lambda x: jnp.sin(c) * jnp.sin(x))
    slope = lambda x: jnp.sin(c) * stop(jnp.cos(x))  # noqa: E731
    if mode == "custom_jvp":
        f.defjvps(lambda t, y, x: t * slope(x))
    else:
        f.defvjp(lambda x: (f(x), x), lambda x, bar: (bar * slope(x),))
    report = fnn.check(lambda x: jnp.sum(f(x)), V, order=2, batched=True)
    assert report.culprits == (() if stop is not jax.lax.stop_gradient else ("<lambda>, second order",)), str(report)


@pytest.mark.parametrize("targets_are_an_argument", [False, True])
def test_at_the_second_order_too_data_need_no_gradient(targets_are_an_argument):
    x, t = V.reshape(-1, len(V)), jnp.arange(float(len(V)))[None]

    def checked(backward):
        loss = jax.custom_vjp(lambda p, t: jnp.sum(jnp.cosh(p) * t))
        loss.defvjp(lambda p, t: (loss(p, t), (p, t)), backward)
        if targets_are_an_argument:
            return fnn.check(loss, x, t, order=2)
        return fnn.check(lambda p: loss(p, t), x, order=2)

    assert checked(lambda kept, bar: (bar * jnp.sinh(kept[0]) * kept[1], None)).ok
    stopped = checked(lambda kept, bar: (bar * jax.lax.stop_gradient(jnp.sinh(kept[0])) * kept[1], None))
    assert stopped.culprits == ("<lambda>, second order",), str(stopped)


def test_at_the_second_order_too_a_rule_may_rely_on_its_data():
    def checked(slope):
        loss = jax.custom_vjp(lambda z, t: -jnp.sum(t * jax.nn.log_softmax(z)))
        loss.defvjp(lambda z, t: (loss(z, t), (z, t)), lambda kept, bar: (bar * (slope(kept[0]) - kept[1]), None))
        return fnn.check(lambda z: loss(z, jnp.eye(3)[jnp.array([2, 0])]), jnp.arange(6.0).reshape(2, 3) / 7, order=2)

    report = checked(jax.nn.softmax)
    assert report.ok and {f.verdict for f in report.findings if "second" in f.rule} >= {"ASSUMES"}, str(report)
    assert checked(lambda z: jax.lax.stop_gradient(jax.nn.softmax(z))).culprits == ("<lambda>, second order",)
