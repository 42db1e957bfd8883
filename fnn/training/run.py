"""One run: the compiled program called chunk after chunk, and the curves that grow; from memory or from a stream.

Promises: how a run is cut into calls changes no bit; the calls are short, so that it can be watched, saved and stopped.
"""

import hashlib
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn.optimizers import Optimizer
from fnn.training import faults
from fnn.training.checkpoints import Folder
from fnn.training.config import measured_names, prepared
from fnn.training.program import (
    CAPACITY,
    Chunk,
    Numbers,
    Plan,
    Rows,
    TrainState,
    advance,
    floating_dtype,
    measuring_dtype,
    stopped,
)
from fnn.training.shuffle import permutation
from fnn.training.source import Stream, chunk_of, end_of_epoch, train_on_piece
from fnn.types import PyTree

#: What one epoch measured, by name: "loss", and "validation_loss", "validation_accuracy" where they exist.
Metrics = dict[str, float]
#: How long one call of the compiled program may take, about: short enough to stop, to save and to show progress.
SECONDS = 0.25


class History(NamedTuple):
    """What a reader plots: one array per curve.

    >>> net, (x, y) = fnn.mlp(2, 4, 2), fnn.data.xor()
    >>> by_hand, params = fnn.backprop(net, fnn.softmax_cross_entropy), net.init(jax.random.key(0))
    >>> state, history = fnn.fit(
    ...     by_hand, params, (x, y), optimizer=fnn.optimizers.sgd(0.1), epochs=3, batch_size=2, key=jax.random.key(1)
    ... )
    >>> history.step_loss.shape, {name: curve.shape for name, curve in history.metrics.items()}
    ((3, 2), {'loss': (3,)})
    """

    step_loss: np.ndarray
    """(E, S): the loss of every batch, before its update."""
    metrics: dict[str, np.ndarray]
    """name -> (E,): "loss" (mean over the rows of the epoch, penalty included), "validation_loss" (without penalty),
    "validation_accuracy", and the metrics that were asked for."""


class Run:
    """One run: what does not change, and the curves that grow."""

    def __init__(
        self, plan: Plan, rows: Rows, held_out: Rows | None, numbers: Numbers, stops: bool, began: int, until: int
    ) -> None:
        self.plan, self.rows, self.held_out, self.numbers = plan, rows, held_out, numbers
        self.stops, self.began, self.until = stops, began, until
        whole, tail = divmod(len(rows), plan.batch_size)
        self.steps = whole + bool(tail)
        self.losses: list[np.ndarray] = []
        self.metrics: dict[str, list[np.ndarray]] = {}
        self.budget, self.calls = min(self.steps, CAPACITY), 0
        self.names: list[str] | None = None

    @property
    def measured_rows(self) -> Rows | None:
        """The rows on which metrics are measured, where they are at hand."""
        return self.rows

    def over(self, state: TrainState) -> bool:
        return int(state.epoch) >= self.until or bool(stopped(state, self.numbers))

    def called(self, state: TrainState, budget: int) -> tuple[TrainState, Chunk]:
        return advance(
            self.plan, state, self.rows, self.held_out, self.numbers, np.int32(budget), np.int32(self.until)
        )  # fmt: skip

    def advanced(self, before: TrainState) -> tuple[TrainState, list[tuple[int, Metrics]]]:
        """The state after one call, and the epochs that it finished."""
        began = time.perf_counter()
        state, chunk = self.called(before, self.budget)
        chunk = jax.device_get(chunk)
        taken = time.perf_counter() - began
        self.calls += 1
        if self.calls > 1:
            # the first call compiled; after that as many steps as fit into the time, whole epochs if any
            fit = int(SECONDS * max(int(chunk.steps), 1) / max(taken, 1e-6))
            fit = max(1, min(fit, 4 * self.budget, CAPACITY))
            self.budget = fit - fit % self.steps if fit > self.steps else fit
        return state, self.noted(before, chunk)

    def noted(self, before: TrainState, chunk: Chunk) -> list[tuple[int, Metrics]]:
        """Take what a call measured into the curves; the epochs that it finished."""
        losses = np.asarray(chunk.losses[: int(chunk.steps)])
        bad = np.flatnonzero(~np.isfinite(losses))
        if self.stops and len(bad):
            done = sum(map(len, self.losses))
            raise faults.found(
                self.plan, self.batch, self.numbers.strength, np.concatenate([*self.losses, losses]), done, int(bad[0]),
                lambda steps: self.called(before, steps)[0] if steps else before,
            )  # fmt: skip
        self.losses.append(losses)
        finished = []
        for k in range(int(chunk.finished)):
            found = {name: values[k] for name, values in chunk.epochs.items()}
            for name, value in found.items():
                self.metrics.setdefault(name, []).append(np.asarray(value))
            finished.append((len(self.metrics["loss"]) + self.began, {name: float(v) for name, v in found.items()}))
        return finished

    def batch(self, state: TrainState) -> Rows:
        """The rows of the step that this state takes next."""
        order = np.asarray(permutation(jax.random.split(state.key)[1], len(self.rows)))
        first = int(state.step) * self.plan.batch_size
        return jax.tree.map(lambda leaf: leaf[order[first : first + self.plan.batch_size]], self.rows)

    def history(self) -> History:
        flat = np.concatenate(self.losses) if self.losses else np.zeros(0, np.float32)
        whole = len(flat) - len(flat) % self.steps
        return History(
            flat[:whole].reshape(-1, self.steps), {n: np.array(v, np.float64) for n, v in self.metrics.items()}
        )

    def kept(self, state: TrainState) -> PyTree:
        """What a checkpoint holds."""
        dtype = measuring_dtype(state.params)
        flat = np.concatenate(self.losses) if self.losses else np.zeros(0, dtype)
        if self.names is None:
            # once: it traces, and a checkpoint may be written after every call
            self.names = measured_names(self.plan, state, self.measured_rows, self.held_out)
        epochs = {name: np.asarray(self.metrics.get(name, []), dtype) for name in self.names}
        return {"state": state, "losses": flat.astype(dtype), "epochs": epochs}

    def resumed(self, folder: Folder, state: TrainState, told: dict[str, Any]) -> TrainState:
        """The state of the last good checkpoint in the folder, or the one that was given if there is none."""
        found = folder.latest(self.kept(state), told)
        if found is None:
            return state
        self.losses = [np.asarray(found["losses"])]
        self.metrics = {name: list(np.asarray(values)) for name, values in found["epochs"].items()}
        return found["state"]


