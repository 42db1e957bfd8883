"""The checker: it finds wrong rules, names the right one, says what is wrong, and leaves correct ones alone."""

import re
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments.detection import alarms
from experiments.detection.operators import mutants
from experiments.progress import silent
from fnn.activations import ACTIVATIONS
from fnn.checker import rules
from fnn.checker.diagnosis import Look, diagnose
from fnn.checker.jaxprs import rounded
from fnn.checker.judge import Settings, examine
from fnn.losses import LOSSES
from fnn.network import Dense, Repeated, Skip
from tests.cases import drawn, predictions, random, targets

X = jnp.asarray(random("checker").normal(size=(6, 4)), jnp.float32)
Y = jnp.array([0, 1, 2, 0, 1, 2])


#: What is compiled for one test serves the others: they are built of few layers.
PROGRAMS = fnn.checker.Programs()


def verdicts(rule):
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        return {f.verdict for f in examine(rule, Settings(), recorded=False)}


def checked(net, loss="softmax_cross_entropy", regularizer=None, y=Y, check=fnn.check, **options):
    params = jax.tree.map(lambda leaf: leaf + 0.1, drawn(net, random("params")))
    return check(fnn.backprop(net, loss, regularizer), params, X, y, programs=PROGRAMS, **options)


# ---- correct rules --------------------------------------------------------------------------------------------------


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


# ---- wrong rules are named ------------------------------------------------------------------------------------------


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
        and found.where.startswith("test_check.py:")
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
    assert report.culprits == ("dense(4, 4, activation=tanh)", "wrongskip", "repeated")
    wrong = {(f.rule, f.argument): f for f in report.findings if f.verdict == "FORMULA" and f.rule != "gradient"}
    bias = wrong["dense(4, 4, activation=tanh)", "params['b']"]
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


# ---- rules inside any JAX function ----------------------------------------------------------------------------------


@jax.custom_vjp
def cube(x):
    return x**3


cube.defvjp(lambda x: (x**3, x), lambda x, bar: (bar * 3 * x**2 * (1 + 0.1 * (x > 1)),))


@jax.custom_jvp
def square(x):
    return x * x


square.defjvp(lambda primals, tangents: (primals[0] ** 2, -2 * primals[0] * tangents[0]))


def test_custom_rules_are_found_anywhere_and_named_with_their_place():
    def f(x):
        def step(carry, row):
            return carry + jnp.sum(square(row)), None

        return jax.lax.scan(step, 0.0, jax.jit(lambda x: cube(x) + 1)(x))[0]

    report = fnn.check(f, jnp.asarray([[0.5, 1.5], [2.0, -1.0]]))
    assert set(report.culprits) == {"cube", "square"}
    says = {f.rule: f for f in report.findings}
    assert says["square"].message == "the sign is wrong" and says["square"].where.startswith("test_check.py:")
    assert says["cube"].message.startswith("the local derivative is wrong where the input is above")
    assert fnn.check(lambda x: jnp.sum(jax.nn.relu(x) ** 2), jnp.asarray([0.5, -1.0, 2.0])).ok


def test_a_kink_is_no_error_and_a_value_outside_its_slopes_is():
    def relu_with(value):
        @jax.custom_vjp
        def relu(x):
            return jnp.maximum(x, 0)

        relu.defvjp(
            lambda x: (jnp.maximum(x, 0), x), lambda x, bar: (jnp.where(x == 0, value, (x > 0).astype(x.dtype)) * bar,)
        )
        return lambda x: jnp.sum(relu(x))

    at = jnp.asarray([0.0, 1.0, -2.0])
    report = fnn.check(relu_with(1.0), at)
    assert report.ok and "KINK" in {f.verdict for f in report.findings}, str(report)
    assert not fnn.check(relu_with(3.0), at).ok


def test_a_gradient_beside_a_function():
    f = lambda p, x: jnp.sum((p["w"] * x) ** 2)  # noqa: E731
    args = {"w": jnp.asarray([1.0, 2.0])}, jnp.asarray([3.0, -1.0])
    assert fnn.check(f, *args, gradient=lambda p, x: {"w": 2 * p["w"] * x * x}).ok
    report = fnn.check(f, *args, gradient=lambda p, x: {"w": p["w"] * x * x})
    (found,) = report.findings
    assert found.message == "a factor of ½ too many" and found.argument == "argument 0['w']"
    wrong = fnn.check(f, *args, gradient=lambda p, x: [p["w"]])
    assert wrong.findings[0].message == "the gradient must have the structure ({'w': *},) of its inputs, got ([*],)"


