"""Data larger than memory: rows read piece by piece, in shuffled order, the next piece while this one trains.

Promises: an epoch uses every row once, in the order that `fnn.training.permutation` gives, whatever the size of the
pieces; no more than three pieces are in memory, however many rows there are; each piece is looked at as data in memory
is.
Letters: N rows, C rows of a piece, B batch size.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from fnn.checks import require_size
from fnn.training.shuffle import part_of_permutation
from fnn.types import Array, Key


@dataclass(frozen=True, eq=False)
class Stream:
    """Rows of a source that need not fit into memory: `fit(…, data=fnn.Stream(x, y))`.

    Args:
        x, y: anything with a length, that gives rows for an array of row numbers: `numpy.memmap`, h5py, zarr, or a
            class of your own with `__len__` and `__getitem__`.
        rows: C, how many rows are read at a time; rounded up to whole batches.

    >>> x, y = fnn.data.digits()
    >>> stream = fnn.Stream(x, y, rows=512)
    >>> len(stream)
    1797
    """

    x: Any
    y: Any
    rows: int = 65_536

    def __post_init__(self) -> None:
        require_size("Stream", "rows", self.rows, "Give how many rows are read at a time, such as 65536.")
        if len(self.x) != len(self.y) or not len(self.x):
            raise ValueError(
                f"Stream: x and y must have one row per example, at least one; x has {len(self.x)} rows, y "
                f"{len(self.y)}. Check the source."
            )

    def __len__(self) -> int:
        return len(self.x)

    def piece(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(x, y) of these rows, read in the order in which they lie in the source."""
        order = np.argsort(rows, kind="stable")
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        x, y = (np.asarray(each[rows[order]]) for each in (self.x, self.y))
        return x[back], y[back]

    def pieces(self, key: Key, first: int, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The pieces of one epoch from row `first` of its order on; the next is read while this one is used."""
        size = self.size(batch_size)

        def read(start: int) -> tuple[np.ndarray, np.ndarray]:
            count = min(size, len(self) - start)
            return self.piece(np.asarray(_numbers(key, len(self), count, np.int32(start))))

        starts = range(first, len(self), size)
        with ThreadPoolExecutor(1) as reader:
            ahead: list[Future] = [reader.submit(read, start) for start in starts[:1]]
            for k in range(len(starts)):
                piece = ahead.pop().result()
                if k + 1 < len(starts):
                    ahead.append(reader.submit(read, starts[k + 1]))
                yield piece

    def size(self, batch_size: int) -> int:
        """C, in whole batches."""
        return -(-min(self.rows, len(self)) // batch_size) * batch_size


@partial(jax.jit, static_argnums=(1, 2))
def _numbers(key: Key, n: int, count: int, first: Array) -> Array:
    return part_of_permutation(key, n, first, count)
