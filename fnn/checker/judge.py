"""Is this rule right here? One rule against its witnesses at one point, argument by argument.

Promises: in float64 every entry by hand is compared with autodiff; on small inputs every entry is differenced too, on
large ones the worst and some drawn at random. The verdict is FORMULA only if two witnesses that ran agree with each
other and not with the rule. Then the same inputs are tried in the working dtype: the verdict is PRECISION if the rule
loses more than autodiff does. Letters: g by hand, t by autodiff, d ± u by differences.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import jax
import numpy as np

from fnn.checker import explain, promises
from fnn.checker.diagnosis import Diagnosis
from fnn.checker.findings import Finding, Verdict
from fnn.checker.misfits import aligned, does_not_run, of_structure
from fnn.checker.oracles import is_float
from fnn.checker.points import Settings
from fnn.checker.promises import COARSE, SHARE, argument_of, of_shape, said
from fnn.checker.quotients import Quotients, size_of
from fnn.checker.rules import Point, Rule
from fnn.checker.witnesses import ALONG, DOES_NOT_RUN, Compared, NoWitness

#: Up to this many entries of one argument are all differenced; if there are more, DRAWN of them are.
EVERY, DRAWN = 64, 4
#: How many entries that disagree are differenced, the worst first; at the user's point one evaluation may be expensive.
SUSPECTS, FEW = 16, 4
#: An entry by hand may differ from autodiff by this share of the leaf's largest entry, or by NOISE times the measured
#: noise, whichever is larger. Rounding in float64 leaves about 1e-15, wrong rules at generic inputs 1e-3 and more.
NOISE = 1e3
#: The rounding of float64.
EPS = float(np.finfo(np.float64).eps)
#: Directions along which a gradient at a kink must lie between the slopes ahead and behind.
SIDES = 8


@dataclass(frozen=True, eq=False)
class Leaf:
    """One argument: its place in the vector of all floating inputs, and what was found about its gradient."""

    argument: str
    path: tuple
    start: int
    value: np.ndarray
    g: np.ndarray
    t: np.ndarray
    exact: np.ndarray
    """How far apart the two may be if nothing is noisy."""
    bound: np.ndarray
    most: int
    """How many suspects there may be."""
    own: np.ndarray = field(default_factory=lambda: np.zeros(()))
    """How far rounding may move the gradient by hand, if that was measured."""
    witness: str = "autodiff"
    """What the gradient by hand is compared with, in one word."""

    @cached_property
    def suspects(self) -> np.ndarray:
        """The entries at which hand and autodiff differ, the worst first."""
        apart = np.abs(self.g - self.t)
        # written so that NaN counts as a difference
        beyond = np.flatnonzero(~(apart <= self.exact))
        excess = (apart.ravel()[beyond] / np.asarray(self.bound).flat[beyond]) if len(beyond) else np.zeros(0)
        return beyond[np.argsort(-np.where(np.isfinite(excess), excess, np.inf), kind="stable")[: self.most]]

    @cached_property
    def relative(self) -> float:
        apart = np.abs(self.g - self.t).max(initial=0)
        # NaN and infinity alike
        return float((apart if np.isfinite(apart) else np.inf) / max(np.abs(self.t).max(initial=0), 1e-300))


def judged_at(point: Point, settings: Settings) -> list[Finding]:
    """One finding per argument of the rule at this point."""
    rule = point.rule
    if not any(is_float(leaf) for leaf in jax.tree.leaves(point.inputs)):
        return []
    try:
        compared = settings.witnesses(rule).compare(point)
    except NoWitness as error:
        return [said(rule, Verdict.UNDECIDED, f"nothing can judge it: {str(error).splitlines()[0]}")]
    except DOES_NOT_RUN as error:
        return [does_not_run(rule, error)]
    hand, structure = aligned(rule, point.inputs, compared)
    if structure:
        return [said(rule, Verdict.FORMULA, of_structure(point, compared, structure), kind="structure")]
    findings, leaves = _leaves(point, compared._replace(hand=hand), settings)
    leaves = _with_noise(point, leaves, settings)
    findings += _entries_judged(point, leaves, settings)
    if all(f.verdict == Verdict.OK for f in findings):
        findings = [
            *findings,
            *promises.of_value(point, compared, settings),
            *promises.of_forward_mode(point, settings),
        ]
        if settings.batched:
            findings += promises.of_batch(point, settings)
        if not point.generic and all(f.verdict in (Verdict.OK, Verdict.ASSUMES) for f in findings):
            findings = promises.in_working_dtype(point, settings, findings)
    return [_as_declared(rule, f) for f in findings] if rule.expected else findings


#: What must hold even for a gradient that is declared to differ: it must run, and fit.
NEVER_DECLARED = ("error", "structure", "shape", "value", "batch", "forward mode")


def _as_declared(rule: Rule, finding: Finding) -> Finding:
    """The finding of a rule that differs on purpose."""
    if finding.verdict == Verdict.OK or finding.kind in NEVER_DECLARED:
        return finding
    reason = "" if rule.expected == DECLARED else f" ({rule.expected})"
    says = f"differs from the derivative on purpose, as declared{reason}: {finding.message}"
    return replace(finding, verdict=Verdict.EXPECTED, message=says)


#: The reason for a rule that is declared only by its name.
DECLARED = "declared"


def _with_noise(point: Point, leaves: list[Leaf], settings: Settings) -> list[Leaf]:
    """The leaves with the noise of their gradients, measured if some entry differs."""
    if not any(len(leaf.suspects) for leaf in leaves):
        return leaves
    # what is ill-conditioned there is noisy, not wrong; a step into infinity says nothing about rounding
    try:
        noise = settings.witnesses(point.rule).noise(point, settings.seed)
    except DOES_NOT_RUN:
        # it cannot be traced, or has no reverse mode: differences have their own uncertainty
        return leaves
    own, auto = (dict(jax.tree_util.tree_leaves_with_path(each)) for each in (noise.hand, noise.auto))
    known = jax.tree.leaves(settings.witnesses(point.rule).compare(point).output), jax.tree.leaves(noise.output)
    terms = zip(jax.tree.leaves(point.y_bar), *known, strict=True)
    change = sum(float(np.sum(np.abs(bar) * (EPS * np.abs(y) + off))) for bar, y, off in terms if is_float(y))
    return [
        replace(
            leaf, bound=np.fmax(leaf.bound, _room(leaf, auto[leaf.path], change)),
            own=NOISE * own.get(leaf.path, np.zeros(())),
        )
        for leaf in leaves
    ]  # fmt: skip


def _room(leaf: Leaf, noise: np.ndarray, change: float) -> np.ndarray:
    """How far rounding may move each entry, if rounding changes the value by this much."""
    most, hand = np.max(noise, initial=0), np.abs(leaf.g).max(initial=0)
    if not np.abs(leaf.t).max(initial=0) <= 10 * most:
        return NOISE * noise
    # a gradient that is 0 to rounding throughout: one entry may be exact by luck, and so may all of autodiff
    floor = 4 * change / size_of(leaf.value)
    return np.full_like(noise, max(NOISE * most, floor if hand <= floor else 0))


def _entries_judged(point: Point, leaves: list[Leaf], settings: Settings) -> list[Finding]:
    """The leaves, judged by their suspects and by entries drawn at random."""
    random = np.random.default_rng(settings.seed + 1)
    drawn = point.generic and not point.rule.composite and not point.rule.declared_inside
    entries = {leaf.argument: _entries(leaf, drawn, random) for leaf in leaves}
    quotients = _differenced(point, leaves, entries, settings)
    doubtful = {leaf.argument: _doubtful(leaf, entries[leaf.argument], quotients[leaf.argument]) for leaf in leaves}
    if any(map(np.any, doubtful.values())):
        quotients = _measured_anew(point, leaves, entries, settings, (quotients, doubtful))
    findings = []
    for leaf in leaves:
        settings.count(f"compared with {leaf.witness}", leaf.g.size)
        settings.count("differenced", len(entries[leaf.argument]))
        findings.append(_judged(point, settings, leaf, Differenced(entries[leaf.argument], quotients[leaf.argument])))
    return _kinks_together(point, settings, leaves, quotients, findings)


def _leaves(point: Point, compared: Compared, settings: Settings) -> tuple[list[Finding], list[Leaf]]:
    """What can be compared, and findings on what cannot be."""
    findings: list[Finding] = []
    leaves: list[Leaf] = []
    start, rule = 0, point.rule
    blur, nothing = settings.witnesses(rule).blur(point), settings.witnesses(rule).is_nothing(point)
    largest = max((np.abs(t).max(initial=0) for t in jax.tree.leaves((compared.auto, compared.hand))), default=0)
    finest = 0.0
    if compared.uncertainty is not None:
        finest = 10 * float(np.min(compared.uncertainty, initial=np.inf, where=np.isfinite(compared.uncertainty)))
    share = max(SHARE, COARSE * settings.witnesses(rule).coarse)
    hands, autos = (dict(jax.tree_util.tree_leaves_with_path(each)) for each in (compared.hand, compared.auto))
    for path, value in jax.tree_util.tree_leaves_with_path(point.inputs):
        if not is_float(value):
            continue
        argument, first = argument_of(rule, path), start
        start += value.size
        t, g = np.asarray(autos[path]), np.asarray(hands.get(path))
        if path[0].idx in rule.optional | rule.named_data and (path not in hands or not np.any(g)):
            # data that nothing is differentiated with respect to: None and zero are valid answers
            continue
        if path[0].idx in rule.blank and path in hands and not np.any(g) and np.any(t):
            where = f"{rule.blank[path[0].idx]} of the checked function"
            says = f"no gradient comes back for it, as for data: right where {where} is data only"
            findings.append(said(rule, Verdict.ASSUMES, says, argument, "data"))
        elif path not in hands:
            says = "its gradient must be an array, got None"
            findings.append(said(rule, Verdict.FORMULA, says, argument, "shape"))
        elif g.shape != value.shape:
            findings.append(said(rule, Verdict.FORMULA, of_shape(value.shape, g.shape), argument, "shape"))
        elif not is_float(g):
            says = f"its gradient must be floating, got {g.dtype.name}"
            findings.append(said(rule, Verdict.FORMULA, says, argument, "dtype"))
        elif not np.isfinite(t).all() and not np.isfinite(g).all():
            findings.append(said(rule, Verdict.UNDECIDED, _not_finite(compared.witness), argument))
        elif value.size:
            exact = np.broadcast_to(share * np.abs(t[np.isfinite(t)]).max(initial=0) + 1e-300, t.shape)
            if compared.uncertainty is not None:
                room = 10 * compared.uncertainty
                if compared.kinks is not None and not blur:
                    # which values are possible at a kink depends on the slopes from both sides, for other entries too
                    room = np.where(compared.kinks > 0, 0, room)
                exact = exact + room[first : first + value.size].reshape(t.shape)
            if not point.generic:
                _note_rounding(point, compared, g, settings, largest)
            if blur and not point.generic and finest > TOO_COARSE * largest > 0 and not nothing:
                says = f"the values of the function are good to {blur:.1g} only: too coarse to tell. Compute in float64"
                findings.append(said(rule, Verdict.UNDECIDED, says, argument))
                continue
            most = SUSPECTS if point.generic else FEW
            leaf = Leaf(argument, path, first, np.asarray(value), g.astype(np.float64), t, exact, exact, most)
            leaves.append(replace(leaf, witness=compared.witness))
    return findings, leaves


def _note_rounding(point: Point, compared: Compared, g: np.ndarray, settings: Settings, largest: float) -> None:
    """Note where the user's own code on the host computes in less than float64, and how large a mistake that hides."""
    witnesses = settings.witnesses(point.rule)
    blur = witnesses.blur(point)
    if witnesses.is_nothing(point):
        says = f"the value is 0 to its own rounding, {blur:.1g}, and a gradient that small is not seen"
        settings.notes[says] = None
    elif blur and compared.uncertainty is not None and largest:
        told = 10 * np.median(compared.uncertainty[np.isfinite(compared.uncertainty)]) / largest
        inside = "float32" if blur <= HALF * np.abs(np.asarray(compared.output)).max() else "half precision"
        says = f"the function computes in {inside} inside, or loses as much: its value is good to {blur:.1g}"
        settings.notes[f"{says}, and a mistake below about {told:.0e} of the largest entry is not seen"] = None
    if witnesses.on_host and g.dtype != np.float64:
        says = f"the gradient comes back in {g.dtype.name}: what is lost in that dtype was not judged"
        settings.notes[says] = None


