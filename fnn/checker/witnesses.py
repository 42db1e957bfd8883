"""The witnesses of a derivative: autodiff both ways, differences with their uncertainty and kinks, and measured noise.

Promises: differences are taken with steps of several sizes (`quotients.py` draws the conclusions); the noise of a
gradient is measured by moving every result inside by an ulp. The truth is computed by the same function in float64
throughout; the working run uses the user's own settings. A function that cannot be traced runs on the host, one without
reverse mode is pushed forward or differenced. One compiled program per rule, shape and kind of witness, however many
arguments, entries or points; `Programs` (`programs.py`) keeps them.
Letters: u the inputs as one vector, y_bar the cotangent of the output, h the step,
φ(i, s) = ⟨y_bar, f(u + s eᵢ) − f(u)⟩.
Sources: Squire & Trapp 1998 (complex step).
"""

import itertools
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from fnn import jaxprs
from fnn.checker.oracles import as_dtype_of, floats_of, is_float, pullback, pushforward
from fnn.checker.pairs import OfFunction, OfGradient, Pair
from fnn.checker.quotients import STEPS, WIDE, Quotients, scales_of, size_of
from fnn.checker.rounding import rounded
from fnn.checker.rules import Point
from fnn.jaxprs import Hooks, Values
from fnn.types import Array, PyTree

#: In how many runs every result inside is moved by an ulp.
SHAKES = 4
#: Evaluations taken at a time.
CHUNK = 16
#: The step along a direction, in which every entry moves: small, because there may be a kink on the way.
ALONG = 1e-6
#: Steps of the Taylor remainder, each a quarter of the one before: a remainder of the order h² then falls by 16.
TAYLOR = 1e-2 * 0.25 ** np.arange(5)
#: The step of the complex-step derivative: its square is below any rounding.
COMPLEX = 1e-30
#: What Python raises for wrong code, and JAX if a function cannot be traced, transposed or batched, or takes no complex
#: numbers. Not what is raised when the machine runs out of resources (RuntimeError, MemoryError).
DOES_NOT_RUN = (
    TypeError, ValueError, NotImplementedError, ArithmeticError, AssertionError, AttributeError, LookupError, NameError,
    StopIteration,
)  # fmt: skip
#: Up to how many entries forward mode, one at a time, replaces a reverse mode that a function does not have.
PUSHED = 4096


class NoWitness(ValueError):
    """Raised if a rule runs, but nothing that could judge it does: no evidence against the rule."""


class Compared(NamedTuple):
    """Value and cotangents by hand, then by autodiff: one cotangent per input, None if it has no derivative."""

    value: PyTree
    hand: tuple
    output: PyTree
    auto: tuple
    source: str = "reverse"
    """Where the cotangents to compare with come from: "reverse" or "forward" mode, or "differences"."""
    uncertainty: np.ndarray | None = None
    """The uncertainty of differences, for each entry of the vector of all floating inputs."""
    kinks: np.ndarray | None = None
    """1 where differences see a kink, 0 elsewhere; for the same vector."""
    own: float = 0.0
    """How far rounding moves the gradient by hand, as a share of its largest entry; 0 if not measured."""
    half: bool = False
    """True if the gradient by hand changes in steps, as when it computes in half precision inside."""

    @property
    def witness(self) -> str:
        """What the gradient by hand is compared with, in one word."""
        return "differences" if self.source == "differences" else "autodiff"


class Noise(NamedTuple):
    """How far rounding moves each part of a comparison, leaf by leaf: every result inside is moved by an ulp."""

    value: PyTree
    hand: tuple
    output: PyTree
    auto: tuple


class Directions(NamedTuple):
    """What differences and forward mode say about the whole gradient along random directions."""

    slope: np.ndarray
    uncertainty: np.ndarray
    gap: np.ndarray
    """How far apart the slopes ahead and behind are: of the order of the step, unless there is a kink between them."""
    by_hand: np.ndarray
    """⟨by hand, v⟩ for each direction v."""
    pushed: float
    """The derivative along the first direction by forward mode: the adjoint identity says it is ⟨by hand, v⟩."""
    remainders: np.ndarray
    """|f(u + h v) − f(u) − h ⟨by hand, v⟩| along the first direction, for the steps `TAYLOR`."""
    rounding: float
    """What rounding alone contributes to a difference of two values."""


