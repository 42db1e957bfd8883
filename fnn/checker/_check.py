"""`check`: is this gradient right, and if not, which rule, where, and what is wrong with it?

Promises: works on this package's own records, on any JAX function with hand-written rules inside, and on a gradient
written beside a function; the caller's 64-bit setting, matmul precision and keys are left as they were; no full
Jacobian is ever formed.
Refuses: tracers, functions that do not return a single number, functions that return different values in two calls.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checker import inside, reach, rules, trouble
from fnn.checker.arguments import (
    Call,
    kind,
    require_floats,
    require_real,
    require_same_twice,
    require_sound,
    require_sound_on_host,
    require_traced,
    require_usable,
    without_others,
)
from fnn.checker.closure import held, numbers
from fnn.checker.directions import along_random_directions
from fnn.checker.examination import examine
from fnn.checker.findings import Finding, Verdict, graver
from fnn.checker.host import needs_host, written_into
from fnn.checker.inside import Declared, stripped
from fnn.checker.judge import DECLARED, judged_at
from fnn.checker.longer import Traced, examined_longer
from fnn.checker.oracles import is_float, lent, pullback
from fnn.checker.pairs import OfFunction, OfGradient, OfRecord
from fnn.checker.points import Settings, at, is_known, points
from fnn.checker.programs import Programs
from fnn.checker.report import Report
from fnn.gradients import Backprop
from fnn.types import Array, PyTree, is_key


def check(
    f: Backprop | Callable[..., Array],
    *args: PyTree,
    gradient: Callable[..., PyTree] | None = None,
    seed: int = 0,
    order: int = 1,
    batched: bool = False,
    miss: float = 1e-3,
    programs: Programs | None = None,
    expected: Sequence[str] = (),
    data: Sequence[str] = (),
    strict: bool = False,
    **options: Any,
) -> Report:
    """Check a hand-written derivative against autodiff and differences, rule by rule and leaf by leaf.

    Three forms:
        check(by_hand, params, x, y)         an `fnn.backprop` record: every rule of its net, loss and regularizer;
        check(f, *args)                      a function with `jax.custom_vjp` or `custom_jvp` rules anywhere inside;
        check(f, *args, gradient=g)          g(*args) in place of `jax.grad(f)`: with respect to the first argument.

    Args:
        f: a backprop record, or a function that returns one real number.
        args: the arguments that f is called with; any pytrees of arrays of any shape. Integers and keys have no
            derivative and are listed as skipped.
        gradient: the gradient, if it is a function separate from f.
        seed: the seed of the generic inputs, of the choice of entries that are differenced, and of the directions.
        order: 1, or 2 to check the derivatives of the rules themselves as well.
        batched: check also that `jax.vmap` of each rule gives the same as one call after the other.
        miss: bound on the probability that differences along random directions miss a wrong entry of the whole
            gradient.
        programs: a `fnn.checker.Programs` that keeps what was compiled for further checks of the same rules.
        expected: names (as in the report) of rules that differ from the derivative on purpose: they are reported as
            EXPECTED, and the whole gradient is judged with what they really return. A layer or an activation can
            declare this itself, by its class attribute `expected`.
        data: names (as in the report) of arguments of rules that are data, such as targets.
        strict: whether a gradient that is right only under an assumption (ASSUMES) counts as wrong.
        options: keyword arguments for the call of the record, such as `strength`.

    Returns:
        a `Report`: `report.ok`, `report.culprits`, `print(report)`, `report.to_json()`, `report.draw()`.

    Raises:
        TypeError: f does not return a single floating number, or an argument is traced. ValueError: two calls of f, or
            of its gradient, differ; its value is not finite; a name in `expected` or `data` is unknown.

    >>> import jax, jax.numpy as jnp
    >>> @jax.custom_vjp
    ... def cube(x):
    ...     return x**3
    >>> cube.defvjp(lambda x: (x**3, x), lambda x, bar: (bar * 2 * x**2,))   # wrong: 3 x²
    >>> report = fnn.check(lambda x: jnp.sum(cube(x)), jnp.array([1.0, 2.0]))
    >>> report.ok, report.culprits, report.findings[0].message
    (False, ('cube',), 'a constant factor of 0.666667 too many')
    """
    declared = Declared(_names("expected", expected), _names("data", data), DECLARED)
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order!r}.")
    if not 0 < miss < 1:
        raise ValueError(f"miss must be a chance between 0 and 1, got {miss!r}. Try 1e-3.")
    require_usable(f, args, gradient, options)
    call = without_others(f, gradient, args)
    # made arrays here, in the caller's own setting: NumPy's float64 means JAX's default dtype
    args = jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf), call.args)
    if gradient is not None:
        given = jax.tree.map(lambda leaf: leaf if hasattr(leaf, "dtype") else np.asarray(leaf), call.args)
        # what is called as it is gets the arguments as they are
        if any(needs_host(partial(each, **options), given) for each in (call.function, call.gradient or gradient)):
            args = given
    require_real(args)
    require_floats(args, of_first=gradient is not None)
    x64 = bool(jax.dtypes.canonicalize_dtype(np.float64) == np.float64)
    settings = Settings(seed, batched, Programs() if programs is None else programs, x64=x64)
    with jax.default_matmul_precision("highest"), jax.numpy_dtype_promotion("standard"):
        if isinstance(f, Backprop):
            # the data first: a label out of range is named, not the NaN that it causes
            f.objective.validate(args[0], *args[1:])
            require_sound(lambda *args: f.objective(*args, **options), args)
        traced = _traced(f, call, declared, (options, x64))
        subject = traced(args)
        _require_names(declared, subject)
        found = bool(subject.parts)
        with jax.enable_x64(True):
            subject = _without_mapped(subject, settings)
            findings, missed = _examined(subject, isinstance(f, Backprop), settings, miss)
            if order == 2 and all(f.verdict.fine for f in findings):
                # for a rule that is wrong already, the second order says nothing new
                findings += _second_order(subject, settings, findings)
            _note_inside(subject, settings)
        if subject.parts or gradient is not None:
            findings += _examined_longer(traced, args, subject, findings, settings)
        if gradient is not None:
            _note_written(partial(call.gradient or gradient, **options), call.args, settings)
        wrong = subject.program is not None and not all(f.verdict.fine for f in findings)
        if wrong and (says := trouble.read_beyond(subject.program, args)):
            settings.notes[says] = None
        _note_captured(subject, None if gradient is None or isinstance(f, Backprop) else f, settings)
    notes = tuple(settings.notes)
    if not found and gradient is None:
        notes = ("no hand-written rule was found; plain autodiff was checked", *notes)
    return Report(tuple(findings), (*_skipped(f, args, gradient), *call.fixed), notes, settings.counts, missed, strict)


def _skipped(f: Any, args: tuple, gradient: Any) -> tuple[str, ...]:
    """The arguments without a derivative."""
    free = 0 if gradient is not None else None
    names = ("params", "x", "y") if isinstance(f, Backprop) else tuple(f"argument {k}" for k in range(len(args)))
    return tuple(
        f"{name}{jax.tree_util.keystr(path)} ({_kind(leaf, asked=k == free)})"
        for k, (name, arg) in enumerate(zip(names, args, strict=True))
        for path, leaf in jax.tree_util.tree_leaves_with_path(arg)
        if not is_float(leaf)
    )


def _kind(leaf: Any, *, asked: bool) -> str:
    """What an argument without a derivative holds, and what to do if a derivative was asked for."""
    one = asked and jnp.ndim(leaf) == 0 and kind(leaf) == "integers"
    return f"an integer: give {int(leaf)}.0 to have it checked" if one else kind(leaf)


def _examined(
    subject: rules.Subject, record: bool, settings: Settings, miss: float
) -> tuple[list[Finding], float | None]:
    """The findings of every rule and of the whole gradient, and the chance that something was missed."""
    whole, parts = subject.whole, subject.parts
    # an equation has the shapes of the real run anyway: trying it there needs no further compilation
    findings = [each for rule in rules.distinct(parts) for each in examine(rule, settings, recorded=not record)]
    # what could not be tried alone is tried inside the whole, unless other rules rely on the data of the run
    alone = not _note_not_alone(parts, settings) or any(f.verdict not in (Verdict.OK, Verdict.KINK) for f in findings)
    of_whole, missed = _whole_examined(whole, settings, miss, generic=not parts or not alone)
    assumed = {f.rule: f.message for f in findings if f.kind == "data"}
    data = {name: assumed[rule.name] for rule in parts if rule.name in assumed for name in rule.blank.values()}
    of_whole = [_as_data(f, data[f.argument]) if f.argument in data else f for f in of_whole]
    if all(f.verdict.fine for f in of_whole):
        findings = _without_parts_of_jax(findings, parts, settings)
    fine = all(f.verdict.fine for f in [*findings, *of_whole])
    if record and not fine and not any(f.verdict == Verdict.FORMULA for f in findings):
        # something is wrong, and no rule on generic inputs says what: examine each at the point of the real run
        again = [each for rule in parts for each in examine(rule, settings, generic=False)]
        findings = graver(findings, again)
    return [*findings, *of_whole], missed


def _note_not_alone(parts: list[rules.Rule], settings: Settings) -> bool:
    """Note the rules that are not tried alone: those with complex arguments, or called on unknown whole numbers."""
    found = False
    for rule in parts:
        leaves = [leaf for k, leaf in enumerate(rule.inputs) if k not in rule.optional]
        why = "takes complex numbers" if any(_is_complex(leaf) for leaf in leaves) else ""
        if not is_known(rule) and any(hasattr(leaf, "dtype") and not is_float(leaf) for leaf in rule.inputs):
            why = why or "is called inside a loop on whole numbers"
        if why:
            found = True
            says = f"{rule.name} ({rule.where}) {why}, and was judged as a part of the whole gradient only"
            settings.notes[f"{says}: what never changes there hides mistakes"] = None
    return found


def _is_complex(leaf: Any) -> bool:
    """True for an array of complex numbers."""
    return not is_key(leaf) and jnp.issubdtype(getattr(leaf, "dtype", np.bool_), np.complexfloating)


def _without_mapped(subject: rules.Subject, settings: Settings) -> rules.Subject:
    """The subject without rules that use an axis of a map over devices, which does not exist when they run alone."""
    mapped = [rule for rule in subject.parts if rule.axes]
    for rule in mapped:
        says = f"{rule.name} ({rule.where}) uses an axis of a map over devices, and was judged by the whole gradient"
        settings.notes[says] = None
    return replace(subject, parts=[rule for rule in subject.parts if not rule.axes]) if mapped else subject


def _without_parts_of_jax(findings: list[Finding], parts: list[rules.Rule], settings: Settings) -> list[Finding]:
    """The findings without rules of JAX that are right as JAX uses them, but not alone.

    JAX passes some of them one array as two arguments, and gives the derivative to only one of the two.
    """
    foreign = {(rule.name, rule.where) for rule in parts if not rule.own}
    wrong = {(f.rule, f.where) for f in findings if not f.verdict.fine} & foreign
    for name, where in wrong:
        settings.notes[f"{name} ({where}) of JAX is right as part of the whole gradient, and was not judged alone"] = (
            None
        )
    return [f for f in findings if (f.rule, f.where) not in wrong]


def _as_data(finding: Finding, message: str) -> Finding:
    """The finding on an argument that some rule inside takes for data: returning no gradient is then no mistake."""
    if finding.verdict != Verdict.FORMULA or finding.kind != "zero":
        return finding
    return replace(finding, verdict=Verdict.ASSUMES, message=message, kind="data")


def _whole_examined(
    whole: rules.Rule, settings: Settings, miss: float, *, generic: bool
) -> tuple[list[Finding], float | None]:
    """The findings of the whole gradient, and the chance that something was missed: the user's own numbers first."""
    if not is_known(whole):
        return examine(whole, settings, generic=generic), None
    point, missed = at(whole, settings), None
    findings = judged_at(point, settings)
    if findings and all(f.verdict == Verdict.OK for f in findings):
        if whole.declared_inside:
            note = "the whole gradient was compared with autodiff through the rules that differ on purpose"
            settings.notes[note] = None
        else:
            along = along_random_directions(point, settings, miss)
            findings, missed = [*findings, *along.findings], along.missed
            settings.notes.update(dict.fromkeys(along.notes))
    if generic and not any(f.verdict == Verdict.FORMULA for f in findings):
        findings = examine(whole, settings, before=findings)
    return findings, missed


