"""Checks of shapes, dtypes, names and data, and the messages they raise.

Promises: every message says what must hold, what it got, and what to do. The static checks look at shapes and
dtypes only, so they fire while JAX traces; `require_finite` and `require_labels` look at values and belong on the
host, before training.
Refuses: to guess. Nothing is reshaped or clipped; the one thing that is cast is cast with a warning (`as_floating`).
"""

import contextlib
import dataclasses
import difflib
import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from fnn.types import Array, DType, is_key

Record = TypeVar("Record")
#: Names of this package, and what others call them: small letters and digits alone.
ELSEWHERE = {
    "squared_error": "mse meansquarederror mseloss l2loss",
    "absolute_error": "mae meanabsoluteerror l1loss",
    "softmax_cross_entropy": "crossentropy crossentropyloss categoricalcrossentropy sparsecategoricalcrossentropy "
    "logloss",
    "sigmoid_cross_entropy": "bcewithlogits bcewithlogitsloss sigmoidbinarycrossentropy",
    "binary_cross_entropy": "bce bceloss",
    "negative_log_likelihood": "nll nllloss",
    "huber": "smoothl1 smoothl1loss",
    "identity": "linear none",
    "sigmoid": "logistic expit",
    "silu": "swish",
    "hard_threshold": "heaviside step",
    "l2": "ridge weightdecay",
    "l1": "lasso",
    "glorot_uniform": "xavier xavieruniform",
    "glorot_normal": "xaviernormal",
    "he_normal": "he kaiming kaimingnormal",
    "he_uniform": "kaiminguniform",
}
#: Packages whose lines no warning is about.
NOT_THE_USER = ("fnn", "jax", "sklearn", "contextlib", "functools")


class CastWarning(UserWarning):
    """The data had another floating dtype than the parameters and was cast to theirs.

    >>> import warnings
    >>> net, (x, y) = fnn.mlp(2, 2), fnn.data.xor()
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     _ = fnn.fit(
    ...         fnn.backprop(net, fnn.softmax_cross_entropy), net.init(jax.random.key(0)), (x.astype("float64"), y),
    ...         optimizer=fnn.optimizers.sgd(0.1), epochs=1, batch_size=4, key=jax.random.key(1),
    ...     )
    >>> caught[0].category.__name__
    'CastWarning'
    """


def require_size(where: str, name: str, size: Any, remedy: str, limit: int = 2**31) -> int:
    """Return `size` as an int of at least 1, below `limit`; raise a `TypeError` or `ValueError` that names it and gives
    the remedy."""
    if isinstance(size, bool) or not isinstance(size, int | np.integer):
        raise TypeError(f"{where}: {name} must be a whole number, got {size!r}. {remedy}")
    if size < 1:
        raise ValueError(f"{where}: {name} must be at least 1, got {size}. {remedy}")
    if size >= limit:
        raise ValueError(f"{where}: {name} must be below {limit}, got {size}. {remedy}")
    return int(size)


def require_name(kind: type[Record], known: Mapping[str, Record], choice: "str | Record") -> Record:
    """Return the record itself, or the one that the string names in `known`; an unknown name suggests the nearest.

    Raises:
        ValueError: an unknown name. TypeError: neither a name nor a record of this kind.
    """
    name = kind.__name__.lower()
    if not isinstance(choice, str):
        remedy = f"Give one or its name: {', '.join(sorted(known))}."
        if callable(choice) and not isinstance(choice, kind):
            own = _meant(getattr(choice, "__name__", ""), known)
            remedy = (
                f"Give an instance: {choice.__name__}()."
                if isinstance(choice, type) and issubclass(choice, kind)
                else f"Give {own!r}, whose rule is written by hand."
                if own
                else f"A function has no rule: write a subclass of fnn.{kind.__name__}, whose docstring shows one."
            )
        require_record(name, kind, choice, remedy)
        return choice
    if choice in known:
        return known[choice]
    meant = _meant(choice, known)
    nearest = [meant] if meant else difflib.get_close_matches(choice, known, n=1, cutoff=0.4)
    hint = f"; perhaps {nearest[0]!r}?" if nearest else "."
    raise ValueError(f"unknown {name} {choice!r}{hint} Known: {', '.join(sorted(known))}.")


