"""What else a rule promises: its value, its forward mode, its batches, and its digits in the working dtype.

Promises: these are judged if every entry is right in float64. The verdict is PRECISION if the rule loses more than
autodiff does, in the dtype and the settings of the user's run.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checker.findings import Finding, Verdict
from fnn.checker.oracles import is_float
from fnn.checker.points import Settings, cast
from fnn.checker.rules import Point, Rule
from fnn.checker.witnesses import DOES_NOT_RUN, Compared
from fnn.types import PyTree

#: What rounding in float64 may leave, as a share of the largest entry.
SHARE = 1e-9
#: If a function holds constants in a narrower dtype: this many of its epsilons do not count as a difference.
COARSE = 16
#: This many times the measured rounding does not count as a difference, if a value or a gradient cancels to almost
#: nothing.
CANCELLED = 10
#: In the working dtype: err(hand) ≤ RATIO err(auto) + ULPS eps max|t|, err(auto) no less than its noise.
#: The second term is never more than MOST of max|t|, which 64 eps of bfloat16 would be.
RATIO, ULPS, MOST = 8, 64, 0.25
#: How many cotangents are in the batch for which `jax.vmap` must give the same as one after the other.
BATCH = 3


def said(rule: Rule, verdict: Verdict, says: str, argument: str = "", kind: str = "undecided") -> Finding:
    return Finding(rule.name, rule.where, argument or rule.labels[0], verdict, message=says, kind=kind)


def raised(error: BaseException) -> str:
    """The kind of an error and the first line of its message."""
    return ": ".join([type(error).__name__, *str(error).splitlines()[:1]])


def of_shape(wanted: tuple[int, ...], got: tuple[int, ...]) -> str:
    """What is wrong with the shape of a gradient."""
    says = f"its gradient must have shape {wanted}, got shape {got}"
    ahead = len(got) - len(wanted)
    if ahead < 0:
        return says
    wide = [k for k, size in enumerate(got) if k < ahead or (wanted[k - ahead] == 1 and size != 1)]
    if all(size == wanted[k - ahead] for k, size in enumerate(got) if k not in wide) and wide:
        axes = "axis " + str(wide[0]) if len(wide) == 1 else f"axes {', '.join(map(str, wide))}"
        says += f": not summed over {axes}, along which it is broadcast?"
    return says


def argument_of(rule: Rule, path: tuple) -> str:
    return rule.labels[path[0].idx] + jax.tree_util.keystr(path[1:])


def of_value(point: Point, compared: Compared, settings: Settings) -> list[Finding]:
    """The value that comes with the derivative must be the value of the function."""
    share = max(SHARE, COARSE * settings.witnesses(point.rule).coarse)
    for own, right in zip(jax.tree.leaves(compared.value), jax.tree.leaves(compared.output), strict=False):
        own, right = np.asarray(own, np.float64), np.asarray(right, np.float64)
        size = np.abs(right).max(initial=0)
        off = np.abs(own - right).max(initial=0) if own.shape == right.shape else np.inf
        if not off <= share * size and not off <= _rounding(point, settings, "value", "output"):
            says = "the rule's forward pass gives a different value than the function"
            return [said(point.rule, Verdict.FORMULA, says, "the value", "value")]
    return []


def _rounding(point: Point, settings: Settings, *parts: str) -> float:
    """How far rounding may move what cancels to almost nothing, in these parts of a comparison."""
    try:
        noise = settings.witnesses(point.rule).noise(point, settings.seed)
    except DOES_NOT_RUN:
        return 0.0
    leaves = [np.asarray(leaf) for part in parts for leaf in jax.tree.leaves(getattr(noise, part))]
    return CANCELLED * float(max((leaf.max(initial=0) for leaf in leaves), default=0))


def of_forward_mode(point: Point, settings: Settings) -> list[Finding]:
    """A forward-mode rule, pushed along random tangents, against forward-mode autodiff of the function."""
    if not point.rule.pair.has_forward_rule:
        return []
    random = np.random.default_rng(settings.seed + 2)
    floats = [leaf for leaf in jax.tree.leaves(point.inputs) if is_float(leaf)]
    tangents = [random.normal(0.2, 1, leaf.shape) for leaf in floats]
    share = max(1e3 * SHARE, COARSE * settings.witnesses(point.rule).coarse)
    witnesses = settings.witnesses(point.rule)
    own, right = witnesses.forward_mode(point, tangents)
    pairs = list(zip(jax.tree.leaves(own), jax.tree.leaves(right), strict=True))
    if all(np.abs(g - t).max(initial=0) <= share * np.abs(t).max(initial=0) + 1e-300 for g, t in pairs):
        return []
    # autodiff of the function may be wrong, as at a tie inside a smooth one: the rule is right in reverse mode, and the
    # adjoint identity says what the tangent must be
    bars = [leaf for leaf in jax.tree.leaves(witnesses.compare(point).hand) if leaf is not None]
    forward = sum(np.sum(bar * g) for bar, g in zip(jax.tree.leaves(point.y_bar), jax.tree.leaves(own), strict=True))
    terms = [bar * v for bar, v in zip(bars, tangents, strict=True)]
    size = sum(np.abs(term).sum() for term in terms)
    off = abs(forward - sum(term.sum() for term in terms))
    tangent = max(np.abs(v).sum() for v in tangents)
    if off <= share * size + 1e-300 or off <= tangent * _rounding(point, settings, "hand", "auto"):
        return []
    says = "in forward mode its tangent differs from that of the function, though in reverse mode it is right"
    return [said(point.rule, Verdict.FORMULA, says, "the tangent", "forward mode")]


def of_batch(point: Point, settings: Settings) -> list[Finding]:
    """`jax.vmap` over a batch of cotangents must give the same as one after the other."""
    random = np.random.default_rng(settings.seed + 3)
    y_bars = jax.tree.map(lambda y: random.normal(0.3, 1, (BATCH, *y.shape)).astype(y.dtype), point.y_bar)
    try:
        together, apart = settings.witnesses(point.rule).batched(point, y_bars)
    except DOES_NOT_RUN as error:
        says = f"the rule does not run under jax.vmap: {raised(error)}"
        return [said(point.rule, Verdict.FORMULA, says, "in a batch", "batch")]
    for g, t in zip(jax.tree.leaves(together), jax.tree.leaves(apart), strict=True):
        off = np.abs(g - t).max(initial=0)
        if not off <= SHARE * np.abs(t).max(initial=0) + 1e-300 and not off <= _rounding(point, settings, "hand"):
            says = "under jax.vmap it gives other cotangents than one example after the other"
            return [said(point.rule, Verdict.FORMULA, says, "in a batch", "batch")]
    return []


def in_working_dtype(point: Point, settings: Settings, findings: list[Finding]) -> list[Finding]:
    """The same inputs in their own dtype, in the user's own setting: does the rule lose more than autodiff?"""
    rule = point.rule
    dtypes = {jnp.dtype(leaf.dtype) for leaf in jax.tree.leaves(rule.inputs) if is_float(leaf)}
    if jnp.dtype("float64") in dtypes or len(dtypes) != 1:
        return findings
    (dtype,) = dtypes
    run = _Working.of(point, settings, dtype)
    if run is None:
        return findings
    rows = {f.argument: f for f in findings}
    for path, right in jax.tree_util.tree_leaves_with_path(run.truth):
        argument = argument_of(rule, path)
        if argument in rows and np.size(right) and path in run.hand:
            rows[argument] = _lost(run, path, rows[argument])
    return list(rows.values())


