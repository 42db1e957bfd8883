"""Question: does a run that is killed, or has its checkpoints damaged, end as if nothing had happened?

Prediction: a run that was killed (SIGKILL) at random moments, the writing of checkpoints included, ends with the same
bits in parameters, optimizer state and curves as one that was not interrupted; after SIGINT or SIGTERM it saves and
ends; a damaged checkpoint is refused by name and the one before it is used; a full disk leaves the last good one
intact; a sweep that is interrupted (SIGINT) at random moments returns every finished run, with the same bits.
Refuted by: one run with different bits, one damaged checkpoint that is read silently, or one finished run lost.
"""

import json
import os
import random
import select
import shutil
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
    """Kill training runs, damage their checkpoints, fill the disk: do they end with the same bits?

    Fifty kills take about six minutes on two cores.
    """

    kills: int = frame.at_least(1, 50)
    """How many kills in all, at random moments; each run is killed five times."""
    interrupts: int = frame.at_least(1, 10)
    """How many sweeps are interrupted, each once, at a random moment."""
    epochs: int = frame.at_least(1, 150)
    """Length of a run; it must outlast its kills."""


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

#: Kills of one run, after which it is left to finish.
EACH = 5


def run(options: Options, watch: Watch = silent) -> dict[str, Any]:
    """Kill runs, damage their checkpoints and fill the disk, in separate processes."""
    order = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        environment = surroundings(place)
        alone = finished(place / "alone", options.epochs, environment)
        kills = []
        while len(kills) < options.kills:
            folder = place / f"run {len(kills)}"
            times = [
                killed(folder, options.epochs, environment, order) for _ in range(min(EACH, options.kills - len(kills)))
            ]
            same = finished(folder, options.epochs, environment) == alone
            kills += [{**each, "same_bits": same} for each in times]
            shutil.rmtree(folder)
            watch("kills", len(kills), options.kills, f"{sum(not k['same_bits'] for k in kills)} of other bits")
        signals = {
            name: interrupted(place / name, options.epochs, environment, number) | {
                "same_bits": finished(place / name, options.epochs, environment) == alone
            }
            for name, number in (("SIGINT", signal.SIGINT), ("SIGTERM", signal.SIGTERM))
        }  # fmt: skip
        watch("signals", 1, 1, "")
        damage = {
            name: damaged(place / "damaged", harm, options.epochs, environment, alone) for name, harm in HARMS.items()
        }
        watch("damage", 1, 1, "")
        full = starved(place / "full", options.epochs, environment, alone)
        watch("full disk", 1, 1, "")
        sweeps = swept(options.interrupts, place, environment, order, watch)
    return {"kills": kills, "signals": signals, "damage": damage, "full_disk": full, "sweeps": sweeps}


