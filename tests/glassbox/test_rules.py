"""Every local rule of the glass box before the package's own checker: right as it stands, wrong with each mistake."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.flatten_util import ravel_pytree

import fnn
from fnn.checker import Verdict
from fnn.glassbox.backpass import backward, forward
from fnn.glassbox.rules.shapes import copy
from fnn.glassbox.table import TABLE
from fnn.glassbox.trace.program import traced
from tests import tolerances
from tests.cases import random
from tests.glassbox.test_values import CASES as VALUES

V, W = (random(name).uniform(0.2, 0.8, 3) for name in ("rule", "other"))
M, S = (random(name).uniform(0.2, 0.8, (2, 2)) for name in ("matrix", "square"))
AT = jnp.array([2, 0])

#: {primitive: (a function that holds it, its arguments)}. Other steps inside keep their right rules.
CASES = {
    "add": (lax.add, V, W),
    "sub": (lax.sub, V, W),
    "mul": (lax.mul, V, W),
    "div": (lax.div, V, W),
    "rem": (lambda a, b: lax.rem(a + 2, b), V, W),
    "neg": (lax.neg, V),
    "abs": (lambda x: lax.abs(x - 1), V),
    "square": (lax.square, V),
    "integer_pow": (lambda x: lax.integer_pow(x, 3), V),
    "pow": (lax.pow, V, W),
    "sqrt": (lax.sqrt, V),
    "rsqrt": (lax.rsqrt, V),
    "cbrt": (lax.cbrt, V),
    "max": (lax.max, V, W),
    "min": (lax.min, V, W),
    "clamp": (lambda a, x, b: lax.clamp(0.3 * a, x, 0.5 * b + 0.3), V, np.array([0.1, 0.4, 0.9]), W),
    "select_n": (lambda a, b: lax.select(np.array([True, False, True]), a, b), V, W),
    "custom_jvp_call": (lambda x: jax.nn.relu(x - 0.5), V),
    "exp": (lax.exp, V),
    "exp2": (lax.exp2, V),
    "expm1": (lax.expm1, V),
    "log": (lax.log, V),
    "log1p": (lax.log1p, V),
    "logistic": (lax.logistic, V),
    "tanh": (lax.tanh, V),
    "sin": (lax.sin, V),
    "cos": (lax.cos, V),
    "tan": (lax.tan, V),
    "asin": (lax.asin, V),
    "acos": (lax.acos, V),
    "atan": (lax.atan, V),
    "atan2": (lax.atan2, V, W),
    "sinh": (lax.sinh, V),
    "cosh": (lax.cosh, V),
    "asinh": (lax.asinh, V),
    "acosh": (lambda x: lax.acosh(x + 1.5), V),
    "atanh": (lax.atanh, V),
    "erf": (lax.erf, V),
    "erfc": (lax.erfc, V),
    "erf_inv": (lax.erf_inv, V),
    "lgamma": (lax.lgamma, V),
    "digamma": (lax.digamma, V),
    "polygamma": (lambda x: lax.polygamma(jnp.ones_like(x), x), V),
    "reduce_sum": (lambda x: jnp.sum(x, axis=0), M),
    "reduce_max": (lambda x: jnp.max(x, axis=1), M),
    "reduce_min": (lambda x: jnp.min(x, axis=1), M),
    "reduce_prod": (lambda x: jnp.prod(x, axis=0), M),
    "dot_general": (lax.dot, M, S),
    "transpose": (jnp.transpose, M),
    "reshape": (lambda x: lax.reshape(x, (4,)), M),
    "squeeze": (lambda x: lax.squeeze(x, (0,)), M[:1]),
    "broadcast_in_dim": (lambda x: lax.broadcast(x, (2,)), V),
    "concatenate": (lambda a, b: lax.concatenate([a, b], 0), V, M[0]),
    "split": (lambda x: lax.split(x, (1, 2)), V),
    "stack": (lambda a, b: jnp.stack([a, b]), V, W),
    "unstack": (jnp.unstack, M),
    "tile": (lambda x: jnp.tile(x, 2), V),
    "pad": (lambda x, value: lax.pad(x, value, [(1, -1, 1)]), V, np.float64(0.4)),
    "slice": (lambda x: x[::2], V),
    "rev": (lambda x: lax.rev(x, (0,)), V),
    "copy": (jnp.copy, V),
    "reduce_precision": (lambda x: lax.reduce_precision(x, 11, 52), V),
    "dynamic_slice": (lambda x: lax.dynamic_slice(x, (AT[1] + 1,), (2,)), V),
    "dynamic_update_slice": (lambda x, new: lax.dynamic_update_slice(x, new, (AT[1] + 1,)), V, M[0]),
    "gather": (lambda x: x[AT], V),
    "scatter": (lambda x, new: x.at[AT].set(new), V, M[0]),
    "scatter-add": (lambda x, new: x.at[AT].add(new), V, M[0]),
    "scatter-sub": (lambda x, new: x.at[AT].subtract(new), V, M[0]),
    "scatter-mul": (lambda x, new: x.at[AT].multiply(new, unique_indices=True), V, M[0]),
    "cumsum": (lax.cumsum, V),
    "cumprod": (lax.cumprod, V),
    "cumlogsumexp": (lax.cumlogsumexp, V),
    "cummax": (lax.cummax, V),
    "cummin": (lax.cummin, V),
    "sort": (lax.sort, V),
    "top_k": (lambda x: lax.top_k(x, 2)[0], V),
    "scan": (lambda w, h, xs: lax.scan(lambda h, x: (jnp.sin(w * h + x), h * x), h, xs), V[0], W[0], V),
    "cond": (lambda x, y: lax.cond(AT[0] > 1, lambda x, y: x * y, lambda x, y: x, x, y), V, W),
}  # fmt: skip

#: Rules that no function of one release of JAX reaches, or only in a dtype that hides digits: (what they differentiate,
#: its arguments), called as they stand.
ALONE = {
    "convert_element_type": (lambda x: x, V),
    "polynomial": (lambda x, a, b, c: a + b * x + c * x**2, V, W, V[::-1], W[::-1]),
}
#: What only newer releases of JAX have, and what only this package differentiates.
NEW = {"log2", "one_minus_square", "random_gamma", "nextafter", "sign"}
#: The same function under a second name, and what has no way back at all.
SAME = {"add_any": "add", "copy_p": "copy"}
#: Rules of `tests/glassbox/test_values.py`; those that only hand arrays on, on one device or several.
ELSEWHERE = {name for group in VALUES.values() for names, *_ in group.values() for name in names.split()}
PLACED = {name for name, primitive in TABLE.items() if primitive.rule is copy and name not in ("copy", "copy_p")}


# What a mistake in a rule makes of what it hands back. Each takes the right contributions and what the rule was given.


def sign(bars, wrong):
    return [-bar for bar in bars]


def twice(bars, wrong):
    return [2 * bar for bar in bars]


def dropped(bars, wrong):
    return [*bars[:-1], jnp.zeros_like(bars[-1])]


def misplaced(bars, wrong):
    return [jnp.roll(bar.ravel(), 1).reshape(bar.shape) for bar in bars]


def operand(bars, wrong):
    return wrong


MISTAKES = (sign, twice, dropped, misplaced, operand)
#: Rules that read none of the numbers that went in or came out, so that they cannot confuse two of them; and three that
#: only ask where the two are equal, or positive.
UNMOVED = {
    "add", "sub", "neg", "reduce_sum", "transpose", "reshape", "squeeze", "broadcast_in_dim", "concatenate", "split",
    "stack", "unstack", "tile", "pad", "slice", "rev", "copy", "reduce_precision", "dynamic_slice",
    "dynamic_update_slice", "gather", "scatter", "scatter-add", "scatter-sub", "cumsum", "select_n", "top_k",
    "convert_element_type", "cummax", "cummin", "custom_jvp_call",
}  # fmt: skip


def planted(primitive, which):
    """The primitive with mistake number `which` (0 for none), which may be traced."""

    def function(y_bar, y, /, *inputs, **params):
        found = primitive.pull(y_bar, y, *inputs, **params)
        bars = [bar for bar in found if bar is not None]
        wrong = [bar for bar in primitive.pull(y_bar, *_confused(y, inputs), **params) if bar is not None]
        versions = [bars, *(mistake(bars, wrong) for mistake in MISTAKES)]
        chosen = iter([jnp.stack(each)[which] for each in zip(*versions, strict=True)])
        return tuple(None if bar is None else next(chosen) for bar in found)

    return replace(primitive, rule=function)


def _confused(y, inputs):
    """The output and the inputs with two of one shape exchanged: two inputs, or the output and the first input."""
    floats = [k for k, v in enumerate(inputs) if jnp.issubdtype(jnp.result_type(v), jnp.floating)]
    for i, j in pairwise(floats):
        if jnp.shape(inputs[i]) == jnp.shape(inputs[j]):
            given = list(inputs)
            given[i], given[j] = given[j], given[i]
            return y, *given
    several = isinstance(y, list | tuple)
    out = y[0] if several else y
    if jnp.shape(out) == jnp.shape(inputs[floats[0]]):
        given = list(inputs)
        given[floats[0]] = out
        return [inputs[floats[0]], *y[1:]] if several else inputs[floats[0]], *given
    return y, *(v + 1 if k == floats[0] else v for k, v in enumerate(inputs))


def weights(y):
    """A cotangent for each output, another for each entry."""
    leaves, tree = jax.tree.flatten(y)
    return tree.unflatten(
        [jnp.cos(1.0 + k + jnp.arange(leaf.size)).reshape(leaf.shape) for k, leaf in enumerate(leaves)]
    )


def by_rules(primitive, f, which, *args):
    """The gradient of Σ weights · f by the local rules, with a mistake in that of one primitive."""
    known = TABLE[primitive]
    try:
        TABLE[primitive] = planted(known, which)
        if primitive in ALONE:
            y = f(*args)
            return TABLE[primitive].pull(weights(y), y, *args)
        program, _ = traced(f, args)
        assert primitive in [step.primitive.name for step in program.steps], f"the case of {primitive} does not hold it"
        values = forward(program, args)
        outputs = [values[number] for number in program.outputs]
        bars, _ = backward(program, values, zip(program.outputs, weights(outputs), strict=True), program.inputs)
        return tuple(bars.get(number, jnp.zeros_like(arg)) for number, arg in zip(program.inputs, args, strict=True))
    finally:
        TABLE[primitive] = known


ARGUMENTS = {name: tuple(args) for name, (_, *args) in (CASES | ALONE).items()}
with jax.enable_x64(True):
    FLAT, unravelled = ravel_pytree(ARGUMENTS)


def per_case(rows, called):
    """{primitive: called(primitive, function, arguments)}, the arguments over the rows along a first axis."""
    given = jax.vmap(unravelled)(jnp.stack(rows))
    return {name: called(name, (CASES | ALONE)[name][0], given[name]) for name in ARGUMENTS}


@jax.jit
def total(rows, hand):
    """Σ weights · f over all cases and rows; a row is a vector of the arguments of all cases."""

    def one(f, *args):
        y = f(*args)
        return sum(jnp.sum(w * leaf) for w, leaf in zip(*map(jax.tree.leaves, (weights(y), y)), strict=True))

    return sum(jax.tree.leaves(per_case(rows, lambda name, f, args: jnp.sum(jax.vmap(partial(one, f))(*args)))))


@jax.jit
def handed(rows):
    """Its gradient by the local rules: right in row 0, with mistake k in every rule in row k."""
    whiches = jnp.arange(len(rows))
    bars = per_case(rows, lambda name, f, args: jax.vmap(partial(by_rules, name, f))(whiches, *args))
    return list(jax.vmap(lambda each: ravel_pytree(each)[0])(bars))


pytestmark = pytest.mark.usefixtures("small_functions")


def test_every_rule_has_a_case():
    assert {name for name, primitive in TABLE.items() if primitive.rule} == {
        *CASES,
        *ALONE,
        *SAME,
        *ELSEWHERE,
        *PLACED,
        *NEW,
    }
    for name, other in SAME.items():
        assert TABLE[name].rule is TABLE[other].rule


def test_the_checker_finds_every_rule_right_and_every_mistake_in_it():
    rows = [jnp.asarray(FLAT)] * (1 + len(MISTAKES))
    hand = handed(rows)
    # the numbers are data: one program of the functions judges them all
    report = fnn.check(total, rows, hand, gradient=lambda rows, hand: hand)
    right, *wrong = report.findings
    assert right.verdict == Verdict.OK, str(report)
    for mistake, finding in zip(MISTAKES, wrong, strict=True):
        assert finding.verdict == Verdict.FORMULA, mistake
        by_hand, truth = map(unravelled, finding.leaf)
        unseen = {name for name in ARGUMENTS if apart(by_hand[name], truth[name]) < tolerances.FAR}
        assert unseen ^ (UNMOVED if mistake is operand else set()) == set(), mistake.__name__


def apart(by_hand, truth):
    """The largest difference over the largest entry; NaN counts as far."""
    off = max(np.abs(h - t).max() for h, t in zip(by_hand, truth, strict=True))
    return np.nan_to_num(off / max(np.abs(t).max() for t in truth), nan=np.inf)
