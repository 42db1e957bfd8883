"""Gradients that differ on purpose: declared, they are reported as such, and no other mistake is."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn.checker import Verdict
from fnn.network import Dense
from tests.checker.nets import V, checked


@dataclass(frozen=True, repr=False)
class Frozen(Dense):
    expected: ClassVar[str] = "frozen"

    def backward(self, params, residuals, y_bar):
        params_bar, x_bar = super().backward(params, residuals, y_bar)
        return jax.tree.map(jnp.zeros_like, params_bar), x_bar


@dataclass(frozen=True, repr=False)
class Undeclared(Frozen):
    expected: ClassVar[str] = ""


@dataclass(frozen=True, repr=False)
class Forgetful(Dense):
    def backward(self, params, residuals, y_bar):
        params_bar, x_bar = super().backward(params, residuals, y_bar)
        return {"W": params_bar["W"], "b": 2 * params_bar["b"]}, x_bar


class Step(fnn.Activation):
    """Sign forward, the identity backward."""

    expected: ClassVar[str] = "straight-through"

    def forward(self, z):
        return jnp.sign(z), ()

    def backward(self, residuals, a_bar):
        return a_bar


class Right(fnn.Activation):
    expected: ClassVar[str] = "clipped"

    def forward(self, z):
        return z * z, z

    def backward(self, z, a_bar):
        return 2 * z * a_bar


def test_a_frozen_layer_that_says_so_is_expected_and_the_whole_is_ok():
    frozen, last = Frozen(4, 5, fnn.tanh), fnn.dense(5, 3)
    report = checked(fnn.sequential(frozen, last))
    assert report.ok and report.culprits == (), str(report)
    rows = {f.argument: f for f in report.findings if f.rule == repr(frozen)}
    assert {name: f.verdict for name, f in rows.items()} == {
        "params['W']": "EXPECTED", "params['b']": "EXPECTED", "x": "OK",
    }  # fmt: skip
    message = "differs from the derivative on purpose, as declared (frozen): the gradient is zero"
    assert rows["params['W']"].message.startswith(message)
    assert {f.verdict for f in report.findings if f.rule == "gradient"} == {Verdict.OK}
    assert any("autodiff through the rules that differ on purpose" in note for note in report.notes)
    # the same that does not say so is wrong
    report = checked(fnn.sequential(Undeclared(4, 5, fnn.tanh), last))
    assert not report.ok and len(report.culprits) == 1


def test_another_mistake_beside_a_declared_one_is_still_wrong():
    wrong = Forgetful(5, 3)
    report = checked(fnn.sequential(Frozen(4, 5, fnn.tanh), wrong))
    assert not report.ok and report.culprits == (repr(wrong),)
    assert "a factor of 2 too many" in str(report)
    assert {f.verdict for f in report.findings if f.rule == "gradient"} == {Verdict.OK, Verdict.FORMULA}


def test_a_straight_through_activation_is_expected():
    report = checked(fnn.mlp(4, 5, 3, activation=Step()))
    assert report.ok, str(report)
    (finding,) = [f for f in report.findings if f.rule == "step"]
    assert finding.verdict == Verdict.EXPECTED and "(straight-through)" in finding.message


def test_a_declared_rule_that_is_right_is_said():
    report = checked(fnn.mlp(4, 5, 3, activation=Right()))
    assert report.ok and "right is declared to differ from its derivative on purpose, and is right" in report.notes


# ---- rules of plain functions ---------------------------------------------------------------------------------------


def rule(forward, backward, name):
    function = jax.custom_vjp(lambda x: forward(x))
    function.defvjp(lambda x: (forward(x), x), lambda x, bar: (backward(x, bar),))
    function.__wrapped__.__name__ = name
    function.__wrapped__.__qualname__ = name
    return function


quantize = rule(lambda x: jnp.round(8 * x) / 8, lambda x, bar: bar, "quantize")
clip_gradient = rule(lambda x: x, lambda x, bar: jnp.clip(bar, -0.1, 0.1), "clip_gradient")
reverse = rule(lambda x: x, lambda x, bar: -bar, "reverse")
sine = rule(jnp.sin, lambda x, bar: 3 * bar * jnp.cos(x), "sine")
cosine = rule(jnp.cos, lambda x, bar: -bar * jnp.sin(x), "cosine")


@pytest.mark.parametrize("function", [quantize, clip_gradient, reverse])
def test_a_rule_of_a_function_can_be_declared_by_its_name(function):
    name = function.__wrapped__.__name__
    f = lambda x: jnp.sum(cosine(function(jnp.sin(x))) ** 2)  # noqa: E731
    report = fnn.check(f, V)
    assert not report.ok and report.culprits == (name,), str(report)
    report = fnn.check(f, V, expected=(name,))
    assert report.ok, str(report)
    assert {f.rule: f.verdict for f in report.findings} == {
        name: Verdict.EXPECTED, "cosine": Verdict.OK, "gradient": Verdict.OK,
    }  # fmt: skip
    assert "differs from the derivative on purpose, as declared: " in str(report)


def test_an_undeclared_rule_beside_a_declared_one_is_wrong():
    f = lambda x: jnp.sum(sine(reverse(x)) ** 2)  # noqa: E731
    report = fnn.check(f, V, expected="reverse")
    assert report.culprits == ("sine",) and "a factor of 3 too many" in str(report)
    assert {f.verdict for f in report.findings if f.rule == "gradient"} == {Verdict.FORMULA}
    report = fnn.check(lambda x: jnp.sum(sine(reverse(x)) ** 2), V, expected=("reverse", "sine"))
    assert report.ok and {f.verdict for f in report.findings if f.rule == "gradient"} == {Verdict.OK}


def test_a_declared_rule_must_still_run_and_give_the_value():
    broken = rule(jnp.sin, lambda x, bar: bar[0] @ x[0], "broken")
    assert not fnn.check(lambda x: jnp.sum(broken(x)), V, expected=("broken",)).ok
    other = jax.custom_vjp(jnp.sin)
    other.defvjp(lambda x: (jnp.cos(x), x), lambda x, bar: (bar * jnp.cos(x),))
    report = fnn.check(lambda x: jnp.sum(other(x)), V, expected=("sin",))
    assert not report.ok and "a different value than the function" in str(report)
    right = fnn.check(lambda x: jnp.sum(cosine(x)), V, expected=("cosine",))
    assert right.ok and "cosine is declared to differ from its derivative on purpose, and is right" in right.notes
