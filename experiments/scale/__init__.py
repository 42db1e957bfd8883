"""Question: does a run on many devices or in many processes give what one device gives, and what does it cost?

Prediction: in every step the devices exchange the gradients and a number, no more on 64 devices than on two, and
nothing in a sweep; a sweep on two CPU devices takes at most 1/1.45 of the time on one; two processes give the bits of
one with two devices, and each reads half of the rows of a stream; a group of which a process is killed at any moment
ends within 20 s and goes on bit for bit; a signal to one process stops all at the same step.
Refuted by: one collective more; a sweep that is slower; a group that hangs, or goes on with other bits.
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments import frame

# ---- the head: options and claims, read without JAX -----------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Many devices and processes: speed, exchanges, kills.

    Twenty kills take about ten minutes on two cores; the times need a machine that does nothing else.
    """

    kills: int = frame.at_least(1, 20)
    """How many times a random process of a group is killed at a random moment."""
    epochs: int = frame.at_least(1, 150)
    """Length of a run that is killed."""
    pairs: int = frame.at_least(1, 7)
    """How many times one device and two are timed in turn."""
    rows: int = frame.at_least(2048, 1_000_000)
    """Of the stream."""
    devices: int = frame.at_least(2, 64)
    """The most virtual devices whose programs are read."""


EXPERIMENT = frame.Experiment(
    Options,
    precision=None,
    apart=True,
)

# ---- the experiment -------------------------------------------------------------------------------------------------

from rich.console import Console
from rich.table import Table

from experiments.frame import Prediction
from experiments.progress import Watch, silent
from experiments.scale import model

