"""`fnn.check` behind the signature of `jax.test_util.check_grads`, as a drop-in replacement."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from fnn.checker._check import assert_gradients
from fnn.checker.arguments import is_number
from fnn.checker.every import weighted
from fnn.types import PyTree


def check_grads(
    f: Callable[..., PyTree],
    args: Sequence[PyTree],
    order: int,
    modes: Sequence[str] = ("fwd", "rev"),
    atol: float | None = None,
    rtol: float | None = None,
    eps: float | None = None,
) -> None:
    """Raise `AssertionError` with a printed report unless the gradients of f are right up to this order.

    Args:
        f: any function; an output that is not one number is weighted with fixed random numbers and summed.
        args: the tuple of arguments that it is called with, arrays of any shape.
        order: 1 or 2.
        modes: accepted in any order: reverse mode is always checked, and forward mode if a rule of f has it.
        atol, rtol, eps: accepted but not used: step and tolerance follow from measured noise and curvature.

    Raises:
        AssertionError: something is wrong or cannot be decided. ValueError: an order other than 1 or 2, other modes.

    >>> import jax.numpy as jnp
    >>> from fnn.checker import check_grads
    >>> check_grads(lambda x: jnp.sin(x) * x, (jnp.array([0.5, 1.0]),), order=1)
    """
    del atol, rtol, eps
    if not set(modes) <= {"fwd", "rev"}:
        raise ValueError(f"modes must be of 'fwd' and 'rev', got {tuple(modes)!r}.")
    args = tuple(jax.tree.map(lambda leaf: jnp.asarray(leaf) if is_number(leaf) else leaf, arg) for arg in args)
    total, free, _ = weighted(f, args, seed=0)
    assert_gradients(total, *free, order=order)