def _second_order(subject: rules.Subject, settings: Settings, before: list[Finding]) -> list[Finding]:
    """The findings on the backward passes themselves, as functions."""
    whole, parts = subject.whole, subject.parts
    # some rules of JAX itself hold only where its functions use them; the whole gradient covers those
    second = [
        rule.second(_returns_nothing_for(rule, settings)) for rule in rules.distinct(parts)
        if rule.own and not rule.expected
    ]  # fmt: skip
    # a rule that relies on a property of its data may rely on it here too
    assuming = {f"{f.rule}, second order" for f in before if f.kind == "assumes"}
    findings = [each for rule in second for each in examine(rule, settings, recorded=rule.name in assuming)]
    whole = whole.second(_returns_nothing_for(whole, settings))
    return [*findings, *examine(whole, settings, generic=not parts)]


def _returns_nothing_for(rule: rules.Rule, settings: Settings) -> frozenset[int]:
    """Inputs that may be data, and for which a rule returns None or zeros."""
    data = rule.optional | rule.named_data | frozenset(rule.blank)
    point = next(points(rule, settings, generic=not rule.whole, recorded=rule.whole), None) if data else None
    if point is None:
        return frozenset()
    hand = settings.witnesses(point.rule).compare(point).hand
    return frozenset(k for k in data if not any(map(np.any, jax.tree.leaves(hand[k]))))


