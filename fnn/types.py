"""The type names that every signature uses, the base of all records, and the shape legend of the package.

Promises: importing this file computes nothing and touches no device.

Shape legend
    N examples (any number of leading axes, including none) · I inputs · O outputs · H hidden units · K classes.
    Rows are examples: ``x: (N, I)``, ``W: (I, O)``, ``z = x @ W + b: (N, O)``.
    The cotangent of a value ``v``, the gradient of the loss with respect to it, is called ``v_bar``.
"""

from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

Array: TypeAlias = jax.Array
#: A (typed or raw) pseudo-random key, as made by ``jax.random.key``.
Key: TypeAlias = jax.Array
#: Any nesting of tuples, lists and dicts with arrays at the leaves.
PyTree: TypeAlias = Any
#: The parameters of a layer: a pytree of arrays; leaves called ``W`` are weights, the others are not regularized.
Params: TypeAlias = Any
#: What a forward pass saves for its backward pass: a pytree that holds arrays only.
Residuals: TypeAlias = Any
#: A dtype or its name: ``jnp.float32``, ``"bfloat16"``.
DType: TypeAlias = Any


def is_key(leaf: Any) -> bool:
    """True for an array of typed keys, which are not numbers."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def wide(dtype: DType) -> DType:
    """The dtype in which numbers of this floating dtype are summed: itself, but no narrower than float32."""
    return jnp.dtype(dtype) if jnp.finfo(dtype).bits >= 32 else jnp.dtype("float32")


def refuse_init(cls: type) -> None:
    """Raise `TypeError` if the class defines its own ``__init__``.

    Records are compared by their fields. Anything else that an ``__init__`` stores would not be compared, so two
    different records could be equal, and a compiled function would use one in place of the other.
    """
    if "__init__" in vars(cls):
        raise TypeError(
            f"{cls.__name__} must be a frozen dataclass, got a class with its own __init__. Write its parameters as "
            "fields under @dataclass(frozen=True), so that records with different parameters are unequal."
        )


def reset_stale(cls: type, base: type, rule: str, *sources: str) -> None:
    """Give a new class the `rule` of `base` again where it changes a source of it and inherits the rule itself.

    An inherited second derivative would be that of another function: a relu with a `backward` of its own must not
    bring along the curvature of the relu.
    """
    if min(depth(cls, name) for name in sources) < depth(cls, rule):
        setattr(cls, rule, vars(base)[rule])


def depth(cls: type, name: str) -> int:
    """How far up its line of ancestors a class finds this method: 0 is the class itself."""
    return next(k for k, each in enumerate(cls.__mro__) if name in vars(each))


class Factors(NamedTuple):
    """The per-example gradients of an affine map, not multiplied out: of W it is x_n z_bar_nᵀ, of b it is z_bar_n.

    x: (…, N, I), z_bar: (…, N, O); the axes before N count the repetitions of a repeated layer.
    """

    x: Array
    z_bar: Array


class Examples(NamedTuple):
    """Per-example gradients multiplied out: the structure of the layer's params, every leaf with a first axis of N."""

    gradients: Params


@dataclass(frozen=True, repr=False)
class Record:
    """A value with a name: equal by value, hashable, printed as it is written (``tanh``, ``leaky_relu(slope=0.1)``).

    Activations, losses, regularizers and initializers are records, so equal ones never make a compiled function
    retrace.
    """

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        refuse_init(cls)
        # a dataclass writes its own where a class has none
        if "__repr__" not in vars(cls):
            cls.__repr__ = cls.__repr__

    @property
    def name(self) -> str:
        """The name of the class in lower case with underscores: ``LeakyRelu`` is ``leaky_relu``."""
        return "".join("_" + c.lower() if c.isupper() else c for c in type(self).__name__).lstrip("_")

    def __repr__(self) -> str:
        changed = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }
        text = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        return f"{self.name}({text})" if text else self.name
