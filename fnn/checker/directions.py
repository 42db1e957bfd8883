"""The whole gradient along random directions: differences, forward mode and the Taylor remainder as witnesses.

Promises: the cost does not depend on the number of parameters, nothing larger than a few copies of the gradient is
stored, and the chance to miss a wrong entry is known.

The chance. A direction v moves every entry by ± its scale, each sign by a coin. The error e of a gradient shows there
as ⟨e, v⟩ = Σ ± eᵢ sᵢ. A single wrong entry gives ± eᵢ sᵢ in every direction and is never missed if it is above what the
differences resolve. Several might cancel; but flip the coin of one entry with |eᵢ sᵢ| above the resolution, and the sum
changes by twice as much: at most one of the two values hides the error. So each direction misses with probability at
most ½, whatever the error (Littlewood & Offord 1943 and Erdős 1945 give sharper bounds), and k directions with at most
2^−k.
"""

import math
from dataclasses import dataclass

import jax
import numpy as np

from fnn.checker.findings import Finding, Verdict
from fnn.checker.oracles import is_float
from fnn.checker.points import Settings
from fnn.checker.promises import COARSE
from fnn.checker.quotients import size_of
from fnn.checker.rules import Point
from fnn.checker.witnesses import ALONG, Directions

#: Slopes ahead and behind that differ by more than this share, at a step of a millionth, have a kink between them.
ROUGH = 1e-3
#: Slopes by forward mode and by hand that differ by more than this share do not agree.
AGREES = 1e-6
#: A leaf whose gradient moves the value by less than this share of what another leaf's does is 0 to rounding.
NOTHING = 1e-13


@dataclass(frozen=True)
class Along:
    """What the directions say: findings if they disagree, a note for the reader, and the bound that they reach."""

    findings: list[Finding]
    notes: tuple[str, ...]
    missed: float | None
    disagrees: bool = False


def along_random_directions(point: Point, settings: Settings, miss: float, *, confirm: bool = True) -> Along:
    """Check the whole gradient, in which every entry agrees with autodiff, along enough directions for the bound
    `miss`.

    A disagreement counts only if it shows at a second point too, where nothing saturates or underflows.
    """
    if settings.witnesses(point.rule).blur(point):
        # at steps so small that a kink is unlikely there would only be noise
        return Along([], (), None)
    count = max(math.ceil(math.log2(1 / miss)), 1)
    seen = _directions(point, settings, count)
    view = _View.of(point, settings, seen)
    if view.disagree.any() or view.rough.all():
        # if the value cancels, rounding moves it further than its size suggests
        seen = _directions(point, settings, count, measured=True)
        view = _View.of(point, settings, seen)
    room, apart, usable, disagree = view.room, view.apart, view.usable, view.disagree
    if disagree.any():
        k = int(np.argmax(np.where(disagree, apart, 0)))
        numbers = f"{seen.slope[k]:.6g} ± {room:.1g}, the gradient {seen.by_hand[k]:.6g}"
        says = f"differences along a random direction say {numbers}"
        if confirm and _disagrees_elsewhere(point, settings, miss):
            rule = point.rule
            finding = Finding(
                rule.name, rule.where, "a random direction", Verdict.UNDECIDED, None, float(seen.by_hand[k]),
                float(seen.slope[k]), float(apart[k] / room),
                f"every entry agrees with {_witness(point, settings)}, but {says}", True,
                "undecided",
            )  # fmt: skip
            return Along([finding], (), None)
        note = f"{says}: at these inputs the value is too coarse to confirm it, at others it does"
        return Along([], (note,), None, True)
    if not usable.any():
        says = (
            f"every random direction crosses a kink: there the gradient has {_witness(point, settings)} for its witness"
        )
        return Along([], (says,), None)
    return _confirmed(point, settings, seen, usable, room)


@dataclass(frozen=True, eq=False)
class _View:
    """Which directions can be used, and which contradict the gradient."""

    room: float
    apart: np.ndarray
    rough: np.ndarray
    """True if a kink is near."""
    usable: np.ndarray
    disagree: np.ndarray

    @classmethod
    def of(cls, point: Point, settings: Settings, seen: Directions) -> "_View":
        witnesses = settings.witnesses(point.rule)
        share = max(1e-9, COARSE * witnesses.coarse, 20 * witnesses.compare(point).own)
        # a smooth function has the same slope ahead and behind, up to the step and to rounding; a nearby kink shows in
        # most directions, and then differences prove nothing against a gradient
        rough = seen.gap > max(ROUGH * float(np.abs(seen.slope).max()), 2 * seen.rounding / ALONG)
        room = 10 * np.max(seen.uncertainty[~rough], initial=0) + seen.rounding + share * np.abs(seen.by_hand).max()
        apart = np.abs(seen.slope - seen.by_hand)
        disagree = (apart > room + seen.gap) & (not rough.any())
        return cls(float(room), apart, rough, ~rough & (apart <= room), disagree)


