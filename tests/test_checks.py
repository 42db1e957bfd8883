"""Bad input: every message of the package is matched here; extreme input gives finite values and gradients.

The table MESSAGES holds a call that must fail, and its sentence; one test walks the source and finds every `raise`
and every call of a `require_…` that no row reaches.
"""

import ast
import functools
import itertools
import pathlib
import re
import traceback
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn import _jax as releases
from fnn import checks as requirements
from fnn.losses import LOSSES
from fnn.optimizers import Optimizer
from tests import tolerances
from tests.cases import targets
from tests.test_modes import REFUSED
from tests.witnesses import assert_close, assert_finite

NET = fnn.mlp(4, 5, 3)
CROSS_ENTROPY = fnn.backprop(NET, fnn.softmax_cross_entropy)
PENALIZED = fnn.backprop(NET, "softmax_cross_entropy", "l2")
SQUARED = fnn.backprop(NET, fnn.squared_error)


def layer_params(*sizes):
    """Parameters of `fnn.mlp(*sizes)`; NumPy arrays, so that importing this file touches no device."""
    return tuple(
        {"W": np.full((i, o), 0.25, np.float32), "b": np.zeros(o, np.float32)} for i, o in itertools.pairwise(sizes)
    )


class Thrice(fnn.Layer):
    """A layer without sizes that gives more than it takes."""

    def forward(self, params, x):
        return jnp.concatenate([x, x, x], axis=-1), ()

    def backward(self, params, residuals, y_bar):
        raise AssertionError("refused before")


@dataclass(frozen=True)
class Scaled(fnn.Loss):
    """A loss that holds an array, which has no hash."""

    factor: Any


class Wrong:
    """Records whose rules return something else than their contract says; arrays of two rows unpack as a pair."""

    class Sine(fnn.Activation):
        def forward(self, z):
            return jnp.sin(z)

    class Summed(fnn.Activation):
        def forward(self, z):
            return jnp.sum(z, axis=-1), ()

        def backward(self, residuals, a_bar):
            return a_bar

    class Flat(fnn.Activation):
        def forward(self, z):
            return z, ()

        def backward(self, residuals, a_bar):
            return jnp.sum(a_bar, axis=-1)

    class Mean(fnn.Loss):
        def values(self, prediction, target):
            return jnp.mean((prediction - target) ** 2), ()

    class Alone(fnn.Loss):
        def values(self, prediction, target):
            return jnp.sum((prediction - target) ** 2, axis=-1)

    @dataclass(frozen=True)
    class Same(fnn.Layer):
        back: bool = False

        def forward(self, params, x):
            return (x, ()) if self.back else x

        def backward(self, params, residuals, y_bar):
            return y_bar


def floats(*shape):
    return np.ones(shape, np.float32)


def short_backprop(layer):
    """The gradient of a net of two rows that ends or consists of this layer."""
    return fnn.backprop(layer, fnn.squared_error)(((),) if hasattr(layer, "layers") else (), floats(2, 2), floats(2, 2))


NORMALIZED = {"gain": np.ones(4, np.float32), "shift": np.zeros(4, np.float32)}, {
    "mean": np.zeros(4, np.float32), "variance": np.ones(4, np.float32)
}  # fmt: skip
PARAMS_SHORT = layer_params(4, 3)[0]
PARAMS, X, LABELS = layer_params(4, 5, 3), floats(6, 4), np.array([0, 2, 1, 1, 2, 0], np.int32)


def spoiled(array, place, value):
    """A copy with one entry changed."""
    array = np.array(array)
    array[place] = value
    return array


def fit(data=(X, LABELS), gradient=CROSS_ENTROPY, params=PARAMS, **options):
    """fnn.fit with everything in order, unless stated otherwise."""
    options = {"optimizer": optax.sgd(0.1), "epochs": 1, "batch_size": 3, "key": jax.random.key(0)} | options
    return fnn.fit(gradient, params, data, **options)


def sweep(gradient=CROSS_ENTROPY, **options):
    """fnn.sweep with everything in order, unless stated otherwise."""
    options = {"over": {"seed": [0, 1]}, "optimizer": optax.sgd(0.1), "epochs": 1, "batch_size": 2} | options
    return fnn.sweep(gradient, (X, LABELS), **options)


def bare_gradient(params, x, y):
    """A value_and_grad that does not know its objective."""
    return jnp.zeros(()), params


class Row(NamedTuple):
    """A call that must fail, how, and words of its message in their order."""

    name: str
    error: type[Exception]
    words: tuple[str, ...]
    call: object


def row(name, error, *words):
    """@row(…) or row(…)(call): what must hold, what it got, what to do."""
    return lambda call: Row(name, error, words, call)


def defined(name, call, *words):
    """A row for a record whose maker left a method out."""
    return row(name, TypeError, "must define", *words)(call)


