"""Is this rule right? One rule against its witnesses, argument by argument.

Promises: in float64 every entry by hand is compared with autodiff; on small inputs every entry is differenced too, on
large ones the worst and some drawn at random. FORMULA is said only where autodiff and differences agree with each
other and not with the rule. Then the same inputs in the working dtype: PRECISION is said where the rule loses more than
autodiff does. Letters: g by hand, t by autodiff, d ± u by differences.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checker.diagnosis import Diagnosis, diagnose
from fnn.checker.oracles import is_float, vjp
from fnn.checker.report import Finding, Verdict
from fnn.checker.rules import Rule
from fnn.checker.witnesses import Quotients, Witnesses
from fnn.types import PyTree

#: Entries of one argument that are all differenced if there are no more of them; of more, DRAWN are.
EVERY, DRAWN = 64, 4
#: Entries that disagree and are differenced, the worst first.
SUSPECTS = 16
#: An entry by hand may differ from autodiff by this share of the leaf's largest entry, or by NOISE times the measured
#: noise, whichever is more. Rounding in float64 leaves 1e-15 or so, wrong rules at generic inputs 1e-3 and more.
SHARE, NOISE = 1e-9, 1e3
#: In the working dtype: err(hand) ≤ RATIO err(auto) + ULPS eps max|t|.
RATIO, ULPS = 8, 64


def examine(
    rule: Rule, seed: int, counts: dict[str, int], *, generic: bool = True, recorded: bool = True
) -> list[Finding]:
    """One finding per argument of the rule: the gravest of its points. `counts` is added to.

    Args:
        rule: what is checked.
        seed: of the generic inputs, and of the entries that are drawn.
        counts: what was looked at so far.
        generic: try it on generic inputs, small where it can be.
        recorded: try it where the real run had it.
    """
    findings: dict[str, Finding] = {}
    witnesses: dict[int, Witnesses] = {}
    for point, drawn in _points(rule, seed, generic, recorded):
        known = witnesses.setdefault(id(point.forward), Witnesses(point.forward, point.backward))
        for finding in _at(point, known, drawn, seed, counts):
            last = findings.get(finding.argument)
            if last is None or _gravity(finding) > _gravity(last):
                findings[finding.argument] = finding
        if any(f.verdict == Verdict.FORMULA for f in findings.values()):
            break
    return list(findings.values())


def _gravity(finding: Finding) -> int:
    return list(Verdict).index(finding.verdict)


# ---- where a rule is tried ------------------------------------------------------------------------------------------


def _points(rule: Rule, seed: int, generic: bool, recorded: bool) -> Iterator[tuple[Rule, bool]]:
    """(the rule on generic inputs, True), small where it can be, and (where the real run had it, False)."""
    known = recorded and all(hasattr(leaf, "__array__") for leaf in jax.tree.leaves(rule.inputs))
    if known and rule.whole:
        # the user's own numbers first
        yield rule, False
    drawn = _generic(rule.small or rule, seed) if generic else None
    if drawn is not None:
        yield drawn, True
    if known and not rule.whole:
        yield rule, False


def _generic(rule: Rule, seed: int) -> Rule | None:
    """The rule on random numbers of its shapes: normal ones, or from (0, 1) where those have no finite value."""
    random = np.random.default_rng(seed)
    if any(isinstance(leaf, jax.ShapeDtypeStruct) and not is_float(leaf) for leaf in jax.tree.leaves(rule.inputs)):
        return None
    for sample in (lambda shape: random.normal(0.1, 1, shape), lambda shape: random.uniform(0.1, 0.9, shape)):
        inputs = jax.tree.map(
            lambda leaf, sample=sample: jnp.asarray(sample(leaf.shape), leaf.dtype) if is_float(leaf) else leaf,
            rule.inputs,
        )
        value = jax.device_get(jax.jit(rule.forward)(*_cast(inputs, jnp.float64)))
        if all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(value) if np.issubdtype(leaf.dtype, np.floating)):
            return replace(rule, inputs=inputs)
    return None


def _cast(tree: PyTree, dtype: Any) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype) if is_float(leaf) else leaf, tree)


# ---- one rule at one point ------------------------------------------------------------------------------------------


@dataclass
class _Leaf:
    """One argument: its place in the vector of all floating inputs, and what was said of its gradient."""

    argument: str
    start: int
    value: np.ndarray
    g: np.ndarray
    t: np.ndarray
    bound: np.ndarray

    def suspects(self) -> np.ndarray:
        """The entries where hand and autodiff differ, the worst first."""
        apart = np.where(np.isfinite(self.g), np.abs(self.g - self.t), np.inf)
        excess = (apart / self.bound).ravel()
        return np.argsort(-excess, kind="stable")[: min(SUSPECTS, int((excess > 1).sum()))]


def _at(rule: Rule, witnesses: Witnesses, generic: bool, seed: int, counts: dict[str, int]) -> list[Finding]:
    inputs = _cast(rule.inputs, jnp.float64)
    shape = jax.eval_shape(rule.forward, *inputs)
    random = np.random.default_rng(seed + 1)
    if rule.whole:
        y_bar = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), shape)
    else:
        y_bar = jax.tree.map(lambda leaf: jnp.asarray(random.normal(0.3, 1, leaf.shape), leaf.dtype), shape)
    if any(is_float(leaf) and leaf.dtype != jnp.float64 for leaf in jax.tree.leaves(shape)):
        return [
            _said(rule, Verdict.UNDECIDED, "on float64 inputs it gives a narrower dtype: there is a cast inside it")
        ]
    try:
        hand, auto, output = witnesses.compare(inputs, y_bar)
    except (TypeError, ValueError) as error:
        return [_said(rule, Verdict.FORMULA, f"the rule does not run: {str(error).splitlines()[0]}")]

    findings: list[Finding] = []
    leaves: list[_Leaf] = []
    start = 0
    hands, autos = ({_path(p): v for p, v in jax.tree_util.tree_leaves_with_path(w)} for w in (hand, auto))
    for path, value in jax.tree_util.tree_leaves_with_path(inputs):
        if not is_float(value):
            continue
        argument, name = rule.labels[path[0].idx] + _path(path[1:]), _path(path)
        g, t = hands.get(name), np.asarray(autos[name])
        if g is None or np.shape(g) != value.shape:
            told = "nothing" if g is None else f"shape {np.shape(g)}"
            says = f"its gradient must have shape {value.shape}; {told} came"
            findings.append(_said(rule, Verdict.FORMULA, says, argument))
        elif not np.isfinite(t).all():
            says = "autodiff gives NaN or infinity here; look at the function itself"
            findings.append(_said(rule, Verdict.UNDECIDED, says, argument))
        elif value.size:
            bound = np.full(t.shape, SHARE * np.abs(t).max() + 1e-300)
            leaves.append(_Leaf(argument, start, np.asarray(value), np.asarray(g), t, bound))
        start += value.size

    if any(len(leaf.suspects()) for leaf in leaves):
        # what is badly conditioned there is noisy, and not wrong
        noises = jax.tree_util.tree_leaves_with_path(witnesses.noise(inputs, y_bar, seed))
        measured = {rule.labels[path[0].idx] + _path(path[1:]): np.asarray(noise) for path, noise in noises}
        for leaf in leaves:
            leaf.bound = np.maximum(leaf.bound, NOISE * measured[leaf.argument])
    drawn = generic and not rule.composite
    entries = {leaf.argument: _entries(leaf, drawn, random) for leaf in leaves}
    quotients = _differenced(witnesses, inputs, y_bar, leaves, entries)
    for leaf in leaves:
        counts["compared with autodiff"] = counts.get("compared with autodiff", 0) + leaf.g.size
        counts["differenced"] = counts.get("differenced", 0) + len(entries[leaf.argument])
        findings.append(_judged(rule, leaf, entries[leaf.argument], quotients[leaf.argument], inputs, y_bar, output))
    if not generic and all(f.verdict == Verdict.OK for f in findings):
        findings = _in_working_dtype(rule, witnesses, y_bar, findings)
    return findings


def _path(path: tuple) -> str:
    return jax.tree_util.keystr(path)


def _entries(leaf: _Leaf, drawn: bool, random: np.random.Generator) -> np.ndarray:
    """Which entries of the leaf are differenced: the suspects, and others (all where they are few) if any are drawn."""
    suspects, size = leaf.suspects(), leaf.g.size
    if not drawn:
        return suspects
    others = np.arange(size) if size <= EVERY else random.integers(0, size, DRAWN)
    return np.concatenate([suspects, np.setdiff1d(others, suspects)]).astype(int)


def _differenced(
    witnesses: Witnesses, inputs: tuple, y_bar: PyTree, leaves: list[_Leaf], entries: dict[str, np.ndarray]
) -> dict[str, Quotients]:
    """The quotients of every leaf, all of them in one run."""
    places, scales = [np.zeros(0, int)], [np.zeros(0)]
    for leaf in leaves:
        chosen = entries[leaf.argument]
        size = float(np.sqrt(np.mean(leaf.value**2))) or 1.0
        places.append(leaf.start + chosen)
        scales.append(np.maximum(np.abs(leaf.value.ravel()[chosen]), size))
    flat = np.concatenate(places)
    if not len(flat):
        empty = np.zeros(0)
        return {leaf.argument: Quotients(empty, empty, empty, empty, empty.astype(bool)) for leaf in leaves}
    every = witnesses.quotients(inputs, y_bar, flat, np.concatenate(scales))
    ends = np.cumsum([len(entries[leaf.argument]) for leaf in leaves])
    return {
        leaf.argument: Quotients(*(each[end - len(entries[leaf.argument]) : end] for each in every))
        for leaf, end in zip(leaves, ends, strict=True)
    }


def _judged(
    rule: Rule, leaf: _Leaf, entries: np.ndarray, q: Quotients, inputs: tuple, y_bar: PyTree, output: PyTree
) -> Finding:
    count = len(leaf.suspects())
    g, t, bound = (each.ravel()[entries] for each in (leaf.g, leaf.t, leaf.bound))
    room = 10 * q.uncertainty + bound
    hand_agrees, auto_agrees = np.abs(g - q.slope) <= room, np.abs(t - q.slope) <= room
    low, high = np.minimum(q.left, q.right), np.maximum(q.left, q.right)
    # the one-sided slopes are known to the step, 1e-6 of their size and of the curvature: three digits are safe
    slack = 1e-3 * (np.abs(low) + np.abs(high)) + bound
    possible = q.kink & (g >= low - slack) & (g <= high + slack)

    def finding(k: int, verdict: Verdict, says: Diagnosis) -> Finding:
        at = tuple(int(i) for i in np.unravel_index(entries[k], leaf.g.shape))
        error = float(abs(g[k] - t[k]) / max(q.uncertainty[k], bound[k] / NOISE))
        return Finding(rule.name, rule.where, leaf.argument, verdict, at, float(g[k]), float(t[k]), error, *says)

    kinked: int | None = None
    for k in range(count):
        if possible[k]:
            kinked = k if kinked is None else kinked
        elif (auto_agrees[k] and not hand_agrees[k]) or q.kink[k]:
            narrow = _narrower(rule, inputs, y_bar)
            if narrow:
                says = f"something inside computes in {narrow} on float64 inputs: what differs may be its rounding"
                return finding(k, Verdict.UNDECIDED, Diagnosis(says, True))
            return finding(k, Verdict.FORMULA, _explained(leaf, rule, inputs, y_bar, output))
        elif not auto_agrees[k] and not hand_agrees[k]:
            return finding(k, Verdict.UNDECIDED, Diagnosis("the rule, autodiff and differences all differ", True))
    if kinked is not None:
        says = f"there is no derivative here; any value from {low[kinked]:.4g} to {high[kinked]:.4g} is possible"
        return finding(kinked, Verdict.KINK, Diagnosis(says, True))
    for k in range(count, len(entries)):
        if not auto_agrees[k] and not q.kink[k]:
            says = f"the rule and autodiff agree, differences say {q.slope[k]:.6g} ± {q.uncertainty[k]:.1g}"
            return finding(k, Verdict.UNDECIDED, Diagnosis(says, True))
    return Finding(rule.name, rule.where, leaf.argument, Verdict.OK)


def _narrower(rule: Rule, inputs: tuple, y_bar: PyTree) -> str:
    """The dtype narrower than float64 in which some step of the rule computes, or ""."""

    def search(jaxpr: Any) -> str:
        for equation in jaxpr.eqns:
            for out in equation.outvars:
                if jnp.issubdtype(out.aval.dtype, jnp.floating) and out.aval.dtype.itemsize < 8:
                    return out.aval.dtype.name
            for value in equation.params.values():
                for inner in value if isinstance(value, tuple | list) else (value,):
                    inner = getattr(inner, "jaxpr", inner)
                    found = search(inner) if hasattr(inner, "eqns") else ""
                    if found:
                        return found
        return ""

    both = jax.make_jaxpr(lambda inputs, bar: (rule.forward(*inputs), rule.backward(inputs, bar)))(inputs, y_bar)
    return search(both.jaxpr)


def _explained(leaf: _Leaf, rule: Rule, inputs: tuple, y_bar: PyTree, output: PyTree) -> Diagnosis:
    clues: dict[str, np.ndarray] = {}
    for name, tree in (("the cotangent of the output", y_bar), ("the input", inputs), ("the output", output)):
        for k, each in enumerate(v for v in jax.tree.leaves(tree) if is_float(v)):
            clues[name if k == 0 else f"{name}, part {k + 1}"] = np.asarray(each)
    sizes: dict[str, int] = {}
    for each in jax.tree.leaves(inputs):
        for axis, size in enumerate(np.shape(each)):
            sizes.setdefault("the number of rows" if axis == 0 else f"the size of axis {axis}", size)
    tries = {}
    for what, backward in rule.repairs:
        try:
            (tries[what],) = jax.device_get(jax.jit(backward)(inputs, y_bar))
        except (TypeError, ValueError):
            # this rule keeps something of another structure: nothing to learn here
            continue
    if jax.tree.map(np.shape, inputs) == (np.shape(output),):
        (tries["misplaced"],) = jax.device_get(jax.jit(lambda a, bar: vjp(rule.forward, (a,), bar))(output, y_bar))
    return diagnose(leaf.g, leaf.t, clues, sizes, tries)


def _in_working_dtype(rule: Rule, witnesses: Witnesses, y_bar: PyTree, findings: list[Finding]) -> list[Finding]:
    """The same inputs in the dtype they came in: does the rule lose more than autodiff?"""
    real = rule.working or rule
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(real.inputs) if is_float(leaf)}
    if jnp.dtype("float64") in dtypes or len(dtypes) != 1:
        return findings
    (dtype,) = dtypes
    given = _cast(y_bar, dtype)
    # the truth on the rounded cotangent, so that its rounding is nobody's error
    _, truth, _ = witnesses.compare(_cast(rule.inputs, jnp.float64), _cast(given, jnp.float64))
    rounded = witnesses if rule.working is None else Witnesses(real.forward, real.backward)
    hand, auto, _ = rounded.compare(real.inputs, given)
    eps = float(jnp.finfo(dtype).eps)
    rows = {f.argument: f for f in findings}
    leaves = zip(*(jax.tree_util.tree_leaves_with_path(each) for each in (truth, hand, auto)), strict=True)
    for (path, *_), *others in leaves:
        argument = rule.labels[path[0].idx] + _path(path[1:])
        del others
        t, h, a = (np.asarray(_leaf(each, path), np.float64) for each in (truth, hand, auto))
        if not t.size:
            continue
        apart = np.where(np.isfinite(h), np.abs(h - t), np.inf)
        allowed = RATIO * np.abs(a - t).max() + ULPS * eps * np.abs(t).max() + 1e-300
        worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(apart)), t.shape))
        if not apart[worst] <= allowed:
            says = f"right in float64; in {dtype.name} off by {apart[worst]:.3g}, autodiff by {np.abs(a - t).max():.3g}"
            rows[argument] = Finding(
                rule.name, rule.where, argument, Verdict.PRECISION, worst, float(h[worst]), float(t[worst]),
                float(apart[worst] / allowed), says,
            )  # fmt: skip
    return list(rows.values())


def _leaf(tree: PyTree, path: tuple) -> Any:
    return next(v for p, v in jax.tree_util.tree_leaves_with_path(tree) if p == path)


def _said(rule: Rule, verdict: Verdict, says: str, argument: str = "") -> Finding:
    return Finding(rule.name, rule.where, argument or rule.labels[0], verdict, says=says)
