"""Sums before means: weights count at every batch size, windows weigh batches by their rows, norms stay finite."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from tests import tolerances
from tests.cases import drawn, random
from tests.training.test_run import BY_HAND, NET, PARAMS, X, Y, run, same
from tests.witnesses import assert_close

pytestmark = pytest.mark.quick_compilation
TIGHT = tolerances.FORWARD["float64"] * 100
WEIGHTS = np.array([3.0, 0.0, 1.0, 0.5, 2.0, 1.0, 0.0, 0.0, 7.0, 1.0, 1.5])
#: Times the weights it is finite, and their sum is not.
HUGE = 2e307
PENALIZED = fnn.backprop(NET, "softmax_cross_entropy", "l2")


def double():
    return drawn(NET, random("engine params"), jnp.float64), X.astype(np.float64)


def one_step_by_formula(params, x, rows, gradient, *, rate, penalty=None):
    """θ − η (Σ_B w ∇l / (|B| w̄) + ∇penalty), each gradient by autodiff of one row."""
    total = jax.tree.map(jnp.zeros_like, params)
    for k in rows:
        g = jax.grad(BY_HAND.objective)(params, x[k : k + 1], Y[k : k + 1])
        total = jax.tree.map(lambda a, b, k=k: a + WEIGHTS[k] * b, total, g)
    total = jax.tree.map(lambda a: a / (len(rows) * WEIGHTS.mean()), total)
    if penalty is not None:
        total = jax.tree.map(lambda a, b: a + b, total, fnn.l2.gradient(params, penalty))
    return jax.tree.map(lambda p, g: p - rate * g, params, total)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("penalty", [None, 0.1])
def test_the_gradient_of_a_weighted_batch_is_the_formula(x64, size, penalty):
    params, x = double()
    gradient = BY_HAND if penalty is None else PENALIZED
    options = {} if penalty is None else {"strength": penalty}
    state, _ = run(gradient, params, (x, Y, WEIGHTS), optimizer=optax.sgd(0.1), batch_size=size, epochs=1, **options)
    order = np.asarray(fnn.training.permutation(jax.random.split(jax.random.key(2))[1], 11))
    expected = params
    for first in range(0, 11, size):
        expected = one_step_by_formula(expected, x, order[first : first + size], gradient, rate=0.1, penalty=penalty)
    assert_close(state.params, expected, TIGHT)
    automatic, _ = run(
        jax.value_and_grad(gradient.objective), params, (x, Y, WEIGHTS), optimizer=optax.sgd(0.1), batch_size=size,
        epochs=1, **options,
    )  # fmt: skip
    assert_close(automatic.params, expected, TIGHT)


def test_whole_gradients_count_as_numbers():
    """Their mean over a window, and the share that is left of a long one, are no whole numbers."""
    for changed in ({"accumulate": 2}, {"clip_norm": 0.5}):
        ends = [
            run(lambda p, x, y, dtype=dtype: (p, jnp.sum(y).astype(dtype)), jnp.ones(()), epochs=1,
                optimizer=optax.sgd(0.1), **changed)[0].params for dtype in ("int32", "float32")
        ]  # fmt: skip
        assert ends[0] == ends[1] != 1


def test_a_batch_of_zeros_gives_the_penalty_alone(x64):
    params, x = double()
    weights = np.array([1.0] + [0.0] * 10)
    state, _ = run(PENALIZED, params, (x, Y, weights), optimizer=optax.sgd(0.1), batch_size=1, epochs=1, strength=0.1)
    assert np.isfinite(state.params[0]["W"]).all()
    alone, _ = run(PENALIZED, params, (x[:1], Y[:1]), optimizer=optax.sgd(0.0), batch_size=1, epochs=1, strength=0.1)
    assert same(alone.params, params)


def test_weights_are_a_matter_of_their_ratios_and_the_loss_is_their_mean(x64):
    params, x = double()
    _, history = run(params=params, data=(x, Y, WEIGHTS), optimizer=optax.sgd(0.0), batch_size=4, epochs=1)
    losses = jax.vmap(lambda x, y: BY_HAND.objective(params, x[None], y[None]))(x, jnp.asarray(Y))
    assert_close(history.metrics["loss"][0], np.sum(WEIGHTS * losses) / WEIGHTS.sum(), TIGHT)
    # a sum beyond the numbers, and weights that are nearly 0, too
    one, *others = (
        run(params=params, data=(x, Y, c * WEIGHTS), optimizer=optax.sgd(0.1), epochs=2)[0]
        for c in (1, 9, HUGE, 1e-309)
    )
    for other in others:
        assert_close(one.params, other.params, TIGHT)


def test_a_state_that_goes_on_with_weights_of_another_mean_says_so():
    options = {"optimizer": optax.sgd(0.1), "epochs": 1}
    state, _ = run(data=(X, Y, WEIGHTS), **options)
    assert np.isclose(float(state.mean_weight), WEIGHTS.mean())
    # no word on the same weights, nor where one of the calls has none
    state, _ = run(params=state, data=(X, Y, WEIGHTS), **options)
    run(params=state, **options)
    with pytest.warns(UserWarning, match="fit: weights count by their ratio to the mean .* 2.5; in .* was 1.54545"):
        after, _ = run(params=state, data=fnn.Stream(X, Y, 4, weights=np.full(11, 2.5)), **options)
    assert after.mean_weight == 2.5
    with pytest.warns(UserWarning, match="this data, 1; in the call before the mean was 2.5"):
        run(params=after, data=(X, Y, np.ones(11)), **options)


def test_a_stream_has_weights_too():
    whole, curves = run(data=(X, Y, WEIGHTS), epochs=3)
    state, history = run(data=fnn.Stream(X, Y, 4, weights=HUGE * WEIGHTS), epochs=3)
    assert_close(state.params, whole.params, tolerances.FORWARD["float32"] * 10)
    assert_close(history.metrics["loss"], curves.metrics["loss"], tolerances.FORWARD["float32"] * 10)


def test_validation_accuracy_is_weighted_as_the_loss_is():
    wrong = np.where(np.arange(11) < 4, 1 - Y, Y)
    weights = np.where(np.arange(11) < 4, 0.0, 1.0)
    metrics = {"share": lambda p, x, y, sample_weight=None: 0.0 if sample_weight is None else jnp.sum(sample_weight)}
    _, history = run(validation=(X, wrong, weights), epochs=1, metrics=metrics)
    _, right = run(validation=(X[4:], Y[4:]), epochs=1)
    for name in ("validation_accuracy", "validation_loss"):
        assert_close(history.metrics[name], right.metrics[name], tolerances.FORWARD["float32"] * 10)
    assert history.metrics["validation_share"][0] == 7 and history.metrics["share"][0] == 0


def test_a_bare_gradient_gets_weights_as_it_declares_or_is_refused():
    def takes(w, x, y, *, sample_weight):
        return jnp.sum(sample_weight * x[:, 0]) * w, jnp.sum(sample_weight * x[:, 0])

    def takes_both(w, x, y, *, sample_weight, weight_sum):
        return jnp.sum(sample_weight * x[:, 0]) / weight_sum * w, jnp.sum(sample_weight * x[:, 0]) / weight_sum

    options = {"params": jnp.asarray(0.0), "optimizer": optax.sgd(1.0), "epochs": 1, "batch_size": 11}
    ends = [float(run(f, data=(X, Y, WEIGHTS), **options)[0].params) for f in (takes, takes_both)]
    assert_close(
        np.array(ends), -np.array([np.sum(WEIGHTS * X[:, 0]), np.sum(WEIGHTS * X[:, 0]) / WEIGHTS.sum()]), 1e-5
    )
    with pytest.raises(TypeError, match=r"the gradient must take sample_weight for data with weights, got .*Declare f"):
        run(lambda w, x, y: (w, w), data=(X, Y, WEIGHTS), **options)


def mean_of_rows(p, x, y):
    return jnp.mean(jnp.sum(p[None] * x, -1))


def test_a_window_is_clipped_after_its_mean():
    x = np.array([[2.0, 0], [0, 0.1]], np.float32)
    options = {"params": jnp.zeros(2), "data": (x, x), "epochs": 1, "optimizer": fnn.optimizers.sgd(1.0)}
    whole, _ = run(jax.value_and_grad(mean_of_rows), batch_size=2, clip_norm=0.5, **options)
    parts, _ = run(jax.value_and_grad(mean_of_rows), batch_size=1, accumulate=2, clip_norm=0.5, **options)
    assert_close(parts.params, whole.params, tolerances.FORWARD["float32"])


def test_a_window_weighs_batches_by_their_rows_and_ends_with_the_epoch(x64):
    x = np.random.default_rng(0).normal(size=(5, 2))
    options = {"params": jnp.zeros(2), "data": (x, x), "epochs": 1, "optimizer": optax.sgd(1.0)}
    # batches of 2, 2 and 1 rows in one window: the mean of all rows
    state, _ = run(jax.value_and_grad(mean_of_rows), batch_size=2, accumulate=3, **options)
    assert_close(state.params, -x.mean(0), TIGHT)
    # a window of two, and one of the last batch alone: nothing is left over
    state, _ = run(jax.value_and_grad(mean_of_rows), batch_size=2, accumulate=2, **options)
    order = np.asarray(fnn.training.permutation(jax.random.split(jax.random.key(2))[1], 5))
    assert_close(state.params, -(x[order[:4]].mean(0) + x[order[4]]), TIGHT)


def test_epochs_in_two_calls_are_those_of_one_with_windows_too():
    state, _ = run(accumulate=2, epochs=3)
    state, _ = run(params=state, accumulate=2, epochs=2)
    assert same(state.params, run(accumulate=2, epochs=5)[0].params)


def test_a_window_goes_on_without_a_batch_that_is_left_out():
    def gradient(w, x, y):
        return jnp.sum(w * 0), jnp.where(jnp.any(x[:, 0] == X[7, 0]), jnp.nan, 1.0) * jnp.ones(2)

    options = {"params": jnp.zeros(2), "optimizer": optax.sgd(1.0), "epochs": 1, "batch_size": 1}
    state, _ = run(gradient, accumulate=11, on_nonfinite="skip", **options)
    assert_close(state.params, -np.ones(2, np.float32), tolerances.FORWARD["float32"])
    assert int(state.skipped) == 1


def test_an_accumulation_longer_than_an_epoch_is_refused():
    with pytest.raises(
        ValueError, match=r"accumulate must be at most the 3 batches of an epoch, .*got 4. Use 3 or less"
    ):
        run(accumulate=4)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_a_norm_does_not_overflow(dtype):
    size = {"float16": 100.0, "bfloat16": 1e30, "float32": 1e30}[jnp.dtype(dtype).name]
    gradient = lambda w, x, y: (jnp.zeros((), dtype), jnp.full((64, 64), size, dtype))  # noqa: E731
    state, _ = run(
        gradient, jnp.zeros((64, 64), dtype), (X.astype(dtype), Y), optimizer=optax.sgd(1.0), epochs=1, batch_size=11,
        clip_norm=64.0,
    )  # fmt: skip
    assert_close(state.params.astype(jnp.float32), -np.ones((64, 64), np.float32), 0.01)


def test_weights_in_half_precision_do_not_overflow():
    weights = np.full(11, 6e4, np.float16)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), PARAMS)
    whole, _ = run(params=params, data=(X.astype(np.float16), Y), optimizer=optax.sgd(0.1), epochs=1)
    state, history = run(params=params, data=(X.astype(np.float16), Y, weights), optimizer=optax.sgd(0.1), epochs=1)
    assert np.isfinite(history.step_loss).all()
    assert_close(
        jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (state.params)),
        jax.tree.map(lambda leaf: leaf.astype(jnp.float32), (whole.params)), 0.01,
    )  # fmt: skip
