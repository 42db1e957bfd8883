"""Wrong rules made by operators, not chosen: every place of a hand-written rule is changed in every way.

Promises: `mutants` and `changed_functions` change the syntax tree of a rule's source, one place at a time;
`result_changes` and `changed_result` change what a rule returns, whatever its source. Each change carries the short
name of its operator. Changes that differ only where two numbers are equal (< for <=) are not made.
Refuses: nothing; a mutant may fail to run, which whoever draws it finds out.
"""

import ast
import copy
import functools
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

Change = tuple[str, str, Callable[[Any], Any]]

REVERSED: dict[type, type] = {
    ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Is: ast.IsNot, ast.IsNot: ast.Is
}  # fmt: skip
#: One attribute for another: (operator, the new name).
ATTRIBUTES = {
    "sum": ("reduction", "mean"), "zeros_like": ("reduction", "ones_like"), "ones_like": ("reduction", "zeros_like"),
    "add": ("sign", "subtract"),
}  # fmt: skip
AXES = ("axis", "axes", "keepdims")


def mutants(cls: type, method: str) -> Iterator[tuple[str, str, type]]:
    """(operator, what was changed, the class with that change) for every mutant of one method of a class."""
    for operator, told, changed in changed_functions(getattr(cls, method)):
        yield operator, told, with_method(cls, method, changed)


def with_method(cls: type, method: str, changed: Callable) -> type:
    """The class with another method, by the same name: records print and are named as before."""
    return type(cls.__name__, (cls,), {method: changed, "__qualname__": cls.__qualname__, "__module__": cls.__module__})


def through(cls: type, method: str, **helpers: Callable) -> type:
    """The class whose method calls other helpers in place of those that its module holds under these names."""
    function = getattr(cls, method)
    changed = type(function)(function.__code__, {**function.__globals__, **helpers}, method, function.__defaults__)
    return with_method(cls, method, functools.wraps(function)(changed))


def changed_functions(function: Callable) -> Iterator[tuple[str, str, Callable]]:
    """(operator, what was changed, the changed function) for every mutant of a function."""
    lines, first = inspect.getsourcelines(function)
    tree = ast.increment_lineno(ast.parse(textwrap.dedent("".join(lines))), first - 1)
    names, original = _locals(tree), ast.unparse(tree)
    inside = _inside(tree)
    for index, place in enumerate(ast.walk(tree)):
        for number in range(len(list(_changes(place, names, inside.get(id(place), ""))))):
            changed: Any = copy.deepcopy(tree)
            node = list(ast.walk(changed))[index]
            operator, told, apply = list(_changes(node, names, inside.get(id(place), "")))[number]
            before = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else type(node).__name__
            replacement = apply(node)
            if replacement is not node:
                changed = _Replaced(node, replacement).visit(changed)
            ast.fix_missing_locations(changed)
            if ast.unparse(changed) == original:
                continue
            space: dict = {}
            exec(compile(changed, inspect.getsourcefile(function) or "mutant", "exec"), function.__globals__, space)
            yield operator, f"{told}: {before}", space[function.__name__]


class _Replaced(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else super().visit(node)


def _locals(tree: ast.AST) -> list[str]:
    """The names that the function itself assigns or takes, `self` left out."""
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.Lambda)]
    taken = [a.arg for n in functions for a in n.args.args]
    given = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return [name for name in dict.fromkeys(taken + given) if name != "self"]


def _inside(tree: ast.AST) -> dict[int, str]:
    """The nodes within an axis or an index, and within annotations: there numbers are places, not quantities."""
    found: dict[int, str] = {}
    for node in ast.walk(tree):
        part: tuple[str, ast.AST | None] = ("", None)
        if isinstance(node, ast.keyword) and node.arg in AXES:
            part = ("axis", node.value)
        elif isinstance(node, ast.Subscript):
            part = ("index", node.slice)
        elif isinstance(node, ast.arg):
            part = ("annotation", node.annotation)
        elif isinstance(node, ast.FunctionDef):
            part = ("annotation", node.returns)
        for each in ast.walk(part[1]) if part[1] is not None else ():
            # what an annotation holds stays one: tuple[Array, Array | None] has an index
            if found.get(id(each)) != "annotation":
                found[id(each)] = part[0]
    return found


