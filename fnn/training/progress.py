"""Watching a run: a bar on a terminal, plain lines elsewhere, and a file of JSON lines.

Promises: driven from the host between calls of the compiled program, so that watching changes no bit; the file holds
exactly one line for each finished epoch, also after a run is resumed. No line of another run is ever lost, and no fault
of the screen ends a run.
"""

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from fnn.checks import warn

#: About how many plain lines a run prints.
LINES = 10

#: (number of the epoch, its metrics).
Watch = Callable[[int, dict[str, float]], None]


@contextlib.contextmanager
def shown(
    first: int, last: int, pace: Callable[[], float | None] = lambda: None, ending: Callable[[], str] = lambda: ""
) -> Iterator[Watch]:
    """A callback for `on_epoch` that shows epochs first … last: loss, metrics, epochs per second, and time left.

    Args:
        pace: returns epochs per second, without the time to compile, or None while that is unknown.
        ending: returns a sentence on why the run ended, shown at its end unless it raises.
    """
    stream = sys.stderr

    def note(number: int, values: dict[str, float]) -> str:
        text = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in values.items())
        rate = pace()
        return text if rate is None else f"{text}; {rate:.3g} epochs/s, {(last - number) / rate:.0f} s left"

    task: Any = None
    with contextlib.ExitStack() as opened:
        try:
            bar = _bar() if stream.isatty() else None
            if bar is not None:
                opened.enter_context(bar)
                task = bar.add_task("", total=last, completed=first - 1, note="")
        except (AttributeError, ValueError, OSError):
            # no stream at all, a closed one, or one without isatty
            bar = None
        every = max((last - first + 1) // LINES, 1)

        def watch(number: int, values: dict[str, float]) -> None:
            # a lost screen is no reason to lose a run
            with contextlib.suppress(AttributeError, ValueError, OSError):
                if bar is not None:
                    bar.update(task, completed=number, note=note(number, values))
                elif (number - first) % every == 0 or number == last:
                    stream.write(f"epoch {number} of {last}: {note(number, values)}\n")
                    stream.flush()

        yield watch
    with contextlib.suppress(AttributeError, ValueError, OSError):
        if text := ending():
            stream.write(f"{text}\n")
            stream.flush()


def _bar() -> Any:
    """A progress bar of rich, or None if rich is not installed or the terminal cannot show it."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    except ModuleNotFoundError:
        return None
    try:
        "━".encode(getattr(sys.stderr, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return None
    columns = TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.fields[note]}")
    return Progress(*columns, console=Console(stderr=True))


@contextlib.contextmanager
def written(log: str | PathLike[str], done: int, *, own: bool = False) -> Iterator[Watch]:
    """A callback for `on_epoch` that appends a JSON line for each epoch after `done`.

    Lines of this run up to `done` stay. If the file holds lines of another run, or lines beyond `done` that a resumed
    run (`own`) did not write, it is moved aside first: run.jsonl becomes run.jsonl.1.
    """
    if not isinstance(log, str | PathLike):
        raise TypeError(f"fit: log must be the name of a file, got {log!r}. Give log='run.jsonl'.")
    path = Path(log)
    with contextlib.suppress(RuntimeError):
        # "~.jsonl" is a name, not a home folder
        path = path.expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # a pipe or a device holds nothing to keep
        if path.is_file():
            lines = _lines(path)
            kept = [text for number, text in lines if number <= done]
            if not own and (len(kept) < len(lines) or not done):
                _moved_aside(path)
            # a line that was cut off when the run was killed is written again
            path.write_text("".join(f"{text}\n" for text in kept), encoding="utf-8")
        file = open(path, "a", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise ValueError(
            f"fit: log cannot be written, got {error}. Give the name of a file, log='run.jsonl'."
        ) from error
    failed: list[OSError] = []

    def line(number: int, values: dict[str, float]) -> None:
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        try:
            print(json.dumps({"epoch": number, **finite}), file=file, flush=True)
        except OSError as error:
            if not failed:
                warn(f"fit: {path} could not be written: {error}. Training continues.")
            failed.append(error)

    try:
        yield line
    finally:
        # a full disk is no reason to lose the run at its end
        with contextlib.suppress(OSError):
            file.close()


def _lines(path: Path) -> list[tuple[int, str]]:
    """(epoch, text) of each whole line of a log written by `fit`; anything else is refused."""
    lines, strange = [], []
    for text in path.read_bytes().splitlines():
        try:
            lines.append((int(json.loads(text)["epoch"]), text.decode()))
        except (ValueError, KeyError, TypeError):
            strange.append(text)
    # one line may have been cut off when a run was killed
    if len(strange) > 1 or (strange and not strange[0].startswith(b'{"epoch"')):
        raise ValueError(
            f"fit: log must be a new file or a log written by fit, got {path}, which holds other lines and was not "
            "changed. Give another name."
        )
    return lines


def _moved_aside(path: Path) -> None:
    """Rename a log that holds lines to the first free name."""
    if not path.stat().st_size:
        return
    number = 1
    while (target := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    path.rename(target)
