"""Finite differences: the lecture's numbers, the order of the error, the step rule, chunks, pytrees."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests import tolerances
from tests.cases import drawn, random
from tests.witnesses import assert_close


def lecture(x):
    """Claim A8: (2 x₁ + 3 x₂)² + 3."""
    return (2 * x[0] + 3 * x[1]) ** 2 + 3


def test_A8_the_symmetric_quotient_of_the_lecture_in_float64(x64):
    gradient = fnn.central_differences(lecture, step=2e-2)(jnp.array([1.0, 3.0]))
    assert gradient[0] == 43.99999999999906


def test_A8_the_symmetric_quotient_of_the_lecture_in_float32():
    gradient = fnn.central_differences(lecture, step=2e-2)(jnp.array([1.0, 3.0]))
    assert abs(float(gradient[0]) - 44.0010) < tolerances.PRINTED[4]


def test_A8_the_one_sided_quotient(dtype):
    gradient = fnn.one_sided_differences(lecture, step=2e-2)(jnp.array([1.0, 3.0], dtype))
    assert abs(float(gradient[0]) - 44.08) < tolerances.PRINTED[2]


def test_A9_ten_to_the_minus_five_suffices_in_float64_only():
    f = lambda step: fnn.central_differences(lecture, step=step)  # noqa: E731
    with jax.enable_x64(True):
        assert abs(float(f(1e-5)(jnp.array([1.0, 3.0]))[0]) - 44) < tolerances.PRINTED[4]
    assert abs(float(f(1e-5)(jnp.array([1.0, 3.0]))[0]) - 44) > 1


def test_A9_the_default_step_is_right_in_each_dtype(dtype):
    # relative truncation plus rounding at the best step is of the order ε^(2/3); ten of them for sin, exp and tanh
    bound = 10 * np.finfo(dtype).eps ** (2 / 3)
    f = lambda x: jnp.sum(jnp.sin(x) + jnp.exp(x) + jnp.tanh(x))  # noqa: E731
    x = np.array([0.0, -1.5, 0.3, 2.0], dtype)

    @jax.jit
    def all_of(x):
        return f(x), jax.grad(f)(x), fnn.central_differences(f)(x), fnn.one_sided_differences(f)(x)

    value, truth, central, one_sided = map(np.asarray, all_of(x))
    assert (np.abs(central - truth) < bound * np.abs(value)).all()
    assert (np.abs(one_sided - truth) < 10 * np.finfo(dtype).eps ** (1 / 2) * np.abs(value)).all()


def test_a_step_that_rounding_loses_is_not_silent():
    f = fnn.central_differences(jnp.sum, step=1e-7)
    with pytest.warns(UserWarning, match=r"changes the step .* in 2 of 3 entries of leaf 0 \(float32\).*in float64"):
        gradient = f(jnp.array([1.0, 4.0, 1e-3]))
    assert gradient[0] != 1 and gradient[1] == 0
    f(jnp.array([1e-3]))


def test_the_error_falls_with_the_square_of_the_step_and_one_sided_with_the_step(x64):
    x, truth = np.array([0.7]), np.exp(0.7)
    quotients = fnn.central_differences, fnn.one_sided_differences

    @jax.jit
    def all_of(x):
        return [[quotient(lambda x: jnp.exp(x[0]), step=h)(x)[0] for h in (0.1, 0.05)] for quotient in quotients]

    central, one_sided = np.abs(np.array(all_of(x)) - truth)
    assert round(central[0] / central[1]) == 4 and round(one_sided[0] / one_sided[1]) == 2


def test_steps_scale_with_the_entry_and_are_guarded_at_zero(dtype):
    eps = np.finfo(dtype).eps
    x = np.array([0.0, 3.0, -300.0, 1e-3], dtype)
    third, half = (jax.jit(functools.partial(fnn.differences.scaled_step, power=power)) for power in (1 / 3, 1 / 2))
    h = np.asarray(third(x))
    size = np.sqrt(np.mean(np.asarray(x, np.float64) ** 2))
    assert_close(h, eps ** (1 / 3) * np.array([size, size, 300.0, size]), tolerances.FORWARD["float32"])
    assert_close(half(np.zeros(4, dtype)), np.full(4, eps**0.5), tolerances.FORWARD["float32"])
    for extreme in (1e-30, 1e30):
        h = np.asarray(third(x * dtype.type(extreme)))
        assert np.isfinite(h).all()
        assert (h > 0).all()
    steps, quotients = jax.jit(
        lambda x, at: (
            fnn.differences.lecture_step(x),
            fnn.central_differences(lecture, step=fnn.differences.lecture_step)(at),
        )
    )(x, np.array([1.0, 3.0], dtype))
    assert_close(steps, np.cbrt(1e-7) * np.array([1, 3, 300, 1e-3]), tolerances.FORWARD["float32"])
    assert_close(quotients[0], np.array(44.0), tolerances.PRINTED[4])


def test_pytrees_rest_arguments_and_empty_leaves(x64):
    def f(p, scale, extra):
        return scale * (jnp.sum(p["a"] ** 2) + p["b"][0] * extra["c"]) + jnp.sum(p["none"])

    p = {"a": np.array([[1.0, -2.0]]), "b": (np.array(0.5),), "none": np.zeros((0, 3))}
    extra = {"c": np.array(7.0)}
    got, wanted = jax.jit(lambda *data: (fnn.central_differences(f)(*data), jax.grad(f)(*data)))(p, 2.0, extra)
    assert_close(got, wanted, tolerances.DIFFERENCES)


def test_chunks_change_nothing(x64):
    x = np.linspace(-1.0, 2.0, 7)
    f = lambda x: jnp.sum(jnp.sin(x) * x)  # noqa: E731
    whole = fnn.central_differences(f)(x)
    for chunk in (1, 3, 1000):
        assert (np.asarray(fnn.central_differences(f, chunk=chunk)(x)) == np.asarray(whole)).all(), chunk


def test_memory_is_that_of_a_chunk_not_of_all_parameters():
    from fnn.differences import _central_step, _differences, _Quotient

    objective = fnn.objective(fnn.mlp(300, 300, 10), fnn.softmax_cross_entropy)
    params = jax.eval_shape(lambda: objective.net.init(jax.random.key(0)))
    x, y = jax.ShapeDtypeStruct((8, 300), jnp.float32), jax.ShapeDtypeStruct((8,), jnp.int32)
    leaf_bytes = 4 * 300 * 300
    compiled = _differences.lower(_Quotient(objective, _central_step, True, 4), params, x, y).compile()
    # each of the 4 entries of a chunk moves a copy of the leaf, up and down, with some room for the compiler
    assert compiled.memory_analysis().temp_size_in_bytes < 4 * 2 * leaf_bytes * 2


def test_equal_objectives_share_a_program():
    from fnn.differences import _differences

    x, y = fnn.data.xor()
    params = drawn(fnn.mlp(2, 2), random("shared program"))
    before = None
    for _ in range(3):
        fnn.central_differences(fnn.objective(fnn.mlp(2, 2), fnn.softmax_cross_entropy))(params, x, y)
        before = before or _differences._cache_size()
    assert _differences._cache_size() == before


def test_a_large_net_is_differenced_entry_by_entry():
    """100 000 parameters: a few chosen entries of the gradient equal those by hand (all of them take minutes)."""
    net = fnn.mlp(300, 320, 10)
    by_hand = fnn.backprop(net, fnn.softmax_cross_entropy)
    # biases of 0, as `init` makes them: their step is then that of 1, and rounding stays small
    params = tuple({"W": p["W"], "b": np.zeros_like(p["b"])} for p in drawn(net, random("large")))
    y = np.arange(8, dtype=np.int32)
    x = np.cos(np.arange(2400)).reshape(8, 300).astype(np.float32)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) > 99_000
    bias = jax.jit(lambda p: by_hand(p, x, y)[1])(params)[0]["b"]

    def of_bias(b):
        return by_hand.objective(({"W": params[0]["W"], "b": b}, params[1]), x, y)

    assert_close(fnn.central_differences(of_bias)(params[0]["b"]), bias, tolerances.DIFFERENCES_FLOAT32)


SCALE = 2.0


def test_a_global_that_changed_counts_as_it_is_now(monkeypatch):
    def f(x):
        return SCALE * x

    assert_close(fnn.central_differences(f)(1.0), np.float32(2.0), 1e-3)
    monkeypatch.setitem(globals(), "SCALE", 3.0)
    assert_close(fnn.central_differences(f)(1.0), np.float32(3.0), 1e-3)


def test_functions_that_call_back_to_python_are_told_apart():
    def made(factor):
        def on_host(x):
            return np.asarray(factor * np.sum(np.asarray(x) ** 2), np.float32)

        return lambda x: jax.pure_callback(on_host, jax.ShapeDtypeStruct((), jnp.float32), x, vmap_method="sequential")

    x = jnp.array([1.0, 2.0])
    for factor in (1.0, 10.0):
        assert_close(fnn.central_differences(made(factor))(x), 2 * factor * x, 1e-3)


class Model:
    """A callable that holds arrays and has no hash."""

    __hash__ = None

    def __init__(self, weight):
        self.weight = weight

    def __call__(self, x):
        return jnp.sum(jnp.sin(self.weight * x))


def test_models_and_partials_are_differenced():
    x, weight = jnp.array([0.5, -1.0]), jnp.array([1.0, 2.0])
    model = Model(weight)
    truth = weight * jnp.cos(weight * x)
    for f in (model, model.__call__, functools.partial(lambda m, x: m(x), model)):
        assert_close(fnn.central_differences(f)(x), truth, 1e-3)


def test_what_is_no_array_is_held_fixed():
    def f(x, how, scale):
        return scale * (jnp.sum(x**2) if how == "sum" else jnp.mean(x**2))

    x = jnp.array([1.0, 2.0])
    assert_close(fnn.central_differences(f)(x, "sum", 2.0), 4 * x, 1e-3)
    assert_close(fnn.central_differences(f)(x, "mean", 2.0), 2 * x, 1e-3)


def test_a_closure_made_anew_compiles_nothing():
    from fnn.differences import _differences

    def made():
        return lambda x: jnp.sum(jnp.cos(x) * 3)

    x = jnp.array([1.0, 2.0])
    fnn.central_differences(made())(x)
    before = _differences._cache_size()
    fnn.central_differences(made())(x)
    assert _differences._cache_size() == before
