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


def test_sizes_must_add_up():
    labels = [0, 0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match=r"sizes must add up to the 6 examples; \(3, 2\) add up to 5. Change the last"):
        fnn.stratified_split(labels, (3, 2), seed=0)
    with pytest.raises(ValueError, match=r"stratified_split: size 2 must be at least 1; it came as 0"):
        fnn.stratified_split(labels, (6, 0), seed=0)
    with pytest.raises(TypeError, match=r"stratified_split: size 1 must be a whole number; it came as 2.5"):
        fnn.stratified_split(labels, (2.5, 3.5), seed=0)
