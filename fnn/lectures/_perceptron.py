"""The perceptron: its decision, the algorithm that learns it, and the bound on its mistakes (claims A1, B4).

Promises: in a decision the sign of 0 is +1. A mistake is y (w·x + b) ≤ 0, so at w = 0 every example is a mistake. The
bias is the weight of a constant input 1 and learns like the others. Pure functions: `jax.vmap` runs many at once.
Letters: N examples, I inputs; labels y are −1 and +1. Sources: Rosenblatt 1957; Novikoff 1962.

The slide of claim B4 tests ⟨w, x⟩ + b < 0, strictly and without y; starting at w = 0 that never makes a first step.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fnn.activations import sign
from fnn.checks import as_floating, require_shape, require_size
from fnn.types import Array


class PerceptronRun(NamedTuple):
    """The result of `perceptron`.

    >>> x, y = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([1.0, -1.0])
    >>> run = fnn.lectures.perceptron(x, y, epochs=10)
    >>> run.w.tolist(), bool(run.converged)
    ([1.0, -1.0], True)
    """

    w: Array
    """(I,)"""
    b: Array
    """()"""
    mistakes: Array
    """The number of corrections, ()."""
    epochs: Array
    """The number of passes over the examples, ()."""
    converged: Array
    """Whether the last epoch made no mistake, ()."""


def perceptron_decision(w: Array, b: Array, x: Array) -> Array:
    """sign(w·x + b), +1 where the sum is 0.

    Args:
        w: (I,). b: (). x: (…, I).

    Returns:
        −1 or +1, (…), in the dtype of x.

    >>> x = jnp.array([[2.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    >>> fnn.lectures.perceptron_decision(jnp.array([1.0, -1.0]), jnp.array(0.0), x)
    Array([ 1.,  1., -1.], dtype=float32)

    Source: claim A1.
    """
    return sign(x @ w + b)


def perceptron_pass(w: Array, b: Array, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """One pass of the algorithm: for each example in turn, if y (w·x + b) ≤ 0 then w ← w + y x, b ← b + y.

    Args:
        w: (I,). b: (). x: (N, I). y: −1 or +1, (N,), in the dtype of x.

    Returns:
        w, b, and the number of mistakes, ().

    >>> x, y = jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([1.0, -1.0])
    >>> w, b, mistakes = fnn.lectures.perceptron_pass(jnp.zeros(2), jnp.zeros(()), x, y)
    >>> w.tolist(), float(b), int(mistakes)
    ([1.0, -1.0], 0.0, 2)
    """

    def example(carry: tuple[Array, Array], row: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        (w, b), (x, y) = carry, row
        mistaken = y * (x @ w + b) <= 0
        correction = jnp.where(mistaken, y, jnp.zeros_like(y))
        return (w + correction * x, b + correction), mistaken

    (w, b), mistaken = jax.lax.scan(example, (w, b), (x, y))
    return w, b, jnp.sum(mistaken)


def perceptron(x: Array, y: Any, *, epochs: int) -> PerceptronRun:
    """Start at w = 0, b = 0 and correct after each mistake, until a pass makes none.

    On separable data this converges after at most `perceptron_bound` mistakes; on other data it never does.

    Args:
        x: (N, I), floating. y: −1 or +1, (N,).
        epochs: the largest number of passes over the examples.

    Returns:
        a `PerceptronRun`; look at `converged`.

    Raises:
        ValueError: labels other than −1 and +1 (unless traced), shapes that do not match. TypeError: integer x.

    >>> x = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> run = fnn.lectures.perceptron(x, [-1, -1, -1, 1], epochs=100)
    >>> bool(run.converged), int(run.mistakes), run.w.tolist(), float(run.b)
    (True, 18, [3.0, 2.0], -4.0)

    Source: claim B4.
    """
    x, y = _examples(x, y)
    return _run(x, y, require_size("perceptron", "epochs", epochs, "Give an int such as 1000."))


def perceptron_bound(x: Array, y: Any, w: Array, b: Array) -> Array:
    """(R ‖w*‖ / ρ)²: the most mistakes that the examples can cause in any order, for any w* that separates them.

    With the constant input appended, R is the largest norm of an example, ‖w*‖ that of (w, b), and
    ρ = min y (w·x + b). The larger the margin ρ / ‖w*‖, the tighter the bound.

    Args:
        x: (N, I). y: −1 or +1, (N,). w: (I,). b: ().

    Returns:
        the bound, (); infinity if (w, b) does not separate the examples.

    >>> x, y = jnp.array([[3.0], [-5.0]]), [1, -1]
    >>> round(float(fnn.lectures.perceptron_bound(x, y, jnp.array([1.0]), jnp.array(0.0))), 3)  # 26 · 1 / 9
    2.889

    Source: claim B4; Novikoff 1962.
    """
    x, y = _examples(x, y)
    reach = jnp.max(jnp.sum(x * x, axis=1) + 1)
    margin = jnp.min(y * (x @ w + b))
    return jnp.where(margin > 0, reach * (jnp.sum(w * w) + b * b) / margin**2, jnp.inf)


@partial(jax.jit, static_argnums=2)
def _run(x: Array, y: Array, epochs: int) -> PerceptronRun:
    def again(run: PerceptronRun) -> PerceptronRun:
        w, b, mistakes = perceptron_pass(run.w, run.b, x, y)
        return PerceptronRun(w, b, run.mistakes + mistakes, run.epochs + 1, mistakes == 0)

    start = PerceptronRun(
        jnp.zeros_like(x[0]), jnp.zeros_like(y[0]), jnp.zeros((), int), jnp.zeros((), int), jnp.array(False)
    )
    return jax.lax.while_loop(lambda run: ~run.converged & (run.epochs < epochs), again, start)


def _examples(x: Any, y: Any) -> tuple[Array, Array]:
    x = as_floating("perceptron", "x", x)
    if x.ndim != 2 or not len(x):
        raise ValueError(f"perceptron: x must be (N, I) with N ≥ 1, got shape {x.shape}. Rows are examples.")
    if not isinstance(y, Tracer) and not np.isin(np.asarray(y), (-1, 1)).all():
        raise ValueError("perceptron: labels must be −1 and +1, got others. Turn 0 and 1 into them with 2 * y - 1.")
    y = jnp.asarray(y, x.dtype)
    require_shape("perceptron", "y", y.shape, (len(x),), "Give one label per row of x.")
    return x, y
