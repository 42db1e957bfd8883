"""The looks at a wrong rule from which `diagnosis.py` says what is wrong: other cotangents, other inputs, other rules.

Promises: nothing here decides whether a rule is wrong; every look runs a program that is compiled already, but for the
repaired rules.
"""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checker.diagnosis import Diagnosis, Look, diagnose
from fnn.checker.oracles import is_float
from fnn.checker.witnesses import DOES_NOT_RUN
from fnn.types import PyTree

if TYPE_CHECKING:
    from fnn.checker.judge import Point, Settings


def explained(point: "Point", path: tuple, settings: "Settings") -> Diagnosis:
    """What is wrong with this leaf of the rule's gradient."""
    first = _look(point, point.inputs, point.y_bar, path, settings)
    random = np.random.default_rng(settings.seed + 4)
    others, cotangent = [], None
    if not point.rule.whole:
        y_bar = jax.tree.map(lambda leaf: jnp.asarray(random.normal(-0.4, 1, leaf.shape), leaf.dtype), point.y_bar)
        cotangent = _look(point, point.inputs, y_bar, path, settings)
        others.append(cotangent)
    inputs, y_bar = _elsewhere(point, random)
    others.append(_look(point, inputs, y_bar, path, settings))
    moved = _look(point, inputs, point.y_bar, path, settings)
    if point.generic:
        # what is off at the one is on at the other
        mirrored = jax.tree.map(lambda leaf: -leaf if is_float(leaf) else leaf, point.inputs)
        others.append(_look(point, mirrored, point.y_bar, path, settings))
    finite = [look for look in others if np.isfinite(look.truth).all()]
    told = diagnose(first, finite, _sizes(point), cotangent, moved)
    return told._replace(message=told.message + _identity(point, path, first.hand))


def _elsewhere(point: "Point", random: np.random.Generator) -> tuple[tuple, PyTree]:
    """Other inputs and another cotangent: fresh ones in place of generic ones, near ones where the user called it."""

    def other(leaf: jax.Array) -> jax.Array:
        if not is_float(leaf):
            return leaf
        if point.generic and (np.asarray(leaf) < 0).any():
            return jnp.asarray(random.normal(0.1, 1, leaf.shape))
        # generic inputs of one sign were drawn so, for the function has no value elsewhere
        return leaf * jnp.asarray(1 + 0.1 * random.uniform(-1, 1, leaf.shape))

    inputs = jax.tree.map(other, point.inputs)
    if point.rule.whole:
        return inputs, point.y_bar
    return inputs, jax.tree.map(lambda leaf: jnp.asarray(random.normal(0.3, 1, leaf.shape)), point.y_bar)


def _identity(point: "Point", path: tuple, hand: np.ndarray) -> str:
    """A structural identity that the gradient breaks, a witness without any derivative.

    Where adding a number to a row changes no value, as in softmax cross-entropy, each row of the gradient sums to 0.
    """
    if hand.ndim == 0 or not np.isfinite(hand).all():
        return ""

    def shifted(by: float) -> tuple:
        return jax.tree_util.tree_map_with_path(lambda p, leaf: leaf + by if p == path else leaf, point.inputs)

    values = [
        np.concatenate(
            [np.ravel(leaf) for leaf in jax.tree.leaves(point.witnesses.compare(u, point.data, point.y_bar)[2])]
        )
        for u in (point.inputs, shifted(0.7), shifted(-1.3))
    ]
    size = np.abs(values[0]).max(initial=0)
    unchanged = all(np.abs(each - values[0]).max(initial=0) <= 1e-12 * size for each in values[1:])
    off = np.abs(hand.sum(axis=-1)).max() > 1e-9 * np.abs(hand).sum(axis=-1).max()
    return "; its rows must sum to 0, for a number added to a row changes no value" if unchanged and off else ""


def _look(point: "Point", inputs: tuple, y_bar: PyTree, path: tuple, settings: "Settings") -> Look:
    pair, data = point.rule.pair, point.data
    _, hand, output, auto = point.witnesses.compare(inputs, data, y_bar)

    def leaf(tree: PyTree) -> np.ndarray:
        return np.asarray(dict(jax.tree_util.tree_leaves_with_path(tree))[path])

    clues: dict[str, np.ndarray] = {}
    named = {
        "the cotangent of the output": y_bar, "the input": inputs, "the output": output, "the target or data": data,
    }  # fmt: skip
    for name, tree in named.items():
        for k, each in enumerate(v for v in jax.tree.leaves(tree) if is_float(v)):
            clues[name if k == 0 else f"{name}, part {k + 1}"] = np.asarray(each)
    tries = {}
    for what, repaired in pair.repairs().items():
        try:
            tries[what] = leaf(settings.programs.of(repaired).compare(inputs, data, y_bar)[1])
        except DOES_NOT_RUN:
            # this rule keeps something of another structure: nothing to learn here
            continue
    if jax.tree.map(np.shape, inputs) == (np.shape(output),):
        tries["misplaced"] = leaf(point.witnesses.compare((output,), data, y_bar)[3])
    bars = [np.asarray(each) for each in jax.tree.leaves(y_bar)]
    alone = bars[0] if len(bars) == 1 and not point.rule.whole else None
    return Look(leaf(hand), leaf(auto), clues, tries, alone)


def _sizes(point: "Point") -> dict[str, int]:
    sizes: dict[str, int] = {}
    for each in jax.tree.leaves((point.inputs, point.data)):
        for axis, size in enumerate(np.shape(each)):
            sizes.setdefault("the number of rows" if axis == 0 else f"the size of axis {axis}", size)
    return sizes
