"""From the pattern of an error, what is likely wrong with a derivative.

Promises: a diagnosis is certain only where the wrong gradient is reproduced to rounding, entry by entry, from the right
one at generic inputs; everything else is offered as a hint with its evidence.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

#: A pattern explains an error if it leaves less than this share of the leaf's largest entry: a thousand times the
#: rounding of float64 at generic inputs, and far below anything that agrees by chance.
EXPLAINED = 1e-9


class Diagnosis(NamedTuple):
    """A sentence, and whether it is certain."""

    says: str
    certain: bool


def diagnose(
    hand: np.ndarray,
    truth: np.ndarray,
    clues: dict[str, np.ndarray],
    sizes: dict[str, int],
    tries: dict[str, np.ndarray] | None = None,
) -> Diagnosis:
    """What is wrong with `hand`, the right gradient being `truth`.

    Args:
        hand, truth: the leaf by hand and by the witnesses, the same shape.
        clues: other arrays of the rule by name: "the cotangent of the output", "the input", "the output".
        sizes: what the shapes count, by name, for factors such as 1/N.
        tries: gradients of changed rules by name: "misplaced" is the right derivative at the output in place of the
            input, the others are the hand-written rule with another value kept.
    """
    return next(_explanations(hand, truth, clues, sizes, tries or {}))


def _explanations(
    hand: np.ndarray,
    truth: np.ndarray,
    clues: dict[str, np.ndarray],
    sizes: dict[str, int],
    tries: dict[str, np.ndarray],
) -> Iterator[Diagnosis]:
    scale = np.abs(truth).max(initial=0)

    def same(a: Any, b: Any) -> bool:
        a, b = np.asarray(a), np.asarray(b)
        return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) <= EXPLAINED * max(scale, 1e-300))

    if not np.isfinite(hand).all():
        yield Diagnosis(f"{int((~np.isfinite(hand)).sum())} entries are not finite", True)
        return
    if not hand.any():
        yield Diagnosis("the gradient is zero: a term is missing, or a derivative is taken as 0", True)
    if same(hand, -truth):
        yield Diagnosis("the sign is wrong", True)
    # the factor between the two, if one factor explains every entry
    denominator = float(np.sum(truth * truth))
    factor = float(np.sum(hand * truth)) / denominator if denominator else 0.0
    if factor and same(hand, factor * truth):
        yield Diagnosis(_named_factor(factor, sizes), True)
    if truth.ndim == 2 and truth.shape[0] == truth.shape[1] and truth.shape[0] > 1 and same(hand, truth.T):
        yield Diagnosis("the gradient is transposed", True)
    for axis in range(truth.ndim):
        for shift in (1, -1):
            if truth.shape[axis] > 1 and same(np.roll(hand, shift, axis), truth):
                yield Diagnosis(f"the entries are off by one along axis {axis}", True)
        if truth.shape[axis] > 1 and same(np.flip(hand, axis), truth):
            yield Diagnosis(f"the entries are reversed along axis {axis}", True)
    for name, clue in clues.items():
        if clue.shape == truth.shape:
            if same(hand, truth - clue):
                yield Diagnosis(f"a term is missing that equals {name}: a branch whose gradient was not added", True)
            if same(hand, truth + clue):
                yield Diagnosis(f"a term too many, which equals {name}", True)
            if same(hand, clue):
                yield Diagnosis(f"it equals {name}: a local derivative is missing", True)
    for name, tried in tries.items():
        if name == "misplaced" and same(hand, tried):
            yield Diagnosis("the derivative is taken at the output, not at the input", True)
        elif name != "misplaced" and same(truth, tried):
            yield Diagnosis(f"right with {name}: forward keeps the wrong value, or backward takes it for another", True)
    wrong = np.abs(hand - truth) > EXPLAINED * scale
    yield from _places(wrong, hand, truth, clues)
    ratio = hand[wrong] / np.where(truth[wrong] == 0, np.nan, truth[wrong])
    evidence = f"{int(wrong.sum())} of {wrong.size} entries, by hand over truth from {np.nanmin(ratio):.3g} to "
    yield Diagnosis(f"a wrong term or factor ({evidence}{np.nanmax(ratio):.3g})", False)


def _named_factor(factor: float, sizes: dict[str, int]) -> str:
    names = {2.0: "2", 0.5: "½", 3.0: "3", 4.0: "4", 0.25: "¼"}
    for name, size in sizes.items():
        if size > 1:
            names.setdefault(float(size), f"{size} = {name}")
            names.setdefault(1 / size, f"1/{size} = 1/{name}")
    for value, told in names.items():
        for sign in (1, -1):
            if abs(factor - sign * value) <= 1e-9 * value:
                return f"a factor of {'−' if sign < 0 else ''}{told} too many"
    return f"a constant factor of {factor:.6g} too many"


def _places(
    wrong: np.ndarray, hand: np.ndarray, truth: np.ndarray, clues: dict[str, np.ndarray]
) -> Iterator[Diagnosis]:
    """Where the wrong entries lie, if they are few or form a pattern."""
    if wrong.size < 2 or wrong.all():
        return
    places = np.argwhere(wrong)
    if len(places) == 1:
        at = [int(i) for i in places[0]]
        yield Diagnosis(f"one entry only: {at}, {hand[tuple(at)]:.6g} for {truth[tuple(at)]:.6g}", True)
        return
    for axis in range(wrong.ndim):
        rows = np.unique(places[:, axis])
        if len(rows) == 1 and wrong.shape[axis] > 1:
            yield Diagnosis(f"index {int(rows[0])} of axis {axis} only", True)
    for name, clue in clues.items():
        if clue.shape != wrong.shape or name == "the cotangent of the output":
            continue
        for told, mask in (("at most 0", clue <= 0), ("above 0", clue > 0)):
            if mask.any() and not mask.all() and not (wrong & ~mask).any() and wrong.sum() > 0.8 * mask.sum():
                yield Diagnosis(f"wrong only where {name} is {told}", True)