class StreamedRun(Run):
    """A run whose rows are read piece by piece; a call trains on one piece."""

    def __init__(self, plan: Plan, stream: Stream, *rest: Any) -> None:
        super().__init__(plan, stream, *rest)  # type: ignore[arg-type]
        self.stream = stream
        self.pieces: Iterator[tuple[np.ndarray, np.ndarray]] | None = None
        self.piece: Rows | None = None

    @property
    def measured_rows(self) -> Rows | None:
        return None

    def advanced(self, before: TrainState) -> tuple[TrainState, list[tuple[int, Metrics]]]:
        first = int(before.step) * self.plan.batch_size
        if self.pieces is None:
            shuffle_key = jax.random.split(before.key)[1]
            self.pieces = self.stream.pieces(shuffle_key, first, self.plan.batch_size)
        x, y = next(self.pieces)
        dtype = floating_dtype(before.params)
        self.piece, self.first = prepared(self.plan.objective, before.params, (x, y), "data", dtype), int(before.step)
        state, losses = train_on_piece(self.plan, before, self.piece, self.numbers)
        found = None
        if first + len(x) >= len(self.stream):
            self.pieces = None
            state, found = end_of_epoch(self.plan, state, self.held_out, self.numbers)
        return state, self.noted(before, jax.device_get(chunk_of(losses, found, state)))

    def called(self, state: TrainState, budget: int) -> tuple[TrainState, Chunk]:
        """So many steps of the piece that was read last, again."""
        assert self.piece is not None
        rows = jax.tree.map(lambda leaf: leaf[: budget * self.plan.batch_size], self.piece)
        state, losses = train_on_piece(self.plan, state, rows, self.numbers)
        return state, chunk_of(losses, None, state)

    def batch(self, state: TrainState) -> Rows:
        first = (int(state.step) - self.first) * self.plan.batch_size
        return jax.tree.map(lambda leaf: leaf[first : first + self.plan.batch_size], self.piece)


def told(plan: Plan, rows: Rows | Stream, held_out: Rows | None, *numbers: Any) -> dict[str, Any]:
    """What makes two runs the same run, as far as it can be written down."""
    names = ("learning_rate", "strength", "clip_norm", "patience", "min_improvement")
    given = {name: None if n is None else np.asarray(n).tolist() for name, n in zip(names, numbers, strict=True)}
    return {
        "objective": None if plan.objective is None else repr(plan.objective),
        "gradient": type(plan.value_and_grad).__name__,
        "optimizer": repr(plan.optimizer) if isinstance(plan.optimizer, Optimizer) else "of the user",
        "batch_size": plan.batch_size,
        "accumulate": plan.accumulate,
        "monitor": plan.monitor,
        "data": _digest(rows),
        "validation": None if held_out is None else _digest(held_out),
        **given,
    }


def _digest(rows: Rows | Stream) -> str:
    found = hashlib.sha256()
    if isinstance(rows, Stream):
        # too much to read for this: its length and its first rows stand for it
        found.update(f"{len(rows)} {rows.rows}".encode())
        rows = Rows(*rows.piece(np.arange(min(len(rows), 8))))
    for leaf in jax.tree.leaves(rows):
        found.update(f"{leaf.shape}{leaf.dtype}".encode())
        found.update(np.ascontiguousarray(np.asarray(leaf)).view(np.uint8).data)
    return found.hexdigest()
