"""From the pattern of an error, what is wrong."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.checker.diagnosis import Look, diagnose
from tests.cases import random


def look(seed, wrong, shape=(4, 4)):
    """A gradient ȳ ⊙ d(z), made wrong by a function of (gradient, ȳ, z, d)."""
    rng = random("look", seed)
    z, bar = rng.normal(size=shape), rng.normal(size=shape)
    d = 1 - np.tanh(z) ** 2
    clues = {"the cotangent of the output": bar, "the input": z, "the output": np.tanh(z)}
    return Look(np.asarray(wrong(bar * d, bar, z, d), float), bar * d, clues, {}, bar)


@pytest.mark.parametrize(
    ("kind", "says", "wrong"),
    [
        ("zero", "the gradient is zero", lambda g, bar, z, d: 0 * g),
        ("sign", "the sign is wrong", lambda g, bar, z, d: -g),
        ("factor", "a factor of ½ too many", lambda g, bar, z, d: g / 2),
        (
            "factor",
            r"a factor of 1/6 too many \(6 is the number of rows: a mean in place of a sum",
            lambda g, *_: g / 6,
        ),
        (
            "factor",
            r"a factor of −6 too many \(6 is the number of rows: a sum in place of a mean",
            lambda g, *_: -6 * g,
        ),
        ("transposed", "the gradient is transposed", lambda g, *_: g.T),
        ("shifted", "off by one along axis 0", lambda g, *_: np.roll(g, 1, 0)),
        ("shifted", "reversed along axis 1", lambda g, *_: np.flip(g, 1)),
        ("entry", r"one entry only: \[2, 1\]", lambda g, *_: g + np.eye(4)[[2]].T @ np.eye(4)[[1]]),
        ("slice", "it is wrong at index 3 of axis 1 and right elsewhere", lambda g, *_: g * np.array([1, 1, 1, 2])),
        ("mask", "wrong only where the input is at most 0", lambda g, bar, z, d: np.where(z <= 0, 3 * g, g)),
        ("term", "a branch whose gradient was not added", lambda g, bar, *_: g - bar),
        ("term", "it is off by 0.25 times the input", lambda g, bar, z, d: g + 0.25 * z),
        ("term", "it equals -1 times the truth plus 2 times", lambda g, bar, *_: 2 * bar - g),
        ("missing derivative", "it equals the cotangent of the output", lambda g, bar, *_: bar),
        ("no cotangent", "it does not depend on the cotangent", lambda g, bar, z, d: d),
        ("derivative", "the local derivative is wrong", lambda g, bar, z, d: bar * d**2),
        ("stale", "it does not depend on the inputs", lambda g, bar, z, d: bar * np.arange(1, 17).reshape(4, 4)),
        ("cotangent", "otherwise than in proportion", lambda g, bar, z, d: bar * np.abs(bar) * d),
        ("not finite", "1 of 16 entries are not finite", lambda g, *_: np.where(g == g[0, 0], np.nan, g)),
    ],
)
def test_each_kind_of_mistake_has_its_name(kind, says, wrong):
    first, elsewhere = look(1, wrong), look(2, wrong)
    # the same inputs with another cotangent
    rng, z, d = random("bar"), first.clues["the input"], 1 - first.clues["the output"] ** 2
    bar = rng.normal(size=z.shape)
    clues = {**first.clues, "the cotangent of the output": bar}
    turned = Look(np.asarray(wrong(bar * d, bar, z, d), float), bar * d, clues, {}, bar)
    # other inputs with the same cotangent
    z, bar = rng.normal(size=z.shape), first.clues["the cotangent of the output"]
    d = 1 - np.tanh(z) ** 2
    moved = Look(np.asarray(wrong(bar * d, bar, z, d), float), bar * d, {}, {}, bar)
    told = diagnose(first, [turned, elsewhere], {"the number of rows": 6}, turned, moved)
    assert told.kind == kind and told.certain, told
    assert re.search(says, told.message), told.message


C = random("captured").normal(size=(3, 4))


def test_what_another_look_contradicts_is_not_said():
    # a factor at one place is none if it is another elsewhere
    first, elsewhere = look(1, lambda g, *_: 2 * g), look(2, lambda g, bar, z, d: g + z**2)
    told = diagnose(first, [elsewhere], {}, None)
    assert told.kind == "pattern" and not told.certain


@pytest.mark.parametrize(
    ("kind", "says", "wrong"),
    [
        ("mask", "wrong only where the true gradient is at most 0, by hand / truth -1", lambda g, z: np.abs(g)),
        ("term", "it equals the truth times the input, entry by entry: a factor too many", lambda g, z: g * z),
        ("term", "times the input, entry by entry, it is the truth: a factor is missing", lambda g, z: g / z),
        (
            "term",
            "it has the input as a factor, entry by entry, where the truth has that plus 0.25",
            lambda g, z: g * z / (z + 0.25),
        ),
        (
            "term",
            "it is off by 0.1 times the input, plus -0.5 times what was captured",
            lambda g, z: g + 0.1 * z - 0.5 * C,
        ),
        ("pattern", "a wrong term or factor", lambda g, z: g * z**3),
    ],
)
def test_a_factor_of_each_entry_of_a_parameter(kind, says, wrong):
    """Of a parameter, whose gradient is no multiple of the cotangent of the output."""

    def at(seed):
        z, truth = (random(name, seed).normal(size=(3, 4)) for name in ("parameter", "gradient"))
        return Look(wrong(truth, z), truth, {"the input": z, "the output": np.ones(3), "what was captured": C})

    found = diagnose(at(1), [at(2), at(3)], {})
    assert found.kind == kind and found.message.startswith(says), found


def test_an_absolute_value_where_another_look_has_no_sign_to_lose():
    first, second = (Look(np.abs(truth), truth) for truth in (np.array([1.0, -2.0, -3.0]), np.array([2.0, 1.0, 5.0])))
    found = diagnose(first, [second], {})
    assert (found.kind, found.certain) == ("sign", True) and "absolute value" in found.message


def test_a_matrix_that_is_not_transposed():
    def at(seed):
        W, bar = (random(name, seed).normal(size=shape) for name, shape in (("W", (4, 4)), ("bar", (3, 4))))
        return Look(bar @ W, bar @ W.T, {"the input, part 2": W}, {}, bar)

    found = diagnose(at(1), [at(2), at(3)], {})
    assert found.certain and found.message == "it is the cotangent times the input, part 2, which must be transposed"


@pytest.mark.parametrize("k", [0, 2])
def test_one_row_in_place_of_the_sum_of_all(k):
    def at(seed, changed=lambda g: g):
        bar = random("bar", seed).normal(size=(3, 4))
        return Look(changed(2 * bar[k]), 2 * bar.sum(0), {"the cotangent of the output": bar}, {}, bar)

    says = f"it equals index {k} of axis 0 of the cotangent of the output, which must be summed over that axis"
    assert diagnose(at(1), [at(2), at(3)], {}) == (says, True, "term")
    assert diagnose(at(1), [at(2), at(3, np.abs)], {}).kind == "pattern"


def test_what_a_rule_computes_with_in_place_of_an_argument():
    """Layer norm without its gain, a bilinear form with the wrong transpose, and the gradient of it in NumPy."""

    def norm(x, gain):
        centred = x - x.mean(-1, keepdims=True)
        return gain[None] * centred / jnp.sqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)

    def form(x, w):
        return jnp.tanh(x @ w @ x.T)

    numbers = np.random.default_rng(3)
    x, gain, w = (numbers.normal(size=shape).astype(np.float32) for shape in ((5, 4), (4,), (4, 4)))
    for function, args, instead, says in (
        (norm, (x, gain), jnp.ones_like, "derivative that holds where argument 1 is all ones: it is left out"),
        (form, (x, w), jnp.transpose, "argument 1 is transposed: a transpose is missing, or one too many"),
    ):
        rule = jax.custom_vjp(function)

        def backward(kept, bar, function=function, instead=instead):
            of_x = jax.vjp(function, kept[0], instead(kept[1]))[1](bar)[0]
            return of_x, jax.vjp(function, *kept)[1](bar)[1]

        rule.defvjp(lambda *args, function=function: (function(*args), args), backward)
        report = fnn.check(lambda *args, rule=rule: jnp.sum(jnp.sin(rule(*args))), *args)
        [wrong] = [f for f in report.findings if f.rule in ("norm", "form") and f.verdict.name == "FORMULA"]
        assert wrong.certain and says in wrong.message
    # in NumPy the cotangent is not seen, but what it was multiplied with is
    report = fnn.check(
        lambda x, w: np.sum(np.sin(x @ w)), x.astype(float), w.astype(float), gradient=lambda x, w: np.cos(x @ w) @ w
    )
    [wrong] = report.findings
    assert wrong.certain and wrong.message == "it is a cotangent times argument 1, which must be transposed"
    # the other arguments of a separate gradient are data
    value = lambda x, gain, c: jnp.sum(c * norm(x, gain))  # noqa: E731
    without = lambda x, gain, c: jax.grad(value)(x, jnp.ones_like(gain), c)  # noqa: E731
    [wrong] = fnn.check(value, x, gain, x[::-1], gradient=without).findings
    assert wrong.certain and wrong.message.startswith("it is the derivative that holds where argument 1 is all ones")


def test_what_has_one_sign_is_a_hint_and_what_is_nothing_is_no_evidence():
    # −1/p, the slope of −log p: twice that everywhere, and twice that where it is not above 0, are the same
    def of(slope, bar):
        truth = np.asarray(slope) * bar
        return Look(2 * truth, truth, {}, {}, np.asarray(bar))

    falling, rising, nothing = [-2.0, -4.0, 0.0], [3.0, -1.0, 2.0], [0.0, 0.0, 0.0]
    for others, certain in (([of(falling, -0.5)], False), ([of(rising, -0.5)], True), ([of(nothing, 1.5)], False)):
        told = diagnose(of(falling, 1.5), others, {}, None)
        assert told.message.startswith("a factor of 2 too many") and told.kind == "factor"
        assert told.certain == certain and told.message.endswith("nowhere above 0)") != certain


def test_a_ratio_near_1_is_not_printed_as_1_and_a_truth_of_0_is_said():
    truth, rng = np.ones((4, 5)), random("near 1")
    # one entry far enough off that no guard is named
    (near,) = {diagnose(Look(truth * rng.uniform(1.00003, 1.00004, (4, 5)), truth), [], {}).message}
    assert re.search(r"20 of 20 entries, by hand / truth from 1\.0000\d to 1\.0000\d\)", near), near
    # times an input that is 0 it would be the truth
    told = diagnose(Look(rng.normal(size=(4, 5)), 1e-17 * truth, {"the input": 0 * truth}), [], {})
    assert told.message == "it must be 0, and 20 of 20 entries are not" and told.certain
