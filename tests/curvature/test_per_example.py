"""Gradients of single examples against vmap of the gradient; sums and variances that never form them."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.curvature import clipped_sum, example_gradients, gradient_noise
from tests import tolerances
from tests.cases import drawn, random, rounded
from tests.witnesses import assert_close


@dataclass(frozen=True)
class Scale(fnn.Layer):
    """A layer of a user, whose gradients are formed."""

    size: int

    @property
    def inputs(self):
        return self.size

    outputs = inputs

    def init(self, key, dtype=jnp.float32):
        return {"s": jnp.ones(self.size, dtype)}

    def forward(self, params, x):
        return jnp.broadcast_to(params["s"], x.shape) * x, x

    def backward(self, params, x, y_bar):
        s = jnp.broadcast_to(params["s"], x.shape)
        return {"s": jnp.sum(x * y_bar, axis=tuple(range(x.ndim - 1)))}, s * y_bar


BENT = fnn.dense(3, 3, activation="tanh")
#: Some gradients are clipped, some are not.
LIMIT = 0.9
NETS = {
    "mlp": fnn.mlp(3, 4, 2),
    "skip and repeated": fnn.sequential(fnn.skip(BENT), fnn.repeated(BENT, 3), fnn.dense(3, 2)),
    "of a user": fnn.sequential(Scale(3), fnn.repeated(fnn.sequential(Scale(3), BENT), 2), fnn.dense(3, 2)),
}


def data(net, rows=7):
    rng = random("per example")
    x = rounded(rng.normal(size=(rows, 3)), jnp.float64)
    return drawn(net, rng, jnp.float64), x, jnp.asarray(rng.integers(0, 2, rows), jnp.int32)


@pytest.mark.parametrize("name", NETS)
def test_gradients_sums_and_variances_are_those_of_vmap(name, x64):
    by_hand = fnn.backprop(NETS[name], "softmax_cross_entropy", "l2")
    plain = fnn.backprop(NETS[name], "softmax_cross_entropy")

    @jax.jit
    def all_of(params, x, y):
        wanted = jax.vmap(lambda x, y: jax.grad(plain.objective)(params, x, y))(x, y)
        results = example_gradients(by_hand, params, x, y), gradient_noise(by_hand, params, x, y)
        whole = clipped_sum(by_hand, params, x, y, limit=LIMIT)
        return wanted, *results, whole, clipped_sum(by_hand, params, x, y, limit=jnp.asarray(LIMIT), chunk=3)

    wanted, formed, noise, whole, chunked = jax.device_get(all_of(*data(NETS[name])))
    assert_close(formed, wanted, tolerances.LEAF)
    norms = np.sqrt(sum((g**2).reshape(7, -1).sum(axis=1) for g in jax.tree.leaves(wanted)))
    assert ((norms > LIMIT).any() and (norms < LIMIT).any()) or name != "mlp"
    share = np.minimum(1, LIMIT / norms)
    clipped = jax.tree.map(lambda g: np.tensordot(share, g, axes=1), wanted)
    for each in (whole, chunked):
        assert_close(each, (clipped, norms), tolerances.LEAF)
    assert_close(noise.mean, jax.tree.map(lambda g: g.mean(axis=0), wanted), tolerances.LEAF)
    assert_close(noise.variance, jax.tree.map(lambda g: g.var(axis=0, ddof=1), wanted), tolerances.LEAF)
    variance = sum(g.var(axis=0, ddof=1).sum() for g in jax.tree.leaves(wanted))
    signal = sum((g.mean(axis=0) ** 2).sum() for g in jax.tree.leaves(wanted)) - variance / 7
    if signal > 0:
        assert_close(noise.total_scale, variance / signal, tolerances.LEAF)
    else:
        assert noise.total_scale == np.inf
    last = jax.tree.leaves(wanted[-1])
    assert_close(noise.noise[-1], sum(g.var(axis=0, ddof=1).sum() for g in last), tolerances.LEAF)
    assert jax.tree.structure(noise.scale) == jax.tree.structure(noise.signal)


def test_noise_without_a_signal_has_an_infinite_scale():
    by_hand = fnn.backprop(fnn.mlp(1, 1), "half_squared_error")
    params = ({"W": np.zeros((1, 1), "float32"), "b": np.zeros(1, "float32")},)
    y = np.float32([[1.0], [-1.0]])
    noise = jax.jit(lambda: gradient_noise(by_hand, params, np.zeros((2, 1), "float32"), y))()
    assert float(noise.total_scale) == np.inf and float(noise.signal[0]) < 0


def test_a_wrong_clip_is_seen(x64, monkeypatch):
    """Clipping the layers one by one, and a bias that is left out of the norm."""
    by_hand = fnn.backprop(NETS["mlp"], "softmax_cross_entropy")
    args = data(NETS["mlp"])
    right = jax.jit(lambda: clipped_sum(by_hand, *args, limit=LIMIT))()
    norms = fnn.curvature.per_example._squared_norms
    for wrong in (lambda each: 0 * norms(each) + 1, lambda each: norms(each._replace(x=each.x - 1))):
        monkeypatch.setattr(fnn.curvature.per_example, "_squared_norms", wrong)
        got = jax.jit(lambda: clipped_sum(by_hand, *args, limit=LIMIT))()
        with pytest.raises(AssertionError, match="off by"):
            assert_close(got, right, tolerances.LEAF)


def test_a_clipped_sum_takes_the_operations_and_the_memory_of_the_gradient():
    """Counted by XLA at N = 512: at most 1.5 gradients, 2.2 times its memory, 1.5 times in chunks."""
    net, loss = fnn.mlp(784, 512, 256, 10), fnn.softmax_cross_entropy
    by_hand, params = fnn.backprop(net, loss), jax.eval_shape(lambda: net.init(jax.random.key(0)))
    x, y = jax.ShapeDtypeStruct((512, 784), "float32"), jax.ShapeDtypeStruct((512,), "int32")

    def compiled(function):
        program = jax.jit(function).lower(params, x, y).compile()
        return program.cost_analysis()["flops"], program.memory_analysis().temp_size_in_bytes

    flops, memory = compiled(by_hand)
    clipped_flops, clipped_memory = compiled(lambda *d: clipped_sum(by_hand, *d, limit=1.0))
    _, chunked_memory = compiled(lambda *d: clipped_sum(by_hand, *d, limit=1.0, chunk=32))
    assert clipped_flops <= 1.5 * flops
    assert clipped_memory <= 2.2 * memory
    assert chunked_memory <= 1.5 * memory


class Flipped(fnn.gradients.Objective):
    def backward(self, params, residuals, value_bar=1.0):
        return super().backward(params, residuals, -value_bar)


def test_what_is_wrong_is_said():
    by_hand = fnn.backprop(fnn.mlp(3, 2), "softmax_cross_entropy")
    params = ({"W": np.zeros((3, 2), "float32"), "b": np.zeros(2, "float32")},)
    x, y = np.zeros((4, 3), "float32"), np.zeros(4, "int32")
    with pytest.raises(ValueError, match=r"limit must be above 0, got 0\. It is"):
        clipped_sum(by_hand, params, x, y, limit=0)
    with pytest.raises(ValueError, match=r"chunk must be at least 1, got 0"):
        clipped_sum(by_hand, params, x, y, limit=1, chunk=0)
    with pytest.raises(ValueError, match=r"needs at least 2 examples, got 1\. Give more rows"):
        gradient_noise(by_hand, params, x[:1], y[:1])
    with pytest.raises(ValueError, match=r"one leading axis, the examples, got predictions of shape \(2, 2, 2\)"):
        jax.eval_shape(lambda: example_gradients(by_hand, params, x.reshape(2, 2, 3), y.reshape(2, 2)))
    with pytest.raises(TypeError, match="per example: a Backprop is needed"):
        example_gradients(by_hand.objective, params, x, y)
    with pytest.raises(TypeError, match="per example: Flipped has its own backward"):
        example_gradients(fnn.gradients.Backprop(Flipped(by_hand.net, by_hand.loss)), params, x, y)
