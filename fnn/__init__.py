"""fnn: feed-forward neural networks in JAX, with gradients written by hand, checked and fast.

Promises: the names that stand on a slide are here; the rest is in namespaces (`fnn.initializers.he_normal`). Importing
touches no device. A room that the first lines of a script do not need is loaded when it is first used.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

import jax as _jax_itself

from fnn import _jax

_jax.warn_if_affected(_jax_itself.__version__)

from fnn import (
    activations,
    gradients,
    initializers,
    layers,
    linear,
    losses,
    metrics,
    network,
    optimizers,
    regularizers,
)
from fnn.activations import (
    Activation,
    elu,
    gelu,
    gelu_tanh,
    hard_threshold,
    identity,
    leaky_relu,
    relu,
    sigmoid,
    sign,
    silu,
    softmax,
    softplus,
    tanh,
)
from fnn.adapter import custom_vjp
from fnn.checks import CastWarning
from fnn.gradients import backprop, objective
from fnn.layers import Layer
from fnn.losses import (
    Loss,
    absolute_error,
    binary_cross_entropy,
    half_squared_error,
    hinge,
    huber,
    negative_log_likelihood,
    perceptron_loss,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    squared_error,
)
from fnn.metrics import accuracy, one_hot
from fnn.network import batch_norm, dense, dropout, mlp, repeated, sequential, skip
from fnn.regularizers import Regularizer, elastic_net, l1, l2

if TYPE_CHECKING:
    from fnn import checker, curvature, data, differences, glassbox, lectures, storage, summary, training
    from fnn.checker import assert_gradients, check
    from fnn.differences import central_differences, one_sided_differences
    from fnn.glassbox import graph, show_backward
    from fnn.storage import load, save
    from fnn.training import (
        CheckpointError,
        Checkpoints,
        NonFiniteError,
        StopTraining,
        Stream,
        TrainState,
        fit,
        grid,
        sweep,
    )

__version__ = "0.1.0"

#: The rooms that are loaded at first use, and the names of each that stand here too.
_LATER = {
    "checker": ("assert_gradients", "check"),
    "curvature": (),
    "data": (),
    "differences": ("central_differences", "one_sided_differences"),
    "glassbox": ("graph", "show_backward"),
    "lectures": (),
    "storage": ("load", "save"),
    "summary": (),
    "training": (
        "CheckpointError",
        "Checkpoints",
        "NonFiniteError",
        "StopTraining",
        "Stream",
        "TrainState",
        "fit",
        "grid",
        "sweep",
    ),
}
#: A room that needs more than the package itself does: found here, but not among the names that everyone has.
_OPTIONAL = ("estimators",)
_ROOM_OF = {name: room for room, names in _LATER.items() for name in names}

__all__ = [
    "Activation",
    "CastWarning",
    "CheckpointError",
    "Checkpoints",
    "Layer",
    "Loss",
    "NonFiniteError",
    "Regularizer",
    "StopTraining",
    "Stream",
    "TrainState",
    "absolute_error",
    "accuracy",
    "activations",
    "assert_gradients",
    "backprop",
    "batch_norm",
    "binary_cross_entropy",
    "central_differences",
    "check",
    "checker",
    "curvature",
    "custom_vjp",
    "data",
    "dense",
    "differences",
    "dropout",
    "elastic_net",
    "elu",
    "fit",
    "gelu",
    "gelu_tanh",
    "glassbox",
    "gradients",
    "graph",
    "grid",
    "half_squared_error",
    "hard_threshold",
    "hinge",
    "huber",
    "identity",
    "initializers",
    "l1",
    "l2",
    "layers",
    "leaky_relu",
    "lectures",
    "linear",
    "load",
    "losses",
    "metrics",
    "mlp",
    "negative_log_likelihood",
    "network",
    "objective",
    "one_hot",
    "one_sided_differences",
    "optimizers",
    "perceptron_loss",
    "regularizers",
    "relu",
    "repeated",
    "save",
    "sequential",
    "show_backward",
    "sigmoid",
    "sigmoid_cross_entropy",
    "sign",
    "silu",
    "skip",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
    "squared_error",
    "storage",
    "summary",
    "sweep",
    "tanh",
    "training",
]


def __getattr__(name: str) -> object:
    """A room, or a name of one, at its first use."""
    if name in _LATER or name in _OPTIONAL:
        return _import_module(f"fnn.{name}")
    if name in _ROOM_OF:
        value = globals()[name] = getattr(_import_module(f"fnn.{_ROOM_OF[name]}"), name)
        return value
    raise AttributeError(f"module 'fnn' has no attribute {name!r}.")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
