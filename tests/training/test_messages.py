"""The messages of the training room: what must hold, what it got, what to do; every check is reached by a row."""

import ast
import functools
import pathlib
import re
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental.sparse import BCOO

import fnn
from fnn.training.state import floating_dtype
from tests import test_checks as core
from tests.training import test_rows as kinds
from tests.training.test_curves import FOUND
from tests.training.test_optax import warmed
from tests.training.test_run import BY_HAND, PARAMS, X, Y, run

pytestmark = pytest.mark.quick_compilation
SGD = optax.sgd(0.1)
#: The files whose raises must each be reached; what a run does wrong later has tests of its own.
FILES = ("../tracing", "state", "config", "request", "rows", "stream", "step", "shuffle", "_fit", "_sweep")
STREAM = fnn.Stream(X, Y, 4)
KEY = jax.random.key(0)
RECORD = fnn.optimizers.sgd(0.1)
BEGUN = fnn.training.initial_state(PARAMS, RECORD, key=KEY)
BATCH = fnn.training.Batch(jnp.asarray(X), jnp.asarray(Y))
#: A net of two modes, and parameters for it.
MODES = fnn.backprop(fnn.sequential(fnn.batch_norm(3), fnn.dense(3, 2)), "softmax_cross_entropy")
OF_MODES = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), jax.eval_shape(MODES.net.init, KEY))


L2, ELASTIC = (fnn.backprop(BY_HAND.net, "softmax_cross_entropy", name) for name in ("l2", "elastic_net"))


class Row(NamedTuple):
    """A call that must fail, how, and words of its message in their order."""

    error: type[Exception]
    words: tuple[str, ...]
    call: Callable[[], Any]


def row(call: Callable[[], Any], *words: str, error: type[Exception] = ValueError) -> Row:
    return Row(error, words, call)


def train(**changed):
    return lambda: run(**{"optimizer": SGD, "epochs": 1} | changed)


def sweep(over=None, data=(X, Y), gradient=BY_HAND, **changed):
    options = {"optimizer": SGD, "epochs": 1, "batch_size": 4} | changed
    return lambda: fnn.sweep(gradient, data, over={"seed": [0]} if over is None else over, **options)


class Odd(kinds.Zarr):
    """A source that gives something else than rows."""

    def __getitem__(self, rows):
        return np.array([None] * len(rows))


class Broken(kinds.Zarr):
    def __getitem__(self, rows):
        raise KeyError("no such rows")


def bare(w, x, y):
    return w, w


def more(p, x, y, **options):
    return BY_HAND.objective(p, x, y), x


def curve(p, x, y):
    return x[:, 0]


def uncast(call):
    """The call without a word on its casts."""

    def quiet():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fnn.checks.CastWarning)
            call()

    return quiet


def waits(number, metrics):
    yield


def by_numpy(p, x, y):
    return np.sqrt(x.mean())


def value_by_numpy(p, x, y):
    value, gradients = BY_HAND(p, x, y)
    return float(value), gradients


def of_each(p, x, y):
    value, gradients = BY_HAND(p, x, y)
    return value + x[:, 0], gradients


class ByNumpy(fnn.Activation):
    """An activation as it stands in a course on NumPy; and an initializer."""

    def forward(self, z):
        return np.tanh(z), np.tanh(z)


class Drawn(fnn.initializers.Initializer):
    def __call__(self, key, shape, dtype=jnp.float32):
        return np.random.default_rng(int(jax.random.key_data(key)[0])).normal(size=shape)


def updating(update):
    return optax.GradientTransformation(lambda params: (), update)


def halved(rate):
    return lambda step: rate if step < 3 else rate / 2


def summed(p, x, y):
    """A gradient that sums over an axis more."""
    value, gradients = BY_HAND(p, x, y)
    return value, jax.tree.map(lambda g: g.sum(0), gradients)


