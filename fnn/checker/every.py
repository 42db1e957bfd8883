"""One line that tests every hand-written rule of a module.

Promises: a rule that is added to the module is tested from then on; inputs that do not fit a rule make its test fail
with a sentence, and are never skipped.
Refuses: a module without any rule. A function belongs to the module in which it is written, a record to that of its
class or of one of its parts: what a module only imports is not tested again. Letters: N examples, O outputs.
"""

import dataclasses
import difflib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.activations import Activation
from fnn.adapter import custom_vjp
from fnn.checker._check import check
from fnn.checker.oracles import is_float
from fnn.checker.report import Report
from fnn.checker.rules import place
from fnn.gradients import backprop
from fnn.layers import Layer
from fnn.losses import Loss
from fnn.modes import InTraining
from fnn.network import dense, mlp
from fnn.regularizers import Regularizer
from fnn.types import Array, PyTree

RECORDS = Activation, Loss, Regularizer, Layer
RULES = jax.custom_vjp, jax.custom_jvp
#: Rules of other libraries have classes of their own; they are recognized by these methods, which take the derivative.
DEFINES = ("def_fwd", "def_bwd", "def_jvp", "defvjp", "defjvp")
#: The shape of generic arguments: not square, so that a rule that mixes up its axes does not run or is wrong.
SHAPE = 3, 4
#: What JAX and NumPy say of operands of shapes that do not fit each other.
MISFIT = re.compile("incompatible shapes|contracting dimensions|not be broadcast|cannot reshape", re.IGNORECASE)
#: Examples in a batch, and the sizes of the net around a loss or a regularizer: one layer, which compiles fastest.
N, SIZES = 6, (4, 3)


def every_rule(
    module: ModuleType, inputs: Mapping[str, tuple] | None = None, *, seed: int = 0
) -> Callable[[str], None]:
    """Return a pytest test of every hand-written rule of a module, one case for each: functions and records.

        test_gradients = fnn.checker.every_rule(mymodule, inputs={"cube": (x,)})

    Args:
        module: the module itself. Rules in it: functions under `jax.custom_vjp` or `custom_jvp`, and activations,
            losses, regularizers and layers of this package.
        inputs: a dict of argument tuples for the rules that generic arguments do not fit, by name. Give a function or
            an activation its own arguments, a loss (prediction, target), a regularizer (strength,), a layer (x,) or
            (params, x). Without them a function gets one normal float32 array of shape (3, 4) for each positional
            parameter without a default.
        seed: the seed of the generic inputs.

    Returns:
        a function for pytest, parametrized over the names of the rules. A failing case shows the report.

    Raises:
        ValueError: no rule in the module, or inputs for a name that is not a rule. TypeError: inputs that are not a
            tuple.
        ModuleNotFoundError: pytest is not installed.

    >>> import fnn.regularizers
    >>> test_gradients = every_rule(fnn.regularizers)
    >>> [case.id for case in test_gradients.pytestmark[0].args[1]]
    ['l1', 'l2', 'elastic_net']
    """
    try:
        import pytest
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError("every_rule makes a test for pytest: pip install pytest.", name="pytest") from missing
    rules, provided = rules_of(module), dict(inputs or {})
    for name, each in provided.items():
        if name not in rules:
            raise ValueError(f"got inputs for {name!r}, which is no rule of {module.__name__}.{_nearest(name, rules)}")
        if not isinstance(each, tuple):
            raise TypeError(f"inputs[{name!r}] must be a tuple of arguments, got {type(each).__name__}. Write (x,).")

    def cases() -> Iterator[Any]:
        for name, rule in rules.items():
            skipped = () if not isinstance(rule, type) else pytest.mark.skip(reason=_without_instance(name))
            yield pytest.param(name, id=name, marks=skipped)

    @pytest.mark.parametrize("rule", list(cases()))
    def test_every_rule(rule: str) -> None:
        __tracebackhide__ = True
        for report in reports_of(rule, rules[rule], provided.get(rule), seed=seed):
            if not report.ok:
                raise AssertionError(f"{module.__name__}.{rule}\n{report}")

    return test_every_rule


