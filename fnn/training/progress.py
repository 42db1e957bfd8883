"""Watching a run: a bar on a terminal, plain lines elsewhere, and a file of JSON lines.

Promises: driven from the host between calls of the compiled program, so that watching changes no bit; the file holds
one line for each finished epoch, each once, also after a run was taken up again.
"""

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

#: Plain lines of a run, about.
LINES = 10


@contextlib.contextmanager
def shown(first: int, last: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A callback for `on_epoch` that shows epochs first … last: loss, what was measured, rate, and time left."""
    began = time.monotonic()

    def note(number: int, found: dict[str, float]) -> str:
        rate = (number - first + 1) / max(time.monotonic() - began, 1e-9)
        told = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in found.items())
        return f"{told}; {rate:.3g} epochs/s, {(last - number) / rate:.0f} s left"

    bar = _bar() if sys.stderr.isatty() else None
    if bar is None:
        every = max((last - first + 1) // LINES, 1)

        def line(number: int, found: dict[str, float]) -> None:
            if (number - first) % every == 0 or number == last:
                print(f"epoch {number} of {last}: {note(number, found)}", file=sys.stderr, flush=True)

        yield line
        return
    with bar:
        task = bar.add_task("", total=last, completed=first - 1, note="")
        yield lambda number, found: bar.update(task, completed=number, note=note(number, found))


def _bar() -> Any:
    """A progress bar of rich, or None where rich is not installed."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    except ModuleNotFoundError:
        return None
    columns = TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[note]}")
    return Progress(*columns, console=Console(stderr=True))


@contextlib.contextmanager
def written(path: Path, done: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """A callback for `on_epoch` that appends a JSON line for each epoch after `done`; later lines are dropped."""
    kept = []
    if path.exists():
        for text in path.read_text().splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                # a line that was cut off when the run was killed is written anew
                if json.loads(text)["epoch"] <= done:
                    kept.append(text)
    path.write_text("".join(f"{text}\n" for text in kept))
    with open(path, "a") as file:

        def line(number: int, found: dict[str, float]) -> None:
            told = {name: value if math.isfinite(value) else None for name, value in found.items()}
            print(json.dumps({"epoch": number, **told}), file=file, flush=True)

        yield line
