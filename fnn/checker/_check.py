"""`check`: is this gradient right, and if not, which rule, where, and what is wrong with it?

Promises: works on this package's own records, on any JAX function with hand-written rules inside, and on a gradient
written beside a function; the caller's 64-bit setting, matmul precision and keys are left as they were; no full
Jacobian is ever formed.
Refuses: tracers, functions that give no single number, functions whose two calls differ.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fnn.checker import jaxprs, rules
from fnn.checker.directions import Along, along_random_directions
from fnn.checker.judge import Settings, examine, graver, judged_at, points
from fnn.checker.oracles import is_float
from fnn.checker.pairs import OfFunction, OfGradient, OfRecord
from fnn.checker.report import Finding, Report, Verdict
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
        options: keywords of the record's call, such as `strength`.

    Returns:
        a `Report`: `report.ok`, `report.culprits`, `print(report)`, `report.to_json()`, `report.draw()`.

    Raises:
        TypeError: f gives no single floating number; tracers. ValueError: two calls of f, or of its gradient, differ;
        its value is not finite.

    >>> import jax, jax.numpy as jnp
    >>> @jax.custom_vjp
    ... def cube(x):
    ...     return x**3
    >>> cube.defvjp(lambda x: (x**3, x), lambda x, bar: (bar * 2 * x**2,))   # wrong: 3 x²
    >>> report = fnn.check(lambda x: jnp.sum(cube(x)), jnp.array([1.0, 2.0]))
    >>> report.ok, report.culprits, report.findings[0].message
    (False, ('cube',), 'a constant factor of 0.666667 too many')
    """
    _require_usable(f, args, gradient, order, miss, options)
    # made arrays here, in the caller's own setting: NumPy's float64 means JAX's default dtype
    args = jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf), args)
    record = isinstance(f, Backprop)
    settings = Settings(seed, batched, Programs() if programs is None else programs)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"), jax.numpy_dtype_promotion("standard"):
        value = f.objective if isinstance(f, Backprop) else f
        _require_sound(lambda *args: value(*args, **options), args)
        if gradient is not None:
            _require_same_twice(lambda: gradient(*args, **options))
        if isinstance(f, Backprop):
            f.objective.validate(args[0], *args[1:])
            whole, parts = _of_record(f, args, options)
        else:
            whole, parts = _of_function(f, args, gradient, options)
        findings, notes, missed = _examined(whole, parts, record, settings, miss)
        if order == 2 and all(f.verdict.fine for f in findings):
            # of a rule that is wrong already the second order says nothing new
            second = [rule.second() for rule in rules.distinct(parts)]
            found = [each for rule in second for each in examine(rule, settings, recorded=False)]
            findings += [*found, *examine(whole.second(), settings, generic=not parts)]
    if not settings.counts.get("compared with autodiff") and not findings:
        raise ValueError(
            "there is nothing to check: no argument holds a floating number that a gradient could be taken of. "
            "Give floats, 1.0 and not 1, or cast with .astype('float32')."
        )
    if not parts and gradient is None:
        notes = ("no hand-written rule was found; plain autodiff was checked", *notes)
    names = ("params", "x", "y") if record else tuple(f"argument {k}" for k in range(len(args)))
    skipped = [
        f"{name}{jax.tree_util.keystr(path)} ({_kind(leaf)})"
        for name, arg in zip(names, args, strict=True)
        for path, leaf in jax.tree_util.tree_leaves_with_path(arg)
        if not is_float(leaf)
    ]
    return Report(tuple(findings), tuple(skipped), notes, settings.counts, missed)


def _examined(
    whole: rules.Rule, parts: list[rules.Rule], record: bool, settings: Settings, miss: float
) -> tuple[list[Finding], tuple[str, ...], float | None]:
    """The findings of every rule and of the whole gradient, the notes, and the chance that something was missed."""
    # an equation has the shapes of the real run anyway: to try it there costs no further compilation
    findings = [each for rule in rules.distinct(parts) for each in examine(rule, settings, recorded=not record)]
    of_whole: list[Finding] = []
    along = Along([], (), None)
    for point in points(whole, settings, generic=not parts, recorded=True):
        found = judged_at(point, settings)
        if not point.generic and all(f.verdict == Verdict.OK for f in found) and found:
            along = along_random_directions(point, settings, miss)
            found += along.findings
        of_whole = graver(of_whole, found)
        if any(f.verdict == Verdict.FORMULA for f in of_whole):
            break
    fine = all(f.verdict.fine for f in [*findings, *of_whole])
    if record and not fine and not any(f.verdict == Verdict.FORMULA for f in findings):
        # something is amiss, and no rule on generic inputs says what: look at each where the real run had it
        again = [each for rule in parts for each in examine(rule, settings, generic=False)]
        findings = graver(findings, again)
    return [*findings, *of_whole], along.notes, along.missed


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


def _of_record(by_hand: Backprop, args: tuple, options: dict[str, Any]) -> tuple[rules.Rule, list[rules.Rule]]:
    params, x, y = args
    parts = rules.of_objective(by_hand.objective, params, x, y, options)
    where, labels = rules.place(type(by_hand).__call__), ("params", "x")
    whole = rules.Rule("gradient", where, OfRecord(by_hand), (params, x), labels, (y, options), whole=True)
    return whole, parts


def _of_function(
    f: Callable[..., Array], args: tuple, gradient: Callable[..., PyTree] | None, options: dict[str, Any]
) -> tuple[rules.Rule, list[rules.Rule]]:
    def called(*args: PyTree) -> Array:
        return f(*args, **options)

    labels = tuple(f"argument {k}" for k in range(len(args)))
    if gradient is not None:
        pair = OfGradient(jaxprs.stripped(called), lambda *args: gradient(*args, **options))
        whole = rules.Rule("gradient", rules.place(gradient), pair, args[:1], labels[:1], args[1:], whole=True)
        return whole, []
    pair = OfFunction(called, jaxprs.stripped(called))
    return rules.Rule("gradient", rules.place(f), pair, args, labels, whole=True), jaxprs.of_function(called, args)


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
            f"the value of the function is {leaves[0]} there: {jaxprs.first_bad(call, args)}. Mend the value before "
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
