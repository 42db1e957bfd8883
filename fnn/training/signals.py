"""SIGINT and SIGTERM while a run is under way: it ends where it can be saved.

Promises: the first signal is remembered, and the run stops after the steps in flight; a second SIGINT stops at once.
Handlers are put back as they were. Only the main thread may set them; elsewhere nothing changes.
"""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def remembered() -> Iterator[Callable[[], bool]]:
    """A function that tells whether a signal was received; it is raised at the end, when all is saved."""
    got: list[int] = []

    def note(number: int, frame: Any) -> None:
        if got and number == signal.SIGINT:
            raise KeyboardInterrupt
        got.append(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}

    def pending() -> bool:
        return bool(got)

    try:
        yield pending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if got:
        if got[0] == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + got[0])
