"""Data as users have it, made into arrays that can be trained on, or refused with a remedy.

Promises: checked once, on the host; nothing that NumPy or JAX would silently drop or wrap gets through: masks, numbers
beyond the range of the dtype they are cast to, dates, text. Inputs may be any pytree.
Letters: N examples.
"""

import threading
import weakref
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fnn.checks import require_finite, row_number, validate, warn_cast
from fnn.types import DType

#: Kinds of NumPy dtypes that are not numbers: what they are, and what to do with them.
NO_NUMBERS = {
    "U": ("text", "Number the classes: classes, y = np.unique(y, return_inverse=True)"),
    "S": ("text", "Number the classes: classes, y = np.unique(y, return_inverse=True)"),
    "M": ("dates", "Make them numbers, such as days: (y - y.min()) / np.timedelta64(1, 'D')"),
    "m": ("time spans", "Make them numbers, such as days: y / np.timedelta64(1, 'D')"),
    "c": ("complex numbers", "Give real and imaginary parts as columns of their own"),
    "V": ("named fields", "Give one column each: np.lib.recfunctions.structured_to_unstructured(x)"),
    "O": ("Python objects", "Drop or encode what is not a number, and cast once with .astype('float32')"),
}


#: What an array of Python objects may hold to be one of numbers.
REAL = int | float | np.integer | np.floating | np.bool_


def host(what: str, value: Any) -> Any:
    """An array of numbers in native byte order, on the host unless it was a JAX array."""
    if isinstance(value, Tracer):
        raise TypeError(
            f"{what} must be an array, got the traced {value}: whole runs are trained outside jit, vmap and grad. Call "
            "it outside, or train many runs at once with fnn.sweep."
        )
    if isinstance(value, jax.Array):
        return value
    if isinstance(value, np.ma.MaskedArray):
        if np.ma.getmaskarray(value).any():
            remedy = "Drop those rows, or fill them, .filled(0), and give them the weight 0"
            raise TypeError(
                f"{what} must be an ordinary array, got a masked one with {np.ma.count_masked(value)} masked entries. "
                f"{'Fill them: .filled(0)' if what.endswith('params') else remedy}."
            )
        value = value.data
    if (hasattr(value, "toarray") and hasattr(value, "nnz")) or (hasattr(value, "todense") and hasattr(value, "nse")):
        made = "toarray" if hasattr(value, "toarray") else "todense"
        raise TypeError(f"{what} must be dense, got a sparse {type(value).__name__}. Give .{made}().astype('float32').")
    if getattr(value, "requires_grad", False):
        raise TypeError(f"{what} must be an array, got a tensor that requires grad. Give .detach().numpy().")
    try:
        array = value.to_numpy() if hasattr(value, "to_numpy") else np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{what} must be an array, got rows of unequal length: {error}. Pad or cut them.") from error
    if array.dtype == object and array.ndim and array.size:
        array = _unboxed(array)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype == np.longdouble and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    floating = jnp.issubdtype(array.dtype, jnp.floating)
    if array.dtype.kind in NO_NUMBERS and not floating:
        kind, remedy = NO_NUMBERS[array.dtype.kind]
        if kind == "text" and ": y of" not in what:
            remedy = "Give numbers: each category a column of 0 and 1, as fnn.one_hot makes them"
        elif ": y of" in what and array.ndim == 1 and array.size and all(isinstance(each, str) for each in array):
            remedy = NO_NUMBERS["U"][1]
        raise TypeError(f"{what} must hold real numbers, got {kind}, {_described(value, array)}. {remedy}.")
    return array


def _unboxed(array: np.ndarray) -> np.ndarray:
    """The numbers of an array of Python objects, as tables give for columns of several types, if it holds no other."""
    kinds = set(map(type, array.flat))
    if all(issubclass(kind, bool | np.bool_) for kind in kinds) or not all(issubclass(kind, REAL) for kind in kinds):
        return array
    whole = all(issubclass(kind, int | np.integer) for kind in kinds)
    try:
        return array.astype(np.int64 if whole else np.float64)
    except OverflowError:
        return array