def _meant(word: str, known: Mapping[str, Any]) -> str | None:
    """The known name that is this word in another spelling, or under which others know it."""
    plain = {"".join(filter(str.isalnum, name)).lower(): name for name in known}
    key = "".join(filter(str.isalnum, word)).lower()
    elsewhere = next((name for name, words in ELSEWHERE.items() if key in words.split()), None)
    return plain.get(key) or (elsewhere if elsewhere in known else None)


def require_record(where: str, kind: type, value: Any, remedy: str) -> None:
    """Raise `TypeError` unless `value` is an instance of `kind`."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIO" else "a"
        raise TypeError(f"{where}: {article} {kind.__name__} is needed, got {value!r}. {remedy}")


def require_hash(where: str, record: Any) -> None:
    """Raise `TypeError` if a record holds something without a hash, such as an array: programs are found by records."""
    try:
        hash(record)
    except TypeError:
        owner, field, value = _without_hash(record)
        raise TypeError(
            f"{where}: {owner} must hold values that can be compared, got a {type(value).__name__} in {field!r}. Give "
            "a tuple of numbers, or make it a parameter of a layer."
        ) from None


def _without_hash(record: Any) -> tuple[str, str, Any]:
    """(class, field, value) of the innermost field that has no hash."""
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        for each in value if isinstance(value, tuple) else (value,):
            try:
                hash(each)
            except TypeError:
                inside = dataclasses.is_dataclass(each) and not isinstance(each, type)
                return _without_hash(each) if inside else (type(record).__name__, field.name, each)
    return type(record).__name__, "itself", record


def require_key(where: str, key: Any) -> Array:
    """The key; raise `TypeError` unless `key` is one random key of JAX, typed or of the old kind (uint32)."""
    if not is_key(key) and getattr(key, "dtype", None) != jnp.uint32:
        raise TypeError(f"{where}: the key must be one of jax.random, got {key!r}. Give jax.random.key(0).")
    one = () if is_key(key) else jax.eval_shape(jax.random.PRNGKey, 0).shape
    if key.shape != one:
        raise TypeError(f"{where}: the key must be a single one, got an array of shape {key.shape}. Give keys[0].")
    return key


def require_dtype(dtype: DType) -> DType:
    """Return `dtype` if it is a floating type that JAX will use as asked; raise otherwise.

    Raises:
        TypeError: no dtype, or not a floating one.
        ValueError: float64 while x64 is off, where JAX would silently use float32.
    """
    try:
        wanted = jnp.dtype(dtype)
    except TypeError as error:
        raise TypeError(
            f"dtype must be a floating dtype, got {type(dtype).__name__}. Use float32, bfloat16 or float64. A layer "
            "knows its sizes: init(key) needs no example."
        ) from error
    if not jnp.issubdtype(wanted, jnp.floating):
        raise TypeError(f"parameters must have a floating dtype, got {wanted.name}. Use float32, bfloat16 or float64.")
    if wanted == jnp.float64 and not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(
            "dtype=float64 needs JAX's 64-bit mode, which is off: JAX would silently use float32. "
            'Wrap the code in "with jax.enable_x64(True):" or start with JAX_ENABLE_X64=1.'
        )
    return wanted


def as_numbers(where: str, name: str, value: Any) -> Array:
    """Return `value` as an array; raise a `TypeError` for what is none: None, text, rows of unequal length."""
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        got = "None" if value is None else type(value).__name__
        of = f" of dtype {value.dtype}" if isinstance(value, np.ndarray) else ""
        raise TypeError(
            f"{where}: {name} must be an array of numbers, got {got}{of}. "
            "Give one array; turn text into labels 0, 1, …, and rows into equal lengths."
        ) from error


def as_floating(where: str, name: str, value: Any, dtype: DType | None = None) -> Array:
    """Return `value` as a floating array, cast to `dtype` if one is named, with a `CastWarning` when it changes.

    While x64 is off, NumPy's float64 becomes float32 without a warning, as everywhere in JAX.

    Raises:
        TypeError: no array of numbers, or one of integers, booleans or complex numbers.
    """
    array = as_numbers(where, name, value)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        raise TypeError(
            f"{where}: {name} must have a floating dtype, got {array.dtype.name}. Cast it once with .astype('float32')."
        )
    if dtype is not None and array.dtype != dtype:
        warn_cast(f"{where}: {name}", array.dtype, dtype)
        return array.astype(dtype)
    return array


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, with the line of the user's code that led here, which may be many calls above."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in NOT_THE_USER:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


def warn_cast(what: str, got: DType, dtype: DType) -> None:
    """Warn, with a `CastWarning`, that data of dtype `got` is cast to `dtype`."""
    warn(
        f"{what} is {jnp.dtype(got).name}; cast to {jnp.dtype(dtype).name}, the parameters' dtype. "
        "Cast the data yourself to silence this warning.",
        CastWarning,
    )


def require_last_axis(where: str, name: str, shape: tuple[int, ...], size: int, meaning: str) -> None:
    """Raise `ValueError` unless the last axis of `shape` has `size` entries; `meaning` says what they are."""
    if not shape or shape[-1] != size:
        raise ValueError(
            f"{where}: {name} must have {size} {meaning} on its last axis, got shape {shape}. "
            "Rows are examples: give (N, features), or (features,) for a single example."
        )


def require_shape(where: str, name: str, shape: tuple[int, ...], wanted: tuple[int, ...], remedy: str) -> None:
    """Raise `ValueError` unless `shape` is exactly `wanted`."""
    if tuple(shape) != tuple(wanted):
        raise ValueError(f"{where}: {name} must have shape {tuple(wanted)}, got {tuple(shape)}. {remedy}")


def require_pair(where: str, result: Any, wanted: str) -> tuple[Any, Any]:
    """The result of a rule, if it is the pair that its contract asks for.

    An array of two rows would be unpacked silently.
    """
    if not isinstance(result, tuple | list) or len(result) != 2:
        if isinstance(result, tuple | list):
            got = f"{len(result)} values"
        elif hasattr(result, "shape"):
            got = f"one array of shape {tuple(result.shape)}"
        else:
            got = f"one {type(result).__name__}"
        raise TypeError(
            f"{where} must return {wanted}, got {got}. Return what backward needs beside the value, () if nothing."
        )
    return result[0], result[1]


# ---- values: on the host, before training ---------------------------------------------------------------------------


def and_more(bad: Any) -> str:
    """How many others there are beside the one that a message names: " (and 3 more)", nothing if none."""
    return f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""


#: The numbers of the rows at hand in the whole data, where these are a piece of it.
_NUMBERS: ContextVar[Any] = ContextVar("numbers", default=None)


@contextlib.contextmanager
def numbered(numbers: Any) -> Iterator[None]:
    """While a piece of the data is looked at, messages name rows by these numbers."""
    token = _NUMBERS.set(numbers)
    try:
        yield
    finally:
        _NUMBERS.reset(token)


def row_number(row: int) -> int:
    """The number of this row in the whole data."""
    numbers = _NUMBERS.get()
    return row if numbers is None else int(numbers[row])


def require_finite(name: str, data: Any) -> None:
    """Raise `ValueError` that names the first NaN or infinite entry of `data` by row (and column)."""
    array = np.asarray(data)
    if array.dtype.kind in "iub":
        return
    # bfloat16 is not a NumPy floating type; every float that JAX knows fits in float64
    finite = np.isfinite(array if array.dtype.kind == "f" else array.astype(np.float64))
    if finite.all():
        return
    bad = np.argwhere(~finite)
    first = tuple(int(i) for i in bad[0])
    place = f"row {row_number(first[0])}" if first else "its only entry"
    if len(first) == 2:
        place += f", column {first[1]}"
    elif len(first) > 2:
        place += f", position {first[1:]}"
    raise ValueError(
        f"{name} must be finite; {place} is {array[first]}{and_more(bad)}. Drop or impute these rows before training."
    )


def require_labels(name: str, labels: Any, classes: int) -> None:
    """Raise unless `labels` are whole numbers from 0 to `classes` − 1; name the first bad row.

    JAX itself silently takes −1 as the last class and one-hot encodes `classes` as zeros.
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "iu":
        raise TypeError(
            f"{name} must be whole-number labels from 0 to {classes - 1}, got dtype {array.dtype.name}. "
            f"Cast them, {name}.astype('int32'), or give one row of {classes} probabilities per example."
        )
    bad = np.argwhere((array < 0) | (array >= classes))
    if len(bad):
        first = tuple(int(i) for i in bad[0])
        row = row_number(first[0]) if first else 0
        raise ValueError(
            f"{name} must lie in 0 … {classes - 1}; row {row} is {array[first]}{and_more(bad)}. "
            "Number the classes from 0, or give the net more outputs."
        )