MESSAGES = [
    # ---- features, batches, targets -------------------------------------------------------------------------------
    row("wrong feature count", ValueError, "dense(4, 5, activation=tanh): x must have 4 features on its last axis",
        "shape (6, 7)", "Rows are examples")(lambda: NET.apply(PARAMS, floats(6, 7))),
    row("scalar input", ValueError, "4 features", "shape ()", "(features,)")(lambda: NET.apply(PARAMS, floats())),
    row("integer input", TypeError, "x must have a floating dtype", "int32", "Cast it once with .astype('float32')")(
        lambda: NET.apply(PARAMS, LABELS[:4])),
    row("labels of another batch", ValueError, "one whole number per example, shape (6,)", "(5,)")(
        lambda: CROSS_ENTROPY(PARAMS, X, LABELS[:5])),
    row("column of labels", ValueError, "shape (6,)", "(6, 1)", "y[:, 0]")(
        lambda: CROSS_ENTROPY(PARAMS, X, LABELS[:, None])),
    row("float labels", TypeError, "labels must be whole numbers", "float32", "y.astype('int32')")(
        lambda: CROSS_ENTROPY(PARAMS, X, LABELS.astype(np.float32))),
    row("boolean one-hot rows", TypeError, "targets must be labels or probabilities", "bool", "astype('float32')")(
        lambda: fnn.softmax_cross_entropy(jnp.zeros((2, 3)), np.eye(3, dtype=bool)[:2])),
    row("no target", TypeError, "squared_error: the target must be an array of numbers, got None")(
        lambda: fnn.squared_error(jnp.zeros((2, 1)), None)),
    row("text as labels", TypeError, "must be an array of numbers, got ndarray of dtype <U3", "labels 0, 1")(
        lambda: fnn.softmax_cross_entropy(jnp.zeros((2, 3)), np.array(["cat", "dog"]))),
    row("rows of unequal length", TypeError, "tanh: z must be an array of numbers, got list", "equal lengths")(
        lambda: fnn.tanh([[1.0], [1.0, 2.0]])),
    row("a complex target", TypeError, "squared_error: the target must be real, got complex64", "y.real")(
        lambda: fnn.squared_error(jnp.zeros((1, 1)), jnp.array([[1j]]))),
    row("softmax of a number", ValueError, "softmax: z must hold K classes", "single number", "z[None]")(
        lambda: fnn.softmax(jnp.float32(2.0))),
    row("boolean labels", TypeError, "targets must be labels or probabilities", "bool")(
        lambda: CROSS_ENTROPY(PARAMS, X, LABELS > 0)),
    row("probabilities of other classes", ValueError, "shape (6, 3)", "(6, 4)", "as many outputs")(
        lambda: CROSS_ENTROPY(PARAMS, X, floats(6, 4))),
    row("targets of another batch", ValueError, "prediction's shape (6, 3)", "(5, 3)", "batch sizes differ")(
        lambda: SQUARED(PARAMS, X, floats(5, 3))),
    row("(N, 1) against (N,)", ValueError, "shape (6,)", "(6, 1)", "every other", "y[:, 0]")(
        lambda: fnn.squared_error(floats(6), floats(6, 1))),
    row("(N,) against (N, 1)", ValueError, "shape (6, 1)", "(6,)", "every other", "y[:, None]")(
        lambda: fnn.squared_error(floats(6, 1), floats(6))),
    row("targets of another net", ValueError, "shape (6, 3)", "(6, 2)", "as many outputs")(
        lambda: SQUARED(PARAMS, X, floats(6, 2))),
    row("integer prediction", TypeError, "prediction must have a floating dtype", "int32", "astype")(
        lambda: fnn.squared_error(LABELS, floats(6))),
    row("scalar prediction", ValueError, "outputs on its last axis", "scalar")(
        lambda: fnn.squared_error(floats(), floats())),
    row("weights of another batch", ValueError, "one number per example, shape (6,)", "(5,)", "per row")(
        lambda: CROSS_ENTROPY(PARAMS, X, LABELS, sample_weight=floats(5))),
    row("mean over no examples", ValueError, "batch of 0 examples", "(0, 3)", "softmax_cross_entropy.sum")(
        lambda: CROSS_ENTROPY(PARAMS, floats(0, 4), LABELS[:0])),
    row("weights of another shape", ValueError, "accuracy: sample_weight must have shape (6,)", "(6, 1)")(
        lambda: fnn.accuracy(floats(6, 3), LABELS[:6], np.ones((6, 1)))),
    row("integer activation input", TypeError, "tanh: z must have a floating dtype", "int32", "astype")(
        lambda: fnn.tanh(LABELS)),
    row("integer activation derivative", TypeError, "tanh: z must have a floating dtype", "int32", "astype")(
        lambda: fnn.tanh.derivative(LABELS)),
    row("derivative of softmax", TypeError, "Jacobian", "softmax.backward")(lambda: fnn.softmax.derivative(X)),
    # ---- parameters -----------------------------------------------------------------------------------------------
    row("no key", TypeError, "sequential.init: the key must be one of jax.random, got None", "jax.random.key(0)")(
        lambda: NET.init()),
    row("many keys", TypeError, "sequential.init: the key must be a single one", "shape (2,)", "keys[0]")(
        lambda: NET.init(jax.random.split(jax.random.key(0)))),
    row("half an old key", TypeError, "the key must be a single one", "shape (1,)")(
        lambda: NET.init(np.zeros(1, np.uint32))),
    row("a size beyond", ValueError, "must be below 2147483648", "got 2147483648")(lambda: fnn.dense(3, 2**31)),
    row("W of another net", ValueError, "W must have shape (4, 5)", "(4, 6)", "another network?", "net.init(key)")(
        lambda: NET.apply(layer_params(4, 6, 3), X)),
    row("b of another net", ValueError, "b must have shape (5,)", "(6,)", "another network?", "net.init(key)")(
        lambda: NET.apply(({"W": floats(4, 5), "b": floats(6)}, PARAMS[1]), X)),
    row("fewer layers", ValueError, "sequential needs a tuple with the params of each layer",
        "2 entries, got 3 entries",
        "another network?", "net.init(key)")(
        lambda: NET.apply(layer_params(4, 5, 5, 3), X)),
    row("one layer's params for a net", ValueError, "sequential needs a tuple with the params of each layer",
        "2 entries", "got dict", "another network?", "net.init(key)")(
        lambda: NET.apply(PARAMS[0], X)),
    row("a net's params for one layer", ValueError, "dense(4, 5) needs params {'W': …, 'b': …}", "got tuple",
        "another network?", "net.init(key)")(lambda: fnn.dense(4, 5).apply(PARAMS, X)),
    row("params by other names", ValueError, "dense(4, 5) needs params {'W': …, 'b': …}",
        "got a dict of ['bias', 'weights']", "another network?", "net.init(key)")(
        lambda: fnn.dense(4, 5).apply({"weights": floats(4, 5), "bias": floats(5)}, X)),
    row("integer params", TypeError, "dense(4, 5, activation=tanh): W must have a floating dtype", "int32",
        "Cast it once with .astype('float32')")(
        lambda: NET.apply(({"W": np.ones((4, 5), np.int32), "b": floats(5)}, PARAMS[1]), X)),
    row("unstacked params", ValueError, "leading axis of 3", "got shape (4, 4) for ['W']", "net.init(key)")(
        lambda: fnn.repeated(fnn.dense(4, 4), 3).apply(layer_params(4, 4)[0], X)),
    row("unstacked params, looking inside", ValueError, "leading axis of 3", "(4, 4)", "net.init(key)")(
        lambda: fnn.repeated(fnn.dense(4, 4), 3).values(layer_params(4, 4)[0], X)),
    row("integer dtype", TypeError, "parameters must have a floating dtype", "int32", "Use float32")(
        lambda: NET.init(jax.random.key(0), jnp.int32)),
    row("an example for a dtype", TypeError, "must be a floating dtype, got ndarray", "init(key) needs no example")(
        lambda: NET.init(jax.random.key(0), X)),
    row("a state for its params", ValueError, "2 entries, got TrainState", "give state.params")(
        lambda: NET.apply(fnn.TrainState(PARAMS, (), None, 0), X)),
    row("a seed for a key", TypeError, "sequential.init: the key must be one of", "got 0", "random.key(0)")(
        lambda: NET.init(0)),
    row("a seed for the key of a layer", TypeError, "dense.init: the key must be", "got 7")(
        lambda: fnn.dense(2, 2).init(7)),
    row("a seed for the key of repeated layers", TypeError, "repeated.init: the key must be", "got None")(
        lambda: fnn.repeated(fnn.dense(2, 2), 2).init(None)),
    # ---- sizes and parts --------------------------------------------------------------------------------------------
    row("size 0", ValueError, "mlp: size 2 must be at least 1", "0")(lambda: fnn.mlp(4, 0, 3)),
    row("negative inputs", ValueError, "dense: inputs must be at least 1", "-4")(lambda: fnn.dense(-4, 3)),
    row("no outputs", ValueError, "dense: outputs must be at least 1", "0")(lambda: fnn.dense(4, 0)),
    row("a size that is no whole number", TypeError, "size 2 must be a whole number", "2.5", "mlp([64, 32, 10])")(
        lambda: fnn.mlp(4, 2.5)),
    row("an activation among the sizes", TypeError, "whole number, got 'tanh'", "activation='tanh'")(
        lambda: fnn.mlp(4, 3, "tanh")),
    row("True as a size", TypeError, "whole number", "True")(lambda: fnn.dense(True, 3)),
    row("one size", ValueError, "at least two sizes, inputs and outputs", "[4]", "mlp(64, 32, 10)")(
        lambda: fnn.mlp(4)),
    row("no layer", ValueError, "sequential needs at least one layer", "()")(lambda: fnn.sequential()),
    row("sizes that do not meet", ValueError, "layer 2 takes 6 features, but layer 1 gives 5", "equal")(
        lambda: fnn.sequential(fnn.dense(4, 5), fnn.dense(6, 3))),
    row("a part that is no layer", TypeError, "sequential: a Layer is needed", "tanh", "Subclass fnn.Layer")(
        lambda: fnn.sequential(fnn.tanh)),
    row("skip over unequal sizes", ValueError, "skip", "got 4 inputs and 5 outputs", "equal")(
        lambda: fnn.skip(fnn.dense(4, 5))),
    row("skip of no layer", TypeError, "skip: a Layer is needed", "4", "Subclass fnn.Layer")(lambda: fnn.skip(4)),
    row("skip of what gives more than it takes", ValueError, "skip(Thrice())", "its input, (5, 1)", "got (5, 3)",
        "equal")(lambda: fnn.skip(Thrice()).apply((), floats(5, 1))),
    row("repeated of what gives more than it takes", ValueError, "repeated(Thrice(), 2)", "shape [(5, 1)]",
        "got [(5, 3)]", "equal")(lambda: fnn.repeated(Thrice(), 2).apply((), floats(5, 1))),
    row("repeated with unequal sizes", ValueError, "repeated", "got 4 inputs and 5 outputs", "equal")(
        lambda: fnn.repeated(fnn.dense(4, 5), 2)),
    row("repeated 0 times", ValueError, "repeated: times must be at least 1", "0")(
        lambda: fnn.repeated(fnn.dense(4, 4), 0)),
    row("no activation", TypeError, "activation: an Activation is needed", "got 5",
        "Give one or its name: elu, gelu, ", "softplus, tanh.")(lambda: fnn.dense(4, 3, activation=5)),
    row("an activation's class", TypeError, "activation: an Activation is needed", "Sine", "Give an instance: Sine().")(
        lambda: fnn.dense(4, 3, activation=Wrong.Sine)),
    row("x and y exchanged in a gradient", TypeError, "x must have a floating dtype, got int32", "Or are x and y exch",
        "(params, x, y)")(lambda: CROSS_ENTROPY(PARAMS, LABELS, X)),
    row("x and y exchanged in an objective", ValueError, "x must have 4 features", "Or are x and y exchanged?")(
        lambda: fnn.objective(NET, "squared_error")(PARAMS, floats(6, 3), X)),
    row("x and y exchanged in training mode", TypeError, "x must have a floating dtype", "Or are x and y exchanged?")(
        lambda: CROSS_ENTROPY(PARAMS, LABELS, X, statistics=NET.start(PARAMS), key=jax.random.key(0))),
    row("evaluate without statistics", TypeError, "sequential: evaluate must be called with params, statistics and x",
        "got two", "net.apply(params, x)")(lambda: NET.evaluate(PARAMS, X)),
    row("no initializer of weights", TypeError, "initializer: an Initializer is needed", "got 0.1",
        "Give one or its name: glorot_normal, glorot_uniform, ", "zeros.")(lambda: fnn.dense(4, 3, weight_init=0.1)),
    row("no initializer of biases", TypeError, "initializer: an Initializer is needed", "got 0.1",
        "Give one or its name: glorot_normal, glorot_uniform, ", "zeros.")(lambda: fnn.dense(4, 3, bias_init=0.1)),
    row("Dense of no activation", TypeError, "dense: an Activation is needed", "got 5",
        "Give a record such as fnn.tanh, or make your own by subclassing.")(
        lambda: fnn.layers.Dense(4, 5, activation=5)),
    row("Dense of an activation's name", TypeError, "dense: an Activation is needed", "got 'tanh'",
        "Give a record such as fnn.tanh")(lambda: fnn.layers.Dense(4, 5, activation="tanh")),
    row("Dense of no weights", TypeError, "dense: an Initializer is needed", "got 0.1",
        "Give a record such as fnn.initializers.glorot_uniform, or make your own")(
        lambda: fnn.layers.Dense(4, 5, weight_init=0.1)),
    row("Dense of no bias", TypeError, "dense: an Initializer is needed", "got 0.1",
        "Give a record such as fnn.initializers.zeros, or make your own")(
        lambda: fnn.layers.Dense(4, 5, bias_init=0.1)),
    row("cotangents without backward", TypeError, "Bypass defines cotangents but no backward", "Define backward(par")(
        lambda: type("Bypass", (fnn.layers.Dense,), {"cotangents": None})),
    row("values without cotangents", TypeError, "Named defines values but no cotangents", "Define both, or neither")(
        lambda: type("Named", (fnn.layers.Dense,), {"values": None})),
    row("inside one's own backward", TypeError, "intermediates: Turned overrides backward", "Look inside fnn")(
        lambda: fnn.gradients.Backprop(
            type("Turned", (fnn.gradients.Objective,), {"backward": None})(NET, fnn.softmax_cross_entropy)
        ).intermediates(PARAMS, X, LABELS)),
    row("objective of no net", TypeError, "objective: a Layer is needed", "got 4", "fnn.mlp(64, 32, 10)")(
        lambda: fnn.objective(4, "hinge")),
    row("objective of no loss", TypeError, "loss: a Loss is needed", "got 3",
        "Give one or its name: absolute_error, ", "softmax_cross_entropy, squared_error.")(
        lambda: fnn.objective(NET, 3)),
    row("objective of no regularizer", TypeError, "regularizer: a Regularizer is needed", "got 0.1",
        "Give one or its name: elastic_net, l1, l2.")(lambda: fnn.objective(NET, "hinge", 0.1)),
    row("Objective of no loss", TypeError, "objective: a Loss is needed", "got 3",
        "Give a record such as fnn.softmax_cross_entropy.")(lambda: fnn.gradients.Objective(NET, 3)),
    row("Objective of a loss's name", TypeError, "objective: a Loss is needed", "got 'hinge'",
        "Give a record such as fnn.softmax_cross_entropy.")(lambda: fnn.gradients.Objective(NET, "hinge")),
    row("Objective of no regularizer", TypeError, "objective: a Regularizer is needed", "got 0.1",
        "Give fnn.l2, or None.")(lambda: fnn.gradients.Objective(NET, fnn.hinge, 0.1)),
    row("custom_vjp of anything", TypeError, "an activation, loss, layer", "got", "with jax.custom_vjp itself")(
        lambda: fnn.custom_vjp(jnp.tanh)),
    row("forward mode through a lent rule", TypeError, "tanh: a rule lent by fnn.custom_vjp", "got a tangent",
        "Give the record itself")(lambda: jax.jvp(fnn.custom_vjp(fnn.tanh), (X,), (X,))),
    row("custom_vjp by its targets", TypeError, "squared_error: targets, weights", "are data", "Differentiate")(
        lambda: jax.grad(fnn.custom_vjp(fnn.squared_error), argnums=1)(X, X)),
    row("an attribute that is not there", AttributeError, "Sequential has no attribute 'weights'")(
        lambda: NET.weights),
    # ---- unknown names ----------------------------------------------------------------------------------------------
    row("unknown activation", ValueError, "unknown activation 'rleu'", "perhaps 'relu'?", "Known: elu, gelu")(
        lambda: fnn.activations.get("rleu")),
    row("unknown activation of a net", ValueError, "unknown activation 'tahn'", "perhaps 'tanh'?")(
        lambda: fnn.mlp(4, 3, 2, activation="tahn")),
    row("an activation in capitals", ValueError, "unknown activation 'Relu'", "perhaps 'relu'?")(
        lambda: fnn.activations.get("Relu")),
    row("an activation under another name", ValueError, "unknown activation 'swish'", "perhaps 'silu'?")(
        lambda: fnn.activations.get("swish")),
    row("a loss by its initials", ValueError, "unknown loss 'mse'", "perhaps 'squared_error'?")(
        lambda: fnn.losses.get("mse")),
    row("a loss in one word", ValueError, "unknown loss 'crossentropy'", "perhaps 'softmax_cross_entropy'?")(
        lambda: fnn.losses.get("crossentropy")),
    row("a function of JAX as an activation", TypeError, "an Activation is needed", "Give 'tanh', whose rule is")(
        lambda: fnn.mlp(2, 2, 1, activation=jnp.tanh)),
    row("a function without a rule", TypeError, "got <", "no rule: write a subclass of fnn.Activation")(
        lambda: fnn.mlp(2, 2, 1, activation=lambda z: z**3)),
    row("unknown loss", ValueError, "unknown loss 'squared_eror'", "perhaps 'squared_error'?", "Known: absolute")(
        lambda: fnn.losses.get("squared_eror")),
    row("unknown loss of a gradient", ValueError, "'softmax_crossentropy'", "perhaps 'softmax_cross_entropy'?")(
        lambda: fnn.backprop(NET, "softmax_crossentropy")),
    row("unknown regularizer", ValueError, "'elasticnet'", "perhaps 'elastic_net'?", "Known: elastic_net, l1, l2")(
        lambda: fnn.regularizers.get("elasticnet")),
    row("unknown initializer", ValueError, "'glorot_unifrm'", "perhaps 'glorot_uniform'?", "Known: glorot_normal")(
        lambda: fnn.initializers.get("glorot_unifrm")),
    row("a name like no other", ValueError, "unknown activation 'xyzzy'.", "Known: elu")(
        lambda: fnn.activations.get("xyzzy")),
    # ---- numbers of records -----------------------------------------------------------------------------------------
    row("negative slope", ValueError, "leaky_relu: slope must be finite and at least 0", "-0.1", "Try 0.01")(
        lambda: fnn.activations.LeakyRelu(-0.1)),
    row("alpha 0", ValueError, "elu: alpha must be finite and above 0", "0.0", "Try 1")(
        lambda: fnn.activations.Elu(0.0)),
    row("infinite delta", ValueError, "huber: delta must be finite and above 0", "inf", "Try 1")(
        lambda: fnn.losses.Huber(delta=np.inf)),
    row("unknown reduction", ValueError, "reduction must be 'mean' or 'sum'", "got 'max'")(
        lambda: fnn.losses.Hinge(reduction="max")),
    row("uniform of a negative bound", ValueError, "uniform: bound must be finite and above 0", "-0.1", "Try 0.1")(
        lambda: fnn.initializers.uniform(-0.1)),
    row("normal of deviation 0", ValueError, "normal: deviation must be finite and above 0", "0.0", "Try 0.1")(
        lambda: fnn.initializers.normal(0.0)),
    row("uniform of a text", TypeError, "uniform: bound must be a number", "'0.1'", "such as 0.1")(
        lambda: fnn.initializers.uniform("0.1")),
    row("normal of a text", TypeError, "normal: deviation must be a number", "'0.1'", "such as 0.1")(
        lambda: fnn.initializers.normal("0.1")),
    row("constant of nothing", TypeError, "constant: value must be a number", "None", "such as 0.1")(
        lambda: fnn.initializers.constant(None)),
    row("gain of a text", TypeError, "orthogonal: gain must be a number", "'1'", "such as 0.1")(
        lambda: fnn.initializers.Orthogonal("1")),
    row("an initializer's name without its number", ValueError, "uniform needs its number", "got the name alone",
        "fnn.initializers.uniform(0.1)")(lambda: fnn.mlp(4, 3, weight_init="uniform")),
    row("fans of a vector", ValueError, "matrix (inputs, outputs)", "(5,)", "Use uniform(bound)")(
        lambda: fnn.initializers.glorot_uniform(jax.random.key(0), (5,))),
    # ---- regularizers -----------------------------------------------------------------------------------------------
    *[row(f"{each.name} by its strength alone", TypeError, f"{each.name} must be called with params and strength",
          "got 0.1", f"Give fnn.{each.name} itself to fnn.backprop")(functools.partial(each, 0.1))
      for each in (fnn.l1, fnn.l2, fnn.elastic_net)],
    row("no strength", ValueError, "go together", "regularizer=l2", "without a strength", "strength=1e-4")(
        lambda: fnn.objective(NET, "squared_error", "l2")(PARAMS, X, floats(6, 3))),
    row("no regularizer", ValueError, "go together", "strength=0.1", "no regularizer", "regularizer=fnn.l2")(
        lambda: SQUARED(PARAMS, X, floats(6, 3), strength=0.1)),
    row("two strengths for l2", ValueError, "strength must be one number", "(2,)", "jax.vmap")(
        lambda: fnn.l2(PARAMS, np.array([0.1, 0.2], np.float32))),
    row("one strength for two", ValueError, "pair (λ₁, λ₂)", "got 0.1", "use l1 or l2 alone")(
        lambda: fnn.elastic_net(PARAMS, 0.1)),
    row("nothing to penalize", ValueError, "at least one leaf called 'W'", "none", "Name the weights W")(
        lambda: fnn.l1({"s": floats(3)}, 0.1)),
    # ---- curvature --------------------------------------------------------------------------------------------------
    *[row(f"a gradient for a product in {f.__name__}", TypeError, "a Product is needed", "hessian_vector_product")(
        functools.partial(f, fnn.backprop(NET, "squared_error"), PARAMS, X, LABELS, **options))
      for f, options in ((fnn.curvature.matrix, {}), (fnn.curvature.diagonal, {}), (fnn.curvature.certain_bound, {}),
                         (fnn.curvature.largest_eigenvalue, {}), (fnn.curvature.layer_matrices, {}),
                         (fnn.curvature.spectrum_density, {"key": jax.random.key(0)}),
                         (fnn.curvature.kronecker_factors, {}))],
    # ---- differences ------------------------------------------------------------------------------------------------
    row("step 0", ValueError, "step must be above 0 and finite", "0.0", "Leave it out")(
        lambda: fnn.central_differences(jnp.sum, step=0.0)(X)),
    row("the point as a step", TypeError, "step must be a number", "shape (3, 4)", "central_differences(f)(x)")(
        lambda: fnn.central_differences(jnp.sum, jnp.ones((3, 4)))),
    row("chunk 0", ValueError, "differences: chunk must be at least 1", "0")(
        lambda: fnn.one_sided_differences(jnp.sum, chunk=0)(X)),
    row("differences in integers", TypeError, "leaf 1 of the first argument must have a floating dtype", "int32")(
        lambda: fnn.central_differences(lambda p: jnp.sum(p[0]))((X, LABELS))),
    row("differences in NumPy", TypeError, "asks for the numbers themselves, at test_checks.py:", "jax.numpy")(
        lambda: fnn.central_differences(lambda x: float(np.sum(x)))(floats(4))),
    row("differences of a vector", ValueError, "one number", "shape (4,)", "Take its sum or its mean")(
        lambda: fnn.central_differences(lambda x: x)(floats(4))),
    # ---- data on the host -------------------------------------------------------------------------------------------
    row("no data", ValueError, "x must hold at least one row", "(0, 4)", "filtered")(lambda: fnn.data.validate(X[:0])),
    row("a scalar as data", ValueError, "at least one row", "()")(lambda: fnn.data.validate(1.0)),
    row("integer data", TypeError, "x must have a floating dtype", "int32", "Cast it once with .astype('float32')")(
        lambda: fnn.data.validate(LABELS[:, None])),
    row("x and y exchanged", TypeError, "x must have a floating dtype", "int32", "Or are x and y exchanged?")(
        lambda: fnn.data.validate(LABELS, X)),
    row("other number of targets", ValueError, "one row per example", "6 rows of x and 5 of y", "split")(
        lambda: fnn.data.validate(X, LABELS[:5])),
    row("NaN in x", ValueError, "x must be finite", "row 1, column 2 is nan", "Drop or impute")(
        lambda: fnn.data.validate(spoiled(X, (1, 2), np.nan))),
    row("infinity in x", ValueError, "x must be finite", "row 0, column 3 is -inf (and 1 more)", "Drop or impute")(
        lambda: fnn.data.validate(spoiled(spoiled(X, (5, 0), np.inf), (0, 3), -np.inf))),
    row("NaN in bfloat16", ValueError, "x must be finite", "row 0, column 1 is nan", "Drop or impute")(
        lambda: fnn.data.validate(jnp.asarray([[1.0, np.nan]], "bfloat16"))),
    row("NaN in an image", ValueError, "row 1, position (0, 2) is nan")(
        lambda: fnn.data.validate(spoiled(floats(2, 3, 3), (1, 0, 2), np.nan))),
    row("NaN in y", ValueError, "y must be finite", "row 2 is nan", "Drop or impute")(
        lambda: fnn.data.validate(X, spoiled(floats(6), 2, np.nan))),
    row("NaN that stands alone", ValueError, "its only entry is nan")(
        lambda: requirements.require_finite("x", np.float32("nan"))),
    row("negative label", ValueError, "y must lie in 0 … 2", "row 3 is -1", "Number the classes from 0")(
        lambda: fnn.data.validate(X, spoiled(LABELS, 3, -1), classes=3)),
    row("label K", ValueError, "y must lie in 0 … 2", "row 1 is 3 (and 1 more)", "more outputs")(
        lambda: fnn.data.validate(X, spoiled(spoiled(LABELS, 4, 9), 1, 3), classes=3)),
    row("float labels on the host", TypeError, "labels from 0 to 2", "float32", "y.astype('int32')", "3 prob")(
        lambda: fnn.data.validate(X, LABELS.astype(np.float32), classes=3)),
    row("label out of one_hot", ValueError, "labels must lie in 0 … 2", "row 0 is 3")(lambda: fnn.one_hot([3], 3)),
    row("one_hot of no class", ValueError, "one_hot: classes must be at least 1", "0", "the number of classes K")(
        lambda: fnn.one_hot([0], 0)),
    # ---- what the losses ask of their targets -------------------------------------------------------------------
    row("labels, through the loss", ValueError, "y must lie in 0 … 2", "row 0 is 3")(
        lambda: CROSS_ENTROPY.objective.validate(PARAMS, X, spoiled(LABELS, 0, 3))),
    row("labels, seen by the loss itself", ValueError, "softmax_cross_entropy: labels must lie in 0 … 2", "row 0 is 3")(
        lambda: fnn.softmax_cross_entropy(floats(6, 3), spoiled(LABELS, 0, 3))),
    row("x, through the objective", ValueError, "x must be finite", "row 0, column 0")(
        lambda: CROSS_ENTROPY.objective.validate(PARAMS, spoiled(X, (0, 0), np.nan), LABELS)),
    row("an array in a loss", TypeError, "objective: Scaled must hold values that can be compared, got a ndarray in",
        "tuple of numbers")(lambda: fnn.objective(NET, Scaled(np.ones(2))).validate(PARAMS, X, LABELS)),
    row("negative probabilities", ValueError, "probabilities from 0 to 1", "row 1 holds -1.0", "Rescale")(
        lambda: fnn.softmax_cross_entropy.validate_target(np.array([[1.0, 0.0], [-1.0, 2.0]]), 2)),
    row("probabilities that sum to 2", ValueError, "sum to 1 in each row", "row 1 is off by 1", "Divide")(
        lambda: fnn.negative_log_likelihood.validate_target(np.array([[0.5, 0.5], [1.0, 1.0]]), 2)),
    row("binary target of 2", ValueError, "0 or 1, or probabilities between", "row 1 holds 2.0", "Rescale")(
        lambda: fnn.binary_cross_entropy.validate_target(np.array([[0.0], [2.0]]), 1)),
    row("binary target of -1", ValueError, "0 or 1, or probabilities between", "row 0 holds -1.0", "Rescale")(
        lambda: fnn.sigmoid_cross_entropy.validate_target(np.array([[-1.0], [1.0]]), 1)),
    row("hinge on 0 and 1", ValueError, "labels −1 and +1", "row 1 holds 0.0", "2 * y - 1")(
        lambda: fnn.hinge.validate_target(np.array([[1.0], [0.0]]), 1)),
    row("perceptron on 0 and 1", ValueError, "labels −1 and +1", "row 0 holds 0.0", "2 * y - 1")(
        lambda: fnn.perceptron_loss.validate_target(np.array([[0.0], [-1.0]]), 1)),
    # ---- metrics ------------------------------------------------------------------------------------------------
    row("accuracy of float labels", TypeError, "labels must be whole numbers", "float32", "astype('int32')")(
        lambda: fnn.accuracy(floats(6, 3), floats(6))),
    row("accuracy of scores as labels", TypeError, "labels must be whole numbers", "float32",
        "Give accuracy(scores, labels)")(lambda: fnn.accuracy(LABELS, floats(6, 3))),
    row("accuracy of one class", ValueError, "K ≥ 2 classes", "(6, 1)", "threshold")(
        lambda: fnn.accuracy(floats(6, 1), LABELS)),
    row("accuracy of unequal rows", ValueError, "labels must have shape (6,)", "(5,)")(
        lambda: fnn.metrics.zero_one_loss(floats(6, 3), LABELS[:5])),
    row("accuracy of nothing", ValueError, "0 examples", "filtered")(lambda: fnn.accuracy(floats(0, 3), LABELS[:0])),
    # ---- training -----------------------------------------------------------------------------------------------
    row("0 epochs", ValueError, "fit: epochs must be at least 1", "0")(lambda: fit(epochs=0)),
    row("a layer with an __init__", TypeError, "Own must be a frozen dataclass", "__init__", "fields under")(
        lambda: type("Own", (fnn.Layer,), {"__init__": lambda self, scale: None})),
    row("cotangents without a backward", TypeError, "Own defines cotangents but no backward", "Define backward(params")(
        lambda: type("Own", (fnn.Layer,), {"cotangents": lambda self, *args: args})),
    row("values without cotangents", TypeError, "Own defines values but no cotangents", "Define both, or neither")(
        lambda: type("Own", (fnn.Layer,), {"values": lambda self, *args: args})),
    row("a record with an __init__", TypeError, "Own must be a frozen dataclass", "__init__", "fields under")(
        lambda: type("Own", (fnn.Activation,), {"__init__": lambda self, scale: None})),
    row("training with an array in a record", TypeError, "fit: Scaled must hold values that can be compared, got a "
        "ndarray in 'factor'", "tuple of numbers")(lambda: fit(gradient=fnn.backprop(NET, Scaled(np.ones(2))))),
    row("training a net", TypeError, "fit: a gradient is needed", "sequential(", "fnn.backprop(net, loss)")(
        lambda: fit(gradient=NET)),
    row("training without the value", TypeError, "must return (value, gradients", "got gradients without a value. Give",
        "not jax.grad")(
        lambda: fit(gradient=jax.grad(CROSS_ENTROPY.objective))),
    row("batch of 0", ValueError, "fit: batch_size must be at least 1", "0")(lambda: fit(batch_size=0)),
    row("batch larger than the data", ValueError, "batch_size 7", "6 rows", "Use 6 or less")(
        lambda: fit(batch_size=7)),
    row("a rate for an optimizer", TypeError, "optimizer must be an Optax transformation", "0.1", "optax.adam")(
        lambda: fit(optimizer=0.1)),
    row("an optimizer without its rate", ValueError, "needs a learning rate", "learning_rate=1e-3")(
        lambda: fit(optimizer=optax.adam)),
    row("a rate too many", ValueError, "got learning_rate=0.1 with an optimizer that has its own", "leave")(
        lambda: fit(learning_rate=0.1)),
    row("a negative rate", ValueError, "learning_rate must be finite and above 0", "got -0.1", "1e-3")(
        lambda: fit(optimizer=optax.adam, learning_rate=-0.1)),
    row("a seed for a training", TypeError, "fit: the key must be one of jax.random, got 1", "jax.random.key(0)")(
        lambda: fit(key=1)),
    row("a strength for no penalty", ValueError, "got strength=0.1, but the objective has no regularizer")(
        lambda: fit(strength=0.1)),
    row("a negative strength", ValueError, "fit: strength must be finite and at least 0", "got -0.1", "1e-4")(
        lambda: fit(gradient=PENALIZED, strength=-0.1)),
    row("a negative strength of a run", ValueError, "sweep: strength must be finite and at least 0", "got -1.0")(
        lambda: sweep(gradient=PENALIZED, over={"strength": [0.1, -1.0]})),
    row("a rate of 0", ValueError, "sgd: learning_rate must be finite and above 0", "0.0", "1e-3")(
        lambda: fnn.optimizers.sgd(0.0)),
    row("a rate in words", TypeError, "sgd: learning_rate must be a number", "got '0.1'", "such as 1e-3")(
        lambda: fnn.optimizers.sgd("0.1")),
    row("rates in a list", TypeError, "adam: b1 must be a number", "got [0.9]", "such as 0.9")(
        lambda: fnn.optimizers.adam(0.1, [0.9])),
    row("a schedule for a record", TypeError, "sgd: learning_rate must be a number", "got <", "optax.adam(schedule)")(
        lambda: fnn.optimizers.sgd(lambda step: 0.1)),
    row("a net without parameters", TypeError, "a net holds no parameters and is called with them, net(params, x)",
        "got one argument", "net.init")(lambda: NET(floats(6, 4))),
    row("a decay of 1", ValueError, "momentum: decay must be at least 0 and below 1", "1.0")(
        lambda: fnn.optimizers.momentum(0.1, 1.0)),
    row("a decay of 2", ValueError, "adam: b2 must be at least 0 and below 1", "2")(
        lambda: fnn.optimizers.adam(0.1, 0.9, 2)),
    row("a negative epsilon", ValueError, "adam: eps must be finite and at least 0", "-1.0")(
        lambda: fnn.optimizers.adam(0.1, eps=-1.0)),
    row("no rows to shuffle", ValueError, "n must be at least 1, got 0", "number of rows")(
        lambda: fnn.training.permutation(jax.random.key(0), 0)),
    defined("optimizer without init", lambda: Optimizer(0.1).init(()), "init(params) -> state"),
    defined("optimizer without update", lambda: Optimizer(0.1).update((), ()), "update(gradients, state, params)"),
    row("data without targets", TypeError, "data must be the pair (x, y)", "ndarray", "data=(x, y)")(lambda: fit(X)),
    row("validation without targets", TypeError, "validation must be the pair (x, y)", "ndarray", "validation=(")(
        lambda: fit(validation=X)),
    row("validation of a bare function", ValueError, "knows its objective", "bare function", "fnn.backprop(")(
        lambda: fit(gradient=bare_gradient, validation=(X, LABELS))),
    row("bad data for a bare function", ValueError, "x must be finite", "row 0, column 0 is nan")(
        lambda: fit((spoiled(X, (0, 0), np.nan), LABELS), gradient=bare_gradient)),
    row("nothing to train", ValueError, "hold a floating array, got int32 alone", "net.init(key)")(
        lambda: fit(params={"W": LABELS})),
    row("fit: labels out of range", ValueError, "0 … 2", "row 5 is -1")(
        lambda: fit((X, spoiled(LABELS, 5, -1)))),
    row("fit: validation labels", ValueError, "0 … 2", "row 2 is 3")(
        lambda: fit(validation=(X, spoiled(LABELS, 2, 3)))),
    row("fit: float labels", TypeError, "whole-number labels from 0 to 2", "float32", "y.astype('int32')")(
        lambda: fit((X, LABELS.astype(np.float32)))),
    row("fit: NaN", ValueError, "x must be finite", "row 1, column 2 is nan")(
        lambda: fit((spoiled(X, (1, 2), np.nan), LABELS))),
    row("fit: no rows", ValueError, "at least one row", "(0, 4)")(lambda: fit((X[:0], LABELS[:0]))),
    row("fit: another batch", ValueError, "6 rows of x and 5 of y", "split")(lambda: fit((X, LABELS[:5]))),
    row("fit: integer data", TypeError, "x must have a floating dtype", "int64",
        "Cast it once with .astype('float32')")(lambda: fit((np.ones((6, 4), np.int64), LABELS))),
    row("fit: wrong feature count", ValueError, "4 features", "7)")(lambda: fit((floats(6, 7), LABELS))),
    row("fit: parameters of another net", ValueError, "W must have shape (4, 5)", "(4, 6)")(
        lambda: fit(params=layer_params(4, 6, 3))),
    row("accumulating nothing", ValueError, "fit: accumulate must be at least 1", "0")(lambda: fit(accumulate=0)),
    row("no patience", ValueError, "fit: patience must be at least 1", "0", "such as 10")(lambda: fit(patience=0)),
    row("patience without validation", ValueError, "watches 'validation_loss'", "got the measures loss", "Give")(
        lambda: fit(patience=3)),
    row("patience with what is not measured", ValueError, "watches 'accuracy', which is not measured", "loss")(
        lambda: fit(patience=3, monitor="accuracy")),
    row("a negative improvement", ValueError, "min_improvement must be finite and at least 0", "got -1.0", "1e-4")(
        lambda: fit(min_improvement=-1.0)),
    row("clipping to nothing", ValueError, "clip_norm must be finite and above 0", "got 0.0", "1.0")(
        lambda: fit(clip_norm=0.0)),
    row("another way with NaN", ValueError, "on_nonfinite must be one of ('stop', 'skip', 'continue')", "'ignore'")(
        lambda: fit(on_nonfinite="ignore")),
    row("too few weights", ValueError, "weights of data must hold one number per row, shape (6,)", "got (4,)")(
        lambda: fit((X, LABELS, np.ones(4)))),
    row("negative weights", ValueError, "weights of data must be finite, at least 0, and not all 0", "ordinary row")(
        lambda: fit((X, LABELS, -np.ones(6)))),
    row("parameters without a key", ValueError, "parameters need a key", "Give key=jax.random.key(0)")(
        lambda: fit(key=None)),
    row("a folder for checkpoints", TypeError, "checkpoints must be a record, got 'runs'", "fnn.Checkpoints('runs')")(
        lambda: fit(checkpoints="runs")),
    row("a penalty without its strength", ValueError, "fit: got regularizer=l2 without a strength", "strength=1e-4")(
        lambda: fit(gradient=PENALIZED)),
    row("a sweep of a penalty without strengths", ValueError, "sweep: got regularizer=l2 without", "over=fnn.grid(")(
        lambda: sweep(gradient=PENALIZED)),
    row("a stream read by nothing", ValueError, "Stream: rows must be at least 1, got 0", "65536")(
        lambda: fnn.Stream(X, LABELS, 0)),
    row("a stream of unequal rows", ValueError, "x has 6 rows, y 5", "Check the source")(
        lambda: fnn.Stream(X, LABELS[:5])),
    row("a sweep over a list", TypeError, "over must be a dict of columns, got [1, 2]", "fnn.grid(")(
        lambda: sweep(over=[1, 2])),
    row("an unknown field", ValueError, "unknown field 'rate'; known are seed, learning_rate, strength, weight_init")(
        lambda: sweep(over={"rate": [0.1]})),
    row("fields of unequal length", ValueError, "one value for each run", "'seed': 2", "fnn.grid(")(
        lambda: sweep(over={"seed": [0, 1], "learning_rate": [0.1]})),
    row("no runs", ValueError, "one value for each run, got none")(lambda: sweep(over={})),
    row("a negative rate among others", ValueError, "learning_rate must be finite and above 0", "got -0.1")(
        lambda: sweep(over={"learning_rate": [0.1, -0.1]}, optimizer=optax.sgd)),
    row("a sweep whose rate is missing", ValueError, "needs a learning rate")(lambda: sweep(optimizer=optax.sgd)),
    row("gradients for other runs", ValueError, "one gradient for each run, got 3 for 2 runs")(
        lambda: sweep([CROSS_ENTROPY] * 3)),
    row("a sweep of a bare function", ValueError, "a gradient that knows its objective", "fnn.backprop(")(
        lambda: sweep(bare_gradient)),
    row("a sweep of large batches", ValueError, "sweep: batch_size 7 is larger than the data, 6 rows")(
        lambda: sweep(batch_size=7)),
    row("a sweep of no batch", ValueError, "sweep: batch_size must be at least 1")(lambda: sweep(batch_size=0)),
    row("a sweep of no epochs", ValueError, "sweep: epochs must be at least 1")(lambda: sweep(epochs=0)),
    row("a sweep without memory", ValueError, "sweep: memory must be at least 1", "2**30")(lambda: sweep(memory=0)),
    row("a sweep without patience", ValueError, "patience must be at least 1")(lambda: sweep(patience=0)),
    row("a sweep judged by nothing", ValueError, "monitor 'accuracy' is not measured, got the measures loss")(
        lambda: sweep(monitor="accuracy")),
    row("split of one-hot rows", ValueError, "stratified_split: labels must be one finite number", "(6, 6)", "argmax")(
        lambda: fnn.data.stratified_split(np.eye(6), (3, 3), seed=0)),
    row("split that does not add up", ValueError, "add up to the 6 examples", "got (4, 1), which", "last one")(
        lambda: fnn.data.stratified_split(LABELS, (4, 1), seed=0)),
    row("split into an empty part", ValueError, "stratified_split: size 2 must be at least 1", "0", "Give ints")(
        lambda: fnn.data.stratified_split(LABELS, (6, 0), seed=0)),
    # ---- records that leave a method out ------------------------------------------------------------------------
    defined("activation without forward", lambda: fnn.Activation().forward(X), "forward(z) -> (a, residuals)"),
    defined("activation without backward", lambda: fnn.Activation().backward(X, X), "backward(residuals, a_bar)"),
    defined("initializer without call", lambda: fnn.initializers.Initializer()(None, (4, 3)),
            "__call__(key, shape, dtype)"),
    defined("loss without values", lambda: fnn.Loss().values(X, X), "values(prediction, target)"),
    defined("loss without slope", lambda: fnn.Loss().slope(X), "slope(residuals) -> prediction_bar"),
    defined("layer without forward", lambda: fnn.Layer().forward((), X), "forward(params, x) -> (y, residuals)"),
    defined("layer without backward", lambda: fnn.Layer().backward((), X, X), "backward(params, residuals, y_bar)"),
    defined("regularizer without call", lambda: fnn.Regularizer()(PARAMS, 1.0), "__call__(params, strength)"),
    defined("regularizer without gradient", lambda: fnn.Regularizer().gradient(PARAMS, 1.0), "gradient(params"),
    defined("activation without curvature", lambda: fnn.Activation().curvature(X, X, X), "curvature(residuals, a_bar"),
    defined("loss without curvature", lambda: fnn.Loss().curvature(X, X), "curvature(residuals, prediction_dot)"),
    defined("regularizer without curvature", lambda: fnn.Regularizer().curvature(PARAMS, 1.0, PARAMS),
            "curvature(params, strength, params_dot)"),
    row("a drawing of other layers", ValueError, "svg draws dense layers and sequences of them, got", "fnn.graph")(
        lambda: fnn.sequential(fnn.dense(4, 4), fnn.skip(fnn.dense(4, 4))).svg()),
    # ---- rules that return something else ---------------------------------------------------------------------------
    row("an activation alone", TypeError, "sine.forward must return (a, residuals), got one array of shape (2, 3)",
        "() if nothing")(lambda: Wrong.Sine()(floats(2, 3))),
    row("a layer of it", TypeError, "sine.forward must return (a, residuals)")(
        lambda: fnn.dense(4, 3, activation=Wrong.Sine()).apply(PARAMS_SHORT, floats(2, 4))),
    row("batch normalization with it", TypeError, "sine.forward must return (a, residuals)")(
        lambda: fnn.batch_norm(4, activation=Wrong.Sine()).evaluate(*NORMALIZED, floats(2, 4))),
    row("an activation that sums", ValueError, "summed.forward: a must have shape (2, 3), got (2,)")(
        lambda: fnn.dense(4, 3, activation=Wrong.Summed()).apply(PARAMS_SHORT, floats(2, 4))),
    row("a backward that sums", ValueError, "z_bar must have shape (2, 3), got (2,)", "an activation's backward")(
        lambda: fnn.backprop(fnn.dense(4, 3, activation=Wrong.Flat()), fnn.squared_error)(
            PARAMS_SHORT, floats(2, 4), floats(2, 3))),
    row("it lent to JAX", TypeError, "sine.forward must return (value, residuals)")(
        lambda: fnn.custom_vjp(Wrong.Sine())(floats(2, 3))),
    row("a loss that takes the mean", ValueError, "mean.values: values must have shape (2,), got ()", "is taken here")(
        lambda: Wrong.Mean()(floats(2, 3), floats(2, 3))),
    row("a loss alone", TypeError, "alone.values must return (values, residuals)")(
        lambda: Wrong.Alone()(floats(2, 3), floats(2, 3))),
    row("a layer's output alone", TypeError, "same.forward must return (y, residuals), got one array of shape",)(
        lambda: Wrong.Same().apply((), floats(2, 2))),
    row("it in training", TypeError, "same.forward must return (y, residuals)")(
        lambda: Wrong.Same().train((), (), floats(2, 2), jax.random.key(0))),
    row("it among layers", TypeError, "same.forward must return (y, residuals)")(
        lambda: short_backprop(fnn.sequential(Wrong.Same()))),
    row("it skipped", TypeError, "same.forward must return (y, residuals)")(
        lambda: short_backprop(fnn.skip(Wrong.Same()))),
    row("it repeated", TypeError, "same.forward must return (y, residuals)")(
        lambda: short_backprop(fnn.repeated(Wrong.Same(), 2))),
    row("it as a net", TypeError, "same.forward must return (y, residuals)")(lambda: short_backprop(Wrong.Same())),
    row("a layer's cotangent alone", TypeError, "same.backward must return (params_bar, x_bar)")(
        lambda: short_backprop(fnn.sequential(Wrong.Same(True)))),
    row("it as a net", TypeError, "same.backward must return (params_bar, x_bar)")(
        lambda: short_backprop(Wrong.Same(True))),
    row("classes in place of scores", ValueError, "scores must hold K classes for each example", "before argmax")(
        lambda: fnn.accuracy(LABELS, LABELS)),
    row("labels for a loss on numbers", ValueError, "squared_error: the target must have", "ClassificationLoss")(
        lambda: SQUARED(PARAMS, X, LABELS)),
    row("a Fisher matrix of no model", TypeError, "is not the negative log-likelihood of a model", "Use gauss_newton")(
        lambda: fnn.hinge.fisher(X, X)),
    row("tangents of missing repetitions", ValueError, "repeated: every leaf of params must", "net.init(key)")(
        lambda: fnn.repeated(fnn.dense(4, 4), 3).forward_tangent((PARAMS[0], PARAMS[0]), (X, X))),
]  # fmt: skip


