"""Is this rule right? One rule against its witnesses, argument by argument.

Promises: in float64 every entry by hand is compared with autodiff; on small inputs every entry is differenced too, on
large ones the worst and some drawn at random. FORMULA is said only where autodiff and differences agree with each
other and not with the rule. Then the same inputs in the working dtype: PRECISION is said where the rule loses more than
autodiff does. Letters: g by hand, t by autodiff, d ± u by differences.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checker import explain
from fnn.checker.diagnosis import Diagnosis
from fnn.checker.oracles import is_float
from fnn.checker.report import Finding, Verdict
from fnn.checker.rules import Rule
from fnn.checker.witnesses import DOES_NOT_RUN, Programs, Quotients, Witnesses
from fnn.types import PyTree

#: Entries of one argument that are all differenced if there are no more of them; of more, DRAWN are.
EVERY, DRAWN = 64, 4
#: Labels of an example that are tried.
EVERY_CLASS = 12
#: Entries that disagree and are differenced, the worst first; where the user called it one evaluation may be dear.
SUSPECTS, FEW = 16, 4
#: An entry by hand may differ from autodiff by this share of the leaf's largest entry, or by NOISE times the measured
#: noise, whichever is more. Rounding in float64 leaves 1e-15 or so, wrong rules at generic inputs 1e-3 and more.
SHARE, NOISE = 1e-9, 1e3
#: In the working dtype: err(hand) ≤ RATIO err(auto) + ULPS eps max|t|, err(auto) no less than its noise.
RATIO, ULPS = 8, 64
#: Cotangents in the batch of which `jax.vmap` must give what one after the other gives.
BATCH = 3


@dataclass
class Settings:
    """What holds for a whole check: compiled programs, the seed, and the counts of what was looked at."""

    seed: int = 0
    batched: bool = False
    programs: Programs = field(default_factory=Programs)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, what: str, number: int) -> None:
        self.counts[what] = self.counts.get(what, 0) + number


def examine(rule: Rule, settings: Settings, *, generic: bool = True, recorded: bool = True) -> list[Finding]:
    """One finding per argument of the rule: the gravest of its points.

    Args:
        rule: what is checked.
        generic: try it on generic inputs, small where it can be.
        recorded: try it where the real run had it.
    """
    findings: list[Finding] = []
    for point in points(rule, settings, generic, recorded):
        findings = graver(findings, judged_at(point, settings))
        if any(f.verdict == Verdict.FORMULA for f in findings):
            return findings if not point.generic else _told_where(findings, rule, settings, recorded)
    return findings


def _told_where(findings: list[Finding], rule: Rule, settings: Settings, recorded: bool) -> list[Finding]:
    """Findings at generic inputs, which say so if the rule is right where the real run had it."""
    for point in points(rule, settings, False, recorded):
        if all(f.verdict == Verdict.OK for f in judged_at(point, settings)):
            told = "; at random inputs, and right where your run called it"
            return [replace(f, message=f.message + told) if f.verdict == Verdict.FORMULA else f for f in findings]
    return findings


def graver(one: list[Finding], other: list[Finding]) -> list[Finding]:
    """Of each argument of each rule the graver of its findings, the first if they are equal."""
    found: dict[tuple[str, str], Finding] = {}
    for finding in [*one, *other]:
        last = found.get((finding.rule, finding.argument))
        if last is None or finding.verdict.gravity > last.verdict.gravity:
            found[finding.rule, finding.argument] = finding
    return list(found.values())


# ---- where a rule is tried ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """A rule at one place in float64: inputs, data, and the cotangent of the output."""

    rule: Rule
    inputs: tuple
    data: tuple
    y_bar: PyTree
    generic: bool
    witnesses: Witnesses

    @cached_property
    def compared(self) -> tuple[PyTree, tuple, PyTree, tuple]:
        """(value, cotangents) by hand, then by autodiff."""
        return jax.device_get(self.on_device)

    @cached_property
    def on_device(self) -> tuple[PyTree, tuple, PyTree, tuple]:
        """What was compared, left where it was computed."""
        return self.witnesses.compared(self.inputs, self.data, self.y_bar)


def points(rule: Rule, settings: Settings, generic: bool, recorded: bool) -> Iterator[Point]:
    """The rule on generic inputs, small where it can be, and where the real run had it."""
    known = recorded and all(hasattr(leaf, "__array__") for leaf in jax.tree.leaves(rule.inputs))
    if known and rule.whole:
        # the user's own numbers first
        yield at(rule, settings)
    if generic:
        yield from generic_points(rule.small or rule, settings)
    if known and not rule.whole:
        yield at(rule, settings)


def at(rule: Rule, settings: Settings, *, generic: bool = False, seed: int | None = None) -> Point:
    """The rule at its inputs, with a cotangent of random numbers, or of 1 for the whole gradient."""
    witnesses = settings.programs.of(rule.pair)
    inputs, data = cast((rule.inputs, rule.data), jnp.float64)
    random = np.random.default_rng((settings.seed if seed is None else seed) + 1)

    def cotangent(leaf: Any) -> Any:
        return jnp.asarray(np.ones(leaf.shape) if rule.whole else random.normal(0.3, 1, leaf.shape), leaf.dtype)

    y_bar = jax.tree.map(cotangent, witnesses.output(inputs, data))
    return Point(rule, inputs, data, y_bar, generic, witnesses)


def generic_points(rule: Rule, settings: Settings) -> Iterator[Point]:
    """The rule on random numbers of its shapes.

    Normal ones; their mirror image, so that a unit that is off at the one is on at the other; fresh ones further out;
    and some from (0, 1), as of probabilities: those alone where the others have no finite value. With labels in the
    data, these are tried with other labels too, so that each example has every class once (up to EVERY_CLASS).
    """
    if any(isinstance(leaf, jax.ShapeDtypeStruct) and not is_float(leaf) for leaf in jax.tree.leaves(rule.inputs)):
        return
    random = np.random.default_rng(settings.seed)
    leaves, tree = jax.tree.flatten(rule.inputs)
    normal, far = ([random.normal(0.1, 1, np.shape(leaf)) for leaf in leaves] for _ in range(2))
    inside, other = ([random.uniform(0.1, 0.9, np.shape(leaf)) for leaf in leaves] for _ in range(2))
    anywhere = [normal, [-n for n in normal], [3 * n for n in far], inside]
    within = [inside, [1 - n for n in inside], other]
    for draws in (anywhere, within):
        shifts = [0] * len(draws) + list(range(1, min(rule.classes, EVERY_CLASS)))
        usable = []
        for k, shift in enumerate(shifts):
            numbers = draws[k] if k < len(draws) else inside
            drawn = [
                jnp.asarray(n, leaf.dtype) if is_float(leaf) else leaf for n, leaf in zip(numbers, leaves, strict=True)
            ]
            data = jax.tree.map(partial(_next_label, by=shift, classes=rule.classes), rule.data)
            tried = replace(rule, inputs=tree.unflatten(drawn), data=data, small=None)
            point = at(tried, settings, generic=True, seed=settings.seed + k)
            try:
                value = point.compared[2]
            except DOES_NOT_RUN:
                # it does not run at all: that is for the judge to say
                yield point
                return
            if all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(value)):
                usable.append(point)
        if usable:
            yield from usable
            return


def _next_label(leaf: Any, by: int, classes: int) -> Any:
    integer = classes and jnp.issubdtype(jnp.result_type(leaf), jnp.integer)
    return (leaf + by) % classes if integer else leaf


def cast(tree: PyTree, dtype: Any) -> PyTree:
    """The tree with its floating leaves in this dtype."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if is_float(leaf) else leaf, tree)


