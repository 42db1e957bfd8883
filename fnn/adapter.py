"""Lends the hand-written rules to `jax.grad`: the one place of the package that uses `jax.custom_vjp`.

Promises: `custom_vjp(rule)` is the same function, and `jax.grad` of anything that calls it runs our backward rule.
Refuses: derivatives with respect to targets; `jax.jvp` (JAX cannot push forward through a `custom_vjp`; the records
themselves are plain functions and can be).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn.activations import Activation
from fnn.backprop import Backprop, Objective
from fnn.losses import Loss
from fnn.network import Layer
from fnn.types import Array, PyTree


def custom_vjp(rule: Activation | Loss | Layer | Objective | Backprop) -> Callable[..., Any]:
    """Return the function of a record, with its hand-written backward pass as the rule for `jax.grad`.

    Args:
        rule: an activation gives z -> a; a loss (prediction, target) -> value; a layer (params, x) -> y;
            an objective or its backprop (params, x, y) -> value. Targets are data: differentiating with respect to
            a target is an error that JAX raises.

    Raises:
        TypeError: anything else.

    >>> f = fnn.custom_vjp(fnn.tanh)
    >>> round(float(jax.grad(lambda z: 3 * f(z))(0.5)), 6) == round(3 * (1 - float(jnp.tanh(0.5)) ** 2), 6)
    True
    """
    if isinstance(rule, Activation):
        return _lend(
            rule.name, lambda z: rule.forward(jnp.asarray(z)), lambda _, kept, a_bar: (rule.backward(kept, a_bar),)
        )
    if isinstance(rule, Layer):
        return _lend(rule.name, rule.forward, lambda primals, kept, y_bar: rule.backward(primals[0], kept, y_bar))
    if isinstance(rule, Loss):
        loss = rule

        def of_prediction(prediction: Array, target: Any) -> Array:
            # the target is closed over, so that JAX refuses to differentiate with respect to it
            return _lend(
                loss.name,
                lambda p: loss.forward(p, target),
                lambda _, kept, value_bar: (loss.backward(kept, value_bar),),
            )(prediction)

        return of_prediction
    if isinstance(rule, Objective | Backprop):
        objective = rule.objective if isinstance(rule, Backprop) else rule

        def of_params(params: PyTree, x: PyTree, y: Any) -> Array:
            return _lend(
                objective.__name__,
                lambda params, x: objective.forward(params, x, y),
                lambda primals, kept, value_bar: objective.backward(primals[0], kept, value_bar),
            )(params, x)

        return of_params
    raise TypeError(
        f"custom_vjp lends the rule of an activation, loss, layer, objective or backprop; {rule!r} came. "
        "For a function of your own write its rule with jax.custom_vjp itself."
    )


def _lend(name: str, forward: Callable[..., Any], backward: Callable[..., tuple]) -> Callable[..., Any]:
    """A `jax.custom_vjp` function from forward(*primals) -> (y, kept), backward(primals, kept, y_bar) -> cotangents."""

    def primal(*primals: PyTree) -> PyTree:
        return forward(*primals)[0]

    def forward_rule(*primals: PyTree) -> tuple[PyTree, tuple]:
        y, kept = forward(*primals)
        return y, (primals, kept)

    def backward_rule(saved: tuple, y_bar: PyTree) -> tuple:
        primals, kept = saved
        return tuple(
            jax.tree.map(_like, p, p_bar) for p, p_bar in zip(primals, backward(primals, kept, y_bar), strict=True)
        )

    primal.__name__ = primal.__qualname__ = name
    function = jax.custom_vjp(primal)
    function.defvjp(forward_rule, backward_rule)
    return function


def _like(primal: Array, cotangent: Array) -> Array:
    """The cotangent in the dtype of its primal: data that the net cast to its own dtype gets its gradient cast back."""
    return cotangent.astype(jnp.asarray(primal).dtype)