def in_float32(call):
    """The error of a call while 64-bit mode is off."""
    with jax.enable_x64(False):
        call()


MESSAGES.append(
    row("float64 without x64", ValueError, "64-bit mode, which is off", "float32", "with jax.enable_x64(True)")(
        lambda: in_float32(lambda: NET.init(jax.random.key(0), jnp.float64))
    )
)


@functools.cache
def caught(each):
    """The error of a row."""
    with pytest.raises(each.error) as info:
        each.call()
    return info.value


@pytest.mark.parametrize("each", MESSAGES, ids=lambda each: each.name)
def test_message_says_what_must_hold_what_it_got_and_what_to_do(each):
    error = caught(each)
    assert re.search("(?s)" + ".*".join(map(re.escape, each.words)), str(error)), str(error)
    assert len(error.args) == 1  # ValueError("a", b) shows users a tuple
    assert str(error).endswith((".", "?"))


def test_every_message_has_a_remedy():
    """A second sentence says what to do; "must define forward(z) -> …" is its own remedy."""
    bare = []
    for each in MESSAGES:
        message = str(caught(each))
        if each.error is not AttributeError and not re.search(r"must define|[.?] [A-Z]|; use ", message):
            bare.append(message)
    assert bare == []


def named(name):
    """The row of this name."""
    return next(each for each in MESSAGES if each.name == name)


