"""From the pattern of an error, what is likely wrong with a derivative.

Promises: a diagnosis is certain only if it accounts for the wrong gradient to rounding, entry by entry, in every look
that was taken: at the same inputs with another cotangent, and at other inputs too. Everything else is given as a hint,
with its evidence.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

#: A pattern explains an error if it leaves less than this share of the leaf's largest entry: a thousand times the
#: rounding of float64 at generic inputs, and far below anything that agrees by chance.
EXPLAINED = 1e-9


#: A truth below this share of the gradient by hand is 0 to rounding.
ZERO = 1e-14
#: An error below this share of the largest entry is unlikely to be a wrong formula.
SMALL = 1e-5

#: The largest condition number of a matrix by which a gradient can be divided.
INVERTIBLE = 1e3

#: How many arrays at hand are tried in pairs.
AT_HAND = 6

#: How clues begin that are right gradients of other arguments.
GRADIENT_OF = "the gradient of"


class Diagnosis(NamedTuple):
    """A sentence, whether it is certain, and its kind in one word."""

    message: str
    certain: bool
    kind: str


@dataclass(frozen=True)
class Look:
    """One leaf of a gradient, wrong and right, and the arrays around it."""

    hand: np.ndarray
    truth: np.ndarray
    clues: dict[str, np.ndarray] = field(default_factory=dict)
    """Arrays that may be taken for a term: the cotangent of the output, the inputs, the output, data."""
    tries: dict[str, np.ndarray] = field(default_factory=dict)
    """Gradients of changed rules: "misplaced" is the right derivative, taken at the output instead of the input; the
    others are the hand-written rule with another value kept."""
    cotangent: np.ndarray | None = None
    """The cotangent of the output, if it is one array; None for a gradient whose cotangent is 1 by definition."""
    noise: float = 0.0
    """How far apart the two are, as a share of the largest entry, where nothing is wrong."""
    known: np.ndarray | None = None
    """Where the truth is known; None for everywhere. At a kink there is no truth, and such entries say nothing."""

    @property
    def near(self) -> float:
        """What counts as nothing, as a share of the largest entry."""
        return max(EXPLAINED, self.noise)

    @property
    def scale(self) -> float:
        truth, hand = (float(np.abs(self.of_known(each)).max(initial=0)) for each in (self.truth, self.hand))
        # if the truth is 0 to rounding, the gradient by hand sets the size
        return max(truth if truth > ZERO * hand or not np.isfinite(hand) else hand, 1e-300)

    @property
    def is_nothing(self) -> bool:
        """True if the truth is 0 to rounding, and the gradient by hand is not."""
        truth, hand = (float(np.abs(self.of_known(each)).max(initial=0)) for each in (self.truth, self.hand))
        return truth <= ZERO * hand and hand > 0

    def of_known(self, values: np.ndarray) -> np.ndarray:
        """The values where the truth is known, 0 elsewhere."""
        return values if self.known is None else np.where(self.known, values, 0)

    def same(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Equal up to rounding, where the truth is known."""
        if np.shape(a) != np.shape(b):
            return False
        return bool(np.abs(self.of_known(a - b)).max(initial=0) <= self.near * self.scale)

    def derivative(self) -> np.ndarray | None:
        """The true gradient without the cotangent of the output, if that is one number."""
        if self.cotangent is None or self.cotangent.size != 1:
            return None
        return self.truth / self.cotangent.ravel()[0]

    @property
    def wrong(self) -> np.ndarray:
        """Where the two differ."""
        return ~(np.abs(self.of_known(self.hand - self.truth)) <= self.near * self.scale)


def diagnose(
    first: Look, others: list[Look], sizes: dict[str, int], cotangent: Look | None = None, moved: Look | None = None,
    varied: list[Look] | None = None,
) -> Diagnosis:  # fmt: skip
    """What is wrong with the first look; no sentence is given that another look contradicts.

    Args:
        others: the same leaf at other inputs, with other cotangents, or both.
        sizes: the sizes in the shapes, by name, for factors such as 1/N.
        cotangent: the one of `others` in which only the cotangent of the output differs.
        moved: a look in which only the inputs differ.
        varied: looks at fresh inputs and data, in which a pattern of places must hold too to be certain; None if the
            others are such looks.
    """
    # if both are 0 throughout, they show nothing about a factor, a sign or a place and the same if no entry is known
    finite = [look for look in others if np.isfinite(look.hand).all() and (look.hand.any() or look.truth.any())]
    finite = [look for look in finite if look.known is None or look.known.any()]
    told = next(_explanations(first, finite, sizes, cotangent, moved))
    if told.kind == "mask" and varied is not None:
        # on a single set of data the places may coincide
        again = next(_explanations(first, [*finite, *varied], sizes, cotangent, moved)) if varied else None
        return told if again == told else told._replace(certain=False)
    return told


