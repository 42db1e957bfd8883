"""Where the rows of a run come from: from memory, or piece by piece from a stream.

Promises: a run does not know which it has; both go through the same steps of the same program. No more than three
pieces of a stream are in memory, however many rows there are; each piece is checked just as data in memory is.
Letters: N rows, C rows of a piece, B batch size.
"""

from collections.abc import Callable, Generator
from dataclasses import replace
from typing import Protocol

import jax
import numpy as np

from fnn.training.config import Job
from fnn.training.placement import Deal
from fnn.training.program import advance, advance_piece
from fnn.training.shuffle import permutation
from fnn.training.state import Batch, ChunkMetrics, Dealt, TrainState
from fnn.training.stream import Piece, Stream

#: A piece as read -> its rows, checked.
Prepare = Callable[[Piece], Batch]


class Source(Protocol):
    """What a run needs from its rows."""

    def __len__(self) -> int:
        """N."""
        ...

    def make_ready(self, job: Job, state: TrainState) -> None:
        """Read what the next call needs; if a source fails, it fails here and not in the call."""
        ...

    def advance(self, job: Job, state: TrainState, budget: int, until: int) -> tuple[TrainState, ChunkMetrics]:
        """Take at least one and at most `budget` steps, and none beyond epoch number `until`."""
        ...

    def replay(self, job: Job, state: TrainState, steps: int) -> TrainState:
        """The state after this many steps of the last call, which began with this state."""
        ...

    def batch(self, job: Job, state: TrainState) -> Batch:
        """The rows of the step that this state takes next, among those of the last call."""
        ...

    def close(self) -> None:
        """End: nothing more will be read."""
        ...


class Memory:
    """Rows in memory, held by the job."""

    def __init__(self, data: Batch) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def make_ready(self, job: Job, state: TrainState) -> None:
        pass

    def advance(self, job: Job, state: TrainState, budget: int, until: int) -> tuple[TrainState, ChunkMetrics]:
        return advance(job, state, budget, until)

    def replay(self, job: Job, state: TrainState, steps: int) -> TrainState:
        # early stopping is no matter here: steps that were taken once can be taken again
        return advance(job, state, steps, np.iinfo(np.int32).max)[0] if steps else state

    def batch(self, job: Job, state: TrainState) -> Batch:
        order = np.asarray(permutation(jax.random.split(state.key)[1], len(self.data)))
        return _rows(self.data, order, int(state.step), job)

    def close(self) -> None:
        pass


class Streamed:
    """Rows of a stream; a call trains on one piece, or a part of it."""

    def __init__(self, stream: Stream, prepare: Prepare, look: Callable[[Batch], None] | None = None) -> None:
        self.stream, self.prepare, self.look = stream, prepare, look
        self.pieces: Generator[tuple[Deal, Piece], None, None] | None = None
        self.piece: Batch | Dealt | None = None
        self.start = 0
        """The step of the epoch that the piece begins with."""

    def __len__(self) -> int:
        return len(self.stream)

    def make_ready(self, job: Job, state: TrainState) -> None:
        size, placement = job.config.batch_size, job.config.placement
        if self.pieces is None:
            key = jax.random.split(placement.local(state.key))[1]
            self.pieces = self.stream.pieces(key, int(state.step) * size, size, placement)
        if self.piece is None:
            deal, read = next(self.pieces)
            rows = self.prepare(read)
            if self.look is not None:
                # no row is read just for this
                self.look(rows)
                self.look = None
            self.start = int(state.step)
            self.piece = rows if placement.mesh is None else Dealt(deal.laid_out(rows), deal.count, size)

    def advance(self, job: Job, state: TrainState, budget: int, until: int) -> tuple[TrainState, ChunkMetrics]:
        self.make_ready(job, state)
        assert self.piece is not None
        size, piece, end = job.config.batch_size, self.piece, self.start * job.config.batch_size + len(self.piece)
        ends = end >= len(self.stream)
        state, chunk = advance_piece(replace(job, data=piece), state, budget, self.start, ends=ends)
        self.used = piece, self.start, ends
        if int(chunk.finished):
            self.close()
        elif int(state.step) * size >= end:
            self.piece = None
        return state, chunk

    def replay(self, job: Job, state: TrainState, steps: int) -> TrainState:
        if not steps:
            return state
        piece, start, ends = self.used
        return advance_piece(replace(job, data=piece), state, steps, start, ends=ends)[0]

    def batch(self, job: Job, state: TrainState) -> Batch:
        piece, start, _ = self.used
        return _rows(piece, np.arange(len(piece)), int(state.step) - start, job)

    def close(self) -> None:
        # closed here and not left to Python: an error keeps the generator alive through its traceback, and if the
        # garbage collector ended its thread while another thread starts, it would wait for itself
        if self.pieces is not None:
            self.pieces.close()
        self.pieces = self.piece = None


def _rows(data: Batch | Dealt, order: np.ndarray, step: int, job: Job) -> Batch:
    """The rows of this step in this order."""
    size = job.config.batch_size
    return job.config.placement.host(data.take(order[step * size : (step + 1) * size]))
