"""The witnesses of a derivative: autodiff both ways, differences with an uncertainty of their own, and measured noise.

Promises: a difference quotient comes with an error bar that it estimated itself, from steps of several sizes and from
the rounding of the values; the noise of a gradient is measured, by moving every result inside by an ulp. One compiled
program per rule, shape and kind of witness, however many arguments, entries or points; `Programs` keeps them.
Letters: u the inputs as one vector, y_bar the cotangent of the output, h the step,
φ(i, s) = ⟨y_bar, f(u + s eᵢ) − f(u)⟩.
Sources: Ridders 1982; Press et al., Numerical Recipes, section 5.7 (steps and extrapolation); Squire & Trapp 1998
(complex step).
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from fnn.checker.jaxprs import narrow_in, rounded
from fnn.checker.oracles import floats_of, pullback, pushforward, vjp
from fnn.checker.pairs import Pair
from fnn.types import Array, PyTree

#: Steps as shares of an entry's scale. Richardson's error is of the order h⁴, the rounding ε / h: in float64 the
#: first is best for smooth functions, the last ones reach between an entry and a kink near it.
STEPS = np.array([1e-3, 1e-4, 1e-5, 1e-6])
#: How many times every result inside is moved by an ulp.
SHAKES = 4
#: Evaluations taken at a time.
CHUNK = 16
#: The step along a direction, in which every entry moves: small, for somewhere on the way there may be a kink.
ALONG = 1e-6
#: Steps of the Taylor remainder, each a quarter of the one before, so that a remainder of the order h² falls by 16.
TAYLOR = 1e-2 * 0.25 ** np.arange(5)
#: The step of the complex-step derivative: its square is below the rounding of everything.
COMPLEX = 1e-30
#: What Python raises of code that is wrong, and JAX where a function cannot be traced, or transposed, or batched,
#: or takes no complex numbers. Not what is raised where the machine is at its end (RuntimeError, MemoryError).
DOES_NOT_RUN = (
    TypeError, ValueError, NotImplementedError, ArithmeticError, AssertionError, AttributeError, LookupError, NameError,
    StopIteration,
)  # fmt: skip


class Quotients(NamedTuple):
    """What differences say of some entries."""

    slope: np.ndarray
    uncertainty: np.ndarray
    left: np.ndarray
    right: np.ndarray
    kink: np.ndarray
    """True where left and right slopes stay apart when the step shrinks."""


class Directions(NamedTuple):
    """What differences, and forward mode, say of the whole gradient along random directions."""

    slope: np.ndarray
    uncertainty: np.ndarray
    gap: np.ndarray
    """How far the slopes ahead and behind are apart: of the order of the step, unless there is a kink between."""
    by_hand: np.ndarray
    """⟨by hand, v⟩ for each direction v."""
    pushed: float
    """The derivative along the first direction by forward mode: the adjoint identity says it is ⟨by hand, v⟩."""
    remainders: np.ndarray
    """|f(u + h v) − f(u) − h ⟨by hand, v⟩| along the first direction, for the steps `TAYLOR`."""
    rounding: float
    """What rounding alone leaves in a difference of two values."""


class Witnesses:
    """The compiled witnesses of one rule; every point of the same shapes shares them."""

    def __init__(self, pair: Pair) -> None:
        def compare(inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple, PyTree, tuple]:
            y, auto = pullback(lambda *u: pair.forward(u, data), inputs, y_bar)
            return *pair.derived(inputs, data, y_bar), y, auto

        def noise(inputs: tuple, data: tuple, y_bar: PyTree, key: Any) -> tuple[tuple, tuple]:
            def both(inputs: tuple, y_bar: PyTree) -> tuple[tuple, tuple]:
                auto = vjp(lambda *u: pair.forward(u, data), inputs, y_bar)
                return pair.derived(inputs, data, y_bar)[1], auto

            exact = both(inputs, y_bar)

            def apart(key: Any) -> tuple:
                return jax.tree.map(lambda m, a: jnp.abs(m - a), rounded(both, key)(inputs, y_bar), exact)

            return jax.tree.map(lambda n: jnp.max(n, axis=0), jax.lax.map(apart, jax.random.split(key, SHAKES)))

        def changes(inputs: tuple, data: tuple, y_bar: PyTree, entries: Array, shifts: Array) -> tuple[Array, Array]:
            floats, value, weight = _value(pair, inputs, data, y_bar)
            u, unravel = ravel_pytree(floats)

            def moved(at: tuple[Array, Array]) -> Array:
                return value(unravel(u.at[at[0]].add(at[1])))

            return jax.lax.map(moved, (entries, shifts), batch_size=CHUNK), weight

        def along(
            inputs: tuple, data: tuple, y_bar: PyTree, hand: tuple, scales: list[Array], keys: Array
        ) -> dict[str, Array]:
            floats, value, weight = _value(pair, inputs, data, y_bar)

            def ahead(h: Array | float, v: list[Array]) -> Array:
                return value([u + h * step for u, step in zip(floats, v, strict=True)])

            def phi(key: Array) -> tuple[Array, Array, Array]:
                v = _direction(key, floats, scales)
                dots = [jnp.sum(g * step) for g, step in zip(jax.tree.leaves(hand), v, strict=True)]
                return ahead(ALONG, v), ahead(-ALONG, v), sum(dots, jnp.zeros(()))

            up, down, dots = jax.lax.map(phi, keys)
            v = _direction(keys[0], floats, scales)
            first = pushforward(lambda *floats: value(list(floats)), tuple(floats), v)
            taylor = jax.lax.map(lambda h: ahead(h, v) - h * dots[0], jnp.asarray(TAYLOR))
            return {"up": up, "down": down, "dots": dots, "pushed": first, "taylor": taylor, "weight": weight}

        def complex_step(inputs: tuple, data: tuple, y_bar: PyTree, entries: Array) -> Array:
            floats, rebuilt = floats_of(inputs)
            u, unravel = ravel_pytree([leaf.astype(jnp.complex128) for leaf in floats])

            def slope(i: Array) -> Array:
                y = pair.forward(rebuilt(unravel(u.at[i].add(1j * COMPLEX))), data)
                terms = jax.tree.map(lambda b, y: jnp.sum(b * jnp.imag(y)), y_bar, y)
                return sum(jax.tree.leaves(terms), jnp.zeros(())) / COMPLEX

            return jax.lax.map(slope, entries)

        def batched(inputs: tuple, data: tuple, y_bars: PyTree) -> tuple[tuple, tuple]:
            def backward(y_bar: PyTree) -> tuple:
                return pair.derived(inputs, data, y_bar)[1]

            return jax.vmap(backward)(y_bars), jax.lax.map(backward, y_bars)

        def forward_mode(inputs: tuple, data: tuple, tangents: list[Array]) -> tuple[PyTree, PyTree]:
            return (
                pair.pushed(inputs, data, tangents),
                pushforward(lambda *u: pair.forward(u, data), inputs, tangents),
            )

        self.pair = pair
        self._compare, self._noise, self._changes = jax.jit(compare), jax.jit(noise), jax.jit(changes)
        self._along, self._complex = jax.jit(along), jax.jit(complex_step)
        self._batched, self._forward_mode = jax.jit(batched), jax.jit(forward_mode)
        self._outputs: dict[Any, PyTree] = {}
        self._narrower: dict[Any, str] = {}

    def output(self, inputs: tuple, data: tuple) -> PyTree:
        """The shapes and dtypes of the output."""
        known = _shapes((inputs, data))
        if known not in self._outputs:
            self._outputs[known] = jax.eval_shape(self.pair.forward, inputs, data)
        return self._outputs[known]

    def narrower(self, inputs: tuple, data: tuple, y_bar: PyTree) -> str:
        """The dtype narrower than float64 in which some step of the rule computes, or ""."""
        known = _shapes((inputs, data))
        if known not in self._narrower:
            both = jax.make_jaxpr(lambda u, d, bar: (self.pair.forward(u, d), self.pair.derived(u, d, bar)))
            self._narrower[known] = narrow_in(both(inputs, data, y_bar).jaxpr)
        return self._narrower[known]

    def compare(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple, PyTree, tuple]:
        """(output, cotangents) by hand, then by autodiff: one cotangent per input, None without derivative."""
        return jax.device_get(self.compared(inputs, data, y_bar))

    def compared(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple, PyTree, tuple]:
        """The same, left where it was computed."""
        return self._compare(inputs, data, y_bar)

    def noise(self, inputs: tuple, data: tuple, y_bar: PyTree, seed: int) -> tuple[tuple, tuple]:
        """How far rounding takes the cotangents (by hand, by autodiff): every result inside moved by an ulp."""
        return jax.device_get(self._noise(inputs, data, y_bar, jax.random.key(seed)))

    def batched(self, inputs: tuple, data: tuple, y_bars: PyTree) -> tuple[tuple, tuple]:
        """The cotangents by hand for a batch of output cotangents: by `jax.vmap`, and one after the other."""
        return jax.device_get(self._batched(inputs, data, y_bars))

    def forward_mode(self, inputs: tuple, data: tuple, tangents: list[Array]) -> tuple[PyTree, PyTree]:
        """The tangent of the output by the hand-written forward-mode rule, and by autodiff of the function."""
        return jax.device_get(self._forward_mode(inputs, data, tangents))

    def complex_step(self, inputs: tuple, data: tuple, y_bar: PyTree, entries: np.ndarray) -> np.ndarray | None:
        """Slopes at these entries by the complex step, Im f(u + i h) / h; None where f takes no complex numbers.

        Right where f is analytic, as far as its code treats complex numbers so; a witness beside others, never alone.
        """
        with warnings.catch_warnings():
            # a cast that throws the imaginary part away comes with a warning, and spoils the witness
            warnings.simplefilter("error")
            try:
                return jax.device_get(self._complex(inputs, data, y_bar, entries))
            except (*DOES_NOT_RUN, Warning):
                # this function takes no complex numbers: it has one witness less
                return None

    def quotients(
        self, inputs: tuple, data: tuple, y_bar: PyTree, entries: np.ndarray, scales: np.ndarray
    ) -> Quotients:
        """Difference quotients of ⟨y_bar, forward(inputs)⟩ at these entries of the vector of all floating inputs.

        Args:
            entries: positions in that vector.
            scales: the characteristic size of each of these entries.
        """
        h = STEPS[None, :] * scales[:, None]
        shifts = np.stack([h, -h, h / 2, -h / 2], axis=-1)
        places = np.broadcast_to(entries[:, None, None], shifts.shape)
        # a multiple of the chunk, so that any number of entries runs the same few programs
        padded = -(-places.size // (CHUNK * 16)) * CHUNK * 16
        fill = lambda a: np.concatenate([a.ravel(), np.zeros(padded - a.size, a.dtype)])  # noqa: E731
        phi, weight = jax.device_get(self._changes(inputs, data, y_bar, fill(places), fill(shifts)))
        up, down, half_up, half_down = np.moveaxis(phi[: places.size].reshape(shifts.shape), -1, 0)
        slopes, errors = _extrapolated(up, down, half_up, half_down, h, weight)
        rights, lefts = half_up / (h / 2), -half_down / (h / 2)
        best = np.argmin(np.where(np.isfinite(errors), errors, np.inf), axis=1)
        rows = np.arange(len(entries))
        # of a smooth function the two slopes approach each other as the step shrinks; across a kink they do not
        gaps = np.abs(rights - lefts)
        size = np.abs(rights[:, -1]) + np.abs(lefts[:, -1])
        kink = (gaps[:, -1] > 0.5 * gaps[:, 1]) & (gaps[:, -1] > 1e-4 * size)
        return Quotients(slopes[rows, best], errors[rows, best], lefts[:, -1], rights[:, -1], kink)

    def along(
        self, inputs: tuple, data: tuple, y_bar: PyTree, hand: tuple, scales: list[float], keys: Any
    ) -> Directions:
        """The gradient by hand along one random direction per key.

        Args:
            scales: the characteristic size of each floating leaf; a direction is ± that, sign by sign.
        """
        found = jax.device_get(self._along(inputs, data, y_bar, hand, scales, keys))
        up, down = found["up"], found["down"]
        rounding = float(4 * np.finfo(np.float64).eps * found["weight"])
        # the slopes ahead and behind are apart by h times the curvature, their mean is off by far less
        gap = np.abs(up + down) / ALONG
        return Directions(
            (up - down) / (2 * ALONG), rounding / ALONG + ALONG * gap, gap, found["dots"], float(found["pushed"]),
            np.abs(found["taylor"]), rounding,
        )  # fmt: skip


class Programs:
    """The compiled witnesses of many rules, to be reused by further checks: `fnn.check(…, programs=programs)`.

    Rules that are equal as records share their programs. A rule must not be changed in place in between.

    >>> kept = fnn.checker.Programs()
    >>> net = fnn.mlp(2, 2)
    >>> by_hand, params = fnn.backprop(net, fnn.squared_error), net.init(jax.random.key(0))
    >>> fnn.check(by_hand, params, jnp.ones((3, 2)), jnp.zeros((3, 2)), programs=kept).ok
    True
    >>> fnn.check(by_hand, params, jnp.zeros((3, 2)), jnp.ones((3, 2)), programs=kept).ok  # compiles nothing
    True
    """

    def __init__(self) -> None:
        self._known: dict[Any, Witnesses] = {}

    def fork(self) -> "Programs":
        """Programs that start with all that are known here and keep their own to themselves."""
        other = Programs()
        other._known.update(self._known)
        return other

    def of(self, pair: Pair) -> Witnesses:
        """The witnesses of this pair."""
        try:
            if pair not in self._known:
                self._known[pair] = Witnesses(pair)
            return self._known[pair]
        except TypeError:
            # a record of the user's that cannot be hashed: it compiles anew each time
            return Witnesses(pair)


def _shapes(tree: PyTree) -> Any:
    """What a compiled program depends on."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((np.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves)