#: What is rounded by more than this share is rounded as in half precision, not as in float32.
HALF = 1e-5
#: What half precision may leave, as a share of the largest entry: some of the epsilon of bfloat16, which is 8e-3.
IN_HALF = 0.1
#: If nothing finer than this share of the largest entry can be told, nothing is told.
TOO_COARSE = 0.2


def _not_finite(witness: str) -> str:
    gives = "gives" if witness == "autodiff" else "give"
    return f"{witness} {gives} NaN or infinity here; look at the function itself"


def _entries(leaf: Leaf, drawn: bool, random: np.random.Generator) -> np.ndarray:
    """Which entries of the leaf are differenced: the suspects, and others (all if there are few) if any are drawn."""
    suspects, size = leaf.suspects, leaf.g.size
    if not drawn:
        return suspects
    others = np.arange(size) if size <= EVERY else random.integers(0, size, DRAWN)
    return np.concatenate([suspects, np.setdiff1d(others, suspects)]).astype(int)


def _doubtful(leaf: Leaf, entries: np.ndarray, quotients: Quotients) -> np.ndarray:
    """True if differences contradict autodiff: one of the two is less exact than it claims."""
    views = Views.of(leaf, Differenced(entries, quotients))
    return ~views.auto_agrees & ~quotients.kink & np.isfinite(views.t)


