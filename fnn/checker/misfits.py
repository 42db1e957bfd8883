"""What cannot be compared at all: a rule that does not run, and a gradient in another structure than its inputs.

Promises: the most common errors of rules are told in words; if a gradient fits another argument, its number is told.
"""

import re

import jax
import numpy as np

from fnn import jaxprs
from fnn.checker.findings import Finding, Verdict
from fnn.checker.oracles import is_float
from fnn.checker.promises import of_shape, raised, said
from fnn.checker.rules import Point, Rule
from fnn.checker.witnesses import Compared
from fnn.types import PyTree

#: What JAX says about a backward pass that returns a cotangent of another shape than the argument.
ANOTHER_SHAPE = re.compile(
    r"at output\[(\d+)\]((?:\[[^\]]*\])*) the bwd rule produced an output of (?:type|shape/dtype) \w+\[([\d,]*)\]"
    r" corresponding to an input of (?:type|shape/dtype) \w+\[([\d,]*)\]"
)


def does_not_run(rule: Rule, error: BaseException) -> Finding:
    """The finding on a rule that raised an error."""
    if (shape := ANOTHER_SHAPE.search(str(error))) is not None:
        number, rest, got, wanted = shape.groups()
        axes = [tuple(int(size) for size in text.split(",") if size) for text in (wanted, got)]
        if axes[0] != axes[1]:
            return said(rule, Verdict.FORMULA, of_shape(*axes), f"argument {number}{rest}", "shape")
    if (says := _told(error)) is not None:
        return said(rule, Verdict.FORMULA, says, kind="error")
    linear = "; the tangent of a custom_jvp must be linear in its tangents" if rule.pair.has_forward_rule else ""
    return said(rule, Verdict.FORMULA, f"the rule does not run: {raised(error)}{linear}", kind="error")


def _told(error: BaseException) -> str | None:
    """What the most common errors of rules mean; None for any other."""
    place = jaxprs.line_of(error) or "an unknown line"
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return f"the rule does not run: it uses NumPy on a traced value, at {place}. Use jax.numpy in it"
    if isinstance(error, jax.errors.ConcretizationTypeError):
        return f"the rule does not run: it decides by traced values in Python, at {place}. Use jnp.where in it"
    if "bwd rule must produce" in str(error) or "tuple of length equal to the number of arguments" in str(error):
        return (
            "the rule does not run: backward must give a tuple with one gradient for each argument, or None for data. "
            "Return (g,) for one argument"
        )
    return None


def aligned(rule: Rule, inputs: tuple, compared: Compared) -> tuple[tuple, str]:
    """The cotangents by hand, with None if an input has no derivative; and their structure, if it differs."""
    # None may be among the inputs too, as when a library separates the parameters of a net from the rest
    (leaves, tree), (hand, own) = (
        jax.tree.flatten(each, is_leaf=lambda leaf: leaf is None) for each in (inputs, compared.hand)
    )
    if own != tree:
        return compared.hand, _structure(compared.hand)
    return tree.unflatten(g if is_float(leaf) else None for leaf, g in zip(leaves, hand, strict=True)), ""


def of_structure(point: Point, compared: Compared, structure: str) -> str:
    """What to say about a gradient in another structure than its inputs."""
    says = f"the gradient must have the structure {_structure(point.inputs)} of its inputs, got {structure}"
    if not point.rule.whole or len(compared.hand) != 1 or len(point.inputs) != 1:
        return says
    (hand,), (first,) = compared.hand, point.inputs
    if isinstance(hand, tuple) and len(hand) == 2 and _is_value(hand[0], compared.value):
        return "it gives a value beside its gradient. Pass lambda *args: g(*args)[1]"
    if isinstance(hand, tuple) and len(hand) == 1 + len(point.data) > 1:
        return (
            f"it gives a gradient for each of the {len(hand)} arguments, and the first alone is checked. Pass lambda "
            "*args: g(*args)[0], or check them all: fnn.check(lambda p: f(*p), args, gradient=lambda p: g(*p))"
        )
    if place := _argument_like(hand, point.data):
        got = f"got one like argument {place}"
        return (
            f"the gradient must be that of argument 0, of structure {_structure(first)}, {got}. "
            "Put that first: fnn.check(lambda p, x: f(x, p), p, x, gradient=lambda p, x: g(x, p))"
        )
    if jax.tree_util.all_leaves([first]):
        return f"the gradient must be an array of shape {np.shape(first)}, got {_structure(hand)}. Give np.array of it"
    return f"the gradient must have the structure {_structure(first)} of its argument, got {_structure(hand)}"


def _argument_like(hand: PyTree, data: tuple) -> int:
    """The number of the argument whose structure and shapes a gradient has; 0 if there is none."""
    shapes = [[np.shape(leaf) for leaf in jax.tree.leaves(each)] for each in (hand, *data)]
    fits = (jax.tree.structure(each) == jax.tree.structure(hand) for each in data)
    return next((k for k, fit in enumerate(fits, 1) if fit and shapes[k] == shapes[0]), 0)


def _is_value(number: PyTree, value: PyTree) -> bool:
    """True for a number that is the value of the function, as `jax.value_and_grad` returns it."""
    if jax.tree.structure(number) != jax.tree.structure(value) or np.shape(number) != ():
        return False
    return bool(np.isclose(np.asarray(number, np.float64), np.asarray(value, np.float64), rtol=1e-5))


def _structure(tree: PyTree) -> str:
    """A pytree as a reader would write it: its containers, with a star for each leaf."""
    text = str(jax.tree.structure(tree, is_leaf=lambda leaf: leaf is None))
    return text.removeprefix("PyTreeDef(").removesuffix(")")
