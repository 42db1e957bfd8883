"""Whole training runs, compared with other libraries and with the arithmetic limit: milliseconds per epoch.

How it is measured: in every round each library trains each job in a separate process, in random order; the matmul
rate is measured in every round too. Times are medians over rounds and runs with the smallest and the largest round;
ratios are those of the medians of a round. If a library has several forms, the fastest of the first round is shown,
timed on the other rounds, so that the choice favours neither it nor `fnn`.
"""

import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.progress import Watch
from experiments.speed import Options
from experiments.speed.peers import FORMS, JOBS, of

#: job -> peer -> (how many times as fast we must be, the goal). "plain scan" is given as our share of its time.
FLOORS: dict[str, dict[str, tuple[float, float]]] = {
    "64-32-10": {"plain scan": (1 / 0.80, 1 / 0.6), "PyTorch": (7, 10), "scikit-learn": (6, 8), "Equinox": (7, 10)},
    "784-512-256-10": {"PyTorch": (1.6, 2), "scikit-learn": (3.5, 5), "Equinox": (1.2, 1.5), "Flax": (1.2, 1.5)},
    "1024-1024-1024-10": {"PyTorch": (1.9, 2.3)},
    "64 nets": {"torch.func.vmap": (2.3, 4), "PyTorch, 64 times": (24, 40)},
}
#: job -> peer -> (share of the arithmetic limit that must be reached, the goal).
SHARES: dict[str, dict[str, tuple[float, float]]] = {
    "784-512-256-10": {"fnn": (0.60, 0.70), "fnn, SGD": (0.70, 0.80)},
    "1024-1024-1024-10": {"fnn": (0.80, 0.88)},
}
OURS = {"64 nets": "fnn, a shuffle each"}


def measure(options: Options, watch: Watch) -> dict[str, Any]:
    """job -> peer -> one list of milliseconds per epoch for each round; and the matmul rate of each round."""
    order = random.Random(options.seed)
    pairs = [(job, peer) for job in options.jobs for peer in of(job)]
    found: dict[str, dict[str, list[list[float]]]] = {job: {peer: [] for peer in of(job)} for job in options.jobs}
    rates = []
    for number in range(options.rounds):
        rates.append(_run("matmul", "64-32-10", options.seconds)["rate"])
        for done, (job, peer) in enumerate(order.sample(pairs, len(pairs))):
            found[job][peer].append(_run(peer, job, options.seconds)["milliseconds"])
            watch(f"round {number + 1}", done + 1, len(pairs), f"{job}, {peer}")
    return {"milliseconds": found, "matmul_rates": rates, "first_epoch": first_epochs(options.rounds)}


