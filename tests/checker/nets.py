"""The nets that the tests of the checker share, and the programs that are compiled for them."""

import jax
import jax.numpy as jnp

import fnn
from fnn.checker.examination import examine
from fnn.checker.points import Settings
from tests.cases import drawn, random

X = jnp.asarray(random("checker").normal(size=(6, 4)), jnp.float32)
Y = jnp.array([0, 1, 2, 0, 1, 2])
V = jnp.asarray([0.3, 1.0, 2.0])

#: What is compiled for one test serves the others: they are built of few layers.
PROGRAMS = fnn.checker.Programs()


def verdicts(rule):
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        return {f.verdict for f in examine(rule, Settings(), recorded=False)}


def checked(net, loss="softmax_cross_entropy", regularizer=None, y=Y, check=fnn.check, **options):
    params = jax.tree.map(lambda leaf: leaf + 0.1, drawn(net, random("params")))
    return check(fnn.backprop(net, loss, regularizer), params, X, y, programs=PROGRAMS, **options)


def custom(backward, function=jnp.sin, forward=None):
    """A custom_vjp function that keeps its input, summed."""
    rule = jax.custom_vjp(lambda x: function(x))
    rule.defvjp(lambda x: ((forward or function)(x), x), lambda x, bar: (backward(x, bar),))
    return lambda x: jnp.sum(rule(x))
