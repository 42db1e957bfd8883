"""Layers with two modes, training and evaluation: dropout and batch normalization; and the training mode as a layer.

Promises: what a layer of two modes does in training is `train(params, statistics, x, key)`, what it does afterwards
`evaluate(params, statistics, x)`; `backward` is that of `train`, written by hand. Nothing is kept between calls: the
statistics go in and come out.
Refuses: to guess the mode; a batch of one row, whose variance is 0; weights of examples beside statistics of a batch.
Letters: N rows (all leading axes), F features, μ and v mean and variance of a batch, γ gain, β shift.
Sources: Srivastava et al. 2014 (dropout); Ioffe & Szegedy 2015 (batch normalization).
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnn.activations import Activation, identity
from fnn.activations import get as get_activation
from fnn.checks import as_floating, require_dtype, require_last_axis, require_record, require_size
from fnn.layers import Layer, without_examples
from fnn.types import Array, DType, Key, Params, PyTree, Residuals, wide

__all__ = ["BatchNorm", "Dropout", "InTraining", "batch_norm", "dropout"]


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """In training each entry is 0 with probability `rate` and x / (1 − rate) otherwise; in evaluation y = x.

    Inverted dropout, as in PyTorch, Flax and Keras: the mean of y over the masks is x, so evaluation needs no factor.
    Its residual is the mask. Made by `dropout`.

    >>> layer = fnn.dropout(0.5)
    >>> y, mask, _ = layer.train((), (), jnp.ones(6), jax.random.key(0))
    >>> bool((y == jnp.where(mask, 2.0, 0.0)).all()), layer.evaluate((), (), jnp.ones(2)).tolist()
    (True, [1.0, 1.0])
    """

    rate: float = 0.5

    def __post_init__(self) -> None:
        _require_share("dropout", "rate", self.rate, "Give the share of entries to drop, such as 0.2.")

    def train(self, params: Params, statistics: PyTree, x: Array, key: Key) -> tuple[Array, Residuals, PyTree]:
        mask = jax.random.bernoulli(key, 1 - self.rate, x.shape)
        return self._kept(mask, x), mask, statistics

    def backward(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array]:
        # y = x / (1 − rate) where the mask is, 0 elsewhere
        return (), self._kept(residuals, y_bar)

    def evaluate(self, params: Params, statistics: PyTree, x: Array) -> Array:
        return x

    def _kept(self, mask: Array, x: Array) -> Array:
        return jnp.where(mask, x / (1 - self.rate), jnp.zeros_like(x))

    def __repr__(self) -> str:
        return f"dropout({self.rate})"


@dataclass(frozen=True, repr=False)
class BatchNorm(Layer):
    """Batch normalization a = σ(γ x̂ + β); params {"gain": γ (F,), "shift": β (F,)}. Made by `batch_norm`.

    In training x̂ = (x − μ) / √(v + eps), with mean μ and biased variance v of the batch, feature by feature over all
    leading axes. The statistics {"mean", "variance"} are running averages, m · old + (1 − m) · new with m the momentum,
    of μ and of the unbiased variance v N / (N − 1); evaluation normalizes with them. On a mesh the batch is the whole
    batch, not the part of a device. The residuals are x̂, 1 / √(v + eps), and those of the activation.

    >>> layer, x = fnn.batch_norm(2), jnp.array([[1.0, 4.0], [3.0, 8.0]])
    >>> params = layer.init(jax.random.key(0))
    >>> y, _, statistics = layer.train(params, layer.start(params), x, jax.random.key(0))
    >>> y.round(3).tolist(), statistics["mean"].round(3).tolist()  # from 0 a tenth of the way to (2, 6)
    ([[-1.0, -1.0], [1.0, 1.0]], [0.2..., 0.6...])
    """

    features: int
    momentum: float = 0.9
    eps: float = 1e-5
    activation: Activation = identity

    def __post_init__(self) -> None:
        require_size("batch_norm", "features", self.features, "Example: batch_norm(32).")
        _require_share("batch_norm", "momentum", self.momentum, "Give what stays of the running average, such as 0.9.")
        if not (isinstance(self.eps, int | float) and 0 < self.eps < math.inf):
            raise ValueError(f"batch_norm: eps must be a number above 0, got {self.eps!r}. Try 1e-5.")
        require_record("batch_norm", Activation, self.activation, "Give a record such as fnn.relu.")

    @property
    def name(self) -> str:
        return "batch_norm"

    @property
    def inputs(self) -> int:
        return self.features

    @property
    def outputs(self) -> int:
        return self.features

    def init(self, key: Key, dtype: DType = jnp.float32) -> Params:
        dtype = require_dtype(dtype)
        return {"gain": jnp.ones(self.features, dtype), "shift": jnp.zeros(self.features, dtype)}

    def start(self, params: Params) -> PyTree:
        dtype = wide(params["gain"].dtype)
        return {"mean": jnp.zeros(self.features, dtype), "variance": jnp.ones(self.features, dtype)}

    def train(self, params: Params, statistics: PyTree, x: Array, key: Key) -> tuple[Array, Residuals, PyTree]:
        x = self._input(params, x)
        count = math.prod(x.shape[:-1])
        if count < 2:
            raise ValueError(
                f"{self}: a batch must have at least 2 rows in training, got {count}: the variance of one row is 0. "
                "Choose a batch_size that leaves no batch of one row, or drop a row."
            )
        examples = tuple(range(x.ndim - 1))
        exact = x.astype(wide(x.dtype))
        mean = jnp.mean(exact, axis=examples, keepdims=True)
        centred = exact - mean
        variance = jnp.mean(centred * centred, axis=examples, keepdims=True)
        per_deviation = 1 / jnp.sqrt(variance + self.eps)
        normal = (centred * per_deviation).astype(x.dtype)
        a, saved = self.activation.checked_forward(_scaled(params, normal))
        new = {"mean": mean.ravel(), "variance": variance.ravel() * (count / (count - 1))}
        stays = self.momentum
        statistics = jax.tree.map(lambda old, now: stays * old + (1 - stays) * now, statistics, new)
        return a, (normal, per_deviation.ravel().astype(x.dtype), saved), statistics

    def backward(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array]:
        # a = σ(z), z = γ x̂ + β, x̂ = (x − μ) / √(v + eps), where μ and v depend on every row
        normal, per_deviation, saved = residuals
        z_bar = self.activation.backward(saved, y_bar)
        examples = tuple(range(normal.ndim - 1))
        gain_bar = jnp.sum(z_bar * normal, axis=examples)
        shift_bar = jnp.sum(z_bar, axis=examples)
        count = math.prod(normal.shape[:-1])
        of_row = lambda v: jnp.broadcast_to(v, normal.shape)  # noqa: E731
        centred = z_bar - of_row(shift_bar / count) - normal * of_row(gain_bar / count)
        x_bar = of_row(params["gain"] * per_deviation) * centred
        return {"gain": gain_bar, "shift": shift_bar}, x_bar

    def evaluate(self, params: Params, statistics: PyTree, x: Array) -> Array:
        x = self._input(params, x)
        mean, variance = (jnp.broadcast_to(statistics[name], x.shape) for name in ("mean", "variance"))
        normal = (x.astype(mean.dtype) - mean) / jnp.sqrt(variance + self.eps)
        return self.activation.checked_forward(_scaled(params, normal.astype(x.dtype)))[0]

    def _input(self, params: Params, x: Array) -> Array:
        x = as_floating(str(self), "x", x, params["gain"].dtype)
        require_last_axis(str(self), "x", x.shape, self.features, "features")
        return x

    def __repr__(self) -> str:
        defaults = {"momentum": 0.9, "eps": 1e-5, "activation": identity}
        changed = "".join(f", {o}={getattr(self, o)}" for o, default in defaults.items() if getattr(self, o) != default)
        return f"batch_norm({self.features}{changed})"


@dataclass(frozen=True, repr=False)
class InTraining(Layer):
    """The training mode of a layer as a plain layer, for the checker: x is (x, statistics, key), y that of `train`.

    Statistics and key are data: no gradient flows back to them.

    >>> net = fnn.sequential(fnn.dense(2, 3), fnn.batch_norm(3), fnn.dropout(0.5), fnn.dense(3, 1))
    >>> params, x = net.init(jax.random.key(0)), jnp.array([[1.0, 2.0], [3.0, 5.0]])
    >>> by_hand = fnn.backprop(fnn.network.InTraining(net), fnn.squared_error)
    >>> value, gradients = by_hand(params, (x, net.start(params), jax.random.key(1)), jnp.ones((2, 1)))
    >>> gradients[1]["gain"].shape
    (3,)
    """

    layer: Layer

    def __post_init__(self) -> None:
        require_record("InTraining", Layer, self.layer, "Give a net such as fnn.sequential(…).")

    @property
    def name(self) -> str:
        return f"{self.layer.name} in training"

    @property
    def outputs(self) -> int | None:
        return self.layer.outputs

    def init(self, key: Key, dtype: DType = jnp.float32) -> Params:
        return self.layer.init(key, dtype)

    def forward(self, params: Params, x: tuple[PyTree, PyTree, Key]) -> tuple[PyTree, Residuals]:
        x, statistics, key = x
        y, saved, _ = self.layer.train(params, jax.lax.stop_gradient(statistics), x, key)
        return y, (saved, statistics)

    def backward(self, params: Params, residuals: Residuals, y_bar: PyTree) -> tuple[Params, PyTree]:
        saved, statistics = residuals
        params_bar, x_bar = self.layer.backward(params, saved, y_bar)
        return params_bar, (x_bar, jax.tree.map(jnp.zeros_like, statistics), None)

    def example_axes(self, params: Params, residuals: Residuals, y_bar: PyTree) -> PyTree:
        raise TypeError(without_examples(self.layer))

    def __repr__(self) -> str:
        return f"in_training({self.layer})"


def _scaled(params: Params, normal: Array) -> Array:
    """γ x̂ + β."""
    gain, shift = (jnp.broadcast_to(params[name], normal.shape) for name in ("gain", "shift"))
    return gain * normal + shift


def _require_share(where: str, name: str, value: Any, remedy: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{where}: {name} must be a number, got {value!r}. {remedy}")
    if not 0 <= value < 1:
        raise ValueError(f"{where}: {name} must be at least 0 and below 1, got {value}. {remedy}")


# ---- how they are made ----------------------------------------------------------------------------------------------


def dropout(rate: float = 0.5) -> Dropout:
    """The layer that drops entries at random in training; see `Dropout`.

    Args:
        rate: the probability of an entry to be dropped, not to be kept; at least 0 and below 1.

    >>> fnn.sequential(fnn.dense(4, 8, activation="relu"), fnn.dropout(0.2), fnn.dense(8, 2))
    sequential(dense(4, 8, activation=relu), dropout(0.2), dense(8, 2))
    """
    return Dropout(rate)


def batch_norm(
    features: int, *, momentum: float = 0.9, eps: float = 1e-5, activation: Activation | str = identity
) -> BatchNorm:
    """Batch normalization of this many features, and an activation after it; see `BatchNorm`.

    Args:
        features: F, the size of the last axis.
        momentum: what stays of a running average in a step, as in Flax and Keras; PyTorch's momentum is 1 minus it.
        eps: added to the variance.
        activation: a record or its name; a dense layer before it then has none, as in the paper.

    >>> fnn.sequential(fnn.dense(4, 8), fnn.batch_norm(8, activation="relu"), fnn.dense(8, 2)).outputs
    2
    """
    return BatchNorm(features, momentum, eps, get_activation(activation))
