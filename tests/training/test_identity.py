"""A run's identity: what would give other bits is another run, and is refused by name or compared rightly."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.training import _fit
from tests.training.test_fit import lenient
from tests.training.test_run import BY_HAND, PARAMS, X, Y, run, same

pytestmark = pytest.mark.quick_compilation
ADAM = fnn.optimizers.adam(0.02)
OPTIONS = {"optimizer": ADAM, "epochs": 2}


def bare(scale):
    """A gradient that nobody can tell from another by its name."""
    return lambda w, x, y: (scale * jnp.sum(w * w), 2 * scale * w)


BARE = {"gradient": bare(1.0), "params": jnp.ones(3)}
OTHERS = {
    "another seed": ({}, {"key": jax.random.key(3)}, "start"),
    "other parameters": ({}, {"params": jax.tree.map(lambda leaf: leaf + 1, PARAMS)}, "start"),
    "another rate of Optax": ({"optimizer": lenient(optax.adam(1e-3))}, {"optimizer": lenient(optax.adam(1e-1))},
                              "optimizer"),
    "another limit of Optax": ({"optimizer": optax.chain(optax.clip(1.0), optax.sgd(0.1))},
                               {"optimizer": optax.chain(optax.clip(2.0), optax.sgd(0.1))}, "optimizer"),
    "a longer schedule": ({"optimizer": lenient(optax.sgd(optax.cosine_decay_schedule(0.1, 6)))},
                          {"optimizer": lenient(optax.sgd(optax.cosine_decay_schedule(0.1, 9)))}, "optimizer"),
    "another bare gradient": (BARE, {**BARE, "gradient": bare(2.0)}, "gradient"),
    "another loss": ({}, {"gradient": fnn.backprop(BY_HAND.net, "softmax_cross_entropy", "l2"), "strength": 0.1},
                     "objective"),
    "one metric more": ({}, {"metrics": {"size": lambda p, x, y: jnp.sum(p[0]["W"])}}, "metric names"),
    "another metric": ({"metrics": {"size": lambda p, x, y: jnp.sum(p[0]["W"])}},
                       {"metrics": {"size": lambda p, x, y: jnp.max(p[0]["W"])}}, "metrics"),
    "another way with NaN": ({}, {"on_nonfinite": "skip"}, "on_nonfinite"),
    "other validation data": ({"validation": (X, Y)}, {"validation": (X[:5], Y[:5])}, "validation"),
    "weights": ({"data": (X, Y, np.ones(11))}, {"data": (X, Y, np.arange(11.0))}, "data"),
}  # fmt: skip


@pytest.fixture
def untrained(monkeypatch):
    """Runs that save their start and are over: who a run is does not depend on its steps, and compiling takes long."""

    def over(run, group, state, watches, received, save, seconds):
        save(state)
        return state

    monkeypatch.setattr(_fit, "_trained", over)


@pytest.mark.parametrize("name", OTHERS)
def test_what_changes_the_result_is_another_run(tmp_path, name, untrained):
    first, second, field = OTHERS[name]
    kept = fnn.Checkpoints(tmp_path)
    run(**OPTIONS | first, checkpoints=kept)
    with pytest.raises(fnn.CheckpointError, match=f"belongs to another run: {field}.* is .* there and .* here"):
        run(**OPTIONS | second, checkpoints=kept)


@pytest.mark.parametrize(
    "made", [lambda: lenient(optax.adam(0.02)), lambda: optax.chain(optax.clip(1.0), optax.sgd(0.1))]
)
def test_an_optimizer_made_anew_is_the_same_run(tmp_path, made):
    kept, seen = fnn.Checkpoints(tmp_path), []
    whole, _ = run(optimizer=made(), epochs=3, checkpoints=kept)
    again, _ = run(optimizer=made(), epochs=3, checkpoints=kept, on_epoch=lambda n, v: seen.append(n))
    assert same(whole, again) and not seen


def test_a_bare_gradient_made_anew_is_the_same_run_and_one_that_calls_back_is_none(tmp_path):
    kept = fnn.Checkpoints(tmp_path / "a")
    whole, _ = run(**OPTIONS | BARE, checkpoints=kept)
    again, _ = run(**OPTIONS | BARE | {"gradient": bare(1.0)}, checkpoints=kept)
    assert same(whole, again)

    def calls_back(w, x, y):
        value = jax.pure_callback(lambda w: np.float32(np.sum(w)), jax.ShapeDtypeStruct((), jnp.float32), w)
        return value, w

    kept = fnn.Checkpoints(tmp_path / "b")
    run(**OPTIONS | {"gradient": calls_back, "params": jnp.ones(3)}, checkpoints=kept)
    with pytest.raises(fnn.CheckpointError, match="the gradient of this run cannot be compared, because it calls back"):
        run(**OPTIONS | {"gradient": calls_back, "params": jnp.ones(3)}, checkpoints=kept)


def test_two_stages_need_two_folders_and_the_script_gives_the_same_again(tmp_path):
    def script(second):
        seen = []
        state, _ = run(**OPTIONS, checkpoints=fnn.Checkpoints(tmp_path / "first"))
        state, history = run(
            params=state, **OPTIONS, checkpoints=fnn.Checkpoints(second), on_epoch=lambda n, v: seen.append(n)
        )
        return state, history, seen

    with pytest.raises(fnn.CheckpointError, match="another run: start"):
        script(tmp_path / "first")
    state, history, seen = script(tmp_path / "second")
    assert seen == [3, 4] and len(history.metrics["loss"]) == 2 and int(state.epoch) == 4
    again, curves, none = script(tmp_path / "second")
    assert same(again, state) and same(curves, history) and none == []


def test_fewer_epochs_are_told_in_a_sentence(tmp_path):
    kept = fnn.Checkpoints(tmp_path)
    whole, _ = run(**OPTIONS | {"epochs": 4}, checkpoints=kept)
    with pytest.warns(UserWarning, match="has 4 epochs, 2 were asked for; it is returned as it is"):
        state, _ = run(**OPTIONS, checkpoints=kept)
    assert same(state, whole)


def test_a_stream_that_changed_anywhere_is_another_run(tmp_path, untrained):
    kept = fnn.Checkpoints(tmp_path)
    x, y = np.tile(X, (10, 1)), np.tile(Y, 10)
    run(**OPTIONS, data=fnn.Stream(x, y, 40), checkpoints=kept)
    changed = x.copy()
    changed[60:] *= -1
    with pytest.raises(fnn.CheckpointError, match="another run: data is"):
        run(**OPTIONS, data=fnn.Stream(changed, y, 40), checkpoints=kept)
    with pytest.raises(fnn.CheckpointError, match="another run: data is"):
        run(**OPTIONS, data=fnn.Stream(x, y, 40, weights=np.arange(110.0)), checkpoints=kept)
