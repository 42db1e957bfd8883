"""Where a rule is tried that is right at ordinary numbers: large cotangents, both sides of the numbers with which it
compares, and exactly the numbers that it asks for.

Promises: only what two witnesses call wrong there counts, so that rounding at unusual sizes blames no right rule.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import numpy as np

from fnn.checker.oracles import is_float
from fnn.checker.points import FURTHEST, NEAREST, Settings, generic_points, usable
from fnn.checker.rules import Point, Rule

#: How much larger a cotangent is than an ordinary one: a power of 2, by which nothing is rounded.
LOUD = 1024.0
#: Numbers of this size with which a rule compares: what is smaller guards a division, what is larger stands for
#: infinity.
SMALLEST, LARGEST = 1e-2, 1e4
#: How many numbers are tried.
TRIED = 6


@dataclass(frozen=True)
class Extreme:
    """A rule at an unusual place."""

    point: Point
    says: str
    """What is unusual there."""
    guarded: float | None = None
    """The number beyond which the point lies, if it is one that may be a guard against overflow."""
    kinked: bool = False
    """True if the rule may have a kink there."""


def extremes(rule: Rule, settings: Settings) -> Iterator[Extreme]:
    """The rule with large cotangents, at numbers near and beyond those with which it compares, and at those that it
    asks for exactly."""
    if rule.iterates:
        return
    rule = rule.small or rule
    ordinary = next(generic_points(rule, settings), None)
    if ordinary is None:
        return
    if not rule.whole:
        loud = jax.tree.map(lambda bar: bar * LOUD if is_float(bar) else bar, ordinary.y_bar)
        says = "right with cotangents of ordinary size, and not with large ones: does backward clip or round them?"
        yield Extreme(ordinary.moved(y_bar=loud), says)
    leaves = jax.tree.leaves((rule.inputs, rule.data if rule.loose else ()))
    random = np.random.default_rng(settings.seed + 9)
    witnesses = settings.witnesses(rule)
    # of the numbers in NumPy code nobody knows which are compared with
    compared = frozenset() if witnesses.on_host else witnesses.compared_with
    sizes = sorted({abs(number) for number in compared if SMALLEST <= abs(number) <= LARGEST})
    for size in sizes[:TRIED]:
        for point, where in _around(rule, size, leaves, random, settings):
            says = f"where numbers are {where} {size:.6g}, with which it compares"
            yield Extreme(point, says, size if size > FURTHEST else None)
    for number in sorted(filter(np.isfinite, witnesses.asked_exactly))[:TRIED]:
        for point in _exactly(rule, number, leaves, random, settings):
            says = f"where numbers are exactly {number:.6g}, which it asks for"
            yield Extreme(point, says, kinked=number in witnesses.compared_with)


def _around(
    rule: Rule, size: float, leaves: list, random: np.random.Generator, settings: Settings
) -> Iterator[tuple[Point, str]]:
    """The rule at numbers below one and half beyond it, of either sign, or positive if it takes no others."""
    ranges = [(0.05, 0.95, "below")] if size < NEAREST else []
    for low, high, where in [*ranges, (2.0, 3.0, "beyond")]:
        for signs in ((-1, 1), (1, 1)):
            numbers = []
            for leaf in leaves:
                moved = size * random.choice(signs, np.shape(leaf)) * random.uniform(low, high, np.shape(leaf))
                plain = size * random.uniform(0.1, 0.9, np.shape(leaf))
                chosen = np.array(random.random(np.shape(leaf)) < (0.5 if where == "beyond" else 1))
                chosen.flat[:1] = True
                numbers.append(np.where(chosen, moved, plain))
            if (point := usable(rule, numbers, settings)) is not None:
                yield point, where
                break


def _exactly(
    rule: Rule, number: float, leaves: list, random: np.random.Generator, settings: Settings
) -> Iterator[Point]:
    """The rule with this number in the first row of every input, and of each alone; a vector is one row."""
    floats = [k for k, leaf in enumerate(leaves) if is_float(leaf)]
    for chosen in [floats, *([k] for k in floats if len(floats) > 1)]:
        numbers = [np.array(random.uniform(0.2, 1.5, np.shape(leaf))) for leaf in leaves]
        for k in chosen:
            numbers[k][(slice(1),) if numbers[k].ndim > 1 else ()] = number
        if (point := usable(rule, numbers, settings)) is not None:
            yield point
