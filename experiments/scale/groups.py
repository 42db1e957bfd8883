"""Groups of real processes on this machine, which are killed, stopped, slowed down or given wrong data.

Promises: ports only on 127.0.0.1; a process that hangs is ended after three times the bound, and reported as hung.
"""

import atexit
import functools
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: Seconds without a sign of life after which the runtime gives a process up.
HEARTBEAT = 10
#: Seconds within which every process of a group must have ended after one was lost: two heartbeats.
SOON = 2 * HEARTBEAT
#: What is timed may use all cores; elsewhere each process has one thread, as the bits depend on how many there are.
FREE = ("sweeps", "steps", "programs", "virtual")


@functools.cache
def _compiled() -> str:
    """The folder of compiled programs, which later groups do not compile again."""
    folder = tempfile.mkdtemp(prefix="fnn-scale-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def started(what: str, devices: int, options: dict[str, Any]) -> subprocess.Popen:
    """A process of `experiments.scale.child` with this many CPU devices."""
    threads = {} if what in FREE else {"NPROC": "1", "JAX_COMPILATION_CACHE_DIR": _compiled()}
    environment = {**os.environ, **threads, "JAX_NUM_CPU_DEVICES": str(devices), "TF_CPP_MIN_LOG_LEVEL": "1"}
    command = [sys.executable, "-m", "experiments.scale.child", what, json.dumps(options)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def group(
    what: str, options: dict[str, Any], processes: int = 2, devices: int = 1, *,
    last: dict[str, Any] | None = None, port: int = 0, patience: int = 120,
) -> list[subprocess.Popen]:  # fmt: skip
    """Processes that find each other on this machine alone; the last one may be given options of its own."""
    port = port or random.SystemRandom().randint(20_000, 60_000)
    of_all = {"processes": processes, "port": port, "patience": patience}
    own = [{} for _ in range(processes - 1)] + [last or {}]
    return [
        started(what, devices, options | mine | {"group": of_all | {"number": number}})
        for number, mine in enumerate(own)
    ]


def ended(processes: list[subprocess.Popen]) -> list[dict[str, Any]]:
    """What processes print that are left to finish."""
    ends = [each.communicate(timeout=1800) for each in processes]
    if any(each.returncode for each in processes):
        raise RuntimeError(f"a process failed: {[error[-1000:] for _, error in ends]}")
    return [json.loads(out.splitlines()[-1]) for out, _ in ends]


def alone(what: str, devices: int, options: dict[str, Any]) -> dict[str, Any]:
    """What one process printed."""
    return ended([started(what, devices, options)])[0]


def begun(processes: list[subprocess.Popen]) -> None:
    """Wait until the first process says that it trains."""
    out = processes[0].stdout
    assert out is not None
    while select.select([out], [], [], 600)[0] and (line := out.readline()):
        if "training" in line:
            return
    raise RuntimeError(f"the group did not begin: {[each.communicate()[1][-1000:] for each in processes]}")


def left(processes: list[subprocess.Popen], patience: float = 3 * SOON) -> dict[str, Any]:
    """How all processes end, how long that takes, the last message of each, and what it printed."""
    began, said, printed = time.monotonic(), [], []
    for each in processes:
        try:
            out, error = each.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            each.kill()
            out, error = each.communicate()
            error += "\nit hung"
        said.append(sentence(error))
        printed.append(out.splitlines()[-1] if out.strip() else "")
    seconds = time.monotonic() - began
    return {
        "seconds": round(seconds, 2), "soon": seconds < SOON, "status": [each.returncode for each in processes],
        "said": said, "printed": printed,
    }  # fmt: skip


def sentence(error: str) -> str:
    """The last error of Python in this text, or else the last line of the runtime."""
    # what the runtime only mentions begins with E, W or I and the date
    lines = [line.strip() for line in error.splitlines() if line.strip() and not re.match(r"[EWI]\d{4} ", line)]
    wanted = [line for line in lines if re.match(r"[\w.]+(Error|Exit|Interrupt)\b|it hung", line)]
    return (wanted or [line for line in lines if "fatal errors" in line] or lines or [""])[-1][:300]


# ---- kills ----------------------------------------------------------------------------------------------------------


def killed(folder: Path, epochs: int, order: random.Random, *, writing: bool) -> dict[str, Any]:
    """Start two, or start them again, and kill one at a random moment, or the one that writes while it writes."""
    options = {"folder": str(folder), "epochs": epochs}
    processes, rank = group("long_run", options), 0 if writing else order.randrange(2)
    begun(processes)
    time.sleep(order.uniform(0, 0.6))
    while writing and processes[rank].poll() is None and not list(folder.glob("*.part")):
        pass
    ran_out = processes[rank].poll() is not None
    processes[rank].kill()
    found = left(processes)
    halves = len(list(folder.glob("*.part")))
    return _without(found, "printed") | {
        "rank": rank, "writing": writing, "ran_out": ran_out, "half_written": halves
    }  # fmt: skip


def finished(folder: Path, epochs: int) -> list[str]:
    """The digests of a run that is left to finish."""
    return [each["digest"] for each in ended(group("long_run", {"folder": str(folder), "epochs": epochs}))]


def signalled(folder: Path, epochs: int, whole: list[Any]) -> dict[str, Any]:
    """SIGTERM to the second of two: both say at which step they stopped."""
    options = {"folder": str(folder), "epochs": epochs}
    processes = group("long_run", options)
    begun(processes)
    processes[1].send_signal(signal.SIGTERM)
    found = left(processes)
    found["stopped_at"] = [
        json.loads(line)["stopped at"] if "stopped at" in line else None for line in found["printed"]
    ]
    found["checkpoints"] = len(list(folder.glob("*.json")))
    found["same_bits"] = finished(folder, epochs) == whole
    return _without(found, "printed")


# ---- other faults ---------------------------------------------------------------------------------------------------


def hung(folder: Path, epochs: int, whole: list[Any], rank: int) -> dict[str, Any]:
    """One of two is stopped (SIGSTOP): the other must not wait for ever; when the first resumes, it must end too."""
    options = {"folder": str(folder), "epochs": epochs}
    processes = group("long_run", options)
    begun(processes)
    processes[rank].send_signal(signal.SIGSTOP)
    other = left([processes[1 - rank]])
    processes[rank].send_signal(signal.SIGCONT)
    woken = left([processes[rank]])
    status, said = [0, 0], ["", ""]
    for number, found in ((1 - rank, other), (rank, woken)):
        status[number], said[number] = found["status"][0], found["said"][0]
    same = finished(folder, epochs) == whole
    return {
        "seconds": other["seconds"], "soon": other["soon"] and woken["soon"], "status": status, "said": said,
        "same_bits": same,
    }  # fmt: skip


def swept(folder: Path, epochs: int) -> dict[str, Any]:
    """The second of two is killed in a sweep, after the first checkpoint."""
    whole = ended(group("long_sweep", {"folder": str(folder / "whole"), "epochs": epochs}))
    options = {"folder": str(folder / "killed"), "epochs": epochs}
    processes = group("long_sweep", options)
    while processes[1].poll() is None and not list(folder.glob("killed/*/*.json")):
        time.sleep(0.01)
    ran_out = processes[1].poll() is not None
    processes[1].kill()
    found = left(processes) | {"ran_out": ran_out}
    return _without(found, "printed") | {"same_bits": ended(group("long_sweep", options)) == whole}


def paused(folder: Path, epochs: int, whole: list[Any]) -> dict[str, Any]:
    """One of two pauses for a third of a heartbeat, three times: this must cost nothing but time."""
    processes = group("long_run", {"folder": str(folder), "epochs": epochs})
    begun(processes)
    for _ in range(3):
        processes[1].send_signal(signal.SIGSTOP)
        time.sleep(HEARTBEAT / 3)
        processes[1].send_signal(signal.SIGCONT)
        time.sleep(0.3)
    return _settled(processes, whole)


def unseen(folder: Path, epochs: int, whole: list[Any]) -> dict[str, Any]:
    """The second process cannot see the folder of the checkpoints: it does not need to."""
    options = {"folder": str(folder), "epochs": epochs}
    return _settled(group("long_run", options, last={"folder": "/dev/null/nowhere"}), whole)


def unwritable(epochs: int) -> dict[str, Any]:
    """The first cannot write to it: both end, and say why."""
    return _without(left(group("long_run", {"folder": "/dev/null/nowhere", "epochs": epochs})), "printed")


def taken(epochs: int, folder: Path) -> dict[str, Any]:
    """The port of the coordinator is in use."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        options = {"folder": str(folder), "epochs": epochs}
        return _without(left(group("long_run", options, port=other.getsockname()[1], patience=HEARTBEAT)), "printed")


def unequal(folder: Path, epochs: int, last: dict[str, Any]) -> dict[str, Any]:
    """The second process is given something else."""
    options = {"folder": str(folder), "epochs": epochs}
    return _without(left(group("long_run", options, last=last)), "printed")


def slow(rows: int) -> dict[str, Any]:
    """The second process waits for its source longer than a heartbeat: the first waits for it."""
    two = ended(group("stream", {"rows": rows}, last={"waits": 1.5 * HEARTBEAT}))
    return {"same_bits": two == ended(group("stream", {"rows": rows}))}


def raising(rows: int) -> dict[str, Any]:
    """The source of the second process fails in the middle of an epoch."""
    return _without(left(group("stream", {"rows": rows}, last={"fails": True})), "printed")


def _settled(processes: list[subprocess.Popen], whole: list[Any]) -> dict[str, Any]:
    found = left(processes, 1800)
    same = [json.loads(line)["digest"] for line in found["printed"] if line.startswith("{")] == whole
    return {"status": found["status"], "same_bits": same}


def _without(found: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != name}