def _note_inside(subject: rules.Subject, settings: Settings) -> None:
    """Note what is stopped or narrow inside, and could not be judged as it is."""
    for place in () if subject.program is None else reach.stopped(subject.program):
        settings.notes[f"what stop_gradient stops ({place}) is held in the differences too"] = None
    for place in () if subject.program is None else reach.used_up(subject.program):
        says = f"a rule by hand ({place}) is used up by a derivative that the function takes inside, and was not judged"
        settings.notes[f"{says}. Check what is differentiated there by itself"] = None
    places: dict[tuple, str] = {}
    for rule in [*subject.parts, subject.whole]:
        for narrow in settings.witnesses(rule.small or rule).narrow:
            places.setdefault((narrow.dtype, str(narrow.place)), rule.name)
    for (dtype, place), name in places.items():
        if not place and any(other == dtype and line for other, line in places):
            # a line says more than no line
            continue
        where = f" ({place})" if place else ""
        settings.notes[
            f"{name}: something inside computes in {dtype} whatever its inputs are{where}; the formula was judged in "
            "float64 throughout, what is lost in that dtype was not"
        ] = None


def _note_written(gradient: Callable[..., PyTree], args: tuple, settings: Settings) -> None:
    """Note which NumPy arguments a gradient changes: the checker gives it copies, a training does not."""
    if any(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(args)):
        for place in written_into(gradient, args):
            says = f"the gradient writes into {place}, which holds other numbers after a call"
            settings.notes[f"{says}; here it got copies. Compute with new arrays, p = p - …, or copy first"] = None


