"""What is measured rather than minimized: accuracy, the zero-one loss, and one-hot rows.

Promises: ties go to the lowest class; a NaN is never right. Nothing here has a useful derivative; that is why losses
exist (claim B19).
Letters: scores (…, K), labels (…) from 0 to K − 1. Sources: claims A5, B1, B19.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from fnn.checks import require_labels, require_shape, require_size
from fnn.types import Array, wide

__all__ = ["accuracy", "one_hot", "zero_one_loss"]


def accuracy(scores: Array, labels: Any, sample_weight: Any = None) -> Array:
    """The fraction of examples whose largest score is at the label.

    Args:
        scores: logits or probabilities (…, K), K ≥ 2; ties go to the lowest class.
        labels: whole numbers (…).
        sample_weight: a weight for each label (…), or None for equal ones: Σ w [right] / Σ w.

    Returns:
        a float32 scalar from 0 to 1.

    Raises:
        TypeError: labels that are not whole numbers. ValueError: shapes that do not match, K < 2, no examples.

    >>> float(fnn.accuracy(jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.array([1, 1])))
    0.5
    """
    return 1 - zero_one_loss(scores, labels, sample_weight)


def zero_one_loss(scores: Array, labels: Any, sample_weight: Any = None) -> Array:
    """The fraction of examples that are misclassified, the mean of 1[argmax ≠ label] (claims B1, B19); see `accuracy`.

    >>> scores = jnp.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0], [5.0, 4.0]])
    >>> float(fnn.metrics.zero_one_loss(scores, jnp.array([0, 1, 1, 0])))
    0.25
    """
    scores = jnp.asarray(scores)
    labels = jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        exchanged = jnp.issubdtype(scores.dtype, jnp.integer) and scores.shape == labels.shape[:-1]
        raise TypeError(
            f"labels must be whole numbers, got {labels.dtype.name}. "
            + ("Give accuracy(scores, labels), in this order." if exchanged else "Cast: y.astype('int32').")
        )
    if scores.ndim == 0 or scores.shape[-1] < 2:
        raise ValueError(
            f"scores must hold K ≥ 2 classes on the last axis, got shape {scores.shape}. "
            "Compare a single output with its threshold yourself."
        )
    if scores.shape == labels.shape:
        raise ValueError(
            f"scores must hold K classes for each example, got shape {scores.shape}, that of the labels. Give what the "
            "net predicts, before argmax; classes are compared by jnp.mean(classes == labels)."
        )
    if labels.shape != scores.shape[:-1]:
        raise ValueError(
            f"labels must have shape {scores.shape[:-1]}, one per row, got {labels.shape}. "
            "Check the split, or drop a column axis with y[:, 0]."
        )
    if labels.size == 0:
        raise ValueError("accuracy over 0 examples is undefined. Check how the data was filtered.")
    # int8 and uint8 cannot count the classes that they index
    labels = labels.astype(jnp.int32) if labels.dtype.itemsize < 4 else labels
    wrong = (jnp.argmax(scores, axis=-1).astype(labels.dtype) != labels) | jnp.isnan(scores).any(axis=-1)
    if sample_weight is None:
        return jnp.mean(wrong.astype(jnp.float32))
    weights = jnp.asarray(sample_weight)
    require_shape("accuracy", "sample_weight", weights.shape, labels.shape, "Give one weight for each label.")
    weights = weights.astype(wide(weights.dtype) if jnp.issubdtype(weights.dtype, jnp.floating) else jnp.float32)
    return jnp.sum(weights * wrong.astype(weights.dtype)) / jnp.sum(weights)


def one_hot(labels: Any, classes: int, dtype: Any = jnp.float32) -> Array:
    """e(y): 1 at the label, 0 elsewhere (claim A5). Labels (…) give a result (…, K).

    A label outside 0 … K − 1 raises `ValueError`; while JAX traces, it gives a row of zeros instead.

    >>> fnn.one_hot([2, 0], 3)
    Array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    require_size("one_hot", "classes", classes, "Give the number of classes K.")
    if not isinstance(labels, Tracer):
        require_labels("labels", labels, classes)
    labels = jnp.asarray(labels)
    # int8 and uint8 wrap round where there are more classes than they can count
    return jax.nn.one_hot(labels.astype(jnp.int32) if labels.dtype.itemsize < 4 else labels, classes, dtype=dtype)