def rules_of(module: ModuleType) -> dict[str, Any]:
    """Every rule that a module itself defines, by name, each once.

    If the module has no instance of a public class of records, one is made here, if that needs no arguments; otherwise
    the class itself is listed, and cannot be checked.

    Raises:
        ValueError: there is no rule.
    """
    own = {name: each for name, each in vars(module).items() if _is_own(each, module.__name__)}
    made = {type(part) for each in own.values() for part in _records(each)}
    for name, cls in vars(module).items():
        if not name.startswith("_") and _is_own_class(cls, module.__name__) and cls not in made:
            own[name] = _made(cls)
    # a record under two names is one rule; functions, and arrays that a record may hold, compare by identity
    rules: dict[int, tuple[str, Any]] = {}
    for name, each in own.items():
        rules.setdefault(id(each), (name, each))
    if not rules:
        raise ValueError(
            f"there is no hand-written rule in {module.__name__}: no function under jax.custom_vjp or custom_jvp and "
            "no activation, loss, regularizer or layer is defined there. Give the module that defines them."
        )
    return dict(rules.values())


def reports_of(name: str, rule: Any, inputs: tuple | None = None, *, seed: int = 0, **options: Any) -> list[Report]:
    """Check one rule, on these inputs or on generic ones; a loss over classes gets two reports, the second on labels.

    Args:
        name: what the messages call it.
        rule: a function, or a record of this package.
        inputs: its arguments; see `every_rule`.
        seed, options: those of `check`.

    Raises:
        ValueError: generic inputs do not fit the rule, or its gradients do not fit them; the message says which inputs
            to give.
    """
    if is_class(rule):
        rule = _made(rule)
        if isinstance(rule, type):
            raise ValueError(f"{_without_instance(name)}.")
    guessed = inputs is None and not isinstance(rule, RECORDS)
    if inputs is None:
        with jax.numpy_dtype_promotion("standard"):
            calls = list(_generic(name, rule, seed))
    elif isinstance(rule, RECORDS):
        calls = [_on_inputs(name, rule, inputs, seed)]
    else:
        calls = [weighted(rule, inputs, seed)]
    reports = [check(f, *args, seed=seed, **strength, **options) for f, args, strength in calls]
    if guessed:
        _require_fitting(name, rule, reports)
    return [_placed(report, rule) for report in reports] if isinstance(rule, RECORDS) else reports


def _require_fitting(name: str, rule: Any, reports: list[Report]) -> None:
    """Raise if a gradient does not fit arguments whose shapes were guessed: the guess may be what is wrong."""
    for finding in (each for report in reports for each in report.findings):
        misfit = finding.kind == "shape" or (finding.kind == "error" and MISFIT.search(finding.message))
        if misfit:
            names, wanted = _parameters(rule)
            raise ValueError(
                f"{name} takes {_count(names)}, a guess that its gradient does not fit ({finding.argument}: "
                f"{finding.message}). Not checked: give inputs={{{name!r}: {wanted}}}."
            )


def _placed(report: Report, rule: Any) -> Report:
    """The report, with the line of the record's own derivative if the record was passed to JAX."""
    lent, own = f"{Path(custom_vjp.__code__.co_filename).name}:", place(getattr(type(rule), "backward", None))
    findings = (replace(f, where=own) if f.where.startswith(lent) else f for f in report.findings)
    return replace(report, findings=tuple(findings))


def is_rule(value: Any) -> bool:
    """True for a function under `jax.custom_vjp` or `custom_jvp`, also within `jax.jit`, and for a record."""
    return isinstance(value, RECORDS) or _custom(value) is not None


def is_class(value: Any) -> bool:
    """True for a class of records."""
    return isinstance(value, type) and issubclass(value, RECORDS)


# ---- which rules a module has ---------------------------------------------------------------------------------------


def _custom(function: Any) -> Any:
    """The `custom_vjp` or `custom_jvp` function that this is or wraps, or None."""
    seen = 0
    while not isinstance(function, RULES) and not _defines(function):
        function, seen = getattr(function, "__wrapped__", None), seen + 1
        # a chain of decorators is short; one that never ends is not a function
        if function is None or seen > 20:
            return None
    return function


def _defines(function: Any) -> bool:
    return callable(function) and not isinstance(function, type) and any(hasattr(function, name) for name in DEFINES)


def _records(value: Any) -> Iterator[Any]:
    """The record and the records in its fields, including those inside tuples."""
    if isinstance(value, tuple):
        for each in value:
            yield from _records(each)
    elif isinstance(value, RECORDS):
        yield value
        for field in dataclasses.fields(value):
            yield from _records(getattr(value, field.name))