def _note_captured(subject: rules.Subject, f: Callable[..., Array] | None, settings: Settings) -> None:
    """Note captured arrays in which nothing is left out, or nothing stays: whatever forgets them looks right."""
    captured = [(f"{rule.name} ({rule.where})", "", rule.inputs[k]) for rule in subject.parts for k in rule.fixed]
    captured += [("the function", f"{name}, ", value) for name, value in ([] if f is None else held(f))]
    for holder, name, value in captured:
        if what := _alike(value):
            array = f"an array of shape {np.shape(value)} that is all {what}"
            says = f"{holder} closes over {name}{array}: whether the gradient uses it cannot be seen"
            settings.notes[f"{says}. Pass it as an argument"] = None


def _alike(value: Any) -> str:
    """What every entry of a mask is, if all are alike; "" for any other value."""
    if not isinstance(value, np.ndarray | jax.Array) or value.size < 2 or is_key(value):
        return ""
    entries = np.asarray(value)
    if entries.dtype.kind not in "bfiu" or not np.isin(entries, (0, 1)).all() or (entries != entries.flat[0]).any():
        return ""
    return str(entries.flat[0].item()).removesuffix(".0")


def assert_gradients(f: Backprop | Callable[..., Array], *args: PyTree, **options: Any) -> Report:
    """Check as `check` does, with the same arguments, and raise `AssertionError` with the printed report unless it is
    ok; for tests.

    >>> net = fnn.mlp(3, 4, 2)
    >>> x, y = jnp.ones((5, 3)), jnp.array([0, 1, 1, 0, 1])
    >>> fnn.assert_gradients(fnn.backprop(net, "softmax_cross_entropy"), net.init(jax.random.key(0)), x, y).ok
    True
    """
    report = check(f, *args, **options)
    if not report.ok:
        raise AssertionError(f"\n{report.text()}")
    return report


