"""The one reader of jaxprs: every kind of call and loop is looked into, and runs as JAX runs it."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from fnn import jaxprs
from fnn.jaxprs import Hooks, Scan, While, alone, doubled, equations, evaluate, fingerprint, name_of, place_of

pytestmark = pytest.mark.quick_compilation


@pytest.fixture(autouse=True)
def promotion():
    """As users have it: the functions here mix dtypes on purpose."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@jax.custom_vjp
def sine(x):
    return jnp.sin(x)


sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, bar: (3 * bar * jnp.cos(x),))


@jax.custom_jvp
def cosine(x):
    return jnp.cos(x)


cosine.defjvp(lambda primals, tangents: (jnp.cos(primals[0]), -5 * tangents[0] * jnp.sin(primals[0])))


def sharded(f):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.shard_map(f, mesh=mesh, in_specs=P("i"), out_specs=P("i"))


X = jnp.array([0.5, -1.2, 2.0])
HOLDERS = {
    "alone": sine,
    "jit": jax.jit(sine),
    "checkpoint": jax.checkpoint(sine),
    "vmap": jax.vmap(sine),
    "shard_map": sharded(sine),
    "scan": lambda x: jax.lax.scan(lambda c, u: (c + sine(u) * x[0], sine(c)), jnp.zeros(()), x)[1],
    "scan backwards": lambda x: jax.lax.scan(lambda c, u: (c + sine(u), c), x[1], x, reverse=True)[1],
    "map": lambda x: jax.lax.map(sine, x),
    "fori_loop": lambda x: jax.lax.fori_loop(0, 3, lambda i, c: sine(c) + i * x, x),
    "while": lambda x: jax.lax.while_loop(lambda c: jnp.sum(c) > x[1], lambda c: sine(c) - x[0], x),
    "cond": lambda x: jax.lax.cond(x[0] > 0, sine, cosine, x),
    "switch": lambda x: jax.lax.switch(2, [cosine, jnp.tanh, sine], x),
    "closed over": lambda x: x * sine(jnp.array([1.0, 2.0, 3.0])),
    "everything": jax.jit(
        lambda x: sharded(jax.checkpoint(lambda x: jax.lax.cond(x[0] > 0, jax.vmap(sine), jnp.tanh, x)))(x)
    ),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_jaxpr_runs_as_the_function(holder):
    f = HOLDERS[holder]
    np.testing.assert_allclose(evaluate(jax.make_jaxpr(f)(X), [X])[0], f(X), rtol=1e-6)


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_rule_by_hand_is_seen_wherever_it_stands(holder):
    f, seen = HOLDERS[holder], []

    def custom(equation, values, hooks):
        seen.append(name_of(equation))
        return jaxprs.primal(equation, values, hooks)

    evaluate(jax.make_jaxpr(f)(X), [X], Hooks(custom=custom))
    assert "sine" in seen
    named = [name_of(each) for each in equations(jax.make_jaxpr(f)(X)) if each.primitive.name in jaxprs.CUSTOM]
    assert "sine" in named


def test_samplers_stay_whole_with_their_literals():
    key = jax.random.key(0)
    f = lambda x: x * jax.random.bernoulli(key, 0.7, (3,))  # noqa: E731
    plain = jaxprs.replaced(f, jaxprs.AS_IT_IS)
    np.testing.assert_array_equal(plain(X), f(X))
    assert any(map(jaxprs.is_sampler, equations(jax.make_jaxpr(plain)(X))))


@pytest.mark.parametrize("holder", [name for name in HOLDERS if name not in ("while", "fori_loop")])
def test_without_hooks_no_rule_by_hand_is_left(holder):
    """The rules above are wrong by 3 and −5, so that one that stays shows."""
    plain = jaxprs.replaced(HOLDERS[holder], jaxprs.AS_IT_IS)
    own, slopes = jax.grad(lambda x: jnp.sum(plain(x)))(X), []
    for k in range(3):
        step = jnp.zeros(3).at[k].set(1e-2)
        slopes.append(jnp.sum(HOLDERS[holder](X + step) - HOLDERS[holder](X - step)) / 2e-2)
    np.testing.assert_allclose(own, slopes, atol=2e-3)


def test_a_kept_rule_is_the_users_rule():
    kept = jaxprs.replaced(HOLDERS["jit"], Hooks(custom=lambda equation, values, _: alone(equation)(*values)))
    np.testing.assert_allclose(jax.grad(lambda x: jnp.sum(kept(x)))(X), 3 * jnp.cos(X), rtol=1e-6)


def test_every_result_can_be_changed_at_any_depth():
    def doubled_sine(equation, values):
        return [2 * v for v in values] if equation.primitive.name == "sin" else values

    def f(x):
        return jax.lax.scan(lambda c, u: (c, jax.checkpoint(jax.jit(sine))(u)), 0.0, x)[1]

    np.testing.assert_allclose(jaxprs.replaced(f, Hooks(after=doubled_sine))(X), 2 * jnp.sin(X), rtol=1e-6)


def test_an_array_passed_twice_is_two_inputs():
    product = jax.custom_vjp(lambda a, b: a * b)
    product.defvjp(lambda a, b: (a * b, (a, b)), lambda kept, bar: (bar * kept[1], bar * kept[0]))
    (equation,) = jax.make_jaxpr(lambda x: product(x, x))(X).jaxpr.eqns
    run = alone(equation)
    np.testing.assert_allclose(run(X, 2 * X)[0], 2 * X**2, rtol=1e-6)
    first, second = jax.grad(lambda a, b: jnp.sum(run(a, b)[0]), argnums=(0, 1))(X, 2 * X)
    np.testing.assert_allclose((first, second), (2 * X, X), rtol=1e-6)


def test_the_parts_of_loops():
    def loop(x, y):
        return jax.lax.scan(lambda c, u: ((c[0] + y, c[1] * u), u), (x, x), jnp.arange(4.0), reverse=True)

    (scan,) = [e for e in jax.make_jaxpr(loop)(1.0, 2.0).jaxpr.eqns if e.primitive.name == "scan"]
    parts = Scan.of(scan)
    assert (parts.constants, parts.carried, parts.length, parts.reverse) == (1, 2, 4, True)
    assert [len(each) for each in parts.split(scan.invars)] == [1, 2, 1]
    program = jax.make_jaxpr(lambda x, y: jax.lax.while_loop(lambda c: c < y, lambda c: c + x * y, x))(1.0, 2.0)
    (equation,) = [e for e in program.jaxpr.eqns if e.primitive.name == "while"]
    parts = While.of(equation)
    assert [len(each) for each in parts.split(equation.invars)] == [1, len(parts.body.jaxpr.invars) - 1, 1]


def test_the_line_is_that_of_the_source():
    line = test_the_line_is_that_of_the_source.__code__.co_firstlineno + 2
    program = jax.make_jaxpr(lambda x: jnp.tanh(x))(X)
    place = place_of(program.jaxpr.eqns[0])
    assert (str(place), place.text) == (f"test_jaxprs.py:{line}", "program = jax.make_jaxpr(lambda x: jnp.tanh(x))(X)")
    assert not jaxprs.is_own(jax.numpy.__file__) and not jaxprs.is_own(jaxprs.__file__)
    assert jaxprs.is_installed(np.__file__) and not jaxprs.is_installed(__file__)


def test_numbers_with_which_values_are_compared():
    def f(x):
        x = jax.jit(lambda x, high: jnp.minimum(x, high))(x, 6.0)
        x = jnp.where(x > jnp.float32(0.5), jnp.clip(x, -3, 20), 7.0 * x)
        return jax.lax.cond(x[0] > 1, lambda x: jnp.maximum(x, X), jnp.sin, x)

    assert jaxprs.compared_with(jax.make_jaxpr(f)(X)) == {6, 0.5, -3, 20, 1}
    asked = jax.make_jaxpr(lambda y: jnp.sum(jnp.where(y != -100, y, 0)) + jax.lax.fori_loop(0, 5, lambda i, c: c, 0))
    assert jaxprs.asked_for(asked(jnp.arange(3))) == {(0, "ne", -100)}
    # not the question that JAX asks about every index
    asked = jax.make_jaxpr(lambda z, y: jnp.where(y[1:] >= 0, z[y[1:]] + jnp.take(z, y)[1:], y[:-1] + 1 < 2))
    assert jaxprs.asked_for(asked(X, jnp.arange(3))) == {(1, "ge", 0), (None, "lt", 2)}
    assert jaxprs.compared_with(jax.make_jaxpr(lambda x: jnp.where(x == 0, 1, x < 3))(X), exactly=True) == {0}

    @jax.jit
    def within(high):
        captured = jax.make_jaxpr(lambda x: jnp.minimum(x, high))(X)
        assert not jaxprs.compared_with(captured) and jaxprs.coarseness(captured) == np.finfo(np.float32).eps
        return high

    within(6.0)


def test_a_number_of_numpy_in_float32_is_known_in_a_trace_in_float64():
    with jax.enable_x64(True):
        x = np.zeros(3)
        rounded, written = (jax.make_jaxpr(lambda x, n=n: x * n)(x) for n in (np.float32(0.1), 0.1))
        plain = [jax.make_jaxpr(lambda x, n=n: x * n)(x) for n in (np.float32(0.75), 60001.0, 2.0**-140)]
    assert jaxprs.coarseness(rounded) == np.finfo(np.float32).eps
    assert not any(map(jaxprs.coarseness, [written, *plain]))


# ---- in float64 -----------------------------------------------------------------------------------------------------


def wide(f, *args, working=None):
    with jax.enable_x64(True):
        return np.asarray(doubled(f, working)(*(jnp.asarray(np.asarray(a, np.float64)) for a in args)))


def exact(values):
    return np.asarray(values, np.float64)


THIRD = np.float32(1 / 3)
NARROW = {
    "a cast": (lambda x: (x.astype(jnp.float32) * 3).astype(x.dtype), lambda x: 3 * x),
    "a cast to bfloat16": (lambda x: jnp.sin(x.astype(jnp.bfloat16)), np.sin),
    "a constant": (lambda x: x + jnp.asarray([THIRD] * 3), lambda x: x + np.float64(THIRD)),
    "a carry": (
        lambda x: jax.lax.scan(lambda c, u: (jnp.float32(c + u), c), jnp.float32(0), x)[1],
        lambda x: np.concatenate([[0], np.cumsum(x)[:-1]]),
    ),
    "a while loop": (
        lambda x: jax.lax.fori_loop(0, 3, lambda i, c: (c * 1.1).astype(jnp.float32), x.astype(jnp.float32)),
        # a number written beside a narrow value is as narrow
        lambda x: x * np.float64(np.float32(1.1)) ** 3,
    ),
    "a branch": (
        lambda x: jax.lax.cond(x[0] > 0, lambda x: jnp.float32(x) / 3, lambda x: jnp.float32(x), x),
        lambda x: x / 3,
    ),
    "a checkpoint": (lambda x: jax.checkpoint(lambda x: jnp.float32(x) / 3)(x), lambda x: x / 3),
    "shard_map": (lambda x: sharded(lambda x: jnp.float32(x) / 3)(x), lambda x: x / 3),
    "a product": (
        lambda x: jnp.dot(x.astype(jnp.float32), jnp.ones((3, 2), jnp.float32)),
        lambda x: x.sum() * np.ones(2),
    ),
    "whole numbers": (lambda x: x * jnp.arange(3).astype(jnp.float32), lambda x: x * np.arange(3)),
    "nothing narrow": (lambda x: jnp.exp(x) * jnp.linspace(0, 1, 3), lambda x: np.exp(x) * np.linspace(0, 1, 3)),
}  # fmt: skip


@pytest.mark.parametrize("what", NARROW)
def test_what_is_narrow_inside_is_widened(what):
    f, right = NARROW[what]
    np.testing.assert_allclose(wide(f, X), right(exact(X)), rtol=1e-14)
    if what != "nothing narrow":
        with jax.enable_x64(True):
            assert jaxprs.narrowest_in(jax.make_jaxpr(f)(exact(X))) is not None


def test_a_narrow_step_is_named_with_its_line():
    line = test_a_narrow_step_is_named_with_its_line.__code__.co_firstlineno + 3
    with jax.enable_x64(True):
        program = jax.make_jaxpr(lambda x: x.astype(jnp.float16) * 2)(exact(X))
    narrow = jaxprs.narrow_in(program)
    assert (narrow.dtype, narrow.primitive, str(narrow.place)) == (
        "float16", "convert_element_type", f"test_jaxprs.py:{line}",
    )  # fmt: skip
    with jax.enable_x64(True):
        assert jaxprs.narrow_in(jax.make_jaxpr(jnp.sin)(exact(X))) is None


def test_the_literals_of_a_rule_come_in_double():
    rule = jax.custom_vjp(lambda x: 0.044715 * x**3)
    rule.defvjp(lambda x: (0.044715 * x**3, x), lambda x, bar: (bar * 3 * 0.044715 * x**2,))
    hand = wide(lambda x: jax.grad(lambda x: jnp.sum(rule(x)))(x), X)
    np.testing.assert_allclose(hand, 3 * 0.044715 * exact(X) ** 2, rtol=1e-14)


@pytest.mark.parametrize(
    "draw",
    [
        lambda key: jax.random.normal(key, (3,)),
        lambda key: jax.random.uniform(key, (3,), minval=0.1, maxval=0.7),
        lambda key: jax.random.bernoulli(key, 0.3, (3,)) * 1.0,
        lambda key: jax.random.randint(key, (3,), 0, 100) * 1.0,
        lambda key: jax.random.gumbel(jax.random.split(key)[1], (3,)),
        lambda key: jax.random.permutation(key, jnp.arange(3.0)),
    ],
)
def test_samplers_draw_what_they_draw_for_the_user(draw):
    key = jax.random.key(3)
    f = jax.jit(lambda x: x * draw(key))
    working = jax.make_jaxpr(f, return_shape=True)(X)
    np.testing.assert_allclose(wide(f, X, working=lambda: working), exact(X) * exact(draw(key)), rtol=1e-14)


# ---- fingerprints ---------------------------------------------------------------------------------------------------


def scaled(c):
    return lambda x: c * jnp.sin(x)


def test_equal_functions_have_equal_fingerprints():
    assert fingerprint(scaled(2.0), X) == fingerprint(scaled(2.0), X)
    assert fingerprint(scaled(X), X) == fingerprint(scaled(X + 0), X)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (scaled(2.0), scaled(3.0)),
        (scaled(X), scaled(X.at[2].add(1e-6))),
        (jnp.sin, jnp.cos),
        (lambda x: (x, x), lambda x: [x, x]),
        (lambda x: x[:2], lambda x: x[1:]),
        (jax.jit(scaled(2.0)), jax.jit(scaled(3.0))),
        (lambda x: jax.lax.map(scaled(2.0), x), lambda x: jax.lax.map(scaled(3.0), x)),
        (lambda x: x - 2 * x, lambda x: 2 * x - x),
        (lambda x: x * jnp.asarray(True), lambda x: x * jnp.asarray(False)),
    ],
)
def test_other_functions_have_other_fingerprints(one, other):
    assert fingerprint(one, X) != fingerprint(other, X)


