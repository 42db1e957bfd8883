"""Axes of length 1, along which a rule can hide a factor such as 1/N: it is tried with longer ones.

Promises: a rule is blamed only if it runs with the longer axes, fits its inputs there, the function does the same, and
it is right in no way of making one of these axes longer. If it is right with other axes longer, like an attention with
more queries and one key, several axes must agree against it. Where longer axes meet an array that it captured, which
keeps its one row, a mistake is ASSUMES. An axis that could not be tried is named.
Letters: a stretch is a choice of axes that are made longer together.
"""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn import jaxprs
from fnn.checker.examination import examine
from fnn.checker.findings import Finding, Verdict
from fnn.checker.oracles import is_float
from fnn.checker.points import Settings
from fnn.checker.rules import Rule, Subject
from fnn.checker.witnesses import DOES_NOT_RUN
from fnn.types import PyTree, is_key

#: Lengths to take in place of 1: the first that no other axis has.
LENGTHS = (3, 5, 7, 11, 13)
#: How many stretches of leading axes are tried at most.
MOST = 8
#: Errors that show only that a rule is made for the shapes of the run, and nothing about its formula.
MADE_FOR_SHAPES = ("error", "structure", "shape", "dtype", "value")


class Axis(NamedTuple):
    """An axis of length 1 of one leaf of the arguments."""

    leaf: int
    axis: int
    argument: int
    name: str

    def __str__(self) -> str:
        return f"axis {self.axis} of {self.name}"


#: From arguments to what is checked when the same function is called on them; raises what the function raises.
Traced = Callable[[tuple], Subject]


def examined_longer(
    traced: Traced, args: dict[str, PyTree], here: Subject, findings: list[Finding], settings: Settings, *,
    examples: bool = False,
) -> list[Finding]:  # fmt: skip
    """Findings on rules that are right at the point of the run and wrong with a longer axis; everything else becomes a
    note.

    Args:
        traced: returns what is checked on other arguments.
        args: the arguments of the run, by name.
        here: what is checked at them.
        findings: the findings at them.
        settings: the settings of the check.
        examples: True if the first axis of every argument counts examples, and no other axis need be tried.
    """
    axes = [each for each in _axes_of_one(args) if not examples or each.axis == 0]
    bad = {f.rule for f in findings if not f.verdict.fine}
    first = {rule.key: k for k, rule in reversed(list(enumerate(here.rules))) if axes}
    places = {k for k in first.values() if _may_hide(here.rules[k]) and here.rules[k].name not in bad}
    if not places:
        return []
    trial = _Trial(traced, tuple(args.values()), here, settings)
    leading = [each for each in axes if each.axis == 0]
    for stretch in _stretches(leading, [each for each in leading if examples or each.argument > 0]):
        if pending := trial.pending(places, stretch):
            trial.run(stretch, pending)
    if len(leading) < len(axes):
        # an axis of features, or of a single output: a rule may be made for just that length
        trial.run(tuple(axes), places, blame=False)
    if untried := [str(each) for each in axes if each not in trial.tried]:
        names = f"{', '.join(untried)} {'have' if len(untried) > 1 else 'has'} length 1"
        settings.notes[f"{names}, and could not be tried longer: a factor such as 1/N would not be seen there"] = None
    return trial.wrong(places)


def _may_hide(rule: Rule) -> bool:
    """True for a rule with an axis of length 1 that is not tried anywhere else."""
    return rule.small is None and not rule.expected and 1 in _lengths((rule.inputs, rule.data))


