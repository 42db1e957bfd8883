"""The witnesses of a derivative: autodiff, differences with an uncertainty of their own, and measured noise.

Promises: a difference quotient comes with an error bar that it estimated itself, from steps of several sizes and from
the rounding of the values; the noise of a gradient is measured, by moving every input by an ulp. Two compiled
programs per rule and shape, however many arguments and entries there are, a third where something disagrees.
Letters: u the inputs as one vector, y_bar the cotangent of the output, h the step,
φ(i, s) = ⟨y_bar, f(u + s eᵢ) − f(u)⟩.
Sources: Ridders 1982; Press et al., Numerical Recipes, section 5.7 (steps and extrapolation).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from fnn.checker.oracles import is_float, vjp
from fnn.types import Array, PyTree

#: Steps as shares of an entry's scale. Richardson's error is of the order h⁴, the rounding ε / h: in float64 the
#: first is best for smooth functions, the last ones reach between an entry and a kink near it.
STEPS = np.array([1e-3, 1e-4, 1e-5, 1e-6])
#: How many times the inputs are moved by an ulp.
SHAKES = 4
#: Evaluations taken at a time.
CHUNK = 16


class Quotients(NamedTuple):
    """What differences say of some entries."""

    slope: np.ndarray
    uncertainty: np.ndarray
    left: np.ndarray
    right: np.ndarray
    kink: np.ndarray
    """True where left and right slopes stay apart when the step shrinks."""


class Witnesses:
    """The compiled witnesses of one rule; every point of the same shapes shares them."""

    def __init__(self, forward: Callable[..., PyTree], backward: Callable[[tuple, PyTree], tuple]) -> None:
        def compare(inputs: tuple, y_bar: PyTree) -> tuple[tuple, tuple, PyTree]:
            return backward(inputs, y_bar), vjp(forward, inputs, y_bar), forward(*inputs)

        def noise(inputs: tuple, y_bar: PyTree, key: Any) -> tuple:
            auto = vjp(forward, inputs, y_bar)

            def shaken(key: Any) -> tuple:
                moved = vjp(forward, _shaken(inputs, key), y_bar)
                return jax.tree.map(lambda m, a: jnp.abs(m - a), moved, auto)

            return jax.tree.map(lambda n: jnp.max(n, axis=0), jax.lax.map(shaken, jax.random.split(key, SHAKES)))

        def changes(inputs: tuple, y_bar: PyTree, entries: Array, shifts: Array) -> tuple[Array, Array]:
            floats, rebuilt = _floats(inputs)
            u, unravel = ravel_pytree(floats)
            base = forward(*inputs)

            def phi(pair: tuple[Array, Array]) -> Array:
                i, shift = pair
                moved = forward(*rebuilt(unravel(u.at[i].add(shift))))
                terms = jax.tree.map(lambda b, m, y: jnp.sum(b * (m - y)), y_bar, moved, base)
                return sum(jax.tree.leaves(terms), jnp.zeros(()))

            weight = sum(
                jax.tree.leaves(jax.tree.map(lambda b, y: jnp.sum(jnp.abs(b * y)), y_bar, base)), jnp.zeros(())
            )
            return jax.lax.map(phi, (entries, shifts), batch_size=CHUNK), weight

        self._compare, self._noise, self._changes = jax.jit(compare), jax.jit(noise), jax.jit(changes)

    def compare(self, inputs: tuple, y_bar: PyTree) -> tuple[tuple, tuple, PyTree]:
        """(by hand, by autodiff, output): the first two with one entry per input, None without derivative."""
        return jax.device_get(self._compare(inputs, y_bar))

    def noise(self, inputs: tuple, y_bar: PyTree, seed: int) -> tuple:
        """How far the gradient by autodiff moves when every input moves by an ulp."""
        return jax.device_get(self._noise(inputs, y_bar, jax.random.key(seed)))

    def quotients(self, inputs: tuple, y_bar: PyTree, entries: np.ndarray, scales: np.ndarray) -> Quotients:
        """Difference quotients of ⟨y_bar, forward(inputs)⟩ at these entries of the vector of all floating inputs.

        Args:
            entries: positions in that vector.
            scales: the characteristic size of each of these entries.
        """
        h = STEPS[None, :] * scales[:, None]
        shifts = np.stack([h, -h, h / 2, -h / 2], axis=-1)
        places = np.broadcast_to(entries[:, None, None], shifts.shape)
        # a multiple of the chunk, so that any number of entries runs the same few programs
        padded = -(-places.size // (CHUNK * 64)) * CHUNK * 64
        fill = lambda a: np.concatenate([a.ravel(), np.zeros(padded - a.size, a.dtype)])  # noqa: E731
        phi, weight = jax.device_get(self._changes(inputs, y_bar, fill(places), fill(shifts)))
        up, down, half_up, half_down = np.moveaxis(phi[: places.size].reshape(shifts.shape), -1, 0)
        coarse, fine = (up - down) / (2 * h), (half_up - half_down) / h
        slopes = (4 * fine - coarse) / 3
        errors = np.abs(slopes - fine) + 4 * np.finfo(np.float64).eps * weight / h
        rights, lefts = half_up / (h / 2), -half_down / (h / 2)
        best = np.argmin(np.where(np.isfinite(errors), errors, np.inf), axis=1)
        rows = np.arange(len(entries))
        # of a smooth function the two slopes approach each other as the step shrinks; across a kink they do not
        gaps = np.abs(rights - lefts)
        size = np.abs(rights[:, -1]) + np.abs(lefts[:, -1])
        kink = (gaps[:, -1] > 0.5 * gaps[:, 1]) & (gaps[:, -1] > 1e-4 * size)
        return Quotients(slopes[rows, best], errors[rows, best], lefts[:, -1], rights[:, -1], kink)


def _floats(inputs: tuple) -> tuple[list[Array], Callable[[list[Array]], tuple]]:
    """The floating leaves of the inputs, and how to put others in their place."""
    leaves, tree = jax.tree.flatten(inputs)

    def rebuilt(floats: list[Array]) -> tuple:
        given = iter(floats)
        return jax.tree.unflatten(tree, [next(given) if is_float(leaf) else leaf for leaf in leaves])

    return [leaf for leaf in leaves if is_float(leaf)], rebuilt


def _shaken(inputs: tuple, key: Any) -> tuple:
    floats, rebuilt = _floats(inputs)
    keys = jax.random.split(key, max(len(floats), 1))
    eps = [
        jnp.finfo(leaf.dtype).eps * jax.random.rademacher(k, leaf.shape, leaf.dtype)
        for leaf, k in zip(floats, keys, strict=True)
    ]
    return rebuilt([leaf * (1 + e) for leaf, e in zip(floats, eps, strict=True)])
