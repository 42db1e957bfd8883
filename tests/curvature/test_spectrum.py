"""Lanczos: what is certain about the largest eigenvalue, against numpy.linalg.eigvalsh on many nets."""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.curvature import (
    LargestEigenvalue,
    certain_bound,
    gauss_newton_vector_product,
    hessian_vector_product,
    largest_eigenvalue,
    matrix,
    missed_share,
    spectrum_density,
)
from tests import tolerances
from tests.cases import random, rounded

NET, LOSS = fnn.mlp(3, 6, 4, 2), fnn.softmax_cross_entropy
HESSIAN, NEWTON = hessian_vector_product(NET, LOSS), gauss_newton_vector_product(NET, LOSS)
COUNT = 1000


@functools.cache
def nets():
    """1000 nets, a third fresh, a third scaled by 3, a third trained for 100 steps; their Hessians, largest first."""
    rng = random("spectra")
    shapes = jax.eval_shape(lambda: NET.init(jax.random.key(0), jnp.float64))
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.6, (COUNT, *leaf.shape)), shapes)
    x, y = rng.normal(size=(COUNT, 8, 3)), rng.integers(0, 2, (COUNT, 8)).astype(np.int32)
    third = np.arange(COUNT) % 3
    scaled = jax.tree.map(lambda p: np.where((third == 1).reshape(-1, *[1] * (p.ndim - 1)), 3 * p, p), params)
    by_hand = fnn.backprop(NET, LOSS)

    def trained(params, x, y):
        def step(params, _):
            return jax.tree.map(lambda p, g: p - 0.3 * g, params, by_hand(params, x, y)[1]), None

        return jax.lax.scan(step, params, None, length=100)[0]

    @jax.jit
    def prepare(params, x, y, train):
        after = jax.vmap(trained)(params, x, y)
        kept = jax.tree.map(lambda a, b: jnp.where(train.reshape(-1, *[1] * (a.ndim - 1)), a, b), after, params)
        return (
            kept,
            jax.vmap(lambda *d: matrix(HESSIAN, *d))(kept, x, y),
            jax.vmap(lambda *d: matrix(NEWTON, *d))(kept, x, y),
        )

    params, hessians, newtons = jax.device_get(prepare(scaled, x, y, third == 2))
    return params, x, y, np.linalg.eigvalsh(hessians), np.linalg.eigvalsh(newtons)


def one(k):
    params, x, y, hessians, newtons = nets()
    return jax.tree.map(lambda leaf: leaf[k], params), x[k], y[k], hessians[k], newtons[k]


@pytest.mark.parametrize("steps", [4, 8, 39])
def test_the_interval_of_a_thousand_nets(steps, x64):
    """The lower end always, the probable upper end in at least 1 − δ less three standard errors, with few steps too."""
    delta, right, narrow = 0.05, 0, 0
    keys = jax.random.split(jax.random.key(5), COUNT)
    for k in range(COUNT):
        params, x, y, values, _ = one(k)
        found = largest_eigenvalue(HESSIAN, params, x, y, key=keys[k], steps=steps, delta=delta, certain=False)
        assert found.lower <= values[-1] and found.products == steps + 1
        assert np.abs(values - found.value).min() <= found.residual + found.rounding
        right += values[-1] <= found.upper
        narrow += found.residual <= 0.01 * abs(found.value)
    assert right >= COUNT * (1 - delta) - 3 * math.sqrt(COUNT * delta * (1 - delta))
    assert narrow >= 0.95 * COUNT or steps < 39


def test_the_certain_bound_of_a_thousand_nets(x64):
    """The trace for Gauss-Newton and the Frobenius norm for the Hessian, of every net."""
    params, x, y, hessians, newtons = nets()
    bounds = jax.jit(
        lambda *d: [jax.vmap(lambda *e, p=p: fnn.curvature.spectrum._bound(p, e, {}))(*d) for p in (NEWTON, HESSIAN)]
    )
    traces, norms = jax.device_get(bounds(params, x, y))
    eps = tolerances.LEAF
    assert (newtons[:, -1] <= traces * (1 + eps)).all() and (hessians[:, -1] <= norms * (1 + eps)).all()
    assert (traces < 20 * newtons[:, -1]).all()


