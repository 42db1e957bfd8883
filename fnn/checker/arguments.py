"""The arguments of a check: what is not a number is held fixed, and what cannot be checked is refused with a sentence.

Promises: every message says what must hold, what it got and what to do, with the line of the user's code; only the
value is compiled here, once.
"""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fnn import jaxprs
from fnn.checker import inside, trouble
from fnn.checker.host import as_it_stands
from fnn.checker.oracles import is_float
from fnn.gradients import Backprop
from fnn.layers import Layer
from fnn.types import PyTree, is_key


@dataclass(frozen=True)
class Call:
    """A function and a separate gradient on arguments that hold only numbers, and what they hold fixed."""

    function: Callable[..., Any]
    gradient: Callable[..., PyTree] | None
    args: tuple
    fixed: tuple[str, ...] = ()


def without_others(f: Callable[..., Any], gradient: Callable[..., PyTree] | None, args: tuple) -> Call:
    """The call with strings, functions and other objects taken out of the arguments and put back inside."""
    leaves, tree = jax.tree.flatten(args)
    numbers = [is_number(leaf) for leaf in leaves]
    if all(numbers):
        return Call(f, gradient, args)

    def filled(args: tuple) -> tuple:
        rest = iter(jax.tree.leaves(args))
        return tree.unflatten(next(rest) if free else leaf for leaf, free in zip(leaves, numbers, strict=True))

    fixed = tuple(
        f"argument {path[0].idx}{jax.tree_util.keystr(path[1:])} ({type(leaf).__name__}, held fixed)"
        for (path, leaf), free in zip(jax.tree_util.tree_leaves_with_path(args), numbers, strict=True)
        if not free
    )
    kept = tree.unflatten(leaf if free else None for leaf, free in zip(leaves, numbers, strict=True))
    beside = None if gradient is None else lambda *args, **options: gradient(*filled(args), **options)
    return Call(lambda *args, **options: f(*filled(args), **options), beside, kept, fixed)


def is_number(leaf: Any) -> bool:
    """True for what JAX accepts as an array: arrays of numbers, Python numbers, keys."""
    if isinstance(leaf, jax.Array) or is_key(leaf):
        return True
    if isinstance(leaf, np.ndarray | np.generic):
        return leaf.dtype.kind in "biufcV"
    return isinstance(leaf, bool | int | float | complex)


def require_usable(f: Any, args: tuple, gradient: Any, options: dict[str, Any]) -> None:
    """Raise on what can be seen before anything runs."""
    if not callable(f) or isinstance(f, Layer):
        raise TypeError(
            f"check needs a function or a backprop record, got {f!r}. Make it with fnn.backprop(net, loss)."
        )
    if isinstance(f, Backprop) and len(args) != 3:
        raise TypeError(f"check of a backprop record needs (params, x, y), got {len(args)} arguments. Add the others.")
    if gradient is None and not isinstance(f, Backprop):
        for place, what in ((-1, "last"), (0, "second")):
            if _is_one_too_many(f, args, place):
                name = getattr(args[place], "__name__", "g").replace("<lambda>", "lambda …")
                raise TypeError(
                    f"check takes the gradient by its name, got a function as the {what} argument. "
                    f"Write gradient={name}."
                )
    if gradient is not None and not callable(gradient):
        raise TypeError(f"gradient must be a function such as jax.grad(f), got {type(gradient).__name__}.")
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((args, options))):
        raise TypeError("check looks at values and cannot run inside jit, grad or vmap. Call it on concrete arrays.")


def _is_one_too_many(f: Callable[..., Any], args: tuple, place: int) -> bool:
    """True if the first or last argument is a function, and f takes all the others without it, but not with it."""
    if not args or not callable(args[place]) or is_number(args[place]):
        return False
    try:
        takes = inspect.signature(f)
        takes.bind(*(args[:-1] if place else args[1:]))
    except (TypeError, ValueError):
        return False
    try:
        takes.bind(*args)
    except TypeError:
        return True
    return False