# ---- one rule at one point ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Leaf:
    """One argument: its place in the vector of all floating inputs, and what was said of its gradient."""

    argument: str
    path: tuple
    start: int
    value: np.ndarray
    g: np.ndarray
    t: np.ndarray
    bound: np.ndarray
    most: int
    """How many suspects there may be."""
    own: np.ndarray = field(default_factory=lambda: np.zeros(()))
    """How far rounding may take the gradient by hand, where that was measured."""

    @cached_property
    def suspects(self) -> np.ndarray:
        """The entries where hand and autodiff differ, the worst first."""
        apart = np.abs(self.g - self.t)
        # written so that NaN is a difference
        beyond = np.flatnonzero(~(apart <= self.bound))
        excess = (apart.ravel()[beyond] / np.asarray(self.bound).flat[beyond]) if len(beyond) else np.zeros(0)
        return beyond[np.argsort(-np.where(np.isfinite(excess), excess, np.inf), kind="stable")[: self.most]]

    @cached_property
    def relative(self) -> float:
        apart = np.abs(self.g - self.t).max(initial=0)
        # NaN and infinity alike
        return float((apart if np.isfinite(apart) else np.inf) / max(np.abs(self.t).max(initial=0), 1e-300))


def judged_at(point: Point, settings: Settings) -> list[Finding]:
    """One finding per argument of the rule at this point."""
    rule, witnesses, place = point.rule, point.witnesses, (point.inputs, point.data, point.y_bar)
    if not any(is_float(leaf) for leaf in jax.tree.leaves(point.inputs)):
        return []
    if any(is_float(leaf) and leaf.dtype != jnp.float64 for leaf in jax.tree.leaves(point.y_bar)):
        return [
            _said(rule, Verdict.UNDECIDED, "on float64 inputs it gives a narrower dtype: there is a cast inside it")
        ]
    try:
        value, hand, output, auto = point.compared
    except DOES_NOT_RUN as error:
        linear = "; the tangent of a custom_jvp must be linear in its tangents" if rule.pair.has_forward_rule else ""
        says = f"the rule does not run: {_raised(error)}{linear}"
        return [_said(rule, Verdict.FORMULA, says, kind="error")]
    hand, told = _aligned(point.inputs, hand)
    if told:
        says = f"the gradient must have the structure {_structure(point.inputs)} of its inputs, got {told}"
        return [_said(rule, Verdict.FORMULA, says, kind="structure")]
    findings, leaves = _leaves(point, hand, auto)
    if any(len(leaf.suspects) for leaf in leaves):
        # what is badly conditioned there is noisy, and not wrong; a step into infinity tells nothing of the rounding
        own, noise = (dict(jax.tree_util.tree_leaves_with_path(n)) for n in witnesses.noise(*place, settings.seed))
        leaves = [
            replace(leaf, bound=np.fmax(leaf.bound, NOISE * noise[leaf.path]), own=NOISE * own[leaf.path])
            for leaf in leaves
        ]
    random = np.random.default_rng(settings.seed + 1)
    drawn = point.generic and not rule.composite
    entries = {leaf.argument: _entries(leaf, drawn, random) for leaf in leaves}
    quotients = _differenced(point, leaves, entries)
    for leaf in leaves:
        settings.count("compared with autodiff", leaf.g.size)
        settings.count("differenced", len(entries[leaf.argument]))
        findings.append(_judged(point, settings, leaf, entries[leaf.argument], quotients[leaf.argument]))
    if all(f.verdict == Verdict.OK for f in findings):
        findings = [*findings, *_value_findings(point, value, output), *_forward_findings(point, settings)]
        if settings.batched:
            findings += _batched_findings(point, settings)
        if not point.generic and all(f.verdict == Verdict.OK for f in findings):
            findings = _in_working_dtype(point, settings, findings)
    return findings


