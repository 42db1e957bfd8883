"""What a Python function holds besides its arguments: the numbers in its code, and the values it closes over.

Promises: nothing is called and nothing is changed; the user's own functions that it names are read too, those of
installed packages are not.
"""

import functools
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

from fnn import jaxprs


def numbers(f: Callable[..., Any]) -> frozenset[float]:
    """The real numbers in the code of a function, and among the values that it reads: the 6 of np.minimum(x, 6)."""
    return frozenset(float(v) for _, v in held(f) if isinstance(v, int | float) and not isinstance(v, bool))


def held(f: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """(name, value) of what a function reads besides its arguments; a number that stands in its code has no name."""
    seen: set[int] = set()

    def read(f: Any) -> Iterator[tuple[str, Any]]:
        while isinstance(f, functools.partial | MethodType):
            f = f.func if isinstance(f, functools.partial) else f.__func__
        if not isinstance(f, FunctionType) or id(f) in seen or jaxprs.is_installed(f.__code__.co_filename):
            return
        seen.add(id(f))
        cells = zip(f.__code__.co_freevars, f.__closure__ or (), strict=False)
        named = [(name, cell.cell_contents) for name, cell in cells if _is_filled(cell)]
        for code in _codes(f.__code__):
            yield from (("", constant) for constant in code.co_consts)
            named += [(name, f.__globals__[name]) for name in code.co_names if name in f.__globals__]
        for name, value in named:
            yield name, value
            yield from read(value)

    return read(f)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function and of those written inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _is_filled(cell: Any) -> bool:
    """False for a variable that has no value yet."""
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True
