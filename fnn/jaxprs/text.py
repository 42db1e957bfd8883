"""What a function computes, as text and as its SHA-256.

Promises: equal in every process with the same release of JAX; names and places do not count, every constant does.
Refuses: a function that calls back into Python.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from fnn.jaxprs.parts import bare, closed, equations, is_literal, value_of
from fnn.types import PyTree, is_key


def fingerprint(f: Callable[..., PyTree], *args: PyTree) -> str:
    """Return the SHA-256 of what f computes on arguments of these shapes: its jaxpr, with every constant.

    Equal in every process with the same release of JAX; names of functions and places in files do not count. Raises
    `ValueError` for a function that calls back into Python: what that computes is not in the jaxpr.

    >>> import jax.numpy as jnp
    >>> scale = lambda c: lambda x: c * x
    >>> fingerprint(scale(2.0), jnp.ones(3)) == fingerprint(scale(2.0), jnp.ones(3))
    True
    >>> fingerprint(scale(2.0), jnp.ones(3)) == fingerprint(scale(3.0), jnp.ones(3))
    False
    """
    # a function of its own: JAX would give what it traced of f before, whatever globals f reads by now
    program, shape = jax.make_jaxpr(lambda *args: f(*args), return_shape=True)(*args)
    return fingerprint_of(program, f"{jax.tree.structure(args)} -> {jax.tree.structure(shape)}")


def fingerprint_of(jaxpr: Any, structure: str = "") -> str:
    """The fingerprint of what is already traced, with the structure of its arguments and results as text."""
    if any("callback" in each.primitive.name for each in equations(jaxpr)):
        raise ValueError("a function that calls back into Python has no fingerprint. Write it in JAX.")
    return hashlib.sha256("\n".join([structure, *lines_of(jaxpr)]).encode()).hexdigest()


def lines_of(jaxpr: Any, indent: str = "") -> Iterator[str]:
    """A jaxpr with its constants as text: variables numbered in order, constants by their bytes."""
    inner = bare(jaxpr)
    numbers: dict[Any, str] = {}

    def text(atom: Any) -> str:
        if is_literal(atom):
            return constant_text(value_of(atom))
        return numbers.setdefault(atom, f"v{len(numbers)}") + f":{_shape_text(atom.aval)}"

    yield f"{indent}inputs {' '.join(map(text, inner.invars))}"
    for variable, value in zip(inner.constvars, getattr(jaxpr, "consts", ()), strict=True):
        yield f"{indent}{text(variable)} = {constant_text(value)}"
    for equation in inner.eqns:
        inputs, outputs = " ".join(map(text, equation.invars)), " ".join(map(text, equation.outvars))
        yield f"{indent}{outputs} = {equation.primitive.name} {inputs}"
        for key in sorted(equation.params):
            if key not in _SILENT:
                yield from _parameter_lines(key, equation.params[key], indent + "  ")
    yield f"{indent}outputs {' '.join(map(text, inner.outvars))}"


#: Parameters that say nothing about what is computed, or cannot be read: names, memoized tracers.
_SILENT = (
    "name", "debug_info", "fwd_jaxpr_thunk", "jvp_jaxpr_fun", "bwd", "out_trees", "ctx_mesh", "compiler_options_kvs"
)  # fmt: skip


def _parameter_lines(key: str, value: Any, indent: str) -> Iterator[str]:
    if hasattr(value, "eqns") or hasattr(getattr(value, "jaxpr", None), "eqns"):
        yield f"{indent}{key}:"
        yield from lines_of(closed(value), indent + "  ")
    elif isinstance(value, tuple | list):
        yield f"{indent}{key}: {len(value)}"
        for k, each in enumerate(value):
            yield from _parameter_lines(f"{key}[{k}]", each, indent + "  ")
    elif isinstance(value, jax.Array | np.ndarray):
        yield f"{indent}{key}: {constant_text(value)}"
    elif callable(value) and not isinstance(value, type | np.dtype):
        name = getattr(value, "__qualname__", type(value).__name__)
        yield f"{indent}{key}: {getattr(value, '__module__', '')}.{name}"
    else:
        yield f"{indent}{key}: {re.sub(r' at 0x[0-9a-f]+|(?<=id=)[0-9]+', '', repr(value))}"


def constant_text(value: Any) -> str:
    """A constant by its dtype, shape and bytes."""
    if is_key(value):
        return f"key {jax.random.key_impl(value)} {constant_text(jax.random.key_data(value))}"
    array = np.asarray(value)
    return f"{array.dtype.name}{list(array.shape)} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}"


def _shape_text(aval: Any) -> str:
    return f"{getattr(aval, 'dtype', '')}{list(getattr(aval, 'shape', ()))}"
