"""Names of values: those given by the user, and a good name for every other value.

Promises: names are unique, are valid in Python, and are the same for the same program. In order of preference: a name
given by `fnn.glassbox.name`, the argument (`W1` for `params[0]["W"]`), the variable to which the source assigns the
value, the operation.
"""

import ast
import builtins
import functools
import inspect
import keyword
import linecache
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

from fnn.glassbox.table import known
from fnn.glassbox.trace.program import Program
from fnn.jaxprs import Place
from fnn.types import PyTree

#: Names that mean something else in the generated source.
TAKEN = ("jax", "jnp", "lax", "gradient")


def name(value: PyTree, called: str) -> PyTree:
    """Give a value a name under which the glass box shows it; it changes nothing else.

    Args:
        value: a pytree of arrays of any shape; if it has several leaves, each gets the name and a number.
        called: the name.

    Returns:
        the value.

    >>> def f(x):
    ...     hidden = jnp.tanh(x)
    ...     return jnp.sum(fnn.glassbox.name(hidden, "h") ** 2)
    >>> fnn.graph(f, jnp.array([0.0, 1.0])).cotangent("h").round(3)
    array([0.   , 1.523], dtype=float32)
    """
    return checkpoint_name(value, called)


def by_user(program: Program, f: Callable[..., Any], args: Sequence[PyTree]) -> dict[int, str]:
    """{value: the user's name}, for the values that the user names; two may have the same name."""
    leaves = dict(zip(program.inputs, arguments(f, args), strict=True))
    ends = dict.fromkeys(program.outputs, output(called(f)))
    named = {n: _word(name) for n, name in (ends | assigned(program) | program.names).items()}
    return named | {n: name for n, name in leaves.items() if n not in program.names}


def named(program: Program, f: Callable[..., Any], args: Sequence[PyTree], needed: Sequence[int]) -> dict[int, str]:
    """{value: its name}, for all values that are needed, in their order; arguments keep their names."""
    names = by_user(program, f, args)
    makers = {n: step.primitive.name for step in program.steps for n in step.outputs}
    own = {n: names[n] for n in needed if n in program.inputs}
    rest = {n: names.get(n) or word(makers.get(n, "constant")) for n in needed if n not in own}
    return own | unique(rest, own.values())


def called(f: Any) -> str:
    """The function's name, or its repr."""
    name = getattr(f, "__name__", "") or (repr(f) if hasattr(f, "__dataclass_fields__") else type(f).__name__)
    return "f" if name == "<lambda>" else name


def word(operation: str) -> str:
    """The name of the result of an operation that the user did not name; not a Python keyword."""
    wish = _word(known(operation).result)
    return f"{wish}_" if hasattr(builtins, wish) else wish


def output(function: str) -> str:
    """The name of the result of a function: that of the function, if it is a short word."""
    return function if function.isidentifier() and len(function) <= 16 else "output"


def unique(wishes: Mapping[int, str], taken: Iterable[str] = ()) -> dict[int, str]:
    """The same names, with a number appended to those that are taken or occur more than once."""
    reserved = set(taken)
    counted = Counter(wishes.values())
    used = reserved | {wish for wish, count in counted.items() if count == 1}
    latest: dict[str, int] = dict.fromkeys(reserved, 1)
    result = {}
    for number, wish in wishes.items():
        name = wish
        while counted[wish] > 1 or wish in reserved:
            latest[wish] = latest.get(wish, 0) + 1
            name = f"{wish}{'_' if wish[-1].isdigit() else ''}{latest[wish]}"
            if name not in used:
                break
        used.add(name)
        result[number] = name
    return result


def parameters(f: Callable[..., Any], count: int) -> list[str]:
    """The names of the first `count` arguments of f."""
    try:
        names = [p for p in inspect.signature(f).parameters.values() if p.kind <= p.POSITIONAL_OR_KEYWORD]
        names = [f"{p.name}_" if p.name in TAKEN else p.name for p in names][:count]
    except (TypeError, ValueError):
        names = []
    return names + [f"argument{k}" for k in range(len(names), count)]


def arguments(f: Callable[..., Any], args: Sequence[PyTree]) -> list[str]:
    """A name for each leaf of the arguments, in their order: `x`, `W1`, `xs_2`."""
    result: list[str] = []
    for argument, tree in zip(parameters(f, len(args)), args, strict=True):
        paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
        keys = [[str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path] for path in paths]
        words = [next((k for k in reversed(path) if not k.isdigit()), "") for path in keys]
        for path, word in zip(keys, words, strict=True):
            indices = [k for k in path if k.isdigit()]
            if not path:
                result.append(argument)
            elif word and words.count(word) == 1:
                result.append(_word(word))
            elif word and len(indices) == 1:
                # layers are counted from 1
                result.append(_word(f"{word}{int(indices[0]) + 1}"))
            else:
                result.append(_word("_".join([argument, *path])))
    return list(unique(dict(enumerate(result))).values())


def _word(wish: str) -> str:
    """The wanted name as a valid Python name."""
    word = re.sub(r"\W+", "_", wish, flags=re.ASCII if not wish.isidentifier() else 0).strip("_") or "value"
    return f"{word}_" if keyword.iskeyword(word) or word[0].isdigit() or word in TAKEN else word


def assigned(program: Program) -> dict[int, str]:
    """{value: the variable to which the user's source assigns it}, as far as a single line shows.

    A statement `q = x + y` may take several steps; the last one of them makes q.
    """
    result: dict[int, str] = {}
    for k, step in enumerate(program.steps):
        following = program.steps[k + 1] if k + 1 < len(program.steps) else None
        target = _target(step.place)
        if target and (following is None or _target_line(following.place) != _target_line(step.place)):
            result[step.outputs[0]] = target
    return result


def _target(place: Place) -> str:
    # a lambda is inside the statement that makes it, and computes nothing for its target
    statement = None if place.function.rpartition(".")[2].startswith("<") else _statement(place)
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        target = statement.target
    else:
        return ""
    return target.id if isinstance(target, ast.Name) else ""


def _target_line(place: Place) -> tuple[str, int]:
    statement = _statement(place)
    return place.file, statement.lineno if statement is not None else place.line


def _statement(place: Place) -> ast.stmt | None:
    """The innermost statement on that line."""
    holding = [
        each for each in _statements(place.file) if each.lineno <= place.line <= (each.end_lineno or each.lineno)
    ]
    if holding:
        return min(holding, key=lambda each: (each.end_lineno or each.lineno) - each.lineno)
    # a page with code in it is not a program as a whole, but the line may be a statement
    alone = next(iter(_parsed(place.text)), None)
    return alone and ast.increment_lineno(alone, place.line - 1)


@functools.lru_cache(maxsize=64)
def _statements(file: str) -> tuple[ast.stmt, ...]:
    return _parsed("".join(linecache.getlines(file)))


def _parsed(text: str) -> tuple[ast.stmt, ...]:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return ()
    return tuple(each for each in ast.walk(tree) if isinstance(each, ast.stmt))
