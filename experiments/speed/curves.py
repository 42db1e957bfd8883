"""Time and memory of training against width, depth, batch, rows and runs: one curve each, everything else held."""

import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import fnn
from experiments.progress import Watch
from experiments.speed import Options

#: What is varied -> its values. The stream comes first: of memory only the largest so far is known.
AXES: dict[str, tuple[int, ...]] = {
    "rows, streamed": (1_000, 10_000, 100_000, 1_000_000, 10_000_000),
    "width": (16, 64, 256, 1024, 4096),
    "depth": (1, 8, 64, 512),
    "batch": (1, 16, 256, 4096, 65_536),
    "runs": (1, 4, 16, 64, 256, 1024),
}
#: What bounds each curve.
BOUNDS = {
    "rows, streamed": "Time grows with the rows, each of which is read, put in order and trained on once; memory is "
    "that of three pieces, whatever their number.",
    "width": "Below 64 the hundred or so operations of a step cost more than what they compute; from 1024 on the "
    "matrix products are nearly everything, and time grows with the square of the width.",
    "depth": "Time grows with depth, as the layers wait for each other; the program is that of one layer, so the time "
    "to compile it does not.",
    "batch": "Small batches are many small products, each with its own cost to begin; from some thousand rows on the "
    "cores are busy, and larger batches gain nothing.",
    "runs": "Time grows with the runs: the products of small nets are taken one by one; the memory that was allowed "
    "cuts many runs into several calls.",
}
OPTIMIZER = fnn.optimizers.adam(1e-3)


def measure(options: Options, watch: Watch) -> dict[str, list[dict[str, float]]]:
    """axis -> one record per value: milliseconds per epoch, seconds to the first epoch, megabytes."""
    found: dict[str, list[dict[str, float]]] = {}
    for axis, values in AXES.items():
        kept = [value for value in values if value <= options.largest]
        found[axis] = []
        for k, value in enumerate(kept):
            found[axis].append({"value": value} | _timed(_training(axis, value), options.seconds))
            watch(axis, k + 1, len(kept), f"{found[axis][-1]['milliseconds']:.3g} ms an epoch")
    return found


def _training(axis: str, value: int) -> Callable[[int], Any]:
    """The function of a number of epochs that trains with this value of this axis."""
    if axis == "width":
        return _fit(fnn.mlp(64, value, value, 10), 128, 1280)
    if axis == "depth":
        layers = fnn.repeated(fnn.dense(64, 64, activation="tanh"), value)
        return _fit(fnn.sequential(layers, fnn.dense(64, 10)), 128, 1280)
    if axis == "batch":
        return _fit(fnn.mlp(64, 32, 10), value, 65_536)
    if axis == "runs":
        x, y = _data(1792, 64)
        gradient = fnn.backprop(fnn.mlp(64, 32, 10), "softmax_cross_entropy")
        return lambda epochs: fnn.sweep(
            gradient, (x, y), over={"seed": range(value)}, optimizer=OPTIMIZER, epochs=epochs, batch_size=32
        )
    source = _Made(value)
    net = fnn.mlp(16, 32, 2)
    gradient, params = fnn.backprop(net, "softmax_cross_entropy"), net.init(jax.random.key(0))
    stream = fnn.Stream(source, source.labels, 65_536)
    return lambda epochs: fnn.fit(
        gradient, params, stream, optimizer=OPTIMIZER, epochs=epochs, batch_size=min(1000, value),
        key=jax.random.key(1),
    )  # fmt: skip


def _fit(net: fnn.Layer, batch: int, rows: int) -> Callable[[int], Any]:
    data, params = _data(rows, 64), net.init(jax.random.key(0))
    gradient = fnn.backprop(net, "softmax_cross_entropy")
    return lambda epochs: fnn.fit(
        gradient, params, data, optimizer=OPTIMIZER, epochs=epochs, batch_size=batch, key=jax.random.key(1)
    )


def _data(rows: int, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(size=(rows, inputs)).astype(np.float32), random.integers(0, 10, rows).astype(np.int32)


class _Made:
    """A source that makes its rows when they are asked for, so that no disk is measured."""

    def __init__(self, rows: int) -> None:
        self.rows, self.labels = rows, _Labels(rows)

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return np.sin(rows[:, None] * np.arange(1, 17)).astype(np.float32)


class _Labels(_Made):
    """The labels of those rows."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return (np.sin(rows) > 0).astype(np.int32)


def _timed(train: Callable[[int], Any], seconds: float) -> dict[str, float]:
    """The first epoch with compilation; then as many as fit into the time; what the process grew to."""
    jax.clear_caches()
    began = time.perf_counter()
    train(1)
    first = time.perf_counter() - began
    began = time.perf_counter()
    train(1)
    one = time.perf_counter() - began
    epochs = max(1, min(200, round(seconds / one)))
    began = time.perf_counter()
    train(epochs)
    taken = (time.perf_counter() - began) / epochs
    return {
        "milliseconds": 1e3 * taken,
        "first_epoch_seconds": first,
        # of the whole process, the largest so far
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