class Witnesses:
    """The compiled witnesses of one rule, shared by all points of the same shapes."""

    on_host = False
    """True if a part is called as it is, and not traced."""

    def __init__(self, pair: Pair, dtypes: tuple, x64: bool) -> None:
        self.pair, self.x64, self._dtypes = pair, x64, dtypes
        self.coarse = pair.coarse
        """How far constants inside are rounded, as a share: no smaller error can be called wrong."""
        self.narrow: dict[jaxprs.Narrow, None] = {}
        """Steps that compute in a narrower dtype than their inputs and were widened."""
        self.compared_with: frozenset[float] = frozenset()
        """Numbers inside with which floating values are compared."""
        self.asked_exactly: frozenset[float] = frozenset()
        """Numbers inside for which floating values are asked one by one: the 0 of x == 0."""
        self.asked_for: frozenset[jaxprs.Asked] = frozenset()
        """What is asked inside about whole numbers, such as which are marks for what is left out."""
        self._reverse = True
        self._outputs: dict[Any, PyTree] = {}
        # the truth is compiled with little optimization, the user's run just as the user compiles it
        self._compare, self._by_hand, self._output_of = map(lightly, (self._compared_in, self._hand, self._forward))
        self._pushed_entries = lightly(self._pushed_in)
        self._changes = lightly(self._changes_in)
        self._along = lightly(self._along_in, static_argnames="push")
        self._complex, self._batched = map(lightly, (self._complex_in, self._batched_in))
        self._forward_mode, self._noise = map(lightly, (self._forward_mode_in, apart(self._compared_in)))
        self._change_noise = lightly(apart(lambda *place: self._changes_in(*place)[0]))
        self._of_data = lightly(self._of_data_in)
        self._along_noise = lightly(apart(self._slopes_in))
        self._working = jax.jit(self._working_in)
        self._own_noise = jax.jit(apart(lambda *place: self._working_in(*place)[1:]))

    # ---- the functions of a rule, in float64 throughout

    def _forward(self, inputs: tuple, data: tuple) -> PyTree:
        return self._doubled(lambda pair, inputs, data: pair.forward(inputs, data))(inputs, data)

    def _hand(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        def hand(pair: Pair, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
            y = jax.eval_shape(pair.forward, inputs, data)
            return pair.derived(inputs, data, jax.tree.map(as_dtype_of, y_bar, y))

        return self._doubled(hand)(inputs, data, y_bar)

    def _auto(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        def auto(pair: Pair, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
            return pullback(lambda *u: pair.forward(u, data), inputs, y_bar)

        return self._doubled(auto)(inputs, data, y_bar)

    def _doubled(self, f: Callable[..., PyTree]) -> Callable[..., PyTree]:
        """f(pair, *args) in float64; if it cannot be traced there, the function of the user's run, widened."""

        def wide(*args: PyTree) -> PyTree:
            working = partial(self._traced, partial(f, self.pair.real), args)
            return jaxprs.doubled(partial(f, self.pair), working, self._see)(*args)

        return wide

    def _traced(self, f: Callable[..., PyTree], args: tuple) -> jaxprs.Traced:
        """The trace of f as the user runs it: (inputs, data) in their own dtypes, everything else in the working
        ones."""
        known = itertools.chain(self._dtypes, itertools.repeat(None))
        leaves, tree = jax.tree.flatten(args)

        def own(leaf: Any, dtype: Any) -> Any:
            if not hasattr(leaf, "dtype"):
                return leaf
            if not is_float(leaf):
                return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
            narrow = leaf.dtype if self.x64 else jnp.dtype(jnp.float32)
            return jax.ShapeDtypeStruct(leaf.shape, narrow if dtype is None else dtype)

        shapes = [own(leaf, dtype) for leaf, dtype in zip(leaves, known, strict=False)]
        with jax.enable_x64(self.x64):
            return jax.make_jaxpr(f, return_shape=True)(*tree.unflatten(shapes))

    def _see(self, program: Any) -> None:
        self.coarse = max(self.coarse, jaxprs.coarseness(program))
        self.compared_with |= jaxprs.compared_with(program)
        self.asked_exactly |= jaxprs.compared_with(program, exactly=True)
        self.asked_for |= jaxprs.asked_for(program)
        narrow = jaxprs.narrow_in(program)
        if narrow is not None:
            self.narrow[narrow] = None

    # ---- the programs

    def _compared_in(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple:
        return *self._hand(inputs, data, y_bar), *self._auto(inputs, data, y_bar)

    def _working_in(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple, tuple]:
        y, auto = pullback(lambda *u: self.pair.forward(u, data), inputs, y_bar)
        return y, self.pair.derived(inputs, data, jax.tree.map(as_dtype_of, y_bar, y))[1], auto

    def _pushed_in(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, Array]:
        y, value, u, unravel, _ = self._value(inputs, data, y_bar)

        def entry(i: Array) -> Array:
            tangent = unravel(jnp.zeros_like(u).at[i].set(1))
            return jax.jvp(value, (unravel(u),), (tangent,))[1]

        return y, _in_chunks(entry, jnp.arange(u.size))

    def _changes_in(
        self, inputs: tuple, data: tuple, y_bar: PyTree, entries: Array, shifts: Array
    ) -> tuple[Array, Array]:
        _, value, u, unravel, weight = self._value(inputs, data, y_bar)

        def moved(at: tuple[Array, Array]) -> Array:
            return value(unravel(u.at[at[0]].add(at[1])))

        return _in_chunks(moved, (entries, shifts)), weight

    def _along_in(
        self, inputs: tuple, data: tuple, y_bar: PyTree, hand: tuple, signs: list[Array], scales: list[Array],
        step: float, push: bool,
    ) -> dict[str, Array]:  # fmt: skip
        _, value, u, unravel, weight = self._value(inputs, data, y_bar)
        floats = unravel(u)

        def steps(signs: list[Array]) -> list[Array]:
            return [scale * each.astype(jnp.float64) for scale, each in zip(scales, signs, strict=True)]

        def ahead(h: Array | float, v: list[Array]) -> Array:
            return value([u + h * step for u, step in zip(floats, v, strict=True)])

        def phi(signs: list[Array]) -> tuple[Array, Array, Array]:
            v = steps(signs)
            dots = [jnp.sum(g * step) for g, step in zip(jax.tree.leaves(hand), v, strict=True)]
            return ahead(step, v), ahead(-step, v), sum(dots, jnp.zeros(()))

        up, down, dots = jax.lax.map(phi, signs)
        first = steps([each[0] for each in signs])
        taylor = jax.lax.map(lambda h: ahead(h, first) - h * dots[0], jnp.asarray(TAYLOR))
        slopes = {"up": up, "down": down, "dots": dots, "taylor": taylor, "weight": weight}
        return {**slopes, "pushed": jax.jvp(value, (floats,), (first,))[1]} if push else slopes

    def _of_data_in(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple:
        def auto(pair: Pair, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple:
            return pullback(lambda *d: pair.forward(inputs, d), data, y_bar)[1]

        return self._doubled(auto)(inputs, data, y_bar)

    def _slopes_in(self, *place: Any) -> tuple[Array, Array]:
        seen = self._along_in(*place, step=ALONG, push=False)
        return seen["up"], seen["down"]

    def _complex_in(self, inputs: tuple, data: tuple, y_bar: PyTree, entries: Array) -> Array:
        floats, rebuilt = floats_of(inputs)
        u, unravel = ravel_pytree([leaf.astype(jnp.complex128) for leaf in floats])

        def slope(i: Array) -> Array:
            y = self.pair.forward(rebuilt(unravel(u.at[i].add(1j * COMPLEX))), data)
            terms = jax.tree.map(lambda b, y: jnp.sum(b * jnp.imag(y)), y_bar, y)
            return sum(jax.tree.leaves(terms), jnp.zeros(())) / COMPLEX

        return jax.lax.map(slope, entries)

    def _batched_in(self, inputs: tuple, data: tuple, y_bars: PyTree) -> tuple[tuple, tuple]:
        def backward(y_bar: PyTree) -> tuple:
            return self._hand(inputs, data, y_bar)[1]

        return jax.vmap(backward)(y_bars), jax.lax.map(backward, y_bars)

    def _forward_mode_in(self, inputs: tuple, data: tuple, tangents: list[Array]) -> tuple[PyTree, PyTree]:
        def own(pair: Pair, inputs: tuple, data: tuple, tangents: list[Array]) -> PyTree:
            return pair.pushed(inputs, data, _like_floats(tangents, inputs))

        def auto(pair: Pair, inputs: tuple, data: tuple, tangents: list[Array]) -> PyTree:
            return pushforward(lambda *u: pair.forward(u, data), inputs, _like_floats(tangents, inputs))

        return self._doubled(own)(inputs, data, tangents), self._doubled(auto)(inputs, data, tangents)

    def _value(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple:
        """(f(u), the function u' -> ⟨y_bar, f(u') − f(u)⟩, u as one vector, its inverse, Σ |y_bar f(u)|)."""
        floats, rebuilt = floats_of(inputs)
        base, forward = self._held_forward(inputs, data)
        u, unravel = ravel_pytree(floats)

        def value(moved: list[Array]) -> Array:
            # first the difference of each entry, then the sum: what does not change cancels exactly
            y = forward(rebuilt(moved))
            terms = jax.tree.map(lambda b, m, y: jnp.sum(b * (m - y)), y_bar, y, base)
            return sum(jax.tree.leaves(terms), jnp.zeros(()))

        sizes = jax.tree.map(lambda b, y: jnp.sum(jnp.abs(b * y)), y_bar, base)
        return base, value, u, unravel, sum(jax.tree.leaves(sizes), jnp.zeros(()))

    def _held_forward(self, inputs: tuple, data: tuple) -> tuple[PyTree, Callable[[tuple], PyTree]]:
        """(f(u), the function u' -> f(u') in which what `stop_gradient` stops keeps its value at u); loops are left as
        they are."""
        program, shape = jax.make_jaxpr(self._forward, return_shape=True)(inputs, data)
        kept: list[Values] = []

        def run(inputs: tuple, stopped: Callable[[Any, Values], Values]) -> PyTree:
            def plain(equation: Any, values: Values) -> Values:
                if jaxprs.is_stopped_by_user(equation):
                    return stopped(equation, values)
                return jaxprs.bind(equation, values)

            # a rule that is left inside counts, for instance if the forward mode of a function is the derivative by
            # hand
            hooks = Hooks(
                plain=plain, custom=lambda equation, values, _: jaxprs.bind(equation, values),
                loop=lambda equation, values, _: jaxprs.apply(equation, values),
            )  # fmt: skip
            out = jaxprs.evaluate(program, jax.tree.leaves((inputs, data)), hooks)
            return jax.tree.unflatten(jax.tree.structure(shape), out)

        def keep(equation: Any, values: Values) -> Values:
            kept.append(jaxprs.bind(equation, values))
            return kept[-1]

        def again(moved: tuple) -> PyTree:
            rest = iter(kept)
            return run(moved, lambda *_: next(rest))

        return run(inputs, keep), again

    # ---- what they say

    def output(self, inputs: tuple, data: tuple) -> PyTree:
        """The shapes of the output."""
        known = _shapes((inputs, data))
        if known not in self._outputs:
            self._outputs[known] = jax.eval_shape(self._forward, inputs, data)
        return self._outputs[known]

    def compare(self, point: Point) -> Compared:
        """Values and cotangents by hand and by autodiff; without reverse mode, by the next best witness.

        Raises:
            one of DOES_NOT_RUN: the rule, or the function itself, does not run.
        """
        if "compared" not in point.results:
            point.results["compared"] = self._compared(point)
        return point.results["compared"]

    def _compared(self, point: Point) -> Compared:
        place = point.inputs, point.data, point.y_bar
        if self._reverse:
            try:
                return Compared(*jax.device_get(self._compare(*place)))
            except DOES_NOT_RUN:
                self._reverse = False
        try:
            value, hand = self.by_hand(*place)
        except DOES_NOT_RUN:
            if not isinstance(self.pair, OfFunction):
                raise
            value, hand = self._hand_by_forward_mode(self.pair, point)
        try:
            return self._without_reverse(point, value, hand)
        except NoWitness:
            raise
        except DOES_NOT_RUN as error:
            raise NoWitness(f"the function itself does not run there: {error}") from error

    def _hand_by_forward_mode(self, pair: OfFunction, point: Point) -> tuple[PyTree, tuple]:
        """The gradient of a function that has only its own forward mode, entry by entry."""
        own = Witnesses(OfFunction(object(), pair.called, pair.called), self._dtypes, self.x64)
        value, slopes = jax.device_get(own._pushed_entries(point.inputs, point.data, point.y_bar))
        return value, shaped(slopes, point.inputs)

    def by_hand(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        """(the value, the cotangents) by hand."""
        return jax.device_get(self._by_hand(inputs, data, y_bar))

    def _without_reverse(self, point: Point, value: PyTree, hand: tuple) -> Compared:
        """The comparison for a function that cannot be differentiated backward."""
        place = point.inputs, point.data, point.y_bar
        sizes = [leaf.size for leaf in floats_of(point.inputs)[0]]
        if sum(sizes) > PUSHED:
            raise NoWitness(
                f"the function has no reverse mode, and {sum(sizes)} entries are too many to be differenced"
            )
        try:
            if isinstance(self.pair, OfFunction):
                raise NotImplementedError("forward mode is what is checked")
            if isinstance(self.pair, OfGradient) and self.pair.function_on_host:
                raise NotImplementedError("what is called on the host has no forward mode")
            output, slopes = jax.device_get(self._pushed_entries(*place))
            return Compared(value, hand, output, shaped(slopes, point.inputs), "forward")
        except DOES_NOT_RUN:
            seen = self.quotients(point, np.arange(sum(sizes)), scales_of(point.inputs))
            # at a kink any value between the slopes is right, and values outside are examined again
            inside = seen.possible(vector_of(hand, point.inputs))
            uncertainty = np.where(seen.kink, np.where(inside, np.inf, 0), seen.uncertainty)
            output, slopes = self.value(point.inputs, point.data), shaped(seen.slope, point.inputs)
            return Compared(value, hand, output, slopes, "differences", uncertainty, seen.kink.astype(np.float64))

    def value(self, inputs: tuple, data: tuple) -> PyTree:
        """The output."""
        return jax.device_get(self._output_of(inputs, data))

    def working(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple, tuple]:
        """(value, cotangents by hand, by autodiff) as in the user's own run; the point has its dtypes."""
        with jax.enable_x64(self.x64):
            return jax.device_get(self._working(inputs, data, y_bar))

    def noise(self, point: Point, seed: int) -> Noise:
        """How far rounding moves values and cotangents, by hand and by autodiff."""
        if "noise" not in point.results:
            place = point.inputs, point.data, point.y_bar
            point.results["noise"] = Noise(*jax.device_get(self._noise(place, seed_key(seed))))
        return point.results["noise"]

    def own_noise(self, place: tuple, seed: int) -> tuple[tuple, tuple]:
        """The same for the working run, at (inputs, data, y_bar)."""
        with jax.enable_x64(self.x64):
            return jax.device_get(self._own_noise(place, seed_key(seed)))

    def batched(self, point: Point, y_bars: PyTree) -> tuple[tuple, tuple]:
        """The cotangents by hand for a batch of output cotangents: by `jax.vmap`, and one after the other."""
        return jax.device_get(self._batched(point.inputs, point.data, y_bars))

    def forward_mode(self, point: Point, tangents: list[np.ndarray]) -> tuple[PyTree, PyTree]:
        """The tangent of the output by the hand-written forward-mode rule, and by autodiff of the function."""
        return jax.device_get(self._forward_mode(point.inputs, point.data, tangents))

    def complex_step(self, point: Point, entries: np.ndarray) -> np.ndarray | None:
        """Slopes at these entries by the complex step, Im f(u + i h) / h; None if f takes no complex numbers.

        Right if f is analytic and its code is valid for complex numbers; a witness beside others, never on its own.
        """
        with warnings.catch_warnings():
            # a cast that drops the imaginary part warns, and spoils the witness
            warnings.simplefilter("error")
            try:
                return jax.device_get(self._complex(point.inputs, point.data, point.y_bar, entries))
            except (*DOES_NOT_RUN, Warning):
                # this function takes no complex numbers: there is one witness fewer
                return None

    def quotients(self, point: Point, entries: np.ndarray, scales: np.ndarray, *, measured: bool = False) -> Quotients:
        """Difference quotients of ⟨y_bar, forward(inputs)⟩ at these entries of the vector of all floating inputs.

        Args:
            point: where.
            entries: positions in that vector.
            scales: the characteristic size of each of these entries.
            measured: measure how far rounding moves the differences. Usually the size of the value tells; not if large
                numbers cancel in it, as in a cross-entropy of one class, which is 0.
        """
        noise = self.blur(point)
        h = (WIDE if noise else STEPS)[None, :] * scales[:, None]
        shifts = np.stack([h, -h, h / 2, -h / 2], axis=-1)
        places = np.broadcast_to(entries[:, None, None], shifts.shape)
        # a multiple of the chunk: any number of entries then runs the same few programs
        padded = -(-places.size // (CHUNK * 16)) * CHUNK * 16
        fill = lambda a: np.concatenate([a.ravel(), np.zeros(padded - a.size, a.dtype)])  # noqa: E731
        phi, weight = self.changes(point, fill(places), fill(shifts))
        if measured:
            rounding = self.rounding(point, fill(places), fill(shifts))[: places.size].reshape(len(entries), -1)
            weight = weight + rounding.max(axis=1, keepdims=True) / np.finfo(np.float64).eps
        return Quotients.of(phi[: places.size].reshape(shifts.shape), h, weight, noise)

    def blur(self, point: Point) -> float:
        """The noise of the value, if it exceeds the rounding of float64; 0 for what is traced, since it is widened."""
        return 0.0

    def is_nothing(self, point: Point) -> bool:
        """True if the value is 0 to within a noise that exceeds the rounding of float64."""
        return False

    def changes(self, point: Point, entries: np.ndarray, shifts: np.ndarray) -> tuple[np.ndarray, float]:
        """(⟨y_bar, f(u + s eᵢ) − f(u)⟩ for each entry i and shift s, Σ |y_bar f(u)|)."""
        place = point.inputs, point.data, point.y_bar, entries, shifts
        return jax.device_get(self._changes(*place))

    def gradients_of_data(self, point: Point) -> tuple | None:
        """The right gradients of what is not differentiated; None if unknown."""
        try:
            return jax.device_get(self._of_data(point.inputs, point.data, point.y_bar))
        except DOES_NOT_RUN:
            return None

    def rounding(self, point: Point, entries: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """How far rounding moves each of these changes."""
        place = point.inputs, point.data, point.y_bar, entries, shifts
        return jax.device_get(self._change_noise(place, seed_key(0)))

    def along(self, point: Point, hand: tuple, signs: list[np.ndarray], *, measured: bool = False) -> Directions:
        """The gradient by hand along directions.

        Args:
            point: where.
            hand: the gradient by hand.
            signs: for each floating leaf and every direction, by how many characteristic sizes each entry moves.
            measured: measure how far rounding takes the differences, and how far the step does.
        """
        slopes = self.slopes_along(point, hand, signs)
        up, down = slopes["up"], slopes["down"]
        rounding = float(4 * np.finfo(np.float64).eps * slopes["weight"])
        # the slopes ahead and behind differ by h times the curvature, their mean is off by far less
        gap = np.abs(up + down) / ALONG
        slope, uncertainty = (up - down) / (2 * ALONG), ALONG * gap
        if measured:
            rounding += 4 * self.rounding_along(point, hand, signs)
            # of x³ at 0 nothing is left but the step
            finer = self.slopes_along(point, hand, signs, ALONG / 2)
            fine = (finer["up"] - finer["down"]) / ALONG
            slope = (4 * fine - slope) / 3
            uncertainty = uncertainty + np.abs(slope - fine)
        return Directions(
            slope, rounding / ALONG + uncertainty, gap, slopes["dots"], float(slopes.get("pushed", np.nan)),
            np.abs(slopes["taylor"]), rounding,
        )  # fmt: skip

    def rounding_along(self, point: Point, hand: tuple, signs: list[np.ndarray]) -> float:
        """How far rounding moves a difference of two values along these directions."""
        scales = [size_of(leaf) for leaf in floats_of(point.inputs)[0]]
        place = point.inputs, point.data, point.y_bar, hand, signs, scales
        return float(max(each.max(initial=0) for each in jax.device_get(self._along_noise(place, seed_key(0)))))

    def slopes_along(self, point: Point, hand: tuple, signs: list[np.ndarray], step: float = ALONG) -> dict[str, Any]:
        """Differences of the value ahead and behind along each direction, with their sizes."""
        scales = [size_of(leaf) for leaf in floats_of(point.inputs)[0]]
        place = point.inputs, point.data, point.y_bar, hand, signs, scales, step
        try:
            return jax.device_get(self._along(*place, push=True))
        except DOES_NOT_RUN:
            # a function without forward mode: there is one witness fewer
            return jax.device_get(self._along(*place, push=False))


def _in_chunks(f: Callable[..., Array], places: PyTree) -> Array:
    """f at every place, some at a time, or one after the other if something inside refuses `jax.vmap`."""
    try:
        return jax.lax.map(f, places, batch_size=CHUNK)
    except NotImplementedError:
        return jax.lax.map(f, places)


def lightly(f: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """f compiled with little optimization, since it runs only a few times."""
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0}, **options)


def shaped(slopes: np.ndarray, inputs: tuple) -> tuple:
    """A vector of slopes in the structure of the inputs, None for inputs without a derivative."""
    ends = np.cumsum([0, *(leaf.size for leaf in floats_of(inputs)[0])])
    pieces = (slopes[a:b] for a, b in itertools.pairwise(ends))
    return jax.tree.map(lambda u: next(pieces).reshape(u.shape) if is_float(u) else None, inputs)


def vector_of(gradient: tuple, inputs: tuple) -> np.ndarray:
    """The entries of a gradient in the order of the vector of all floating inputs; NaN for a leaf that does not fit."""
    known = dict(jax.tree_util.tree_leaves_with_path(gradient))
    pieces = [np.zeros(0)]
    for path, leaf in jax.tree_util.tree_leaves_with_path(inputs):
        if is_float(leaf):
            own = known.get(path)
            fits = own is not None and np.shape(own) == np.shape(leaf)
            pieces.append(np.ravel(np.asarray(own, np.float64)) if fits else np.full(np.size(leaf), np.nan))
    return np.concatenate(pieces)


def apart(f: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """How far apart several runs are in which every result is moved by an ulp."""

    def noise(place: tuple, key: Any) -> PyTree:
        exact = f(*place)

        def distances(key: Any) -> PyTree:
            return jax.tree.map(_distance, rounded(f, key)(*place), exact)

        return jax.tree.map(lambda n: jnp.max(n, axis=0), jax.lax.map(distances, jax.random.split(key, SHAKES)))

    return noise


def _distance(moved: Any, exact: Any) -> Array:
    return jnp.abs(moved - exact) if is_float(exact) else jnp.zeros(jnp.shape(exact))


def seed_key(seed: int) -> np.ndarray:
    """A raw key, made without running a program."""
    return np.array([0, seed % 2**32], np.uint32)


def _like_floats(tangents: list[Array], inputs: tuple) -> list[Array]:
    return list(map(as_dtype_of, tangents, floats_of(inputs)[0]))


def _shapes(tree: PyTree) -> Any:
    """What a compiled program depends on."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((np.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves)