@pytest.mark.parametrize(
    ("name", "remedy"),
    {
        "0 epochs": "Give an int of 1 or more, such as 60.",
        "batch of 0": "Give an int: 1 is one example at a time, N the full batch.",
        "chunk 0": "Leave it out for the default of 64.",
        "repeated 0 times": "Give an int of 1 or more, or leave the layer out.",
    }.items(),
)
def test_the_remedy_for_a_count_fits_what_is_counted(name, remedy):
    """A run of 0 epochs is no layer that could be left out; a layer repeated 0 times is."""
    assert str(caught(named(name))).endswith(f". {remedy}")


def test_the_remedy_for_epochs_that_are_no_whole_number_fits_epochs():
    with pytest.raises(TypeError, match=r"epochs must be a whole number, got 2\.5") as info:
        fit(epochs=2.5)
    assert "mlp" not in str(info.value)


def test_the_remedy_for_labels_of_another_batch_is_not_about_their_axes():
    """As many axes as wanted, other numbers of rows: it is the split that is wrong."""
    assert "batch sizes differ" in str(caught(named("labels of another batch")))


def test_the_remedy_for_an_integer_leaf_is_python():
    assert "first argument.astype" not in str(caught(named("differences in integers")))


def test_a_kind_that_starts_with_a_vowel_takes_an():
    assert "an Activation is needed" in str(caught(named("no activation")))


