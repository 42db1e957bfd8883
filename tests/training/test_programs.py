"""Programs are found by what they compute, are few, and hold nothing of the user's."""

import gc
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.training import programs
from fnn.training.config import Config, Job
from fnn.training.program import epochs
from fnn.training.state import Batch, Hyperparams
from tests.training.test_fit import lenient
from tests.training.test_run import BY_HAND, PARAMS, X, Y, run, same

pytestmark = pytest.mark.quick_compilation
RECORD = fnn.optimizers.sgd(0.1)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """No programs of other tests, of which the oldest would make room."""
    monkeypatch.setattr(programs, "_PROGRAMS", {})


def test_an_optimizer_or_a_metric_made_anew_needs_no_program_of_its_own():
    first, _ = run(optimizer=optax.sgd(0.1), epochs=1, metrics={"a": lambda p, x, y: jnp.sum(x)})
    before = programs.count()
    for _ in range(3):
        again, _ = run(optimizer=optax.sgd(0.1), epochs=1, metrics={"a": lambda p, x, y: jnp.sum(x)})
    assert programs.count() == before and same(first, again)
    # what computes something else is another program, however it is called
    other, _ = run(optimizer=optax.sgd(0.2), epochs=1, metrics={"a": lambda p, x, y: jnp.sum(x)})
    _, curves = run(optimizer=optax.sgd(0.1), epochs=1, metrics={"a": lambda p, x, y: jnp.sum(2 * x)})
    assert programs.count() == before + 2 and not same(other.params, first.params)
    assert np.isclose(curves.metrics["a"][0], 2 * X.sum(), rtol=1e-4)


def test_parameters_of_numpy_need_no_program_of_their_own():
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), PARAMS)
    state, _ = run(params=params, optimizer=RECORD, epochs=1)
    state, _ = run(params=jax.device_get(state)._replace(key=state.key), optimizer=RECORD, epochs=1)
    assert programs.count() == 1 and same(state.params, run(optimizer=RECORD, epochs=2)[0].params)


CHANGING = {"a global": 1.0, "an array": np.ones(1, np.float32)}


def read(*args):
    return CHANGING["a global"] * jnp.sum(jnp.asarray(CHANGING["an array"]))


def test_what_a_function_reads_counts_as_it_is_when_the_run_begins():
    """The functions stay the same objects; gradient, metric, a metric that takes more, a schedule, a maker."""
    gradient, more = lambda p, x, y: (jnp.sum(p), p * read()), lambda p, x, y, sample_weight: read()
    metrics = {"a": read, "b": more}
    options = [{"optimizer": RECORD, "metrics": metrics}, {"optimizer": optax.sgd(lambda step: 0.1 * read())}]
    options.append({"optimizer": lambda rate: optax.sgd(rate * read()), "learning_rate": 0.1})
    ends = []
    for CHANGING["a global"], CHANGING["an array"][0] in ((1.0, 1.0), (1.0, 2.0), (4.0, 2.0)):
        ends.append([])
        for each in options:
            state, history = run(gradient, jnp.ones(()), epochs=1, batch_size=11, **each)
            ends[-1] += [1 - float(state.params), *(float(curve[0]) for curve in history.metrics.values())]
    # (parameter, a, b, loss), then (parameter, loss) twice, where gradient and rate both change
    wanted = [[0.1 * c, c, c, 1.0, 0.1 * c * c, 1.0, 0.1 * c * c, 1.0] for c in (1.0, 2.0, 8.0)]
    assert np.allclose(ends, wanted, rtol=1e-5)


@dataclass
class Unhashable:
    """What users write with options inside, and Equinox makes of a function: a record that holds a dict has no hash."""

    function: Callable[..., Any]
    options: dict[str, Any] = field(default_factory=dict)

    def __call__(self, *args):
        return self.function(*args)


