"""What users write by mistake is told in a sentence with a remedy, and not in the words of JAX."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests.checker.nets import V


@pytest.fixture(autouse=True)
def promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@jax.custom_vjp
def lone(x):
    return jnp.sin(x)


@jax.custom_jvp
def alone(x):
    return jnp.sin(x)


LABELS, SCORES = jnp.array([0, 5]), jnp.ones((2, 3))


def cross_entropy(z):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(z), LABELS[:, None], 1))


REFUSED = {
    "no rule": (TypeError, r"lone is under jax.custom_vjp and has no rule, called at test_messages.py:\d+. Give it one "
                r"by lone.defvjp", lambda x: jnp.sum(lone(x)), V),
    "no forward-mode rule": (TypeError, r"alone is under jax.custom_jvp and has no rule, .* by alone.defjvp",
                             lambda x: jnp.sum(alone(x)), V),
    "whole numbers": (ValueError, r"Give floats, 1.0 and not 1", lambda x: jnp.sum(x**2), jnp.arange(3)),
    "texts alone": (ValueError, r"no argument holds a floating number", lambda x: jnp.sum(x**2), np.array(["a"])),
    "loss and more": (TypeError, r"returns \(\) float32, \(3,\) float32. If the first is the loss, pass lambda \*args: "
                      r"f\(\*args\)\[0\]", lambda x: (jnp.sum(x**2), x), V),
    "label out of range": (ValueError, r"`gather`.* reads beyond an array of shape \(2, 3\), at indices up to 5: a "
                           r"label out of range\? Number the classes from 0", cross_entropy, SCORES),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_checked(what):
    error, says, f, x = REFUSED[what]
    with pytest.raises(error, match=says):
        fnn.check(f, x)


#: Backward passes of the sine that do not run.
BROKEN = {
    "an array for a tuple": (lambda x, bar: bar * jnp.cos(x), "backward must give a tuple with one gradient for each"),
    "two for one": (lambda x, bar: (bar * jnp.cos(x), None), r"backward must give a tuple .* Return \(g,\)"),
    "NumPy": (lambda x, bar: (bar * np.cos(np.asarray(x)),), r"uses NumPy on a traced value, at test_messages.py:\d+"),
    "Python decides": (lambda x, bar: (bar if x[0] > 0 else 0 * bar,), r"decides by traced values in Python, at t"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_rule_that_does_not_run(what):
    backward, says = BROKEN[what]
    f = jax.custom_vjp(jnp.sin)
    f.defvjp(lambda x: (jnp.sin(x), x), backward)
    (finding, *_) = fnn.check(lambda x: jnp.sum(f(x)), V).findings
    assert finding.verdict == "FORMULA" and finding.message.startswith("the rule does not run: ")
    assert re.search(says, finding.message), finding.message


def test_a_bias_that_is_not_summed_over_the_batch():
    add = jax.custom_vjp(lambda x, b: x + b)
    add.defvjp(lambda x, b: (x + b, None), lambda _, bar: (bar, bar))
    report = fnn.check(lambda x, b: jnp.sum(add(x, b) ** 2), jnp.ones((5, 3)), V)
    (finding,) = [f for f in report.findings if f.rule != "gradient" and f.verdict == "FORMULA"]
    assert finding.argument == "argument 1" and finding.message == (
        "its gradient must have shape (3,), got shape (5, 3): not summed over axis 0, along which it is broadcast?"
    )


def test_a_gradient_that_a_transformation_made():
    f = lambda x: jnp.sum(x**2)  # noqa: E731
    (finding,) = fnn.check(f, V, gradient=jax.grad(f)).findings
    assert finding.verdict == "OK" and finding.where.startswith("test_messages.py:")
    report = fnn.check(f, V, gradient=jax.value_and_grad(f))
    assert not report.ok and "it gives a value beside its gradient. Pass lambda *args: g(*args)[1]" in str(report)


def test_labels_out_of_range_are_named_where_witnesses_contradict_each_other():
    """JAX reads the last entry for them, and gives that entry no gradient."""

    def loss(z, y):
        return -jnp.mean(jax.nn.log_softmax(z)[jnp.arange(2), y])

    z = jnp.array([[0.3, 0.1, -0.2], [0.0, 0.5, 0.1]])
    inside, beyond = fnn.check(loss, z, jnp.array([0, 2])), fnn.check(loss, z, jnp.array([1, 3]))
    (note,) = [note for note in beyond.notes if "reads beyond an array of shape (2, 3), at indices up to 3" in note]
    assert not beyond.ok and note.endswith("a label out of range? Number the classes from 0")
    assert inside.ok and "beyond" not in str(inside)