def test_none_among_the_arguments_is_no_argument():
    f = lambda p: jnp.sum(p["w"] ** 2)  # noqa: E731
    p = {"w": jnp.asarray([1.0, 2.0]), "rest": None}
    assert fnn.check(f, p).ok
    assert fnn.check(f, p, gradient=lambda p: {"w": 2 * p["w"], "rest": None}).ok
    wrong = fnn.check(f, p, gradient=lambda p: {"w": None, "rest": None})
    assert wrong.findings[0].message == "its gradient must be an array, got None"


def test_no_rule_at_all_is_said():
    report = fnn.check(lambda x: jnp.sum(jnp.sin(x)), jnp.asarray([0.3, 1.0]))
    assert report.ok and "no hand-written rule was found" in str(report)


def test_what_is_right_in_float64_and_poor_in_the_working_dtype():
    @jax.custom_vjp
    def f(x):
        return jnp.sin(x)

    # adding and taking away 10⁵ x costs five digits, which float64 has to spare
    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, bar: (bar * ((jnp.cos(x) + 1e5 * x) - 1e5 * x),))
    report = fnn.check(lambda x: jnp.sum(f(x)), jnp.asarray([0.3, 1.0, 2.0]))
    assert not report.ok and report.culprits == ()
    assert {f.verdict for f in report.findings if f.rule == "f"} == {fnn.checker.Verdict.PRECISION}


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


def test_what_puts_layers_together_is_tried_on_narrow_ones():
    net = fnn.sequential(fnn.dense(40, 30, activation="tanh"), fnn.skip(fnn.dense(30, 30)), fnn.dense(30, 12))
    objective = fnn.objective(net, "softmax_cross_entropy")
    params, x, y = net.init(jax.random.key(0)), jnp.ones((5, 40)), jnp.arange(5)
    for rule in rules.of_objective(objective, params, x, y, {}):
        if rule.composite:
            shapes = {leaf.shape for leaf in jax.tree.leaves(rule.small.inputs)}
            assert max(size for shape in shapes for size in shape) == (12 if rule.name == "objective" else 8)
            # the last width stays where labels count on it
            assert ((8, 12) in shapes) == (rule.name == "objective")


def test_a_narrower_cast_inside_is_undecided_and_never_called_wrong():
    report = fnn.check(lambda x: jnp.sum(x.astype(jnp.float16).astype(x.dtype) ** 2), jnp.asarray([0.3, 1.0]))
    assert "FORMULA" not in {f.verdict for f in report.findings}


# ---- bad input ------------------------------------------------------------------------------------------------------


def test_what_cannot_be_checked_is_refused_in_a_sentence():
    x = jnp.asarray([1.0, 2.0])
    with pytest.raises(
        TypeError, match=r"one floating number; it gives \(2,\) float32.*a derived function has no rules left"
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


def test_misuse_is_said():
    x, net = jnp.asarray([1.0, 2.0]), fnn.mlp(4, 3)
    with pytest.raises(TypeError, match="check needs a function or a backprop record"):
        fnn.check(net, x)
    with pytest.raises(TypeError, match=r"needs \(params, x, y\), got 2 arguments"):
        fnn.check(fnn.backprop(net, "squared_error"), net.init(jax.random.key(0)), X)
    with pytest.raises(TypeError, match="gradient must be a function such as jax"):
        fnn.check(jnp.sum, x, gradient=x)
    with pytest.raises(ValueError, match="got regularizer=l2 without a strength"):
        fnn.check(fnn.backprop(net, "squared_error", "l2"), net.init(jax.random.key(0)), X, jnp.ones((6, 3)))


def test_the_numbers_of_the_whole_gradient_are_those_of_the_user():
    (found,) = fnn.check(lambda w: jnp.sum(w**2), jnp.arange(3.0), gradient=lambda w: w).findings
    assert (found.by_hand, found.truth, found.entry) == (2.0, 4.0, (2,))


def test_a_cast_inside_a_part_makes_the_whole_undecided():
    class Cast(fnn.Activation):
        def forward(self, z):
            return jnp.tanh(z.astype(jnp.float32)).astype(z.dtype), z

        def backward(self, z, a_bar):
            return a_bar * (1 - jnp.tanh(z) ** 2)

    verdicts = {f.verdict for f in checked(fnn.mlp(4, 5, 3, activation=Cast())).findings}
    assert fnn.checker.Verdict.UNDECIDED in verdicts and fnn.checker.Verdict.FORMULA not in verdicts


def test_the_report_is_data():
    import json

    told = json.loads(fnn.check(lambda x: jnp.sum(square(x)), jnp.asarray([0.3, 1.0])).to_json())
    assert told["ok"] is False and told["culprits"] == ["square"]
    assert {"rule", "where", "argument", "verdict", "message"} <= set(told["findings"][0])


# ---- mutants: rules made wrong by operators -------------------------------------------------------------------------


def sample(table, method, made, count):
    """The same few mutants every time, as (rule, what was changed); all of them are the experiment's business.

    A mutant that gives the same gradient at generic inputs is none: equal by algebra (a for a_bar in zeros_like), or
    changed in a branch that these inputs never take.
    """
    found = [(record, *each) for record in table.values() for each in mutants(type(record), method)]
    drawn = []
    for k in random("mutants").permutation(len(found)):
        record, _, told, cls = found[k]
        mutant, right = made(cls()), made(record)
        output = right.pair.forward(right.inputs, right.data)
        bar = jax.tree.map(
            lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape),
            output,
        )
        try:
            with jax.numpy_dtype_promotion("standard"):
                wrong, wanted = (
                    np.asarray(rule.pair.derived(rule.inputs, rule.data, bar)[1][0]) for rule in (mutant, right)
                )
            same = np.allclose(wrong, wanted)
        except (TypeError, ValueError, UnboundLocalError):
            same = True  # it does not even run: anybody finds it
        if not same:
            drawn.append((mutant, told))
        if len(drawn) == count:
            break
    return drawn