def require_range(name: str, data: Any, low: float, high: float, meaning: str) -> None:
    """Raise `ValueError` unless every entry of `data` lies in [low, high]; name the first row that does not."""
    array = np.asarray(data).astype(np.float64)
    # written so that NaN is outside
    bad = np.argwhere(~((array >= low) & (array <= high)))
    if len(bad):
        first = tuple(int(i) for i in bad[0])
        row = row_number(first[0]) if first else 0
        raise ValueError(
            f"{name} must be {meaning}; row {row} holds {array[first]} (and {len(bad) - 1} more outside). Rescale it."
        )


def validate(x: Any, y: Any = None, *, classes: int | None = None) -> None:
    """Check the values of a data set on the host; raise on the first problem that training would silently accept.

    Args:
        x: inputs, (N, …), floating, finite.
        y: targets, (N, …), or None; integers are labels when `classes` is given.
        classes: how many classes K the labels have; labels must then lie in 0 … K − 1.

    Raises:
        ValueError: no rows; x and y of unequal length; NaN or infinity, named by row and column; a label out of range.
        TypeError: x holds integers, or labels are expected and y holds floats.

    >>> import numpy as np
    >>> fnn.data.validate(np.ones((3, 2)), np.array([0, 1, 2]), classes=2)
    Traceback (most recent call last):
    ...
    ValueError: y must lie in 0 … 1; row 2 is 2. Number the classes from 0, or give the net more outputs.
    """
    shape = np.shape(x)
    if not shape or shape[0] == 0:
        raise ValueError(f"x must hold at least one row, got shape {shape}. Check how the data was filtered.")
    dtype = np.asarray(x).dtype
    # bfloat16 is a floating type for jnp, not for NumPy
    if not jnp.issubdtype(dtype, jnp.floating):
        floats = hasattr(y, "dtype") and jnp.issubdtype(y.dtype, jnp.floating)
        exchanged = " Or are x and y exchanged?" if floats else ""
        raise TypeError(
            f"x must have a floating dtype, got {dtype.name}. Cast it once with .astype('float32').{exchanged}"
        )
    require_finite("x", x)
    if y is None:
        return
    rows = np.shape(y)[0] if np.shape(y) else 0
    if rows != shape[0]:
        raise ValueError(
            f"x and y must have one row per example, got {shape[0]} rows of x and {rows} of y. Check the split."
        )
    require_finite("y", y)
    if classes is not None:
        require_labels("y", y, classes)