class _Trial:
    """What several stretches say about the rules."""

    def __init__(self, traced: Traced, args: tuple, here: Subject, settings: Settings) -> None:
        self._traced, self._args, self._here, self._settings = traced, args, here, settings
        self.tried: set[Axis] = set()
        """Axes of stretches in which every rule that they reach ran and fitted."""
        self._right: dict[int, set[Axis]] = defaultdict(set)
        self._wrong: dict[int, list[tuple[tuple[Axis, ...], list[Finding]]]] = defaultdict(list)
        self._beside: dict[int, list[Finding]] = {}
        """What is wrong where longer axes meet a captured row, which stays one."""

    def pending(self, places: set[int], stretch: tuple[Axis, ...]) -> set[int]:
        """The rules that were not right with any of these axes longer."""
        return {k for k in places if not self._right[k] & {*stretch}}

    def run(self, stretch: tuple[Axis, ...], places: set[int], *, blame: bool = True) -> None:
        """Examine the rules with these axes longer."""
        length = next(n for n in (*LENGTHS, 17) if n not in _lengths(self._args))
        try:
            there = self._traced(longer(self._args, stretch, length))
        except Exception:
            # whatever an unknown function raises on shapes that it was not written for
            return
        if [rule.name for rule in there.rules] != [rule.name for rule in self._here.rules]:
            return
        same, every = _is_same(self._here.program, there.program), True
        beside = same or _is_same(self._here.program, there.program, but_captured=True)
        for k in places:
            rule = there.rules[k]
            if length not in _lengths((rule.inputs, rule.data)):
                continue
            findings = self._examined(rule)
            fits = bool(findings) and not any(f.kind in MADE_FOR_SHAPES or _ignores_rows(f, length) for f in findings)
            right = bool(findings) and all(f.verdict.fine for f in findings)
            every &= fits and (right or (same and blame))
            if right and (same or not _sets_apart(self._here.rules[k], rule)):
                self._right[k].update(stretch)
            elif fits and same and blame:
                self._wrong[k].append((stretch, _with_place(findings, stretch, length)))
            elif fits and beside and blame and not right:
                self._beside.setdefault(k, [_of_one_row(f) for f in _with_place(findings, stretch, length)])
        if every:
            self.tried.update(stretch)

    def _examined(self, rule: Rule) -> list[Finding]:
        """The findings on a rule; none if the function itself does not run there."""
        try:
            with jax.enable_x64(True):
                return examine(rule, self._settings)
        except DOES_NOT_RUN:
            return []

    def wrong(self, places: set[int]) -> list[Finding]:
        """The findings on rules that are wrong and can be blamed."""
        beside = {k: [] if self._right[k] else self._beside.get(k, []) for k in places}
        return [f for k in sorted(places) for f in next(self._blamed(k), beside[k])]

    def _blamed(self, k: int) -> Iterator[list[Finding]]:
        for stretch, findings in self._wrong[k]:
            if self.pending({k}, stretch) and (len(stretch) > 1 or not self._right[k]):
                yield findings


def longer(args: tuple, stretch: tuple[Axis, ...], length: int) -> tuple:
    """The arguments with these axes of length 1 made longer, by other rows of the same kind."""
    leaves, tree = jax.tree.flatten(args)
    for each in stretch:
        leaves[each.leaf] = _stretched(leaves[each.leaf], each.axis, length)
    return tree.unflatten(leaves)


def _stretched(leaf: Any, axis: int, length: int) -> Any:
    if is_key(leaf) or not is_float(leaf):
        return jnp.repeat(leaf, length, axis)
    value = np.asarray(leaf)
    slices = []
    for k in range(length):
        if axis != value.ndim - 1:
            # one-hot rows stay one-hot, masks stay masks, and rows that sum to 1 still do
            slices.append(np.roll(value, k, -1))
        elif np.isin(value, (0, 1)).all():
            slices.append(np.abs(value - k % 2))
        else:
            slices.append(value * (1 + 0.1 * k))
    return jnp.asarray(np.concatenate(slices, axis).astype(value.dtype))


def _axes_of_one(args: dict[str, PyTree]) -> Iterator[Axis]:
    names = list(args)
    for number, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(tuple(args.values()))):
        name = names[path[0].idx] + jax.tree_util.keystr(path[1:])
        yield from (Axis(number, k, path[0].idx, name) for k, size in enumerate(np.shape(leaf)) if size == 1)


def _stretches(leading: list[Axis], data: Sequence[Axis]) -> Iterator[tuple[Axis, ...]]:
    """Ways to make leading axes longer: first of what is not a parameter, then of all, then others."""
    sizes = range(len(leading) - 1, 0, -1) if len(leading) <= 3 else (len(leading) - 1, 1)
    others = (each for size in sizes for each in itertools.combinations(leading, size))
    known = dict.fromkeys(each for each in (tuple(data), tuple(leading), *others) if each)
    yield from list(known)[:MOST]


def _sets_apart(here: Rule, there: Rule) -> bool:
    """True if two inputs of equal shape get different lengths there: a prediction of one row, and targets of more."""
    # of a function with a separate gradient, the other arguments are data
    trees = [(rule.inputs, rule.data) if rule.loose else rule.inputs for rule in (here, there)]
    before, after = ([np.shape(leaf) for leaf in jax.tree.leaves(tree)] for tree in trees)
    pairs = itertools.combinations(range(len(before)), 2)
    return any(before[i] == before[j] and after[i] != after[j] for i, j in pairs)


def _lengths(tree: PyTree) -> set[int]:
    return {size for leaf in jax.tree.leaves(tree) for size in np.shape(leaf)}