def surroundings(place: Path) -> dict[str, str]:
    """The environment of the child processes. They share compiled programs: the same bits, and no waiting."""
    mine = {"JAX_COMPILATION_CACHE_DIR": str(place / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return {**os.environ, **mine, "TF_CPP_MIN_LOG_LEVEL": "3", "NPROC": "1"}


def started(folder: Path, epochs: int, environment: dict[str, str], *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "experiments.faults.child", str(folder), str(epochs), *more]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(folder: Path, epochs: int, environment: dict[str, str]) -> str:
    """The digest of an uninterrupted run."""
    out, error = started(folder, epochs, environment).communicate(timeout=600)
    if not out.strip():
        raise RuntimeError(f"the run did not finish: {error[-2000:]}")
    return out.strip().splitlines()[-1]


def killed(folder: Path, epochs: int, environment: dict[str, str], order: random.Random) -> dict[str, Any]:
    """Start the run, wait until it trains, and kill it a random time later; return what was left half written."""
    child = started(folder, epochs, environment)
    waited_for(child)
    time.sleep(order.uniform(0, 0.4))
    child.kill()
    child.communicate()
    return {
        "checkpoints": len(list(folder.glob("*.json"))),
        "half_written": len(list(folder.glob("*.part"))),
        "ran_out": child.returncode == 0,
    }


def waited_for(child: subprocess.Popen) -> None:
    """Wait until it says that it trains, or is over."""
    assert child.stdout is not None
    if not select.select([child.stdout], [], [], 300)[0] or not child.stdout.readline():
        raise RuntimeError(f"the run did not begin: {child.communicate()[1][-2000:]}")


def interrupted(folder: Path, epochs: int, environment: dict[str, str], number: int) -> dict[str, Any]:
    """Send a signal while it trains: it must save and end soon."""
    child = started(folder, epochs, environment)
    waited_for(child)
    began = time.monotonic()
    child.send_signal(number)
    child.communicate(timeout=60)
    return {
        "status": child.returncode,
        "checkpoints": len(list(folder.glob("*.json"))),
        "left_soon": time.monotonic() - began < 5,
    }


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(content)


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


def _foreign(path: Path) -> None:
    path.with_suffix(".json").write_text('{"format": "something else"}')


def _newer(path: Path) -> None:
    manifest = path.with_suffix(".json")
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 2'))


def _manifest_cut(path: Path) -> None:
    _cut(path.with_suffix(".json"))


#: What may happen to the last checkpoint.
HARMS = {
    "cut off": _cut, "one bit flipped": _flipped, "empty": _emptied, "foreign manifest": _foreign,
    "of a newer version": _newer, "manifest cut off": _manifest_cut,
}  # fmt: skip


def damaged(folder: Path, harm: Any, epochs: int, environment: dict[str, str], alone: str) -> dict[str, Any]:
    """Damage the last checkpoint of an interrupted run: the message must name it, and the one before must be used."""
    shutil.rmtree(folder, ignore_errors=True)
    while len(list(folder.glob("*.json"))) < 2:
        interrupted(folder, epochs, environment, signal.SIGTERM)
    last = sorted(folder.glob("*.npz"))[-1]
    harm(last)
    out, error = started(folder, epochs, environment).communicate(timeout=600)
    return {
        "named": "is refused" in error and last.stem in error,
        "same_bits": out.strip().splitlines()[-1:] == [alone],
    }


def starved(folder: Path, epochs: int, environment: dict[str, str], alone: str) -> dict[str, Any]:
    """No file may grow beyond a few kilobytes: saving fails with a message, and the run continues from the checkpoint
    before."""
    interrupted(folder, epochs, environment, signal.SIGTERM)
    before = {path.name: path.read_bytes() for path in folder.glob("0*")}
    child = started(folder, epochs, environment, "4096")
    _, error = child.communicate(timeout=600)
    after = {path.name: path.read_bytes() for path in folder.glob("0*")}
    return {
        "said": "could not be written" in error and child.returncode == 3,
        "unchanged": before == after,
        "same_bits": finished(folder, epochs, environment) == alone,
    }


def swept(interrupts: int, place: Path, environment: dict[str, str], order: random.Random, watch: Watch) -> list[dict]:
    """Interrupt sweeps at random moments: how many runs were finished by then, and whether each was returned."""
    alone, _ = swept_once(place / "sweep alone", environment)
    times = []
    for k in range(interrupts):
        kept, finished = swept_once(place / f"sweep {k}", environment, order)
        same = all(alone[seed] == digest for seed, digest in kept.items())
        times.append({"finished": finished, "kept": len(kept), "of": len(alone), "same_bits": same})
        watch("sweeps", k + 1, interrupts, f"{sum(each['finished'] for each in times)} finished runs at stake")
    return times


def swept_once(
    place: Path, environment: dict[str, str], order: random.Random | None = None
) -> tuple[dict[str, str], int]:
    """A sweep, interrupted if an order is given: (digests of the runs returned, by seed; how many runs it finished)."""
    with open(place, "w+") as said:
        command = [sys.executable, "-m", "experiments.faults.sweeping"]
        child = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.PIPE, text=True)
        if order is not None:
            # some time after the sweep began, or after one of its groups was finished
            until = order.choice(["sweeping", "finished 3\n", "finished 6\n", "finished 9\n"])
            while until not in place.read_text() and child.poll() is None:
                time.sleep(0.01)
            time.sleep(order.uniform(0, 0.4))
            child.send_signal(signal.SIGINT)
        _, error = child.communicate(timeout=600)
    *lines, last = place.read_text().splitlines() or [""]
    if not last.startswith("{"):
        raise RuntimeError(f"the sweep gave nothing back: {error[-2000:]}")
    return json.loads(last), max((int(line.split()[1]) for line in lines if line.startswith("finished")), default=0)


def predictions(result: dict[str, Any]) -> dict[str, Prediction]:
    """What was predicted, from a result as it was saved."""
    kills = result["kills"]
    found = {
        "kills": Prediction(
            f"{len(kills)} kills: every run ends with the same bits", all(k["same_bits"] for k in kills)
        ),
        "signals": Prediction(
            "SIGINT and SIGTERM save and leave, and the run goes on",
            all(s["same_bits"] and s["checkpoints"] and s["left_soon"] for s in result["signals"].values()),
        ),
        "damage": Prediction(
            "every damaged checkpoint is named, and the one before is used",
            all(d["named"] and d["same_bits"] for d in result["damage"].values()),
        ),
        "full_disk": Prediction(
            "a full disk is said and leaves the last good checkpoint", all(result["full_disk"].values())
        ),
    }
    if sweeps := result.get("sweeps"):
        # results from before 2026-11-26 have none
        found["sweeps"] = Prediction(
            f"{len(sweeps)} interrupts of sweeps lose no finished run",
            all(s["kept"] >= s["finished"] and s["same_bits"] for s in sweeps),
        )
    return found


def show(saved: dict[str, Any], console: Console) -> None:
    """Print what happened to the runs."""
    result = saved["result"]
    halves = sum(k["half_written"] > 0 for k in result["kills"])
    console.print(f"{len(result['kills'])} kills, {halves} of them while a checkpoint was written", highlight=False)
    table = Table("damage to the last checkpoint", "named", "same bits")
    for name, each in result["damage"].items():
        table.add_row(name, str(each["named"]), str(each["same_bits"]))
    console.print(table)
    if sweeps := result.get("sweeps"):
        stake, kept = (sum(each[name] for each in sweeps) for name in ("finished", "kept"))
        text = f"{len(sweeps)} interrupts of sweeps, {stake} finished runs at stake, {kept} kept"
        console.print(text, highlight=False)


def draw(saved: dict[str, Any]) -> dict[str, Any]:
    """There is nothing to draw."""
    return {}
