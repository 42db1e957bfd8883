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

from fnn.backprop import Backprop
from fnn.checker import jaxprs, rules
from fnn.checker.judge import examine
from fnn.checker.oracles import is_float, vjp
from fnn.checker.report import Finding, Report, Verdict
from fnn.types import Array, PyTree


def check(
    f: Backprop | Callable[..., Array],
    *args: PyTree,
    gradient: Callable[..., PyTree] | None = None,
    seed: int = 0,
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
        seed: of the generic inputs and of the entries that are differenced.
        options: keywords of the record's call, such as `strength`.

    Returns:
        a `Report`: `report.ok`, `report.culprits`, `print(report)`, `report.to_json()`.

    Raises:
        TypeError: f gives no single floating number; tracers. ValueError: two calls of f differ; its value is NaN.

    >>> import jax, jax.numpy as jnp
    >>> @jax.custom_vjp
    ... def cube(x):
    ...     return x**3
    >>> cube.defvjp(lambda x: (x**3, x), lambda x, bar: (bar * 2 * x**2,))   # wrong: 3 x²
    >>> report = fnn.check(lambda x: jnp.sum(cube(x)), jnp.array([1.0, 2.0]))
    >>> report.ok, report.culprits, report.findings[0].says
    (False, ('cube',), 'a constant factor of 0.666667 too many')
    """
    if not callable(f):
        raise TypeError(
            f"check needs a function or a backprop record; {f!r} came. Make it with fnn.backprop(net, loss)."
        )
    if isinstance(f, Backprop) and len(args) != 3:
        raise TypeError(f"check of a backprop record needs (params, x, y); {len(args)} arguments came. Add the others.")
    if gradient is not None and not callable(gradient):
        raise TypeError(f"gradient must be a function such as jax.grad(f); {type(gradient).__name__} came.")
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((args, options))):
        raise TypeError("check looks at values and cannot run inside jit, grad or vmap. Call it on concrete arrays.")
    # made arrays here, in the caller's own setting: NumPy's float64 means JAX's default dtype
    args = jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else jnp.asarray(leaf), args)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"), jax.numpy_dtype_promotion("standard"):
        _require_sound(lambda: (f.objective if isinstance(f, Backprop) else f)(*args, **options))
        if isinstance(f, Backprop):
            f.objective.validate(args[0], *args[1:])
            whole, parts = _of_record(f, args, options)
        else:
            whole, parts = _of_function(f, args, gradient, options)
        counts: dict[str, int] = {}
        # an equation has the shapes of the real run anyway: to try it there costs no further compilation
        record = isinstance(f, Backprop)
        findings = [each for rule in rules.distinct(parts) for each in examine(rule, seed, counts, recorded=not record)]
        findings += examine(whole, seed, counts, generic=not parts)
        report = Report(tuple(findings))
        if record and not report.ok and report.culprits in ((), ("gradient",)):
            # something is wrong, and no rule on generic inputs says what: look at each where the real run had it
            again = [each for rule in parts for each in examine(rule, seed, counts, generic=False)]
            findings = [*again, *(each for each in findings if each.rule == "gradient")]
    if not counts.get("compared with autodiff") and not findings:
        raise ValueError(
            "there is nothing to check: no argument holds a floating number that a gradient could be taken of. "
            "Give floats, 1.0 and not 1, or cast with .astype('float32')."
        )
    notes = () if parts or gradient is not None else ("no hand-written rule was found; plain autodiff was checked",)
    skipped = [
        f"argument {k}{jax.tree_util.keystr(path)}"
        for k, arg in enumerate(args)
        for path, leaf in jax.tree_util.tree_leaves_with_path(arg)
        if not is_float(leaf)
    ]
    return Report(tuple(findings), tuple(skipped), notes, counts)


def assert_gradients(f: Backprop | Callable[..., Array], *args: PyTree, **options: Any) -> Report:
    """Check as `check` does and raise `AssertionError` with the printed report unless it is ok; for tests.

    >>> net = fnn.mlp(3, 4, 2)
    >>> x, y = jnp.ones((5, 3)), jnp.array([0, 1, 1, 0, 1])
    >>> fnn.assert_gradients(fnn.backprop(net, "softmax_cross_entropy"), net.init(jax.random.key(0)), x, y).ok
    True
    """
    report = check(f, *args, **options)
    if not report.ok:
        raise AssertionError(f"\n{report}")
    return report


def _of_record(by_hand: Backprop, args: tuple, options: dict[str, Any]) -> tuple[rules.Rule, list[rules.Rule]]:
    params, x, y = args
    parts = rules.of_objective(by_hand.objective, params, x, y, options)

    def backward(inputs: tuple, bar: Array) -> tuple:
        params, x = inputs
        return jax.tree.map(lambda g: bar * g, by_hand.with_inputs(params, x, y, **options)[1])

    whole = rules.Rule(
        "gradient", rules.place(type(by_hand).__call__), lambda params, x: by_hand.objective(params, x, y, **options),
        backward, (params, x), ("params", "x"), whole=True,
    )  # fmt: skip
    return whole, parts


def _of_function(
    f: Callable[..., Array], args: tuple, gradient: Callable[..., PyTree] | None, options: dict[str, Any]
) -> tuple[rules.Rule, list[rules.Rule]]:
    def called(*args: PyTree) -> Array:
        return f(*args, **options)

    plain, labels = jaxprs.stripped(called), tuple(f"argument {k}" for k in range(len(args)))
    if gradient is not None:
        rest = args[1:]

        def by_hand(inputs: tuple, bar: Array) -> tuple:
            given = gradient(inputs[0], *rest, **options)
            if jax.tree.structure(given) != jax.tree.structure(inputs[0]):
                raise ValueError(
                    f"the gradient must have the structure {jax.tree.structure(inputs[0])} of the first argument; "
                    f"{jax.tree.structure(given)} came."
                )
            return (jax.tree.map(lambda g: bar * g, given),)

        where = rules.place(gradient)
        whole = rules.Rule(
            "gradient", where, lambda first: plain(first, *rest), by_hand, args[:1], labels[:1], whole=True
        )
        return whole, []

    def backward(inputs: tuple, bar: Array) -> tuple:
        return vjp(called, inputs, bar)

    whole = rules.Rule("gradient", rules.place(f), plain, backward, args, labels, whole=True)
    return whole, jaxprs.of_function(called, args)


def _require_sound(call: Callable[[], PyTree]) -> None:
    """One floating number, the same twice, and not NaN."""
    value = call()
    leaves = jax.tree.leaves(value)
    if len(leaves) != 1 or np.shape(leaves[0]) != () or not is_float(leaves[0]):
        shapes = [f"{np.shape(leaf)} {jnp.result_type(leaf).name}" for leaf in leaves]
        raise TypeError(
            f"check needs a function that gives one floating number; it gives {', '.join(shapes) or 'nothing'}. Sum "
            "the output, or, if this is a gradient, pass the function itself: a derived function has no rules left."
        )
    first, again = (np.asarray(each, np.float64) for each in (leaves[0], jax.tree.leaves(call())[0]))
    if not np.array_equal(first, again, equal_nan=True):
        raise ValueError("two calls of the function on the same arguments differ: it is not pure. Pass its key along.")
    if not np.isfinite(first):
        raise ValueError(
            f"the value of the function is {leaves[0]} there. Find the first bad value before its gradient."
        )


__all__ = ["Finding", "Report", "Verdict", "assert_gradients", "check"]
