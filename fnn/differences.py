"""Finite differences: the gradient from values alone, a witness that has nothing in common with any rule.

Promises: works on any scalar function of a pytree; the whole computation is compiled once; entries are taken in chunks,
so memory stays at `chunk` copies of one leaf; only the entry under test changes.
The step h follows the lecture: it is the *full* distance between the two points, (f(x + h/2) − f(x − h/2)) / h.
Letters: f the function, x one entry, h the step, ε the machine epsilon of the dtype. Sources: claims A8, A9, A12;
Press et al., Numerical Recipes, 3rd ed., section 5.7.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fnn.checks import as_floating, require_size, warn
from fnn.jaxprs import fingerprint, line_of
from fnn.types import Array, PyTree

__all__ = ["central_differences", "lecture_step", "one_sided_differences", "scaled_step"]

#: A step: one number for every entry, or a function from a leaf to the steps of its entries.
Step = float | Callable[[Array], Array]


def scaled_step(x: Array, power: float) -> Array:
    """h = ε^power · x_c, with the ε of x's dtype and the characteristic scale x_c = max(|x|, r), entry by entry.

    r is the root mean square of the leaf, or 1 if the whole leaf is 0: the guard at x = 0 that claim A9 asks for.

    Args:
        x: a leaf, any shape.
        power: 1/3 for central, 1/2 for one-sided differences; these balance truncation against rounding.

    Returns:
        the steps, in the shape and dtype of x.

    >>> [round(float(h), 4) for h in fnn.differences.scaled_step(jnp.array([1.0, 0.0, -3.0]), 1 / 3)]
    [0.009, 0.009, 0.0148]
    """
    # √mean x² in two steps, so that neither 1e30² overflows nor 1e-30² vanishes
    largest = jnp.max(jnp.abs(x), initial=0)
    safe = jnp.where(largest == 0, jnp.ones_like(largest), largest)
    size = jnp.where(largest == 0, jnp.ones_like(safe), safe * jnp.sqrt(jnp.mean((x / safe) ** 2)))
    return jnp.finfo(x.dtype).eps ** power * jnp.maximum(jnp.abs(x), size)


def lecture_step(x: Array) -> Array:
    """Exactly the step of the lecture (claim A9): h = ε^(1/3) |x| with ε = 10⁻⁷, and ε^(1/3) where x = 0.

    10⁻⁷ is about the epsilon of float32, whatever the dtype of x; the default steps use the epsilon of the dtype.

    >>> [round(float(h), 4) for h in fnn.differences.lecture_step(jnp.array([1.0, 0.0, -3.0]))]
    [0.0046, 0.0046, 0.0139]
    """
    # 10⁻⁷ is the slide's number
    return 1e-7 ** (1 / 3) * jnp.where(x == 0, jnp.ones_like(x), jnp.abs(x))


def central_differences(f: Callable[..., Array], step: Step | None = None, *, chunk: int = 64) -> Callable[..., PyTree]:
    """The symmetric difference quotient (f(x + h/2) − f(x − h/2)) / h for every entry of the first argument.

    The error is about h² |f‴| / 24 + ε |f| / h, the cost two evaluations per parameter.

    Args:
        f: (params, *rest) -> scalar: a function, a model, a partial; anything in `rest` that is not an array is held
            fixed.
        step: h, a number or a function of the leaf such as `lecture_step`; the default is 2 ε^(1/3) x_c, see
            `scaled_step`.
        chunk: how many entries are taken at a time.

    Returns:
        a function with the arguments of f that returns the gradient in the structure of params.

    Raises:
        TypeError: params with integer leaves, an array as the step, f that cannot be traced, such as NumPy code.
        ValueError: f not scalar, a step not above 0.

    Warns:
        UserWarning: a step that rounding changes, down to x + h = x.

    >>> f = lambda x: (2 * x[0] + 3 * x[1]) ** 2 + 3
    >>> fnn.central_differences(f, step=2e-2)(jnp.array([1.0, 3.0])).round(2)  # claim A8
    Array([44., 66.], dtype=float32)
    """
    return partial(_called, _Quotient(f, _central_step if step is None else step, True, chunk))


def one_sided_differences(
    f: Callable[..., Array], step: Step | None = None, *, chunk: int = 64
) -> Callable[..., PyTree]:
    """The one-sided difference quotient (f(x + h) − f(x)) / h; the error is about h |f″| / 2 + ε |f| / h.

    Arguments, result and errors are those of `central_differences`; the default step is ε^(1/2) x_c.

    >>> f = lambda x: (2 * x[0] + 3 * x[1]) ** 2 + 3
    >>> fnn.one_sided_differences(f, step=2e-2)(jnp.array([1.0, 3.0])).round(2)
    Array([44.079998, 66.18    ], dtype=float32)
    """
    return partial(_called, _Quotient(f, _one_sided_step if step is None else step, False, chunk))


def _central_step(x: Array) -> Array:
    # h spans both sides: twice ε^(1/3) x_c is where h² |f‴| / 24 and ε |f| / h balance for |f| ~ |f‴| x_c³
    return 2 * scaled_step(x, 1 / 3)


def _one_sided_step(x: Array) -> Array:
    return scaled_step(x, 1 / 2)


@dataclass(frozen=True)
class _Quotient:
    """What is static in the computation; equal ones share one compiled program."""

    f: Callable[..., Array] = field(compare=False)
    step: Step
    central: bool
    chunk: int
    key: Any = None
    """By what f is known: itself, or all that it computes."""

    def __post_init__(self) -> None:
        if not callable(self.step) and np.ndim(self.step):
            raise TypeError(
                f"step must be a number or a function of a leaf, got an array of shape {np.shape(self.step)}. "
                "The point is the argument of the function that is returned: central_differences(f)(x)."
            )
        if not callable(self.step) and not 0 < self.step < math.inf:
            raise ValueError(f"step must be above 0 and finite, got {self.step}. Leave it out for the default.")
        require_size("differences", "chunk", self.chunk, "Leave it out for the default of 64.")
        if self.key is None and _is_record(self.f):
            object.__setattr__(self, "key", self.f)


def _is_record(f: Any) -> bool:
    """True for a value such as an objective, which computes the same as every other that it equals."""
    try:
        hash(f)
    except TypeError:
        # a model that holds arrays
        return False
    return is_dataclass(f)


def _called(quotient: _Quotient, params: PyTree, *rest: Any, **options: Any) -> PyTree:
    free = [k for k, arg in enumerate(rest) if all(map(_is_number, jax.tree.leaves(arg)))]
    own = f = partial(quotient.f, **options) if options else quotient.f
    if len(free) < len(rest):

        def f(params: PyTree, *arrays: Any) -> Array:
            every = dict(zip(free, arrays, strict=True))
            return own(params, *(every.get(k, arg) for k, arg in enumerate(rest)))

    arrays = [rest[k] for k in free]
    if quotient.key is None or f is not quotient.f:
        # a function is traced at every call, so that a global that it reads counts as it is now
        quotient = replace(quotient, f=f, key=_key(f, params, arrays))
    gradient = _differences(quotient, params, *arrays)
    if quotient.step not in (_central_step, _one_sided_step):
        _warn_of_lost_steps(quotient, params)
    return gradient


def _warn_of_lost_steps(quotient: _Quotient, params: PyTree) -> None:
    """Where x and x + h are one number, the quotient is 0, whatever the function; near that it is off by a factor."""
    for k, leaf in enumerate(jax.tree.leaves(params)):
        if isinstance(leaf, Tracer) or not jnp.size(leaf):
            continue
        x = jnp.asarray(leaf)
        h = quotient.step(x) if callable(quotient.step) else jnp.full_like(x, quotient.step)
        below, above = (x - h / 2, x + h / 2) if quotient.central else (x, x + h)
        lost = int(jnp.sum(jnp.abs(above - below - h) > h / 10))
        if lost:
            warn(
                f"differences: rounding changes the step by more than a tenth in {lost} of {x.size} entries of leaf "
                f"{k} ({x.dtype.name}), and the quotient with it. Leave it out, make it larger, or work in float64.",
            )


def _key(f: Callable[..., Array], params: PyTree, arrays: list[Any]) -> Any:
    """All that f computes, as a text; what equals nothing else where that cannot be told, as within `jax.jit`."""
    try:
        # as a function of its own, for JAX remembers what it traced
        return fingerprint(lambda *args: f(*args), params, *arrays)
    except Exception:
        # whatever an unknown function raises: the run itself says so
        return object()


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float | complex)


@partial(jax.jit, static_argnums=0)
def _differences(quotient: _Quotient, params: PyTree, *rest: Any) -> PyTree:
    leaves, tree = jax.tree.flatten(params)
    leaves = [as_floating("differences", f"leaf {k} of the first argument", leaf) for k, leaf in enumerate(leaves)]
    gradients = []
    for k, leaf in enumerate(leaves):

        def value(changed: Array, k: int = k) -> Array:
            return quotient.f(jax.tree.unflatten(tree, [*leaves[:k], changed, *leaves[k + 1 :]]), *rest)

        gradients.append(_leaf_differences(quotient, value, leaf))
    return jax.tree.unflatten(tree, gradients)


def _leaf_differences(quotient: _Quotient, value: Callable[[Array], Array], leaf: Array) -> Array:
    try:
        out = jax.eval_shape(value, leaf)
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
        place = line_of(error) or "some line"
        raise TypeError(
            f"differences trace the function, which asks for the numbers themselves, at {place}: by float(), by if, or "
            "in NumPy. Write it with jax.numpy, or hand it to fnn.check, which takes NumPy."
        ) from error
    shape = getattr(out, "shape", None)
    if shape != ():
        got = f"shape {shape}" if shape is not None else type(out).__name__
        raise ValueError(f"differences need a function that returns one number, got {got}. Take its sum or its mean.")
    if leaf.size == 0:
        return jnp.zeros_like(leaf)
    flat = leaf.ravel()
    h = quotient.step(leaf).ravel() if callable(quotient.step) else jnp.full_like(flat, quotient.step)

    def moved(i: Array, shift: Array) -> Array:
        return value(flat.at[i].add(shift).reshape(leaf.shape))

    def entry(i: Array) -> Array:
        if quotient.central:
            return (moved(i, h[i] / 2) - moved(i, -h[i] / 2)) / h[i]
        return (moved(i, h[i]) - value(leaf)) / h[i]

    quotients = jax.lax.map(entry, jnp.arange(leaf.size), batch_size=min(quotient.chunk, leaf.size))
    return quotients.astype(leaf.dtype).reshape(leaf.shape)