@dataclass(eq=False)
class _Working:
    """A rule in the dtype of the user's run, with its truth."""

    point: Point
    settings: Settings
    dtype: Any
    place: tuple
    truth: PyTree
    hand: dict[tuple, Any]
    auto: dict[tuple, Any]

    @classmethod
    def of(cls, point: Point, settings: Settings, dtype: Any) -> "_Working | None":
        """The run; None if the rule has none that could be compared."""
        rule, real = point.rule, settings.working(point.rule)
        y_bar = cast(point.y_bar, dtype)
        # the truth is computed for the rounded cotangent, so that its rounding counts for neither
        exact = point if rule.whole else point.moved(y_bar=cast(y_bar, np.float64))
        truth = settings.witnesses(rule).compare(exact)
        if truth.source != "reverse":
            return None
        place = rule.inputs, rule.data, y_bar
        try:
            value, hand, auto = real.working(*place)
        except DOES_NOT_RUN:
            # it ran in float64: a limit of the user's settings is not the gradient's fault
            return None
        if not _same_function(value, truth.output, dtype):
            says = f"the value in {dtype.name} is another than in float64, so that the digits lost were not judged"
            settings.notes[f"{rule.name}: {says}"] = None
            return None
        hands, autos = (dict(jax.tree_util.tree_leaves_with_path(each)) for each in (hand, auto))
        # by hand it is right there, even if autodiff of the function is not
        return cls(point, settings, dtype, place, truth.hand, hands, autos)

    @cached_property
    def noise(self) -> dict[tuple, Any]:
        """How far rounding might have moved autodiff."""
        real = self.settings.working(self.point.rule)
        return dict(jax.tree_util.tree_leaves_with_path(real.own_noise(self.place, self.settings.seed)[1]))