def _explanations(
    first: Look, others: list[Look], sizes: dict[str, int], cotangent: Look | None, moved: Look | None
) -> Iterator[Diagnosis]:
    if not np.isfinite(first.hand).all():
        count = int((~np.isfinite(first.hand)).sum())
        yield Diagnosis(f"{count} of {first.hand.size} entries are not finite", True, "not finite")
        return
    if not first.wrong.any():
        # what is known is right: the mistake is where the function has no derivative, or too small to tell
        told = "" if first.known is not None and not first.known.any() else f" ({_off(first)})"
        yield Diagnosis(f"a wrong term or factor{told}", False, "unknown")
        return
    looks = [first, *others]

    def holds(claim: Callable[[Look], bool]) -> bool:
        return all(claim(look) for look in looks)

    if holds(lambda look: not look.hand.any()):
        yield Diagnosis("the gradient is zero: a term is missing, or a derivative is taken as 0", True, "zero")
        return
    side = _one_sided(looks)
    if holds(lambda look: look.same(look.hand, -look.truth)):
        yield Diagnosis("the sign is wrong" + side, not side, "sign")
    near = max(look.near for look in looks)
    factor = _common([_factor(look, look.truth, look.hand) for look in looks], near)
    if factor is not None and abs(factor - 1) <= 10 * near:
        # one cannot tell which factor it is, or whether it is one
        yield Diagnosis(f"a wrong term or factor ({_off(first)})", False, "unknown")
        return
    if factor is not None:
        diagnosis = _factor_named(factor, sizes, near)
        yield diagnosis._replace(message=diagnosis.message + side, certain=not side)
    yield from _moved(looks)
    yield from _untransposed(looks)
    yield from _places(looks)
    for name in first.clues:
        yield from _terms(name, looks)
    for name in first.clues:
        yield from _by_row(name, looks)
        yield from _of_sum(name, looks)
    for name in first.tries:
        if name == "misplaced" and holds(lambda look: look.same(look.hand, look.tries.get("misplaced", look.truth))):
            yield Diagnosis("the derivative is taken at the output, not at the input", True, "misplaced")
        elif name != "misplaced" and holds(lambda look, n=name: look.same(look.truth, look.tries.get(n, look.hand))):
            says = f"right with {name}: forward keeps the wrong value, or backward mistakes it for another"
            yield Diagnosis(says, True, "residual")
    off = np.abs(first.of_known(first.hand - first.truth)).max(initial=0)
    if off <= SMALL * first.scale:
        says = f"{_off(first)}: a guard such as + 1e-8 inside the function, or a constant with few digits?"
        yield Diagnosis(says, False, "small")
    count = f"{int(first.wrong.sum())} of {first.wrong.size} entries"
    if holds(lambda look: look.is_nothing):
        yield Diagnosis(f"it must be 0, and {count} are not", True, "nonzero")
    yield from _masks(looks)
    if moved is not None and moved.same(first.hand, moved.hand) and not moved.same(first.truth, moved.truth):
        says = "it does not depend on the inputs, as the true gradient does: a factor is missing, or a value is stale"
        yield Diagnosis(says, True, "stale")
    if cotangent is not None:
        yield from _chain(first, cotangent)
    if holds(lambda look: look.same(look.hand, np.abs(look.truth))):
        yield Diagnosis("it is the absolute value of the truth: a sign is lost", True, "sign")
    yield from _by_axis(looks)
    yield from _entry_by_entry(looks)
    yield from _of_two(looks)
    evidence = f"{count}, by hand / truth {_ratios(first)}"
    yield Diagnosis(f"a wrong term or factor ({evidence})", False, "pattern")


def _off(look: Look) -> str:
    off = np.abs(look.of_known(look.hand - look.truth)).max(initial=0) / look.scale
    return f"off by {off:.1g} of the largest entry"


