"""Nets of two modes in training: the state carries statistics, the noise of a step is that of its number."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.training import run as runs
from tests import tolerances
from tests.cases import drawn, random
from tests.training.test_run import X, Y, cut, same
from tests.witnesses import assert_close

pytestmark = pytest.mark.quick_compilation
NET = fnn.sequential(fnn.dense(3, 6), fnn.batch_norm(6, activation="tanh"), fnn.dropout(0.2), fnn.dense(6, 2))
BY_HAND = fnn.backprop(NET, "softmax_cross_entropy")
PARAMS = drawn(NET, random("modes in training"))
SGD = fnn.optimizers.sgd(0.1)
#: 11 rows in batches of 4: the last holds three.
OPTIONS = {"optimizer": SGD, "epochs": 5, "batch_size": 4}


def run(gradient=BY_HAND, params=PARAMS, data=(X, Y), **changed):
    key = {} if isinstance(params, fnn.TrainState) else {"key": jax.random.key(2)}
    return fnn.fit(gradient, params, data, **OPTIONS | key | changed)


@pytest.fixture(scope="module")
def whole():
    return run(validation=(X, Y), patience=50)


def test_a_run_that_is_cut_continued_or_resumed_draws_the_same_noise(whole, monkeypatch, tmp_path):
    options, kept = {"validation": (X, Y), "patience": 50}, fnn.Checkpoints(tmp_path, every_seconds=0.0)
    first, _ = run(**options, epochs=2)
    second, _ = run(params=first, **options, epochs=3)
    assert same(second, whole[0])
    monkeypatch.setattr(runs.Run, "advance", cut(runs.Run.advance, 2))

    def stop(number, metrics):
        if number == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(**options, checkpoints=kept, on_epoch=stop)
    state, history = run(**options, checkpoints=kept)
    assert same(state, whole[0]) and same(history.metrics, whole[1].metrics)
    # noise there is: another key is another run
    assert not same(run(**options, key=jax.random.key(3))[0].params, state.params)


def test_the_best_statistics_come_back_with_the_best_parameters():
    against = X[::-1].copy(), 1 - Y[::-1]
    state, history = run(validation=against, patience=2, epochs=9)
    scores = NET.evaluate(state.params, state.statistics, against[0])
    value = fnn.softmax_cross_entropy(scores, against[1])
    assert len(history.metrics["loss"]) < 9
    assert_close(np.asarray(value), np.float32(history.metrics["validation_loss"].min()), tolerances.FORWARD["float32"])


def test_automatic_gradients_and_metrics_get_what_they_ask_for_by_name(whole):
    def seen(params, x, y, *, net, statistics):
        return jnp.mean(net.evaluate(params, statistics, x))

    automatic = jax.value_and_grad(fnn.objective(NET, "softmax_cross_entropy"), has_aux=True)
    state, history = run(automatic, validation=(X, Y), metrics={"seen": seen})
    assert_close(state.params, whole[0].params, tolerances.FORWARD["float32"] * 100)
    assert_close(state.statistics, whole[0].statistics, tolerances.FORWARD["float32"] * 100)
    mean = NET.evaluate(state.params, state.statistics, X).mean()
    assert_close(np.float32(history.metrics["seen"][-1]), np.asarray(mean), tolerances.FORWARD["float32"] * 10)


@pytest.mark.parametrize("net", [NET, fnn.dense(3, 2)])
def test_an_objective_is_a_metric_of_the_trained_net(net):
    """Of any net: without a key its value is that of evaluation, which validation measures too."""
    by_hand, params = fnn.backprop(net, "softmax_cross_entropy"), net.init(jax.random.key(0))
    _, history = run(by_hand, params, validation=(X, Y), metrics={"value": by_hand.objective}, epochs=2)
    np.testing.assert_array_equal(history.metrics["validation_value"], history.metrics["validation_loss"])


def test_each_run_of_a_sweep_has_noise_and_statistics_of_its_own():
    found = fnn.sweep(BY_HAND, (X, Y), over={"seed": [0, 1]}, **OPTIONS)
    for k in range(2):
        params_key, key = jax.random.split(jax.random.key(k))
        alone, _ = run(params=jax.jit(NET.init)(params_key), key=key)
        assert_close(found.params[k], alone.params, tolerances.FORWARD["float32"] * 10)
        assert_close(found.statistics[k], alone.statistics, tolerances.FORWARD["float32"] * 10)
    assert found.nets == [NET, NET] and "sequential" not in repr(found)


def test_a_step_that_is_left_out_changes_no_statistics():
    x = X.copy()
    x[5, 1] = 1e30
    with pytest.warns(UserWarning, match="all 3 steps were left out"):
        state, _ = run(data=(x, Y), on_nonfinite="skip", epochs=3, batch_size=11)
    assert int(state.skipped) == 3 and same(state.statistics, NET.start(PARAMS)) and same(state.params, PARAMS)


def test_statistics_follow_every_batch_of_a_window_and_of_an_epoch():
    calls = []

    class Counted(fnn.gradients.Backprop):
        @chex.assert_max_traces(n=2)  # one for whole batches, one for the incomplete batch
        def __call__(self, *args, **options):
            calls.append(options)
            return super().__call__(*args, **options)

    chex.clear_trace_counter()
    net = fnn.sequential(fnn.batch_norm(3, momentum=0.0), fnn.dense(3, 2))
    state, _ = run(Counted(fnn.objective(net, "softmax_cross_entropy")), drawn(net, random("window")), accumulate=2)
    # with nothing kept they are those of the last batch, of three rows
    order = None
    key = jax.random.key(2)
    for _ in range(OPTIONS["epochs"]):
        key, shuffle = jax.random.split(key)
        order = np.asarray(fnn.training.permutation(shuffle, len(X)))
    last = X[order[8:]]
    assert_close(state.statistics[0]["mean"], jnp.asarray(last.mean(axis=0)), tolerances.FORWARD["float32"] * 10)
    assert_close(
        state.statistics[0]["variance"], jnp.asarray(last.var(axis=0, ddof=1)), tolerances.FORWARD["float32"] * 10
    )
    assert all(set(each) >= {"statistics", "key"} for each in calls)


def test_a_loop_of_ones_own_and_a_line_search():
    state = fnn.training.initial_state(PARAMS, SGD, key=jax.random.key(0), net=NET)
    step = jax.jit(lambda state: fnn.training.train_step(BY_HAND, SGD, state, fnn.training.Batch(X, Y)))
    first, loss = step(state)
    second, _ = step(first)
    # the noise of a step depends on its number: the same state at another step draws another
    assert float(step(state._replace(step=state.step + 1))[1]) != float(loss)
    assert int(second.step) == 2 and not same(second.statistics, first.statistics)
    searched, history = run(optimizer=optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5)), epochs=1)
    assert np.isfinite(history.step_loss).all() and not same(searched.params, PARAMS)


def test_what_is_not_finite_is_named():
    x = X.copy()
    x[5, 1] = 1e30
    with pytest.raises(fnn.NonFiniteError, match=r"the statistics\[1\]\['variance'\] is not finite in step 0"):
        run(data=(x, Y), batch_size=11)
