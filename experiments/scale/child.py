"""One process of the experiment: `python -m experiments.scale.child WHAT JSON`; it prints JSON at the end."""

import hashlib
import json
import sys
import time
from typing import Any

import jax
import numpy as np
import optax
from jax.sharding import Mesh

import fnn
from experiments.scale import collectives, model

#: Members of a sweep, rows, batch: those of the first measurement.
ROWS, BATCH, ADAM = 1792, 32, optax.adam


def mesh(devices: int | None = None) -> Mesh:
    return Mesh(np.array(jax.devices()[:devices]), ("data",))


def digits() -> tuple[np.ndarray, np.ndarray]:
    images, labels = fnn.data.digits()
    return images[:ROWS], labels[:ROWS]


def digest(tree: Any) -> str:
    """SHA-256 of the bytes of every array."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()


def seconds(run: Any, *, again: int) -> list[list[float]]:
    """Times of each of these runs, taken in turn, after one that compiles."""
    for each in run:
        each()
    times: list[list[float]] = [[] for _ in run]
    for _ in range(again):
        for each, found in zip(run, times, strict=True):
            began = time.perf_counter()
            each()
            found.append(time.perf_counter() - began)
    return times


def sweeps(members: int, epochs: int, pairs: int) -> dict[str, Any]:
    """One device and two, in turn in one process."""
    gradient = fnn.backprop(fnn.mlp(64, 32, 10), "softmax_cross_entropy")

    def one(on: Mesh | None) -> Any:
        over = {"seed": range(members), "learning_rate": [1e-3] * members}
        return fnn.sweep(gradient, digits(), over=over, optimizer=ADAM, epochs=epochs, batch_size=BATCH, mesh=on)

    times = seconds([lambda: one(None), lambda: one(mesh(2))], again=pairs)
    return {"members": members, "one": times[0], "two": times[1]}


def steps(sizes: list[int], batch: int, devices: list[int], epochs: int) -> dict[str, Any]:
    """Seconds of a step of `fit` on each number of devices."""
    gradient = fnn.backprop(fnn.mlp(sizes), "softmax_cross_entropy")
    params = jax.jit(gradient.net.init)(jax.random.key(0))
    rows = np.random.default_rng(0).normal(size=(8 * batch, sizes[0])).astype(np.float32)
    data = rows, np.arange(len(rows)) % sizes[-1]
    options = {"optimizer": fnn.optimizers.adam(1e-4), "epochs": epochs, "batch_size": batch, "key": jax.random.key(1)}

    def one(count: int) -> Any:
        return fnn.fit(gradient, params, data, mesh=mesh(count) if count > 1 else None, **options)

    runs = [lambda count=count: one(count) for count in devices]
    times = seconds(runs, again=3)
    return {
        "sizes": sizes, "batch": batch, "devices": devices, "steps": 8 * epochs,
        "seconds": [min(each) / (8 * epochs) for each in times],
    }  # fmt: skip


def programs(devices: int) -> dict[str, Any]:
    """What devices exchange in the programs of `fit` and `sweep`, from their texts; nothing is run."""
    found: dict[str, Any] = {}
    for name, (sizes, batch) in model.NETS.items():
        gradient = fnn.backprop(fnn.mlp(list(sizes)), "softmax_cross_entropy")
        params = jax.jit(gradient.net.init)(jax.random.key(0))
        rows = np.zeros((3 * batch, sizes[0]), np.float32), np.zeros(3 * batch, np.int32)
        text = collectives.text_of(
            lambda params=params, rows=rows, gradient=gradient, batch=batch: fnn.fit(
                gradient, params, rows, optimizer=fnn.optimizers.adam(1e-3), epochs=1, batch_size=batch,
                key=jax.random.key(1), mesh=mesh(devices),
            )
        )  # fmt: skip
        found[name] = [each._asdict() for each in collectives.read(text)]
    gradient = fnn.backprop(fnn.mlp(64, 32, 10), "softmax_cross_entropy")
    options = {"over": {"seed": range(devices)}, "optimizer": ADAM(1e-3), "epochs": 1, "batch_size": BATCH}
    text = collectives.text_of(lambda: fnn.sweep(gradient, digits(), mesh=mesh(devices), **options))
    return {"fit": found, "sweep": [each._asdict() for each in collectives.read(text)]}


class Rows:
    """Rows that are computed when they are read, and counted."""

    def __init__(self, count: int) -> None:
        self.shape: tuple[int, ...] = (count, 8)
        self.read = 0

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        self.read += len(numbers)
        return np.sin(np.asarray(numbers)[:, None] * np.arange(1, 9)).astype(np.float32)


class Labels(Rows):
    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        return (np.asarray(numbers) % 3 == 0).astype(np.int32)


def stream(rows: int) -> dict[str, Any]:
    """One epoch of rows that are read by those who need them."""
    x, y = Rows(rows), Labels(rows)
    y.shape = (rows,)
    gradient = fnn.backprop(fnn.mlp(8, 16, 2), "softmax_cross_entropy")
    params = jax.jit(gradient.net.init)(jax.random.key(0))
    state, history = fnn.fit(
        gradient, params, fnn.Stream(x, y), optimizer=fnn.optimizers.adam(1e-3), epochs=1, batch_size=1024,
        key=jax.random.key(1), mesh=mesh(),
    )  # fmt: skip
    return {"read": x.read, "digest": digest((state.params, history.step_loss))}


def long_run(folder: str, epochs: int) -> dict[str, Any]:
    """A run that may be killed, with a checkpoint after every call."""
    gradient = fnn.backprop(fnn.mlp(64, 128, 64, 10, activation="gelu"), "softmax_cross_entropy")
    params = jax.jit(gradient.net.init)(jax.random.key(0))
    said: list[None] = []

    def on_epoch(number: int, values: dict[str, float]) -> None:
        if not said:
            said.append(print("training", flush=True))

    state, history = fnn.fit(
        gradient, params, digits(), optimizer=fnn.optimizers.adam(1e-3), epochs=epochs, batch_size=BATCH,
        key=jax.random.key(1), mesh=mesh(), on_epoch=on_epoch,
        checkpoints=fnn.Checkpoints(folder, every_seconds=0.0),
    )  # fmt: skip
    return {"digest": digest((state.params, state.optimizer_state, history))}


def main(what: str, options: dict[str, Any]) -> dict[str, Any]:
    group = options.pop("group", None)
    if group is not None:
        address = f"127.0.0.1:{group['port']}"
        jax.distributed.initialize(
            address, group["processes"], group["number"], coordinator_bind_address=address,
            heartbeat_timeout_seconds=10,
        )  # fmt: skip
    kinds = {"sweeps": sweeps, "steps": steps, "programs": programs, "stream": stream, "long_run": long_run}
    return kinds[what](**options)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))
