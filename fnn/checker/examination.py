"""Is this rule right? At random numbers, at those of the run, and with data of the same kind as in the run.

Promises: if a rule is wrong at random numbers and right where the user called it, the report says both, and on which
property of its data it relies; a rule may rely only on properties of data (`points.kind_of`), never on a coincidence of
parameters.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from fnn.checker.extremes import extremes
from fnn.checker.findings import Finding, Verdict, graver
from fnn.checker.judge import judged_at
from fnn.checker.oracles import is_float
from fnn.checker.points import (
    Kind,
    Settings,
    at,
    generic_points,
    is_data,
    is_known,
    is_symmetric,
    kind_of,
    near,
    points,
    with_others,
)
from fnn.checker.promises import argument_of
from fnn.checker.rules import Point, Rule


def examine(
    rule: Rule, settings: Settings, *, generic: bool = True, recorded: bool = True, before: list[Finding] | None = None
) -> list[Finding]:
    """One finding per argument of the rule: the gravest over all points.

    Args:
        rule: what is checked.
        settings: of the check.
        generic: try it on generic inputs, small ones if possible.
        recorded: try it at the point of the real run.
        before: the findings at the point of the real run, if it was tried there already.
    """
    findings = _examined(rule, settings, generic, recorded, before)
    if rule.idle and any(f.verdict == Verdict.FORMULA for f in findings):
        muted = replace(rule, muted=True)
        findings = _without_idle(findings, _examined(muted, settings, generic, recorded, before), rule)
    if generic and (rule.loose or not rule.whole) and _is_right(findings):
        findings = graver(findings, [*_with_others(rule, settings), *_at_extremes(rule, settings)])
    if rule.expected and findings and all(f.verdict == Verdict.OK for f in findings):
        settings.notes[f"{rule.name} is declared to differ from its derivative on purpose, and is right"] = None
    return findings


def _examined(
    rule: Rule, settings: Settings, generic: bool, recorded: bool, before: list[Finding] | None
) -> list[Finding]:
    findings = list(before or [])
    for point in points(rule, settings, generic, recorded and before is None):
        judged = judged_at(point, settings)
        if point.far:
            on_host = settings.witnesses(point.rule).on_host
            judged = _beyond_numbers_in_code(judged) if on_host else _beyond_thresholds(judged)
        findings = graver(findings, judged)
        if any(f.verdict == Verdict.FORMULA for f in findings):
            return _elsewhere(findings, rule, settings, before) if point.generic and recorded else findings
    if rule.converges and recorded and any(f.verdict == Verdict.UNDECIDED for f in findings):
        # where it does not settle, no witness agrees with another
        return _elsewhere(findings, rule, settings, before)
    return findings


def _beyond_thresholds(findings: list[Finding]) -> list[Finding]:
    """What is wrong beyond the numbers with which a rule compares; which entries lie there was drawn, and says nothing
    about their places."""
    judged = (f for f in findings if not _is_of_pieces(f))
    return [replace(f, certain=False) if f.kind in ("entry", "slice") else f for f in judged]


def _beyond_numbers_in_code(findings: list[Finding]) -> list[Finding]:
    """What is wrong beyond the numbers in code on the host: thresholds perhaps, and perhaps the inputs are smaller."""
    wrong = [f for f in findings if f.verdict == Verdict.FORMULA and f.inputs is not None]
    return [
        _on_condition(
            f, f"right for ordinary numbers{_numbers(f'for inputs of up to {_largest(f):.3g}', f)}. Wrong, unless the "
            "inputs are never that large",
        )
        for f in wrong
    ]  # fmt: skip


def _without_idle(findings: list[Finding], apart: list[Finding], rule: Rule) -> list[Finding]:
    """What holds where outputs that nothing depends on have no cotangent, as in the run: that is what counts."""
    if not _is_right(apart):
        return apart
    outputs = " and ".join(f"output {k}" for k in sorted(rule.idle))
    says = f"right where nothing with a derivative depends on its {outputs}, as in your run; elsewhere wrong"
    return [
        Finding(f.rule, f.where, f.argument, Verdict.ASSUMES, message=says, kind="assumes")
        if f.verdict == Verdict.FORMULA else f
        for f in findings
    ]  # fmt: skip


def _with_others(rule: Rule, settings: Settings) -> list[Finding]:
    """What is wrong with other booleans, or other whole numbers, than those of the run.

    A mask that leaves nothing out in the run, and is forgotten, is a mistake. Whole numbers may have an order, or be
    all different, on purpose: of those the report says what the rule relies on.
    """
    findings: list[Finding] = []
    for others in with_others(rule, settings):
        wrong = [f for f in judged_at(others.point, settings) if f.verdict == Verdict.FORMULA]
        where = " and ".join(_place(rule, path) for path in others.paths)
        if others.booleans and not others.scalars:
            says = f"; where an entry of {where} is not as all others, and right where your run called it"
            findings += [replace(f, message=f.message + says) for f in wrong]
        else:
            findings += [_like_yours(f, where, scalars=others.scalars) for f in wrong]
    return findings


def _at_extremes(rule: Rule, settings: Settings) -> list[Finding]:
    """What is wrong with cotangents of another size, and with numbers that few random ones reach."""
    findings: list[Finding] = []
    for extreme in extremes(rule, settings):
        if extreme.kinked and _is_finite_by_hand(extreme.point, settings):
            continue
        wrong = [f for f in judged_at(extreme.point, settings) if f.verdict == Verdict.FORMULA and not _is_of_pieces(f)]
        if extreme.kinked:
            # where many entries are at a kink together, only what is no number at all is surely wrong
            wrong = [f for f in wrong if f.kind == "not finite"]
        if extreme.guarded is None:
            findings += [replace(f, message=f"{f.message}; {extreme.says}") for f in wrong]
        else:
            findings += [_within(f, extreme.guarded) for f in wrong]
    return findings


#: Functions of numerical libraries are made of pieces, such as series, whose own derivatives have fewer digits at their
#: ends: this share of the largest entry is no mistake there.
PIECES = 1e-5


def _is_of_pieces(finding: Finding) -> bool:
    """True for a difference as small as a function may have from piece to piece."""
    return finding.relative is not None and finding.relative <= PIECES


def _is_finite_by_hand(point: Point, settings: Settings) -> bool:
    """Whether the gradient by hand is a number in every entry."""
    hand = settings.witnesses(point.rule).compare(point).hand
    return all(np.isfinite(g).all() for g in jax.tree.leaves(hand) if is_float(g))


def _within(finding: Finding, beyond: float) -> Finding:
    """What is wrong only beyond a number that may be a guard, such as the 80 of exp(min(x, 80))."""
    says = f"right up to {beyond:.6g}, with which it compares{_numbers('beyond', finding)}"
    says += ". Wrong, unless its numbers never go beyond"
    return _on_condition(finding, says)


def _elsewhere(findings: list[Finding], rule: Rule, settings: Settings, before: list[Finding] | None) -> list[Finding]:
    """Findings at generic inputs; if the rule is right at the point of the run, they say so, and on what it relies."""
    if not is_known(rule):
        return findings
    if not _is_right(judged_at(at(rule, settings), settings) if before is None else before):
        return _explained_by_kind(findings, rule, settings)
    assumption = _assumption(rule, settings)
    if not assumption and (place := _symmetric(rule, settings)):
        says = f"right where {place} is symmetric, as in your run; off them it differs, and no other number is usable"
        return [
            replace(f, verdict=Verdict.UNDECIDED, message=says) if f.verdict == Verdict.FORMULA else f for f in findings
        ]
    if not assumption:
        special = _special(rule, settings)
        return [
            replace(f, message=f.message + _at_random(f, rule, special)) if f.verdict == Verdict.FORMULA else f
            for f in findings
        ]
    off = (Verdict.FORMULA, Verdict.UNDECIDED)
    return [_assuming(f, assumption) if f.verdict in off else f for f in findings]


def _like_yours(finding: Finding, where: str, *, scalars: bool) -> Finding:
    """What is wrong with other whole numbers, and may be so on purpose."""
    if scalars:
        says = f"right for the value of {where} in your run{_numbers('for another', finding)}"
        return _on_condition(finding, says)
    says = f"right for the whole numbers of {where} in your run"
    says += _numbers("for others of their range", finding)
    says += ". Wrong, unless they are all different, in order, or complete on purpose"
    return _on_condition(finding, says)


def _on_condition(finding: Finding, says: str) -> Finding:
    """What is right under a condition, which the sentence names."""
    return replace(finding, verdict=Verdict.ASSUMES, message=says, certain=True, kind="assumes")


def _numbers(where: str, finding: Finding) -> str:
    """What the entry is there, and by hand."""
    if finding.entry is None:
        return ""
    place = f"its entry {list(finding.entry)}" if finding.entry else "it"
    return f"; {where} {place} is {finding.truth:.3g}, by hand {finding.by_hand:.3g}"


def _at_random(finding: Finding, rule: Rule, special: str) -> str:
    """The statement that a rule is wrong only at random inputs, and at which ones, or why it was right in the run."""
    says = "; at random inputs, and right where your run called it"
    if special:
        return f"{says}, where {special}: does the gradient leave that out?"
    if not rule.loose or finding.inputs is None:
        return says
    return f"{says}: a guard, such as clip? The finding's `inputs` hold those numbers, of up to {_largest(finding):.3g}"


def _largest(finding: Finding) -> float:
    """The largest number among the inputs of a finding, without its sign."""
    return max(float(np.abs(leaf).max(initial=0)) for leaf in jax.tree.leaves(finding.inputs) if is_float(leaf))


def _special(rule: Rule, settings: Settings) -> str:
    """The arguments of the run that are all ones, all zeros or the identity, and where the rule is wrong if one of them
    alone is moved; "" if there are none."""
    point, random, named = at(rule, settings), np.random.default_rng(settings.seed + 10), []
    leaves, tree = jax.tree_util.tree_flatten_with_path((point.inputs, point.data))
    for number, (path, leaf) in enumerate(leaves):
        what = _what_special(leaf) if is_float(leaf) and (rule.loose or not path[0].idx) else ""
        if not what or (path[0].idx == 0 and path[1].idx in rule.fixed):
            continue
        values = [leaf for _, leaf in leaves]
        values[number] = leaf + random.uniform(0.2, 0.6, np.shape(leaf))
        inputs, data = tree.unflatten(values)
        if any(f.verdict == Verdict.FORMULA for f in judged_at(point.moved(inputs=inputs, data=data), settings)):
            named.append(f"{_place(rule, path)} is {what}")
    return " and ".join(named)


def _what_special(leaf: Any) -> str:
    value = np.asarray(leaf)
    for number, name in ((1, "ones"), (0, "zeros")):
        if value.size and (value == number).all():
            return f"all {name}" if value.ndim else str(number)
    square = value.ndim == 2 and value.shape[0] == value.shape[1] > 1
    return "the identity" if square and (value == np.eye(len(value))).all() else ""


def _symmetric(rule: Rule, settings: Settings) -> str:
    """The matrix that must be symmetric for an iteration that is right at the point of the run; "" if there is none."""
    matrices = [
        label for label, leaf in zip(rule.labels, rule.inputs, strict=False) if is_float(leaf) and is_symmetric(leaf)
    ]
    if not rule.iterates or not matrices:
        return ""
    judged = [judged_at(point, settings) for point in near(rule, settings, symmetric=True)]
    return " and ".join(matrices) if judged and all(map(_is_right, judged)) else ""


def _is_right(findings: list[Finding]) -> bool:
    return all(f.verdict in (Verdict.OK, Verdict.KINK) or f.kind == "data" for f in findings)


def _assuming(finding: Finding, assumption: str) -> Finding:
    message = f"right where {assumption}, as in your run"
    if finding.verdict == Verdict.UNDECIDED:
        # the numbers at which witnesses contradict each other tell nothing
        finding = Finding(finding.rule, finding.where, finding.argument, finding.verdict)
    message += _numbers("off them", finding)
    return _on_condition(finding, message)


def _assumption(rule: Rule, settings: Settings) -> str:
    """The property of its data on which a rule relies that is right at the point of the run; "" if it relies on
    none."""
    kinds = _kinds(rule)
    for tried in [*([each] for each in kinds), *([list(kinds)] if len(kinds) > 1 else [])]:
        judged = [judged_at(point, settings) for point in _points_of_kind(rule, settings, kinds, tried)]
        if judged and all(map(_is_right, judged)):
            return _words(kinds, tried)
    if rule.converges:
        judged = [judged_at(point, settings) for point in near(rule, settings)]
        if judged and all(map(_is_right, judged)):
            return "the iteration has converged"
    return ""


#: By the number of a leaf of (inputs, data): its kind, its name, and which input it is, if it is one.
_Kinds = dict[int, tuple[Kind, str, int | None]]


def _kinds(rule: Rule) -> _Kinds:
    """The data of a rule that are of a known kind."""
    kinds: _Kinds = {}
    leaves = jax.tree_util.tree_leaves_with_path((rule.inputs, rule.data if rule.loose else ()))
    for number, (path, leaf) in enumerate(leaves):
        kind = kind_of(leaf) if is_data(rule, path) and is_float(leaf) else None
        if kind is not None:
            kinds[number] = kind, _place(rule, path), None if path[0].idx else path[1].idx
    return kinds


def _points_of_kind(rule: Rule, settings: Settings, kinds: _Kinds, tried: Iterable[int]) -> Iterator[Point]:
    """The rule on random numbers, with data of the same kind as in the run; other looks leave these data as they
    are."""
    kept = frozenset(kinds[number][2] for number in tried) - {None}
    for point in generic_points(rule, settings, {number: kinds[number][0] for number in tried}):
        yield point.moved(rule=replace(point.rule, fixed=point.rule.fixed | kept))


def _words(kinds: _Kinds, tried: Iterable[int]) -> str:
    of = (kinds[number] for number in tried)
    each = (f"each {'entry' if kind.name == 'is 0 or 1' else 'row'} of {place} {kind.name}" for kind, place, _ in of)
    return " and ".join(each)


def _explained_by_kind(findings: list[Finding], rule: Rule, settings: Settings) -> list[Finding]:
    """The findings, with hints at random data replaced by what is certain with data of the same kind as in the run.

    For a target with rows that sum to 1 the gradient p − t is off by a factor, for any other also by a term.
    """
    hints = {f.argument for f in findings if f.verdict == Verdict.FORMULA and not f.certain}
    kinds = _kinds(rule) if hints else {}
    point = next(_points_of_kind(rule, settings, kinds, kinds), None) if kinds else None
    if point is None:
        return findings
    certain = [f for f in judged_at(point, settings) if f.verdict == Verdict.FORMULA and f.certain]
    says = f", where {_words(kinds, kinds)}, as in your run"
    better = {f.argument: replace(f, message=f.message + says) for f in certain if f.argument in hints}
    return [better.get(f.argument, f) for f in findings]


def _place(rule: Rule, path: tuple) -> str:
    if path[0].idx == 0:
        return argument_of(rule, path[1:])
    return f"argument {path[1].idx + len(rule.inputs)}{jax.tree_util.keystr(path[2:])}"