def _is_own(value: Any, module: str) -> bool:
    if isinstance(value, RECORDS):
        return any(type(part).__module__ == module for part in _records(value))
    rule = _custom(value)
    # what fnn.custom_vjp makes is defined in the adapter, and belongs to the module that names it
    return rule is not None and getattr(rule, "__module__", "") in (module, custom_vjp.__module__)


def _is_own_class(value: Any, module: str) -> bool:
    """True for a class of records, written in this module, that defines a derivative."""
    if not (isinstance(value, type) and issubclass(value, RECORDS) and value.__module__ == module):
        return False
    bases = {getattr(base, name, None) for base in RECORDS for name in ("backward", "slope", "gradient")}
    defined = (getattr(value, name, None) for name in ("backward", "slope", "gradient"))
    return any(method is not None and method not in bases for method in defined)


def _made(cls: type) -> Any:
    """A record of this class, or the class itself if making one needs arguments."""
    try:
        return cls()
    except TypeError:
        return cls


def _without_instance(name: str) -> str:
    return f"{name} needs arguments to be made: put a record into the module, such as {name.lower()} = {name}(…)"


def _nearest(name: str, rules: Mapping[str, Any]) -> str:
    nearest = difflib.get_close_matches(name, rules, n=1, cutoff=0.4)
    return f"{f' Perhaps {nearest[0]!r}?' if nearest else ''} Its rules: {', '.join(rules)}."


# ---- where a rule is checked ----------------------------------------------------------------------------------------

#: A call of `check`: the function or record, its arguments, its keywords.
Call = tuple[Any, tuple, dict[str, Any]]


def weighted(function: Callable[..., PyTree], inputs: tuple, seed: int) -> Call:
    """Σ w ⊙ f over every floating output, with fixed random weights w, as a function of the differentiable
    arguments."""
    rule = _custom(function)
    fixed = {*getattr(rule, "nondiff_argnums", ())}
    # functions, strings and None are not arrays: they are held fixed, and so is what the rule itself holds fixed
    fixed |= {k for k, each in enumerate(inputs) if not all(map(_is_number, jax.tree.leaves(each)))}
    # Equinox differentiates such a rule only with respect to its first argument
    fixed |= {*range(1, len(inputs))} if hasattr(rule, "def_bwd") else set()
    free = [k for k in range(len(inputs)) if k not in fixed]

    def called(*args: PyTree) -> list[Array]:
        filled = list(inputs)
        for k, arg in zip(free, args, strict=True):
            filled[k] = arg
        return [jnp.asarray(leaf) for leaf in jax.tree.leaves(function(*filled)) if is_float(leaf)]

    args = tuple(inputs[k] for k in free)
    random = np.random.default_rng(seed)
    # away from 0 and from each other: a weight of 0 hides an entry, equal weights hide a sum over the wrong axis
    weights = [random.uniform(0.5, 1.5, leaf.shape) for leaf in jax.eval_shape(called, *args)]
    if not weights:
        raise TypeError("it gives no floating output, so that there is nothing to differentiate")

    def total(*args: PyTree) -> Array:
        sums = [jnp.sum(jnp.asarray(w, y.dtype) * y) for w, y in zip(weights, called(*args), strict=True)]
        # the outputs may differ in dtype
        return sum(sums[1:], start=sums[0])

    return total, args, {}


def _generic(name: str, rule: Any, seed: int) -> Iterator[Call]:
    random = np.random.default_rng(seed)
    if isinstance(rule, Activation):
        yield _trained(mlp(4, 5, 3, activation=rule), "squared_error", _normal(random, (N, SIZES[0])), seed=seed)
    elif isinstance(rule, Loss):
        yield from _with_targets(name, rule, random, seed)
    elif isinstance(rule, Regularizer):
        net, x = mlp(*SIZES), _normal(random, (N, SIZES[0]))
        # the elastic net takes a pair
        strengths = [0.1, (0.1, 0.2)]
        fits = [s for s in strengths if _finite(lambda s=s: rule(net.init(jax.random.key(seed)), s))]
        if not fits:
            raise _unfit(name, "no strength of 0.1 or (0.1, 0.2)", "(strength,)")
        yield _trained(net, "squared_error", x, rule, seed=seed, strength=fits[0])
    elif isinstance(rule, Layer):
        x = _normal(random, (N, rule.inputs or SHAPE[1]))
        if not _finite(lambda: _applied(rule, x, seed)):
            raise _unfit(name, f"no array of shape {x.shape}", "(x,)")
        if rule.inputs is None and not rule.has_modes and (refusal := _refused_backward(rule, x, seed)):
            # made for other shapes, or wrong: with suitable inputs the check says which
            raise _unfit(name, f"an array of shape {x.shape} forward, and backward raises {refusal}", "(x,)")
        yield _on_inputs(name, rule, (x,), seed)
    else:
        yield _of_function(name, rule, random, seed)