def _measured_anew(
    point: Point, leaves: list[Leaf], entries: dict[str, np.ndarray], settings: Settings,
    known: tuple[dict[str, Quotients], dict[str, np.ndarray]],
) -> dict[str, Quotients]:  # fmt: skip
    """The quotients, with the rounding of the differences measured for those that are doubtful."""
    quotients, doubtful = known
    chosen = {name: entries[name][doubt] for name, doubt in doubtful.items()}
    try:
        anew = _differenced(point, leaves, chosen, settings, measured=True)
    except DOES_NOT_RUN:
        # what cannot be rounded in another way stays as it is
        return quotients
    return {
        name: Quotients(*(_replaced(*each, doubtful[name]) for each in zip(known, anew[name], strict=True)))
        for name, known in quotients.items()
    }


def _replaced(values: np.ndarray, others: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The values with the others in these places."""
    values = values.copy()
    values[places] = others
    return values


def _differenced(
    point: Point, leaves: list[Leaf], entries: dict[str, np.ndarray], settings: Settings, *, measured: bool = False
) -> dict[str, Quotients]:
    """The quotients of every leaf, computed in one run."""
    places, scales = [np.zeros(0, int)], [np.zeros(0)]
    for leaf in leaves:
        chosen = entries[leaf.argument]
        places.append(leaf.start + chosen)
        scales.append(np.maximum(np.abs(leaf.value.ravel()[chosen]), size_of(leaf.value)))
    flat = np.concatenate(places)
    if not len(flat):
        empty = np.zeros(0)
        return {leaf.argument: Quotients(empty, empty, empty, empty, empty.astype(bool)) for leaf in leaves}
    # the truth may itself come from differences: these have other steps
    sizes = OTHER_STEPS * np.concatenate(scales)
    every = settings.witnesses(point.rule).quotients(point, flat, sizes, measured=measured)
    ends = np.cumsum([len(entries[leaf.argument]) for leaf in leaves])
    return {
        leaf.argument: Quotients(*(each[end - len(entries[leaf.argument]) : end] for each in every))
        for leaf, end in zip(leaves, ends, strict=True)
    }


#: Steps of the differences that confirm, as a share of those that replace a reverse mode.
OTHER_STEPS = 0.7


@dataclass(frozen=True, eq=False)
class Differenced:
    """Entries of one leaf, the suspects first, and what differences say about them."""

    entries: np.ndarray
    quotients: Quotients


@dataclass(frozen=True, eq=False)
class Views:
    """What each witness says about the differenced entries of one leaf."""

    g: np.ndarray
    t: np.ndarray
    bound: np.ndarray
    own: np.ndarray
    hand_agrees: np.ndarray
    auto_agrees: np.ndarray
    possible: np.ndarray
    """True at a kink with a value between the slopes from both sides."""

    @classmethod
    def of(cls, leaf: Leaf, differenced: Differenced) -> "Views":
        q = differenced.quotients
        g, t, exact, bound, own = (
            np.broadcast_to(each, leaf.g.shape).flat[differenced.entries]
            for each in (leaf.g, leaf.t, leaf.exact, leaf.bound, leaf.own)
        )
        room = 10 * q.uncertainty + np.where(q.kink, exact, bound)
        return cls(g, t, bound, own, np.abs(g - q.slope) <= room, np.abs(t - q.slope) <= room, q.possible(g, exact))


def _judged(point: Point, settings: Settings, leaf: Leaf, differenced: Differenced) -> Finding:
    rule, views, q = point.rule, Views.of(leaf, differenced), differenced.quotients
    count = len(leaf.suspects)

    def finding(k: int, verdict: Verdict, diagnosis: Diagnosis) -> Finding:
        place = tuple(int(i) for i in np.unravel_index(differenced.entries[k], leaf.g.shape))
        error = float(abs(views.g[k] - views.t[k]) / max(q.uncertainty[k], views.bound[k] / NOISE))
        return Finding(
            rule.name, rule.where, leaf.argument, verdict, place, float(views.g[k]), float(views.t[k]), error,
            *diagnosis, leaf.relative, (leaf.g, leaf.t), (*point.inputs, *point.data),
        )  # fmt: skip

    kinked: int | None = None
    for k in range(count):
        if views.possible[k]:
            kinked = k if kinked is None else kinked
            continue
        verdict, says = _suspect(point, settings, leaf, (views, differenced), k)
        if verdict == Verdict.FORMULA and not np.isfinite(views.t[k]):
            low, high = sorted((q.left[k], q.right[k]))
            nothing = _not_finite(leaf.witness).partition(" here")[0]
            says = f"the slopes there go from {low:.4g} to {high:.4g}, and {nothing}"
            return finding(k, verdict, Diagnosis(says, True, "kink"))
        if verdict == Verdict.FORMULA:
            told = _with_remedy(rule, leaf, explain.explained(point, leaf.path, settings))
            if told.kind == "unknown" and q.kink[k]:
                low, high = sorted((q.left[k], q.right[k]))
                says = (
                    f"there is no derivative here; the slopes go from {low:.4g} to {high:.4g}, by hand {views.g[k]:.4g}"
                )
                told = Diagnosis(says, True, "kink")
            return finding(k, verdict, told)
        if verdict != Verdict.OK:
            return finding(k, verdict, Diagnosis(says, True, verdict.value.lower()))
    if kinked is not None:
        low, high = sorted((q.left[kinked], q.right[kinked]))
        says = f"there is no derivative here; any value from {low:.4g} to {high:.4g} is possible"
        if not np.isfinite(views.t[kinked]):
            says += "; autodiff gives NaN or infinity, the rule does not"
        return finding(kinked, Verdict.KINK, Diagnosis(says, True, "kink"))
    for k in range(count, len(differenced.entries)):
        if not views.auto_agrees[k] and not q.kink[k]:
            numbers = f"{q.slope[k]:.6g} ± {q.uncertainty[k]:.1g}"
            says = f"the rule and autodiff agree, differences say {numbers}"
            if leaf.witness != "autodiff":
                says = f"the gradient agrees with differences, those with other steps say {numbers}"
            return finding(k, Verdict.UNDECIDED, Diagnosis(says, True, "undecided"))
    whole = (leaf.g, leaf.t) if rule.whole else None
    return Finding(rule.name, rule.where, leaf.argument, Verdict.OK, relative=leaf.relative, leaf=whole)


def _with_remedy(rule: Rule, leaf: Leaf, diagnosis: Diagnosis) -> Diagnosis:
    """Zeros for an argument that looks like a parameter are wrong, unless the user declares it as data."""
    if diagnosis.kind != "zero" or leaf.path[0].idx not in rule.zeroed:
        return diagnosis
    return diagnosis._replace(message=f"{diagnosis.message}; if it is data, say so: data=({leaf.argument!r},)")


def _suspect(
    point: Point, settings: Settings, leaf: Leaf, views: tuple[Views, Differenced], k: int
) -> tuple[Verdict, str]:
    """The verdict on one entry at which the rule and autodiff differ, and why."""
    (seen, differenced), q = views, views[1].quotients
    apart = abs(seen.g[k] - seen.t[k])
    if not q.kink[k] and apart <= seen.bound[k]:
        # as far as rounding may move either
        return Verdict.OK, ""
    if point.rule.declared_inside:
        return Verdict.FORMULA, ""
    hand, auto = bool(seen.hand_agrees[k]), bool(seen.auto_agrees[k])
    if not np.isfinite(seen.t[k]) and not q.kink[k]:
        # differences alone are a witness for the rule, but not against it
        return (Verdict.OK, "") if hand else (Verdict.UNDECIDED, _not_finite(leaf.witness))
    if not q.kink[k] and hand and not auto:
        # as for an iteration: its own derivative differs from that of its limit
        return Verdict.OK, ""
    if not q.kink[k] and hand == auto:
        # a third witness, if the function takes complex numbers at all
        slopes = settings.witnesses(point.rule).complex_step(point, leaf.start + differenced.entries[k : k + 1])
        if slopes is None or not abs(slopes[0] - seen.t[k]) <= seen.bound[k]:
            if slopes is not None and abs(slopes[0] - seen.g[k]) <= seen.bound[k]:
                return Verdict.OK, ""
            return Verdict.UNDECIDED, _undecided(leaf.witness, coarse=hand)
    if not q.kink[k] and apart <= seen.own[k]:
        says = f"rounding takes it this far in float64: by {seen.own[k] / NOISE:.2g}, and autodiff by less"
        return Verdict.PRECISION, says
    if apart <= IN_HALF * np.abs(leaf.t).max(initial=0) and settings.witnesses(point.rule).compare(point).half:
        says = "the gradient moves in steps, as in half precision, which may take it that far. Compute in float64"
        return Verdict.UNDECIDED, says
    return Verdict.FORMULA, ""


def _undecided(witness: str, *, coarse: bool) -> str:
    if witness != "autodiff":
        says = "differences contradict the gradient, and those with other steps"
        return f"{says} {'are too coarse to tell which is right' if coarse else 'differ from both'}"
    if coarse:
        return "autodiff contradicts the rule, and differences are too coarse to tell which is right"
    return "the rule, autodiff and differences all differ"


def _kinks_together(
    point: Point, settings: Settings, leaves: list[Leaf], quotients: dict[str, Quotients], findings: list[Finding]
) -> list[Finding]:
    """At a kink in several entries the gradient must be possible along other directions too, not only entry by entry.

    If two numbers share a maximum, any share of the slope may go to one and the rest to the other, but not all of it to
    both. Unrelated kinks, such as those of relu in each entry, say nothing together.
    """
    kinks = {f.argument for f in findings if f.verdict == Verdict.KINK}
    if not kinks or sum(len(leaf.suspects) for leaf in leaves if leaf.argument in kinks) < 2:
        return findings
    witnesses, random = settings.witnesses(point.rule), np.random.default_rng(settings.seed + 7)
    if witnesses.blur(point):
        # at small steps ahead and behind there would only be noise
        return findings
    starts = {leaf.start: leaf for leaf in leaves}
    signs, start, alone = [], 0, np.zeros((2, SIDES))
    for value in (v for v in jax.tree.leaves(point.inputs) if is_float(v)):
        steps, leaf = np.zeros((SIDES, value.size), np.int8), starts.get(start)
        if leaf is not None and leaf.argument in kinks:
            steps[:, leaf.suspects] = random.choice([-1, 1], (SIDES, len(leaf.suspects)))
            steps[0, leaf.suspects] = 1
            alone += _one_by_one(leaf, quotients[leaf.argument], steps[:, leaf.suspects])
        signs.append(steps.reshape(SIDES, *value.shape))
        start += value.size
    compared = witnesses.compare(point)
    slopes = witnesses.slopes_along(point, compared.hand, signs)
    ahead, behind, own = slopes["up"] / ALONG, -slopes["down"] / ALONG, slopes["dots"]
    low, high = np.minimum(ahead, behind), np.maximum(ahead, behind)
    slack = 1e-3 * (np.abs(low) + np.abs(high) + np.abs(own).max()) + 1e-300
    outside = (own < low - slack) | (own > high + slack)
    apart = np.maximum(np.abs(ahead - alone[0]), np.abs(behind - alone[1]))
    if not outside.any() or apart.max() <= 1e-3 * np.abs(alone).max():
        return findings
    k = int(np.argmax(outside))
    says = (
        "entry by entry its values are possible at this kink, together they are not: along a direction of all of them "
        f"the slope is between {low[k]:.4g} and {high[k]:.4g}, by hand {own[k]:.4g}"
    )
    return [
        replace(f, verdict=Verdict.FORMULA, message=says, kind="kink") if f.verdict == Verdict.KINK else f
        for f in findings
    ]


def _one_by_one(leaf: Leaf, quotients: Quotients, steps: np.ndarray) -> np.ndarray:
    """The slopes ahead and behind along each direction, if its entries were unrelated."""
    count, forward = len(leaf.suspects), size_of(leaf.value) * steps
    left, right = quotients.left[:count], quotients.right[:count]
    ahead = np.where(steps > 0, right, left) * forward
    behind = np.where(steps > 0, left, right) * forward
    return np.stack([ahead.sum(1), behind.sum(1)])