def _witness(point: Point, settings: Settings) -> str:
    return settings.witnesses(point.rule).compare(point).witness


def _confirmed(point: Point, settings: Settings, seen: Directions, usable: np.ndarray, room: float) -> Along:
    """What agreeing directions prove."""
    missed = 2.0 ** -int(usable.sum())
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(point.inputs) if is_float(leaf)]
    sizes = [size_of(leaf) for leaf in leaves if leaf.size]
    compared = settings.witnesses(point.rule).compare(point)
    hand = dict(jax.tree_util.tree_leaves_with_path(compared.hand))
    both = [(np.abs(t), np.abs(hand.get(path, t))) for path, t in jax.tree_util.tree_leaves_with_path(compared.auto)]
    # the two agree; of a gradient of 0 the one leaves less rounding than the other
    scales = [float(min(t.max(), g.max())) for t, g in both if t.size]
    # by how much a single entry of each leaf must be off to be seen, as a share of the leaf's largest
    told = [(size, scale) for size, scale in zip(sizes, scales, strict=True) if scale]
    # such as a bias before a batch normalization, where only rounding is left
    least = NOTHING * max((size * scale for size, scale in told), default=0)
    entries = [2 * room / size / scale for size, scale in told if size * scale > least]
    along = f"along {int(usable.sum())} of {len(usable)} random directions"
    if np.abs(seen.by_hand).max() <= room:
        return Along([], (f"{along} differences are 0 to rounding, as the gradient says",), missed)
    note = f"{along} differences agree to {_agreement(seen, usable):.0e}"
    if entries:
        some = "" if len(entries) == len(told) else "in a leaf whose gradient is not 0 to rounding, "
        note += (
            f"; {some}an entry wrong by {max(entries):.0e} of its leaf's largest is missed with chance ≤ {missed:.1g}"
        )
    # the rounding of a gradient in float32 falls as h, and is not a mistake
    taylor = () if compared.own else _taylor_note(seen)
    return Along([], (note, *_forward_note(seen), *taylor), missed)


def _directions(point: Point, settings: Settings, count: int, *, measured: bool = False) -> Directions:
    """The gradient along ± the size of its leaf for each entry, so that no entry is multiplied by almost nothing."""
    random = np.random.default_rng(settings.seed + 8)
    # what the user names as data stays where it is
    leaves = [
        (leaf, path[0].idx not in point.rule.named_data)
        for path, leaf in jax.tree_util.tree_leaves_with_path(point.inputs) if is_float(leaf)
    ]  # fmt: skip
    signs = [free * (2 * random.integers(0, 2, (count, *leaf.shape), np.int8) - 1) for leaf, free in leaves]
    witnesses = settings.witnesses(point.rule)
    return witnesses.along(point, witnesses.compare(point).hand, signs, measured=measured)


def _disagrees_elsewhere(point: Point, settings: Settings, miss: float) -> bool:
    """True if differences contradict autodiff nearer to 0 as well, where nothing saturates or underflows."""
    random = np.random.default_rng(settings.seed + 5)
    inputs = jax.tree.map(
        lambda leaf: leaf * (0.1 * random.uniform(0.5, 1.5, leaf.shape)) if is_float(leaf) else leaf, point.inputs
    )
    other = point.moved(inputs=inputs)
    compared = settings.witnesses(point.rule).compare(other)
    if not all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves((compared.output, compared.auto))):
        return True
    return along_random_directions(other, settings, miss, confirm=False).disagrees


def _agreement(seen: Directions, usable: np.ndarray) -> float:
    return float(np.abs(seen.slope - seen.by_hand)[usable].max() / max(np.abs(seen.by_hand).max(), 1e-300))


def _forward_note(seen: Directions) -> tuple[str, ...]:
    """⟨y_bar, J v⟩ by forward mode is ⟨Jᵀ y_bar, v⟩ (the adjoint identity)."""
    if np.isnan(seen.pushed):
        return ()
    off = abs(seen.pushed - seen.by_hand[0]) / max(abs(seen.by_hand).max(), 1e-300)
    if off > AGREES:
        return (f"forward mode along one direction differs by {off:.0e}: autodiff of the function is another",)
    return (f"forward mode along one direction: agrees to {off:.0e} (the adjoint identity)",)


def _taylor_note(seen: Directions) -> tuple[str, ...]:
    """The remainder f(u + h v) − f(u) − h ⟨g, v⟩ falls as h² if g is the gradient, as h if it is not."""
    above = seen.remainders > 100 * seen.rounding
    if above.sum() < 3 or not above[0]:
        return ()
    # each step is a quarter of the one before; those above the rounding are the first ones
    last = int(np.argmin(above)) if not above.all() else len(above)
    slopes = np.log(seen.remainders[: last - 1] / seen.remainders[1:last]) / math.log(4)
    return (f"Taylor remainder along one direction: falls as h^{float(np.median(slopes)):.2f}",)
