"""The public step: one's own loop over the batches of `permutation` is the run that `fit` compiles."""

import functools

import jax
import numpy as np

import fnn
from tests import tolerances
from tests.training.test_run import BY_HAND, PARAMS, X, Y, run
from tests.witnesses import assert_close

OPTIMIZER = fnn.optimizers.momentum(0.1)


def by_one_step_after_another(epochs=2, size=4, **options):
    step = jax.jit(functools.partial(fnn.training.train_step, BY_HAND, OPTIMIZER, **options))
    key, losses = jax.random.key(2), []
    state = fnn.training.initial_state(PARAMS, OPTIMIZER, key=key)
    for _ in range(epochs):
        key, shuffle_key = jax.random.split(key)
        order = np.asarray(fnn.training.permutation(shuffle_key, len(X)))
        for first in range(0, len(X), size):
            rows = order[first : first + size]
            state, loss = step(state, fnn.training.Batch(X[rows], Y[rows]))
            losses.append(float(loss))
    return state, losses


def test_a_loop_of_steps_is_the_run_of_fit():
    whole, history = run(optimizer=OPTIMIZER, epochs=2, clip_norm=0.3)
    state, losses = by_one_step_after_another(clip_norm=0.3)
    assert_close(state.params, whole.params, tolerances.FORWARD["float32"] * 10)
    assert_close(np.array(losses, np.float32), history.step_loss.ravel(), tolerances.FORWARD["float32"] * 10)
    assert int(state.step) == 6