def test_mutants_of_activations_are_caught():
    z = jnp.asarray(random("z").normal(size=(5, 7)), jnp.float32)
    learned = {name: a for name, a in ACTIVATIONS.items() if name not in ("sign", "hard_threshold")}
    for mutant, told in sample(learned, "backward", lambda m: rules._of_activation(m, z), 8):
        assert fnn.checker.Verdict.FORMULA in verdicts(mutant), (mutant.name, told)


def test_mutants_of_losses_are_caught():
    def made(loss):
        p, y = predictions(loss, (4, 3)), targets(loss, (4, 3), labels=False)
        return rules._of_loss(loss, jnp.asarray(p, jnp.float32), jnp.asarray(y, jnp.float32), None)

    # the label branch is the integer one: here every loss gets rows of numbers
    table = {
        name: loss for name, loss in LOSSES.items() if name not in ("softmax_cross_entropy", "negative_log_likelihood")
    }
    for mutant, told in sample(table, "slope", made, 8):
        assert fnn.checker.Verdict.FORMULA in verdicts(mutant), (mutant.name, told)


def test_correct_rules_at_random_points_raise_no_alarm():
    """A sample of the false alarms that there are not: every activation, at random sizes of its input."""
    settings = Settings()
    for k, (name, activation) in enumerate(ACTIVATIONS.items()):
        z = jnp.asarray(random(name, k).normal(size=(5, 7)) * 10.0 ** (k % 5 - 2), jnp.float32)
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
            found = examine(rules._of_activation(activation, z), settings)
        assert {f.verdict for f in found} <= {fnn.checker.Verdict.OK, fnn.checker.Verdict.KINK}, (name, found)


def test_a_sample_of_ten_thousand_random_nets_raises_no_alarm():
    with jax.numpy_dtype_promotion("standard"):
        # this seed draws a net of two layers
        found = alarms.measured(20, silent, seed=6)
    assert found["checks"] == 20 and found["alarms"] == []


def test_points_on_and_beside_kinks_raise_no_alarm():
    with jax.numpy_dtype_promotion("standard"):
        found = alarms.at_kinks(200, silent, seed=3)
    assert found["points"] >= 200 and found["alarms"] == []


def test_a_correct_rule_in_bfloat16_is_ok():
    params, by_hand = (
        drawn(fnn.mlp(4, 3), random("half"), jnp.bfloat16),
        fnn.backprop(fnn.mlp(4, 3), "softmax_cross_entropy"),
    )
    report = fnn.check(by_hand, params, X.astype(jnp.bfloat16), Y, programs=PROGRAMS)
    assert report.ok, str(report)
    assert np.isfinite(report.looked_at["differenced"])


# ---- what else a rule promises --------------------------------------------------------------------------------------

V = jnp.asarray([0.3, 1.0, 2.0])


