"""The optimizers by hand give what Optax gives, step by step, and are values."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from tests.cases import random
from tests.witnesses import assert_close

PAIRS = {
    "sgd": (fnn.optimizers.sgd(0.1), optax.sgd(0.1)),
    "momentum": (fnn.optimizers.momentum(0.1, 0.8), optax.sgd(0.1, momentum=0.8)),
    "nesterov": (fnn.optimizers.nesterov(0.1), optax.sgd(0.1, momentum=0.9, nesterov=True)),
    "adam": (fnn.optimizers.adam(0.01), optax.adam(0.01)),
    "adam with its own numbers": (fnn.optimizers.adam(0.02, 0.7, 0.95, 1e-3), optax.adam(0.02, 0.7, 0.95, 1e-3)),
}


def steps(optimizer, dtype, count=30):
    """The parameters after each of `count` steps on random gradients of very different size."""
    rng = random("optimizers")
    start = {"W": jnp.asarray(rng.normal(size=(3, 2)), dtype), "b": (jnp.asarray(rng.normal(size=2), dtype),)}
    scales = 10.0 ** rng.integers(-4, 3, (count, 1))
    gradients = {
        "W": jnp.asarray(rng.normal(size=(count, 3, 2)) * scales[..., None], dtype),
        "b": (jnp.asarray(rng.normal(size=(count, 2)) * scales, dtype),),
    }

    def step(carry, g):
        params, state = carry
        updates, state = optimizer.update(g, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    with jax.numpy_dtype_promotion("standard"):
        return jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), gradients)[1])()


@pytest.mark.parametrize("name", PAIRS)
def test_A19_B14_by_hand_and_optax_take_the_same_steps(name, dtype):
    ours, theirs = (steps(each, dtype) for each in PAIRS[name])
    # thirty steps of half a dozen operations each
    assert_close(ours, theirs, 200 * float(jnp.finfo(dtype).eps))
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(ours))


def test_a_wrong_correction_would_be_seen(x64):
    class Uncorrected(fnn.optimizers.Adam):
        def update(self, gradients, state, params=None):
            t, m, v = state
            return super().update(gradients, (t + 1000, m, v), params)

    with pytest.raises(AssertionError):
        assert_close(steps(Uncorrected(0.01), jnp.float64), steps(optax.adam(0.01), jnp.float64), 1e-6)


def test_optimizers_are_values():
    assert fnn.optimizers.adam(1e-3) == fnn.optimizers.adam(1e-3) != fnn.optimizers.adam(2e-3) and hash(
        fnn.optimizers.sgd(0.1)
    ) == hash(fnn.optimizers.sgd(0.1))
    assert fnn.optimizers.momentum(0.1) != fnn.optimizers.nesterov(0.1)
    traces = []

    def once(optimizer, g):
        traces.append(optimizer)
        return optimizer.update(g, optimizer.init(g))[0]

    compiled = jax.jit(once, static_argnums=0)
    for _ in range(3):
        compiled(fnn.optimizers.adam(1e-3), jnp.ones(2))
    assert len(traces) == 1


def test_a_rate_can_be_traced():
    @chex.assert_max_traces(1)
    def update(rate, g):
        return fnn.optimizers.adam(rate).update(g, fnn.optimizers.adam(rate).init(g))[0]

    rates = jnp.asarray([0.1, 0.2])
    found = jax.vmap(jax.jit(update), (0, None))(rates, jnp.ones(3))
    assert np.allclose(found[1], 2 * found[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fnn.optimizers.sgd(0.0), "sgd: learning_rate must be finite and above 0, got 0.0"),
        (lambda: fnn.optimizers.adam(float("nan")), "adam: learning_rate must be finite and above 0"),
        (lambda: fnn.optimizers.momentum(0.1, 1.0), "momentum: decay must be at least 0 and below 1, got 1.0"),
        (lambda: fnn.optimizers.adam(0.1, 0.9, -1.0), "adam: b2 must be at least 0"),
        (lambda: fnn.optimizers.adam(0.1, eps=-1.0), "adam: eps must be finite and at least 0"),
        (lambda: dataclasses.replace(fnn.optimizers.sgd(0.1), learning_rate=-1), "sgd: learning_rate must be"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
