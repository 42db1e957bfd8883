"""`check`: is this gradient right, and if not, which rule, where, and what is wrong with it?

Promises: works on this package's own records, on any JAX function with hand-written rules inside, and on a gradient
written beside a function; the caller's 64-bit setting, matmul precision and keys are left as they were; no full
Jacobian is ever formed.
Refuses: tracers, functions that give no single number, functions whose two calls differ.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fnn.checker import inside, rules
from fnn.checker.directions import along_random_directions
from fnn.checker.findings import Finding, Verdict, graver
from fnn.checker.inside import Declared, stripped
from fnn.checker.judge import DECLARED, examine, judged_at
from fnn.checker.oracles import is_float, lent
from fnn.checker.pairs import OfFunction, OfGradient, OfRecord
from fnn.checker.points import Settings, at, is_known
from fnn.checker.report import Report
from fnn.checker.witnesses import Programs
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
        check(by_hand, params, x, y)         a `fnn.backprop` record: every rule of its net, loss and regularizer;
        check(f, *args)                      a function with `jax.custom_vjp` or `custom_jvp` rules anywhere inside;
        check(f, *args, gradient=g)          g(*args) as `jax.grad(f)` gives it: with respect to the first argument.

    Args:
        f: a backprop record, or a function that gives one number.
        args: where it is called; any pytrees. Integers and keys have no derivative and are listed as skipped.
        gradient: the gradient written beside f, if it stands there.
        seed: of the generic inputs, of the entries that are differenced, and of the directions.
        order: 1, or 2 to check also that the rules themselves are differentiated rightly.
        batched: check also that `jax.vmap` of each rule gives what one call after the other gives.
        miss: bound on the chance that differences along random directions miss a wrong entry of the whole gradient.
        programs: a `fnn.checker.Programs` that keeps what was compiled for further checks of the same rules.
        expected: names of rules that differ from the derivative on purpose, as reports name them: what they give is
            reported as EXPECTED, and the whole gradient is judged against what they really give. A layer or an
            activation can say so itself, by its class attribute `expected`.
        data: names of arguments of rules that are data, such as targets: as the reports name them.
        strict: whether a gradient that is right under an assumption only (ASSUMES) counts as wrong.
        options: keywords of the record's call, such as `strength`.

    Returns:
        a `Report`: `report.ok`, `report.culprits`, `print(report)`, `report.to_json()`, `report.draw()`.

    Raises:
        TypeError: f gives no single floating number; tracers. ValueError: two calls of f, or of its gradient, differ;
        its value is not finite; a name in `expected` that is no rule.

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
    _require_usable(f, args, gradient, order, miss, options)
    # made arrays here, in the caller's own setting: NumPy's float64 means JAX's default dtype
    args = jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf), args)
    x64 = bool(jax.dtypes.canonicalize_dtype(np.float64) == np.float64)
    settings = Settings(seed, batched, Programs() if programs is None else programs, x64=x64)
    with jax.default_matmul_precision("highest"), jax.numpy_dtype_promotion("standard"):
        value = f.objective if isinstance(f, Backprop) else f
        _require_sound(lambda *args: value(*args, **options), args)
        if gradient is not None:
            _require_same_twice(lambda: gradient(*args, **options))
        if isinstance(f, Backprop):
            f.objective.validate(args[0], *args[1:])
        with jax.enable_x64(True):
            if isinstance(f, Backprop):
                whole, parts = _of_record(f, args, options, declared)
            else:
                whole, parts = _of_function(f, args, gradient, declared, (options, x64))
            _require_names(declared, whole, parts)
            findings, missed = _examined(whole, parts, isinstance(f, Backprop), settings, miss)
            if order == 2 and all(f.verdict.fine for f in findings):
                # of a rule that is wrong already the second order says nothing new
                findings += _second_order(whole, parts, settings)
            _note_casts([*parts, whole], settings)
    if not settings.counts.get("compared with autodiff") and not findings:
        raise ValueError(
            "there is nothing to check: no argument holds a floating number that a gradient could be taken of. "
            "Give floats, 1.0 and not 1, or cast with .astype('float32')."
        )
    notes = tuple(settings.notes)
    if not parts and gradient is None:
        notes = ("no hand-written rule was found; plain autodiff was checked", *notes)
    return Report(tuple(findings), _skipped(f, args), notes, settings.counts, missed, strict)


def _skipped(f: Any, args: tuple) -> tuple[str, ...]:
    """The arguments without derivative."""
    names = ("params", "x", "y") if isinstance(f, Backprop) else tuple(f"argument {k}" for k in range(len(args)))
    return tuple(
        f"{name}{jax.tree_util.keystr(path)} ({_kind(leaf)})"
        for name, arg in zip(names, args, strict=True)
        for path, leaf in jax.tree_util.tree_leaves_with_path(arg)
        if not is_float(leaf)
    )


def _examined(
    whole: rules.Rule, parts: list[rules.Rule], record: bool, settings: Settings, miss: float
) -> tuple[list[Finding], float | None]:
    """The findings of every rule and of the whole gradient, and the chance that something was missed."""
    # an equation has the shapes of the real run anyway: to try it there costs no further compilation
    findings = [each for rule in rules.distinct(parts) for each in examine(rule, settings, recorded=not record)]
    of_whole, missed = _whole_examined(whole, settings, miss, generic=not parts)
    fine = all(f.verdict.fine for f in [*findings, *of_whole])
    if record and not fine and not any(f.verdict == Verdict.FORMULA for f in findings):
        # something is amiss, and no rule on generic inputs says what: look at each where the real run had it
        again = [each for rule in parts for each in examine(rule, settings, generic=False)]
        findings = graver(findings, again)
    return [*findings, *of_whole], missed


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


def _second_order(whole: rules.Rule, parts: list[rules.Rule], settings: Settings) -> list[Finding]:
    """The findings on the backward passes themselves, as functions."""
    second = [rule.second() for rule in rules.distinct(parts) if not rule.expected]
    findings = [each for rule in second for each in examine(rule, settings, recorded=False)]
    return [*findings, *examine(whole.second(), settings, generic=not parts)]


def _note_casts(checked: list[rules.Rule], settings: Settings) -> None:
    """Say what was computed in a narrower dtype than float64 inside, and could not be judged as it is."""
    places: dict[tuple, str] = {}
    for rule in checked:
        for narrow in settings.witnesses(rule.small or rule).narrow:
            places.setdefault((narrow.dtype, str(narrow.place)), rule.name)
    for (dtype, place), name in places.items():
        where = f" ({place})" if place else ""
        settings.notes[
            f"{name}: something inside computes in {dtype} whatever its inputs are{where}; the formula was judged in "
            "float64 throughout, what is lost in that dtype was not"
        ] = None


def assert_gradients(f: Backprop | Callable[..., Array], *args: PyTree, **options: Any) -> Report:
    """Check as `check` does and raise `AssertionError` with the printed report unless it is ok; for tests.

    >>> net = fnn.mlp(3, 4, 2)
    >>> x, y = jnp.ones((5, 3)), jnp.array([0, 1, 1, 0, 1])
    >>> fnn.assert_gradients(fnn.backprop(net, "softmax_cross_entropy"), net.init(jax.random.key(0)), x, y).ok
    True
    """
    report = check(f, *args, **options)
    if not report.ok:
        raise AssertionError(f"\n{report.text()}")
    return report


def _of_record(
    by_hand: Backprop, args: tuple, options: dict[str, Any], declared: Declared
) -> tuple[rules.Rule, list[rules.Rule]]:
    reasons = dict.fromkeys(declared.expected, declared.reason)
    parts = rules.of_objective(by_hand.objective, args, options, reasons)
    params, x, y = args
    truth = lent(by_hand.objective, lambda part: bool(part.expected or rules.name_of(part) in declared.expected))
    where, labels = rules.place(type(by_hand).__call__), ("params", "x")
    whole = rules.Rule(
        "gradient", where, OfRecord(by_hand, truth), (params, x), labels, (y, options), whole=True,
        declared_inside=any(rule.expected for rule in parts),
    )  # fmt: skip
    return whole, parts


def _of_function(
    f: Callable[..., Array], args: tuple, gradient: Callable[..., PyTree] | None, declared: Declared, setting: tuple
) -> tuple[rules.Rule, list[rules.Rule]]:
    options, x64 = setting

    def called(*args: PyTree) -> Array:
        return f(*args, **options)

    labels = tuple(f"argument {k}" for k in range(len(args)))
    if gradient is not None:
        return _beside(called, lambda *args: gradient(*args, **options), args, rules.place(gradient), x64), []
    parts = inside.of_function(called, args, x64, declared)
    keep = frozenset(rule.name for rule in parts if rule.expected)
    plain = stripped(called, keep)
    with jax.enable_x64(x64):
        key = inside.key_of(lambda *args: (plain(*args), _gradients(called, args)), *args)
    pair = OfFunction((key, *sorted(keep)) if not isinstance(key, str) else f"{key} {sorted(keep)}", called, plain)
    return rules.Rule("gradient", rules.place(f), pair, args, labels, whole=True, declared_inside=bool(keep)), parts


def _beside(called: Callable, gradient: Callable, args: tuple, where: str, x64: bool) -> rules.Rule:
    """The rule of a gradient that is written beside its function."""
    plain = stripped(called)
    with jax.enable_x64(x64):
        key = inside.key_of(lambda *args: (plain(*args), gradient(*args)), *args)
    pair = OfGradient(key, plain, gradient)
    return rules.Rule("gradient", where, pair, args[:1], ("argument 0",), args[1:], whole=True)


def _gradients(f: Callable[..., Array], args: tuple) -> PyTree:
    return inside.pullback(f, args, jnp.ones(()))[1]


def _names(what: str, names: Sequence[str]) -> tuple[str, ...]:
    names = (names,) if isinstance(names, str) else tuple(names)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"{what} must be names, got {names!r}. Give them as the report prints them: {what}=('relu',).")
    return names


def _require_names(declared: Declared, whole: rules.Rule, parts: list[rules.Rule]) -> None:
    """Every name that is declared must be one of a rule, or of an argument of a rule."""
    names = dict.fromkeys(rule.name for rule in parts)
    for name in declared.expected:
        if name not in names:
            known = f"The rules are {', '.join(names)}." if names else "There is no rule by hand inside."
            raise ValueError(f"expected must name rules of what is checked, got {name!r}. {known}")
    labels = dict.fromkeys(label for rule in [whole, *parts] for label in rule.labels)
    for name in declared.data:
        if name not in labels:
            raise ValueError(f"data must name arguments of rules, got {name!r}. They are {', '.join(labels)}.")


def _require_usable(f: Any, args: tuple, gradient: Any, order: int, miss: float, options: dict[str, Any]) -> None:
    """What can be said before anything runs."""
    if not callable(f):
        raise TypeError(
            f"check needs a function or a backprop record, got {f!r}. Make it with fnn.backprop(net, loss)."
        )
    if isinstance(f, Backprop) and len(args) != 3:
        raise TypeError(f"check of a backprop record needs (params, x, y), got {len(args)} arguments. Add the others.")
    if gradient is not None and not callable(gradient):
        raise TypeError(f"gradient must be a function such as jax.grad(f), got {type(gradient).__name__}.")
    if order not in (1, 2):
        raise ValueError(f"order must be 1 or 2, got {order!r}.")
    if not 0 < miss < 1:
        raise ValueError(f"miss must be a chance between 0 and 1, got {miss!r}. Try 1e-3.")
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((args, options))):
        raise TypeError("check looks at values and cannot run inside jit, grad or vmap. Call it on concrete arrays.")


def _require_sound(call: Callable[..., PyTree], args: tuple) -> None:
    """One floating number, the same twice, and finite."""
    value = call(*args)
    leaves = jax.tree.leaves(value)
    if len(leaves) != 1 or np.shape(leaves[0]) != () or not is_float(leaves[0]):
        shapes = [f"{np.shape(leaf)} {jnp.result_type(leaf).name}" for leaf in leaves]
        raise TypeError(
            f"check needs a function that gives one floating number; it gives {', '.join(shapes) or 'nothing'}. Sum "
            "the output, or, if this is a gradient, pass the function itself: a derived function has no rules left."
        )
    first, again = (np.asarray(each, np.float64) for each in (leaves[0], jax.tree.leaves(call(*args))[0]))
    if not np.array_equal(first, again, equal_nan=True):
        raise ValueError("two calls of the function on the same arguments differ: it is not pure. Pass its key along.")
    if not np.isfinite(first):
        raise ValueError(
            f"the value of the function is {leaves[0]} there: {inside.first_bad(call, args)}. Mend the value before "
            "its gradient."
        )


def _require_same_twice(call: Callable[[], PyTree]) -> None:
    """The gradient written beside the function, too, must be the same twice."""
    first, again = (jax.tree.map(np.asarray, call()) for _ in range(2))
    same = jax.tree.map(lambda a, b: a.shape == b.shape and np.array_equal(a, b, equal_nan=True), first, again)
    if not all(jax.tree.leaves(same)):
        raise ValueError("two calls of the gradient on the same arguments differ: it is not pure. Pass its key along.")


def _kind(leaf: Any) -> str:
    """What an argument without derivative holds."""
    if is_key(leaf):
        return "keys"
    return (
        "booleans" if leaf.dtype == bool else "integers" if jnp.issubdtype(leaf.dtype, jnp.integer) else str(leaf.dtype)
    )
