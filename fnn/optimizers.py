"""The optimizers of the lectures, written by hand beside those of Optax: SGD, momentum, Nesterov, Adam.

Promises: each is a record with the interface of Optax,
    init(params) -> state              update(gradients, state, params=None) -> (updates, state)
and matches Optax to rounding; params + updates are the new parameters. Records are values: equal ones never retrace,
unlike two calls of `optax.adam(1e-3)`. For everything beyond these four, use Optax.
Letters: θ parameters, g gradient, η learning rate, t the number of the step from 1. Sources: claims A19, B14, E7.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from fnn.types import Array, Params, PyTree

__all__ = ["Adam", "Momentum", "Optimizer", "Sgd", "adam", "momentum", "nesterov", "sgd"]


@dataclass(frozen=True)
class Optimizer:
    """The base of every optimizer: the learning rate η, and the two methods that a new optimizer defines.

    Raises `ValueError` unless the learning rate is finite and above 0, and `TypeError` unless it is one real number. A
    traced rate, as in a sweep, is not checked.

    >>> import optax
    >>> params, gradients = jnp.array([1.0, 2.0]), jnp.array([0.5, -1.0])
    >>> optimizer = fnn.optimizers.sgd(0.1)
    >>> updates, state = optimizer.update(gradients, optimizer.init(params), params)
    >>> [round(float(each), 4) for each in optax.apply_updates(params, updates)]
    [0.95, 2.1]
    """

    learning_rate: Any

    def __post_init__(self) -> None:
        _require(self, "learning_rate", lambda rate: 0 < rate < math.inf, "finite and above 0")

    def init(self, params: Params) -> PyTree:
        """Return the state before the first step, for parameters of these shapes and dtypes."""
        raise TypeError(f"{type(self).__name__} must define init(params) -> state.")

    def update(self, gradients: Params, state: PyTree, params: Params | None = None) -> tuple[Params, PyTree]:
        """Return (updates to add to the parameters, the state for the next step); updates have the structure, shapes
        and dtypes of the parameters."""
        raise TypeError(f"{type(self).__name__} must define update(gradients, state, params) -> (updates, state).")


@dataclass(frozen=True)
class Sgd(Optimizer):
    """Gradient descent: θ ← θ − η g (claim E7). Made by `sgd`.

    >>> fnn.optimizers.sgd(0.1) == fnn.optimizers.Sgd(0.1)
    True
    """

    def init(self, params: Params) -> PyTree:
        return ()

    def update(self, gradients: Params, state: PyTree, params: Params | None = None) -> tuple[Params, PyTree]:
        return jax.tree.map(lambda g: -self.learning_rate * g, gradients), state


@dataclass(frozen=True)
class Momentum(Optimizer):
    """The heavy ball: m ← g + β m, θ ← θ − η m (claim B14; Polyak 1964). Made by `momentum` and `nesterov`.

    With `look_ahead`, Nesterov's form: θ ← θ − η (g + β m) with the new m (Sutskever et al. 2013). Some books put η
    into m instead; with a constant rate the two are the same.

    >>> fnn.optimizers.nesterov(0.1) == fnn.optimizers.Momentum(0.1, look_ahead=True)
    True
    """

    decay: float = 0.9
    look_ahead: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(self, "decay", lambda decay: 0 <= decay < 1, "at least 0 and below 1")

    def init(self, params: Params) -> PyTree:
        return jax.tree.map(jnp.zeros_like, params)

    def update(self, gradients: Params, state: PyTree, params: Params | None = None) -> tuple[Params, PyTree]:
        ball = jax.tree.map(lambda g, m: g + self.decay * m, gradients, state)
        ahead = jax.tree.map(lambda g, m: g + self.decay * m, gradients, ball) if self.look_ahead else ball
        return jax.tree.map(lambda m: -self.learning_rate * m, ahead), ball


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015): running means of g and g², corrected for their start at 0. Made by `adam`.

    m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², θ ← θ − η m̂ / (√v̂ + ε), m̂ = m / (1 − β₁ᵗ), v̂ = v / (1 − β₂ᵗ).

    >>> fnn.optimizers.adam(1e-3) == fnn.optimizers.Adam(1e-3)
    True
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("b1", "b2"):
            _require(self, name, lambda decay: 0 <= decay < 1, "at least 0 and below 1")
        _require(self, "eps", lambda eps: 0 <= eps < math.inf, "finite and at least 0")

    def init(self, params: Params) -> PyTree:
        zeros = jax.tree.map(jnp.zeros_like, params)
        return jnp.zeros((), jnp.int32), zeros, zeros

    def update(self, gradients: Params, state: PyTree, params: Params | None = None) -> tuple[Params, PyTree]:
        t, m, v = state
        t = t + 1
        m = jax.tree.map(lambda g, m: self.b1 * m + (1 - self.b1) * g, gradients, m)
        v = jax.tree.map(lambda g, v: self.b2 * v + (1 - self.b2) * (g * g), gradients, v)

        def step(m: Array, v: Array) -> Array:
            # powers of β in float32 or more: bfloat16 rounds 0.999 itself to 1
            wide = m.dtype if jnp.finfo(m.dtype).bits >= 32 else jnp.float32
            count = t.astype(wide)
            m_hat, v_hat = m / (1 - self.b1**count).astype(m.dtype), v / (1 - self.b2**count).astype(v.dtype)
            return -self.learning_rate * (m_hat / (jnp.sqrt(v_hat) + self.eps))

        return jax.tree.map(step, m, v), (t, m, v)


def sgd(learning_rate: float) -> Sgd:
    """Return the record of gradient descent; see `Sgd`, and `Optimizer` for what it raises.

    >>> optimizer = fnn.optimizers.sgd(0.1)
    >>> updates, state = optimizer.update({"w": jnp.array([2.0])}, optimizer.init({"w": jnp.array([1.0])}))
    >>> updates["w"].tolist() == [jnp.float32(-0.2)], optimizer == fnn.optimizers.sgd(0.1)
    (True, True)
    """
    return Sgd(learning_rate)


def momentum(learning_rate: float, decay: float = 0.9) -> Momentum:
    """Return the record of gradient descent with momentum; see `Momentum`. `ValueError` unless 0 ≤ decay < 1.

    >>> params, gradients = jnp.array([1.0, 2.0]), jnp.array([0.5, -1.0])
    >>> optimizer = fnn.optimizers.momentum(0.1)
    >>> updates, state = optimizer.update(gradients, optimizer.init(params), params)
    >>> [round(float(each), 4) for each in updates]
    [-0.05, 0.1]
    >>> updates, state = optimizer.update(gradients, state, params)  # faster downhill
    >>> [round(float(each), 4) for each in updates]
    [-0.095, 0.19]
    """
    return Momentum(learning_rate, decay)


def nesterov(learning_rate: float, decay: float = 0.9) -> Momentum:
    """Return the record of gradient descent with Nesterov's momentum; see `Momentum`. `ValueError` unless 0 ≤ decay <
    1.

    >>> params, gradients = jnp.array([1.0, 2.0]), jnp.array([0.5, -1.0])
    >>> optimizer = fnn.optimizers.nesterov(0.1)
    >>> updates, state = optimizer.update(gradients, optimizer.init(params), params)
    >>> [round(float(each), 4) for each in updates]
    [-0.095, 0.19]
    """
    return Momentum(learning_rate, decay, look_ahead=True)


def adam(learning_rate: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Adam:
    """Return the record of Adam; see `Adam`. `ValueError` unless 0 ≤ b1, b2 < 1 and eps is finite and at least 0.

    >>> params, gradients = jnp.array([1.0, 2.0]), jnp.array([0.5, -1.0])
    >>> optimizer = fnn.optimizers.adam(0.1)
    >>> updates, state = optimizer.update(gradients, optimizer.init(params), params)
    >>> [round(float(each), 4) for each in updates]
    [-0.1, 0.1]
    """
    return Adam(learning_rate, b1, b2, eps)


def _require(record: Optimizer, name: str, holds: Callable[[Any], bool], condition: str) -> None:
    value = getattr(record, name)
    # a traced number has no value yet while the program is built
    if isinstance(value, Tracer):
        return
    usual = {"learning_rate": "1e-3", "eps": "1e-8", "b2": "0.999"}.get(name, "0.9")
    array = hasattr(value, "dtype") and value.ndim == 0 and jnp.issubdtype(value.dtype, jnp.floating)
    if isinstance(value, bool) or not (array or isinstance(value, int | float)):
        schedule = "For a learning-rate schedule use an Optax optimizer: optax.adam(schedule)."
        raise TypeError(
            f"{type(record).__name__.lower()}: {name} must be a number, got {value!r}. "
            f"{schedule if callable(value) else f'Give one number, such as {usual}.'}"
        )
    if array:
        # a Python number can be hashed and changes no dtype
        value = float(value)
        object.__setattr__(record, name, value)
    if not holds(value):
        raise ValueError(f"{type(record).__name__.lower()}: {name} must be {condition}, got {value}. Try {usual}.")
