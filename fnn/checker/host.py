"""The witnesses of a function or a gradient that cannot be traced, such as one written in NumPy: it is called as it is.

Promises: float64 NumPy arrays go in, copied each time, so that code that writes into its arguments does no harm. If the
function can be traced, autodiff is still a witness; otherwise differences with steps of several sizes, and the complex
step, are. The noise of code that computes in float32 or less inside is measured: steps are as wide as it requires, and
it is not a mistake.
"""

import re
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checker.oracles import floats_of, is_float
from fnn.checker.pairs import OfGradient, Pair
from fnn.checker.quotients import (
    SPACING,
    VALUES,
    WIDE,
    Quotients,
    moves_steadily,
    noise_of,
    scales_of,
    size_of,
    stands_still,
)  # fmt: skip
from fnn.checker.rules import Point
from fnn.checker.witnesses import (
    ALONG,
    COMPLEX,
    DOES_NOT_RUN,
    TAYLOR,
    Compared,
    Noise,
    Witnesses,
    apart,
    lightly,
    seed_key,
    shaped,
    vector_of,
)  # fmt: skip
from fnn.types import PyTree


class HostWitnesses(Witnesses):
    """The witnesses of a pair in which one part runs on the host."""

    pair: OfGradient
    on_host = True

    def __init__(self, pair: Pair, dtypes: tuple, x64: bool) -> None:
        super().__init__(pair, dtypes, x64)
        # which of them are thresholds is not known; axes and exponents are small, and ordinary numbers exceed them
        self.compared_with = frozenset(number for number in self.pair.numbers if abs(number) > EXCEEDED)
        self._auto_noise = lightly(apart(self._auto))

    def _compared(self, point: Point) -> Compared:
        value, hand = self.by_hand(point.inputs, point.data, point.y_bar)
        if not self.pair.function_on_host:
            try:
                output, auto = jax.device_get(jax.jit(self._auto)(point.inputs, point.data, point.y_bar))
                return self._with_own_noise(point, Compared(output, hand, output, auto))
            except DOES_NOT_RUN:
                # it can be traced, but not differentiated backward
                pass
        return self._with_own_noise(point, self._without_reverse(point, value, hand))

    def _with_own_noise(self, point: Point, compared: Compared) -> Compared:
        """The comparison, with the noise of the gradient by hand beside that of the truth if the two differ."""
        g, t = vector_of(compared.hand, point.inputs), vector_of(compared.auto, point.inputs)
        bar = np.zeros(len(t)) if compared.uncertainty is None else compared.uncertainty
        if not np.isfinite(g).all() or (np.abs(g - t) <= 10 * bar + SHARE * np.abs(t).max(initial=0)).all():
            return compared
        lines = _lines(point, SPACING)
        near = self._gradients_along(point, lines)
        noise = self._rounding_by_hand(point, compared.hand, t, noise_of(near))
        kinks = np.zeros(len(t)) if compared.kinks is None else compared.kinks
        # the margin is ten times what is computed here
        own = float(noise.max(initial=0) / max(np.abs(g).max(initial=0), 1e-300))
        compared = compared._replace(half=self._is_half(point, lines[0], near))
        return compared._replace(uncertainty=bar + 2 * noise, kinks=kinks, own=own) if own else compared

    def _is_half(self, point: Point, line: list[tuple], near: np.ndarray) -> bool:
        """True if small steps of all inputs, or of one leaf, leave the gradient unchanged, and wide ones do not."""
        still = stands_still(near) or any(
            stands_still(self._gradients_along(point, [_of_leaf_alone(point, line, leaf)]))
            for leaf in range(len(floats_of(point.inputs)[0]))
        )
        try:
            return still and moves_steadily(self._gradients_along(point, _lines(point, WIDE[1])))
        except DOES_NOT_RUN:
            # it is defined only near the point
            return False

    def _gradients_along(self, point: Point, lines: list[list[tuple]]) -> np.ndarray:
        """The gradients by hand along lines of inputs."""
        gradients = [[self._gradient(inputs, point.data, point.y_bar) for inputs in line] for line in lines]
        return np.array([[vector_of(each, point.inputs) for each in line] for line in gradients])

    def by_hand(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        return self.value(inputs, data), self._gradient(inputs, data, y_bar)

    def _gradient(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple:
        with _quiet():
            gradient = self.pair.gradient(*_copies((inputs[0], *data)))
            return (jax.tree.map(lambda g: (np.asarray(g) * np.asarray(y_bar)).astype(np.asarray(g).dtype), gradient),)

    def blur(self, point: Point) -> float:
        if not self.pair.function_on_host:
            return 0.0
        if "blur" not in point.results:
            point.results["blur"] = self._blur(point)
        return point.results["blur"]

    def _blur(self, point: Point) -> float:
        value = np.asarray(self.value(point.inputs, point.data))
        base = abs(float(value))

        values = self._values_along(point, SPACING)
        with _quiet():
            noise = float(noise_of(values))
            if base and stands_still(values) and moves_steadily(wide := self._values_along(point, WIDE[1])):
                # as in half precision, where small steps change nothing
                noise = max(noise, float(noise_of(wide)))
        if base and base == np.float32(base) and (np.abs(values) == base).all():
            # float32 may be so coarse that small steps change nothing
            step = float(np.spacing(np.float32(base)))
            far = self._values_along(point, WIDE[0])[:, -1]
            # in float64 a constant value moves by far less, and one that jumps by more
            moves = value.dtype == np.float32 or any(step / 4 < abs(abs(each) - base) < JUMP * step for each in far)
            noise = max(noise, step) if moves else noise
        # written so that NaN does not count
        return float(np.abs(point.y_bar)) * noise if noise > BLURRED * base else 0.0

    def _values_along(self, point: Point, spacing: float) -> np.ndarray:
        """The values along lines; the value at the point itself if the function does not run so far away from it."""
        here = float(self.value(point.inputs, point.data))

        def value(inputs: tuple) -> float:
            try:
                return float(self.value(inputs, point.data))
            except DOES_NOT_RUN:
                return here

        return np.array([[value(inputs) for inputs in line] for line in _lines(point, spacing)])

    def is_nothing(self, point: Point) -> bool:
        """True if the value is 0 to its own rounding, here and at some distance."""
        blur = self.blur(point)
        if not blur:
            return False
        if "largest" not in point.results:
            values = self.value(point.inputs, point.data), *self._values_along(point, WIDE[0])[:, 0]
            point.results["largest"] = float(np.abs(point.y_bar * np.array(values)).max())
        return bool(point.results["largest"] <= FAINT * blur)

    def _rounding_by_hand(self, point: Point, hand: tuple, truth: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """The noise of the gradient by hand, entry by entry, if it is that of a narrow dtype; 0 if it is less, or more.

        If both the gradient and the truth are 0 to that noise, the noise may be as large as they are.
        """
        g = vector_of(hand, point.inputs)
        size = np.abs(g).max(initial=0)
        truths = dict(jax.tree_util.tree_leaves_with_path(shaped(truth, point.inputs)))
        floor = NOTHING * np.finfo(np.float64).eps * max(1.0, float(np.abs(self.value(point.inputs, point.data))))
        # each leaf has one noise, which includes the rounding of the dtype that is returned
        own = shaped(noise, point.inputs)
        dtypes = dict(jax.tree_util.tree_leaves_with_path(hand))

        def of_leaf(path: tuple, noise: np.ndarray) -> np.ndarray:
            returned = np.asarray(dtypes.get(path))
            eps = float(jnp.finfo(returned.dtype).eps) if is_float(returned) and returned.dtype != np.float64 else 0
            most = np.fmax(noise.max(initial=0), eps * np.abs(returned).max(initial=0) if eps else 0)
            largest = np.fmax(np.abs(returned).max(initial=0), np.abs(truths[path]).max(initial=0))
            if largest <= np.fmin(10 * most, floor):
                return np.full(noise.shape, most)
            # a gradient that jumps is not a noisy one
            return np.full(noise.shape, most if BLURRED * size < most < max(SINGLE, 2 * eps) * size else 0)

        return np.concatenate(
            [np.zeros(0), *map(np.ravel, jax.tree.leaves(jax.tree_util.tree_map_with_path(of_leaf, own)))]
        )

    def value(self, inputs: tuple, data: tuple) -> PyTree:
        if not self.pair.function_on_host:
            return super().value(inputs, data)
        with _quiet():
            return np.asarray(self.pair.called(*_copies((inputs[0], *data))))

    def output(self, inputs: tuple, data: tuple) -> PyTree:
        return jax.ShapeDtypeStruct((), np.float64)

    def quotients(self, point: Point, entries: np.ndarray, scales: np.ndarray, *, measured: bool = False) -> Quotients:
        with _quiet():
            return super().quotients(point, entries, scales, measured=measured and not self.pair.function_on_host)

    def changes(self, point: Point, entries: np.ndarray, shifts: np.ndarray) -> tuple[np.ndarray, float]:
        if not self.pair.function_on_host:
            return super().changes(point, entries, shifts)
        u, base = _vector(point.inputs), self.value(point.inputs, point.data)
        out = np.zeros(len(entries))
        for k in np.flatnonzero(shifts):
            moved = u.copy()
            moved[entries[k]] += shifts[k]
            out[k] = self.value(_filled(moved, point.inputs), point.data) - base
        return point.y_bar * out, float(np.abs(point.y_bar * base))

    def slopes_along(self, point: Point, hand: tuple, signs: list[np.ndarray]) -> dict[str, Any]:
        if not self.pair.function_on_host:
            return super().slopes_along(point, hand, signs)
        with _quiet():
            return self._slopes_along(point, hand, signs)

    def _slopes_along(self, point: Point, hand: tuple, signs: list[np.ndarray]) -> dict[str, Any]:
        u, base = _vector(point.inputs), self.value(point.inputs, point.data)
        scales = [size_of(leaf) for leaf in floats_of(point.inputs)[0]]
        rows = [scale * each.reshape(len(each), -1) for scale, each in zip(scales, signs, strict=True)]
        v = np.concatenate(rows, axis=1).astype(np.float64)

        def ahead(step: np.ndarray) -> float:
            return float(point.y_bar * (self.value(_filled(u + step, point.inputs), point.data) - base))

        g = vector_of(hand, point.inputs)
        slopes = {"up": np.array([ahead(ALONG * each) for each in v]), "down": np.array([ahead(-ALONG * w) for w in v])}
        taylor = np.array([ahead(h * v[0]) - h * (v[0] @ g) for h in TAYLOR])
        return {**slopes, "dots": v @ g, "taylor": taylor, "weight": float(np.abs(point.y_bar * base))}

    def complex_step(self, point: Point, entries: np.ndarray) -> np.ndarray | None:
        if not self.pair.function_on_host:
            return super().complex_step(point, entries)
        slopes = []
        for entry in entries:
            moved = _vector(point.inputs).astype(np.complex128)
            moved[entry] += 1j * COMPLEX
            try:
                with _quiet():
                    slopes.append(np.imag(self.pair.called(*_copies((_filled(moved, point.inputs)[0], *point.data)))))
            except DOES_NOT_RUN:
                return None
        return np.asarray(slopes) / COMPLEX

    def gradients_of_data(self, point: Point) -> tuple | None:
        if not self.pair.function_on_host:
            return super().gradients_of_data(point)
        sizes = sum(leaf.size for leaf in floats_of(point.data)[0])
        if sizes > MOST:
            return None
        turned = replace(self.pair, called=lambda data, first: self.pair.called(first, *data))
        other = HostWitnesses(turned, self._dtypes, self.x64)
        place = point.moved(inputs=(point.data,), data=point.inputs)
        return shaped(other.quotients(place, np.arange(sizes), scales_of(place.inputs)).slope, place.inputs)[0]

    def rounding_along(self, point: Point, hand: tuple, signs: list[np.ndarray]) -> float:
        return 0.0 if self.pair.function_on_host else super().rounding_along(point, hand, signs)

    def noise(self, point: Point, seed: int) -> Noise:
        if self.pair.function_on_host:
            raise NotImplementedError("what runs on the host cannot be rounded otherwise")
        return Noise((), (), *jax.device_get(self._auto_noise((point.inputs, point.data, point.y_bar), seed_key(seed))))

    def working(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple, tuple]:
        raise NotImplementedError("what runs on the host has no working dtype")


#: A value is noisy if its noise exceeds this share of it: rounding in float64 leaves less, in float32 more.
BLURRED = 1e-11
#: A gradient with noise above this share of its largest entry jumps, and is not merely rounded to float32, unless a
#: narrower dtype is returned.
SINGLE = 1e-5
#: A value jumps if steps of `SPACING` leave it unchanged and wide ones move it by this many roundings.
JUMP = 1e5
#: This many times its noise, or the rounding of float64, counts as nothing.
NOTHING = 1e3
#: A value below this many times its noise, also at some distance, counts as 0.
FAINT = 30
#: What rounding in float64 may leave, as a share of the largest entry.
SHARE = 1e-9
#: Up to how many entries of data their gradients are differenced.
MOST = 256
#: Numbers in code up to this size are exceeded by the numbers that are tried anyway.
EXCEEDED = 3
#: How many lines the noise is measured along.
LINES = 3


def _lines(point: Point, spacing: float) -> list[list[tuple]]:
    """Inputs at equal spacing along some random lines, which begin beside the point, since it may be at a kink."""
    random, u = np.random.default_rng(11), _vector(point.inputs)
    steps = spacing * scales_of(point.inputs) * random.uniform(-1, 1, (LINES, len(u)))
    return [[_filled(u + k * step, point.inputs) for k in range(1, VALUES + 1)] for step in steps]


def _of_leaf_alone(point: Point, line: list[tuple], leaf: int) -> list[tuple]:
    """The line on which all inputs except one leaf stay fixed."""
    here, rebuilt = floats_of(point.inputs)
    moved = [floats_of(inputs)[0][leaf] for inputs in line]
    return [rebuilt([*here[:leaf], each, *here[leaf + 1 :]]) for each in moved]


@contextmanager
def _quiet() -> Iterator[None]:
    """Warnings suppressed: at numbers that the checker made up they tell the user nothing."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _copies(args: tuple) -> tuple:
    return jax.tree.map(lambda leaf: np.array(leaf) if isinstance(leaf, np.ndarray | jax.Array) else leaf, args)


def _vector(inputs: tuple) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in floats_of(inputs)[0]])


def _filled(u: np.ndarray, inputs: tuple) -> tuple:
    """The inputs with their entries replaced by those of this vector."""
    values = iter(jax.tree.leaves(shaped(u, inputs)))
    return jax.tree.map(lambda leaf: next(values) if is_float(leaf) else leaf, inputs)


def needs_host(f: Any, args: tuple) -> bool:
    """True for a function that runs on these arguments but cannot be traced, since it needs the numbers themselves."""
    errors = jax.errors
    asks = (
        errors.TracerArrayConversionError, errors.TracerBoolConversionError, errors.TracerIntegerConversionError,
        errors.ConcretizationTypeError, errors.NonConcreteBooleanIndexError,
    )  # fmt: skip
    try:
        with _quiet():
            jax.eval_shape(f, *args)
    except asks:
        return True
    except Exception:
        # whatever an unknown function raises
        return _is_of_host(f, args)
    return False


def _is_of_host(f: Any, args: tuple) -> bool:
    """True for a function that returns something other than JAX arrays on the host, or fails there by itself."""
    try:
        leaves = jax.tree.leaves(f(*_copies(args)))
    except Exception as error:
        # what JAX raises, or what is raised because there are no JAX arrays, says more when it is traced
        frames = [Path(frame.filename).parts for frame in traceback.extract_tb(error.__traceback__)]
        return not any("jax" in parts for parts in frames) and not re.search(r"numpy.* no attribute 'at'", str(error))
    return not any(isinstance(leaf, jax.Array) for leaf in leaves)


def written_into(call: Any, args: tuple) -> list[str]:
    """The arguments that hold other numbers after a call; the call gets copies."""
    given, before = _copies(args), jax.tree_util.tree_leaves_with_path(args)
    try:
        with _quiet():
            call(*given)
    except Exception:
        # whatever an unknown function raises: the judge says so
        return []
    after = dict(jax.tree_util.tree_leaves_with_path(given))
    return [
        f"argument {path[0].idx}{jax.tree_util.keystr(path[1:])}" for path, leaf in before
        if path not in after or not np.array_equal(np.asarray(leaf), np.asarray(after[path]), equal_nan=is_float(leaf))
    ]  # fmt: skip


def as_it_stands(f: Any, args: tuple) -> PyTree:
    """What a function returns on the host."""
    return jax.tree.map(np.asarray, f(*_copies(args)))
