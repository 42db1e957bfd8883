"""Early stopping: a direction that is known, NaN that is an error, the best by value, patience by improvement."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from tests.training.test_run import BY_HAND, PARAMS, X, Y, run, same

pytestmark = pytest.mark.quick_compilation
SGD = optax.sgd(0.1)


def moved(params, x, y):
    """How far the parameters have moved: grows from epoch to epoch."""
    return jnp.sqrt(sum(jnp.sum((a - b) ** 2) for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(PARAMS))))  # noqa: B905


def test_a_direction_is_asked_for_unless_the_name_is_known():
    options = {"optimizer": SGD, "metrics": {"f1": moved}, "monitor": "f1", "patience": 2}
    with pytest.raises(ValueError, match=r"direction must say whether more or less of .f1. is better, got None"):
        run(**options)
    with pytest.raises(ValueError, match=r'direction must be "min" or "max", got .up.'):
        run(direction="up", **options)
    state, history = run(direction="max", epochs=6, **options)
    assert len(history.metrics["f1"]) == 6
    assert float(moved(state.params, X, Y)) == pytest.approx(history.metrics["f1"][-1])
    state, history = run(direction="min", epochs=6, **options)
    assert len(history.metrics["f1"]) == 3


def test_the_same_in_a_sweep():
    options = {"over": {"seed": [0, 1]}, "optimizer": SGD, "epochs": 3, "batch_size": 4, "metrics": {"f1": moved}}
    with pytest.raises(ValueError, match="sweep: direction must say whether more or less of 'f1' is better"):
        fnn.sweep(BY_HAND, (X, Y), monitor="f1", **options)
    most, least = (fnn.sweep(BY_HAND, (X, Y), monitor="f1", direction=way, **options) for way in ("max", "min"))
    assert {most.best, least.best} == {0, 1} and most.value[most.best] == most.value.max()


@pytest.mark.parametrize("way", ["stop", "skip"])
def test_what_is_watched_must_not_be_nan(way):
    def undefined(params, x, y):
        return jnp.where(jnp.sum(params[0]["b"]) == 0, 1.0, jnp.nan)

    with pytest.raises(
        fnn.NonFiniteError, match="undefined_error is NaN after epoch 1, and early stopping watches"
    ) as e:
        run(metrics={"undefined_error": undefined}, monitor="undefined_error", patience=3, on_nonfinite=way)
    assert e.value.where == "undefined_error" and e.value.state is not None


def test_nothing_that_is_watched_may_be_a_number_and_the_run_still_ends_well(capsys):
    undefined = {"u_error": lambda p, x, y: jnp.nan}
    state, history = run(metrics=undefined, monitor="u_error", patience=2, on_nonfinite="continue", progress_bar=True)
    assert len(history.metrics["loss"]) == 2 and same(state.params, PARAMS)
    assert "the parameters of the start were returned" in capsys.readouterr().err


def test_the_best_by_value_comes_back_and_patience_counts_improvements():
    state, history = run(optimizer=optax.sgd(0.02), monitor="loss", patience=2, min_improvement=0.5, epochs=50)
    curve = history.metrics["loss"]
    assert len(curve) == 3 and curve.argmin() == 2, "steadily better, by less than counts"
    assert float(state.best.value) == pytest.approx(curve.min())
    assert same(state.params, run(optimizer=optax.sgd(0.02), epochs=3)[0].params)


def test_another_monitor_or_other_validation_data_begins_its_best_anew():
    options = {"optimizer": SGD, "patience": 30, "validation": (X, Y)}
    first, _ = run(epochs=2, **options)
    assert 0 < float(first.best.value) < 10
    state, history = run(params=first, epochs=2, monitor="validation_accuracy", **options)
    assert float(state.best.value) == -history.metrics["validation_accuracy"].max()
    other = X[:6], 1 - Y[:6]
    state, history = run(params=first, epochs=2, **options | {"validation": other})
    assert float(state.best.value) == pytest.approx(history.metrics["validation_loss"].min())
    # the same again goes on with its best
    state, _ = run(params=first, epochs=1, **options)
    assert float(state.best.value) <= float(first.best.value)


def test_names_of_metrics_that_are_taken_or_not_measured_are_refused():
    for name in ("loss", "validation_loss", "validation_size"):
        with pytest.raises(ValueError, match=f"a name that fnn uses for its own measures, got '{name}'"):
            run(metrics={name: moved})
    with pytest.raises(TypeError, match="metrics must be a dict of functions, got"):
        run(metrics=[moved])
    with pytest.raises(ValueError, match="metrics of a stream are measured on validation data, got none"):
        run(data=fnn.Stream(X, Y, 4), metrics={"size": moved})


def test_a_sweep_in_which_nothing_was_ever_measured_fails():
    found = fnn.sweep(
        BY_HAND, (X, Y), over={"seed": [0, 1]}, optimizer=SGD, epochs=2, batch_size=4, patience=1,
        metrics={"an_error": lambda p, x, y: jnp.nan}, monitor="an_error",
    )  # fmt: skip
    assert found.failed.all() and found.best == -1


# ---- not finite -----------------------------------------------------------------------------------------------------


def root(p, x, y):
    """Finite where its slope is not."""
    return jnp.mean(jnp.sqrt(jnp.sum((x * p["w"][None]) ** 2, -1)))


def test_the_gradient_of_the_last_step_is_looked_at_too():
    x = np.zeros((4, 3), np.float32)
    options = {"gradient": jax.value_and_grad(root), "params": {"w": jnp.ones(3)}, "data": (x, x), "batch_size": 4}
    with pytest.raises(fnn.NonFiniteError, match=r"the gradient of params\['w'\] is not finite in step 0") as error:
        run(optimizer=SGD, epochs=1, **options)
    assert np.isfinite(error.value.state.params["w"]).all() and error.value.history is not None
    with pytest.raises(fnn.NonFiniteError, match=r"the gradient of params\['w'\]"):
        run(optimizer=SGD, epochs=1, **options | {"data": fnn.Stream(x, x, 4)})


def test_all_steps_left_out_is_said():
    x = np.zeros((4, 3), np.float32)
    with pytest.warns(UserWarning, match=r"all 2 steps were left out.*the parameters are those of the start"):
        run(jax.value_and_grad(root), {"w": jnp.ones(3)}, (x, x + 1), optimizer=SGD, epochs=2, batch_size=4,
            on_nonfinite="skip")  # fmt: skip


@pytest.mark.parametrize("flag", ["jax_debug_nans", "jax_debug_infs"])
def test_debugging_finds_nothing_where_nothing_is_wrong(flag):
    jax.config.update(flag, True)
    try:
        run(validation=(X, Y), patience=3, epochs=2, on_nonfinite="skip", clip_norm=1.0, data=(X, Y, np.ones(11)))
        found = fnn.sweep(BY_HAND, (X, Y), over={"seed": [0, 1]}, optimizer=SGD, epochs=9, batch_size=4,
                          validation=(X, 1 - Y), patience=1)  # fmt: skip
        assert not found.failed.any()
    finally:
        jax.config.update(flag, False)


def test_an_epsilon_that_is_nothing_in_half_precision_is_named():
    def gradient(w, x, y):
        return jnp.zeros((), jnp.float16), jnp.zeros_like(w)

    with pytest.raises(fnn.NonFiniteError, match=r"whose eps=1e-08 is 0 in float16 \(give eps=1e-4\), is not finite"):
        run(
            gradient, jnp.ones(3, jnp.float16), (X.astype(np.float16), Y), optimizer=fnn.optimizers.adam(1e-3), epochs=1
        )


def test_a_callback_ends_a_run_before_the_step_that_is_not_finite_though_one_call_takes_both():
    def tripled(w, x, y):
        return w * w, 2 * w

    def guard(number, metrics):
        if metrics["loss"] > 1e30:
            raise fnn.StopTraining

    options = {"gradient": tripled, "params": jnp.float32(1.0), "optimizer": optax.sgd(2.0), "batch_size": 11}
    with pytest.raises(fnn.NonFiniteError, match="the loss is not finite in step") as raised:
        run(epochs=99, **options)
    error = raised.value
    assert len(error.history.metrics["loss"]) == error.step == int(error.state.epoch) > 33
    with pytest.warns(UserWarning, match="it diverges"):
        state, history = run(epochs=99, on_epoch=guard, **options)
    with pytest.warns(UserWarning, match="it diverges"):
        whole, curves = run(epochs=33, **options)
    assert same(state, whole) and same(history, curves)
    # what else a callback raises carries what was finite
    with pytest.raises(ZeroDivisionError) as raised:
        run(epochs=99, on_epoch=lambda number, metrics: 1 / (number < 33), **options)
    assert same(raised.value.state, error.state) and same(raised.value.history, error.history)