def _is_same(here: Any, there: Any, *, but_captured: bool = False) -> bool:
    """True if a function does the same on longer axes: the same operations, none of which broadcasts what was equal
    before.

    Two axes of length 1 that meet are either both longer or both not; the exceptions are an axis that the function
    itself adds, and, if that is asked for, an array that it captured.
    """
    if here is None or there is None:
        return here is there
    before, after = list(jaxprs.equations(here)), list(jaxprs.equations(there))
    if [each.primitive.name for each in before] != [each.primitive.name for each in after]:
        return False
    makers = {out: each for each in after for out in each.outvars}
    kept = _captured(there) if but_captured else frozenset()
    return not any(_broadcasts(old, new, makers, kept) for old, new in zip(before, after, strict=True))


def _captured(program: Any) -> frozenset[Any]:
    """The variables of a jaxpr, and of what it holds, that depend on nothing but captured values."""
    found: set[Any] = set()

    def walk(closed: Any) -> None:
        found.update(closed.jaxpr.constvars)
        for equation in closed.jaxpr.eqns:
            fixed = [jaxprs.is_literal(atom) or atom in found for atom in equation.invars]
            if all(fixed):
                found.update(equation.outvars)
            if (body := jaxprs.body_of(equation)) is not None:
                found.update(var for var, each in zip(body.jaxpr.invars, fixed, strict=True) if each)
                walk(body)

    walk(program)
    return frozenset(found)


def _broadcasts(before: Any, after: Any, makers: dict[Any, Any], kept: frozenset[Any]) -> bool:
    if before.primitive.name in NOT_ENTRY_BY_ENTRY or next(jaxprs.inside(before), None) is not None:
        # the body of a call or a loop is examined separately
        return False
    old, new = ([*each.invars, *each.outvars] for each in (before, after))
    if len({np.ndim(each.aval) for each in old}) != 1:
        return False
    for axis in range(np.ndim(old[0].aval)):
        grown = (each for each in new if jaxprs.is_literal(each) or each not in kept)
        sizes = {each.aval.shape[axis] for each in grown if not _is_put_there(each, axis, makers)}
        if all(each.aval.shape[axis] == 1 for each in old) and len(sizes) > 1:
            return True
    return False


def _is_put_there(atom: Any, axis: int, makers: dict[Any, Any]) -> bool:
    """True for an axis that the function itself adds, as before a bias, or in place of one that it summed over."""
    maker = None if jaxprs.is_literal(atom) else makers.get(atom)
    if maker is None:
        return False
    if (body := jaxprs.body_of(maker)) is not None:
        return _is_put_there(body.jaxpr.outvars[maker.outvars.index(atom)], axis, makers)
    if maker.primitive.name == "broadcast_in_dim":
        dimensions = maker.params["broadcast_dimensions"]
        return axis not in dimensions or _is_put_there(maker.invars[0], dimensions.index(axis), makers)
    # elementwise, on values that have such an axis: the largest of a row, its logarithm
    read = [each for each in maker.invars if np.ndim(each.aval)]
    same = bool(read) and all(each.aval.shape == atom.aval.shape for each in read)
    if maker.primitive.name in NOT_ENTRY_BY_ENTRY or not same:
        return False
    return all(_is_put_there(each, axis, makers) for each in read)


#: Operations in which axes with the same number need not meet.
NOT_ENTRY_BY_ENTRY = (
    "dot_general", "conv_general_dilated", "gather", "scatter", "scatter-add", "concatenate", "dynamic_slice",
    "dynamic_update_slice", "pad", "transpose", "reshape", "broadcast_in_dim",
)  # fmt: skip


def _ignores_rows(finding: Finding, length: int) -> bool:
    """True if the function reads only the first of the rows, so that the others are not examples."""
    if finding.leaf is None:
        return False
    truth = np.asarray(finding.leaf[1])
    axes = [k for k, size in enumerate(truth.shape) if size == length]
    return any(not np.take(truth, range(1, length), k).any() for k in axes)


def _of_one_row(finding: Finding) -> Finding:
    """What is wrong where longer axes meet a captured row: perhaps the two have as many rows by right."""
    if finding.verdict != Verdict.FORMULA:
        return finding
    says = f"right with one row, as in your run. Wrong, unless what it captured has as many rows: {finding.message}"
    return replace(finding, verdict=Verdict.ASSUMES, message=says, kind="assumes")


def _with_place(findings: list[Finding], stretch: tuple[Axis, ...], length: int) -> list[Finding]:
    says = f"; with length {length} in place of 1 along {', '.join(map(str, stretch))}"
    wrong = [f for f in findings if not f.verdict.fine]
    return [replace(f, message=f.message + says) if f.verdict == Verdict.FORMULA else f for f in wrong]
