"""Wrong rules in the forms in which users write them, at ordinary and at degenerate starts: none may be called ok.

Promises: a mutant is one change of what a right rule gives, in one carrier, drawn by a seed from all of them; it counts
if it gives another gradient at normal numbers. Each is checked at every start, as a user calls it: parameters as a
layer is initialized, whole numbers, zeros and ones, after relu, one array passed several times, a single row.
Letters: N rows of D entries; a cotangent is called bar.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.detection.measure import INSIDE, RESULT
from experiments.progress import Watch
from fnn.checker import Finding, Report, Verdict

N, D = 5, 4
#: Mutants after which compiled programs are dropped.
FRESH = 15
#: The seed of the draw. It changes whenever the checker is mended for what a draw showed: on 2026-11-26 after that of
#: seed 1, since when an attention over one key is tried with several; and after that of seed 2, since when the gradient
#: of another argument is named beside a function too. That of seed 23 showed nothing to mend; 24 was drawn
#: when numbers beyond thresholds, other booleans and other whole numbers were tried. It had a diagnosis for 315 of 329
#: (95.74 %, below the 99 % that were asked); since then an argument that is left out, or not transposed, is named. That
#: of seed 25 passed one wrong gradient in NumPy as ok, a factor of the number of rows at one row (329 of 330 caught,
#: 323 diagnosed); since then targets that are longer alone excuse nothing there either, and an absolute value is named.
SEED = 30
#: Kinds of findings that describe an error and claim nothing of its cause.
PLAIN = (
    "derivative", "missing derivative", "pattern", "nonzero", "shape", "structure", "error", "value", "not finite",
)  # fmt: skip

Gradients = list[jax.Array]
#: (right gradients, arguments, cotangent) -> wrong gradients
Change = Callable[[Gradients, tuple, jax.Array], Gradients]


@dataclass(frozen=True)
class Original:
    """A right function, and what its arguments are: "x" rows, "W" a matrix, "gain" and "bias" one row."""

    function: Callable[..., jax.Array]
    roles: tuple[str, ...]


@dataclass(frozen=True)
class Mutant:
    """One change of the rule of one function, in one carrier."""

    original: str
    operator: str
    change: str
    carrier: str
    changed: Change


# ---- the right functions --------------------------------------------------------------------------------------------


def _dense(x, w, b):
    return x @ w + b


def _layer_norm(x, gain, bias):
    centred = x - x.mean(-1, keepdims=True)
    return gain * centred / jnp.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) + bias


def _attention(q, k, v):
    return jax.nn.softmax(q @ k.T / 2.0) @ v


ORIGINALS = {
    "dense": Original(_dense, ("x", "W", "bias")),
    "layer norm": Original(_layer_norm, ("x", "gain", "bias")),
    "attention": Original(_attention, ("x", "x", "x")),
    "cube": Original(lambda x: x**3, ("x",)),
    "exponential": Original(lambda x, b: x * jnp.exp(b), ("x", "bias")),
    "square": Original(lambda x: x * x + 0.5 * x, ("x",)),
    "mean square": Original(lambda p, t: jnp.mean((p - t) ** 2), ("x", "x")),
}


def gradients(function: Callable[..., jax.Array], args: tuple, bar: jax.Array) -> Gradients:
    """The right gradients."""
    return list(jax.vjp(function, *args)[1](bar))


# ---- what is changed in them ----------------------------------------------------------------------------------------


def _of_one(k: int, change: Callable[[jax.Array, tuple], jax.Array]) -> Change:
    def changed(right: Gradients, args: tuple, bar: jax.Array) -> Gradients:
        return [change(g, args) if n == k else g for n, g in enumerate(right)]

    return changed


def changes(name: str) -> Iterator[tuple[str, str, Change]]:
    """(operator, what it changes, the change) for each change of one rule."""
    for k in range(len(ORIGINALS[name].roles)):
        yield "result sign", f"sign of {k}", _of_one(k, lambda g, args: -g)
        yield "result factor", f"{k} times 1.5", _of_one(k, lambda g, args: 1.5 * g)
        yield "result zero", f"{k} is 0", _of_one(k, lambda g, args: 0 * g)
        yield "result shifted", f"{k} rolled", _of_one(k, lambda g, args: jnp.roll(g, 1, -1))
        yield "inside", f"{k} times its argument", _of_one(k, lambda g, args, k=k: g * args[k])
        yield "inside", f"size of {k}", _of_one(k, lambda g, args: jnp.abs(g))
        yield "inside", f"{k} plus a tenth of its argument", _of_one(k, lambda g, args, k=k: g + 0.1 * args[k])
    yield from _OF_ONE_RULE.get(name, ())


def _without_gain(right: Gradients, args: tuple, bar: jax.Array) -> Gradients:
    x, _, bias = args
    return [gradients(lambda x: _layer_norm(x, jnp.ones_like(bias), bias), (x,), bar)[0], *right[1:]]


_OF_ONE_RULE: dict[str, tuple[tuple[str, str, Change], ...]] = {
    "dense": (
        ("inside", "W is not transposed", lambda right, args, bar: [bar @ args[1], *right[1:]]),
        ("inside", "bias gets the first row", lambda right, args, bar: [*right[:2], bar[0]]),
        ("result factor", "bias gets the mean of the rows", lambda right, args, bar: [*right[:2], bar.mean(0)]),
    ),
    "layer norm": (("inside", "the gain is forgotten", _without_gain),),
    "attention": (
        ("exchanged", "queries and keys exchanged", lambda right, args, bar: [right[1], right[0], right[2]]),
        ("exchanged", "all three exchanged", lambda right, args, bar: [right[2], right[0], right[1]]),
    ),
    "cube": (("inside", "3x for 3x²", lambda right, args, bar: [bar * 3 * args[0]]),),
    "exponential": (("inside", "the exponential is forgotten", lambda right, args, bar: [bar, right[1]]),),
    "square": (("inside", "the second term is forgotten", lambda right, args, bar: [bar * 2 * args[0]]),),
    "mean square": tuple(
        ("result factor", f"{k} times {what}", _of_one(k, lambda g, args, count=count: g * count(args[0])))
        for k in range(2)
        for what, count in (("the rows", len), ("the entries", jnp.size))
    ),
}  # fmt: skip


# ---- what carries them ----------------------------------------------------------------------------------------------


def _as_rule(function: Callable[..., jax.Array], backward: Callable[[tuple, jax.Array], Any]) -> Callable[..., Any]:
    """A rule by hand, under the name that a report must give."""

    @jax.custom_vjp
    def rule(*args):
        return function(*args)

    rule.defvjp(lambda *args: (function(*args), args), lambda args, bar: tuple(backward(args, bar)))
    return rule


def _total(y: jax.Array) -> jax.Array:
    return y if jnp.ndim(y) == 0 else jnp.sum(jnp.sin(y))


def _plain(function, backward, args, random):
    rule = _as_rule(function, backward)
    return lambda *args: _total(rule(*args)), {}


def _captured(function, backward, args, random):
    """The rule closes over data."""
    data = jnp.asarray(random.normal(size=args[0].shape), args[0].dtype)
    rule = _as_rule(
        lambda x, *rest: function(x + data, *rest), lambda args, bar: backward((args[0] + data, *args[1:]), bar)
    )
    return lambda *args: _total(rule(*args)), {}


def _static(function, backward, args, random):
    """A rule with a static argument, used twice with two of them."""

    def scaled(scale, *args):
        return scale * function(*args)

    @partial(jax.custom_vjp, nondiff_argnums=(0,))
    def rule(scale, *args):
        return scaled(scale, *args)

    def forward(scale, *args):
        return scaled(scale, *args), args

    rule.defvjp(forward, lambda scale, args, bar: tuple(backward(args, scale * bar)))
    return lambda *args: _total(rule(2.0, *args)) + 0.3 * _total(rule(0.5, *args)), {}


def _factory(function, backward, args, random):
    """Two rules of one factory, the first right, the second wrong."""
    right = _as_rule(function, lambda args, bar: gradients(function, args, bar))
    wrong = _as_rule(function, backward)
    return lambda *args: _total(right(*args)) + 0.7 * _total(wrong(*args)), {}


def _checkpoint(function, backward, args, random):
    rule = jax.checkpoint(_as_rule(function, backward))
    return lambda *args: _total(rule(*args)), {}


def _numpy(function, backward, args, random):
    """A gradient with respect to the first argument, which takes and gives arrays of NumPy."""

    def gradient(*args):
        args = tuple(jnp.asarray(np.asarray(each)) for each in args)
        bar = jax.grad(_total)(function(*args))
        return np.asarray(backward(args, bar)[0])

    return lambda *args: _total(function(*args)), {"gradient": gradient}


CARRIERS = {
    "plain": _plain, "captured data": _captured, "static arguments": _static, "factory": _factory,
    "checkpoint": _checkpoint, "NumPy": _numpy,
}  # fmt: skip


# ---- where they are checked -----------------------------------------------------------------------------------------


def _initialized(value: np.ndarray, role: str) -> np.ndarray:
    """W = I, γ = 1, b = 0."""
    return {"W": np.eye(*value.shape), "gain": np.ones_like(value), "bias": np.zeros_like(value)}.get(role, value)


STARTS: dict[str, Callable[[list[np.ndarray], tuple[str, ...]], list[np.ndarray]]] = {
    "normal": lambda args, roles: args,
    "W = I, γ = 1, b = 0": lambda args, roles: list(map(_initialized, args, roles)),
    "ones": lambda args, roles: [np.ones_like(each) for each in args],
    "whole numbers": lambda args, roles: [np.round(2 * each) for each in args],
    "0 and 1": lambda args, roles: [(each > 0).astype(np.float32) for each in args],
    "after relu": lambda args, roles: [np.maximum(each, 0) for each in args],
    "one array": lambda args, roles: [args[0] if r == roles[0] else each for each, r in zip(args, roles, strict=True)],
    "one row": lambda args, roles: [each[:1] if r == "x" else each for each, r in zip(args, roles, strict=True)],
}  # fmt: skip
#: The start at which the function passes one array several times.
SAME = "one array"


def numbers(random: np.random.Generator, roles: tuple[str, ...]) -> list[np.ndarray]:
    """Normal numbers for the arguments of an original."""
    shapes = {"x": (N, D), "W": (D, D), "gain": (D,), "bias": (D,)}
    return [random.normal(size=shapes[role]).astype(np.float32) for role in roles]


def is_equal(mutant: Mutant) -> bool:
    """True where the change changes nothing at normal numbers; in NumPy the first gradient alone counts."""
    original, random = ORIGINALS[mutant.original], np.random.default_rng(7)
    with jax.enable_x64(True):
        args = tuple(jnp.asarray(each, jnp.float64) for each in numbers(random, original.roles))
        y = original.function(*args)
        bar = jnp.asarray(random.normal(size=y.shape))
        right = gradients(original.function, args, bar)
        wrong = mutant.changed(right, args, bar)
        count = 1 if mutant.carrier == "NumPy" else len(right)
        return all(np.allclose(wrong[k], right[k], rtol=1e-9, atol=1e-12) for k in range(count))


def drawn(count: int, seed: int = SEED) -> list[Mutant]:
    """So many mutants of the whole table, each at most once, as many of one carrier as of any other, or one more."""
    random = np.random.default_rng(seed)
    table = [(name, *each) for name in ORIGINALS for each in changes(name)]
    rows = [_of_carrier(table, carrier, random.permutation(len(table))) for carrier in CARRIERS]
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*rows))
    return list(itertools.islice((mutant for mutant in in_turn if mutant is not None), count))


def _of_carrier(table: list[tuple], carrier: str, order: np.ndarray) -> Iterator[Mutant]:
    for k in order:
        name, operator, what, changed = table[k]
        mutant = Mutant(name, operator, what, carrier, changed)
        if not is_equal(mutant):
            yield mutant


def call(mutant: Mutant, start: str, seed: int) -> tuple[Callable[..., jax.Array], tuple, dict[str, Any]] | None:
    """What is handed to `fnn.check`; None where the start is no other than the ordinary one."""
    original, random = ORIGINALS[mutant.original], np.random.default_rng([seed, 8])
    normal = numbers(random, original.roles)
    values = STARTS[start](normal, original.roles)
    if start != "normal" and all(a.shape == b.shape and (a == b).all() for a, b in zip(values, normal, strict=True)):
        return None
    args = tuple(map(jnp.asarray, values))

    def backward(args: tuple, bar: jax.Array) -> Gradients:
        return mutant.changed(gradients(original.function, args, bar), args, bar)

    function, options = CARRIERS[mutant.carrier](original.function, backward, args, random)
    if start == SAME and not options:
        # the function itself passes it several times
        places = [0 if role == original.roles[0] else k for k, role in enumerate(original.roles)]
        kept = sorted(set(places))
        return lambda *args: function(*(args[kept.index(k)] for k in places)), tuple(args[k] for k in kept), {}
    return function, args, options


def outcome(mutant: Mutant, report: Report) -> dict[str, Any]:
    """What a report says of a mutant: UNDECIDED and ASSUMES do not count as caught."""
    culprit = "gradient" if mutant.carrier == "NumPy" else "rule"
    wrong = [f for f in report.findings if f.rule == culprit and f.verdict == Verdict.FORMULA]
    named = report.culprits == (culprit,)
    right = bool(wrong) and any(_is_right(mutant, each) for each in wrong)
    certain = any(f.certain and f.kind not in PLAIN and not _is_right(mutant, f) for f in wrong)
    return {
        "caught": bool(report.culprits),
        "named": named,
        "diagnosed": named and right,
        "wrong_but_certain": named and certain and not right,
        "says": " · ".join(dict.fromkeys(f.message for f in wrong)) or report.text(),
    }


def _is_right(mutant: Mutant, finding: Finding) -> bool:
    if mutant.operator == "exchanged":
        # each is the right gradient of another argument
        return finding.kind in ("exchanged", "missing derivative", "derivative")
    return finding.kind in RESULT.get(mutant.operator, INSIDE)


def measured(mutants: list[Mutant], watch: Watch, seed: int = 0) -> list[dict[str, Any]]:
    """One record per mutant: how it was made, its outcomes counted over the starts, and what fell short."""
    records = []
    for number, mutant in enumerate(mutants):
        if number % FRESH == FRESH - 1:
            jax.clear_caches()
        outcomes = {start: found for start in STARTS if (found := _checked(mutant, start, seed)) is not None}
        kinds = ("caught", "named", "diagnosed", "wrong_but_certain")
        counts = {kind: sum(each[kind] for each in outcomes.values()) for kind in kinds}
        short = {start: each["says"] for start, each in outcomes.items() if not each["diagnosed"]}
        records.append(
            {"rule": mutant.original, "operator": mutant.operator, "change": mutant.change, "carrier": mutant.carrier}
            | {"checks": len(outcomes), **counts, "short": short}
            | {f"not_{kind}_at": [start for start, each in outcomes.items() if not each[kind]] for kind in kinds[:2]}
        )
        missed = sum(each["checks"] - each["caught"] for each in records)
        watch("mutants in carriers", number + 1, len(mutants), f"{missed} checks missed one")
    return records


def right(watch: Watch, seed: int = 0, share: slice = slice(None)) -> dict[str, Any]:
    """The right rules in every carrier at every start: how many checks, and each that is blamed or undecided."""
    checks, alarms = 0, []
    pairs = [(name, carrier) for name in ORIGINALS for carrier in CARRIERS][share]
    for number, (name, carrier) in enumerate(pairs):
        if number % FRESH == FRESH - 1:
            jax.clear_caches()
        mutant = Mutant(name, "", "none", carrier, lambda right, args, bar: right)
        for start in STARTS:
            if (made := call(mutant, start, seed)) is not None:
                function, args, options = made
                report, checks = fnn.check(function, *args, **options), checks + 1
                if not report.ok:
                    alarms.append({"rule": name, "carrier": carrier, "start": start, "says": report.text()})
        watch("right rules in carriers", number + 1, len(pairs), f"{checks} checks, {len(alarms)} alarms")
    return {"checks": checks, "alarms": alarms}


def _checked(mutant: Mutant, start: str, seed: int) -> dict[str, Any] | None:
    made = call(mutant, start, seed)
    if made is None:
        return None
    function, args, options = made
    return outcome(mutant, fnn.check(function, *args, **options))
