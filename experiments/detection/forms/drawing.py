"""What a form is drawn from, and the tables into which forms are entered."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Draw:
    """Sizes, numbers and the dtype of one case."""

    random: np.random.Generator
    dtype: Any = jnp.float32
    rows: int = 5
    width: int = 4
    classes: int = 3

    def normal(self, *shape: int) -> jax.Array:
        """Normal numbers."""
        return jnp.asarray(self.random.normal(size=shape), self.dtype)

    def positive(self, *shape: int) -> jax.Array:
        """Numbers from (½, 2)."""
        return jnp.asarray(self.random.uniform(0.5, 2, shape), self.dtype)

    def labels(self) -> jax.Array:
        """One class for each row."""
        return jnp.asarray(self.random.integers(0, self.classes, self.rows), jnp.int32)

    def one_hot(self) -> jax.Array:
        """The same as rows of 0 and 1."""
        return jax.nn.one_hot(self.labels(), self.classes, dtype=self.dtype)

    def mask(self, *shape: int) -> jax.Array:
        """Zeros and ones, both of them."""
        mask = self.random.integers(0, 2, shape)
        mask.flat[0], mask.flat[-1] = 0, 1
        return jnp.asarray(mask, self.dtype)

    def definite(self, size: int) -> jax.Array:
        """A symmetric matrix whose eigenvalues are above 1."""
        a = self.random.normal(size=(size, size))
        return jnp.asarray(a @ a.T / size + np.eye(size), self.dtype)

    def key(self) -> jax.Array:
        """A key."""
        return jax.random.key(int(self.random.integers(1 << 30)))


@dataclass(frozen=True)
class Case:
    """What is handed to `fnn.check`."""

    function: Callable[..., Any]
    args: tuple
    options: dict[str, Any] = field(default_factory=dict)


def case(function: Callable[..., Any], *args: Any, **options: Any) -> Case:
    """A case from the call as a user writes it."""
    return Case(function, args, options)


def static(*arguments: int) -> Any:
    """`jax.custom_vjp` as a decorator with static arguments; type checkers lose their way in a partial."""
    return functools.partial(jax.custom_vjp, nondiff_argnums=arguments)


@dataclass(frozen=True)
class Form:
    """A right rule in the form of some family of public code."""

    family: str
    make: Callable[[Draw], Case]


FORMS: dict[str, Form] = {}


def form(family: str) -> Callable[[Callable[[Draw], Case]], Callable[[Draw], Case]]:
    """Enters a function of a draw into the table of forms, under its own name."""

    def entered(make: Callable[[Draw], Case]) -> Callable[[Draw], Case]:
        FORMS[make.__name__] = Form(family, make)
        return make

    return entered


@dataclass(frozen=True)
class Mistake:
    """A wrong rule after a public report: where it must be found, and what counts as the right diagnosis."""

    source: str
    make: Callable[[Draw], Case]
    culprit: str
    """The rule that must be named, alone."""
    at: tuple[str, ...]
    """What the names of the wrong arguments end in, all of them and no other; empty where any will do."""
    says: str
    """A pattern that the message of the right diagnosis matches. Fixed before the checker was run on the mistake."""


MISTAKES: dict[str, Mistake] = {}


def mistake(
    source: str, culprit: str, *at: str, says: str
) -> Callable[[Callable[[Draw], Case]], Callable[[Draw], Case]]:
    """Enters a function of a draw into the table of mistakes, under its own name."""

    def entered(make: Callable[[Draw], Case]) -> Callable[[Draw], Case]:
        MISTAKES[make.__name__] = Mistake(source, make, culprit, at, says)
        return make

    return entered