def _changes(node: ast.AST, names: list[str], inside: str) -> Iterator[tuple[str, str, Callable[[Any], ast.AST]]]:
    """(operator, what is done, how) for one node; `how` may change the node in place or give another."""

    def operation(new: ast.operator) -> Callable[[Any], ast.AST]:
        return lambda n: ast.BinOp(n.left, new, n.right)

    if inside == "annotation":
        return
    number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
    if inside in ("axis", "index"):
        if number:
            yield inside, f"{inside} changed by one", lambda n: ast.Constant(n.value + 1)
        elif isinstance(node, ast.Constant) and type(node.value) is bool:
            yield inside, "reversed", lambda n: ast.Constant(not n.value)
    elif number and node.value:  # type: ignore[attr-defined]
        yield "constant", "doubled", lambda n: ast.Constant(2 * n.value)
        yield "constant", "negated", lambda n: ast.Constant(-n.value)
    if isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.Add | ast.Sub):
            yield "sign", "sign", operation(ast.Sub() if isinstance(node.op, ast.Add) else ast.Add())
            yield "term dropped", "right term dropped", lambda n: n.left
            right = (lambda n: n.right) if isinstance(node.op, ast.Add) else lambda n: ast.UnaryOp(ast.USub(), n.right)
            yield "term dropped", "left term dropped", right
        if isinstance(node.op, ast.Mult):
            yield "factor dropped", "right factor dropped", lambda n: n.left
            yield "factor dropped", "left factor dropped", lambda n: n.right
        if isinstance(node.op, ast.Div):
            yield "divisor dropped", "divisor dropped", lambda n: n.left
        if isinstance(node.op, ast.BitOr):
            yield "comparison", "and for or", operation(ast.BitAnd())
        if isinstance(node.op, ast.MatMult):
            for side in ("left", "right"):
                yield "transposition", f"{side} transposed", functools.partial(_transposed, side=side)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and inside != "axis":
        yield "sign", "sign dropped", lambda n: n.operand
    if isinstance(node, ast.Compare) and type(node.ops[0]) in REVERSED:
        yield "comparison", "reversed", lambda n: ast.Compare(n.left, [REVERSED[type(n.ops[0])]()], n.comparators)
    if isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
        operator, new = ATTRIBUTES[node.attr]
        yield operator, f"{new} for {node.attr}", lambda n: ast.Attribute(n.value, new, ast.Load())
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield "transposition", "transposition dropped", lambda n: n.value
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
        for other in names:
            if other != node.id:
                yield "wrong value", f"{other} for {node.id}", lambda n, other=other: ast.Name(other, ast.Load())


def _transposed(node: Any, side: str) -> ast.AST:
    setattr(node, side, ast.Attribute(getattr(node, side), "T", ast.Load()))
    return node


# ---- the result as a whole ------------------------------------------------------------------------------------------


def result_changes(coordinate: tuple[int, ...]) -> list[Change]:
    """(operator, what is done, array -> array); the coordinate, taken modulo the shape, says which entry or row."""

    def one_entry(g: jax.Array) -> jax.Array:
        return g.at[tuple(r % size for r, size in zip(coordinate, g.shape, strict=False))].multiply(1.5)

    def one_row(g: jax.Array) -> jax.Array:
        return g.at[coordinate[0] % g.shape[0]].multiply(1.5)

    return [
        ("result sign", "result times -1", lambda g: -g),
        ("result factor", "result times 2", lambda g: 2 * g),
        ("result factor", "result times 1/2", lambda g: 0.5 * g),
        ("result factor", "result times 1/3", lambda g: (1 / 3) * g),
        ("result zero", "result zero", jnp.zeros_like),
        ("result transposed", "result transposed", lambda g: jnp.swapaxes(g, -1, -2)),
        ("result shifted", "result moved by one along its last axis", lambda g: jnp.roll(g, 1, axis=-1)),
        ("one entry", f"entry {coordinate} of the result times 1.5", one_entry),
        ("one row", f"row {coordinate[0]} of the result times 1.5", one_row),
        ("batch averaged", "result divided by the size of its first axis", lambda g: g / g.shape[0]),
        ("off units", "result times 2 where it is not above 0", lambda g: jnp.where(g <= 0, 2 * g, g)),
    ]


def changed_result(function: Callable, change: Callable[[Any], Any], leaf: str = "") -> Callable:
    """The function with one array of its result changed.

    leaf: "" for a result that is one array, else of (params_bar, x_bar, …): "x", or "W" and "b", the first and the
    second leaf of params_bar; a result that is one dict or tuple of parameters counts as params_bar, by "only W".
    """

    @functools.wraps(function)
    def changed(*args: Any, **options: Any) -> Any:
        result = function(*args, **options)
        if leaf == "":
            return change(result)
        if leaf == "only W":
            return _on_leaf(result, 0, change)
        if leaf == "x":
            return (result[0], change(result[1]), *result[2:])
        return (_on_leaf(result[0], "Wb".index(leaf), change), *result[1:])

    return changed


def _on_leaf(tree: Any, index: int, change: Callable[[Any], Any]) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, [change(g) if k == index else g for k, g in enumerate(leaves)])