#: Seconds within which every process of a group must have ended after one was killed; the heartbeat is 10 s.
SOON = 20
#: A model of the time is taken to hold if it is right within this factor.
WITHIN = 3


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Measure speed, exchanges, streams, kills and signals, each in processes of its own."""
    order = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        load = os.getloadavg()[0]
        speed = [
            alone("sweeps", 2, {"members": members, "epochs": 10, "pairs": options.pairs}) for members in (64, 256)
        ]
        watch("sweeps", 1, 1, "")
        steps = [
            alone("steps", 4, {"sizes": list(sizes), "batch": batch, "devices": [1, 2, 4], "epochs": 5})
            for sizes, batch in model.NETS.values()
        ]
        watch("steps", 1, 1, "")
        programs = {str(n): alone("programs", n, {"devices": n}) for n in (2, options.devices)}
        watch("programs", 1, 1, "")
        stream = {
            "two processes": ended(group("stream", {"rows": options.rows})),
            "one process": [alone("stream", 2, {"rows": options.rows})],
        }
        watch("stream", 1, 1, "")
        whole = ended(group("long_run", {"folder": str(place / "whole"), "epochs": options.epochs}))
        kills = []
        for number in range(options.kills):
            kills.append(killed(place / f"run {number}", options.epochs, order, whole))
            watch("kills", number + 1, options.kills, f"{sum(not each['same_bits'] for each in kills)} of other bits")
        stopped = signalled(place / "signal", options.epochs, whole)
        watch("signal", 1, 1, "")
    return {
        "programs": programs, "stream": stream, "kills": kills, "signal": stopped,
        # here and not in "measured", for they are judged
        "times": {"load": load, "sweeps": speed, "steps": steps},
    }  # fmt: skip


def started(what: str, devices: int, options: dict[str, Any]) -> subprocess.Popen:
    # one thread for each process of a group, so that the bits do not depend on how many there are
    threads = {} if what in ("sweeps", "steps", "programs") else {"NPROC": "1"}
    environment = {**os.environ, **threads, "JAX_NUM_CPU_DEVICES": str(devices), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "experiments.scale.child", what, json.dumps(options)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def group(what: str, options: dict[str, Any], processes: int = 2) -> list[subprocess.Popen]:
    """Processes of one device each, that find each other on this machine alone."""
    port = random.SystemRandom().randint(20_000, 60_000)
    return [
        started(what, 1, options | {"group": {"number": number, "processes": processes, "port": port}})
        for number in range(processes)
    ]


def ended(processes: list[subprocess.Popen]) -> list[dict[str, Any]]:
    """What processes printed that are left to finish."""
    ends = [each.communicate(timeout=1800) for each in processes]
    if any(each.returncode for each in processes):
        raise RuntimeError(f"a process failed: {[error[-1000:] for _, error in ends]}")
    return [json.loads(out.splitlines()[-1]) for out, _ in ends]


def alone(what: str, devices: int, options: dict[str, Any]) -> dict[str, Any]:
    return ended([started(what, devices, options)])[0]


def begun(processes: list[subprocess.Popen]) -> None:
    """Until the first process says that it trains."""
    out = processes[0].stdout
    assert out is not None
    while select.select([out], [], [], 600)[0] and (line := out.readline()):
        if "training" in line:
            return
    raise RuntimeError(f"the group did not begin: {[each.communicate()[1][-1000:] for each in processes]}")


def left(processes: list[subprocess.Popen]) -> dict[str, Any]:
    """How all end, and how long it takes."""
    began = time.monotonic()
    errors = []
    for each in processes:
        try:
            errors.append(each.communicate(timeout=3 * SOON)[1])
        except subprocess.TimeoutExpired:
            each.kill()
            errors.append(each.communicate()[1] + "(it hung)")
    return {
        "soon": time.monotonic() - began < SOON, "status": [each.returncode for each in processes],
        "said": ["GroupError: another process of the group is gone" in error for error in errors],
    }  # fmt: skip


def killed(folder: Path, epochs: int, order: random.Random, whole: list[dict[str, Any]]) -> dict[str, Any]:
    """Kill one of two at a random moment, and start both again."""
    options = {"folder": str(folder), "epochs": epochs}
    processes, rank = group("long_run", options), order.randrange(2)
    begun(processes)
    time.sleep(order.uniform(0, 1))
    ran_out = processes[rank].poll() is not None
    processes[rank].kill()
    found = left(processes)
    halves = len(list(folder.glob("*.part")))
    same = ended(group("long_run", options)) == whole
    return found | {"rank": rank, "ran_out": ran_out, "half_written": halves, "same_bits": same}


def signalled(folder: Path, epochs: int, whole: list[dict[str, Any]]) -> dict[str, Any]:
    """SIGTERM to the second of two."""
    options = {"folder": str(folder), "epochs": epochs}
    processes = group("long_run", options)
    begun(processes)
    processes[1].send_signal(signal.SIGTERM)
    found = left(processes)
    return found | {
        "checkpoints": len(list(folder.glob("*.json"))), "same_bits": ended(group("long_run", options)) == whole
    }  # fmt: skip


def gain(times: dict[str, Any]) -> float:
    """How many times as fast two devices are, the median of the pairs."""
    ratios = sorted(one / two for one, two in zip(times["one"], times["two"], strict=True))
    return ratios[len(ratios) // 2]


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    kills, programs, stream = result["kills"], result["programs"], result["stream"]
    in_steps = {
        name: [[each for each in found["fit"][name] if each["where"] == "step"] for found in programs.values()]
        for name in model.NETS
    }
    sizes = {name: 4 * (model.parameters(net) + 1) for name, (net, _) in model.NETS.items()}
    two, one = stream["two processes"], stream["one process"][0]
    return {
        "exchange": Prediction(
            "in a step devices exchange the gradients and one number, on however many devices",
            all(
                [each["kind"] for each in step] == ["all-reduce"] and step[0]["bytes"] == sizes[name]
                for name, found in in_steps.items() for step in found
            ),
        ),
        "nothing": Prediction(
            "in a sweep they exchange nothing", not any(found["sweep"] for found in programs.values())
        ),
        "sweeps": Prediction(
            "sweeps of 64 and 256 nets on two devices are at least 1.45 times as fast as on one",
            all(gain(each) >= 1.45 for each in result["times"]["sweeps"]),
        ),
        "stream": Prediction(
            "each of two processes reads at most 55 % of the rows, and the result is that of one",
            all(each["digest"] == one["digest"] and each["read"] <= 0.55 * one["read"] for each in two),
        ),
        "kills": Prediction(
            f"{len(kills)} kills: all processes end within {SOON} s with a status that is not 0, the others with a "
            "sentence, and go on bit for bit",
            all(
                each["soon"] and each["same_bits"] and (each["ran_out"] or 0 not in each["status"])
                and (each["ran_out"] or each["said"][1 - each["rank"]] or each["rank"] == 0)
                for each in kills
            ),
        ),
        "signal": Prediction(
            "SIGTERM to one process stops both with a checkpoint, and they go on bit for bit",
            result["signal"]["same_bits"] and result["signal"]["status"] == [143, 143]
            and result["signal"]["checkpoints"] > 0,
        ),
        "model": Prediction(
            f"four devices take what the model says from one and two, within a factor of {WITHIN}",
            all(1 / WITHIN <= off <= WITHIN for off in map(off_model, result["times"]["steps"])),
        ),
    }  # fmt: skip


def off_model(steps: dict[str, Any]) -> float:
    """Measured over predicted for four devices; rate and latency are those that fit one device and two."""
    one, two, four = steps["seconds"]
    cores = min(os.cpu_count() or 1, 4)
    # two turns of a ring of two, six of a ring of four; what is computed divides by cores, not by devices
    turn = max(two - one / min(cores, 2), 0) / 2
    return four / (one / cores + 6 * turn)


def show(saved: dict[str, Any], console: Console) -> None:
    """Print what was measured."""
    result = saved["result"]
    measured = result["times"]
    table = Table("step of", "batch", *(f"{n} devices, ms" for n in (1, 2, 4)))
    for each in measured["steps"]:
        table.add_row(str(each["sizes"]), str(each["batch"]), *(f"{1e3 * s:.3f}" for s in each["seconds"]))
    console.print(table)
    for each in measured["sweeps"]:
        console.print(f"sweep of {each['members']} nets: two devices {gain(each):.2f} × as fast as one")
    console.print(f"load of the machine before: {measured['load']:.1f}", highlight=False)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """{file name: figure}: what the model says of large machines."""
    from experiments import figures

    figure, ((axes,),) = figures.blank(6, 4)
    numbers = [2**k for k in range(11)]
    for name, (sizes, batch) in model.NETS.items():
        # 64 times the batch: there devices are worth thinking of at all
        axes.plot(numbers, [1e3 * model.step(model.HOSTS, sizes, 64 * batch, n) for n in numbers], "o-", label=name)
    axes.set(xlabel="devices", ylabel="ms a step (model)", xscale="log", yscale="log", title="Where devices pay")
    axes.legend()
    return {"model.svg": figure}
