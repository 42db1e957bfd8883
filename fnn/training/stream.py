"""Data larger than memory: rows are read piece by piece, in shuffled order, the next piece while this one trains.

Promises: an epoch uses every row once, in the order that `fnn.training.permutation` gives, whatever the size of the
pieces; no more than three pieces are in memory, however many rows there are; each piece is checked just as data in
memory is.
Letters: N rows, C rows of a piece, B batch size.
"""

from collections.abc import Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn.checks import require_size
from fnn.training.placement import Deal, Placement
from fnn.training.rows import host, require_weights
from fnn.training.shuffle import part_of_permutation
from fnn.types import Array, Key


@dataclass(frozen=True, eq=False)
class Stream:
    """Rows from a source that need not fit into memory: `fit(…, data=fnn.Stream(x, y))`.

    Args:
        x, y: anything with a shape or a length that returns rows for an array of row numbers, N rows each:
            `numpy.memmap`, h5py, zarr, or a class of your own with `__len__` and `__getitem__`.
        rows: C, how many rows are read at a time; rounded up to whole batches.
        weights: one weight for each example, shape (N,), in memory, or None.
        scale: x is multiplied by this as it is read, such as 1 / 255 for images of bytes.

    Raises:
        TypeError: x or y is a path, a list, or anything else that cannot return rows.
        ValueError: x and y of different lengths, or invalid rows, weights or scale.

    >>> x, y = fnn.data.digits()
    >>> stream = fnn.Stream(x, y, rows=512)
    >>> len(stream)
    1797
    """

    x: Any
    y: Any
    rows: int = 65_536
    weights: Any = None
    scale: float | None = None

    def __post_init__(self) -> None:
        if np.ndim(self.rows):
            raise TypeError(
                f"Stream: rows must be a whole number, got an array of shape {np.shape(self.rows)}. Give weights by "
                "name: Stream(x, y, weights=w)."
            )
        require_size("Stream", "rows", self.rows, "Give how many rows are read at a time, such as 65536.")
        number = isinstance(self.scale, int | float | np.integer | np.floating) and not isinstance(self.scale, bool)
        if self.scale is not None and not (number and 0 < abs(self.scale) < np.inf):
            raise ValueError(f"Stream: scale must be a finite number other than 0, got {self.scale!r}. Try 1 / 255.")
        counts = [_count(name, each) for name, each in (("x", self.x), ("y", self.y))]
        if counts[0] != counts[1] or not counts[0]:
            raise ValueError(
                f"Stream: x and y must have one row per example, at least one; x has {counts[0]} rows, y "
                f"{counts[1]}. Check the source."
            )
        if self.weights is not None:
            # read once: later changes of the source have no effect
            object.__setattr__(self, "weights", require_weights("Stream: weights", self.weights, counts[0]))

    def __len__(self) -> int:
        return _count("x", self.x)

    def piece(self, rows: np.ndarray) -> "Piece":
        """These rows, read in the order in which they lie in the source."""
        order = np.argsort(rows, kind="stable")
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        x, y = (self._read(name, each, rows[order])[back] for name, each in (("x", self.x), ("y", self.y)))
        if self.scale is not None:
            x = x.astype(np.float32 if x.dtype.kind in "iub" else x.dtype) * np.float32(self.scale)
        return Piece(x, y, None if self.weights is None else self.weights[rows], rows)

    def _read(self, name: str, source: Any, rows: np.ndarray) -> np.ndarray:
        """These rows of one source; raises if it returns anything else."""
        try:
            given = source[rows]
            read = given if isinstance(given, np.ma.MaskedArray) else np.asarray(given)
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise TypeError(
                f"Stream: {name} must return rows for an array of row numbers, got {type(error).__name__} from a "
                f"{type(source).__name__}: {str(error)[:80]}. Give an array, .to_numpy() of a table, .toarray() of a "
                "sparse matrix, or np.load(path, mmap_mode='r') of a file."
            ) from error
        if read.dtype == object or len(read) != len(rows):
            raise TypeError(
                f"Stream: {name} must return rows for an array of row numbers, got {type(source).__name__}, which "
                f"returned {read.dtype.name} of shape {read.shape}. Give an array, or .toarray() of a sparse matrix."
            )
        return host(f"Stream: {name}", read)

    def pieces(
        self, key: Key, first: int, batch_size: int, placement: Placement
    ) -> Generator[tuple[Deal, "Piece"], None, None]:
        """The pieces of one epoch, starting at row `first` of its order; of each, the rows that this process needs. The
        next piece is read while this one is used."""
        size = self.size(batch_size)

        def read(start: int) -> tuple[Deal, Piece]:
            deal = placement.deal(batch_size, min(size, len(self) - start))
            numbers = np.asarray(_numbers(key, len(self), deal.count, np.int32(start)))
            return deal, self.piece(numbers[deal.mine()])

        starts = range(first, len(self), size)
        with ThreadPoolExecutor(1) as reader:
            ahead: list[Future] = [reader.submit(read, start) for start in starts[:1]]
            for k in range(len(starts)):
                piece = ahead.pop().result()
                if k + 1 < len(starts):
                    ahead.append(reader.submit(read, starts[k + 1]))
                yield piece

    def size(self, batch_size: int) -> int:
        """C, rounded up to whole batches."""
        return -(-min(self.rows, len(self)) // batch_size) * batch_size


class Piece(NamedTuple):
    """Some rows of a stream, as read."""

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None
    numbers: np.ndarray
    """Of its rows, in the source."""

    def __len__(self) -> int:
        return len(self.x)


def _count(name: str, source: Any) -> int:
    """The number of rows of a source."""
    if isinstance(source, str | bytes) or hasattr(source, "__fspath__"):
        raise TypeError(
            f"Stream: {name} must return rows, got the path {source!r}. Open it: np.load(path, mmap_mode='r')."
        )
    if hasattr(source, "iloc"):
        raise TypeError(
            f"Stream: {name} must return rows by their numbers, got a {type(source).__name__}. Give .to_numpy()."
        )
    if isinstance(source, list | tuple | Mapping):
        raise TypeError(
            f"Stream: {name} must return rows for an array of row numbers, got a {type(source).__name__}. Give "
            "np.asarray(…), or a class with __len__ and __getitem__."
        )
    shape = getattr(source, "shape", None)
    if shape:
        return int(shape[0])
    try:
        return len(source)
    except TypeError as error:
        raise TypeError(
            f"Stream: {name} must have a shape or a length, got a {type(source).__name__}. Give an array, or a class "
            "with __len__ and __getitem__."
        ) from error


@partial(jax.jit, static_argnums=(1, 2))
def _numbers(key: Key, n: int, count: int, first: Array) -> Array:
    return part_of_permutation(key, n, first, count)
