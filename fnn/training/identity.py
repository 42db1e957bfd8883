"""What identifies a run: everything that its bits depend on, except the number of epochs. `checkpoints` compares it.

Promises: gradient, optimizer and metrics are compared by what they compute, their constants included; data by its
digest, a stream by its size and rows from all parts of it; the start by its bits. What cannot be read, such as a
callback, never counts as equal.
Letters: N rows.
"""

import hashlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.optimizers import Optimizer
from fnn.training.config import Job
from fnn.training.programs import fingerprint, optimizer_fingerprint
from fnn.training.state import Batch, TrainState
from fnn.training.stream import Stream
from fnn.types import PyTree, is_key

#: How many rows, evenly spread, represent a stream.
SAMPLED = 256
#: Fingerprints are comparable only within one release of JAX.
READ_BY_JAX = ("gradient", "optimizer", "metrics")
#: The fingerprint of a function that cannot be compared.
UNREADABLE = "not comparable"


def identity(job: Job, data: Batch | Stream, start: TrainState, *, on_nonfinite: str) -> dict[str, Any]:
    """The fields that identify a run in its checkpoints, in the order in which they are compared."""
    config, numbers = job.config, job.hyperparams._asdict()
    rows = data if isinstance(data, Batch) else _few(data)
    return {
        "objective": None if config.objective is None else repr(config.objective),
        "batch_size": config.batch_size,
        "accumulate": config.accumulate,
        "monitor": [config.monitor, config.sign] if config.monitor else "",
        "on_nonfinite": on_nonfinite,
        **{name: None if value is None else np.asarray(value).tolist() for name, value in numbers.items()},
        "metric names": sorted(name for name, _ in config.metrics),
        "data": _digest(data),
        "validation": None if job.validation is None else _digest(job.validation),
        "optimizer": _optimizer(job, start),
        "gradient": _read(config.gradient, start.params, rows, numbers["strength"], start.statistics, start.key),
        "metrics": [
            _read(partial(config.measured, *each), start.params, start.statistics, rows)
            for each in sorted(config.metrics, key=lambda each: each[0])
        ],
        "start (parameters, optimizer state, key)": digest(
            start._replace(best=None, mean_weight=None, epoch_shape=None)
        ),
    }


def digest(tree: PyTree) -> str:
    """SHA-256 of every array of a tree."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.ascontiguousarray(np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf))
        found.update(f"{array.shape}{array.dtype}".encode())
        found.update(array.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def _optimizer(job: Job, start: TrainState) -> str:
    """The optimizer by what it computes; a record also by its name, for messages."""
    optimizer = job.config.build(job.hyperparams.rate)
    name = repr(optimizer) + " " if isinstance(optimizer, Optimizer) else ""
    return name + (optimizer_fingerprint(optimizer, start.params) or UNREADABLE)


def _read(f: Any, *args: Any) -> str:
    return fingerprint(f, *args) or UNREADABLE


def _few(stream: Stream) -> Batch:
    piece = stream.piece(np.arange(min(len(stream), 2)))
    weights = None if piece.weights is None else jnp.asarray(piece.weights, jnp.float32)
    return Batch(piece.x, piece.y, weights)


def _digest(data: Batch | Stream) -> str:
    if not isinstance(data, Stream):
        return digest(data)
    # too much to read in full: rows from all parts of it represent it, with its size and its weights
    rows = np.unique(np.linspace(0, len(data) - 1, min(SAMPLED, len(data))).astype(np.int64))
    piece = data.piece(rows)
    return digest((piece.x, piece.y, np.asarray([len(data), data.rows]), data.weights, data.scale))