def _one_sided(looks: list[Look]) -> str:
    """What to add if the derivative has one sign in every look: an error that is seen everywhere may depend on that
    sign."""
    slopes = [look.derivative() for look in looks]
    known = [slope for slope in slopes if slope is not None]
    if len(known) < len(slopes) or not any(slope.size > 1 for slope in known):
        return ""
    for side, other in (("above", np.negative), ("below", np.positive)):
        if all((other(slope) >= 0).all() for slope in known):
            return f" (the true derivative is nowhere {side} 0)"
    return ""


def _factor(look: Look, of: np.ndarray, whole: np.ndarray) -> float | None:
    """c with whole = c · of, if there is one."""
    known = look.of_known(of)
    square = float(np.sum(known * known))
    c = float(np.sum(whole * known)) / square if square else 0.0
    return c if c and look.same(whole, c * of) else None


def _common(factors: list[float | None], near: float = EXPLAINED) -> float | None:
    """The factor that all looks share."""
    known = [f for f in factors if f is not None]
    if len(known) < len(factors):
        return None
    # a factor is computed from sums, so it is good to about the share that counts as explained
    return known[0] if all(abs(f - known[0]) <= 10 * near * abs(known[0]) for f in known) else None


def _factor_named(factor: float, sizes: dict[str, int], near: float) -> Diagnosis:
    near = max(10 * near, 1e-8)
    size, inverse = abs(factor), abs(1 / factor)
    # no more digits than are known
    told = f"{size:.{min(max(int(-np.log10(near)) + 1, 3), 6)}g}"
    text = next((name for value, name in {0.5: "½", 0.25: "¼"}.items() if abs(size - value) <= near), told)
    whole = abs(size - round(size)) <= near * size
    if whole and size > 0.5:
        text = str(round(size))
    # a whole number in the denominator, as in a mean
    elif text == told and abs(inverse - round(inverse)) <= near * inverse and 1.5 < inverse < 1e6:
        text = f"1/{round(inverse)}"
    why = ""
    for name, count in sizes.items():
        if count > 2 and not why:
            # the factor is certain, its origin is not
            why = f" ({count} is {name}: a sum in place of a mean?)" if abs(size - count) <= near * count else ""
            if abs(inverse - count) <= near * count:
                why = f" ({count} is {name}: a mean in place of a sum, or taken twice?)"
    known = whole or text != told
    kind = "" if known else "constant "
    return Diagnosis(f"a {kind}factor of {'−' if factor < 0 else ''}{text} too many{why}", True, "factor")


def _moved(looks: list[Look]) -> Iterator[Diagnosis]:
    """The right numbers in the wrong places."""
    shape = looks[0].truth.shape

    def holds(change: Callable[[np.ndarray], np.ndarray]) -> bool:
        return all(look.same(change(look.hand), look.truth) for look in looks)

    if len(shape) >= 2 and shape[-1] == shape[-2] > 1 and holds(lambda g: np.swapaxes(g, -1, -2)):
        yield Diagnosis("the gradient is transposed", True, "transposed")
    for axis, size in enumerate(shape):
        if size < 2:
            continue
        for shift in (1, -1):
            if holds(lambda g, s=shift, a=axis: np.roll(g, s, a)):
                yield Diagnosis(f"the entries are off by one along axis {axis}", True, "shifted")
        if holds(lambda g, a=axis: np.flip(g, a)):
            yield Diagnosis(f"the entries are reversed along axis {axis}", True, "shifted")


def _untransposed(looks: list[Look]) -> Iterator[Diagnosis]:
    """The cotangent times a square matrix that should be transposed and is not."""

    def holds(look: Look, name: str) -> bool:
        bar, matrix = look.cotangent, look.clues.get(name)
        if matrix is None or look.hand.ndim == 0 or matrix.shape != 2 * look.hand.shape[-1:]:
            return False
        if bar is None:
            # within a gradient as a whole, the cotangent is what the matrix was multiplied with
            if not np.isfinite(matrix).all() or np.linalg.cond(matrix) > INVERTIBLE:
                return False
            bar = np.linalg.solve(matrix.T, look.of_known(look.hand)[..., None])[..., 0]
        if bar.ndim == 0 or matrix.shape != 2 * bar.shape[-1:]:
            return False
        return look.same(look.hand, bar @ matrix) and look.same(look.truth, bar @ matrix.T)

    for name in (name for name in looks[0].clues if not name.startswith(GRADIENT_OF)):
        if all(holds(look, name) for look in looks):
            the = "the" if looks[0].cotangent is not None else "a"
            yield Diagnosis(f"it is {the} cotangent times {name}, which must be transposed", True, "transposed")


