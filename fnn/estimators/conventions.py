"""What scikit-learn's perceptrons compute differently from this package: update rules, reported losses, first weights.

Promises: no derivative is written here. The gradient comes from the rules of this package; clipping of probabilities
changes only the reported loss, as in scikit-learn, where the gradient is p − y for every p.
Letters: η learning rate, β decay, μ momentum, t the number of the step from 1, w weights of examples.
Sources: scikit-learn 1.9, `neural_network/_base.py`, `_stochastic_optimizers.py`, `_multilayer_perceptron.py`.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.activations import Activation
from fnn.activations import get as get_activation
from fnn.layers import Dense
from fnn.losses import SigmoidCrossEntropy, SoftmaxCrossEntropy
from fnn.modes import Dropout
from fnn.optimizers import Optimizer
from fnn.types import Array, Key, Params, PyTree, Residuals


class Decay(NamedTuple):
    """A decay β with what float32 loses of it: 1 − β and ln β, each rounded once."""

    value: Any
    complement: Any
    log: Any

    @classmethod
    def of(cls, beta: float, dtype: Any) -> "Decay":
        with np.errstate(divide="ignore"):
            # ln 0 = −∞, and e^(−∞ t) is 0, as it should be
            return cls(*(np.asarray(each, dtype) for each in (beta, 1 - beta, np.log(np.float64(beta)))))


@dataclass(frozen=True)
class AdamLikeScikit(Optimizer):
    """Adam with ε added before the bias correction: θ ← θ − η √(1 − β₂ᵗ) / (1 − β₁ᵗ) · m / (√v + ε)."""

    b1: Decay
    b2: Decay
    eps: Any

    def init(self, params: Params) -> PyTree:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return jnp.zeros((), jnp.int32), zeros, zeros

    def update(self, gradients: Params, state: PyTree, params: Params | None = None) -> tuple[Params, PyTree]:
        t, m, v = state
        t = t + 1
        m = jax.tree.map(lambda m, g: self.b1.value * m + self.b1.complement * g, m, gradients)
        v = jax.tree.map(lambda v, g: self.b2.value * v + self.b2.complement * g * g, v, gradients)
        # 1 − βᵗ as −(e^(t ln β) − 1), which loses no digits if β is near 1
        first, second = (-jnp.expm1(t.astype(decay.log.dtype) * decay.log) for decay in (self.b1, self.b2))
        rate = self.learning_rate * jnp.sqrt(second) / first
        return jax.tree.map(lambda m, v: -rate * m / (jnp.sqrt(v) + self.eps), m, v), (t, m, v)


@dataclass(frozen=True)
class MomentumLikeScikit(Optimizer):
    """Momentum with η inside the velocity: v ← μ v − η g, θ ← θ + v, or θ + μ v − η g with Nesterov's look ahead."""

    momentum: Any
    look_ahead: bool

    def init(self, params: Params) -> PyTree:
        return jax.tree.map(jnp.zeros_like, params)

    def update(self, gradients: Params, state: PyTree, params: Params | None = None) -> tuple[Params, PyTree]:
        def ahead(velocity: PyTree) -> PyTree:
            return jax.tree.map(lambda v, g: self.momentum * v - self.learning_rate * g, velocity, gradients)

        velocity = ahead(state)
        return ahead(velocity) if self.look_ahead else velocity, velocity


class ClippedSoftmaxCrossEntropy(SoftmaxCrossEntropy):
    """The value uses the probability clipped to [eps, 1 − eps]; the slope is that of the loss itself."""

    def values(self, prediction: Array, target: Array) -> tuple[Array, Residuals]:
        values, saved = super().values(prediction, target)
        return _clipped(values), saved


class ClippedSigmoidCrossEntropy(SigmoidCrossEntropy):
    """The value uses probabilities clipped to [eps, 1 − eps], output by output; the slope is not clipped."""

    def values(self, prediction: Array, target: Array) -> tuple[Array, Residuals]:
        # one output at a time, so that each can be clipped
        each, _ = super().values(prediction[..., None], target[..., None])
        return jnp.sum(_clipped(each), axis=-1), (prediction, target)


@dataclass(frozen=True, repr=False)
class DroppingDense(Dense):
    """A dense layer that drops outputs at random in training; its parameters are those of a dense layer."""

    rate: float = 0.0

    @property
    def dropout(self) -> Dropout:
        return Dropout(self.rate)

    def train(self, params: Params, statistics: PyTree, x: Array, key: Key) -> tuple[Array, Residuals, PyTree]:
        a, saved = super().forward(params, x)
        y, mask, _ = self.dropout.train((), (), a, key)
        return y, (saved, mask), statistics

    def backward(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array]:
        saved, mask = residuals
        return super().backward(params, saved, self.dropout.backward((), mask, y_bar)[1])

    def evaluate(self, params: Params, statistics: PyTree, x: Array) -> Array:
        return super().forward(params, x)[0]


def _clipped(values: Array) -> Array:
    """−ln p for p clipped to [eps, 1 − eps]."""
    eps = float(jnp.finfo(values.dtype).eps)
    return jnp.clip(values, -np.log1p(-eps).astype(values.dtype), -np.log(eps).astype(values.dtype))


def activations(choice: Any, hidden: int) -> list[Activation]:
    """The activation of each hidden layer; "logistic" is scikit-learn's name for the sigmoid."""
    names = list(choice) if isinstance(choice, list | tuple) else [choice] * hidden
    if len(names) != hidden:
        raise ValueError(
            f"activation must be one, or one for each of the {hidden} hidden layers, got {choice!r}. "
            'Give activation="relu", or a list.'
        )
    return [get_activation("sigmoid" if name == "logistic" else name) for name in names]


def first_weights(random: np.random.RandomState, inputs: int, outputs: int, activation: Activation, dtype: Any) -> Any:
    """(W, b) as scikit-learn draws them: uniform, biases too, of variance 2 / (I + O), a third of that for sigmoid."""
    bound = np.sqrt((2.0 if activation.name == "sigmoid" else 6.0) / (inputs + outputs))
    W = random.uniform(-bound, bound, (inputs, outputs))
    return W.astype(dtype, copy=False), random.uniform(-bound, bound, outputs).astype(dtype, copy=False)