def first_epochs(rounds: int) -> dict[str, list[float]]:
    """Seconds from the start of a process to the end of the first epoch of the digits."""
    found: dict[str, list[float]] = {"fnn": [], "fnn, compilation cache": [], "scikit-learn": []}
    with tempfile.TemporaryDirectory() as cache:
        for number in range(rounds + 1):
            for name in found if importlib.util.find_spec("sklearn") else list(found)[:2]:
                cached = {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
                peer = f"first epoch, {name.split(',')[0]}"
                seconds = _run(peer, "64-32-10", 0.0, cached if "cache" in name else {})["seconds"]
                # the first round fills the cache of the compiler, and of the disk
                found[name] += [seconds] if number else []
    return {name: seconds for name, seconds in found.items() if seconds}


def _run(peer: str, job: str, seconds: float, more: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    command = [sys.executable, "-m", "experiments.speed.peers", peer, job, str(seconds)]
    environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3", STARTED=str(time.time()), **more)
    out = subprocess.run(command, capture_output=True, text=True, env=environment)
    if out.returncode:
        raise RuntimeError(f"{peer} on {job} did not run: {out.stderr[-1500:]}")
    return json.loads(out.stdout.splitlines()[-1])


def table(training: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """job -> {"limit": ms, "peers": {peer: ms}, "spread": {peer: (least, most)},
    "times": {peer: how many times as fast we are}, "forms": {library: the form that was chosen}}.
    """
    rate = max(training["matmul_rates"])
    found = {}
    for job, peers in training["milliseconds"].items():
        every = {peer: np.array([np.median(each) for each in taken]) for peer, taken in peers.items()}
        rounds, forms = _fastest(every)
        if JOBS[job].runs > 1 and "64-32-10" in training["milliseconds"]:
            one = _fastest({
                peer: np.array([np.median(each) for each in taken])
                for peer, taken in training["milliseconds"]["64-32-10"].items()
            })[0].get("PyTorch")  # fmt: skip
            if one is not None:
                rounds["PyTorch, 64 times"] = JOBS[job].runs * one
        ours = rounds[OURS.get(job, "fnn")]
        found[job] = {
            "limit": 1e3 * JOBS[job].multiplications / rate,
            "peers": {peer: float(np.median(taken)) for peer, taken in rounds.items()},
            "spread": {peer: (float(taken.min()), float(taken.max())) for peer, taken in rounds.items()},
            # ratios of one round: where the first was used to choose, it is left out of ours too
            "times": {peer: float(np.median(taken / ours[-len(taken) :])) for peer, taken in rounds.items()},
            "forms": forms,
        }
    return found


def _fastest(rounds: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """(each library once, in the form that was fastest in the first round, timed on the others; which form that is)."""
    found, forms = dict(rounds), {}
    for library, names in FORMS.items():
        there = [name for name in names if name in rounds]
        if len(there) > 1:
            forms[library] = min(there, key=lambda name: rounds[name][0])
            taken = rounds[forms[library]]
            for name in there:
                del found[name]
            found[library] = taken[1:] if len(taken) > 1 else taken
    return found, forms


def verdicts(found: dict[str, dict[str, Any]]) -> list[tuple[str, bool, bool, str]]:
    """(the target, whether it was reached, whether the goal beyond it was, the numbers)."""
    told = []
    for job, row in found.items():
        for peer, (floor, goal) in FLOORS.get(job, {}).items():
            if peer in row["times"]:
                times = row["times"][peer]
                told.append((f"{job}: {floor:.3g} × {peer}", times >= floor, times >= goal, f"{times:.2f} ×"))
        for peer, (floor, goal) in SHARES.get(job, {}).items():
            share = row["limit"] / row["peers"][peer]
            told.append((f"{job}: {floor:.0%} of the limit, {peer}", share >= floor, share >= goal, f"{share:.0%}"))
        if "fnn, automatic" in row["peers"]:
            ratio = row["times"]["fnn, automatic"]
            null = abs(row["peers"]["fnn, automatic again"] / row["peers"]["fnn, automatic"] - 1)
            held = ratio >= 1 - max(null, 0.02)
            told.append(
                (f"{job}: by hand is not slower than automatic", held, held, f"{1 / ratio:.3f}, null {null:.3f}")
            )
        if "fnn, one shuffle" in row["peers"]:
            ratio = row["peers"]["fnn, a shuffle each"] / row["peers"]["fnn, one shuffle"]
            told.append(
                (f"{job}: a shuffle each costs at most 1.6 × one", ratio <= 1.6, ratio <= 1.2, f"{ratio:.2f} ×")
            )
    return told


def markdown(training: dict[str, Any]) -> str:
    """The table as it stands in the documentation."""
    found = table(training)
    peers = list(dict.fromkeys(peer for row in found.values() for peer in row["peers"] if "again" not in peer))
    lines = ["| milliseconds per epoch | " + " | ".join(found) + " |", "| --- |" + " ---: |" * len(found)]
    for peer in peers:
        cells = [_cell(row, peer) if peer in row["peers"] else "" for row in found.values()]
        lines.append(f"| {peer} | " + " | ".join(cells) + " |")
    limits = [plain(float(f"{row['limit']:.2g}")) for row in found.values()]
    lines.append("| arithmetic limit | " + " | ".join(limits) + " |")
    return "\n".join([*lines, ""])


def _cell(row: dict[str, Any], peer: str) -> str:
    """The median over rounds, and the least and the largest round; the form where a library has several."""
    low, high = row["spread"][peer]
    form = row["forms"].get(peer, "").partition(", ")[2]
    return f"{plain(row['peers'][peer])} ({plain(low)}–{plain(high)}{f', {form}' if form else ''})"


def plain(value: float) -> str:
    """Three digits, and no power of ten.

    >>> plain(0.69649), plain(27.113), plain(1174.2)
    ('0.696', '27.1', '1170')
    """
    return f"{float(f'{value:.3g}'):.10g}"


def show(training: dict[str, Any], console: Console) -> None:
    """Print the table, and what held."""
    found = table(training)
    for job, row in found.items():
        shown = Table(f"{job}: an epoch", "milliseconds", "times as long as ours")
        for peer, taken in sorted(row["peers"].items(), key=lambda each: each[1]):
            shown.add_row(peer, plain(taken), f"{row['times'][peer]:.2f}")
        shown.add_row("arithmetic limit", plain(float(f"{row['limit']:.2g}")), "")
        console.print(shown)
    for name, seconds in training.get("first_epoch", {}).items():
        console.print(
            f"first epoch of the digits from a cold process, {name}: {np.median(seconds):.2f} s", highlight=False
        )
    for what, held, goal, numbers in verdicts(found):
        console.print(f"{what}: {reached(held, goal)} ({numbers})", highlight=False)


def reached(target: bool, goal: bool) -> str:
    """What became of a target and of the goal beyond it."""
    return "reached, and its goal" if target and goal else "reached" if target else "missed"


def targets(training: dict[str, Any]) -> str:
    """The table of targets as it stands in the documentation."""
    lines = ["| target | | measured |", "| --- | --- | --- |"]
    lines += [f"| {what} | {reached(held, goal)} | {told} |" for what, held, goal, told in verdicts(table(training))]
    return "\n".join([*lines, ""])