def _extrapolated(up: Any, down: Any, half_up: Any, half_down: Any, h: Any, weight: Any) -> tuple[Any, Any]:
    """Richardson's extrapolation from the steps h and h / 2, and what it may be off by."""
    coarse, fine = (up - down) / (2 * h), (half_up - half_down) / h
    slopes = (4 * fine - coarse) / 3
    return slopes, np.abs(slopes - fine) + 4 * np.finfo(np.float64).eps * weight / h


def _value(
    pair: Pair, inputs: tuple, data: tuple, y_bar: PyTree
) -> tuple[list[Array], Callable[[list[Array]], Array], Array]:
    """(the floats u, the function u' -> ⟨y_bar, f(u') − f(u)⟩, Σ |y_bar f(u)|, which tells of its rounding)."""
    floats, rebuilt = floats_of(inputs)
    base = pair.forward(inputs, data)

    def value(moved: list[Array]) -> Array:
        # the difference entry by entry, and then the sum: what does not change cancels exactly
        y = pair.forward(rebuilt(moved), data)
        terms = jax.tree.map(lambda b, m, y: jnp.sum(b * (m - y)), y_bar, y, base)
        return sum(jax.tree.leaves(terms), jnp.zeros(()))

    sizes = jax.tree.map(lambda b, y: jnp.sum(jnp.abs(b * y)), y_bar, base)
    return floats, value, sum(jax.tree.leaves(sizes), jnp.zeros(()))


def _direction(key: Array, floats: list[Array], scales: list[Array]) -> list[Array]:
    """± the scale of its leaf for each entry, so that none is ever multiplied by nearly nothing."""
    words = [-(-leaf.size // 32) for leaf in floats]
    # 32 signs from each random number
    drawn = jax.random.bits(key, (sum(words), 1), jnp.uint32) >> jnp.arange(32, dtype=jnp.uint32)[None, :]
    ends = np.cumsum(words)
    return [
        scale * (2.0 * (drawn[end - count : end].ravel()[: leaf.size] & 1).astype(leaf.dtype) - 1).reshape(leaf.shape)
        for leaf, scale, count, end in zip(floats, scales, words, ends, strict=True)
    ]
