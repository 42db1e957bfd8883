"""Rules by hand inside any JAX function, and gradients beside one."""

import json
import re

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

import fnn


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
    assert says["square"].message == "the sign is wrong" and says["square"].where.startswith("test_functions.py:")
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
    assert wrong.findings[0].message == "the gradient must have the structure {'w': *} of its argument, got [*]"


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


def test_a_rule_that_a_derivative_inside_uses_up_is_noted():
    sine = jax.custom_vjp(jnp.sin)

    def forward(x):
        return jnp.sin(x), x

    sine.defvjp(forward, lambda x, bar: (2 * bar * jnp.cos(x),))
    penalty = lambda x: jnp.sum(jax.grad(lambda x: jnp.sum(sine(x) * jax.nn.relu(x)))(x) ** 2)  # noqa: E731
    (note,) = [each for each in fnn.check(penalty, jnp.asarray([0.3, 1.0])).notes if "used up" in each]
    assert re.fullmatch(r"a rule by hand \(forward, test_functions.py:\d+\) is used up by .* by itself", note), note
    assert "used up" not in str(fnn.check(lambda x: jnp.sum(square(x)), jnp.asarray([0.3, 1.0])))


def test_the_report_is_data():
    report = json.loads(fnn.check(lambda x: jnp.sum(square(x)), jnp.asarray([0.3, 1.0])).to_json())
    assert report["ok"] is False and report["culprits"] == ["square"]
    assert {"rule", "where", "argument", "verdict", "message"} <= set(report["findings"][0])


# ---- where rules may stand ------------------------------------------------------------------------------------------


def sine(factor):
    rule = jax.custom_vjp(jnp.sin)
    rule.defvjp(lambda x: (jnp.sin(x), x), lambda x, bar: (factor * bar * jnp.cos(x),))
    return rule


def sharded(f):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.shard_map(f, mesh=mesh, in_specs=P("i"), out_specs=P("i"))


@pytest.mark.parametrize("holder", [jax.checkpoint, sharded, jax.jit, jax.vmap, lambda f: jax.checkpoint(sharded(f))])
def test_a_rule_is_found_within_every_kind_of_call(holder):
    x = jnp.array([0.5, -1.2])
    assert fnn.check(lambda x: jnp.sum(holder(sine(1.0))(x)), x).ok
    report = fnn.check(lambda x: jnp.sum(holder(sine(2.0))(x)), x)
    assert not report.ok and report.culprits == ("sin",), str(report)
    assert "a factor of 2 too many" in str(report)


def test_a_mask_that_a_rule_captured_and_that_leaves_nothing_out_is_noted():
    def noted(mask):
        @jax.custom_vjp
        def masked(x):
            return jnp.where(mask, jnp.tanh(x), 0.0)

        masked.defvjp(lambda x: (masked(x), x), lambda x, bar: (bar * (1 - jnp.tanh(x) ** 2) * mask,))
        report = fnn.check(lambda x: jnp.sum(masked(x)), jnp.array([0.3, -0.2]))
        return [note for note in report.notes if "closes over an array of shape (2,)" in note]

    assert noted(jnp.ones(2, bool)) and not noted(jnp.array([True, False]))
