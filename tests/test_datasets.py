"""The embedded digits are scikit-learn's, byte by byte; splits are stratified, complete and fixed by their seed."""

import numpy as np
import pytest

import fnn


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    x, y = fnn.digits()
    wanted = load_digits()
    assert x.dtype == np.float32 and y.dtype == np.int32
    assert (x * 16 == wanted.data).all() and (y == wanted.target).all()


def test_xor():
    x, y = fnn.xor()
    assert (y == (x[:, 0] != x[:, 1])).all() and len({tuple(row) for row in x}) == 4


def test_a_split_is_complete_stratified_and_fixed():
    _, y = fnn.digits()
    sizes = 1167, 270, 360
    parts = fnn.stratified_split(y, sizes, seed=0)
    assert [len(part) for part in parts] == list(sizes)
    assert (np.sort(np.concatenate(parts)) == np.arange(1797)).all()
    for part in parts:
        # each class within two examples of its share
        share = np.bincount(y) * len(part) / len(y)
        assert (np.abs(np.bincount(y[part]) - share) <= 2).all()
    again, other = (fnn.stratified_split(y, sizes, seed=seed) for seed in (0, 1))
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))
    assert any((a != b).any() for a, b in zip(parts, other, strict=True))


@pytest.mark.parametrize("sizes", [(3, 2), (6, 0), (7,)])
def test_sizes_must_add_up(sizes):
    with pytest.raises(ValueError, match=r"sizes must be at least 1 and add up to the 6 examples; .* add up to"):
        fnn.stratified_split([0, 0, 0, 1, 1, 1], sizes, seed=0)
