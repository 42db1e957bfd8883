"""The witnesses of a function or a gradient that cannot be traced, as one written in NumPy: it is called as it stands.

Promises: NumPy arrays of float64 go in, copies each time, so that code which writes into its arguments does no harm.
What can be traced still has autodiff for a witness; else differences with steps of several sizes, and the complex step.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checker.oracles import floats_of, is_float
from fnn.checker.pairs import OfGradient
from fnn.checker.quotients import size_of
from fnn.checker.rules import Point
from fnn.checker.witnesses import ALONG, COMPLEX, DOES_NOT_RUN, TAYLOR, Compared, Witnesses, shaped
from fnn.types import PyTree


class HostWitnesses(Witnesses):
    """The witnesses of a pair of which a part runs on the host."""

    pair: OfGradient

    def _compared(self, point: Point) -> Compared:
        value, hand = self.by_hand(point.inputs, point.data, point.y_bar)
        if not self.pair.function_on_host:
            try:
                output, auto = jax.device_get(jax.jit(self._auto)(point.inputs, point.data, point.y_bar))
                return Compared(output, hand, output, auto)
            except DOES_NOT_RUN:
                # it can be traced, but not differentiated backward
                pass
        return self._without_reverse(point, value, hand)

    def by_hand(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        with _quiet():
            gradient = self.pair.gradient(*_copies((inputs[0], *data)))
        return self.value(inputs, data), (jax.tree.map(lambda g: np.asarray(g) * np.asarray(y_bar), gradient),)

    def value(self, inputs: tuple, data: tuple) -> PyTree:
        if not self.pair.function_on_host:
            return super().value(inputs, data)
        with _quiet():
            return np.asarray(self.pair.called(*_copies((inputs[0], *data))))

    def output(self, inputs: tuple, data: tuple) -> PyTree:
        return jax.ShapeDtypeStruct((), np.float64)

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
        u, base = _vector(point.inputs), self.value(point.inputs, point.data)
        scales = [size_of(leaf) for leaf in floats_of(point.inputs)[0]]
        rows = [scale * each.reshape(len(each), -1) for scale, each in zip(scales, signs, strict=True)]
        v = np.concatenate(rows, axis=1).astype(np.float64)

        def ahead(step: np.ndarray) -> float:
            return float(point.y_bar * (self.value(_filled(u + step, point.inputs), point.data) - base))

        g = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(hand)])
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

    def noise(self, point: Point, seed: int) -> tuple[tuple, tuple]:
        raise NotImplementedError("what runs on the host cannot be rounded otherwise")

    def working(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple, tuple]:
        raise NotImplementedError("what runs on the host has no working dtype")


@contextmanager
def _quiet() -> Iterator[None]:
    """Warnings kept back: at numbers that the checker made up they tell the user nothing."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _copies(args: tuple) -> tuple:
    return jax.tree.map(lambda leaf: np.array(leaf) if isinstance(leaf, np.ndarray | jax.Array) else leaf, args)


def _vector(inputs: tuple) -> np.ndarray:
    return np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in floats_of(inputs)[0]])


def _filled(u: np.ndarray, inputs: tuple) -> tuple:
    """The inputs with the entries of this vector in the place of theirs."""
    values = iter(jax.tree.leaves(shaped(u, inputs)))
    return jax.tree.map(lambda leaf: next(values) if is_float(leaf) else leaf, inputs)


def needs_host(f: Any, args: tuple) -> bool:
    """True for a function that runs on these arguments, and cannot be traced: it asks for the numbers themselves."""
    errors = jax.errors
    asks = (
        errors.TracerArrayConversionError, errors.TracerBoolConversionError, errors.TracerIntegerConversionError,
        errors.ConcretizationTypeError, errors.NonConcreteBooleanIndexError,
    )  # fmt: skip
    try:
        jax.eval_shape(f, *args)
    except asks:
        return True
    except Exception:
        # whatever an unknown function raises: the judge says so
        return isinstance(_result(f, args), np.ndarray | np.generic | float)
    return False


def _result(f: Any, args: tuple) -> Any:
    """A leaf of what the function gives on the host, None where it does not run there either."""
    try:
        return next(iter(jax.tree.leaves(f(*_copies(args)))), None)
    except Exception:
        # as above
        return None


def as_it_stands(f: Any, args: tuple) -> PyTree:
    """What a function gives on the host."""
    return jax.tree.map(jnp.asarray, f(*_copies(args)))