def _traced(f: Any, call: Call, declared: Declared, setting: tuple) -> Traced:
    """From arguments to what is checked there."""
    if isinstance(f, Backprop):
        return lambda args: _of_record(f, args, setting[0], declared)
    return lambda args: _of_function(f, replace(call, args=args), declared, setting)


def _examined_longer(
    traced: Traced, args: tuple, subject: rules.Subject, findings: list[Finding], settings: Settings
) -> list[Finding]:
    """Findings with longer axes, on rules that have an axis of length 1."""
    if not isinstance(subject.whole.pair, OfRecord):
        named = {f"argument {k}": arg for k, arg in enumerate(args)}
        return examined_longer(traced, named, subject, findings, settings)
    params, x, y = args
    pair, (_, options) = subject.whole.pair, subject.whole.data

    def with_examples(rest: tuple) -> rules.Subject:
        # the net and the loss say whether the examples fit each other
        jax.eval_shape(lambda *args: pair.forward(args[:2], (args[2], options)), params, *rest)
        return traced((params, *rest))

    return examined_longer(with_examples, {"x": x, "y": y}, subject, findings, settings, examples=True)


def _of_record(by_hand: Backprop, args: tuple, options: dict[str, Any], declared: Declared) -> rules.Subject:
    reasons = dict.fromkeys(declared.expected, declared.reason)
    with jax.enable_x64(True):
        parts = rules.of_objective(by_hand.objective, args, options, reasons)
    params, x, y = args
    truth = lent(by_hand.objective, lambda part: bool(part.expected or rules.name_of(part) in declared.expected))
    where, labels = rules.place(type(by_hand).__call__), ("params", "x")
    whole = rules.Rule(
        "gradient", where, OfRecord(by_hand, truth), (params, x), labels, (y, options), whole=True,
        declared_inside=any(rule.expected for rule in parts),
    )  # fmt: skip
    return rules.Subject(whole, parts)


