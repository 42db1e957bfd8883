"""Small data sets that come with the package, and stratified splitting.

Promises: nothing is downloaded; the same seed gives the same split everywhere (NumPy's PCG64).
Letters: N examples, I inputs. Sources: claims A2 (xor); `fnn/data/SOURCE.md` (digits).
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from fnn.checks import require_size


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1797 handwritten digits of 8 × 8 pixels (Alpaydin & Kaynak 1998, CC BY 4.0).

    Returns:
        x: (1797, 64) float32, ink from 0 (none) to 1 (full). y: (1797,) int32, the digit.

    >>> x, y = fnn.data.digits()
    >>> x.shape, x.dtype.name, y.shape, int(y[0])
    ((1797, 64), 'float32', (1797,), 0)
    """
    with files("fnn").joinpath("data/digits.npz").open("rb") as file, np.load(file, allow_pickle=False) as stored:
        images, labels = stored["images"], stored["labels"]
    # a pixel counts the set bits in a 4 × 4 block of the scan, so 16 is full ink
    return images.reshape(len(images), 64).astype(np.float32) / 16, labels.astype(np.int32)


def xor() -> tuple[np.ndarray, np.ndarray]:
    """The four points of exclusive or (claim A2): x (4, 2) float32 in {0, 1}; y (4,) int32, 1 where the inputs differ.

    >>> x, y = fnn.data.xor()
    >>> x.tolist(), y.tolist()
    ([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0])
    """
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    return x, np.array([0, 1, 1, 0], np.int32)


def stratified_split(labels: Any, sizes: Sequence[int], *, seed: int) -> list[np.ndarray]:
    """Split the examples at random into parts of these sizes, with every class in proportion in each part.

    Args:
        labels: (N,), whole numbers as a rule; texts and finite floats are classes too.
        sizes: the number of examples in each part; they must add up to N.
        seed: the seed of the split.

    Returns:
        one sorted array of row numbers per part; together they hold every row once.

    Raises:
        ValueError: sizes below 1, or that do not add up to N; labels that are not one axis of classes.
        TypeError: sizes that are not whole numbers.

    >>> [part.tolist() for part in fnn.data.stratified_split([0, 0, 0, 1, 1, 1], (4, 2), seed=0)]
    [[0, 2, 4, 5], [1, 3]]
    """
    labels = np.asarray(labels)
    kind = labels.dtype.kind
    if labels.ndim != 1 or kind not in "biufSU" or (kind == "f" and not np.isfinite(labels).all()):
        raise ValueError(
            f"stratified_split: labels must be one finite number or text for each example, (N,), got {labels.dtype} "
            f"{labels.shape}{' with NaN or infinity' if kind == 'f' and labels.ndim == 1 else ''}. "
            "Give argmax(axis=-1) of one-hot rows, and leave out rows without a label."
        )
    sizes = [require_size("stratified_split", f"size {k + 1}", size, "Give ints.") for k, size in enumerate(sizes)]
    if sum(sizes) != len(labels):
        raise ValueError(
            f"sizes must add up to the {len(labels)} examples, got {tuple(sizes)}, which add up to {sum(sizes)}. "
            "Change the last one."
        )
    random = np.random.default_rng(seed)
    # Shuffle within each class, then deal the classes evenly: the rank of a row in its class, as a fraction of that
    # class, is its position in the whole deck; equal fractions are put in random order.
    position = np.empty(len(labels))
    for value in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == value))
        position[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    deck = np.lexsort((random.random(len(labels)), position))
    return [np.sort(part) for part in np.split(deck, np.cumsum(sizes)[:-1])]