def _same_function(value: PyTree, exact: PyTree, dtype: Any) -> bool:
    """Whether the value is that of float64 up to rounding: a sampler in double precision draws other numbers."""
    eps = float(jnp.finfo(dtype).eps)
    for own, right in zip(jax.tree.leaves(value), jax.tree.leaves(exact), strict=False):
        own, right = np.asarray(own, np.float64), np.asarray(right, np.float64)
        size = np.abs(right).max(initial=0)
        if own.shape != right.shape or np.abs(own - right).max(initial=0) > np.sqrt(eps) * size:
            return False
    return True


def _lost(run: _Working, path: tuple, finding: Finding) -> Finding:
    """The finding on one argument, or PRECISION if the rule loses more than autodiff."""
    rule, dtype = run.point.rule, run.dtype
    right = dict(jax.tree_util.tree_leaves_with_path(run.truth))[path]
    t, h, a = (np.asarray(each, np.float64) for each in (right, run.hand[path], run.auto[path]))
    if rule.whole and run.hand[path].dtype != dtype:
        says = f"its gradient must have the dtype {dtype.name} of the argument, got {run.hand[path].dtype.name}"
        return said(rule, Verdict.PRECISION, says, finding.argument, "dtype")
    apart, auto_off, size = np.abs(h - t), np.abs(a - t).max(), np.abs(t).max()
    worst = tuple(int(i) for i in np.unravel_index(int(np.argmax(apart)), t.shape))
    eps = float(jnp.finfo(dtype).eps)

    def allowed(off: float) -> float:
        return RATIO * off + min(ULPS * eps, MOST) * size + 1e-300

    # if autodiff itself gives NaN or infinity there is nothing to compare with
    if not np.isfinite(auto_off) or apart[worst] <= allowed(auto_off):
        return finding
    # autodiff may have been lucky: how far could rounding have moved it?
    room = allowed(float(np.fmax(auto_off, np.max(np.asarray(run.noise[path], np.float64)))))
    if apart[worst] <= room:
        return finding
    says = f"right in float64; in {dtype.name} off by {apart[worst]:.3g}, autodiff by {auto_off:.3g}"
    return Finding(
        rule.name, rule.where, finding.argument, Verdict.PRECISION, worst, float(h[worst]), float(t[worst]),
        float(apart[worst] / room), says, True, "precision", float(apart[worst] / max(size, 1e-300)), (h, t),
    )  # fmt: skip