def _described(value: Any, array: np.ndarray) -> str:
    """What was passed, in a few words."""
    if array.dtype.kind in "US" and array.size:
        return f"{array.flat[0].item()!r:.30} among others"
    if array.dtype.kind != "O" or not array.size or array.ndim == 0:
        return array.dtype.name if array.ndim else f"a {type(value).__name__}"
    first = next((each for each in array.flat if not isinstance(each, int | float)), array.flat[0])
    return f"{first!r} among others"


def inputs(what: str, x: Any, rows: int) -> Any:
    """The inputs, a tree of arrays with one row per example in each."""
    if isinstance(x, dict):
        return {name: inputs(f"{what}[{name!r}]", each, rows) for name, each in x.items()}
    arrays = isinstance(x, tuple | list) and all(np.ndim(each) and hasattr(each, "shape") for each in x)
    if arrays and len(x) != rows and all(len(each) == rows for each in x):
        return type(x)(inputs(f"{what}[{k}]", each, rows) for k, each in enumerate(x))
    return host(what, x)


def on_device(what: str, array: Any, dtype: DType) -> jax.Array:
    """The array on the device, floats in the dtype of the parameters; raises on a number that would wrap around or
    overflow."""
    own = array.dtype
    if not jnp.issubdtype(own, jnp.floating) or own == dtype:
        return copied(array)
    warn_cast(what, own, dtype)
    with np.errstate(over="ignore"):
        cast = copied(array, dtype)
    whole = np.asarray(cast, np.float64)
    if not np.isfinite(whole).all():
        require_finite(f"{what}, cast to {jnp.dtype(dtype).name},", cast)
    if not whole.any() and np.asarray(array).any():
        raise ValueError(
            f"{what} must not vanish in {jnp.dtype(dtype).name}, got numbers up to {np.abs(array).max():.3g}. Scale "
            "it: divide by its standard deviation."
        )
    return cast


def copied(array: Any, dtype: DType | None = None) -> jax.Array:
    """The array on the device, a copy of the one on the host, made without compiling a program.

    `jnp.asarray` and `jnp.array` compile one for every new shape, and JAX keeps it: some 3 MiB for each number of rows.
    """
    if isinstance(array, jax.Array):
        return array if dtype is None else array.astype(dtype)
    # our own copy: an array that is put on a device may share the memory of the one that was passed
    return jax.device_put(np.array(array, dtype))


def whole_numbers(what: str, array: Any, dtype: DType, *, casts: bool) -> Any:
    """Integers that JAX can hold: labels as int32; larger numbers as floats if `casts`, otherwise refused with their
    row."""
    if array.dtype.kind not in "iu" or isinstance(array, jax.Array):
        return array
    if array.dtype.itemsize < 4 and casts and array.ndim == 1:
        return array.astype(np.int32)
    held = np.iinfo(jax.dtypes.canonicalize_dtype(array.dtype))
    beyond = np.argwhere((array < held.min) | (array > held.max))
    if not len(beyond):
        return array
    if casts:
        return array.astype(dtype)
    row = row_number(int(beyond[0][0]))
    raise ValueError(
        f"{what} must fit into 32 bits, got {array[tuple(beyond[0])]} in row {row}. Cast it, .astype('float32'), or "
        "start with JAX_ENABLE_X64=1."
    )


def looked_at(x: Any, y: Any, *, integers: bool) -> None:
    """Raise on the first thing in these arrays that cannot be right but that training would accept without
    complaint."""
    for path, leaf in jax.tree.leaves_with_path(x):
        try:
            _looked_at(leaf, y, integers=integers)
        except (TypeError, ValueError) as error:
            if not path or not str(error).startswith("x "):
                raise
            raise about(f"in x{jax.tree_util.keystr(path)}, ", error) from error


def about(words: str, error: TypeError | ValueError) -> TypeError | ValueError:
    """The error with words before its message."""
    return (TypeError if isinstance(error, TypeError) else ValueError)(f"{words}{error}")


