"""One sweep that may be interrupted: `python -m experiments.faults.sweeping`.

It prints "sweeping" when it starts, "finished N" whenever N of its runs are finished, and at the end, or after Ctrl-C,
a line of JSON: the SHA-256 of parameters and curves of every run returned, by its seed.
"""

import json
import signal
from typing import Any

import optax

import fnn
from experiments.faults.child import digest
from fnn.training import SweepResult, _sweep
from fnn.training import run as runs

#: Nets of different widths are groups that train one after another; those of equal width train side by side.
WIDTHS, SEEDS, EPOCHS = (8, 12, 16, 20), 3, 12


def main() -> SweepResult | None:
    """Sweep; return all runs, or those that were finished."""
    images, labels = fnn.data.digits()
    gradients = [
        fnn.backprop(fnn.mlp(64, width, 10), "softmax_cross_entropy") for width in WIDTHS for _ in range(SEEDS)
    ]
    # short calls, so that signals fall into every part of the work
    runs.SECONDS = 0.02
    done, members = 0, _sweep._members

    def counted(*args: Any) -> dict[int, Any]:
        nonlocal done
        found = members(*args)
        done += len(found)
        print(f"finished {done}", flush=True)
        return found

    _sweep._members = counted
    # a process in the background of a shell may have been started to ignore it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print("sweeping", flush=True)
    try:
        return fnn.sweep(
            gradients, (images[:1000], labels[:1000]), over={"seed": list(range(len(gradients)))},
            optimizer=optax.adam(1e-3), epochs=EPOCHS, batch_size=50,
        )  # fmt: skip
    except KeyboardInterrupt as stopped:
        return getattr(stopped, "result", None)


def kept(result: SweepResult | None) -> dict[int, str]:
    """The digest of every run returned, by its seed."""
    if result is None:
        return {}
    curves = result.metrics["loss"]
    return {one["seed"]: digest((result.params[k], curves[k])) for k, one in enumerate(result.runs)}


if __name__ == "__main__":
    print(json.dumps(kept(main())))