def _applied(layer: Layer, x: Array, seed: int) -> PyTree:
    params = layer.init(jax.random.key(seed))
    return InTraining(layer).apply(params, _with_mode(layer, params, x, seed))


def _with_mode(layer: Layer, params: PyTree, x: Array, seed: int) -> tuple:
    """The input of a layer in training."""
    return x, layer.start(params), jax.random.key(seed)


def _of_function(name: str, function: Any, random: np.random.Generator, seed: int) -> Call:
    names, wanted = _parameters(function)
    count = _count(names)
    # normal numbers, or numbers from (0, 1) if the function has no value at negative ones
    for sample in (lambda: random.normal(0.1, 1, SHAPE), lambda: random.uniform(0.1, 0.9, SHAPE)):
        inputs = tuple(jnp.asarray(sample(), jnp.float32) for _ in names)
        try:
            call = weighted(function, inputs, seed)
            value = call[0](*call[1])
        except Exception as error:
            # an unknown function may raise anything on numbers that it was not made for
            call = _with_identity(function, inputs, seed)
            if call is not None and not check(call[0], *call[1], seed=seed).ok:
                # a rule that is wrong for the simplest function is wrong; right for it says too little about others
                return call
            reason = (str(error).strip().splitlines() or [""])[0].rstrip(".")
            raise _unfit(name, f"no {count} ({type(error).__name__}: {reason})", wanted) from error
        if np.isfinite(np.asarray(value, np.float64)):
            return call
    raise _unfit(name, f"no {count} (its value there is {value})", wanted)


def _parameters(function: Any) -> tuple[list[str], str]:
    """The names of the arguments that a function must get, and a tuple of them as it is written."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(_written(function)).parameters.values()
    names = [p.name for p in parameters if p.kind in positional and p.default is p.empty]
    return names, f"({', '.join(names)}{',' if len(names) == 1 else ''})"


def _count(names: list[str]) -> str:
    return f"{len(names)} normal float32 array{'s' if len(names) != 1 else ''} of shape {SHAPE}"


def _written(function: Any) -> Any:
    """The function that the user wrote: a rule of another library takes *args, and keeps that function inside."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind == p.VAR_POSITIONAL for p in parameters) and hasattr(function, "__dict__"):
        return next(filter(inspect.isfunction, vars(function).values()), function)
    return function


def _with_identity(function: Any, inputs: tuple, seed: int) -> Call | None:
    """A call with x -> x in place of one input, for a rule that takes a function; None if that does not run."""
    for k in range(len(inputs)):
        try:
            call = weighted(function, (*inputs[:k], lambda x: x, *inputs[k + 1 :]), seed)
            if np.isfinite(np.asarray(call[0](*call[1]), np.float64)):
                return call
        except Exception:
            # whatever an unknown function raises
            continue
    return None


def _with_targets(name: str, loss: Loss, random: np.random.Generator, seed: int) -> Iterator[Call]:
    outputs = SIZES[-1]
    rows = random.random((N, outputs)) + 0.1
    floating = [
        _normal(random, (N, outputs)),
        jnp.asarray(rows / rows.sum(-1, keepdims=True), jnp.float32),
        jnp.asarray(random.choice([-1.0, 1.0], (N, outputs)), jnp.float32),
    ]
    labels = [jnp.asarray(random.integers(0, outputs, N), jnp.int32)]
    x, fits = _normal(random, (N, SIZES[0])), False
    for targets in (floating, labels):
        # scores, or probabilities if the loss has no finite value at scores
        for y, output in ((y, output) for output in ("identity", "softmax") for y in targets):
            call = _trained(mlp(*SIZES, output=output), loss, x, y=y, seed=seed)

            def value(call: Call = call, y: Array = y) -> Array:
                loss.validate_target(y, outputs)
                return call[0](*call[1])[0]

            if _finite(value):
                fits = True
                yield call
                break
    if not fits:
        raise _unfit(name, "no normal numbers, probabilities, signs or labels as targets", "(prediction, target)")


