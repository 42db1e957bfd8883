"""SIGINT and SIGTERM during a run: it ends when its state is whole, and the error carries the work done so far.

Promises: the first signal is remembered, and the run stops after the steps in flight; a second SIGINT stops at once.
The previous handlers are restored. Only the main thread may set handlers; in other threads nothing changes.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


def carrying(error: BaseException, note: str, **work: Any) -> BaseException:
    """The error, with the work done so far as its attributes and a note that says so."""
    with contextlib.suppress(AttributeError, TypeError):
        for name, value in work.items():
            setattr(error, name, value)
        if note:
            error.add_note(note)
    return error


class Received:
    """The signals received during the run."""

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def __bool__(self) -> bool:
        return bool(self.numbers)

    def note(self, number: int, frame: Any) -> None:
        if self.numbers and number == signal.SIGINT:
            raise KeyboardInterrupt("stopped at once, at the second Ctrl-C")
        self.numbers.append(number)

    @property
    def first(self) -> int:
        """The number of the first signal, or 0."""
        return self.numbers[0] if self.numbers else 0

    def take(self, number: int) -> None:
        """Record a signal that another process of the run received; 0 for none."""
        if number and not self.numbers:
            self.numbers.append(number)

    def error(self, where: str) -> BaseException:
        """The error for the first signal; for Ctrl-C, with a sentence that says where the run stopped."""
        if self.numbers[0] != signal.SIGINT:
            return SystemExit(128 + self.numbers[0])
        return KeyboardInterrupt(f"{where}: stopped by Ctrl-C, after the steps in flight.")


@contextlib.contextmanager
def remembered(*, saves: bool) -> Iterator[Received]:
    """The signals of a run. A run that saves also catches SIGTERM, and replaces the handlers of others."""
    received, before = Received(), {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM) if saves else (signal.SIGINT,):
            handler = signal.getsignal(number)
            # a handler that Python did not set cannot be restored
            if handler is not None and (saves or handler is signal.default_int_handler):
                before[number] = signal.signal(number, received.note)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
