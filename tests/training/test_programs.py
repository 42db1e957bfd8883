"""Programs are found by what they compute, are few, and hold nothing of the user's."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import optax

import fnn
from fnn.training import programs
from tests.training.test_fit import lenient
from tests.training.test_run import X, Y, run, same

RECORD = fnn.optimizers.sgd(0.1)


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


def test_numbers_that_a_metric_closes_over_count():
    ends = [
        run(optimizer=RECORD, epochs=1, metrics={"a": lambda p, x, y, c=c: jnp.sum(jnp.asarray(c))})[1]
        for c in ([1.0], [2.0])
    ]
    assert [history.metrics["a"][0] for history in ends] == [1.0, 2.0]


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


def test_of_one_config_the_programs_of_the_last_few_shapes_are_kept():
    run(data=(X, Y), optimizer=RECORD, epochs=1)
    before = programs.count()
    for rows in range(5, 11):
        run(data=(X[:rows], Y[:rows]), optimizer=RECORD, epochs=1)
    assert programs.count() - before < programs.SHAPES
    assert programs.count() <= programs.LIMIT
