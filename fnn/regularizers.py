"""Penalties on the weights, never on biases, each beside its hand-written derivative.

Promises: a leaf is a weight if its own name is ``W`` (claim B9); every other leaf has penalty and gradient 0.
The strength is an argument at run time, so it can be swept without a retrace.
Letters: Ω the penalty, λ the strength. Sources: claims B9, B18.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from fnn.checks import require_name
from fnn.types import Array, Params, Record, reset_stale

__all__ = ["Regularizer", "elastic_net", "get", "l1", "l2"]

#: λ: one number, or a pair for the elastic net.
Strength: TypeAlias = Any


@dataclass(frozen=True, repr=False)
class Regularizer(Record):
    """The record of a penalty: a call returns λ Ω(params), `gradient` returns λ ∇Ω in the structure of params.

    >>> params = {"W": jnp.array([0.0, 3.0, -2.0]), "b": jnp.array([9.0])}
    >>> float(fnn.l2(params, 2.0)), fnn.l2.gradient(params, 2.0)["b"].tolist()
    (26.0, [0.0])
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        reset_stale(cls, Regularizer, "curvature", "__call__", "gradient")

    def __call__(self, params: Params, strength: Strength) -> Array:
        """λ Ω(params), a scalar."""
        raise TypeError(f"{type(self).__name__} must define __call__(params, strength).")

    def gradient(self, params: Params, strength: Strength) -> Params:
        """λ ∇Ω(params), zero on every leaf that is not a weight."""
        raise TypeError(f"{type(self).__name__} must define gradient(params, strength).")

    def curvature(self, params: Params, strength: Strength, params_dot: Params) -> Params:
        """λ ∇²Ω(params) params_dot: the change of `gradient` along params_dot."""
        raise TypeError(
            f"{type(self).__name__} must define curvature(params, strength, params_dot) for second derivatives, "
            "got a class without it beside its gradient. It is the derivative of the gradient along params_dot."
        )


class L2(Regularizer):
    """λ Σ W², gradient 2 λ W (claim B9). There is no ½.

    With plain gradient steps a weight decay of rate d is λ = d / 2; with Adam, decoupled decay and L2 differ.

    >>> params = {"W": jnp.array([3.0, -1.0]), "b": jnp.array([5.0])}
    >>> float(fnn.l2(params, 0.5)), fnn.l2.gradient(params, 0.5)["b"]
    (5.0, Array([0.], dtype=float32))
    """

    def __call__(self, params: Params, strength: Strength = None) -> Array:
        _require_both(self, params, strength)
        return _sum_over_weights(lambda W: _like(W, strength) * jnp.sum(W * W), params)

    def gradient(self, params: Params, strength: Strength) -> Params:
        return _on_weights(lambda W: 2 * _like(W, strength) * W, params)

    def curvature(self, params: Params, strength: Strength, params_dot: Params) -> Params:
        # the gradient 2 λ W is linear in W
        return self.gradient(params_dot, strength)


class L1(Regularizer):
    """λ Σ |W|, gradient λ sign(W) with sign(0) = 0 (claim B9).

    Plain gradient steps do not make weights exactly zero; they step over it. The proximal step
    W ← sign(W) max(|W| − ηλ, 0) does.

    >>> params = {"W": jnp.array([0.0, 3.0, -2.0]), "b": jnp.array([9.0])}
    >>> float(fnn.l1(params, 0.5)), fnn.l1.gradient(params, 0.5)["W"].tolist()
    (2.5, [0.0, 0.5, -0.5])
    """

    def __call__(self, params: Params, strength: Strength = None) -> Array:
        _require_both(self, params, strength)
        # |W| written as W sign(W), which autodiff too gives derivative 0 at 0; jnp.abs has 1 there
        return _sum_over_weights(lambda W: _like(W, strength) * jnp.sum(W * jnp.sign(W)), params)

    def gradient(self, params: Params, strength: Strength) -> Params:
        return _on_weights(lambda W: _like(W, strength) * jnp.sign(W), params)

    def curvature(self, params: Params, strength: Strength, params_dot: Params) -> Params:
        # sign(W) is constant on either side of the kink; at the kink it is taken as constant too
        return jax.tree.map(jnp.zeros_like, params_dot)


