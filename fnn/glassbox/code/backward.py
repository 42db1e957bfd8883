"""The backward pass as code: a Python function that a student could have written, and the same as LaTeX.

Promises: the lines are those of the local rules, written out, and no more: what does not matter for the gradients is
left out. The function runs on its own and returns what `graph(f, *args).gradients` holds.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import DictKey, GetAttrKey, SequenceKey, tree_flatten_with_path, treedef_is_leaf

from fnn.glassbox.backpass import ONCE, backward, forward, gradients
from fnn.glassbox.code.expressions import MAYBE, Writer
from fnn.glassbox.code.latex import Latex
from fnn.glassbox.code.python import Python
from fnn.glassbox.trace import names
from fnn.glassbox.trace.problem import pose
from fnn.glassbox.trace.program import Program, differentiable, flattened, needed_for
from fnn.glassbox.trace.simplify import simplified
from fnn.types import PyTree


@dataclass(frozen=True)
class Backward:
    """The source of a backward pass; printing it shows the Python function. Made by `show_backward`.

    >>> def f(x):
    ...     return x * x
    >>> source = fnn.show_backward(f, 3.0)
    >>> scope = {}
    >>> exec(source.python, scope)
    >>> [float(g) for g in scope["gradient"](3.0)]
    [6.0]
    """

    python: str
    """A program with the function `gradient`, which takes the same arguments."""
    latex: str
    """The same lines as formulas, one aligned block."""
    constants: dict[str, Any] = field(default_factory=dict, compare=False)
    """Arrays inside the function that are too large to be written out, by the names under which it reads them."""

    def __str__(self) -> str:
        return self.python

    __repr__ = __str__

    def _repr_latex_(self) -> str:
        return f"$${self.latex}$$"


def show_backward(
    f: Callable[..., PyTree],
    *args: PyTree,
    output: int | None = None,
    cotangents: PyTree | None = None,
    tried: bool = True,
) -> Backward:
    """Write the backward pass of f as a function that returns the gradient with respect to every argument.

    Args:
        f, args, output, cotangents: as for `graph`.
        tried: whether to run the source once on these arguments and compare it with the local rules.

    Returns:
        the source as a `Backward`: print it, or use `.python` or `.latex`.

    Raises:
        NotImplementedError: an operation cannot be written down, or the source does not give the gradient of the local
            rules on these arguments. Also everything that `graph` raises.

    >>> def f(x, y, z):
    ...     q = x + y
    ...     return q * z
    >>> print(fnn.show_backward(f, -2.0, 5.0, -4.0))
    import jax
    import jax.numpy as jnp
    from jax import lax
    <BLANKLINE>
    <BLANKLINE>
    def gradient(x, y, z):
        # forward
        q = x + y
        # backward
        f_bar = 1.0
        q_bar = f_bar * z
        x_bar = q_bar
        y_bar = q_bar
        z_bar = f_bar * q
        return x_bar, y_bar, z_bar

    Source: claims A10, E3, E6.
    """
    program, starts, inputs = pose(f, args, output, cotangents)
    both, forward_names = _both(program, f, args, starts, inputs)
    reserved = _reserved(f, args)
    python, latex = Python({step.primitive.name: step.place for step in program.steps}, reserved), Latex()
    lines = _lines(both, Writer(python, reserved), forward_names)
    formulas = _lines(both, Writer(latex), forward_names)
    source = _function(f, args, lines, inputs, program, python)
    if tried:
        _try(source, python.held, args, program, starts, inputs)
    return Backward(source, latex.block(formulas.lines), dict(python.held))


def _try(
    source: str, constants: dict[str, Any], args: tuple, program: Program, starts: list, inputs: list[int]
) -> None:
    """Run the source once; raise `NotImplementedError` unless it gives what the local rules give."""

    def both(args: tuple, constants: dict[str, Any]) -> Any:
        scope: dict[str, Any] = {}
        exec(compile(source, "<the backward pass>", "exec"), scope)
        written = scope["gradient"](*args, **constants)
        values = forward(program, jax.tree.leaves(args))
        bars, _ = backward(program, values, [(n, jnp.asarray(bar)) for n, bar in starts], inputs)
        return gradients(args, program, bars), written

    ask = "This is a fault of the glass box: please report the function. tried=False returns the source anyway."
    try:
        right, written = jax.device_get(jax.jit(both, compiler_options=ONCE)(args, constants))
    except Exception as error:
        raise NotImplementedError(f"the source that was written does not run: {error!r:.300}. {ask}") from error
    if jax.tree.structure(right) != jax.tree.structure(written):
        raise NotImplementedError(f"the source that was written returns another structure than the arguments. {ask}")
    for wanted, result in zip(jax.tree.leaves(right), jax.tree.leaves(written), strict=True):
        if not _equal(wanted, result):
            raise NotImplementedError(f"the source that was written gives another gradient than the local rules. {ask}")


def _equal(wanted: Any, result: Any) -> bool:
    """True for arrays that differ only by rounding: half of the digits may be lost on the way."""
    wanted, result = (np.asarray(each).astype(complex) for each in (wanted, np.asarray(result)))
    if wanted.shape != result.shape or not np.array_equal(np.isfinite(wanted), np.isfinite(result)):
        return False
    finite = np.isfinite(wanted)
    largest = np.abs(wanted[finite]).max(initial=0.0)
    return bool((np.abs(wanted[finite] - result[finite]) <= 0.03 * largest).all())


def _both(
    program: Program, f: Callable[..., PyTree], args: tuple, starts: list, inputs: list[int]
) -> tuple[Program, dict[int, str]]:
    """The program of forward and backward together, its values labelled with their names."""
    user_names = names.by_user(program, f, args)
    makers = {n: step.primitive.name for step in program.steps for n in step.outputs}
    inputs_named = {n: user_names[n] for n in program.inputs}
    every = inputs_named | names.unique(
        {n: user_names.get(n) or names.word(makers[n]) for n in makers}, inputs_named.values()
    )

    def label(number: int, value: Any) -> Any:
        named = number in user_names and number not in program.inputs and differentiable(program.shapes[number])
        return names.name(value, every[number]) if named else value

    def complete(number: int, bar: Any) -> Any:
        spelled = "" if number in user_names else MAYBE
        return names.name(bar, f"{spelled}{every[number]}_bar") if number in every else bar

    def every_gradient(*leaves: Any) -> list[Any]:
        values = forward(program, leaves, label)
        seeds = [(n, jnp.asarray(bar)) for n, bar in starts]
        bars, _ = backward(program, values, seeds, inputs, complete)
        return [bars.get(n, jnp.zeros_like(values[n])) for n in inputs]

    traced = jax.make_jaxpr(every_gradient)(*(program.shapes[n] for n in program.inputs))
    whole = flattened(traced, labels=True, solving=True)
    whole = simplified(whole, MAYBE)
    kept = [whole.steps[k] for k in needed_for(whole, whole.outputs)]
    return whole._replace(steps=tuple(kept)), {n: every[k] for n, k in zip(whole.inputs, program.inputs, strict=True)}


class _Lines:
    def __init__(self, lines: list[str], outputs: list[str]) -> None:
        self.lines, self.outputs = lines, outputs


def _lines(both: Program, writer: Writer, inputs: dict[int, str]) -> _Lines:
    writer.indent = 1
    writer.taken.update(inputs.values())
    pieces = {n: writer.word(name, both.shapes[n]) for n, name in inputs.items()}
    labels = [k for k, step in enumerate(both.steps) if step.primitive.name == "name"]
    first = next((k for k in labels if str(both.steps[k].params["name"]).endswith("_bar")), None)
    remarks = {} if first is None else {first: "# backward"}
    written = writer.write(both, pieces, remarks)
    return _Lines(writer.lines, [writer.hold(written[n], "gradient").text for n in both.outputs])


def _function(f: Any, args: tuple, lines: _Lines, inputs: list[int], program: Program, dialect: Python) -> str:
    parameters = names.parameters(f, len(args))
    unpacked = []
    leaf_names = names.arguments(f, args)
    body = "\n".join(lines.lines) + "\n" + " ".join(lines.outputs)
    numbers, k = dict(zip(inputs, lines.outputs, strict=True)), 0
    returned = []
    for parameter, arg in zip(parameters, args, strict=True):
        paths = [path for path, _ in tree_flatten_with_path(arg)[0]]
        texts = []
        for path in paths:
            name = leaf_names[k]
            if path and _reads(body, name):
                unpacked.append(f"    {name} = {_keys(path, parameter, arg)}")
            texts.append(numbers.get(program.inputs[k], "None"))
            k += 1
        returned.append(_literal(arg, iter(texts), parameter))
    start = [] if lines.lines and lines.lines[0].strip() == "# backward" else ["    # forward"]
    keep = "".join(f", {name}" for name in dialect.held)
    result = ", ".join(returned) + ("," if len(returned) == 1 else "")
    head = "import jax\nimport jax.numpy as jnp\nfrom jax import lax\n\n\n"
    return f"{head}def gradient({', '.join(parameters)}{keep}):\n" + "\n".join(
        [*unpacked, *start, *lines.lines, f"    return {result}"]
    )


def _reads(body: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", body) is not None


def _keys(path: Any, parameter: str, arg: PyTree) -> str:
    """The path to a leaf as a person would write it: `params[0]["W"]`; its number, if the keys of the tree do not
    tell."""
    text = parameter
    for key in path:
        if isinstance(key, DictKey):
            text += f"[{_quoted(key.key)}]"
        elif isinstance(key, SequenceKey):
            text += f"[{key.idx}]"
        elif isinstance(key, GetAttrKey):
            text += f".{key.name}"
        else:
            paths = [each for each, _ in tree_flatten_with_path(arg)[0]]
            return f"jax.tree.leaves({parameter})[{paths.index(path)}]"
    return text


def _literal(tree: Any, texts: Any, parameter: str) -> str:
    """The gradient of one argument, written with its structure."""
    if type(tree) is dict:
        inner = {key: _literal(tree[key], texts, f"{parameter}[{_quoted(key)}]") for key in _in_order(tree)}
        return "{" + ", ".join(f"{_quoted(key)}: {text}" for key, text in inner.items()) + "}"
    if type(tree) in (tuple, list):
        inside = [_literal(each, texts, f"{parameter}[{k}]") for k, each in enumerate(tree)]
        left, right = "()" if type(tree) is tuple else "[]"
        return f"{left}{', '.join(inside)}{',' if left == '(' and len(inside) == 1 else ''}{right}"
    structure = jax.tree.structure(tree)
    if treedef_is_leaf(structure) and structure.num_leaves == 1:
        return next(texts)
    if tree is None:
        return "None"
    leaves = ", ".join(next(texts) for _ in range(structure.num_leaves))
    return f"jax.tree.unflatten(jax.tree.structure({parameter}), [{leaves}])"


def _in_order(tree: dict) -> list[Any]:
    """The keys in the order in which JAX flattens the leaves."""
    paths = tree_flatten_with_path(tree, is_leaf=lambda each: each is not tree)[0]
    return list(dict.fromkeys(path[0].key for path, _ in paths))


def _quoted(key: Any) -> str:
    return f'"{key}"' if isinstance(key, str) and key.isprintable() and '"' not in key else repr(key)


def _reserved(f: Any, args: tuple) -> list[str]:
    return [*names.TAKEN, *names.parameters(f, len(args)), *names.arguments(f, args)]
