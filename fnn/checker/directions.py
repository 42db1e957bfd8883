"""The whole gradient along random directions: differences, forward mode and the Taylor remainder as witnesses.

Promises: the cost does not depend on the number of parameters, nothing larger than a few copies of the gradient is
stored, and the chance to miss a wrong entry is known.

The chance. A direction v moves every entry by ± its scale, each sign by a coin. The error e of a gradient shows there
as ⟨e, v⟩ = Σ ± eᵢ sᵢ. One wrong entry alone gives ± eᵢ sᵢ in every direction and is never missed if it is above what
the differences resolve. Several might cancel; but turn the coin of one entry with |eᵢ sᵢ| above the resolution, and
the sum changes by twice as much: of the two values at most one hides. So each direction misses with a chance of at
most ½, whatever the error (Littlewood & Offord 1943 and Erdős 1945 count more sharply), and k directions with 2^−k.
"""

import math
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checker.judge import Point, Settings, size_of
from fnn.checker.oracles import is_float
from fnn.checker.report import Finding, Verdict
from fnn.checker.witnesses import Directions

#: Slopes ahead and behind that differ by more than this share, at a step of a millionth, have a kink between.
ROUGH = 1e-3


@dataclass(frozen=True)
class Along:
    """What the directions say: findings if they disagree, a note for the reader, and the bound they reach."""

    findings: list[Finding]
    notes: tuple[str, ...]
    missed: float | None
    disagrees: bool = False


def along_random_directions(point: Point, settings: Settings, miss: float, *, confirm: bool = True) -> Along:
    """The whole gradient, in which every entry agrees with autodiff, along enough directions for the bound `miss`.

    A disagreement counts if it is found at a second place too, where nothing saturates or underflows.
    """
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(point.inputs) if is_float(leaf)]
    count = max(math.ceil(math.log2(1 / miss)), 1)
    found = _directions(point, settings, count)
    size = float(np.abs(found.slope).max())
    # a smooth function has the same slope ahead and behind, to the step; a kink nearby shows in most directions, and
    # where it does, what differences say against a gradient proves nothing
    rough = found.gap > ROUGH * size
    room = 10 * np.max(found.uncertainty[~rough], initial=0) + found.rounding + 1e-9 * np.abs(found.by_hand).max()
    apart = np.abs(found.slope - found.by_hand)
    usable = ~rough & (apart <= room)
    disagree = (apart > room + found.gap) & (not rough.any())
    if disagree.any():
        k = int(np.argmax(np.where(disagree, apart, 0)))
        told = f"{found.slope[k]:.6g} ± {room:.1g}, the gradient {found.by_hand[k]:.6g}"
        says = f"differences along a random direction say {told}"
        if confirm and _disagrees_elsewhere(point, settings, miss):
            rule = point.rule
            finding = Finding(
                rule.name, rule.where, "a random direction", Verdict.UNDECIDED, None, float(found.by_hand[k]),
                float(found.slope[k]), float(apart[k] / room), f"every entry agrees with autodiff, but {says}", True,
                "undecided",
            )  # fmt: skip
            return Along([finding], (), None)
        return Along(
            [], (f"{says}: at these inputs the value is too coarse to confirm it, at others it does",), None, True
        )
    if not usable.any():
        says = "every random direction crosses a kink: there the gradient has autodiff for its witness"
        return Along([], (says,), None)
    missed = 2.0 ** -int(usable.sum())
    sizes = [size_of(leaf) for leaf in leaves if leaf.size]
    scales = [float(np.abs(g).max()) for g in map(np.asarray, jax.tree.leaves(point.compared[3])) if g.size]
    # what a single entry of each leaf must be off by to be seen, as a share of the leaf's largest
    seen = [2 * room / size / scale for size, scale in zip(sizes, scales, strict=True) if scale]
    note = (
        f"along {int(usable.sum())} of {count} random directions differences agree to {_agreement(found, usable):.0e}; "
        f"an entry wrong by {max(seen, default=0):.0e} of its leaf's largest is missed with chance ≤ {missed:.1g}"
    )
    return Along([], (note, *_forward_note(found), *_taylor_note(found)), missed)


def _directions(point: Point, settings: Settings, count: int) -> Directions:
    sizes = [size_of(leaf) if leaf.size else 1.0 for leaf in jax.tree.leaves(point.inputs) if is_float(leaf)]
    keys = jax.random.split(jax.random.key(settings.seed), count)
    return point.witnesses.along(point.inputs, point.data, point.y_bar, point.on_device[1], sizes, keys)


def _disagrees_elsewhere(point: Point, settings: Settings, miss: float) -> bool:
    """True where differences contradict autodiff nearer to 0 as well, where nothing saturates or underflows."""
    random = np.random.default_rng(settings.seed + 5)

    def nearer(leaf: jax.Array) -> jax.Array:
        return leaf * jnp.asarray(0.1 * random.uniform(0.5, 1.5, leaf.shape)) if is_float(leaf) else leaf

    other = replace(point, inputs=jax.tree.map(nearer, point.inputs))
    value, _, _, auto = other.compared
    if not all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves((value, auto))):
        return True
    return along_random_directions(other, settings, miss, confirm=False).disagrees


def _agreement(found: Directions, usable: np.ndarray) -> float:
    return float(np.abs(found.slope - found.by_hand)[usable].max() / max(np.abs(found.by_hand).max(), 1e-300))


def _forward_note(found: Directions) -> tuple[str, ...]:
    """⟨y_bar, J v⟩ by forward mode is ⟨Jᵀ y_bar, v⟩ (the adjoint identity)."""
    off = abs(found.pushed - found.by_hand[0]) / max(abs(found.by_hand).max(), 1e-300)
    return (f"forward mode along one direction: agrees to {off:.0e} (the adjoint identity)",)


def _taylor_note(found: Directions) -> tuple[str, ...]:
    """The remainder f(u + h v) − f(u) − h ⟨g, v⟩ falls as h² if g is the gradient, as h if it is not."""
    above = found.remainders > 100 * found.rounding
    if above.sum() < 3 or not above[0]:
        return ()
    # each step is a quarter of the one before; those above the rounding are the first ones
    last = int(np.argmin(above)) if not above.all() else len(above)
    slopes = np.log(found.remainders[: last - 1] / found.remainders[1:last]) / math.log(4)
    return (f"Taylor remainder along one direction: falls as h^{float(np.median(slopes)):.2f}",)