class ElasticNet(Regularizer):
    """λ₁ Σ |W| + λ₂ Σ W²; the strength is the pair (λ₁, λ₂). scikit-learn halves the second term.

    >>> params = {"W": jnp.array([0.0, 3.0, -2.0]), "b": jnp.array([9.0])}
    >>> float(fnn.elastic_net(params, (0.5, 1.0)))  # 2.5 + 13
    15.5
    """

    def __call__(self, params: Params, strength: Strength = None) -> Array:
        _require_both(self, params, strength)
        first, second = _pair(strength)
        return l1(params, first) + l2(params, second)

    def gradient(self, params: Params, strength: Strength) -> Params:
        first, second = _pair(strength)
        return jax.tree.map(jnp.add, l1.gradient(params, first), l2.gradient(params, second))

    def curvature(self, params: Params, strength: Strength, params_dot: Params) -> Params:
        # the first term is piecewise linear
        return l2.curvature(params, _pair(strength)[1], params_dot)


def _require_both(regularizer: Regularizer, params: Params, strength: Strength) -> None:
    """Raise unless there is a strength; a call by the strength alone is what other packages have."""
    if strength is None:
        name = regularizer.name
        got = f"{params!r}" if isinstance(params, int | float) else "no strength"
        raise TypeError(
            f"{name} must be called with params and strength, got {got}. Give fnn.{name} itself to fnn.backprop, and "
            "strength=… to fnn.fit or to the gradient."
        )


def _is_weight(path: tuple) -> bool:
    """True for the key path of a leaf whose own name is ``W``, in a dict or as an attribute."""
    last = path[-1] if path else None
    return getattr(last, "key", getattr(last, "name", None)) == "W"


def _sum_over_weights(penalty: Callable[[Array], Array], params: Params) -> Array:
    weights = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if _is_weight(path)]
    if not weights:
        raise ValueError("a regularizer needs at least one leaf called 'W', got none. Name the weights W.")
    total = penalty(weights[0])
    for W in weights[1:]:
        total = total + penalty(W)
    return total


def _like(W: Array, strength: Strength) -> Array:
    """The strength as a scalar of the weight's dtype, so that a swept float32 strength works with float64 weights."""
    strength = jnp.asarray(strength, W.dtype)
    if strength.shape != ():
        raise ValueError(
            f"strength must be one number, got shape {strength.shape}. Give one; fnn.sweep or jax.vmap tries several."
        )
    return strength


def _on_weights(slope: Callable[[Array], Array], params: Params) -> Params:
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: slope(leaf) if _is_weight(path) else jnp.zeros_like(leaf), params
    )


def _pair(strength: Strength) -> tuple[Strength, Strength]:
    # a tuple may hold traced numbers, so its length is taken; it is not made an array
    count = len(strength) if isinstance(strength, tuple | list) else jnp.shape(strength)
    if count not in (2, (2,)):
        raise ValueError(
            f"elastic_net: strength must be the pair (λ₁, λ₂), got {strength}. "
            "Give strength=(1e-4, 1e-3), or use l1 or l2 alone."
        )
    first, second = strength
    return first, second


l1 = L1()
l2 = L2()
elastic_net = ElasticNet()

#: Every regularizer of the package by its name.
REGULARIZERS: dict[str, Regularizer] = {"l1": l1, "l2": l2, "elastic_net": elastic_net}


def get(choice: str | Regularizer) -> Regularizer:
    """Return the regularizer with this name, or the record itself. An unknown name raises and suggests the nearest.

    >>> fnn.regularizers.get("l2")
    l2
    """
    return require_name(Regularizer, REGULARIZERS, choice)
