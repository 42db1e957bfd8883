"""Wrong rules made by operators, not chosen: every place of a hand-written rule's source is changed in every way.

A mutant is the record with one method compiled from a changed syntax tree. The operators: signs, factors, terms
dropped, constants, comparisons, reductions, transpositions, and one local value in place of another.
"""

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable, Iterator

FACTORS = (2.0, 0.5, -1.0)
REDUCTIONS = {"sum": "mean", "zeros_like": "ones_like", "ones_like": "zeros_like"}


def mutants(cls: type, method: str) -> Iterator[tuple[str, type]]:
    """(what was changed, the class with that change) for every mutant of one method of a class."""
    function = getattr(cls, method)
    for told, changed in changed_functions(function):
        yield told, type(cls.__name__, (cls,), {method: changed, "__qualname__": cls.__qualname__})


def changed_functions(function: Callable) -> Iterator[tuple[str, Callable]]:
    """(what was changed, the changed function) for every mutant of a function."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    count = sum(1 for _ in ast.walk(tree))
    names = _locals(tree)
    for index in range(count):
        number = 0
        while True:
            changed = copy.deepcopy(tree)
            node = list(ast.walk(changed))[index]
            options = list(_changes(node, names))
            if number >= len(options):
                break
            told, apply = options[number]
            number += 1
            before = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else type(node).__name__
            replacement = apply(node)
            if replacement is not node:
                changed = _Replaced(node, replacement).visit(changed)
            ast.fix_missing_locations(changed)
            space: dict = {}
            exec(compile(changed, inspect.getsourcefile(function) or "mutant", "exec"), function.__globals__, space)
            yield f"{told}: {before}", space[function.__name__]


class _Replaced(ast.NodeTransformer):
    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else super().visit(node)


def _locals(tree: ast.AST) -> list[str]:
    """The names that the function itself assigns or takes, `self` left out."""
    taken = [a.arg for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) for a in n.args.args]
    given = [n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
    return [name for name in dict.fromkeys(taken + given) if name not in ("self", "residuals")]


def _changes(node: ast.AST, names: list[str]) -> Iterator[tuple[str, Callable[[ast.AST], ast.AST]]]:
    """(what is done, how) for one node; `how` may change the node in place or give another."""

    def operator(new: ast.operator) -> Callable[[ast.AST], ast.AST]:
        def apply(node: ast.AST) -> ast.AST:
            node.op = new  # type: ignore[attr-defined]
            return node

        return apply

    if isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.Add | ast.Sub):
            yield "sign", operator(ast.Sub() if isinstance(node.op, ast.Add) else ast.Add())
            yield "term dropped", lambda n: n.left
            if isinstance(node.op, ast.Add):
                yield "term dropped", lambda n: n.right
        if isinstance(node.op, ast.Mult):
            yield "factor dropped", lambda n: n.left
            yield "factor dropped", lambda n: n.right
        if isinstance(node.op, ast.Div):
            yield "divided by nothing", lambda n: n.left
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "sign", lambda n: n.operand
    if isinstance(node, ast.Constant) and type(node.value) in (int, float) and node.value:
        for told, value in (("constant doubled", 2 * node.value), ("constant negated", -node.value)):
            yield told, lambda n, value=value: ast.Constant(value)
    if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.LtE | ast.GtE):
        reverse = ast.Gt() if isinstance(node.ops[0], ast.LtE) else ast.Lt()
        yield "comparison reversed", lambda n: ast.Compare(n.left, [reverse], n.comparators)
    if isinstance(node, ast.Attribute) and node.attr in REDUCTIONS:
        yield "reduction", lambda n: ast.Attribute(n.value, REDUCTIONS[n.attr], ast.Load())
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield "transposition dropped", lambda n: n.value
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in names:
        for other in names:
            if other != node.id:
                yield f"{other} for {node.id}", lambda n, other=other: ast.Name(other, ast.Load())
    if isinstance(node, ast.Return) and node.value is not None and not isinstance(node.value, ast.Tuple):
        for factor in FACTORS:
            yield (
                f"result times {factor}",
                lambda n, factor=factor: ast.Return(ast.BinOp(n.value, ast.Mult(), ast.Constant(factor))),
            )
