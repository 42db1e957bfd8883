"""Whatever calls itself an Optax transformation trains as in a plain loop, or is refused in a sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from tests.training.test_fit import lenient
from tests.training.test_run import BY_HAND, NET, PARAMS, X, Y, run, same
from tests.witnesses import assert_close

ASKING = {
    "polyak_sgd": optax.polyak_sgd,
    "backtracking": lambda: optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5)),
    "lbfgs": lambda: optax.lbfgs(memory_size=3),
    "momo": lambda: optax.contrib.momo(0.1),
    "reduce_on_plateau": lambda: optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau(patience=1)),
}


@pytest.mark.parametrize("name", ASKING)
def test_an_optimizer_that_asks_for_the_value_gets_it(name):
    optimizer = ASKING[name]()
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        state, history = run(optimizer=optimizer, epochs=4, batch_size=11)
        params, inner = PARAMS, optimizer.init(PARAMS)
        value_fn = lambda p: BY_HAND.objective(p, X, Y)  # noqa: E731

        @jax.jit
        def step(params, inner):
            value, g = BY_HAND(params, X, Y)
            more = {"value": value, "grad": g, "value_fn": value_fn}
            updates, inner = optax.with_extra_args_support(optimizer).update(g, inner, params, **more)
            return optax.apply_updates(params, updates), inner

        for _ in range(4):
            params, inner = step(params, inner)
    # a full batch: the order of the rows is that of sums
    assert_close(state.params, params, 2e-3)
    assert history.metrics["loss"][-1] < history.metrics["loss"][0]


def keeping():
    return optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(5, store_grad=True))


SEARCHING = {"lbfgs": ASKING["lbfgs"], "backtracking": ASKING["backtracking"], "gradient kept": keeping}


def one_step(gradient, optimizer):
    state = fnn.training.initial_state(PARAMS, optimizer, key=jax.random.key(0))
    return fnn.training.train_step(gradient, optimizer, state, fnn.training.Batch(X, Y))


@pytest.mark.parametrize("name", SEARCHING)
def test_a_line_search_differentiates_no_net(name):
    """Whoever differentiates the activation is counted: Optax gets the gradients that come with the value."""
    differentiated = []

    @jax.custom_jvp
    def watched(z):
        return jnp.tanh(z)

    @watched.defjvp
    def watched_jvp(primals, tangents):
        differentiated.append(1)
        return jnp.tanh(*primals), (1 - jnp.tanh(*primals) ** 2) * tangents[0]

    class Watched(fnn.activations.Tanh):
        def forward(self, z):
            a = watched(z)
            return a, a

    by_hand = fnn.backprop(fnn.mlp(3, 5, 2, activation=Watched()), "softmax_cross_entropy")
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        for gradient in (by_hand, lambda params, x, y: by_hand(params, x, y)):
            jax.eval_shape(lambda g=gradient: one_step(g, SEARCHING[name]()))
            assert not differentiated
        # the counter does count
        jax.eval_shape(lambda: one_step(jax.value_and_grad(by_hand.objective), SEARCHING[name]()))
        assert differentiated


def test_a_line_search_takes_the_gradients_that_it_is_given():
    """A slope that is not the derivative of its value is believed: the gradient kept is three times that of the net."""

    def gradient(params, x, y):
        value, gradients = BY_HAND(params, x, y)
        return value, jax.tree.map(lambda g: 3 * g, gradients)

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        state, _ = jax.jit(lambda: one_step(gradient, keeping()))()
        assert_close(optax.tree.get(state.optimizer_state, "grad"), gradient(state.params, X, Y)[1], 1e-5)


def test_a_line_search_over_windows_is_refused_in_a_sentence():
    with (
        jax.numpy_dtype_promotion("standard"),
        pytest.raises(TypeError, match=r"run on these parameters with grad, value, got TypeError.*accumulate=1"),
    ):
        run(optimizer=optax.lbfgs(), accumulate=2)


def test_what_is_no_transformation_is_named():
    with pytest.raises(
        TypeError, match=r"got MultiSteps. Give the optimizer inside with accumulate=k, or its .gradient_tr"
    ):
        run(optimizer=optax.MultiSteps(optax.sgd(0.1), 2))
    with pytest.raises(
        TypeError, match=r"the optimizer must run on these parameters.*got AttributeError.*optax.lookahead"
    ):
        run(optimizer=optax.lookahead(optax.sgd(0.1), 5, 0.5))


def test_a_schedule_may_be_the_learning_rate():
    schedule = optax.cosine_decay_schedule(0.1, 9)
    with jax.numpy_dtype_promotion("standard"):
        whole, _ = run(optimizer=optax.sgd(schedule))
        assert same(run(optimizer=optax.sgd, learning_rate=schedule)[0].params, whole.params)
    with pytest.raises(TypeError, match=r"adam: learning_rate must be a number, got <.*use an Optax optimizer"):
        run(optimizer=fnn.optimizers.adam, learning_rate=schedule)


def warmed(rate):
    return optax.sgd(optax.warmup_cosine_decay_schedule(0.0, rate, 2, 10))


def test_a_schedule_of_a_rate_that_is_an_argument_is_refused_in_a_sentence():
    message = "the optimizer cannot be built from a learning rate that is an argument of the program"
    with pytest.raises(TypeError, match=message):
        run(optimizer=warmed, learning_rate=0.1)
    with pytest.raises(TypeError, match=message):
        fnn.sweep(BY_HAND, (X, Y), over={"learning_rate": [0.1, 0.2]}, optimizer=warmed, epochs=1, batch_size=4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer": optax.sgd, "learning_rate": "1e-3"}, "fit: learning_rate must be a number, got '1e-3'"),
        ({"clip_norm": "1"}, "fit: clip_norm must be a number, got '1'"),
        ({"min_improvement": "0"}, "fit: min_improvement must be a number, got '0'"),
        ({"patience": "3"}, "fit: patience must be a whole number, got '3'"),
        ({"gradient": fnn.backprop(NET, "softmax_cross_entropy", "l2"), "strength": "0.1"},
         "fit: strength must be a number, got"),
    ],
)  # fmt: skip
def test_text_is_no_number(changed, message):
    with pytest.raises(TypeError, match=message):
        run(**changed)
    with pytest.raises(TypeError, match=r"sgd: learning_rate must be a number, got '0.1'"):
        fnn.optimizers.sgd("0.1")


def test_a_gradient_with_something_beside_its_value_is_refused_in_a_sentence():
    def objective(p, x, y):
        return BY_HAND.objective(p, x, y), x

    with pytest.raises(TypeError, match=r"as with has_aux=True. Leave has_aux out"):
        run(jax.value_and_grad(objective, has_aux=True))


ADAM, SGD, MOMENTUM = fnn.optimizers.adam(1e-2), fnn.optimizers.sgd(1e-2), fnn.optimizers.momentum(1e-2)
MOVES = {
    "sgd to adam": (SGD, {}, ADAM, {}),
    "adam to sgd": (ADAM, {}, SGD, {}),
    "adam to Optax's": (ADAM, {}, lenient(optax.adam(1e-2)), {}),
    "Optax's to ours": (lenient(optax.adam(1e-2)), {}, ADAM, {}),
    "to windows": (MOMENTUM, {}, MOMENTUM, {"accumulate": 2}),
    "from windows": (SGD, {"accumulate": 2}, SGD, {}),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_state_of_another_optimizer_is_refused_in_a_sentence(name):
    first, before, second, after = MOVES[name]
    # no rows are left over: half of a program to compile
    state, _ = run(optimizer=first, epochs=1, batch_size=1, **before)
    with pytest.raises(
        ValueError, match="fit: a state continues with the optimizer and the accumulate that it began with"
    ):
        run(params=state, optimizer=second, epochs=1, batch_size=1, **after)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_adam_in_narrow_numbers_is_optax(dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype(dtype)
    y = (x.astype(np.float32) @ np.array([[1.0], [-2], [3], [0.5]], np.float32)).astype(dtype)
    net = fnn.mlp(4, 1)
    params = net.init(jax.random.key(0), dtype)
    options = {"data": (x, y), "epochs": 20, "batch_size": 16}
    gradient = fnn.backprop(net, "squared_error")
    ours, history = run(gradient, params, optimizer=fnn.optimizers.adam(3e-2, eps=1e-4), **options)
    theirs, _ = run(gradient, params, optimizer=lenient(optax.adam(3e-2, eps=1e-4)), **options)
    assert history.metrics["loss"][-1] < 0.5 * history.metrics["loss"][0]
    wide = lambda tree: jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree)  # noqa: E731
    assert_close(wide(ours.params), wide(theirs.params), 20 * float(jnp.finfo(dtype).eps))
