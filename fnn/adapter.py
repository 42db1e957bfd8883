"""Lends the hand-written rules to `jax.grad`: the only place in the package that uses `jax.custom_vjp`.

Promises: `custom_vjp(rule)` is the same function, and `jax.grad` of anything that calls it runs our backward rule;
`lent_value(gradient)` is the value of any gradient, and its derivative the gradients that come with it.
Refuses: derivatives with respect to targets; `jax.jvp` (JAX has no forward mode through a `custom_vjp`; the records
themselves are plain functions and have it).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fnn.activations import Activation
from fnn.checks import require_pair
from fnn.gradients import Backprop, Objective
from fnn.layers import Layer
from fnn.losses import Loss
from fnn.types import Array, PyTree


def custom_vjp(rule: Activation | Loss | Layer | Objective | Backprop) -> Callable[..., Any]:
    """Return the function of a record, with its hand-written backward pass as the rule for `jax.grad`.

    Args:
        rule: an activation gives z -> a; a loss (prediction, target) -> value; a layer (params, x) -> y;
            an objective or its backprop (params, x, y) -> value, with the keywords of the objective.

    Raises:
        TypeError: anything else; and, when it runs, a derivative with respect to a target.

    >>> f = fnn.custom_vjp(fnn.tanh)
    >>> round(float(jax.grad(lambda z: 3 * f(z))(0.5)), 6) == round(3 * (1 - float(jnp.tanh(0.5)) ** 2), 6)
    True
    """
    if isinstance(rule, Activation):
        return _lend(
            rule.name, lambda z: rule.forward(jnp.asarray(z)), lambda _, saved, a_bar: (rule.backward(saved, a_bar),)
        )
    if isinstance(rule, Layer):
        return _lend(rule.name, rule.forward, lambda primals, saved, y_bar: rule.backward(primals[0], saved, y_bar))
    if isinstance(rule, Loss):
        lent_loss = _lend(
            rule.name, rule.forward, lambda _, saved, value_bar: (rule.backward(saved, value_bar),), differentiable=1
        )
        return lambda prediction, target, sample_weight=None: lent_loss(prediction, target, sample_weight)
    if isinstance(rule, Objective | Backprop):
        objective = rule.objective if isinstance(rule, Backprop) else rule
        lent_objective = _lend(
            objective.__name__,
            lambda params, x, y, sample_weight, strength: objective.forward(
                params, x, y, sample_weight=sample_weight, strength=strength
            ),
            lambda primals, saved, value_bar: objective.backward(primals[0], saved, value_bar),
            differentiable=2,
        )
        return lambda params, x, y, *, sample_weight=None, strength=None: lent_objective(
            params, x, y, sample_weight, strength
        )
    raise TypeError(
        f"custom_vjp lends the rule of an activation, loss, layer, objective or backprop, got {rule!r}. "
        "For a function of your own, write the rule with jax.custom_vjp itself."
    )


def lent_value(value_and_grad: Callable[..., tuple[Array, PyTree]]) -> Callable[..., Array]:
    """The value of a gradient (params, *data) -> (value, gradients), as a function whose derivative is the gradients.

    For those who differentiate what they get, such as Optax's line searches: then JAX differentiates neither the
    net nor the gradient.

    >>> f = fnn.adapter.lent_value(lambda w, x: (w * x, jnp.float32(5)))  # the slope is x; it says 5
    >>> float(jax.grad(f)(2.0, 3.0))
    5.0
    """
    return _lend(
        "value_and_grad",
        value_and_grad,
        lambda _, gradients, value_bar: (jax.tree.map(lambda g: jnp.asarray(value_bar, g.dtype) * g, gradients),),
        differentiable=1,
    )


def _lend(
    name: str, forward: Callable[..., Any], backward: Callable[..., tuple], differentiable: int | None = None
) -> Callable[..., Any]:
    """A `jax.custom_vjp` function of forward(*primals) -> (y, saved) and backward(primals, saved, y_bar) -> cotangents.

    The first `differentiable` primals have cotangents (all of them if None), the others are data.
    """

    def passed(*primals: PyTree) -> tuple[PyTree, PyTree]:
        return require_pair(f"{name}.forward", forward(*primals), "(value, residuals)")

    def primal(*primals: PyTree) -> PyTree:
        return passed(*primals)[0]

    def forward_rule(*marked: PyTree) -> tuple[PyTree, tuple]:
        # with symbolic zeros each leaf says whether a derivative with respect to it is wanted
        data = () if differentiable is None else marked[differentiable:]
        if any(leaf.perturbed for leaf in jax.tree.leaves(data)):
            raise TypeError(
                f"{name}: targets, weights and strengths are data; there is no rule for a gradient with respect to "
                "them. Differentiate the record itself instead: it is a plain function."
            )
        primals = jax.tree.map(lambda leaf: leaf.value, marked)
        y, saved = passed(*primals)
        return y, (primals, saved)

    def backward_rule(residuals: tuple, y_bar: PyTree) -> tuple:
        primals, saved = residuals
        bars = backward(primals, saved, jax.tree.map(_filled, y_bar, is_leaf=_is_symbolic_zero))
        # a leaf without a gradient (a key, an integer) has the cotangent None, as JAX expects
        cotangents = [
            jax.tree.map(_like, bar, p, is_leaf=lambda leaf: leaf is None)
            for bar, p in zip(bars, primals[: len(bars)], strict=True)
        ]
        return (*cotangents, *[None] * (len(primals) - len(bars)))

    primal.__name__ = primal.__qualname__ = name
    function = jax.custom_vjp(primal)
    function.defvjp(forward_rule, backward_rule, symbolic_zeros=True)

    @functools.wraps(primal)
    def lent(*primals: PyTree) -> PyTree:
        try:
            return function(*primals)
        except TypeError as error:
            # JAX's sentence names neither the function nor what to do
            if "forward-mode" not in str(error) or "custom_vjp" not in str(error):
                raise
            raise TypeError(
                f"{name}: a rule lent by fnn.custom_vjp has no forward-mode derivative, got a tangent (jax.jvp, "
                "jax.jacfwd, jax.hessian). Give the record itself: it is a plain function and has one."
            ) from error

    return lent


def _like(cotangent: Array | None, primal: Array) -> Array | None:
    """The cotangent in the dtype of its primal: where the net cast data to its own dtype, the gradient is cast back."""
    return None if cotangent is None else cotangent.astype(jnp.asarray(primal).dtype)


def _is_symbolic_zero(leaf: Any) -> bool:
    return isinstance(leaf, jax.custom_derivatives.SymbolicZero)


def _filled(leaf: Any) -> Array:
    return jnp.zeros(leaf.shape, leaf.dtype) if _is_symbolic_zero(leaf) else leaf
