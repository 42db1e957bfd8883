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
    """A function that tells whether a signal came; what it asked for is raised at the end, when all is saved."""
    came: list[int] = []

    def note(number: int, frame: Any) -> None:
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}

    def pending() -> bool:
        return bool(came)

    try:
        yield pending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        if came[0] == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + came[0])