def test_text_as_data_is_refused_in_our_words():
    with pytest.raises(TypeError, match=r"x must have a floating dtype, got str"):
        fnn.data.validate(np.array([["a", "b"]]))


def test_integer_parameters_are_refused_and_never_take_the_data_with_them():
    whole = jax.tree.map(lambda p: np.ones(p.shape, np.int32), PARAMS)
    with pytest.raises(TypeError, match=r"dense\(4, 5, activation=tanh\): W must have a floating dtype, got int32"):
        NET.apply(whole, X)


@pytest.mark.parametrize("bound", [-0.1, np.nan])
def test_a_uniform_bound_must_be_positive(bound):
    """JAX takes U[0.1, −0.1] as the constant 0.1: all hidden units equal, and they stay so (claim B10)."""
    with pytest.raises(ValueError, match=r"uniform: bound must be finite and above 0, got (-0\.1|nan)"):
        fnn.initializers.uniform(bound)


@pytest.mark.parametrize("name", ["constant", "uniform", "normal"])
def test_an_initializer_that_needs_a_number_says_so_when_named_without_it(name):
    with pytest.raises(ValueError, match=re.escape(f"fnn.initializers.{name}(")):
        fnn.initializers.get(name)


# The files whose messages stand in MESSAGES; a file with messages of its own has a test of its own.
FILES = (
    "activations", "adapter", "linear", "gradients", "data/small", "differences", "initializers", "layers", "losses",
    "metrics", "modes", "network", "optimizers", "regularizers", "checks", "types",
)  # fmt: skip


