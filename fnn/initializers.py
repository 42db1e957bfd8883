"""Initial values of parameters: each initializer is a value, called as (key, shape, dtype) -> array.

Promises: the stated variance; the same key gives the same numbers; the dtype asked for, also with a NumPy number. Half
precision is drawn in float32 and rounded: drawn in itself it has a bias and few values. The fan-in of a weight matrix
W (I, O) is I, its fan-out O.
Refuses: the fans of anything but a matrix. Sources: claims B10, A13; Glorot & Bengio 2010; He et al. 2015;
LeCun et al. 1998; Saxe et al. 2014.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from fnn.checks import require_name
from fnn.types import Array, DType, Key, Record

#: The records, those made with a number, and the class of the one that takes a gain.
__all__ = [
    "Initializer",
    "Orthogonal",
    "constant",
    "fans",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "orthogonal",
    "uniform",
    "zeros",
]


@dataclass(frozen=True, repr=False)
class Initializer(Record):
    """The record of an initializer. A new one defines `__call__`.

    >>> class Sparse(fnn.initializers.Initializer):
    ...     def __call__(self, key, shape, dtype=jnp.float32):
    ...         return jax.random.bernoulli(key, 0.1, shape).astype(dtype)
    >>> fnn.dense(4, 3, weight_init=Sparse())
    dense(4, 3, weight_init=sparse)
    """

    def __call__(self, key: Key, shape: Sequence[int], dtype: DType = jnp.float32) -> Array:
        """Return an array of this shape and dtype."""
        raise TypeError(f"{type(self).__name__} must define __call__(key, shape, dtype) -> array.")


@dataclass(frozen=True, repr=False)
class Constant(Initializer):
    """Every entry is `value`. Equal weights keep all hidden units equal (claim B10).

    >>> fnn.initializers.constant(0.5)(jax.random.key(0), (2, 2)).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """

    value: float

    def __post_init__(self) -> None:
        _require_number(self, "value")

    def __call__(self, key: Key, shape: Sequence[int], dtype: DType = jnp.float32) -> Array:
        return jnp.full(shape, self.value, dtype)


@dataclass(frozen=True, repr=False)
class Zeros(Initializer):
    """Every entry is 0: right for biases; weights would stay there (claim B10).

    >>> fnn.initializers.zeros(jax.random.key(0), (2, 2)).tolist()
    [[0.0, 0.0], [0.0, 0.0]]
    """

    def __call__(self, key: Key, shape: Sequence[int], dtype: DType = jnp.float32) -> Array:
        return jnp.zeros(shape, dtype)


@dataclass(frozen=True, repr=False)
class Uniform(Initializer):
    """U[−bound, bound]; variance bound² / 3. Raises `ValueError` unless bound > 0 and finite.

    >>> W = fnn.initializers.uniform(0.3)(jax.random.key(0), (300, 200))
    >>> bool(jnp.abs(W).max() <= 0.3), round(float(jnp.var(W)), 3)
    (True, 0.03)
    """

    bound: float

    def __post_init__(self) -> None:
        _require_number(self, "bound")
        if not 0 < self.bound < math.inf:
            raise ValueError(f"uniform: bound must be finite and above 0, got {self.bound}. Try 0.1.")

    def __call__(self, key: Key, shape: Sequence[int], dtype: DType = jnp.float32) -> Array:
        return jax.random.uniform(key, tuple(shape), _drawn_in(dtype), -self.bound, self.bound).astype(dtype)


@dataclass(frozen=True, repr=False)
class Normal(Initializer):
    """N(0, deviation²). Raises `ValueError` unless deviation > 0 and finite.

    >>> round(float(jnp.std(fnn.initializers.normal(0.3)(jax.random.key(0), (300, 200)))), 2)
    0.3
    """

    deviation: float

    def __post_init__(self) -> None:
        _require_number(self, "deviation")
        if not 0 < self.deviation < math.inf:
            raise ValueError(f"normal: deviation must be finite and above 0, got {self.deviation}. Try 0.1.")

    def __call__(self, key: Key, shape: Sequence[int], dtype: DType = jnp.float32) -> Array:
        return (self.deviation * jax.random.normal(key, tuple(shape), _drawn_in(dtype))).astype(dtype)


class GlorotUniform(Initializer):
    """U[−b, b] with b = √6 / √(I + O): variance 2 / (I + O) (claim B10).

    >>> round(float(jnp.var(fnn.initializers.glorot_uniform(jax.random.key(0), (300, 200)))), 4)  # 2 / 500
    0.004
    """

    def __call__(self, key: Key, shape: Sequence[int], dtype: DType = jnp.float32) -> Array:
        fan_in, fan_out = fans(shape)
        return Uniform(math.sqrt(6 / (fan_in + fan_out)))(key, shape, dtype)


class GlorotNormal(Initializer):
    """N(0, 2 / (I + O)): keeps the variance forward and backward as well as one number can.

    >>> round(float(jnp.var(fnn.initializers.glorot_normal(jax.random.key(0), (300, 200)))), 4)  # 2 / 500
    0.004
    """

    def __call__(self, key: Key, shape: Sequence[int], dtype: DType = jnp.float32) -> Array:
        fan_in, fan_out = fans(shape)
        return Normal(math.sqrt(2 / (fan_in + fan_out)))(key, shape, dtype)


class HeUniform(Initializer):
    """U[−b, b] with b = √6 / √I: variance 2 / I, which makes up for the half that relu sets to 0.

    >>> round(float(jnp.var(fnn.initializers.he_uniform(jax.random.key(0), (300, 200)))), 4)  # 2 / 300
    0.0067
    """

    def __call__(self, key: Key, shape: Sequence[int], dtype: DType = jnp.float32) -> Array:
        return Uniform(math.sqrt(6 / fans(shape)[0]))(key, shape, dtype)


class HeNormal(Initializer):
    """N(0, 2 / I), which makes up for the half that relu sets to 0.

    >>> round(float(jnp.var(fnn.initializers.he_normal(jax.random.key(0), (300, 200)))), 4)  # 2 / 300
    0.0067
    """

    def __call__(self, key: Key, shape: Sequence[int], dtype: DType = jnp.float32) -> Array:
        return Normal(math.sqrt(2 / fans(shape)[0]))(key, shape, dtype)


class LecunUniform(Initializer):
    """U[−b, b] with b = √3 / √I: variance 1 / I.

    >>> round(float(jnp.var(fnn.initializers.lecun_uniform(jax.random.key(0), (300, 200)))), 4)  # 1 / 300
    0.0033
    """

    def __call__(self, key: Key, shape: Sequence[int], dtype: DType = jnp.float32) -> Array:
        return Uniform(math.sqrt(3 / fans(shape)[0]))(key, shape, dtype)


class LecunNormal(Initializer):
    """N(0, 1 / I): keeps the variance of the forward pass while the activation is nearly linear.

    >>> round(float(jnp.var(fnn.initializers.lecun_normal(jax.random.key(0), (300, 200)))), 4)  # 1 / 300
    0.0033
    """

    def __call__(self, key: Key, shape: Sequence[int], dtype: DType = jnp.float32) -> Array:
        return Normal(math.sqrt(1 / fans(shape)[0]))(key, shape, dtype)


@dataclass(frozen=True, repr=False)
class Orthogonal(Initializer):
    """gain times a matrix with orthonormal rows or columns, whichever are fewer, uniform over all of them.

    Q of the QR decomposition of a normal matrix, each column multiplied by the sign of R's diagonal entry; without the
    signs Q is not uniform (Mezzadri 2007).

    >>> W = fnn.initializers.orthogonal(jax.random.key(0), (4, 3))
    >>> bool(jnp.allclose(W.T @ W, jnp.eye(3), atol=1e-6))
    True
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        _require_number(self, "gain")

    def __call__(self, key: Key, shape: Sequence[int], dtype: DType = jnp.float32) -> Array:
        rows, columns = fans(shape)
        # QR exists in single and double precision only
        working = _drawn_in(dtype)
        tall = jax.random.normal(key, (max(rows, columns), min(rows, columns)), working)
        Q, R = jnp.linalg.qr(tall)
        Q = Q * jnp.where(jnp.diagonal(R) < 0, -1, 1).astype(working)[None, :]
        return (self.gain * (Q if rows >= columns else Q.T)).astype(dtype)