def test_a_function_without_a_hash_trains_and_is_known_by_its_identity():
    # a list is a pair too; what a callback computes cannot be read
    def called_back(*args):
        jax.debug.callback(lambda: None)
        return list(BY_HAND(*args))

    gradient, metric = Unhashable(called_back), Unhashable(BY_HAND.objective)
    options = {"optimizer": RECORD, "epochs": 2, "metrics": {"a": metric}}
    state, history = run(gradient, **options)
    whole, curves = run(**options | {"metrics": {"a": BY_HAND.objective}})
    assert same(state.params, whole.params) and same(history.metrics, curves.metrics)
    before, known = programs.count(), ("id", id(gradient))
    assert same(run(gradient, **options)[0], state) and programs.count() == before
    assert known in [key[0][-3] for key in programs._PROGRAMS]
    del gradient
    gc.collect()
    assert known not in [key[0][-3] for key in programs._PROGRAMS]
    # the search for the first bad step asks the gradient once more
    with pytest.raises(fnn.NonFiniteError, match="is not finite in step"):
        run(Unhashable(BY_HAND), jax.tree.map(lambda leaf: leaf * 3e38, PARAMS), optimizer=RECORD)
    knowing = Unhashable(BY_HAND)
    knowing.__wrapped__ = BY_HAND.objective
    found = fnn.sweep(knowing, (X, Y), over={"seed": [0, 1]}, optimizer=RECORD, epochs=1, batch_size=4)
    assert not found.failed.any()


class Big:
    """Something that a function closes over."""

    def __init__(self):
        self.array = np.ones(10**5, np.float32)


def test_what_functions_close_over_is_freed():
    alive = []
    for kind in ("metric", "gradient", "optimizer"):
        for _ in range(2):
            big = Big()
            alive.append(weakref.ref(big))
            options = {"optimizer": RECORD, "epochs": 1}
            if kind == "metric":
                options["metrics"] = {"a": lambda p, x, y, big=big: jnp.float32(big.array[0])}
            elif kind == "gradient":
                options |= {"gradient": lambda w, x, y, big=big: (jnp.sum(w) * big.array[0], w), "params": jnp.ones(2)}
            else:
                options["optimizer"] = lenient(
                    optax.stateless(lambda g, p, big=big: jax.tree.map(lambda a: -a * big.array[0], g))
                )
            run(**options)
            del big, options
    gc.collect()
    assert [reference() for reference in alive] == [None] * 6


def test_the_programs_of_the_last_few_shapes_of_a_config_are_kept_and_of_all_configs_the_last(monkeypatch):
    monkeypatch.setattr(programs, "LIMIT", 7)
    kept = []
    for size in (1, 2, 3):
        config = Config(BY_HAND, BY_HAND.objective, RECORD, size)
        state = config.start(PARAMS, jax.random.key(0), Hyperparams())
        for rows in range(4, 10):
            found = programs.program(epochs, Job(config, Batch(X[:rows], Y[:rows]), None, Hyperparams()), state)
            others, mine = ([each for each in kept if (each[0] == size) is own] for own in (False, True))
            kept = [*others, *mine[-programs.SHAPES + 1 :], (size, id(found))][-7:]
            assert [id(each) for each in programs._PROGRAMS.values()] == [number for _, number in kept]


def test_other_numbers_of_rows_leave_nothing_behind(monkeypatch):
    """Fifty row counts added 213 MiB: three small programs each, of the copies to the device and of a first look."""
    monkeypatch.setattr(programs, "SHAPES", 2)
    monkeypatch.setattr(programs, "_compiled", lambda kind, made=programs._compiled: seen(made(kind)))
    made = []

    def seen(program):
        made.append(weakref.ref(program.__wrapped__))
        return program

    alive = []
    for rows in (5, 6, 7, 9):
        data, held_out = (X[:rows], Y[:rows], np.ones(rows)), (X[: rows - 1], Y[: rows - 1])
        run(data=data, validation=held_out, optimizer=RECORD, epochs=1)
        gc.collect()
        alive.append(len(jax.devices()[0].client.live_executables()))
    assert alive[1] == alive[2] == alive[3]
    assert [reference() is not None for reference in made] == [False, False, True, True]