def _of_function(f: Callable[..., Array], call: Call, declared: Declared, setting: tuple) -> rules.Subject:
    """The whole gradient of a function, or a separate one, and the rules inside."""
    options, x64 = setting
    args = call.args

    def called(*args: PyTree) -> Array:
        return call.function(*args, **options)

    if call.gradient is not None:
        beside = call.gradient
        return _beside(called, lambda *args: beside(*args, **options), args, (call.function, beside), x64)
    run = require_traced(called, args)
    with jax.enable_x64(True):
        parts = inside.of_function(called, args, run, x64, declared)
    keep = frozenset(rule.name for rule in parts if rule.expected)
    plain = stripped(called, keep)
    key = inside.key_of(lambda *args: (plain(*args), _gradients(called, args)), *args)
    pair = OfFunction(f"{key} {sorted(keep)}" if isinstance(key, str) else key, called, plain)
    labels = tuple(f"argument {k}" for k in range(len(args)))
    names = {name for rule in parts for name in rule.blank.values()}
    data = {k: label for k, label in enumerate(labels) if label in names}
    named = {rule.straight[k] for rule in parts for k in rule.named_data if k < len(rule.straight)}
    whole = rules.Rule(
        "gradient", rules.place(f), pair, args, labels, whole=True, blank=data, declared_inside=bool(keep),
        named_data=frozenset(k for k, label in enumerate(labels) if label in named),
    )  # fmt: skip
    return rules.Subject(whole, parts, run.program)


def _beside(
    called: Callable, gradient: Callable, args: tuple, written: tuple[Callable, Callable], x64: bool
) -> rules.Subject:
    """A gradient that is written separately from its function; `written`: both as the user wrote them."""
    function, beside = needs_host(called, args), needs_host(gradient, args)
    program = None
    if function:
        require_sound_on_host(called, args)
    else:
        program = require_sound(called, args).program
    require_same_twice(gradient, args, on_host=beside)
    key: Any = object()
    if not (function or beside):
        with jax.enable_x64(x64):
            key = inside.key_of(lambda *args: (stripped(called)(*args), gradient(*args)), *args)
    read = [numbers(each) for each, on_host in zip(written, (function, beside), strict=True) if on_host]
    plain = called if function else stripped(called)
    pair = OfGradient(key, plain, gradient, function, beside, frozenset().union(*read))
    labels = ("argument 0",)
    # JAX traces in its default dtype what NumPy has in float64
    dtypes = tuple(jax.dtypes.canonicalize_dtype(leaf.dtype) for leaf in jax.tree.leaves(args))
    where = rules.place(written[1])
    whole = rules.Rule("gradient", where, pair, args[:1], labels, args[1:], whole=True, loose=True, own_dtypes=dtypes)
    return rules.Subject(whole, [], program)


def _gradients(f: Callable[..., Array], args: tuple) -> PyTree:
    return pullback(f, args, jnp.ones(()))[1]


def _names(what: str, names: Sequence[str]) -> tuple[str, ...]:
    names = (names,) if isinstance(names, str) else tuple(names)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"{what} must be names, got {names!r}. Give them as the report prints them: {what}=('relu',).")
    return names


def _require_names(declared: Declared, subject: rules.Subject) -> None:
    """Raise unless every declared name is that of a rule, or of an argument of a rule."""
    whole, parts = subject.whole, subject.parts
    names = dict.fromkeys(rule.name for rule in parts)
    for name in declared.expected:
        if name not in names:
            known = f"The rules are {', '.join(names)}." if names else "There is no rule by hand inside."
            raise ValueError(f"expected must name rules of what is checked, got {name!r}. {known}")
    labels = dict.fromkeys(label for rule in [*parts, whole] for label in rule.labels)
    for name in declared.data:
        if name not in labels:
            raise ValueError(f"data must name arguments of rules, got {name!r}. They are {', '.join(labels)}.")
