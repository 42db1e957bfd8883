"""Sweeps: each run is what it would be alone, whatever runs beside it and however many at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from tests import tolerances
from tests.training.test_run import BY_HAND, X, Y
from tests.witnesses import assert_close

pytestmark = pytest.mark.quick_compilation
OPTIONS = {"optimizer": optax.sgd, "epochs": 5, "batch_size": 4}
SEVERAL = fnn.grid(seed=[0, 1], learning_rate=[0.1, 0.5])


def swept(gradient=BY_HAND, over=SEVERAL, **changed):
    return fnn.sweep(gradient, (X, Y), over=over, **OPTIONS | changed)


def alone(seed, rate, gradient=BY_HAND, net=None, **changed):
    """The same run by `fit`."""
    params_key, shuffle_key = jax.random.split(jax.random.key(seed))
    net = gradient.net if net is None else net
    params = jax.jit(net.init)(params_key)
    options = OPTIONS | {"learning_rate": rate, "key": shuffle_key} | changed
    return fnn.fit(gradient, params, (X, Y), **options)


def test_each_run_is_what_it_would_be_alone():
    found = swept(validation=(X, Y))
    assert found.metrics["validation_loss"].shape == (4, 5) and not found.failed.any()
    for k, run in enumerate(found.runs):
        state, history = alone(run["seed"], run["learning_rate"], validation=(X, Y))
        assert_close(found.params[k], state.params, tolerances.FORWARD["float32"] * 10)
        for name, curve in history.metrics.items():
            assert_close(found.metrics[name][k], curve, tolerances.FORWARD["float32"] * 10)
    assert found.best == int(np.argmin(found.metrics["validation_loss"][:, -1]))
    assert f"best: run {found.best}" in repr(found)


def test_how_many_go_together_changes_no_bit_of_what_comes_out():
    whole, single = swept(), swept(memory=1)
    assert_close(whole.value, single.value, tolerances.FORWARD["float32"])
    # three at a time: the second call is filled up with a run that is there already
    over = fnn.grid(seed=range(5))
    several = swept(over=over, memory=3 * 2000, optimizer=optax.sgd(0.1))
    assert several.value.shape == (5,) and len(set(several.value.tolist())) == 5


def test_strengths_initializers_and_nets_of_other_shapes():
    nets = [fnn.mlp(3, 5, 2), fnn.mlp(3, 7, 2), fnn.mlp(3, 5, 2), fnn.mlp(3, 4, 4, 2)]
    gradients = [fnn.backprop(net, "softmax_cross_entropy", "l2") for net in nets]
    weights = ["he_normal", "zeros", "he_normal", "zeros"]
    over = {"seed": [0, 1, 2, 3], "strength": [0.0, 0.1, 1.0, 0.0], "weight_init": weights}
    width = lambda params, x, y, net: jnp.float32(net.layers[0].outputs)  # noqa: E731
    found = swept(gradients, over, optimizer=optax.sgd(0.1), metrics={"width": width})
    assert [p[0]["W"].shape for p in found.params] == [(3, 5), (3, 7), (3, 5), (3, 4)]
    # a run names its net, initializers included, and so do the best and a metric that asks for it
    assert found.nets[1] == fnn.mlp(3, 7, 2, weight_init="zeros") and f"'net': {found.nets[found.best]!r}" in repr(
        found
    )
    assert found.metrics["width"][:, -1].tolist() == [5, 7, 5, 4]
    assert not np.any(found.params[1][0]["W"]) and np.any(found.params[0][0]["W"])
    made = fnn.mlp(3, 5, 2, weight_init="he_normal")
    gradient = fnn.backprop(made, "softmax_cross_entropy", "l2")
    state, _ = alone(2, None, gradient, strength=1.0, optimizer=optax.sgd(0.1))
    assert_close(found.params[2], state.params, tolerances.FORWARD["float32"] * 10)


def test_a_run_that_fails_disturbs_no_other_and_is_marked():
    net = fnn.mlp(3, 4, 1, activation="identity")
    gradient = fnn.backprop(net, "squared_error")
    options = {"optimizer": optax.sgd, "epochs": 40, "batch_size": 4}
    over = {"seed": [0, 0, 1], "learning_rate": [0.05, 1e6, 0.05]}
    found = fnn.sweep(gradient, (X, X[:, :1]), over=over, **options)
    assert found.failed.tolist() == [False, True, False] and found.best in (0, 2)
    good = fnn.sweep(gradient, (X, X[:, :1]), over={k: [v[0], v[2], v[2]] for k, v in over.items()}, **options)
    assert_close(found.value[[0, 2]], good.value[:2], tolerances.FORWARD["float32"])
    none = fnn.sweep(gradient, (X, X[:, :1]), over={"learning_rate": [1e6, 1e7]}, **options)
    assert none.best == -1 and "2 failed" in repr(none)


def test_different_losses_are_not_compared_in_silence():
    gradients = [fnn.backprop(BY_HAND.net, loss) for loss in ("softmax_cross_entropy", "squared_error")]
    options = {"over": {"seed": [0, 1]}, "optimizer": optax.sgd(0.1), "epochs": 1, "batch_size": 4}
    # said before anything is trained; a warning is an error here
    with pytest.raises(UserWarning, match=r"loss is of 2 different losses, .*, which cannot be compared. Look at"):
        fnn.sweep(gradients, (X, np.eye(2, dtype=np.float32)[Y]), **options)


def test_early_stopping_is_of_each_run():
    against = X[::-1].copy(), 1 - Y[::-1]
    found = swept(validation=against, patience=2, epochs=12)
    for k, run in enumerate(found.runs):
        state, history = alone(run["seed"], run["learning_rate"], validation=against, patience=2, epochs=12)
        taken = len(history.metrics["loss"])
        assert np.isfinite(found.metrics["loss"][k, :taken]).all() and np.isnan(found.metrics["loss"][k, taken:]).all()
        assert_close(found.params[k], state.params, tolerances.FORWARD["float32"] * 10)


def test_early_stopping_leaves_each_epoch_an_order_of_its_own():
    found = swept(validation=(X, Y), patience=50, epochs=4)
    for k, run in enumerate(found.runs):
        _, history = alone(run["seed"], run["learning_rate"], validation=(X, Y), patience=50, epochs=4)
        assert_close(found.metrics["loss"][k], history.metrics["loss"], tolerances.FORWARD["float32"] * 10)


class LastRow(fnn.gradients.Backprop):
    """A gradient that remembers half of what it was before: where it ends depends on the order of the rows."""

    def __call__(self, params, x, y, **options):
        bars = jax.tree.map(jnp.zeros_like, params)
        bars[0]["b"] = bars[0]["b"] + params[0]["b"] * 0.5 + jnp.mean(x[:, 0])
        return jnp.mean(x[:, 0]), bars


def test_a_shared_shuffle_is_one_order_for_all():
    over, options = {"seed": [0, 1, 2]}, {"optimizer": optax.sgd(1.0)}
    shared, own = (swept(LastRow(BY_HAND.objective), over, shared_shuffle=s, **options) for s in (True, False))
    ends = [{float(params[0]["b"][0]) for params in found.params} for found in (shared, own)]
    assert len(ends[0]) == 1 and len(ends[1]) == 3
    for found in (shared, own):
        assert_close(found.metrics["loss"], np.full((3, 5), X[:, 0].mean()), tolerances.FORWARD["float32"] * 10)
