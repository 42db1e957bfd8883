"""The training engine: one run however it is cut, early stopping, and what happens when something is not finite."""

import pickle

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.training import run as runs
from fnn.types import is_key
from tests import tolerances
from tests.cases import drawn, random
from tests.training.test_fit import lenient
from tests.witnesses import assert_close

NET = fnn.mlp(3, 5, 2)
BY_HAND = fnn.backprop(NET, "softmax_cross_entropy")
GIVEN = random("engine")
X = np.asarray(GIVEN.normal(size=(11, 3)), np.float32)
Y = (X[:, 0] + 0.3 * X[:, 1] > 0).astype(np.int32)
PARAMS = drawn(NET, random("engine params"), jnp.float32)
ADAM = lenient(optax.adam(0.02))


def run(gradient=BY_HAND, params=PARAMS, data=(X, Y), **options):
    options = {"optimizer": ADAM, "epochs": 6, "batch_size": 4, "key": jax.random.key(2)} | options
    if isinstance(params, fnn.TrainState):
        del options["key"]
    return fnn.fit(gradient, params, data, **options)


def same(one, other):
    """Equal in every bit."""

    def bits(tree):
        return [
            np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf).tobytes() for leaf in jax.tree.leaves(tree)
        ]

    return bits(one) == bits(other)


@pytest.mark.parametrize("steps", [1, 2, 5, 17])
def test_a_run_is_the_same_however_it_is_cut(steps, monkeypatch):
    whole = run()
    monkeypatch.setattr(runs.Run, "advance", cut(runs.Run.advance, steps))
    state, history = run()
    assert same(state.params, whole[0].params) and same(state.optimizer_state, whole[0].optimizer_state)
    assert same(history.step_loss, whole[1].step_loss) and same(history.metrics, whole[1].metrics)


def cut(advance, steps):
    """`advance` that takes so many steps at a time, in the middle of epochs too."""

    def changed(self, state):
        self.budget = steps
        return advance(self, state)

    return changed


def test_a_state_is_continued_as_if_it_had_never_stopped():
    state, history = run(epochs=2)
    state, later = run(params=state, epochs=4)
    whole, curves = run(epochs=6)
    assert same(state.params, whole.params) and int(state.epoch) == 6
    assert same(np.concatenate([history.step_loss, later.step_loss]), curves.step_loss)
    with pytest.raises(ValueError, match="a state must come without one, since it has its own"):
        fnn.fit(BY_HAND, state, (X, Y), optimizer=ADAM, epochs=1, batch_size=4, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"Give key=jax.random.key\(0\)"):
        fnn.fit(BY_HAND, PARAMS, (X, Y), optimizer=ADAM, epochs=1, batch_size=4)


def test_a_state_in_the_middle_of_an_epoch_goes_on_and_its_curves_begin_with_the_epoch(monkeypatch):
    whole, curves = run()
    calls, advance = [], cut(runs.Run.advance, 2)

    def advanced(self, state):
        calls.append(state)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return advance(self, state)

    monkeypatch.setattr(runs.Run, "advance", advanced)
    with pytest.raises(KeyboardInterrupt) as raised:
        run()
    assert (int(raised.value.state.epoch), int(raised.value.state.step)) == (1, 1)
    state, history = run(params=raised.value.state, epochs=5)
    assert same(state.params, whole.params) and same(history.metrics["loss"], curves.metrics["loss"][1:])
    assert np.isnan(history.step_loss[0, 0]) and same(history.step_loss.ravel()[1:], curves.step_loss[1:].ravel()[1:])


def test_one_trace_however_many_epochs_steps_and_calls():
    chex.clear_trace_counter()

    class Counted(fnn.gradients.Backprop):
        @chex.assert_max_traces(n=2)  # one for whole batches, one for the incomplete batch
        def __call__(self, *data, **options):
            return super().__call__(*data, **options)

    for epochs in (1, 3, 6):
        run(Counted(fnn.objective(fnn.mlp(3, 5, 2), "softmax_cross_entropy")), epochs=epochs)


def test_early_stopping_returns_the_best_parameters():
    validation = X[::-1].copy(), 1 - Y[::-1]  # what is learned makes this worse from the first epoch on
    state, history = run(validation=validation, patience=3, epochs=50)
    assert len(history.metrics["loss"]) == 4 and int(state.epoch) == 4
    best = run(validation=validation, epochs=1)[0]
    assert same(state.params, best.params)
    # a minimum improvement that nothing reaches stops at once, the same with a quantity of which more is better
    assert len(run(patience=2, min_improvement=100.0, monitor="loss", epochs=50)[1].metrics["loss"]) == 3
    state, history = run(validation=(X, Y), patience=2, monitor="validation_accuracy", epochs=60)
    assert 2 < len(history.metrics["loss"]) < 60
    scores = jax.jit(NET.apply)(state.params, X)
    assert float(fnn.accuracy(scores, Y)) == history.metrics["validation_accuracy"].max()


def test_metrics_are_measured_on_both_sets():
    metrics = {"size": lambda params, x, y: jnp.sum(params[0]["W"] ** 2), "rows": lambda params, x, y: 1.0 * len(x)}
    state, history = run(metrics=metrics, validation=(X[:4], Y[:4]))
    assert history.metrics["rows"].tolist() == [11] * 6 and history.metrics["validation_rows"].tolist() == [4] * 6
    assert_close(
        history.metrics["size"][-1], np.sum(np.asarray(state.params[0]["W"]) ** 2), tolerances.FORWARD["float32"]
    )
    bare = lambda w, x, y: (jnp.sum(x @ w), w)  # noqa: E731
    _, history = run(bare, jnp.ones(3), metrics={"size": lambda w, x, y: jnp.sum(w)}, validation=(X, Y))
    assert set(history.metrics) == {"loss", "size", "validation_size"}


