"""One process of several: `python -m tests.training.group NUMBER PROCESSES PORT FOLDER PART`.

It trains with checkpoints, says when it begins, and prints JSON at the end.
"""

import hashlib
import json
import signal
import sys
import time

import jax
import numpy as np
from jax.sharding import Mesh

import fnn

X, Y = fnn.data.digits()
X, Y = X[:301], Y[:301]
NET = fnn.mlp(64, 128, 10, activation="tanh")
ADAM = fnn.optimizers.adam(1e-3)
#: Epochs of a run that is killed.
LONG = 20


class Counted:
    """Rows that count how often one is read."""

    def __init__(self, rows):
        self.rows, self.shape, self.read = rows, rows.shape, 0

    def __getitem__(self, numbers):
        self.read += len(numbers)
        return self.rows[numbers]


def digest(tree):
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()


def fit(**changed):
    params = jax.jit(NET.init)(jax.random.key(0))
    options = {
        "data": (X, Y), "epochs": 3, "mesh": Mesh(np.array(jax.devices()), ("data",)), "optimizer": ADAM,
        "batch_size": 32, "key": jax.random.key(1),
    }  # fmt: skip
    return fnn.fit(fnn.backprop(NET, "softmax_cross_entropy"), params, **options | changed)


def sweep(**changed):
    options = {
        "over": {"seed": range(3)}, "optimizer": ADAM, "epochs": 1, "batch_size": 32,
        "mesh": Mesh(np.array(jax.devices()), ("data",)),
    }  # fmt: skip
    return fnn.sweep(fnn.backprop(NET, "softmax_cross_entropy"), (X, Y), **options | changed)


class Signalling(Counted):
    """Rows whose reading brings a signal, from the third piece on: the first ones are read before the first step."""

    def __getitem__(self, numbers):
        if self.read > 300:
            signal.raise_signal(signal.SIGTERM)
        return super().__getitem__(numbers)


def refusal(train=fit, **changed):
    try:
        train(**changed)
    except (Exception, SystemExit) as error:
        state = getattr(error, "state", None)
        where = f" after {int(state.epoch)} epochs, {int(state.step)} steps" if isinstance(error, SystemExit) else ""
        return f"{type(error).__name__}: {error}{where}"
    return "none"


def fails_in_the_first(number, metrics):
    raise ValueError("of the user's own")


def enough(number, metrics):
    if number == 3:
        raise fnn.StopTraining


def long_run(folder, *, killed):
    """A run that may be killed: then it takes long enough for that."""

    def on_epoch(number, metrics):
        if not said:
            said.append(print("training", flush=True))
        time.sleep(0.2 if killed else 0)

    said = []
    state, history = fit(
        epochs=LONG, on_epoch=on_epoch, checkpoints=fnn.Checkpoints(f"{folder}/run", every_seconds=0.0)
    )
    return digest((state.params, state.optimizer_state, history))


def main(number, processes, port, folder, part):
    if processes > 1:
        address = f"127.0.0.1:{port}"
        jax.distributed.initialize(
            address, processes, number, coordinator_bind_address=address, heartbeat_timeout_seconds=10
        )
    found = {"run": long_run(folder, killed=part == "killed")}
    if part != "all":
        return found
    stream = fnn.Stream(Counted(X), Y, rows=64)
    found["memory"], found["stream"] = (digest(fit(data=data)[0].params) for data in ((X, Y), stream))
    # what a run is known by takes some rows from all over the stream
    found["read"] = stream.x.read
    swept = sweep()
    found["sweep"] = digest((swept.params, swept.metrics))
    by_outputs = Mesh(np.array(jax.devices())[None], ("data", "model"))
    kept = fnn.Checkpoints(f"{folder}/wide")
    fit(mesh=by_outputs, epochs=1, checkpoints=kept)
    state, _ = fit(mesh=by_outputs, epochs=2, checkpoints=kept)
    whole, _ = fit(mesh=by_outputs, epochs=2)
    same = jax.jit(lambda a, b: jax.tree.reduce(lambda s, e: s & e, jax.tree.map(lambda p, q: (p == q).all(), a, b)))
    found["wide"] = bool(same(state.params, whole.params))
    if processes > 1:
        mine = number == 1
        bad = X.copy()
        bad[3, 3] = np.nan
        found["refused"] = {
            "data": refusal(data=(X + 1, Y) if mine else (X, Y)),
            "option": refusal(clip_norm=1.0 if mine else 2.0),
            "length": refusal(data=fnn.Stream(X[:200], Y[:200]) if mine else fnn.Stream(X, Y)),
            "row": refusal(data=(bad, Y) if mine else (X, Y)),
            # the first process alone looks at these
            "log": refusal(log=folder),
            "folder": refusal(checkpoints=fnn.Checkpoints(__file__)),
            "folder of a sweep": refusal(sweep, checkpoints=fnn.Checkpoints(__file__)),
            "sweep": refusal(sweep, batch_size=0 if mine else 32),
            "callback": refusal(on_epoch=fails_in_the_first),
            "epochs": refusal(epochs=2 if mine else 3),
            # of two batches each piece
            "signal": refusal(data=fnn.Stream(Signalling(X) if mine else X, Y, rows=64)),
        }
    found["enough"] = digest(fit(on_epoch=enough, epochs=9)[0].params)
    return found


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:4]), *sys.argv[4:6])))