def _terms(name: str, looks: list[Look]) -> Iterator[Diagnosis]:
    """An error that is a multiple of something at hand."""
    if any(name not in look.clues or look.clues[name].shape != look.truth.shape for look in looks):
        return
    equal = _common([_factor(look, look.clues[name], look.hand) for look in looks])
    if equal is not None:
        times = "" if abs(equal - 1) <= EXPLAINED else f"{equal:.6g} times "
        if name.startswith(GRADIENT_OF):
            yield Diagnosis(f"it equals {times}{name}: exchanged, or copied", True, "exchanged")
        says = f"it equals {times}{name}: a local derivative is missing{_one_side(looks)}"
        yield Diagnosis(says, True, "missing derivative")
    if name.startswith(GRADIENT_OF):
        return
    off = _common([_factor(look, look.clues[name], look.hand - look.truth) for look in looks])
    if off is not None and abs(off + 1) <= 10 * EXPLAINED:
        branch = ": a branch whose gradient was not added" if "cotangent" in name else ""
        yield Diagnosis(f"a term is missing that equals {name}{branch}", True, "term")
    elif off is not None and abs(off - 1) <= 10 * EXPLAINED:
        yield Diagnosis(f"a term too many, which equals {name}", True, "term")
    elif off is not None:
        yield Diagnosis(f"it is off by {off:.6g} times {name}: a wrong term", True, "term")
    mixed = [_mixture(look, look.clues[name]) for look in looks]
    both = [_common([None if each is None else each[k] for each in mixed]) for k in (0, 1)]
    if both[0] is not None and both[1] is not None:
        says = f"it equals {both[0]:.6g} times the truth plus {both[1]:.6g} times {name}: one of two terms is wrong"
        yield Diagnosis(says, True, "term")


def _by_row(name: str, looks: list[Look]) -> Iterator[Diagnosis]:
    """An error that is a multiple of something at hand, with a different factor for each row."""
    if name.startswith(GRADIENT_OF) or any(name not in look.clues for look in looks):
        return
    if all(look.clues[name].shape == look.truth.shape and _row_by_row(look, look.clues[name]) for look in looks):
        yield Diagnosis(f"it is off by a multiple of {name}, another for each row: a wrong term", True, "term")


def _of_sum(name: str, looks: list[Look]) -> Iterator[Diagnosis]:
    """One line of something at hand, where the truth is the sum of its lines, or a multiple of it, as for a bias."""
    shape = looks[0].clues[name].shape
    if name.startswith(GRADIENT_OF) or any(name not in look.clues or look.clues[name].shape != shape for look in looks):
        return
    for axis, size in enumerate(shape):
        if size < 2 or (*shape[:axis], *shape[axis + 1 :]) != looks[0].truth.shape:
            continue
        factor = _common([_factor(look, look.clues[name].sum(axis), look.truth) for look in looks])
        for k in (0, size - 1) if factor is not None else ():
            if all(look.same(look.hand, factor * np.take(look.clues[name], k, axis)) for look in looks):
                says = f"it equals index {k} of axis {axis} of {name}, which must be summed over that axis"
                yield Diagnosis(says, True, "term")


def _one_side(looks: list[Look]) -> str:
    """What to add if it is wrong only on one side of 0 of the input: the wrong branch is chosen."""
    for where, side in (("at most 0", lambda c: c <= 0), ("above 0", lambda c: c > 0)):
        if all(_only_there(look, look.clues.get("the input"), side) for look in looks):
            return f"; wrong only where the input is {where}"
    return ""


def _mixture(look: Look, clue: np.ndarray) -> tuple[float, float] | None:
    """(a, b) with hand = a · truth + b · clue, if they exist."""
    # two numbers explain any two entries
    return None if look.hand.size < 4 else _mixture_of(look, look.hand, look.truth, clue)