def test_a_long_gradient_is_clipped(x64):
    def value_and_grad(w, x, y):
        return jnp.sum(w), jnp.asarray([3.0, 4.0])

    options = {"optimizer": optax.sgd(1.0), "epochs": 1, "batch_size": 11}
    short = run(value_and_grad, jnp.zeros(2), (X.astype(np.float64), Y), clip_norm=0.5, **options)[0].params
    long = run(value_and_grad, jnp.zeros(2), (X.astype(np.float64), Y), clip_norm=50.0, **options)[0].params
    assert_close(short, np.array([-0.3, -0.4]), tolerances.FORWARD["float64"])
    assert_close(long, np.array([-3.0, -4.0]), tolerances.FORWARD["float64"])


def test_accumulated_batches_are_one_large_batch(x64):
    params, x = drawn(NET, random("engine params"), jnp.float64), X[:8].astype(np.float64)
    options = {"optimizer": optax.sgd(0.1), "epochs": 1, "data": (x, Y[:8])}
    small = run(params=params, batch_size=2, accumulate=4, **options)[0].params
    large = run(params=params, batch_size=8, **options)[0].params
    assert_close(small, large, tolerances.FORWARD["float64"])


def test_weights_of_examples_count_in_steps_and_curves(x64):
    params, x = drawn(NET, random("engine params"), jnp.float64), X.astype(np.float64)
    weights = np.where(np.arange(11) < 6, 1.0, 0.0)
    options = {"optimizer": optax.sgd(0.1), "epochs": 2}
    masked, history = run(params=params, data=(x, Y, weights), batch_size=11, **options)
    alone, other = run(params=params, data=(x[:6], Y[:6]), batch_size=6, **options)
    assert_close(masked.params, alone.params, tolerances.FORWARD["float64"])
    assert_close(history.metrics["loss"], other.metrics["loss"], tolerances.FORWARD["float64"])


# ---- when something is not finite -----------------------------------------------------------------------------------


def test_a_run_that_diverges_stops_and_says_so():
    net = fnn.mlp(3, 4, 1, activation="identity")
    gradient, params = fnn.backprop(net, "squared_error"), drawn(net, random("divergence"), jnp.float32)
    options = {"optimizer": optax.sgd(0.7), "epochs": 100, "data": (X, X[:, :1])}
    says = r"not finite in step \d+, after the loss grew from .*Lower the learning rate"
    with pytest.raises(fnn.NonFiniteError, match=says) as told:
        run(gradient, params, **options)
    error = told.value
    assert isinstance(error, FloatingPointError) and error.step > 3
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(error.state.params))
    # the run that goes on has finite losses up to that step, and no longer
    losses = run(gradient, params, on_nonfinite="continue", **options)[1].step_loss.ravel()
    assert np.isfinite(losses[: error.step]).all() and not np.isfinite(losses[error.step + 1 :]).any()


def spoiled_gradient(at):
    """A gradient that is not finite where the first entry of x is `at`; the loss is."""

    return lambda w, x, y: (jnp.sum(w["w"] ** 2), {"w": jnp.where(jnp.any(x[:, 0] == at), jnp.inf, 0.2) * w["w"]})


def test_a_gradient_that_is_not_finite_is_named_with_its_step_and_can_be_skipped():
    gradient, start = spoiled_gradient(X[7, 0]), {"w": jnp.ones(3)}
    options = {"optimizer": optax.sgd(0.1), "epochs": 3, "batch_size": 1}
    with pytest.raises(
        fnn.NonFiniteError, match=r"the gradient of params\['w'\] is not finite in step \d+, without warn"
    ):
        run(gradient, start, **options)
    state, history = run(gradient, start, on_nonfinite="skip", **options)
    assert int(state.skipped) == 3 and np.isfinite(history.step_loss).all()
    assert np.isfinite(state.params["w"]).all()
    state, history = run(gradient, start, on_nonfinite="continue", **options)
    assert not np.isfinite(history.step_loss).all() and int(state.skipped) == 0


def test_a_value_that_overflows_is_named():
    params = jax.tree.map(lambda leaf: leaf * 3e38, PARAMS)
    with pytest.raises(fnn.NonFiniteError, match=r"the value of 1.z is not finite in step 0") as told:
        run(params=params)
    assert told.value.where == "the value of 1.z" and told.value.step == 0


def test_a_start_that_is_not_finite_is_said_and_the_error_can_be_handed_on():
    spoiled = jax.tree.map(lambda leaf: leaf.at[0].set(jnp.nan), PARAMS)
    with pytest.raises(fnn.NonFiniteError, match=r"params\[0\]\['W'\] is not finite before the first step. Make") as e:
        run(params=spoiled)
    copy = pickle.loads(pickle.dumps(e.value))
    assert str(copy) == str(e.value) and copy.step == 0 and len(copy.history.step_loss) == 0
    assert same(copy.state.key, e.value.state.key)


def test_a_run_that_goes_uphill_is_said():
    with pytest.warns(UserWarning, match=r"grew in each of the 5 epochs, from .* optax.sgd\(-0.1\), .* goes uphill"):
        run(optimizer=optax.sgd(-0.1), epochs=5)


def test_growth_that_is_still_finite_is_said():
    with pytest.warns(UserWarning, match="fit: the loss grew from .* it diverges, though it is still finite"):
        run(lambda w, x, y: (w * w, 2 * w), jnp.asarray(1.0), optimizer=optax.sgd(2.0), epochs=3, batch_size=11)