def _drawn_in(dtype: DType) -> DType:
    """The dtype in which numbers are drawn: float32 for what is narrower."""
    return jnp.float32 if jnp.dtype(dtype).itemsize < 4 else dtype


def _require_number(record: Initializer, field: str) -> None:
    """Make the field a Python float, so that a NumPy number neither changes the dtype nor the name of the record."""
    value = getattr(record, field)
    if not hasattr(value, "__float__"):
        raise TypeError(f"{record.name}: {field} must be a number, got {value!r}. Give a float such as 0.1.")
    object.__setattr__(record, field, float(value))


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan-in, fan-out) = (I, O) of a weight matrix; raises `ValueError` for any other shape.

    >>> fnn.initializers.fans((64, 32))
    (64, 32)
    """
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(
            f"fan-in and fan-out belong to a matrix (inputs, outputs), got shape {tuple(shape)}. "
            "Use uniform(bound), normal(deviation) or zeros for other arrays."
        )
    return int(shape[0]), int(shape[1])


zeros = Zeros()
constant = Constant
uniform = Uniform
normal = Normal
glorot_uniform = GlorotUniform()
glorot_normal = GlorotNormal()
he_uniform = HeUniform()
he_normal = HeNormal()
lecun_uniform = LecunUniform()
lecun_normal = LecunNormal()
orthogonal = Orthogonal()

#: The initializers that need no number, by name; `constant`, `uniform` and `normal` are made with one.
INITIALIZERS: dict[str, Initializer] = {
    each.name: each
    for each in (
        zeros, glorot_uniform, glorot_normal, he_uniform, he_normal, lecun_uniform, lecun_normal, orthogonal,
    )
}  # fmt: skip


def get(choice: str | Initializer) -> Initializer:
    """Return the initializer with this name, or the record itself. An unknown name raises and suggests the nearest.

    >>> fnn.initializers.get("he_normal")
    he_normal
    """
    if isinstance(choice, str) and choice in ("constant", "uniform", "normal"):
        raise ValueError(
            f"{choice} needs its number, got the name alone. Give a record: fnn.initializers.{choice}(0.1)."
        )
    return require_name(Initializer, INITIALIZERS, choice)