def checks_in_source():
    """{(file, first line, last line)} of every raise, and every call of a require_… or as_floating."""
    found = set()
    for name in FILES:
        path = pathlib.Path(fnn.__file__).parent / f"{name}.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = getattr(node.func, "id", getattr(node.func, "attr", "")) if isinstance(node, ast.Call) else ""
            # what was caught is raised again, and what a run did wrong is no message on an argument
            again = isinstance(node, ast.Raise) and (node.exc is None or "faults" in ast.dump(node.exc))
            # (`validate_prediction` warns and never raises)
            checks = re.match("_?require_|as_floating|validate(?!_prediction)", called)
            if (isinstance(node, ast.Raise) and not again) or checks:
                found.add((path.name, node.lineno, node.end_lineno))
    return found


def unreached(checks, errors):
    """Those of the (file, first line, last line) through which none of the errors was raised."""
    reached = {
        (pathlib.Path(frame.filename).name, frame.lineno)
        for error in errors
        for frame in traceback.extract_tb(error.__traceback__)
    }
    return [
        f"{file}:{first}"
        for file, first, last in sorted(checks)
        if not any((file, line) in reached for line in range(first, last + 1))
    ]


def test_every_check_of_the_package_is_reached_by_a_row():
    of_modes = [Row(name, error, (), call) for name, (call, error, _) in REFUSED.items()]
    assert unreached(checks_in_source(), map(caught, [*MESSAGES, *of_modes])) == []


