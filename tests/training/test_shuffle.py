"""The shuffle: a true permutation at every size, as random as a shuffle must be, and the same everywhere."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

#: Draws of one size, all in one program.
DRAWS = 20_000


def orders(n, draws, seed=0):
    """(draws, n): as many orders as keys."""
    keys = jax.random.split(jax.random.key(seed), draws)
    return np.asarray(jax.jit(jax.vmap(lambda key: fnn.training.permutation(key, n)))(keys))


def chi_square(counts):
    """(Σ (count − expected)² / expected, its degrees of freedom) for counts that should be equal."""
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2 / expected).sum()), counts.size - 1


def as_likely(counts):
    """True for counts within five standard deviations of chance: χ² has mean d and variance 2 d."""
    value, freedom = chi_square(np.asarray(counts, float))
    return abs(value - freedom) <= 5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 16, 17, 97, 1167, 1792, 65_537])
def test_each_row_comes_once(n):
    order = np.asarray(jax.jit(fnn.training.permutation, static_argnums=1)(jax.random.key(n), n))
    assert order.dtype == np.int32 and (np.sort(order) == np.arange(n)).all()


@pytest.mark.parametrize("n", [4, 5])
def test_every_order_of_a_few_rows_is_as_likely(n):
    found = orders(n, DRAWS)
    number = {order: k for k, order in enumerate(itertools.permutations(range(n)))}
    counts = np.bincount([number[tuple(row)] for row in found.tolist()], minlength=math.factorial(n))
    assert as_likely(counts), counts


def test_every_row_is_as_likely_at_every_place_and_beside_every_other():
    n = 37
    found = orders(n, DRAWS)
    places = np.stack([np.bincount(found[:, k], minlength=n) for k in range(n)])
    assert as_likely(places)
    steps = np.bincount(((found[:, 1:] - found[:, :-1]) % n).ravel(), minlength=n)[1:]
    assert as_likely(steps)
    # a sort would show the same: the test is blind to nothing that it lets pass here
    sorted_ones = np.stack([np.random.default_rng(k).permutation(n) for k in range(2000)])
    assert as_likely(np.bincount(((sorted_ones[:, 1:] - sorted_ones[:, :-1]) % n).ravel(), minlength=n)[1:])


def test_few_rows_stay_in_place_and_orders_of_many_rows_have_no_trend():
    n, draws = 1792, 200
    found = orders(n, draws)
    # a random permutation leaves one row in place, with a standard deviation of one
    fixed = (found == np.arange(n)).sum(axis=1)
    assert abs(fixed.mean() - 1) <= 5 / math.sqrt(draws)
    ranks = np.array([np.corrcoef(row, np.arange(n))[0, 1] for row in found])
    assert np.abs(ranks).max() <= 5 / math.sqrt(n) and abs(ranks.mean()) <= 5 / math.sqrt(n * draws)


def test_too_few_rounds_would_be_seen(monkeypatch):
    from fnn.training import shuffle as shuffles

    monkeypatch.setattr(shuffles, "ROUNDS", 2)
    found = orders(5, DRAWS)
    number = {order: k for k, order in enumerate(itertools.permutations(range(5)))}
    assert not as_likely(np.bincount([number[tuple(row)] for row in found.tolist()], minlength=120))


def test_the_order_is_that_of_the_key_and_no_other():
    assert fnn.training.permutation(jax.random.key(0), 10).tolist() == ORDER_OF_TEN
    eager, compiled = (
        f(jax.random.key(3), 97)
        for f in (fnn.training.permutation, jax.jit(fnn.training.permutation, static_argnums=1))
    )
    assert (eager == compiled).all()
    first, second = orders(97, 2)
    assert (first != second).any()
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        fnn.training.permutation(jax.random.key(0), 0)


#: Whole-number arithmetic gives this on every device and release.
ORDER_OF_TEN = [4, 0, 8, 3, 9, 2, 7, 1, 5, 6]


def test_nothing_is_sorted():
    text = str(jax.make_jaxpr(lambda key: fnn.training.permutation(key, 1792))(jax.random.key(0)))
    assert "sort" not in text and jnp.int32 == jnp.dtype("int32")
