"""SIGINT and SIGTERM while a run is under way: it ends where its state is whole.

Promises: the first signal is remembered, and the run stops after the steps in flight; a second SIGINT stops at once.
Handlers are put back as they were. Only the main thread may set them; elsewhere nothing changes.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Received:
    """The signals that came while the run was under way."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def note(self, number: int, frame: Any) -> None:
        if self.numbers and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.numbers.append(number)

    @property
    def first(self) -> int:
        """The number of the first of them, or 0."""
        return self.numbers[0] if self.numbers else 0

    def take(self, number: int) -> None:
        """A signal that another process of the run received; 0 is none."""
        if number and not self.numbers:
            self.numbers.append(number)

    def error(self) -> BaseException:
        """What the first of them asks for."""
        return KeyboardInterrupt() if self.numbers[0] == signal.SIGINT else SystemExit(128 + self.numbers[0])


@contextlib.contextmanager
def remembered(*, saves: bool) -> Iterator[Received]:
    """The signals of a run. One that saves hears SIGTERM too, and takes over the handlers of others."""
    received, before = Received(), {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM) if saves else (signal.SIGINT,):
            handler = signal.getsignal(number)
            # a handler that Python did not set cannot be put back
            if handler is not None and (saves or handler is signal.default_int_handler):
                before[number] = signal.signal(number, received.note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
