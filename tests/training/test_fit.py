"""The first training loop: it learns, by hand and automatic alike, uses every row, and refuses what it cannot mean."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from tests import tolerances
from tests.cases import drawn, random
from tests.witnesses import assert_close, assert_finite

NET = fnn.mlp(2, 4, 2)
LOSS = fnn.softmax_cross_entropy


def lenient(optimizer):
    """Optax promotes dtypes implicitly in places; the strictness of these tests is for `fnn`."""

    def update(*arguments):
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(*arguments)

    return optax.GradientTransformation(optimizer.init, update)


ADAM, SGD, MOMENTUM = lenient(optax.adam(0.05)), optax.sgd(0.5), optax.sgd(0.5, momentum=0.9)


def start(dtype=jnp.float32):
    """Parameters of NET from which it learns xor, made without compiling anything."""
    return drawn(NET, random("training"), dtype)


def run(value_and_grad, dtype=jnp.float32, *, optimizer=ADAM, batch_size=3, epochs=5, **options):
    x, y = fnn.data.xor()
    return fnn.fit(
        value_and_grad, start(dtype), (x.astype(dtype), y),
        optimizer=optimizer, batch_size=batch_size, epochs=epochs, key=jax.random.key(0), **options,
    )  # fmt: skip


def test_A2_an_mlp_learns_xor():
    x, y = fnn.data.xor()
    state, history = run(fnn.backprop(NET, LOSS), epochs=200, batch_size=4)
    scores = jax.jit(NET.apply)(state.params, x)
    assert fnn.accuracy(scores, y) == 1
    assert history.metrics["loss"][-1] < 0.05 < history.metrics["loss"][0]


def test_by_hand_and_automatic_give_the_same_curves(dtype):
    by_hand, history = run(fnn.backprop(NET, LOSS), dtype)
    automatic, other = run(jax.value_and_grad(fnn.objective(NET, LOSS)), dtype)
    assert_close(history.step_loss, other.step_loss, tolerances.FORWARD[dtype.name])
    assert_close(by_hand.params, automatic.params, tolerances.FORWARD[dtype.name] * 10)
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(by_hand.params))


def test_A19_one_gradient_serves_several_optimizers():
    by_hand = fnn.backprop(NET, LOSS)
    ends = [run(by_hand, optimizer=o)[1].metrics["loss"][-1] for o in (SGD, MOMENTUM, ADAM)]
    assert_finite(np.array(ends))
    assert len(set(ends)) == 3


def test_a_step_of_sgd_is_the_formula(x64):
    by_hand = fnn.backprop(NET, LOSS)
    x, y = fnn.data.xor()
    params = start(jnp.float64)
    state, history = run(by_hand, jnp.float64, optimizer=SGD, batch_size=4, epochs=1)
    value, gradients = jax.jit(by_hand)(params, x.astype(np.float64), y)
    assert_close(state.params, jax.tree.map(lambda p, g: p - 0.5 * g, params, gradients), tolerances.FORWARD["float64"])
    assert_close(history.step_loss, np.asarray(value).reshape(1, 1), tolerances.FORWARD["float64"])


def test_every_row_is_used_once_per_epoch_and_the_last_batch_weighs_what_it_holds(x64):
    # the gradient of w · mean(x) is mean(x): with a rate of 0 nothing moves, and the losses tell which rows came
    def value_and_grad(w, x, y):
        return w * jnp.mean(x), jnp.mean(x)

    x = np.arange(7.0)
    _, history = fnn.fit(
        value_and_grad,
        jnp.asarray(1.0),
        (x, x),
        optimizer=optax.sgd(0.0),
        epochs=3,
        batch_size=3,
        key=jax.random.key(0),
    )
    assert history.step_loss.shape == (3, 3)
    sums = history.step_loss @ np.array([3.0, 3.0, 1.0])
    assert_close(sums, np.full(3, 21.0), tolerances.FORWARD["float64"])
    assert_close(history.metrics["loss"], np.full(3, 3.0), tolerances.FORWARD["float64"])
    assert len({tuple(row) for row in history.step_loss}) == 3, "each epoch has an order of its own"


def test_one_example_at_a_time_and_the_full_batch():
    assert run(fnn.backprop(NET, LOSS), batch_size=1)[1].step_loss.shape == (5, 4)
    assert run(fnn.backprop(NET, LOSS), batch_size=4)[1].step_loss.shape == (5, 1)


def test_validation_is_measured_after_every_epoch():
    x, y = fnn.data.xor()
    state, history = run(fnn.backprop(NET, LOSS), validation=(x, y))
    scores, value = jax.jit(lambda p: (NET.apply(p, x), fnn.objective(NET, LOSS)(p, x, y)))(state.params)
    assert_close(history.metrics["validation_loss"][-1], np.asarray(value), tolerances.FORWARD["float32"])
    assert history.metrics["validation_accuracy"][-1] == fnn.accuracy(scores, y)
    automatic = jax.jit(jax.value_and_grad(fnn.objective(NET, LOSS)))
    assert set(run(automatic, validation=(x, y))[1].metrics) == set(history.metrics)


def test_the_callback_sees_every_epoch():
    seen = []
    _, history = run(fnn.backprop(NET, LOSS), on_epoch=lambda number, metrics: seen.append((number, metrics["loss"])))
    assert [number for number, _ in seen] == [1, 2, 3, 4, 5]
    assert_close(np.array([loss for _, loss in seen]), history.metrics["loss"], tolerances.FORWARD["float64"])


def test_the_same_key_gives_the_same_bits():
    first, again = run(fnn.backprop(NET, LOSS)), run(fnn.backprop(NET, LOSS))
    pairs = zip(*(map(np.asarray, jax.tree.leaves(each[0].params)) for each in (first, again)), strict=True)
    assert all((a == b).all() for a, b in pairs)
    assert (first[1].step_loss == again[1].step_loss).all()


def test_a_second_call_with_equal_records_does_not_retrace():
    chex.clear_trace_counter()

    class Counted(fnn.gradients.Backprop):
        @chex.assert_max_traces(n=2)  # one for the scan of whole batches, one for the incomplete batch
        def __call__(self, *data, **options):
            return super().__call__(*data, **options)

    for _ in range(3):
        run(Counted(fnn.objective(fnn.mlp(2, 4, 2), "softmax_cross_entropy")))


def test_a_regularizer_shrinks_the_weights():
    by_hand = fnn.backprop(NET, LOSS, "l2")
    size = lambda params: sum(float(np.sum(np.asarray(layer["W"]) ** 2)) for layer in params)  # noqa: E731
    weak, strong = (size(run(by_hand, strength=s, epochs=50)[0].params) for s in (0.0, 0.1))
    assert strong < weak


def test_a_cast_is_noted_once():
    x, y = fnn.data.xor()
    with pytest.warns(fnn.CastWarning, match=r"x of data is float64; cast to float32") as notes:
        fnn.fit(
            fnn.backprop(NET, LOSS), start(), (x.astype(np.float64), y),
            optimizer=ADAM, epochs=3, batch_size=3, key=jax.random.key(0),
        )  # fmt: skip
    assert len(notes) == 1


GOOD = {"optimizer": ADAM, "epochs": 1, "batch_size": 2, "key": jax.random.key}


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"batch_size": 5}, ValueError, r"batch_size 5 is larger than the data, 4 rows. Use 4 or less"),
        ({"batch_size": 0}, ValueError, r"fit: batch_size must be at least 1, got 0"),
        ({"epochs": 0}, ValueError, r"fit: epochs must be at least 1"),
        ({"epochs": 1.5}, TypeError, r"fit: epochs must be a whole number, got 1.5"),
        ({"optimizer": 0.1}, TypeError, r"optimizer must be an Optax transformation, got 0.1. Try optax.adam"),
        (
            {"validation": np.ones(3)},
            TypeError,
            r"validation must be the pair \(x, y\), or \(x, y, weights\), got ndarray",
        ),
        ({"strength": 0.1}, ValueError, r"got strength=.*, but the objective has no regularizer"),
    ],
)
def test_bad_options(changed, error, message):
    options = {**GOOD, "key": jax.random.key(0), **changed}
    with pytest.raises(error, match=message):
        fnn.fit(fnn.backprop(NET, LOSS), start(), fnn.data.xor(), **options)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (np.ones((4, 2), np.float32), np.array([0, 1, 2, 0]), ValueError, r"y must lie in 0 … 1; row 2 is 2"),
        (np.ones((4, 2), np.float32), np.array([0, -1, 1, 0]), ValueError, r"row 1 is -1"),
        (
            np.ones((4, 2), np.float32),
            np.array([0.0, 1, 1, 0]),
            TypeError,
            r"whole-number labels .*, got dtype float64",
        ),
        (np.ones((4, 2), np.float32), np.array([0, 1, 1]), ValueError, r"4 rows of x and 3 of y"),
        (np.array([[1, 1], [1, np.nan]], np.float32), np.array([0, 1]), ValueError, r"row 1, column 1 is nan"),
        (
            np.ones((4, 2), np.int32),
            np.array([0, 1, 1, 0]),
            TypeError,
            r"x must have a floating dtype, got int32",
        ),
        (np.ones((0, 2), np.float32), np.zeros(0, int), ValueError, r"x must hold at least one row"),
        (np.ones((4, 3), np.float32), np.array([0, 1, 1, 0]), ValueError, r"x must have 2 features on its last axis"),
    ],
)
def test_bad_data_is_found_for_both_gradients(x, y, error, message):
    for gradient in (fnn.backprop(NET, LOSS), jax.jit(jax.value_and_grad(fnn.objective(NET, LOSS)))):
        with pytest.raises(error, match=message):
            fnn.fit(
                gradient, start(), (x, y),
                optimizer=ADAM, epochs=1, batch_size=1, key=jax.random.key(0),
            )  # fmt: skip


def test_what_is_no_value_and_gradient_is_refused():
    options = {**GOOD, "key": jax.random.key(0)}
    objective = fnn.objective(NET, LOSS)
    with pytest.raises(TypeError, match=r"fit: a gradient is needed, got sequential\(.*Make it with fnn.backprop"):
        fnn.fit(NET, NET.init(jax.random.key(0)), fnn.data.xor(), **options)
    for wrong, got in ((objective, r"one array of shape \(\)"), (jax.grad(objective), "gradients without a value")):
        with pytest.raises(
            TypeError, match=rf"must return \(value, gradients in the structure of params\), got {got}. Give"
        ):
            fnn.fit(wrong, NET.init(jax.random.key(0)), fnn.data.xor(), **options)


def test_a_bare_gradient_cannot_be_validated_and_params_must_be_trainable():
    bare = lambda w, x, y: (w, w)  # noqa: E731
    with pytest.raises(ValueError, match="validation needs a gradient that knows its objective"):
        fnn.fit(bare, jnp.asarray(1.0), fnn.data.xor(), validation=fnn.data.xor(), **{**GOOD, "key": jax.random.key(0)})
    with pytest.raises(ValueError, match="fit: params must hold a floating array, got none"):
        fnn.fit(bare, (), fnn.data.xor(), **{**GOOD, "key": jax.random.key(0)})


def test_an_optimizer_may_be_a_function_of_its_rate_and_other_rates_need_no_new_program():
    traces = []

    def made(rate):
        traces.append(rate)
        return optax.sgd(rate)

    by_hand = fnn.backprop(NET, LOSS)
    ends = [run(by_hand, optimizer=made, learning_rate=rate, epochs=2)[0].params for rate in (0.5, 0.25)]
    # once for init, once to be read, and once for the program; the first two again for the second call
    assert len(traces) == 5
    assert_close(ends[0], run(by_hand, optimizer=optax.sgd(0.5), epochs=2)[0].params, tolerances.FORWARD["float32"])
    assert not np.allclose(ends[0][0]["W"], ends[1][0]["W"])


def test_a_record_of_an_optimizer_trains_as_optax_does(x64):
    by_hand = fnn.backprop(NET, LOSS)
    ours, theirs = (run(by_hand, jnp.float64, optimizer=o) for o in (fnn.optimizers.momentum(0.5), MOMENTUM))
    assert_close(ours[0].params, theirs[0].params, tolerances.FORWARD["float64"])
    # equal records made anew find the program of the first
    before = fnn.training.programs.count()
    run(by_hand, jnp.float64, optimizer=fnn.optimizers.momentum(0.5))
    assert fnn.training.programs.count() == before
