"""One process of the experiment: `python -m experiments.scale.child WHAT JSON`; it prints JSON at the end."""

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

import fnn
from experiments.scale import collectives, equalities, model
from experiments.scale.equalities import ADAM, BATCH, digest, digits, mesh


def seconds(run: Sequence[Callable[[], Any]], *, again: int) -> list[list[float]]:
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
    return {"members": members, "epochs": epochs, "one": times[0], "two": times[1]}


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


def megabytes() -> float:
    """The most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def programs(devices: int) -> dict[str, Any]:
    """The collectives of the programs of `fit` and `sweep`, and what it took to compile them."""
    found: dict[str, Any] = {"fit": {}, "sweep": [], "compiled": {}}

    def read(name: str, train: Callable[[], Any]) -> list[dict[str, Any]]:
        began = time.perf_counter()
        text = collectives.text_of(train)
        found["compiled"][name] = {"seconds": time.perf_counter() - began, "megabytes": megabytes()}
        return [each._asdict() for each in collectives.read(text)]

    gradient = fnn.backprop(fnn.mlp(64, 32, 10), "softmax_cross_entropy")
    options = {"over": {"seed": range(devices)}, "optimizer": ADAM(1e-3), "epochs": 1, "batch_size": BATCH}
    found["sweep"] = read("sweep", lambda: fnn.sweep(gradient, digits(), mesh=mesh(devices), **options))
    for name, (sizes, usual) in model.NETS.items():
        # a row for each device: what does not divide by the devices gathers its labels, four bytes a row
        batch = max(usual, devices)
        gradient = fnn.backprop(fnn.mlp(list(sizes)), "softmax_cross_entropy")
        params = jax.jit(gradient.net.init)(jax.random.key(0))
        rows = np.zeros((3 * batch, sizes[0]), np.float32), np.zeros(3 * batch, np.int32)
        found["fit"][name] = read(
            name,
            lambda params=params, rows=rows, gradient=gradient, batch=batch: fnn.fit(
                gradient, params, rows, optimizer=fnn.optimizers.adam(1e-3), epochs=1, batch_size=batch,
                key=jax.random.key(1), mesh=mesh(devices),
            ),
        )  # fmt: skip
    return found


def virtual(devices: int) -> dict[str, Any]:
    """Twenty steps of the small net on many devices: time and memory."""
    gradient = fnn.backprop(fnn.mlp(64, 32, 10), "softmax_cross_entropy")
    params = jax.jit(gradient.net.init)(jax.random.key(0))
    images, labels = digits()
    few = images[: 10 * 128], labels[: 10 * 128]

    def one() -> Any:
        return fnn.fit(
            gradient, params, few, optimizer=fnn.optimizers.adam(1e-3), epochs=2, batch_size=128,
            key=jax.random.key(1), mesh=mesh(devices),
        )  # fmt: skip

    return {"step": seconds([one], again=1)[0][0] / 20, "megabytes": megabytes()}


class Rows:
    """Rows that are computed when they are read, and counted; of some, reading fails or takes long, once."""

    def __init__(self, count: int, waits: float = 0, *, fails: bool = False) -> None:
        self.shape: tuple[int, ...] = (count, 8)
        self.read = self.times = 0
        self.waits, self.fails = waits, fails

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        self.read += len(numbers)
        # what a run is known by is read in two looks; then comes piece after piece
        self.times += 1
        if self.times == 4:
            time.sleep(self.waits)
            if self.fails:
                raise OSError("the disk of the second process")
        return np.sin(np.asarray(numbers)[:, None] * np.arange(1, 9)).astype(np.float32)


class Labels(Rows):
    """Their labels."""

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        return (np.asarray(numbers) % 3 == 0).astype(np.int32)


def stream(rows: int, waits: float = 0, *, fails: bool = False) -> dict[str, Any]:
    """One epoch of rows that are read by those who need them."""
    x, y = Rows(rows, waits, fails=fails), Labels(rows)
    y.shape = (rows,)
    gradient = fnn.backprop(fnn.mlp(8, 16, 2), "softmax_cross_entropy")
    params = jax.jit(gradient.net.init)(jax.random.key(0))
    state, history = fnn.fit(
        gradient, params, fnn.Stream(x, y), optimizer=fnn.optimizers.adam(1e-3), epochs=1, batch_size=1024,
        key=jax.random.key(1), mesh=mesh(),
    )  # fmt: skip
    return {"bytes": 8 * 4 * x.read, "digest": digest((state.params, history.step_loss))}


@contextlib.contextmanager
def stop_said() -> Iterator[None]:
    """Where a signal ends the run, the step at which it stopped is printed."""
    try:
        yield
    except SystemExit as stop:
        state: Any = getattr(stop, "state", None)
        print(json.dumps({"stopped at": state and [int(state.epoch), int(state.step)]}), flush=True)
        raise


def long_run(folder: str, epochs: int, moved: float = 0, clip_norm: float | None = None) -> dict[str, Any]:
    """A run that may be killed, with a checkpoint after every call."""
    gradient = fnn.backprop(fnn.mlp(64, 128, 10, activation="gelu"), "softmax_cross_entropy")
    params = jax.jit(gradient.net.init)(jax.random.key(0))
    images, labels = (each[:640] for each in digits())
    said: list[None] = []

    def on_epoch(number: int, values: dict[str, float]) -> None:
        if not said:
            said.append(print("training", flush=True))
        # long enough to be killed, however fast the machine is
        time.sleep(0.02)

    with stop_said():
        state, history = fnn.fit(
            gradient, params, (images + np.float32(moved), labels), optimizer=fnn.optimizers.adam(1e-3), epochs=epochs,
            batch_size=BATCH, key=jax.random.key(1), mesh=mesh(), on_epoch=on_epoch, clip_norm=clip_norm,
            checkpoints=fnn.Checkpoints(folder, every_seconds=0.0),
        )  # fmt: skip
    return {"digest": digest((state.params, state.optimizer_state, history))}


def long_sweep(folder: str, epochs: int) -> dict[str, Any]:
    """A sweep that may be killed, with a checkpoint after every call."""
    gradient = fnn.backprop(fnn.mlp(64, 32, 10), "softmax_cross_entropy")
    found = fnn.sweep(
        gradient, digits(), over={"seed": range(16)}, optimizer=ADAM(1e-3), epochs=epochs, batch_size=BATCH,
        mesh=mesh(), checkpoints=fnn.Checkpoints(folder, every_seconds=0.0),
    )  # fmt: skip
    return {"digest": digest((found.params, found.metrics))}


def short_run() -> dict[str, Any]:
    """280 steps: its bits, and its losses."""
    gradient = fnn.backprop(fnn.mlp(64, 32, 10, activation="tanh"), "softmax_cross_entropy")
    params = jax.jit(gradient.net.init)(jax.random.key(0))
    state, history = fnn.fit(
        gradient, params, digits(), optimizer=fnn.optimizers.adam(1e-3), epochs=5, batch_size=BATCH,
        key=jax.random.key(1), mesh=mesh(),
    )  # fmt: skip
    return {"digest": digest((state.params, state.optimizer_state)), "losses": history.step_loss.ravel().tolist()}


KINDS: dict[str, Callable[..., dict[str, Any]]] = {
    "sweeps": sweeps, "steps": steps, "programs": programs, "virtual": virtual, "stream": stream,
    "long_run": long_run, "long_sweep": long_sweep, "short_run": short_run,
    "fits": equalities.fits, "members": equalities.members, "many": equalities.many,
}  # fmt: skip


def main(what: str, options: dict[str, Any]) -> dict[str, Any]:
    """Join the group, if there is one, and do it."""
    group = options.pop("group", None)
    if group is not None:
        address = f"127.0.0.1:{group['port']}"
        jax.distributed.initialize(
            address, group["processes"], group["number"], coordinator_bind_address=address,
            heartbeat_timeout_seconds=10, initialization_timeout=group["patience"],
        )  # fmt: skip
    return KINDS[what](**options)


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))
