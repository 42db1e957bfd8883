"""Paired timing: programs take turns in random order within blocks, and only ratios within a block count."""

import random
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

#: Turns of each program within a block; the median of an odd number is one of them.
TURNS = 5


def blocks(programs: Mapping[str, Callable[[], Any]], count: int, seconds: float, seed: int) -> dict[str, list[float]]:
    """Seconds per call of each program: for every block the median over its turns.

    Args:
        programs: name -> a function that runs the program once and waits for it.
        count: how many blocks.
        seconds: how long each program runs within a block, about.
        seed: of the order.
    """
    order = random.Random(seed)
    calls = {name: _calls(program, seconds / TURNS) for name, program in programs.items()}
    taken: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(count):
        turns: dict[str, list[float]] = {name: [] for name in programs}
        for _ in range(TURNS):
            for name in order.sample(list(programs), len(programs)):
                began = time.perf_counter()
                for _ in range(calls[name]):
                    programs[name]()
                turns[name].append((time.perf_counter() - began) / calls[name])
        for name in programs:
            taken[name].append(float(np.median(turns[name])))
    return taken


def _calls(program: Callable[[], Any], seconds: float) -> int:
    """How many calls fill about this many seconds."""
    program()
    began = time.perf_counter()
    program()
    return max(1, round(seconds / max(time.perf_counter() - began, 1e-7)))


def compared(taken: Mapping[str, list[float]]) -> dict[str, Any]:
    """By hand against automatic, and automatic against itself: medians and the ratios of every block."""
    by_hand, automatic, again = (np.array(taken[name]) for name in ("by_hand", "automatic", "automatic_again"))
    return {
        "by_hand": float(np.median(by_hand)),
        "automatic": float(np.median(automatic)),
        "ratio": float(np.median(by_hand / automatic)),
        "ratios": (by_hand / automatic).tolist(),
        "null_ratios": (again / automatic).tolist(),
        "null_largest": float((again / automatic).max()),
    }