MESSAGES = {
    # ---- functions of the user, traced
    "a metric of NumPy": row(
        train(metrics={"a": by_numpy}), "fit: the metric 'a' must compute with jax.numpy", "got a call of NumPy",
        "at test_messages.py:", "Use jnp in place of np", "on_epoch", error=TypeError),
    "a metric by value": row(
        sweep(metrics={"a": lambda p, x, y: 1.0 if x.sum() > 0 else 0.0}), "sweep: the metric 'a' must compute with",
        "got a decision by value in Python", "jnp.where", error=TypeError),
    "a metric by mask": row(
        train(validation=(X, Y), metrics={"a": lambda p, x, y: x[y == 0].mean()}), "the metric 'a' must compute with",
        "got rows picked by a mask", "jnp.where", error=TypeError),
    "a metric of two": row(
        train(metrics={"a": fnn.accuracy}), "fit: the metric 'a' must take (params, x, y), got accuracy(scores",
        "Give lambda params, x, y: fnn.accuracy(net.apply(params, x), y)", error=TypeError),
    "a metric that gives nothing": row(
        train(metrics={"a": lambda p, x, y: None}), "the metric 'a' must return one number, got a NoneType"),
    "a value by float": row(
        train(gradient=value_by_numpy), "fit: the gradient must compute with jax.numpy", "got a decision by value",
        "fnn.check(f, x, gradient=g)", error=TypeError),
    "a gradient of two": row(
        train(gradient=lambda params, batch: BY_HAND(params, *batch)), "the gradient must take (params, x, y), got",
        "(params, batch)", "Wrap it", error=TypeError),
    "a gradient in the other order": row(
        train(gradient=lambda p, x, y: BY_HAND(p, x, y)[::-1]), "got (gradients, value)", "Swap", error=TypeError),
    "a value for each example": row(
        train(gradient=of_each), "the value that comes with the gradients must be one number, got shape (4,)", "mean"),
    "an activation of NumPy": row(
        sweep(gradient=fnn.backprop(fnn.mlp(3, 5, 2, activation=ByNumpy()), "softmax_cross_entropy")),
        "sweep: the gradient must compute with jax.numpy", "got a call of NumPy", "at test_messages.py:",
        error=TypeError),
    "an initializer of NumPy": row(
        sweep({"weight_init": [Drawn()]}), "sweep: the initializer must compute with jax.numpy", "got",
        "Draw with jax.random", error=TypeError),
    "a schedule by value": row(
        train(optimizer=optax.sgd(halved(0.1))), "fit: the optimizer must compute with jax.numpy",
        "got a decision by value", "at test_messages.py:", "in a schedule too", error=TypeError),
    "a complex metric": row(train(metrics={"a": lambda p, x, y: x.mean() + 1j}), "fit: the metric 'a' must return one "
                            "number, got a complex number", "jnp.real"),
    "a complex value": row(train(gradient=lambda p, x, y: (p + 0j, p), params=jnp.ones(())),
                            "the value that comes with "
                           "the gradients must be one number, got a complex number", "jnp.real"),
    "a complex gradient": row(train(gradient=lambda p, x, y: (p, p + 0j), params=jnp.ones(())), "fit: the gradient of "
                              "params must be real, got complex64", "jnp.real"),
    "complex parameters": row(train(gradient=bare, params=[jnp.ones(()), np.ones((), np.complex64)]), "fit: params",
                              "got complex", error=TypeError),
    "complex parameters of JAX": row(train(gradient=bare, params=[jnp.ones(()) * 1j]), "fit: params must be real, got "
                                     "complex64", "as two arrays", error=TypeError),
    "whole parameters": row(train(gradient=bare, params=np.ones(2, int)), "a floating array, got int32 alone"),
    "masked parameters": row(train(gradient=bare, params=np.ma.masked_array(np.ones(2), [0, 1])), "fit: params must be "
                             "an ordinary array, got a masked one", error=TypeError),
    "a metric by number": row(train(metrics={1: curve, "a": curve}), "a metric must have a text for a name, got 1",
                              error=TypeError),
    # ---- callbacks
    "a callback in a list": row(train(on_epoch=[print]), "fit: on_epoch must be a function, got [<built-in", "f(number",
                                error=TypeError),
    "a callback of one": row(train(on_epoch=lambda state: None), "on_epoch must take (number, metrics), got <lambda>("
                             "state)", "Give on_epoch=f", error=TypeError),
    "a callback that waits": row(train(on_epoch=waits), "on_epoch must run when it is called, got a generator function",
                                 "Give", error=TypeError),
    # ---- numbers that the dtype or an int32 does not hold
    "a rate that is 0": row(train(optimizer=optax.sgd, learning_rate=1e-50),
                            "fit: learning_rate must be held by float32"
                            ", got 1e-50, which is 0 there", "such as 1e-3"),
    "a rate of a record that is 0": row(train(optimizer=fnn.optimizers.sgd(1e-50)), "learning_rate must be held",
                            "Try"),
    "a rate beyond": row(sweep({"learning_rate": [0.1, 1e300]}, optimizer=optax.sgd),
                            "sweep: learning_rate must be held "
                         "by float32, got 1e+300, which is inf there"),
    "a norm beyond": row(train(clip_norm=1e300), "clip_norm must be held by float32, got 1e+300", "Try 1.0"),
    "epochs beyond": row(train(epochs=2**40), "fit: epochs must be below 2147483648, got 1099511627776", "such as 60"),
    "epochs in all beyond": row(train(params=BEGUN._replace(epoch=jnp.int32(2**31 - 2)), optimizer=RECORD, epochs=3),
                                "the number of epochs in all must be below", "Start over"),
    "weights of validation beyond": row(train(validation=(X, Y, np.full(11, 1e300))), "fit: weights of validation must "
                                        "be finite and not all 0 in float32, got numbers up to 1e+300",
                            "by their mean"),
    "inputs that vanish": row(uncast(train(data=(X.astype(float) * 1e-300, Y))), "x of data must not vanish in ",
                              "float32, got numbers up to", "Scale"),
    # ---- options that nothing asks for
    "a monitor for nothing": row(train(monitor="loss"), "fit: monitor counts for early stopping alone, got "
                                 "monitor='loss' without patience", "leave monitor out"),
    "an improvement for nothing": row(sweep(min_improvement=0.1), "sweep: min_improvement counts for early stopping "
                                      "alone, got", "patience=10"),
    "a monitor of another package": row(train(monitor="val_loss", patience=1, validation=(X, Y)),
                            "'val_loss', which is "
                                        "not measured, got the measures", "Give one of them"),
    "two strengths for one": row(train(gradient=L2, strength=(0.1, 0.2)),
                            "strength must be one number, got shape (2,)"),
    "one strength for two": row(train(gradient=ELASTIC, strength=0.1), "the pair (λ₁, λ₂), got 0.1", "Give strength="),
    # ---- which rows
    "validation not finite": row(train(validation=(np.where(X[3, 1] == X, np.nan, X), Y)), "fit: in validation, x must "
                                 "be finite; row 3, column 1 is nan", "Drop"),
    "validation of other labels": row(train(validation=(X, Y + 7)), "fit: in validation, y must lie in 0 … 1; row 0"),
    "one input of two": row(
        train(gradient=bare, params=jnp.ones(()), data=({"a": X, "b": np.where(X[3, 1] == X, np.nan, X)}, Y)),
        "in x['b'], x must be finite; row 3, column 1 is nan"),
    "a row of a stream": row(train(data=fnn.Stream(np.where(X[9, 1] == X, np.nan, X), Y, 4)),
                            "x must be finite; row 9, "
                             "column 1 is nan"),
    "a label of a stream": row(train(data=fnn.Stream(X, np.where(np.arange(11) == 9, 7, Y), 4)), "y must lie in 0 … 1; "
                               "row 9 is 7"),
    "a masked stream": row(train(data=fnn.Stream(np.ma.masked_array(X, X > 1), Y, 4)), "Stream: x must be an ordinary "
                           "array, got a masked one", error=TypeError),
    "masked weights": row(lambda: fnn.Stream(X, Y, weights=np.ma.masked_array(np.ones(11), np.arange(11) == 3)),
                          "Stream: weights must be an ordinary array, got a masked one", error=TypeError),
    "a dict of a stream": row(lambda: fnn.Stream({"a": X}, Y), "row numbers, got a dict",
                            "__getitem__", error=TypeError),
    "weights in words": row(train(data=(X, Y, ["a"] * 11)), "weights of data must hold real numbers, got text", "Give "
                            "numbers", error=TypeError),
    "sparse of JAX": row(train(data=(BCOO.fromdense(jnp.eye(11)), Y)), "must be dense, got a sparse BCOO", ".todense()",
                         error=TypeError),
    # ---- what an optimizer gave
    "an optimizer made with text": row(
        train(optimizer=optax.sgd("0.1")), "fit: the optimizer must turn gradients into updates, got TypeError",
        "1e-3, not '1e-3'", error=TypeError),
    "a sweep of an optimizer made with text": row(
        sweep(optimizer=optax.adam(1e-3, b1="0.9")), "sweep: the optimizer must turn gradients into updates", "got",
        error=TypeError),
    "an optimizer that gives nothing": row(
        train(optimizer=updating(lambda g, s, p=None: None)), "must return (updates in the structure of params, its",
        "got a NoneType", error=TypeError),
    "updates of another shape": row(
        train(optimizer=updating(lambda g, s, p=None: (jax.tree.map(jnp.sum, g), s))), "must return updates like the",
        "got shape () and float32 for shape (3, 5) at params[0]['W']", "one real number"),
    "no maker of an optimizer": row(
        train(optimizer=halved, learning_rate=0.1), "must make one from a learning rate, got a function", "optax.adam",
        error=TypeError),
    "a schedule beside a rate": row(
        train(optimizer=RECORD, learning_rate=halved(0.1)), "got learning_rate=<function", "that has its own",
        "leave learning_rate out"),
    # ---- a grid, and what is asked
    "a grid of a text": row(lambda: fnn.grid(seed=[0], learning_rate="1e-3"), "grid: learning_rate must be values to "
                            "try, got '1e-3'", "learning_rate=['1e-3']", error=TypeError),
    "a gradient of another shape": row(train(gradient=summed), "fit: the gradient of params", "must have shape",
                                       "Sum over the axes of the examples"),
    "a model among the parameters": row(train(params=[np.ones(2, np.float32), jnp.tanh], gradient=bare),
                                        "fit: params must be a tree of arrays, got", "params[1]", "equinox.partition",
                                        error=TypeError),
    "one seed": row(sweep({"seed": 3}), "seed must hold one value for each run", "got 3", "fnn.grid", error=TypeError),
    "a seed of half": row(sweep({"seed": [0.5]}), "a seed must be a whole number, got 0.5", "range", error=TypeError),
    "a seed too large": row(sweep({"seed": [2**32]}), "below 2**32, beyond which seeds repeat, got 4294967296"),
    "a seed below 0": row(sweep({"seed": [-1]}), "a seed must be at least 0", "got -1"),
    "a rate in words": row(sweep({"learning_rate": ["1e-3"]}, optimizer=optax.sgd), "sweep: learning_rate must be a "
                           "number, got '1e-3'", error=TypeError),
    "a sweep of nothing to penalize": row(sweep({"strength": [0.1]}), "sweep: got strength=0.1", "no regularizer"),
    "a rate twice in a sweep": row(sweep({"learning_rate": [0.1]}), "sweep: got learning_rate=0.1", "out of over"),
    "a sweep kept in words": row(sweep(checkpoints="runs"), "sweep: checkpoints must be a record, got 'runs'",
                                 "Give fnn.Checkpoints('runs')", error=TypeError),
    "a plot of what was not measured": row(lambda: FOUND.plot("accuracy"), "plot: metric must be one of loss",
                                           "got 'accuracy'. Pick one."),
    "a sweep of a stream": row(sweep(data=STREAM), "sweep: data must be in memory, got a Stream", "Give data=(x, y)",
                               error=TypeError),
    "a warmed rate": row(train(optimizer=warmed, learning_rate=0.1), "cannot be built from a learning rate that is an",
                         "got", "optax.scale_by_schedule(s)", error=TypeError),
    "a gradient with more": row(
        train(gradient=jax.value_and_grad(lambda p, x, y: (BY_HAND.objective(p, x, y), x), has_aux=True)),
        "(value, gradients), got ((value, auxiliary), gradients)", "Leave has_aux out", error=TypeError),
    "one thing for two": row(
        train(gradient=jax.value_and_grad(MODES.objective), params=OF_MODES),
        "fit: for a net with layers that behave differently in training, the gradient must return "
        "((value, statistics), gradients), got something else", "has_aux=True", error=TypeError),
    "a state of another net": row(train(gradient=MODES, params=BEGUN._replace(params=OF_MODES), optimizer=RECORD),
                                  "the net that it began with, got statistics of another", "start over"),
    "weights beside statistics": row(train(gradient=MODES, params=OF_MODES, data=(X, Y, np.ones(11))),
                                     "must not meet statistics of a batch", "got", "Repeat or drop"),
    "a batch of one row": row(train(gradient=MODES, params=OF_MODES, batch_size=5), "at least 2 rows in training, got",
                              "Choose a batch_size"),
    "a metric without its net": row(
        train(gradient=bare, params=jnp.ones(()), metrics={"a": lambda p, x, y, net: 0.0}),
        "the metric 'a' takes the net, got a gradient that does not know one", "Give fnn.backprop", error=TypeError),
    "an optimizer of two": row(train(optimizer=optax.lookahead(SGD, 5, 0.5)), "must run on these parameters", "got "
                               "AttributeError", "optax.lookahead", error=TypeError),
    "an optimizer of other parameters": row(train(optimizer=optax.GradientTransformation(lambda p: p.fast, SGD.update)),
                                            "must start from these parameters, got AttributeError", error=TypeError),
    "MultiSteps": row(train(optimizer=optax.MultiSteps(SGD, 2)), "got MultiSteps", "accumulate=k", error=TypeError),
    "a window longer than an epoch": row(train(accumulate=4), "at most the 3 batches of an epoch", "got 4", "Use 3"),
    "a direction unknown": row(train(metrics={"f1": lambda p, x, y: 0.0}, monitor="f1", patience=1),
                               "direction must say", "'f1'", "got None", 'direction="max"'),
    "another direction": row(train(direction="up"), 'direction must be "min" or "max", got \'up\'', "or None"),
    "metrics in a list": row(train(metrics=[1]), "metrics must be a dict of functions, got [1]", error=TypeError),
    "a metric called loss": row(train(metrics={"loss": len}), "a metric must not have a name that fnn uses for its own "
                                "measures, got 'loss'", "Rename"),
    "metrics of a stream": row(train(data=STREAM, metrics={"a": len}), "on validation data, got none", "validation=("),
    "a metric of many numbers": row(train(metrics={"a": curve}), "the metric 'a' must return one number, got",
                                    "shape (11,)", "jnp.mean"),
    "weights for a bare gradient": row(train(gradient=bare, params=jnp.ones(()), data=(X, Y, np.ones(11))),
                                       "must take sample_weight", "got", "weight_sum", error=TypeError),
    "weights beside a stream": row(train(data=(STREAM, np.ones(11))), "got a Stream in a tuple", "weights=w)",
                                   error=TypeError),
    "validation by a stream": row(train(validation=STREAM), "must be in memory, got a Stream", error=TypeError),
    "a function for parameters": row(train(params=BY_HAND.net.init), "fit: params must be parameters, got the function "
                                     "init", "net.init(key)", error=TypeError),
    "a net for parameters": row(train(params=BY_HAND.net), "params must be parameters, got the net", "net.init(key)",
                                error=TypeError),
    "what fit returns": row(
        train(params=(fnn.training.initial_state(PARAMS, fnn.optimizers.sgd(0.1), key=jax.random.key(0)), None)),
        "the pair that fit returns", "Unpack", error=TypeError),
    "a state of another optimizer": row(
        train(params=fnn.training.initial_state(PARAMS, fnn.optimizers.adam(0.1), key=jax.random.key(0))),
        "the optimizer and the accumulate that it began with", "got a state of another", "start over"),
    "a state within an epoch, other batches": row(
        train(params=BEGUN._replace(step=jnp.int32(1), epoch_shape=np.array([11, 4])), optimizer=RECORD, batch_size=3),
        "middle of an epoch", "got one after step 1 of batches of 4 of 11 rows, for batches of 3 of 11 rows", "start"),
    "a state of one's own loop": row(train(params=BEGUN._replace(step=jnp.int32(5)), optimizer=RECORD),
                                     "got one after step 5 of a loop of your own", "start over with state.params"),
    "a callback that changes the state": row(train(on_epoch=lambda n, m, state: state.params[0].update(W=0)),
                                             "on_epoch must not change the state, got one that it changed", "let"),
    "a loss that overflows": row(
        train(params=jax.tree.map(lambda leaf: leaf * 3e38, PARAMS), optimizer=RECORD), "the value of 1.z is not",
        "in step 0", "lower the learning rate", error=fnn.NonFiniteError),
    "inside jit": row(lambda: jax.jit(lambda key: run(params=BY_HAND.net.init(key))[0].params)(jax.random.key(0)),
                      "outside jit, vmap and grad, got a traced value", "fnn.sweep", error=TypeError),
    "rows inside jit": row(lambda: jax.jit(lambda x: run(data=(x, Y), key=KEY)[0].params)(X),
                           "x of data must be an array, got the traced", "fnn.sweep", error=TypeError),
    "text for a norm": row(train(clip_norm="1"), "clip_norm must be a number, got '1'", error=TypeError),
    "masked": row(train(data=(np.ma.masked_array(X, X > 1), Y)), "an ordinary array, got a masked one", ".filled(0)",
                  error=TypeError),
    "sparse": row(train(data=(kinds.Sparse(), Y)), "must be dense, got a sparse", ".toarray()", error=TypeError),
    "tensor": row(train(data=(kinds.Tensor(), Y)), "got a tensor that requires grad", ".detach()", error=TypeError),
    "ragged": row(train(data=([[1.0], [1.0, 2.0]] * 5, Y[:10])), "got rows of unequal length", "Pad", error=ValueError),
    "text": row(train(data=(X, np.array(["no", "yes"])[Y])), "real numbers, got text", "np.unique", error=TypeError),
    "bytes": row(train(data=((X * 9).astype(np.uint8), Y)), "floating dtype, got uint8", "/ 255", error=TypeError),
    "beyond 32 bits": row(train(gradient=bare, params=jnp.ones(()), data=(X, np.full(11, 2**40))),
                          "must fit into 32 bits, got 1099511627776 in row 0", "Cast it"),
    "rows by name": row(lambda: fnn.Stream(X, Y, np.ones(11)), "whole number, got an array of shape (11,)", "weights=w",
                        error=TypeError),
    "no scale": row(lambda: fnn.Stream(X, Y, scale=0), "scale must be a finite number other than 0, got 0", "1 / 255"),
    "weights of other rows": row(lambda: fnn.Stream(X, Y, weights=np.ones(4)), "shape (11,), got (4,)", "Give one"),
    "weights of nothing": row(lambda: fnn.Stream(X, Y, weights=np.zeros(11)), "not all 0", "Give 1.0"),
    "a source that breaks": row(train(data=fnn.Stream(Broken(), Y, 4)), "got KeyError from a Broken", ".to_numpy()",
                                error=TypeError),
    "a source of objects": row(train(data=fnn.Stream(Odd(), Y, 4)), "got Odd, which returned object", ".toarray()",
                               error=TypeError),
    "a path": row(lambda: fnn.Stream("x.npy", Y), "got the path 'x.npy'", "np.load(path", error=TypeError),
    "a table": row(lambda: fnn.Stream(kinds.Table(), Y), "got a Table", ".to_numpy()", error=TypeError),
    "a list": row(lambda: fnn.Stream(X.tolist(), Y), "row numbers, got a list", "np.asarray", error=TypeError),
    "a generator": row(lambda: fnn.Stream((r for r in X), Y), "a shape or a length, got a generator", "__len__",
                       error=TypeError),
    "a line search over windows": row(train(optimizer=optax.lbfgs(), accumulate=2),
                                      "run on these parameters with grad, value", "got",
                                      "accumulate=1", error=TypeError),
    "nothing to train": row(lambda: floating_dtype(()), "fit: params must hold a floating array, got none", "net.init"),
    # what is raised while a step is traced names whoever traces it
    "a sweep of jax.grad": row(sweep(gradient=jax.grad(BY_HAND.objective)), "sweep: the gradient must return (value, "
                               "gradients in the structure", "got gradients without a value", error=TypeError),
    "a sweep with more": row(
        sweep(gradient=jax.value_and_grad(functools.wraps(BY_HAND.objective)(more), has_aux=True)),
        "sweep: the gradient must return (value, gradients), got ((value", "Leave has_aux out", error=TypeError),
    "a sweep of many numbers": row(sweep(metrics={"a": curve}), "sweep: the metric 'a' must return one number", "mean"),
    "a sweep of an optimizer of two": row(sweep(optimizer=optax.lookahead(SGD, 5, 0.5)),
                                          "sweep: the optimizer must run on these parameters", "got", error=TypeError),
    "a sweep inside jit": row(lambda: jax.jit(lambda x: sweep(data=(x, Y))())(X), "sweep: x of data must be an array",
                              "got the traced", error=TypeError),
    "a traced strength": row(lambda: jax.jit(lambda s: sweep({"strength": [s]})())(0.1), "sweep trains whole runs",
                             "got a traced value. Call it outside.", error=TypeError),
    "a step of jax.grad": row(lambda: fnn.training.train_step(jax.grad(BY_HAND.objective), RECORD, BEGUN, BATCH),
                              "train_step: the gradient must return", "got gradients without a value", error=TypeError),
    "a step of an optimizer of two": row(
        lambda: fnn.training.train_step(BY_HAND, optax.lookahead(SGD, 5, 0.5), BEGUN, BATCH),
        "train_step: the optimizer must run on these parameters", "needs a loop of your own", error=TypeError),
    "a step of parameters": row(lambda: fnn.training.train_step(BY_HAND, RECORD, PARAMS, BATCH),
                            "train_step: state must "
                                "be a TrainState, got a tuple", "initial_state(params", error=TypeError),
    "a step of a pair": row(lambda: fnn.training.train_step(BY_HAND, RECORD, BEGUN, (X, Y)),
                            "train_step: batch must be "
                            "a Batch of arrays, got a tuple", "Batch(x, y)", error=TypeError),
    "a step of lists": row(lambda: fnn.training.train_step(BY_HAND, RECORD, BEGUN, fnn.training.Batch([[1.0]], [0])),
                           "a Batch of arrays, got lists", error=TypeError),
    "a state without a rate": row(lambda: fnn.training.initial_state(PARAMS, optax.adam, key=KEY), "initial_state: "
                                  "optimizer must be", "got <function adam", "optax.adam(1e-3)", error=TypeError),
    "a state without a key": row(lambda: fnn.training.initial_state(PARAMS, RECORD, key=0),
                            "initial_state: the key must "
                                 "be one of jax.random, got 0", error=TypeError),
    "a state of a function": row(lambda: fnn.training.initial_state(BY_HAND.net.init, RECORD, key=KEY),
                                 "initial_state: params must be parameters, got <bound", "Give net.init(key)",
                                 error=TypeError),
    "a state of nothing": row(lambda: fnn.training.initial_state((), RECORD, key=KEY),
                              "initial_state: params must hold a floating array, got none", "net.init(key)"),
}  # fmt: skip


@functools.cache
def caught(each: Row) -> Exception:
    """The error of a row, which is called once, whoever asks."""
    with pytest.raises(each.error) as raised, jax.numpy_dtype_promotion("standard"):
        each.call()
    return raised.value


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_says_what_must_hold_what_it_got_and_what_to_do(name):
    message = str(caught(MESSAGES[name]))
    assert re.search(".*".join(map(re.escape, MESSAGES[name].words)), message, re.DOTALL), message
    assert message.splitlines()[0].endswith("."), message


def checks_in_source():
    """{(file, first line, last line)} of every raise of a new error."""
    found = set()
    for name in FILES:
        path = pathlib.Path(fnn.__file__).parent / "training" / f"{name}.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise) and node.exc is not None and "_carrying" not in ast.dump(node.exc):
                found.add((path.name, node.lineno, node.end_lineno))
    return found


def test_every_check_of_the_room_is_reached_by_a_row():
    errors = [*map(caught, MESSAGES.values()), *map(core.caught, core.MESSAGES)]
    assert core.unreached(checks_in_source(), errors) == []