def custom(backward, function=jnp.sin, forward=None):
    """A custom_vjp function that keeps its input."""
    rule = jax.custom_vjp(lambda x: function(x))
    rule.defvjp(lambda x: ((forward or function)(x), x), lambda x, bar: (backward(x, bar),))
    return lambda x: jnp.sum(rule(x))


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
    assert found.message == "the rule's forward pass gives another value than the function"


def test_a_tangent_that_is_not_linear_is_said():
    rule = jax.custom_jvp(lambda x: x * x)
    rule.defjvp(lambda primals, tangents: (primals[0] ** 2, 2 * primals[0] * jnp.abs(tangents[0])))
    report = fnn.check(lambda x: jnp.sum(rule(x)), V)
    assert not report.ok and "must be linear in its tangents" in str(report)


def test_directions_find_what_autodiff_and_the_rule_share():
    # both take the derivative of one factor only
    f = lambda x: jnp.sum(jax.lax.stop_gradient(x) * x)  # noqa: E731
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
    for depth in (2, 4):
        net = fnn.mlp([4] * depth + [3])
        by_hand, params = fnn.backprop(net, "softmax_cross_entropy"), drawn(net, random("deep"))
        for _ in range(2):
            # a second check makes no program
            assert fnn.check(by_hand, params, X, Y, programs=programs).ok
            counts.append(len(programs._known))
    # a deeper net of equal layers makes those of what holds all of them: sequential, objective, gradient
    assert counts[0] == counts[1] and counts[2] == counts[3] == counts[0] + 3


def test_the_first_value_that_is_not_finite_is_named_with_its_place():
    with pytest.raises(ValueError, match=r"`log` \(test_check.py:\d+\) makes it, of inputs from -0.7 to 1"):
        fnn.check(lambda x: jnp.sum(jnp.log(x - 1) ** 2), V)
    with pytest.raises(ValueError, match=r"argument leaf 0 .* is not finite already"):
        fnn.check(jnp.sum, V * jnp.nan)


def test_a_gradient_that_is_impure_or_of_another_dtype_is_said():
    calls = iter(range(10))
    with pytest.raises(ValueError, match="two calls of the gradient on the same arguments differ"):
        fnn.check(lambda x: jnp.sum(x**2), V, gradient=lambda x: 2 * x + next(calls))
    report = fnn.check(lambda x: jnp.sum(x**2), V, gradient=lambda x: (2 * x).astype(jnp.float16))
    assert [f.verdict for f in report.findings] == ["UNDECIDED"] and "got float16: there is a cast" in str(report)


def test_a_leaf_of_size_0_is_no_trouble():
    assert fnn.check(lambda p: jnp.sum(p["a"]) + jnp.sum(p["b"] ** 2), {"a": jnp.zeros((0, 3)), "b": V}).ok


def test_options_out_of_range_are_refused():
    with pytest.raises(ValueError, match="order must be 1 or 2, got 3"):
        fnn.check(jnp.sum, V, order=3)
    with pytest.raises(ValueError, match="miss must be a chance between 0 and 1, got 0"):
        fnn.check(jnp.sum, V, miss=0)


def test_check_grads_can_be_dropped_in():
    right, wrong = (jax.custom_vjp(jnp.sin) for _ in range(2))
    right.defvjp(lambda x: (jnp.sin(x), x), lambda x, bar: (bar * jnp.cos(x),))
    wrong.defvjp(lambda x: (jnp.sin(x), x), lambda x, bar: (bar * jnp.sin(x),))
    fnn.checker.check_grads(lambda x: (right(x), {"twice": 2 * x}), (V,), order=1, modes=("rev",), atol=1e-2, eps=1e-3)
    with pytest.raises(AssertionError, match="NOT OK, wrong: sin"):
        fnn.checker.check_grads(wrong, (V,), order=1)
    with pytest.raises(ValueError, match="modes must be"):
        fnn.checker.check_grads(right, (V,), order=1, modes=("both",))


# ---- diagnoses ------------------------------------------------------------------------------------------------------


def look(seed, wrong, shape=(4, 4)):
    """A gradient ȳ ⊙ d(z), made wrong by a function of (gradient, ȳ, z, d)."""
    rng = random("look", seed)
    z, bar = rng.normal(size=shape), rng.normal(size=shape)
    d = 1 - np.tanh(z) ** 2
    clues = {"the cotangent of the output": bar, "the input": z, "the output": np.tanh(z)}
    return Look(np.asarray(wrong(bar * d, bar, z, d), float), bar * d, clues, {}, bar)