@pytest.mark.parametrize("version", ["0.10.2", "0.11.0", "0.11.2"])
def test_an_affected_release_of_jax_warns_with_the_remedy(version):
    with pytest.warns(RuntimeWarning, match=rf"JAX {version} computes wrong sums.*pip install 'jax>=0\.10\.1,"):
        releases.warn_if_affected(version)


# ---- while tracing --------------------------------------------------------------------------------------------------

STATIC = {
    "wrong feature count": (CROSS_ENTROPY, PARAMS, floats(6, 7), LABELS),
    "integer input": (CROSS_ENTROPY, PARAMS, LABELS[:4], LABELS),
    "labels of another batch": (CROSS_ENTROPY, PARAMS, X, LABELS[:5]),
    "float labels": (CROSS_ENTROPY, PARAMS, X, LABELS.astype(np.float32)),
    "(N, 1) against (N,)": (fnn.squared_error, floats(6), floats(6, 1)),
    "mean over no examples": (CROSS_ENTROPY, PARAMS, floats(0, 4), LABELS[:0]),
    "W of another net": (CROSS_ENTROPY, layer_params(4, 6, 3), X, LABELS),
    "fewer layers": (CROSS_ENTROPY, layer_params(4, 5, 5, 3), X, LABELS),
}


@pytest.mark.parametrize("transform", [jax.eval_shape, lambda f, *data: jax.jit(f)(*data)], ids=["eval_shape", "jit"])
@pytest.mark.parametrize("name", STATIC)
def test_shapes_dtypes_and_structure_are_checked_while_tracing(name, transform):
    each = named(name)
    with pytest.raises(each.error, match="(?s)" + ".*".join(map(re.escape, each.words))):
        transform(*STATIC[name])


def test_float64_without_x64_is_refused_while_tracing():
    with jax.enable_x64(False), pytest.raises(ValueError, match="dtype=float64 needs JAX's 64-bit mode"):
        jax.eval_shape(functools.partial(NET.init, dtype="float64"), jax.random.key(0))


def test_one_hot_of_traced_labels_is_zero_where_it_could_not_raise():
    rows = jax.jit(lambda labels: fnn.one_hot(labels, 3))(np.array([3, 1], np.int32))
    assert (np.asarray(rows) == [[0, 0, 0], [0, 1, 0]]).all()


# ---- what is welcome ------------------------------------------------------------------------------------------------


def test_a_list_of_sizes_works():
    assert fnn.mlp([4, 5, 3]) == fnn.mlp((4, 5, 3)) == fnn.mlp(4, 5, 3)
    assert fnn.mlp(*np.array([4, 5, 3])) == fnn.mlp(4, 5, 3)


def test_fit_casts_numpy_float64_once_with_a_note():
    data = (np.ones((6, 4)), np.ones((6, 3)))
    assert data[0].dtype == np.float64
    note = re.escape(
        "is float64; cast to float32, the parameters' dtype. Cast the data yourself to silence this warning."
    )
    with pytest.warns(fnn.CastWarning, match=f"fit: [xy] of data {note}") as notes:
        state, history = fit(data, gradient=SQUARED, epochs=2)
    assert len(notes) == 2  # one for x, one for y; none per epoch or step
    assert_finite((state.params, history))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}


def test_fit_says_nothing_about_data_in_the_dtype_of_its_parameters():
    state, _ = fit()  # warnings are errors here
    assert_finite(state.params)