def _on_inputs(name: str, rule: Any, inputs: tuple, seed: int) -> Call:
    """A record on the inputs passed in."""
    if isinstance(rule, Regularizer):
        (strength,) = _require_count(name, inputs, "(strength,)", 1)
        x = _normal(np.random.default_rng(seed), (N, SIZES[0]))
        return _trained(mlp(*SIZES), "squared_error", x, rule, seed=seed, strength=strength)
    if isinstance(rule, Activation):
        return _first(rule, jnp.asarray(*_require_count(name, inputs, "(z,)", 1)), "squared_error", None, seed)
    if isinstance(rule, Loss):
        prediction, y = _require_count(name, inputs, "(prediction, target)", 2)
        return _first("identity", jnp.asarray(prediction), rule, jnp.asarray(y), seed)
    *params, x = _require_count(name, inputs, "(x,) or (params, x)", 1, 2)
    p = params[0] if params else rule.init(jax.random.key(seed))
    if rule.has_modes:
        return _trained(InTraining(rule), "squared_error", _with_mode(rule, p, x, seed), seed=seed, params=p)
    try:
        y = jax.eval_shape(rule.apply, p, x)
    except (TypeError, ValueError, LookupError) as error:
        shapes = ", ".join(str(np.shape(leaf)) for leaf in jax.tree.leaves(x))
        says = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        raise _unfit(name, f"no input of shape {shapes} ({type(error).__name__}: {says})", "(x,)") from error
    leaves, arrays = jax.tree.leaves(x), isinstance(y, jax.ShapeDtypeStruct) and len(y.shape) > 0
    if arrays and len(leaves) == 1 and leaves[0] is x and is_float(x):
        return _trained(rule, "squared_error", jnp.asarray(x), seed=seed, params=p)
    # several inputs or outputs: no loss of this package accepts them
    return weighted(custom_vjp(rule), (p, x), seed)


def _first(activation: Activation | str, x: Array, loss: Loss | str, y: Any, seed: int) -> Call:
    """A net that passes its input on unchanged, so that the rule gets exactly the numbers passed in."""
    size = x.shape[-1]
    net, eye = (
        dense(size, size, activation=activation),
        {"W": jnp.eye(size, dtype=x.dtype), "b": jnp.zeros(size, x.dtype)},
    )
    return _trained(net, loss, x, y=y, seed=seed, params=eye)


def _trained(
    net: Layer, loss: Loss | str, x: PyTree, regularizer: Regularizer | None = None, *,
    y: Any = None, seed: int, params: PyTree = None, **options: Any,
) -> Call:  # fmt: skip
    params = net.init(jax.random.key(seed)) if params is None else params
    if y is None:
        y = _normal(np.random.default_rng(seed + 1), jax.eval_shape(net.apply, params, x).shape)
    return backprop(net, loss, regularizer), (params, x, y), options


def _normal(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return jnp.asarray(random.normal(0.1, 1, shape), jnp.float32)


def _finite(value: Callable[[], Array]) -> bool:
    """True if the call runs and returns finite numbers."""
    try:
        leaves = jax.tree.leaves(value())
    except (TypeError, ValueError, LookupError):
        return False
    return all(bool(jnp.isfinite(leaf).all()) for leaf in leaves if is_float(leaf))


def _refused_backward(layer: Layer, x: Array, seed: int) -> str:
    """What the backward pass of a layer raises on made-up inputs on which its forward pass runs; "" if nothing."""
    params = layer.init(jax.random.key(seed))
    y, residuals = layer.forward(params, x)
    try:
        layer.backward(params, residuals, jax.tree.map(jnp.ones_like, y))
    except (TypeError, ValueError, LookupError) as error:
        return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]]).rstrip(".")
    return ""


def _is_number(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float) and not isinstance(leaf, bool)


def _require_count(name: str, inputs: tuple, wanted: str, *counts: int) -> tuple:
    if len(inputs) not in counts:
        raise ValueError(f"inputs[{name!r}] must be {wanted}, got {len(inputs)} arguments.")
    return inputs


def _unfit(name: str, refused: str, wanted: str) -> ValueError:
    return ValueError(f"{name} takes {refused}. Say where to check it: inputs={{{name!r}: {wanted}}}.")