@pytest.mark.parametrize(
    ("kind", "says", "wrong"),
    [
        ("zero", "the gradient is zero", lambda g, bar, z, d: 0 * g),
        ("sign", "the sign is wrong", lambda g, bar, z, d: -g),
        ("factor", "a factor of ½ too many", lambda g, bar, z, d: g / 2),
        (
            "factor",
            r"a factor of 1/6 too many \(6 is the number of rows: a mean in place of a sum",
            lambda g, *_: g / 6,
        ),
        (
            "factor",
            r"a factor of −6 too many \(6 is the number of rows: a sum in place of a mean",
            lambda g, *_: -6 * g,
        ),
        ("transposed", "the gradient is transposed", lambda g, *_: g.T),
        ("shifted", "off by one along axis 0", lambda g, *_: np.roll(g, 1, 0)),
        ("shifted", "reversed along axis 1", lambda g, *_: np.flip(g, 1)),
        ("entry", r"one entry only: \[2, 1\]", lambda g, *_: g + np.eye(4)[[2]].T @ np.eye(4)[[1]]),
        ("slice", "index 3 of axis 1 only", lambda g, *_: g * np.array([1, 1, 1, 2])),
        ("mask", "wrong only where the input is at most 0", lambda g, bar, z, d: np.where(z <= 0, 3 * g, g)),
        ("term", "a branch whose gradient was not added", lambda g, bar, *_: g - bar),
        ("term", "it is off by 0.25 times the input", lambda g, bar, z, d: g + 0.25 * z),
        ("term", "it equals -1 times the truth plus 2 times", lambda g, bar, *_: 2 * bar - g),
        ("missing derivative", "it equals the cotangent of the output", lambda g, bar, *_: bar),
        ("no cotangent", "it does not depend on the cotangent", lambda g, bar, z, d: d),
        ("derivative", "the local derivative is wrong", lambda g, bar, z, d: bar * d**2),
        ("stale", "it does not depend on the inputs", lambda g, bar, z, d: bar * np.arange(1, 17).reshape(4, 4)),
        ("cotangent", "otherwise than in proportion", lambda g, bar, z, d: bar * np.abs(bar) * d),
        ("not finite", "1 of 16 entries are not finite", lambda g, *_: np.where(g == g[0, 0], np.nan, g)),
    ],
)
def test_each_kind_of_mistake_has_its_name(kind, says, wrong):
    first, elsewhere = look(1, wrong), look(2, wrong)
    # the same inputs with another cotangent
    rng, z, d = random("bar"), first.clues["the input"], 1 - first.clues["the output"] ** 2
    bar = rng.normal(size=z.shape)
    clues = {**first.clues, "the cotangent of the output": bar}
    turned = Look(np.asarray(wrong(bar * d, bar, z, d), float), bar * d, clues, {}, bar)
    # other inputs with the same cotangent
    z, bar = rng.normal(size=z.shape), first.clues["the cotangent of the output"]
    d = 1 - np.tanh(z) ** 2
    moved = Look(np.asarray(wrong(bar * d, bar, z, d), float), bar * d, {}, {}, bar)
    told = diagnose(first, [turned, elsewhere], {"the number of rows": 6}, turned, moved)
    assert told.kind == kind and told.certain, told
    assert re.search(says, told.message), told.message


def test_what_another_look_contradicts_is_not_said():
    # a factor at one place is none if it is another elsewhere
    first, elsewhere = look(1, lambda g, *_: 2 * g), look(2, lambda g, bar, z, d: g + z**2)
    told = diagnose(first, [elsewhere], {}, None)
    assert told.kind == "pattern" and not told.certain


def test_what_has_one_sign_is_a_hint_and_what_is_nothing_is_no_evidence():
    # −1/p, the slope of −log p: twice that everywhere, and twice that where it is not above 0, are the same
    def of(slope, bar):
        truth = np.asarray(slope) * bar
        return Look(2 * truth, truth, {}, {}, np.asarray(bar))

    falling, rising, nothing = [-2.0, -4.0, 0.0], [3.0, -1.0, 2.0], [0.0, 0.0, 0.0]
    for others, certain in (([of(falling, -0.5)], False), ([of(rising, -0.5)], True), ([of(nothing, 1.5)], False)):
        told = diagnose(of(falling, 1.5), others, {}, None)
        assert told.message.startswith("a factor of 2 too many") and told.kind == "factor"
        assert told.certain == certain and told.message.endswith("nowhere above 0)") != certain