def test_other_shapes_and_dtypes_have_other_fingerprints():
    assert len({fingerprint(jnp.sin, each) for each in (X, X[:2], X.astype(jnp.float16), X[None])}) == 4


def test_a_function_that_calls_back_to_python_has_no_fingerprint():
    def f(x):
        return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    for each in (f, jax.jit(f), lambda x: jax.lax.cond(x[0] > 0, f, jnp.sin, x)):
        with pytest.raises(ValueError, match=r"calls back into Python has no fingerprint\. Write it in JAX\."):
            fingerprint(each, X)


def test_fingerprints_are_those_of_every_process():
    code = """
import jax, jax.numpy as jnp
from fnn.jaxprs import fingerprint
rule = jax.custom_jvp(jnp.sin)
rule.defjvp(lambda primals, tangents: (primals[0], tangents[0]))
def f(x, key):
    y = jax.jit(rule)(x) * jax.random.normal(key, (3,)) + jnp.array([0.1, 0.2, 0.3])
    return jax.lax.scan(lambda c, u: (c + jax.checkpoint(rule)(u), c), 0.0, y)
print(fingerprint(f, jnp.ones(3), jax.random.key(0)))
"""
    environments = ({"PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin"} for seed in "12")
    root = Path(__file__).parents[1]
    first, second = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=each, cwd=root)
        for each in environments
    )
    assert first.stdout == second.stdout and len(first.stdout.strip()) == 64


def test_the_axes_of_a_map_that_a_function_uses():
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))

    def centred(x):
        return jax.jit(lambda x: x * jax.lax.pmean(x.sum(), "i"))(x)

    program = jax.make_jaxpr(jax.shard_map(centred, mesh=mesh, in_specs=P("i"), out_specs=P("i")))(jnp.ones((2, 3)))
    (mapped,) = [each for each in equations(program) if each.primitive.name == "shard_map"]
    assert jaxprs.axes_of(mapped.params["jaxpr"]) == {"i"} and jaxprs.axes_of(program) == frozenset()
