"""One training run that may be killed: `python -m experiments.faults.child FOLDER EPOCHS`.

It prints "training" when it starts or resumes the run, and at the end the SHA-256 of the bytes of all parameters and of
the curves.
"""

import hashlib
import signal
import sys
from typing import Any

import jax
import numpy as np
import optax

import fnn
from fnn.training import run as runs

OPTIMIZER = optax.adam(1e-3)


def main(folder: str, epochs: int) -> str:
    """Train, with a checkpoint after every call of the compiled program; return the digest of the result."""
    images, labels = fnn.data.digits()
    net = fnn.mlp(64, 128, 64, 10, activation="gelu")
    # short calls, so that kills fall into every part of the work, the writing of checkpoints above all
    runs.SECONDS = 0.02
    said = False

    def on_epoch(number: int, found: dict[str, float]) -> None:
        nonlocal said
        if not said:
            print(f"training, epoch {number}", flush=True)
            said = True

    state, history = fnn.fit(
        fnn.backprop(net, "softmax_cross_entropy"), net.init(jax.random.key(0)), (images[:1500], labels[:1500]),
        optimizer=OPTIMIZER, epochs=epochs, batch_size=32, key=jax.random.key(1),
        validation=(images[1500:], labels[1500:]), patience=epochs, on_epoch=on_epoch,
        checkpoints=fnn.Checkpoints(folder, every_seconds=0.0),
    )  # fmt: skip
    return digest((state.params, state.optimizer_state, history))


def digest(tree: Any) -> str:
    """SHA-256 of the bytes of every array."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    if len(sys.argv) > 3:
        # a limit on the size of files stands for a disk that is full
        import resource

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
    try:
        print(main(sys.argv[1], int(sys.argv[2])))
    except fnn.CheckpointError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
