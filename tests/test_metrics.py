"""Metrics: shares of examples counted by hand, and the one-hot code."""

import jax.numpy as jnp
import numpy as np
import pytest

import fnn


def test_accuracy_and_zero_one_loss():
    scores = np.array([[0.1, 0.9, 0.0], [2.0, 1.0, 3.0], [5.0, 5.0, 0.0]], np.float32)
    labels = np.array([1, 0, 0], np.int32)
    third = np.float32(1 / 3)
    assert fnn.metrics.zero_one_loss(scores, labels) == third and fnn.accuracy(scores, labels) == 1 - third


def test_weights_count():
    scores, labels = np.array([[0.0, 1.0], [2.0, 0.0], [0.0, 1.0]], np.float32), np.array([1, 1, 0])
    assert float(fnn.accuracy(scores, labels, [3.0, 1.0, 0.0])) == 0.75
    with pytest.raises(ValueError, match=r"accuracy: sample_weight must have shape \(3,\), got \(3, 1\)"):
        fnn.accuracy(scores, labels, np.ones((3, 1)))


def test_a_score_that_is_not_a_number_is_never_right():
    scores = np.array([[np.nan, 1.0], [2.0, np.nan], [0.0, 1.0]], np.float32)
    for labels, share in (([0, 0, 1], 1 / 3), ([1, 1, 1], 1 / 3), ([1, 1, 0], 0)):
        assert float(fnn.accuracy(scores, np.array(labels))) == pytest.approx(share)


def test_one_hot():
    assert (fnn.one_hot([2, 0], 3) == np.eye(3)[[2, 0]]).all()
    assert fnn.one_hot(1, 2, "bfloat16").dtype == jnp.bfloat16


def test_narrow_labels_count_more_classes_than_they_hold():
    scores = jnp.zeros((2, 300)).at[0, 261].set(1.0).at[1, 7].set(1.0)
    for dtype in ("uint8", "int8", "int16", "int32"):
        labels = jnp.asarray([5, 7], dtype)
        assert fnn.accuracy(scores, labels) == 0.5, dtype
        assert np.argwhere(np.asarray(fnn.one_hot(labels, 300))).tolist() == [[0, 5], [1, 7]], dtype