def test_a_net_casts_float64_to_its_parameters_with_a_note(x64):
    with pytest.warns(fnn.CastWarning, match=r"dense\(4, 5, activation=tanh\): x is float64; cast to float32") as notes:
        y = jax.jit(NET.apply)(PARAMS, np.ones((6, 4)))
    assert len(notes) == 1
    assert y.dtype == jnp.float32


def test_labels_are_checked_on_the_host_for_a_net_that_does_not_state_its_outputs():
    """The last layer takes any size; the labels −1 and K would train in silence all the same."""

    class Halve(fnn.Layer):
        def forward(self, params, x):
            return x / 2, ()

        def backward(self, params, residuals, y_bar):
            return (), y_bar / 2

    net = fnn.sequential(fnn.dense(4, 3), Halve())
    gradient = fnn.backprop(net, fnn.softmax_cross_entropy)
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match=rf"y must lie in 0 … 2; row 5 is {wrong}"):
            fit((X, spoiled(LABELS, 5, wrong)), gradient=gradient, params=(layer_params(4, 3)[0], ()))


# ---- extreme input --------------------------------------------------------------------------------------------------

EXTREMES = {
    "rows of extremes": np.array(
        [[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4], [7.0, 7.0, 7.0], [0.0, -0.0, 0.0]]
    ),
    "one unit or class": np.array([[1e4], [-1e4], [0.0]]),
    "one example of one unit or class": np.array([[-1e4]]),
}

#: the losses whose targets are labels or probabilities; the others have one kind
SOFT = ("softmax_cross_entropy", "negative_log_likelihood", "binary_cross_entropy", "sigmoid_cross_entropy")


@pytest.mark.parametrize("labels", [True, False], ids=["labels", "soft targets"])
def test_extreme_predictions_give_finite_values_and_gradients_for_every_loss(dtype, labels):
    cases = {
        (name, extreme): (p.astype(dtype), targets(LOSSES[name], p.shape, labels=labels))
        for name in LOSSES
        for extreme, p in EXTREMES.items()
        if labels or name in SOFT
    }
    cases = {k: (p, y if y.dtype == np.int32 else y.astype(dtype)) for k, (p, y) in cases.items()}

    @jax.jit
    def all_of(data):
        out = {}
        for (name, extreme), (p, y) in zip(cases, data, strict=True):
            value, kept = LOSSES[name].forward(p, y)
            out[f"{name}, {extreme}"] = value, LOSSES[name].backward(kept)
        return out

    for name, (value, gradient) in all_of(list(cases.values())).items():
        assert_finite((value, gradient), name)
        assert value >= 0, name


@pytest.mark.parametrize("net", [NET, fnn.mlp(1, 1, 1)], ids=["4-5-3", "one unit each"])
def test_extreme_weights_and_inputs_give_finite_gradients_through_a_net(dtype, net):
    by_hand = jax.jit(fnn.backprop(net, fnn.softmax_cross_entropy).with_inputs)
    sizes = [net.inputs, *(layer.outputs for layer in net.layers)]
    x, y = jnp.asarray([[1e4, -1e4, 0.0, 1.0], [0.0] * 4], dtype)[:, : net.inputs], np.zeros(2, np.int32)
    for scale in (1e4, 0.0, -1e4):
        params = jax.tree.map(lambda p, scale=scale: jnp.asarray(scale * p, dtype), layer_params(*sizes))
        assert_finite(by_hand(params, x, y), f"weights times {scale}")


def places(dtype):
    """Probabilities below 0, at 0, tiny, inside, 1 and above 1."""
    return np.array([-0.5, 0.0, np.finfo(dtype).tiny, 0.25, 1.0, 1.5], dtype)


def test_likelihood_clips_probabilities_and_stops_the_gradient_outside(dtype):
    p, tiny = places(dtype), float(np.finfo(dtype).tiny)
    rows = jnp.asarray(np.stack([p, np.full_like(p, 0.5)], axis=1))
    value = -np.log([tiny, tiny, tiny, 0.25, 1.0, 1.0])
    slope = np.array([0.0, 0.0, -1 / tiny, -4.0, -1.0, 0.0])  # −1/p within [tiny, 1], 0 outside

    @jax.jit
    def each(rows, y):
        kept = fnn.negative_log_likelihood.sum.forward(rows, y)[1]
        return jax.vmap(fnn.negative_log_likelihood)(rows, y), fnn.negative_log_likelihood.sum.backward(kept)

    soft = jnp.asarray(np.tile([1.0, 0.0], (len(p), 1)), dtype)
    for y in (np.zeros(len(p), np.int32), soft):
        got, bar = each(rows, y)
        assert_close(got, value, tolerances.FORWARD[dtype.name])
        assert_finite(bar)
        assert_close(bar[:, 0] * np.maximum(p, tiny), slope * np.maximum(p, tiny), tolerances.FORWARD[dtype.name])
        assert (np.asarray(bar[:, 0])[slope == 0] == 0).all()
        assert (np.asarray(bar[:, 1]) == 0).all()


def test_binary_cross_entropy_clips_both_probabilities_and_stops_their_gradients(dtype):
    p, tiny = places(dtype), float(np.finfo(dtype).tiny)
    rows, loss = jnp.asarray(p[:, None]), fnn.binary_cross_entropy

    @jax.jit
    def each(y):
        return jax.vmap(loss)(rows, y), loss.sum.backward(loss.sum.forward(rows, y)[1])

    # y = 1 sees p, y = 0 sees 1 − p, a target of one half the mean of the two
    of_one = -np.log([tiny, tiny, tiny, 0.25, 1.0, 1.0]), [0.0, 0.0, -1 / tiny, -4.0, -1.0, 0.0]
    of_zero = -np.log([1.0, 1.0, 1.0, 0.75, tiny, tiny]), [0.0, 1.0, 1.0, 1 / 0.75, 0.0, 0.0]
    wanted = {1.0: of_one, 0.0: of_zero, 0.5: [np.mean(pair, axis=0) for pair in zip(of_one, of_zero, strict=True)]}
    for y, (value, slope) in wanted.items():
        got, bar = each(jnp.full_like(rows, y))
        assert_close(got, value, tolerances.FORWARD[dtype.name])
        assert_finite(bar)
        # 1 / tiny would hide all others: compared in its own scale
        scale = np.maximum(1, np.abs(slope))
        assert_close(bar[:, 0] / scale, np.asarray(slope) / scale, tolerances.FORWARD[dtype.name])
        assert (np.asarray(bar[:, 0])[np.asarray(slope) == 0] == 0).all()


# ---- a batch of nothing ---------------------------------------------------------------------------------------------


def empty(name, labels=True):
    """(prediction, target) of no examples for the loss of this name."""
    y = targets(LOSSES[name], (0, 3), labels=labels)
    return floats(0, 3), y if y.dtype == np.int32 else y.astype(np.float32)


def test_sums_over_no_examples_are_0():
    @jax.jit
    def all_of():
        pairs = {name: LOSSES[name].sum.forward(*empty(name)) for name in LOSSES}
        return {name: (value, LOSSES[name].sum.backward(kept)) for name, (value, kept) in pairs.items()}

    for name, (value, bar) in all_of().items():
        assert value == 0, name
        assert bar.shape == (0, 3), name
    value, gradients = jax.jit(fnn.backprop(NET, fnn.softmax_cross_entropy.sum))(PARAMS, floats(0, 4), LABELS[:0])
    assert value == 0
    assert jax.tree.map(np.shape, gradients) == jax.tree.map(np.shape, PARAMS)
    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(gradients))


@pytest.mark.parametrize("name", LOSSES)
def test_means_over_no_examples_raise_from_the_static_shape(name):
    with pytest.raises(ValueError, match=rf"{name}: the mean over a batch of 0 examples .* Use {name}\.sum"):
        jax.eval_shape(LOSSES[name], *empty(name))


def test_a_weighted_mean_over_no_examples_raises_too():
    """Weights that are all 0 give 0, being values; no weights at all is a static fact."""
    with pytest.raises(ValueError, match="the mean over a batch of 0 examples"):
        fnn.squared_error(floats(0, 3), floats(0, 3), floats(0))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: fit(data=(X.astype("float16"), LABELS)), "x of data is float16"),
        (lambda: jax.jit(NET.apply)(PARAMS, X.astype("float16")), "x is float16"),
        (
            lambda: fit(gradient=fnn.backprop(fnn.mlp(4, 5, 3, output="softmax"), "softmax_cross_entropy")),
            "applies the softmax itself",
        ),
        (lambda: fit(gradient=fnn.backprop(NET, "negative_log_likelihood")), "takes probabilities"),
        (lambda: fnn.central_differences(jnp.sum, step=1e-12)(floats(4)), "differences: "),
    ],
)
def test_a_warning_names_the_line_of_the_caller(call, says):
    with pytest.warns(UserWarning, match=says) as caught:
        call()
    assert {each.filename for each in caught} == {__file__}