class Diagonal(fnn.curvature.Product):
    """A product with a diagonal matrix in place of that of a net: x holds the diagonal."""

    def __call__(self, params, x, y, vectors, *, sample_weight=None, strength=None):
        return jax.tree.map(lambda v: x * v, vectors)


DIAGONAL = Diagonal(HESSIAN.objective)


def of(values, **options):
    values = np.asarray(values, np.float64)
    return largest_eigenvalue(DIAGONAL, np.zeros_like(values), values, None, **options)


def test_close_tops_and_bad_starts(x64):
    """10 and 9.5 at the top; a start orthogonal to the top vector has a tiny residual, and so no probable upper end."""
    values = np.concatenate([[10, 9.5], np.linspace(-2, 5, 98)])
    for seed in range(20):
        found = of(values, key=jax.random.key(seed), steps=20)
        assert found.lower <= 10 <= found.upper and found.upper - found.lower < 2.5
    start = np.ones(100)
    start[:2] = 0
    bad = of(values, start=start, steps=60)
    assert abs(bad.value - 5) < 1e-6 and bad.residual < 1e-4 and bad.delta == 0
    assert bad.upper == np.inf and bad.rate_interval[0] == 0
    assert of(values, start=start, certain=True).upper == pytest.approx(np.linalg.norm(values))


def test_few_steps_give_a_wide_interval_and_more_a_narrow_one(x64):
    values = np.linspace(-1, 1, 200)
    widths = [of(values, key=jax.random.key(0), steps=steps) for steps in (2, 10, 30, 100)]
    widths = [found.upper - found.lower for found in widths]
    assert widths[0] == np.inf and widths == sorted(widths, reverse=True) and widths[-1] < 0.05


def test_the_missed_share_is_that_of_the_worst_component(x64):
    """The share of random unit vectors whose end component is below c, against the bound that missed_share solves."""
    draws = random("sphere").normal(size=(100_000, 5))
    component = np.abs(draws[:, 0]) / np.linalg.norm(draws, axis=1)
    for steps, delta in ((3, 0.2), (6, 0.1)):
        c = 1 / np.cosh((2 * steps - 1) * np.arctanh(np.sqrt(missed_share(5, steps, delta))))
        assert 0.8 * delta / 2 < (component < c).mean() <= delta / 2 * 1.05
    assert missed_share(1, 1, 0.1) == 0 and 0 < missed_share(2, 3, 0.1) < 0.5


def test_what_comes_for_no_positive_curvature(x64):
    down = of([-3.0, -1.0, -2.0], key=jax.random.key(0))
    assert down.value == pytest.approx(-1) and down.largest_rate == np.inf and down.rate_interval == (np.inf, np.inf)
    assert "largest rate inf" in str(down)
    nothing = of(np.zeros(4), key=jax.random.key(0))
    assert nothing.value == 0 and nothing.interval == (0, 0)
    # one parameter, and all eigenvalues equal: the first step exhausts the space
    assert of([7.0], key=jax.random.key(0)).interval == pytest.approx((7, 7))
    assert of(np.full(6, 2.0), key=jax.random.key(0)).interval == pytest.approx((2, 2))


def test_the_rate_is_where_descent_on_a_quadratic_diverges(x64):
    """On a linear net under a squared error: 0.98 of the rate descends, 1.02 diverges."""
    net = fnn.mlp(3, 1)
    product, by_hand = hessian_vector_product(net, "squared_error"), fnn.backprop(net, "squared_error")
    rng = random("quadratic")
    x, y = rounded(rng.normal(size=(9, 3)), "float64"), rounded(rng.normal(size=(9, 1)), "float64")
    params = jax.tree.map(
        lambda p: rounded(rng.normal(size=p.shape), "float64"), jax.eval_shape(lambda: net.init(jax.random.key(0)))
    )
    found = largest_eigenvalue(product, params, x, y, key=jax.random.key(0))

    @jax.jit
    def after(rate):
        return by_hand(
            jax.lax.fori_loop(
                0, 2000, lambda _, p: jax.tree.map(lambda p, g: p - rate * g, p, by_hand(p, x, y)[1]), params
            ),
            x,
            y,
        )[0]

    start = float(after(0.0))
    assert after(0.98 * found.largest_rate) < start < 1e6 < after(1.02 * found.largest_rate)