def _mixture_of(look: Look, whole: np.ndarray, one: np.ndarray, two: np.ndarray) -> tuple[float, float] | None:
    """(a, b) with whole = a · one + b · two, if they exist."""
    known, *terms = (look.of_known(each).ravel() for each in (whole, one, two))
    (a, b), _, rank, _ = np.linalg.lstsq(np.stack(terms, axis=1), known, rcond=None)
    return (float(a), float(b)) if rank == 2 and a and b and look.same(whole, a * one + b * two) else None


def _row_by_row(look: Look, clue: np.ndarray) -> bool:
    """True if hand − truth is a multiple of the clue in each row."""
    if clue.ndim < 2 or clue.shape[-1] < 3 or np.all(clue == clue[..., :1]):
        # every error that is constant along a row is a multiple of an array of ones
        return False
    off, clue = look.of_known(look.hand - look.truth), look.of_known(clue)
    square = np.sum(clue * clue, axis=-1, keepdims=True)
    share = np.sum(off * clue, axis=-1, keepdims=True) / np.where(square == 0, 1, square)
    return look.same(off, share * clue)


def _entry_by_entry(looks: list[Look]) -> Iterator[Diagnosis]:
    """The right numbers times, or divided by, something at hand, entry by entry."""
    for name in (name for name in looks[0].clues if not name.startswith(GRADIENT_OF)):
        known = [look for look in looks if name in look.clues and look.clues[name].shape == look.truth.shape]
        if len(known) < len(looks):
            continue
        if all(look.same(look.hand, look.truth * look.clues[name]) for look in looks):
            yield Diagnosis(f"it equals the truth times {name}, entry by entry: a factor too many", True, "term")
        if all(look.same(look.hand * look.clues[name], look.truth) for look in looks):
            yield Diagnosis(f"times {name}, entry by entry, it is the truth: a factor is missing", True, "term")
        # 2x for 2x + ½: truth · x = by hand · (x + c)
        less = _common([_factor(look, look.hand, (look.truth - look.hand) * look.clues[name]) for look in looks])
        if less is not None and abs(less) > EXPLAINED:
            says = f"it has {name} as a factor, entry by entry, where the truth has that plus {less:.6g}"
            yield Diagnosis(f"{says}: a term is missing", True, "term")


def _of_two(looks: list[Look]) -> Iterator[Diagnosis]:
    """An error that is the sum of two things at hand, each with a factor: of an input and of what was captured."""
    if any(look.hand.size < 6 for look in looks):
        # two numbers explain any two entries
        return
    names = [
        name for name, clue in looks[0].clues.items()
        if clue.any() and not name.startswith(GRADIENT_OF)
        and all(name in look.clues and look.clues[name].shape == look.truth.shape for look in looks)
    ]  # fmt: skip
    for one, two in itertools.combinations(names[:AT_HAND], 2):
        pairs = [_mixture_of(look, look.hand - look.truth, look.clues[one], look.clues[two]) for look in looks]
        first, second = (_common([None if pair is None else pair[k] for pair in pairs]) for k in (0, 1))
        if first is not None and second is not None:
            says = f"it is off by {first:.6g} times {one}, plus {second:.6g} times {two}: a wrong term"
            yield Diagnosis(says, True, "term")


def _places(looks: list[Look]) -> Iterator[Diagnosis]:
    """One entry, or one row or column, the same in every look."""
    first, wrong = looks[0], looks[0].wrong
    if wrong.size < 2 or wrong.all() or any(look.wrong.shape != wrong.shape for look in looks):
        return
    anywhere = np.logical_or.reduce([look.wrong for look in looks])
    places = np.argwhere(anywhere)
    if len(places) == 1:
        at = [int(i) for i in places[0]]
        says = f"one entry only: {at}, {first.hand[tuple(at)]:.6g} for {first.truth[tuple(at)]:.6g}"
        yield Diagnosis(says, True, "entry")
        return
    for axis in range(wrong.ndim):
        rows = np.unique(places[:, axis])
        if len(rows) == 1 and wrong.shape[axis] > 1:
            says = f"it is wrong at index {int(rows[0])} of axis {axis} and right elsewhere"
            yield Diagnosis(says, True, "slice")


