"""Live progress: a bar on a terminal, plain lines elsewhere.

Promises: an experiment gets a `Watch` and knows nothing about how it is shown; `silent` shows nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

#: (stage, done, total, note): called whenever a part of a stage is done.
Watch: TypeAlias = Callable[[str, int, int, str], None]


def silent(stage: str, done: int, total: int, note: str) -> None:
    """The watch that shows nothing."""


@contextmanager
def shown(console: Console, keep: bool = True) -> Iterator[Watch]:
    """A watch for this console, for as long as the context lasts; its bars stay afterwards if they are to be kept."""
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=not keep) as bars:
        tasks = {}

        def watch(stage: str, done: int, total: int, note: str) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, note="")
            bars.update(tasks[stage], completed=done, note=note)

        yield watch


def _lines(console: Console) -> Watch:
    def watch(stage: str, done: int, total: int, note: str) -> None:
        # about six lines per stage: enough to see it move, few enough to read in a log
        if done in (1, total) or done % max(total // 5, 1) == 0:
            console.print(f"{stage}: {done} of {total}  {note}", highlight=False, soft_wrap=True)

    return watch