def _looked_at(leaf: Any, y: Any, *, integers: bool) -> None:
    if integers and leaf.dtype.kind in "iub" and np.ndim(leaf) and len(leaf):
        # an index into a table is not a number to check
        validate(np.zeros((len(leaf), 1), np.float32), y)
    elif leaf.dtype == np.uint8:
        raise TypeError(
            "x must have a floating dtype, got uint8. Scale images once, x.astype('float32') / 255; a fnn.Stream does "
            "it with scale=1 / 255."
        )
    else:
        validate(leaf, y)


# ---- weights --------------------------------------------------------------------------------------------------------


def require_weights(what: str, weights: Any, count: int) -> np.ndarray:
    """The weights of `count` rows in double precision, if they are finite, at least 0, and not all 0."""
    array = host(what, weights)
    if array.shape != (count,):
        raise ValueError(
            f"{what} must hold one number per row, shape ({count},), got {array.shape}. Give one for each; a mask "
            "within a row belongs in the loss."
        )
    array = np.array(array, np.float64)
    if not (np.isfinite(array).all() and (array >= 0).all() and array.any()):
        raise ValueError(f"{what} must be finite, at least 0, and not all 0. Give 1.0 for an ordinary row.")
    return array


def mean_weight(weights: np.ndarray) -> float:
    """w̄, even if the sum of the weights overflows."""
    with np.errstate(over="ignore"):
        mean = float(weights.mean())
    largest = weights.max()
    return mean if np.isfinite(mean) else float(largest * np.mean(weights / largest))


# ---- arrays that were checked before --------------------------------------------------------------------------------

#: Words between two that are combined: primes, so that rows which change places are noticed.
LANES = (4093, 8191)


def mark(array: np.ndarray) -> tuple[Any, ...]:
    """A cheap checksum of the bytes, about 8 ms for 40 MB: it notices an array that was changed in place."""
    flat = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    words = flat[: flat.size // 8 * 8].view(np.uint64)
    sums = [flat[words.nbytes :].tobytes(), array.shape, array.dtype.str]
    for lanes in LANES:
        whole = words[: words.size // lanes * lanes].reshape(-1, lanes)
        rest = words[whole.size :]
        lane = np.bitwise_xor.reduce(whole, axis=0) if len(whole) else np.zeros(lanes, np.uint64)
        sums += [zlib.crc32(lane.tobytes()), zlib.crc32(rest.tobytes())]
    return tuple(sums)


def oldest(kept: Iterable[Any], limit: int) -> list[Any]:
    """The oldest entries that must go so that one more does not exceed the limit."""
    every = list(kept)
    return every[: max(0, len(every) - limit + 1)]


class Seen:
    """The last data sets that were checked, kept as long as the arrays they came from are alive."""

    def __init__(self, limit: int) -> None:
        self.limit, self.lock = limit, threading.RLock()
        self.known: dict[Any, tuple[list[weakref.ref], list[Any], Any]] = {}

    def get(self, key: Any, arrays: list[Any], make: Callable[[], Any]) -> Any:
        """What was made from these very arrays before, if they are unchanged; otherwise it is made now."""
        if any(not isinstance(each, jax.Array | np.ndarray) or each.dtype == object for each in arrays):
            return make()
        with self.lock:
            return self._get((key, tuple(map(id, arrays))), arrays, make)

    def _get(self, key: Any, arrays: list[Any], make: Callable[[], Any]) -> Any:
        marks = [None if isinstance(each, jax.Array) else mark(each) for each in arrays]
        if (found := self.known.get(key)) is not None:
            references, before, value = found
            if before == marks and all(r() is each for r, each in zip(references, arrays, strict=True)):
                return value
            self.known.pop(key, None)
        value = make()
        for each in oldest(self.known, self.limit):
            self.known.pop(each, None)
        gone = lambda reference, key=key: self.known.pop(key, None)  # noqa: E731
        self.known[key] = ([weakref.ref(each, gone) for each in arrays], marks, value)
        return value


#: Data and validation data of one run.
SEEN = Seen(2)