def require_real(args: tuple) -> None:
    """Raise if there are complex numbers."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(args):
        if not is_key(leaf) and jnp.issubdtype(leaf.dtype, jnp.complexfloating):
            raise TypeError(
                f"check takes real numbers, got complex ones ({leaf.dtype.name}) in argument {path[0].idx}"
                f"{jax.tree_util.keystr(path[1:])}. Pass their real and imaginary parts as two arguments."
            )


def require_floats(args: tuple, *, of_first: bool = False) -> None:
    """Raise unless there is something to differentiate with respect to; `of_first` if the gradient is that of argument
    0."""
    floats = [leaf for leaf in jax.tree.leaves(args) if is_float(leaf)]
    if not floats:
        raise ValueError(
            "there is nothing to check: no argument holds a floating number that a gradient could be taken of. "
            "Give floats, 1.0 and not 1, or cast with .astype('float32')."
        )
    if of_first and not any(is_float(leaf) for leaf in jax.tree.leaves(args[:1])):
        raise ValueError(
            "there is nothing to check: argument 0 holds no floating number, and the gradient is taken of it. "
            "Give floats, 1.0 and not 1, or cast with .astype('float32')."
        )
    if not any(leaf.size for leaf in floats):
        raise ValueError(
            f"there is nothing to check: every floating argument is empty, of shape {floats[0].shape}. Give an example."
        )


def require_traced(f: Callable[..., Any], args: tuple) -> inside.Run:
    """The run of a function that JAX can trace; otherwise raise, naming the line at which it needs the numbers."""
    errors = jax.errors
    try:
        return require_sound(f, args)
    except errors.TracerArrayConversionError as error:
        raise TypeError(
            f"check traces the function, and {jaxprs.line_of(error) or 'it'} uses NumPy on a value that has no numbers "
            "then. Use jax.numpy; or give the gradient that you wrote in NumPy, fnn.check(f, x, gradient=g): then f "
            "may use it."
        ) from error
    except (errors.ConcretizationTypeError, errors.NonConcreteBooleanIndexError) as error:
        raise TypeError(
            f"check traces the function, and {jaxprs.line_of(error) or 'it'} decides by the values of its arguments in "
            "Python (if, while, float(), bool()), which have none then. Use jnp.where or jax.lax.cond."
        ) from error
    except AttributeError as error:
        lacking = re.search(r"No (?:VJP|JVP) defined for (custom_\w+) function (\w+) using (\w+)", str(error))
        if lacking is None:
            raise
        kind, name, method = lacking.groups()
        raise TypeError(
            f"{name} is under jax.{kind} and has no rule, called at {jaxprs.line_of(error)}. Give it one by "
            f"{name}.{method}, or take the decorator away."
        ) from error


def require_sound(call: Callable[..., PyTree], args: tuple) -> inside.Run:
    """The run of a function that returns one floating number, the same twice, and finite."""
    run = inside.run(call, args)
    _require_one_number(run.out)
    if list(jaxprs.lines_of(run.program)) != _lines(call, args):
        raise ValueError(NOT_PURE)
    _require_finite(run.out, lambda: f": {trouble.first_bad(run.program, args)}")
    return run


def require_sound_on_host(call: Callable[..., PyTree], args: tuple) -> None:
    """The same for a function that cannot be traced; its own errors pass through."""
    try:
        value = as_it_stands(call, args)
    except Exception as error:
        error.add_note(
            f"The function itself raises this when fnn.check calls it on its arguments as they are.{_lists(args)}"
        )
        raise
    _require_one_number(value)
    if not _is_same_twice(call, args):
        raise ValueError(NOT_PURE)
    _require_finite(value, lambda: "")


SEEDED = "Pass its random numbers, or the key or seed they come from, as an argument."
NOT_PURE = f"two calls of the function on the same arguments differ: it is not pure. {SEEDED}"


def _lists(args: tuple) -> str:
    """What to say about arguments that are lists of numbers."""
    lists = [k for k, arg in enumerate(args) if isinstance(arg, list) and not any(map(np.ndim, jax.tree.leaves(arg)))]
    return "".join(f" Argument {k} is a list: give np.array of it." for k in lists)


def _require_one_number(value: PyTree) -> None:
    leaves = jax.tree.leaves(value)
    if len(leaves) != 1 or np.shape(leaves[0]) != () or not is_float(leaves[0]):
        shapes = [
            f"{np.shape(leaf)} {leaf.dtype.name}" if leaf.dtype != object else f"a {type(leaf[()]).__name__}"
            for leaf in leaves
        ]
        remedy = (
            "Sum the output, or, if this is a gradient, pass the function itself: a derived function has no rules left."
        )
        if any(leaf.dtype == object for leaf in leaves):
            remedy = "Give its number, as lambda *args: f(*args).data where that holds it."
        elif isinstance(value, tuple) and len(leaves) > 1 and np.shape(leaves[0]) == () and is_float(leaves[0]):
            remedy = "If the first is the loss, pass lambda *args: f(*args)[0]."
        raise TypeError(
            f"check needs a function that returns one floating number; it returns {', '.join(shapes) or 'nothing'}. "
            f"{remedy}"
        )


def _require_finite(value: PyTree, first: Callable[[], str]) -> None:
    (number,) = jax.tree.leaves(value)
    if not np.isfinite(np.asarray(number, np.float64)):
        raise ValueError(f"the value of the function is {number} there{first()}. Mend the value before its gradient.")


def require_same_twice(gradient: Callable[..., PyTree], args: tuple, *, on_host: bool) -> None:
    """Raise unless the separate gradient, too, is the same twice."""
    alike = _is_same_twice if on_host else _is_traced_alike
    try:
        same = alike(gradient, args)
    except Exception:
        # whatever an unknown function raises: the judge says so
        same = True
    if not same:
        raise ValueError(f"two calls of the gradient on the same arguments differ: it is not pure. {SEEDED}")


def _is_traced_alike(call: Callable[..., PyTree], args: tuple) -> bool:
    return _lines(call, args) == _lines(call, args)


def _lines(call: Callable[..., PyTree], args: tuple) -> list[str]:
    """What a call computes, as text; traced as a new function, since JAX remembers what it traced."""
    return list(jaxprs.lines_of(jax.make_jaxpr(lambda *args: call(*args))(*args)))


def _is_same_twice(call: Callable[..., PyTree], args: tuple) -> bool:
    first, again = (as_it_stands(call, args) for _ in range(2))
    same = jax.tree.map(lambda a, b: a.shape == b.shape and np.array_equal(a, b, equal_nan=True), first, again)
    return all(jax.tree.leaves(same))


def kind(leaf: Any) -> str:
    """What an argument without a derivative holds."""
    if is_key(leaf):
        return "keys"
    if leaf.dtype == bool:
        return "booleans"
    return "integers" if jnp.issubdtype(leaf.dtype, jnp.integer) else str(leaf.dtype)