def test_a_wrong_lanczos_is_seen(x64, monkeypatch):
    """A share that is too small by half fails more often than delta; a lower end that is not a Rayleigh quotient."""
    values = np.concatenate([[10.0], np.linspace(-10, 9.9, 60)])
    rights = []
    for factor in (1, 0.02):
        right = fnn.curvature.missed_share
        monkeypatch.setattr(fnn.curvature.spectrum, "missed_share", lambda *a, f=factor, r=right: f * r(*a))
        found = [of(values, key=jax.random.key(seed), steps=5, delta=0.3) for seed in range(60)]
        rights.append(sum(each.upper >= 10 for each in found))
        monkeypatch.undo()
    assert rights[0] >= 60 * 0.7 - 3 * math.sqrt(60 * 0.21) > rights[1]


def test_the_density_has_the_moments_of_the_spectrum(x64):
    values = np.concatenate([np.linspace(-1, 1, 60), [6.0]])
    found = spectrum_density(DIAGONAL, np.zeros_like(values), values, None, key=jax.random.key(1), steps=20, starts=200)
    assert np.trapezoid(found.density, found.grid) == pytest.approx(1, abs=1e-3)
    first, second = (np.trapezoid(found.grid**k * found.density, found.grid) for k in (1, 2))
    # 200 starts, each off by about √(2 Σ λ⁴) / P = 0.8 in the second moment
    assert abs(first - values.mean()) < 0.1 and abs(second - (values**2).mean()) < 0.25
    assert found.density[np.abs(found.grid - 3.5) < 1].max() < 1e-3 < found.density[np.abs(found.grid - 6) < 0.05].max()


def test_what_is_wrong_is_said(x64):
    params, x, y, *_ = one(0)

    def refused(error, message, **options):
        with pytest.raises(error, match=re.escape(message)):
            largest_eigenvalue(HESSIAN, params, x, y, **options)

    key = jax.random.key(0)
    refused(ValueError, "steps must be at least 1, got 0", key=key, steps=0)
    refused(ValueError, "delta must lie between 0 and 1, got 1. Try 0.01.", key=key, delta=1)
    refused(TypeError, "needs a key or a start, got neither")
    refused(TypeError, "needs a key or a start, got both", key=key, start=params)
    refused(ValueError, "that are not all 0, got zeros or NaN. Give", start=jax.tree.map(np.zeros_like, params))
    refused(TypeError, "the key must be one of jax.random", key=3)
    refused(ValueError, "62 numbers that are not all 0, got 3 numbers", start=np.ones(3))
    # a program that the intervals above have
    wrong = jax.tree.map(lambda p: p * np.nan, params)
    with pytest.raises(ValueError, match="the products must be finite, got nan"):
        largest_eigenvalue(HESSIAN, wrong, x, y, key=key, steps=4, delta=0.05, certain=False)
    whole = jax.tree.map(np.int32, params)
    for function in (largest_eigenvalue, spectrum_density):
        with pytest.raises(
            TypeError, match=f"{function.__name__}: every leaf of params must have a floating dtype, got"
        ):
            function(HESSIAN, whole, x, y, key=key)
    with pytest.raises(ValueError, match=r"width must be above 0, got 0\.0"):
        spectrum_density(HESSIAN, params, x, y, key=key, width=0.0)
    assert certain_bound(NEWTON, params, x, y) >= one(0)[4][-1]
    assert isinstance(largest_eigenvalue(NEWTON, params, x, y, key=key), LargestEigenvalue)