def _masks(looks: list[Look]) -> Iterator[Diagnosis]:
    """Wrong only where some unit is off, or only where it is on."""
    first = looks[0]
    if first.wrong.size < 2 or first.wrong.all():
        return
    masks: dict[str, Callable[[Look], np.ndarray | None]] = {
        f"{name} is": lambda look, n=name: look.clues.get(n) for name in first.clues
    }
    masks["the true gradient is"] = lambda look: look.truth
    masks["the true derivative is"] = Look.derivative
    for name, clue in masks.items():
        for where, side in (("at most 0", lambda c: c <= 0), ("above 0", lambda c: c > 0)):
            if all(_only_there(look, clue(look), side) for look in looks):
                yield Diagnosis(f"wrong only where {name} {where}, by hand / truth {_ratios(first)}", True, "mask")


def _only_there(look: Look, clue: np.ndarray | None, side: Callable[[np.ndarray], np.ndarray]) -> bool:
    if clue is None or clue.shape != look.wrong.shape:
        return False
    mask = side(clue)
    # twice 0 is right too, and an entry may be right by chance: not every entry on that side need be wrong
    count = (mask & (look.truth != 0)).sum()
    return bool(count and not mask.all() and not (look.wrong & ~mask).any() and look.wrong.sum() > 0.8 * count)


def _chain(first: Look, other: Look) -> Iterator[Diagnosis]:
    """How the rule uses the cotangent of the output; `other` differs from `first` only in that."""
    one, two = first.cotangent, other.cotangent
    if one is None or two is None:
        return
    if other.same(first.hand, other.hand) and not other.same(first.truth, other.truth):
        says = "it does not depend on the cotangent of the output: the factor of the chain rule is missing"
        yield Diagnosis(says, True, "no cotangent")
    elif one.size == 1:
        share = float(two.ravel()[0] / one.ravel()[0])
        if other.same(other.hand, share * first.hand):
            # true for nearly every wrong loss: it says which part is right, but explains no number
            evidence = f"by hand / truth {_ratios(first)}; the cotangent of the output enters correctly"
            yield Diagnosis(f"a wrong derivative{_beyond(first)} ({evidence})", False, "derivative")
        else:
            yield Diagnosis("it is not proportional to the cotangent of the output", True, "cotangent")
    elif one.shape == first.hand.shape and other.same(other.truth * one, first.truth * two):
        # entry by entry, a_bar times a local derivative
        if other.same(other.hand * one, first.hand * two):
            says = f"the local derivative is wrong{_beyond(first)}, by hand / truth {_ratios(first)}"
            yield Diagnosis(says, True, "derivative")
        else:
            says = "an entry depends on the cotangent of the output otherwise than in proportion"
            yield Diagnosis(says, True, "cotangent")


def _by_axis(looks: list[Look]) -> Iterator[Diagnosis]:
    """One factor for each row, or one for each column."""
    shape = looks[0].truth.shape
    if len(shape) < 2:
        return
    for axis, line in ((-1, "row"), (-2, "column")):
        if shape[axis] < 2:
            continue
        explained = []
        for look in looks:
            truth = look.of_known(look.truth)
            square = np.sum(truth**2, axis=axis, keepdims=True)
            c = np.sum(look.hand * truth, axis=axis, keepdims=True) / np.where(square == 0, 1, square)
            explained.append(look.same(look.hand, c * look.truth))
        if all(explained):
            yield Diagnosis(f"each {line} has a wrong factor of its own, {_ratios(looks[0])}", True, "row factor")


def _beyond(look: Look) -> str:
    """If the wrong entries are those on one side of some value of the input, where that is."""
    clue = look.clues.get("the input")
    if clue is None or clue.shape != look.wrong.shape or look.wrong.all():
        return ""
    inside, outside = clue[look.wrong], clue[~look.wrong]
    if inside.min() > outside.max():
        return f" where the input is above {outside.max():.3g}"
    return f" where the input is below {outside.min():.3g}" if inside.max() < outside.min() else ""


def _ratios(look: Look) -> str:
    """The range of by hand / truth over the wrong entries."""
    wrong = look.wrong & (look.truth != 0)
    if not wrong.any():
        return "with a truth of 0"
    # written so that −0 does not occur
    ratio = look.hand[wrong] / look.truth[wrong] + 0.0
    least, most = _not_one(ratio.min()), _not_one(ratio.max())
    return most if least == most else f"from {least} to {most}"


def _not_one(ratio: float) -> str:
    """A ratio in three digits, or in as many as show that it is not 1."""
    texts = (f"{ratio:.{digits}g}" for digits in range(3, 17))
    return next((text for text in texts if text != "1"), "1")