def _raised(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def _leaves(point: Point, hand: tuple, auto: tuple) -> tuple[list[Finding], list[Leaf]]:
    """What can be compared, and findings on what cannot."""
    findings: list[Finding] = []
    leaves: list[Leaf] = []
    start = 0
    hands, autos = (dict(jax.tree_util.tree_leaves_with_path(which)) for which in (hand, auto))
    for path, value in jax.tree_util.tree_leaves_with_path(point.inputs):
        if not is_float(value):
            continue
        argument = _argument(point.rule, path)
        t = np.asarray(autos[path])
        g = np.asarray(hands.get(path))
        if path not in hands:
            says = "its gradient must be an array, got None"
            findings.append(_said(point.rule, Verdict.FORMULA, says, argument, "shape"))
        elif g.shape != value.shape:
            says = f"its gradient must have shape {value.shape}, got shape {g.shape}"
            findings.append(_said(point.rule, Verdict.FORMULA, says, argument, "shape"))
        elif g.dtype != t.dtype:
            narrow = is_float(g)
            says = f"on {t.dtype.name} inputs its gradient must be {t.dtype.name}, got {g.dtype.name}"
            verdict = Verdict.UNDECIDED if narrow else Verdict.FORMULA
            findings.append(
                _said(point.rule, verdict, says + (": there is a cast inside" if narrow else ""), argument, "dtype")
            )
        elif not np.isfinite(t).all():
            says = "autodiff gives NaN or infinity here; look at the function itself"
            findings.append(_said(point.rule, Verdict.UNDECIDED, says, argument))
        elif value.size:
            bound = np.broadcast_to(SHARE * np.abs(t).max() + 1e-300, t.shape)
            most = SUSPECTS if point.generic else FEW
            leaves.append(Leaf(argument, path, start, np.asarray(value), g, t, bound, most))
        start += value.size
    return findings, leaves


def _argument(rule: Rule, path: tuple) -> str:
    return rule.labels[path[0].idx] + jax.tree_util.keystr(path[1:])


def _aligned(inputs: tuple, hand: tuple) -> tuple[tuple, str]:
    """The cotangents by hand with None where an input has no derivative; and their structure, if it is another."""
    # None may stand among the inputs too, as where a library parts the parameters of a net from the rest of it
    (leaves, tree), (given, own) = (
        jax.tree.flatten(each, is_leaf=lambda leaf: leaf is None) for each in (inputs, hand)
    )
    if own != tree:
        return hand, _structure(hand)
    return tree.unflatten(g if is_float(leaf) else None for leaf, g in zip(leaves, given, strict=True)), ""


def _structure(tree: PyTree) -> str:
    """A pytree as a reader would write it: its containers, a star for each leaf."""
    told = str(jax.tree.structure(tree, is_leaf=lambda leaf: leaf is None))
    return told.removeprefix("PyTreeDef(").removesuffix(")")


def _entries(leaf: Leaf, drawn: bool, random: np.random.Generator) -> np.ndarray:
    """Which entries of the leaf are differenced: the suspects, and others (all where they are few) if any are drawn."""
    suspects, size = leaf.suspects, leaf.g.size
    if not drawn:
        return suspects
    others = np.arange(size) if size <= EVERY else random.integers(0, size, DRAWN)
    return np.concatenate([suspects, np.setdiff1d(others, suspects)]).astype(int)


def _differenced(point: Point, leaves: list[Leaf], entries: dict[str, np.ndarray]) -> dict[str, Quotients]:
    """The quotients of every leaf, all of them in one run."""
    places, scales = [np.zeros(0, int)], [np.zeros(0)]
    for leaf in leaves:
        chosen = entries[leaf.argument]
        places.append(leaf.start + chosen)
        scales.append(np.maximum(np.abs(leaf.value.ravel()[chosen]), size_of(leaf.value)))
    flat = np.concatenate(places)
    if not len(flat):
        empty = np.zeros(0)
        return {leaf.argument: Quotients(empty, empty, empty, empty, empty.astype(bool)) for leaf in leaves}
    every = point.witnesses.quotients(point.inputs, point.data, point.y_bar, flat, np.concatenate(scales))
    ends = np.cumsum([len(entries[leaf.argument]) for leaf in leaves])
    return {
        leaf.argument: Quotients(*(each[end - len(entries[leaf.argument]) : end] for each in every))
        for leaf, end in zip(leaves, ends, strict=True)
    }


def size_of(value: Any) -> float:
    """The characteristic size of a leaf: the root of its mean square, or 1 where all of it is 0."""
    return float(np.sqrt(np.mean(np.square(np.asarray(value, np.float64))))) or 1.0


def _judged(point: Point, settings: Settings, leaf: Leaf, entries: np.ndarray, q: Quotients) -> Finding:
    rule, count = point.rule, len(leaf.suspects)
    g, t, bound, own = (np.broadcast_to(e, leaf.g.shape).flat[entries] for e in (leaf.g, leaf.t, leaf.bound, leaf.own))
    room = 10 * q.uncertainty + bound
    hand_agrees, auto_agrees = np.abs(g - q.slope) <= room, np.abs(t - q.slope) <= room
    low, high = np.minimum(q.left, q.right), np.maximum(q.left, q.right)
    # the one-sided slopes are known to the step, 1e-6 of their size and of the curvature: three digits are safe
    slack = 1e-3 * (np.abs(low) + np.abs(high)) + bound
    possible = q.kink & (g >= low - slack) & (g <= high + slack)

    def finding(k: int, verdict: Verdict, says: Diagnosis) -> Finding:
        place = tuple(int(i) for i in np.unravel_index(entries[k], leaf.g.shape))
        error = float(abs(g[k] - t[k]) / max(q.uncertainty[k], bound[k] / NOISE))
        return Finding(
            rule.name, rule.where, leaf.argument, verdict, place, float(g[k]), float(t[k]), error, *says,
            leaf.relative, (leaf.g, leaf.t),
        )  # fmt: skip

    kinked: int | None = None
    for k in range(count):
        if possible[k]:
            kinked = k if kinked is None else kinked
            continue
        undecided = not auto_agrees[k] and not hand_agrees[k] and not q.kink[k]
        if undecided:
            # a third witness, where the function takes complex numbers at all
            slopes = point.witnesses.complex_step(
                point.inputs, point.data, point.y_bar, leaf.start + entries[k : k + 1]
            )
            undecided = slopes is None or not abs(slopes[0] - t[k]) <= bound[k]
        if undecided:
            return finding(k, Verdict.UNDECIDED, _undecided("the rule, autodiff and differences all differ"))
        if not hand_agrees[k] or q.kink[k]:
            narrow = point.witnesses.narrower(point.inputs, point.data, point.y_bar)
            if narrow:
                says = f"something inside computes in {narrow} on float64 inputs: what differs may be its rounding"
                return finding(k, Verdict.UNDECIDED, _undecided(says))
            if abs(g[k] - t[k]) <= own[k]:
                says = f"rounding takes it this far in float64: by {own[k] / NOISE:.2g}, and autodiff by less"
                return finding(k, Verdict.PRECISION, Diagnosis(says, True, "precision"))
            return finding(k, Verdict.FORMULA, explain.explained(point, leaf.path, settings))
    if kinked is not None:
        says = f"there is no derivative here; any value from {low[kinked]:.4g} to {high[kinked]:.4g} is possible"
        return finding(kinked, Verdict.KINK, Diagnosis(says, True, "kink"))
    for k in range(count, len(entries)):
        if not auto_agrees[k] and not q.kink[k]:
            says = f"the rule and autodiff agree, differences say {q.slope[k]:.6g} ± {q.uncertainty[k]:.1g}"
            return finding(k, Verdict.UNDECIDED, _undecided(says))
    kept = (leaf.g, leaf.t) if rule.whole else None
    return Finding(rule.name, rule.where, leaf.argument, Verdict.OK, relative=leaf.relative, leaf=kept)


def _undecided(says: str) -> Diagnosis:
    return Diagnosis(says, True, "undecided")


# ---- what else a rule promises --------------------------------------------------------------------------------------


def _value_findings(point: Point, value: PyTree, output: PyTree) -> list[Finding]:
    """The value that comes with the derivative must be the value of the function."""
    for own, right in zip(jax.tree.leaves(value), jax.tree.leaves(output), strict=False):
        own, right = np.asarray(own, np.float64), np.asarray(right, np.float64)
        size = np.abs(right).max(initial=0)
        if own.shape != right.shape or not np.abs(own - right).max(initial=0) <= SHARE * size:
            says = "the rule's forward pass gives another value than the function"
            return [_said(point.rule, Verdict.FORMULA, says, "the value", "value")]
    return []


def _forward_findings(point: Point, settings: Settings) -> list[Finding]:
    """A forward-mode rule, pushed along random tangents, against forward-mode autodiff of the function."""
    if not point.rule.pair.has_forward_rule:
        return []
    random = np.random.default_rng(settings.seed + 2)
    floats = [leaf for leaf in jax.tree.leaves(point.inputs) if is_float(leaf)]
    tangents = [jnp.asarray(random.normal(0.2, 1, leaf.shape), leaf.dtype) for leaf in floats]
    own, right = point.witnesses.forward_mode(point.inputs, point.data, tangents)
    for g, t in zip(jax.tree.leaves(own), jax.tree.leaves(right), strict=True):
        if not np.abs(g - t).max(initial=0) <= 1e3 * SHARE * np.abs(t).max(initial=0) + 1e-300:
            says = "in forward mode its tangent differs from that of the function, though in reverse mode it is right"
            return [_said(point.rule, Verdict.FORMULA, says, "the tangent", "forward mode")]
    return []


def _batched_findings(point: Point, settings: Settings) -> list[Finding]:
    """`jax.vmap` over a batch of cotangents must give what one after the other gives."""
    random = np.random.default_rng(settings.seed + 3)
    y_bars = jax.tree.map(lambda y: jnp.asarray(random.normal(0.3, 1, (BATCH, *y.shape)), y.dtype), point.y_bar)
    try:
        together, apart = point.witnesses.batched(point.inputs, point.data, y_bars)
    except DOES_NOT_RUN as error:
        says = f"the rule does not run under jax.vmap: {_raised(error)}"
        return [_said(point.rule, Verdict.FORMULA, says, "in a batch", "batch")]
    for g, t in zip(jax.tree.leaves(together), jax.tree.leaves(apart), strict=True):
        if not np.abs(g - t).max(initial=0) <= SHARE * np.abs(t).max(initial=0) + 1e-300:
            says = "under jax.vmap it gives other cotangents than one example after the other"
            return [_said(point.rule, Verdict.FORMULA, says, "in a batch", "batch")]
    return []


def _in_working_dtype(point: Point, settings: Settings, findings: list[Finding]) -> list[Finding]:
    """The same inputs in the dtype they came in: does the rule lose more than autodiff?"""
    rule = point.rule
    inputs = rule.inputs if rule.working is None else rule.working
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(inputs) if is_float(leaf)}
    if jnp.dtype("float64") in dtypes or len(dtypes) != 1:
        return findings
    (dtype,) = dtypes
    given = cast(point.y_bar, dtype)
    # the truth on the rounded cotangent, so that its rounding is nobody's error
    exact = cast(given, jnp.float64)
    truth = (point if rule.whole else replace(point, y_bar=exact)).compared[3]
    witnesses, place = settings.programs.of(rule.pair.real), (inputs, cast(rule.data, dtype), given)
    _, hand, _, auto = witnesses.compare(*place)
    eps = float(jnp.finfo(dtype).eps)
    rows = {f.argument: f for f in findings}
    hands, autos = (dict(jax.tree_util.tree_leaves_with_path(which)) for which in (hand, auto))
    noise: dict[tuple, Any] = {}
    for path, right in jax.tree_util.tree_leaves_with_path(truth):
        argument = _argument(rule, path)
        t, h, a = (np.asarray(each, np.float64) for each in (right, hands[path], autos[path]))
        if not t.size:
            continue
        if rule.whole and hands[path].dtype != dtype:
            says = f"its gradient must have the dtype {dtype.name} of the argument, got {hands[path].dtype.name}"
            rows[argument] = _said(rule, Verdict.PRECISION, says, argument, "dtype")
            continue
        apart, auto_off, size = np.abs(h - t), np.abs(a - t).max(), np.abs(t).max()
        worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(apart)), t.shape))

        def allowed(off: float, size: float = size) -> float:
            return RATIO * off + ULPS * eps * size + 1e-300

        # where autodiff itself leaves the finite numbers there is nothing to compare with
        if not np.isfinite(auto_off) or apart[worst] <= allowed(auto_off):
            continue
        # autodiff may have been lucky: how far could rounding have taken it?
        noise = noise or dict(jax.tree_util.tree_leaves_with_path(witnesses.noise(*place, settings.seed)[1]))
        room = allowed(float(np.fmax(auto_off, np.max(np.asarray(noise[path], np.float64)))))
        if not apart[worst] <= room:
            says = f"right in float64; in {dtype.name} off by {apart[worst]:.3g}, autodiff by {auto_off:.3g}"
            rows[argument] = Finding(
                rule.name, rule.where, argument, Verdict.PRECISION, worst, float(h[worst]), float(t[worst]),
                float(apart[worst] / room), says, True, "precision",
                float(apart[worst] / max(size, 1e-300)), (h, t),
            )  # fmt: skip
    return list(rows.values())


def _said(rule: Rule, verdict: Verdict, says: str, argument: str = "", kind: str = "undecided") -> Finding:
    return Finding(rule.name, rule.where, argument or rule.labels[0], verdict, message=says, kind=kind)
