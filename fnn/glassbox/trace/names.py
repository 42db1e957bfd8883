"""Names of values: those given by the user, and a good name for every other value.

Promises: names are unique, are valid in Python, and are the same for the same program. In order of preference: a name
given by `fnn.glassbox.name`, the argument (`W1` for `params[0]["W"]`), the variable to which the source assigns the
value, the operation.
"""

import ast
import builtins
import functools
import inspect
import itertools
import keyword
import linecache
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

from fnn.glassbox.table import known
from fnn.glassbox.trace.program import Program, Step
from fnn.jaxprs import NOWHERE, Place
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
    wishes = names + [f"argument{k}" for k in range(len(names), count)]
    return list(unique(dict(enumerate(wishes))).values())


def arguments(f: Callable[..., Any], args: Sequence[PyTree]) -> list[str]:
    """A name for each leaf of the arguments, in their order: `x`, `W1`, `xs_2`."""
    called = parameters(f, len(args))
    # an argument keeps its name, and no leaf inside one takes it
    own: dict[int, str] = {}
    inside: dict[int, str] = {}
    for argument, tree in zip(called, args, strict=True):
        paths = [path for path, _ in jax.tree_util.tree_flatten_with_path(tree)[0]]
        keys = [[str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path] for path in paths]
        # a key that begins with no letter (-1, 0.5) is no name by itself
        words = [next((k for k in reversed(path) if re.match(r"[^\W\d]", k)), "") for path in keys]
        for path, word in zip(keys, words, strict=True):
            indices = [k for k in path if k.isdigit()]
            if not path:
                own[len(own) + len(inside)] = argument
                continue
            wish = "_".join([argument, *path])
            if word and words.count(word) == 1:
                wish = word
            elif word and len(indices) == 1:
                # layers are counted from 1
                wish = f"{word}{int(indices[0]) + 1}"
            inside[len(own) + len(inside)] = _word(wish)
    names = own | unique(inside, called)
    return [names[k] for k in range(len(names))]


def _word(wish: str) -> str:
    """The wanted name as a valid Python name."""
    # letters of every script are letters; Python reads some signs as others (ﬁ is fi)
    letters = (c if f"a{c}".isidentifier() else " " for c in unicodedata.normalize("NFKC", wish))
    word = "_".join("".join(letters).split()).strip("_") or "value"
    if not word.isidentifier():
        return f"value_{word}"
    return f"{word}_" if keyword.iskeyword(word) or word in TAKEN else word


def assigned(program: Program) -> dict[int, str]:
    """{value: the variable to which the user's source assigns it}, as far as a single line shows.

    A statement `q = x + y` may take several steps; the last one in a row makes q. What a function that the statement
    calls computes belongs to the row: of `q = f(x + 1)` the sum is not q. What `f` returns is q, if the line of its
    `return` makes it.
    """
    for file in {step.place.file for step in program.steps}:
        # a module may have been mended and loaded anew
        linecache.checkcache(file)
    _statement.cache_clear()
    result: dict[int, str] = {}
    for step, following in itertools.zip_longest(program.steps, program.steps[1:]):
        place = _receiving(step)
        statement = _statement(place)
        target = _target(statement, place.function)
        # of several outputs a line does not tell which one it assigns
        if statement and target and not step.outputs[1:] and not (following and _goes_on(statement, place, following)):
            result[step.outputs[0]] = target
    return result


def _receiving(step: Step) -> Place:
    """The line whose value the step makes: its own, or the one to which `return` hands the value on; or NOWHERE."""
    place = step.place
    if _is_handed_on(_statement(place), place.file):
        # an argument of a function that computes nothing: it may return another one
        return NOWHERE
    for caller in step.callers:
        statement = _statement(place)
        if not isinstance(statement, ast.Return) or _several(statement.value):
            break
        if not _is_a_call(_statement(caller), place.function):
            break
        place = caller
    return place


def _is_a_call(statement: ast.stmt | None, function: str) -> bool:
    """True where the value of a statement is what that function returns: `q = f(…)`, `return f(…)`."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.Return) or not isinstance(statement.value, ast.Call):
        return False
    called = statement.value.func
    return isinstance(called, ast.Name | ast.Attribute) and _last(ast.unparse(called)) == _last(function)


@functools.lru_cache(maxsize=4096)
def _is_handed_on(statement: ast.stmt | None, file: str) -> bool:
    """True where a statement assigns or returns what a function of the same file returns."""
    if not isinstance(statement, ast.Assign | ast.AnnAssign | ast.Return) or not isinstance(statement.value, ast.Call):
        return False
    called = statement.value.func
    own = isinstance(called, ast.Name) or ast.unparse(called).startswith("self.")
    functions = (each for each in _parsed("".join(linecache.getlines(file))) if isinstance(each, ast.FunctionDef))
    return own and any(each.name == _last(ast.unparse(called)) for each in functions)


def _last(dotted: str) -> str:
    return dotted.rpartition(".")[2]


def _goes_on(statement: ast.stmt, place: Place, following: Step) -> bool:
    """True where the next step belongs to the statement too, or to what it calls."""
    return any(
        other.file == place.file and _spans(statement, other.line) for other in (following.place, *following.around)
    )


def _target(statement: ast.stmt | None, function: str) -> str:
    """The variable that a statement assigns one value to; "" for none."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        target = statement.target
    else:
        return ""
    # a lambda stands inside the statement that makes it, and computes nothing for its target
    inside = _last(function).startswith("<")
    return target.id if isinstance(target, ast.Name) and not inside and not _several(statement.value) else ""


_LISTS = (ast.Tuple, ast.List, ast.Dict, ast.Set, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_MAKERS = ("dict", "list", "map", "partial", "set", "tuple", "zip")


def _several(value: ast.expr | None) -> bool:
    """True for what holds values and is none of them: lists, and objects, whose classes have capitals."""
    if isinstance(value, ast.Call):
        maker = _last(ast.unparse(value.func))
        return maker in _MAKERS or maker[:1].isupper()
    return isinstance(value, _LISTS)


@functools.lru_cache(maxsize=4096)
def _statement(place: Place) -> ast.stmt | None:
    """The innermost statement on that line; None where there are several, of which the line does not tell one."""
    holding = [each for each in _parsed("".join(linecache.getlines(place.file))) if _spans(each, place.line)]
    if not holding:
        # a page with code in it is no program as a whole; its line may be a statement
        holding = list(_parsed("\n" * (place.line - 1) + place.text))
    inner = [each for each in holding if not any(_within(other, each) for other in holding)]
    return inner[0] if len(inner) == 1 else None


def _spans(statement: ast.stmt, line: int) -> bool:
    return statement.lineno <= line <= (statement.end_lineno or statement.lineno)


def _within(inner: ast.stmt, outer: ast.stmt) -> bool:
    """True where one statement stands inside another."""
    begin, end = (outer.lineno, outer.col_offset), (outer.end_lineno or 0, outer.end_col_offset or 0)
    own = (inner.lineno, inner.col_offset), (inner.end_lineno or 0, inner.end_col_offset or 0)
    return inner is not outer and begin <= own[0] and own[1] <= end


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> tuple[ast.stmt, ...]:
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return ()
    return tuple(each for each in ast.walk(tree) if isinstance(each, ast.stmt))
