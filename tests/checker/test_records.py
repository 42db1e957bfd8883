"""Nets of this package: wrong rules are named, what is wrong is said, correct ones are left alone."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest

import fnn
from experiments.detection.operators import mutants
from fnn.checker import rules
from fnn.checker.examination import examine
from fnn.checker.points import Settings
from fnn.network import Dense, Repeated, Skip
from tests.cases import drawn, random
from tests.checker.nets import PROGRAMS, X, Y, checked, verdicts


def test_correct_layers_of_every_kind_and_a_regularizer_are_ok():
    layers = fnn.skip(fnn.mlp(4, 5, 4)), fnn.repeated(fnn.dense(4, 4, activation="tanh"), 2), fnn.dense(4, 3)
    report = checked(fnn.sequential(*layers), regularizer="l2", strength=0.1)
    assert report.ok, str(report)
    assert report.culprits == () and report.skipped == ("y (integers)",)
    assert report.looked_at["compared with autodiff"] > 300 and report.looked_at["differenced"] > 100
    assert {"tanh", "skip", "repeated", "sequential", "l2", "objective", "gradient"} <= {
        f.rule for f in report.findings
    }
    # the caller's settings are left alone
    assert not jax.config.jax_enable_x64 and jnp.ones(1).dtype == jnp.float32


class WrongTanh(fnn.Activation):
    def forward(self, z):
        a = jnp.tanh(z)
        return a, z

    def backward(self, a, a_bar):
        return a_bar * (1 - a * a)


def test_a_wrong_activation_is_named_and_not_the_layer_around_it():
    net = fnn.mlp(4, 5, 3, activation=WrongTanh())
    report = checked(net)
    assert not report.ok and report.culprits == ("wrong_tanh",)
    (found,) = [f for f in report.findings if f.rule == "wrong_tanh"]
    assert (
        found.verdict == fnn.checker.Verdict.FORMULA
        and found.argument == "z"
        and found.where.startswith("test_records.py:")
    )
    assert found.message.startswith("right with the output kept") and found.certain
    assert "NOT OK, wrong: wrong_tanh" in str(report)
    with pytest.raises(AssertionError, match="NOT OK, wrong: wrong_tanh"):
        checked(net, check=fnn.assert_gradients)
    # what is wrong stands first in the text, which fits its width and has colours only when asked
    table = report.text(width=80).split("\n\n")[0].splitlines()
    assert max(map(len, table[:-1])) <= 80 and "\x1b" not in report.text()
    assert "\x1b[1;31mFORMULA" in report.text(colour=True)
    assert table[2].startswith("wrong_tanh")


@dataclass(frozen=True, repr=False)
class WrongDense(Dense):
    def backward(self, params, residuals, y_bar):
        params_bar, x_bar = super().backward(params, residuals, y_bar)
        return {"W": params_bar["W"], "b": params_bar["b"] / 6}, x_bar


@dataclass(frozen=True, repr=False)
class WrongSkip(Skip):
    def backward(self, params, residuals, y_bar):
        params_bar, x_bar = self.layer.backward(params, residuals, y_bar)
        return params_bar, x_bar


@dataclass(frozen=True)
class WrongObjective(fnn.gradients.Objective):
    def backward(self, params, residuals, value_bar=1.0):
        return fnn.objective(self.net, self.loss).backward(params, (*residuals[:2], None), value_bar)


def test_wrong_layers_are_named_with_what_is_wrong_and_no_other():
    # the repetitions before the last are given a cotangent as the output that they kept, which tanh reads
    wrong_repeated = next(cls for _, told, cls in mutants(Repeated, "_reverse") if told == "x_bar for x: x")
    inner = fnn.dense(4, 4, activation="tanh")
    layers = WrongDense(4, 4, fnn.tanh), WrongSkip(inner), wrong_repeated(inner, 3), inner, fnn.dense(4, 3)
    report = checked(fnn.sequential(*layers))
    assert report.culprits == ("wrongdense(4, 4, activation=tanh)", "wrongskip", "repeated")
    wrong = {(f.rule, f.argument): f for f in report.findings if f.verdict == "FORMULA" and f.rule != "gradient"}
    bias = wrong["wrongdense(4, 4, activation=tanh)", "params['b']"]
    assert bias.message == "a factor of 1/6 too many" and bias.certain
    says = "a term is missing that equals the cotangent of the output: a branch whose gradient was not added"
    assert wrong["wrongskip", "x"].message == says


@dataclass(frozen=True, repr=False)
class Broken(Repeated):
    """Sound as long as the layer inside keeps nothing but its input and its output."""

    def _reverse(self, rule, params, residuals, y_bar):
        assert not residuals[1]
        return super()._reverse(rule, params, residuals, y_bar)


def test_a_rule_that_does_not_run_is_named():
    layer = Broken(fnn.dense(4, 4, activation="tanh"), 3)
    params, x = drawn(layer, random("broken")), X
    assert layer.backward(params, layer.forward(params, x)[1], x)[1].shape == x.shape
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        (found,) = examine(rules._layer_rule(layer, params, x, layer), Settings())
    assert found.verdict == fnn.checker.Verdict.FORMULA and found.message.startswith(
        "the rule does not run: AssertionError"
    )


@dataclass(frozen=True, repr=False)
class Handing(Dense):
    """A dense layer whose activation is given z, whatever it kept."""

    def backward(self, params, residuals, y_bar):
        x, _ = residuals
        return super().backward(params, (x, fnn.linear.affine(params["W"], params["b"], x)), y_bar)


def test_a_layer_that_hands_its_activation_another_value_is_wrong_where_that_is_wrong():
    params = drawn(fnn.dense(4, 5), random("handing"))
    for activation, verdict in ((fnn.tanh, "FORMULA"), (fnn.softplus, "OK")):
        layer = Handing(4, 5, activation)
        assert verdicts(rules._layer_rule(layer, params, X, layer)) == {verdict}


def test_a_forgotten_penalty_is_named():
    objective = WrongObjective(fnn.mlp(4, 3), fnn.softmax_cross_entropy, fnn.l2)
    params = drawn(objective.net, random("penalty"))
    report = fnn.check(fnn.gradients.Backprop(objective), params, X, Y, strength=0.3, programs=PROGRAMS)
    assert report.culprits == ("objective",)


def test_what_puts_layers_together_is_tried_on_narrow_ones():
    net = fnn.sequential(fnn.dense(40, 30, activation="tanh"), fnn.skip(fnn.dense(30, 30)), fnn.dense(30, 12))
    objective = fnn.objective(net, "softmax_cross_entropy")
    params, x, y = net.init(jax.random.key(0)), jnp.ones((5, 40)), jnp.arange(5)
    for rule in rules.of_objective(objective, (params, x, y), {}, {}):
        if rule.composite:
            shapes = {leaf.shape for leaf in jax.tree.leaves(rule.small.inputs)}
            assert max(size for shape in shapes for size in shape) == (12 if rule.name == "objective" else 8)
            # the last width stays where labels count on it
            assert ((8, 12) in shapes) == (rule.name == "objective")
