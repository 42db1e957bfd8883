"""Metrics: shares of examples counted by hand, and the one-hot code."""

import jax.numpy as jnp
import numpy as np

import fnn


def test_accuracy_and_zero_one_loss():
    scores = np.array([[0.1, 0.9, 0.0], [2.0, 1.0, 3.0], [5.0, 5.0, 0.0]], np.float32)
    labels = np.array([1, 0, 0], np.int32)
    third = np.float32(1 / 3)
    assert fnn.metrics.zero_one_loss(scores, labels) == third and fnn.accuracy(scores, labels) == 1 - third


def test_one_hot():
    assert (fnn.one_hot([2, 0], 3) == np.eye(3)[[2, 0]]).all()
    assert fnn.one_hot(1, 2, "bfloat16").dtype == jnp.bfloat16
