"""What the processes of a run tell each other, between the calls of the compiled program.

Promises: all take the same steps, stop at the same one and raise together. What only one of them knows (an error of its
own, a signal, a callback that ends the run, how many steps fit into a call) is sent before the next call, so that none
waits for one that has left. With a single process nothing is sent and nothing is waited for.
Refuses: processes that were given different runs; the message says what differs.

If a process is lost without notice, as after a kill, the others get an error of the runtime in their next call. They
raise `GroupError`, and do not wait for the lost process when they leave.
"""

import atexit
import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from fnn import leaves
from fnn.types import PyTree

#: How many bytes one word takes; a longer one takes a second exchange.
ROOM = 512
#: How errors of the runtime begin; some are raised as a `ValueError`, when an array is requested that it could not
#: compute.
OF_RUNTIME = re.compile(
    "(UNKNOWN|INTERNAL|UNAVAILABLE|ABORTED|CANCELLED|DEADLINE_EXCEEDED|FAILED_PRECONDITION|DATA_LOSS): "
)


class GroupError(RuntimeError):
    """Another process of the group was lost, has failed, or was given a different run.

    >>> issubclass(fnn.training.GroupError, RuntimeError)
    True
    """

    def __init__(self, message: str, *, saves: bool = False) -> None:
        super().__init__(message)
        self.saves = saves
        """Whether all processes write a last checkpoint together."""


class Word(NamedTuple):
    """What a process says before each call."""

    budget: int = 0
    """How many steps the next call may take."""
    save: bool = False
    """Whether a checkpoint is due."""
    enough: int = 0
    """The epoch at which a callback ends the run, or 0."""
    signal: int = 0
    """The number of a signal that was received, or 0."""


@dataclass(frozen=True)
class Group:
    """The processes of a run."""

    several: bool = False

    @property
    def first(self) -> bool:
        """Whether this process writes: logs, progress, checkpoints."""
        return not self.several or jax.process_index() == 0

    def exchange(self, word: dict[str, Any]) -> list[dict[str, Any]]:
        """The words of all processes, in their order; an error of one is raised in the others."""
        if not self.several:
            return [word]
        try:
            words = [json.loads(text) for text in _exchanged(json.dumps(word).encode())]
        except (RuntimeError, ValueError) as error:
            raise lost(error) from error
        for number, each in enumerate(words):
            if "error" in each and number != jax.process_index() and "error" not in word:
                text = f"process {number} of {len(words)} raised {each['error']}"
                raise GroupError(f"{text.rstrip('.')}. All processes stop here.", saves=each["saves"])
        return words

    def agree(self, word: "Word") -> "Word":
        """What all do next: as many steps as fit the first process, and the first signal and the first request of
        any."""
        if not self.several:
            return word
        words = [Word(*each["word"]) for each in self.exchange({"word": word})]
        signal = next((each.signal for each in words if each.signal), 0)
        enough = next((each.enough for each in words if each.enough), 0)
        return Word(words[0].budget, words[0].save, enough, signal)

    def tell(self, error: BaseException, *, saves: bool = False) -> None:
        """Tell the others what ends the run here, if they do not know it, and whether a checkpoint follows."""
        if self.several and not isinstance(error, GroupError):
            # a lost process cannot be told
            with contextlib.suppress(GroupError):
                self.exchange({"error": f"{type(error).__name__}: {error}", "saves": saves})

    def named(self, error: BaseException) -> BaseException:
        """The error; a `GroupError` if it is one of the runtime, since another process is then lost."""
        own = isinstance(error, jax.errors.JaxRuntimeError) or (
            isinstance(error, ValueError) and OF_RUNTIME.match(str(error))
        )
        return lost(error) if self.several and own else error

    @contextlib.contextmanager
    def telling(self) -> Iterator[None]:
        """Tell the other processes of an error that is raised inside."""
        try:
            yield
        except Exception as error:
            self.tell(error)
            raise

    def require_same(self, caller: str, run: dict[str, Any]) -> None:
        """Raise unless all processes were given the same run."""
        words = self.exchange(run)
        for name, value in words[0].items():
            for number, other in enumerate(words):
                if other.get(name) != value:
                    raise GroupError(
                        f"{caller}: all processes must be given the same run, got another {name} in process {number} "
                        f"than in process 0: {_short(other.get(name))} and {_short(value)}. Give every process the "
                        "same arguments and data, a Stream too; each takes its part by itself."
                    )

    def from_first(self, make: Callable[[], PyTree | None], like: PyTree) -> PyTree | None:
        """What the first process makes, on all of them; `like` has the structure and the keys. The caller reports
        errors."""
        made = make() if self.first else None
        if not self.several:
            return made
        file = io.BytesIO()
        if made is not None:
            np.savez(file, *[leaves.stored(leaf) for leaf in jax.tree.leaves(made)])
        self.exchange({})
        content = _exchanged(file.getvalue())[0]
        if self.first or not content:
            return made
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            raw = [arrays[name] for name in arrays.files]
        described = [leaves.described(leaf) for leaf in jax.tree.leaves(like)]
        own = [leaves.restored(each, promised) for each, promised in zip(raw, described, strict=True)]
        return jax.tree.unflatten(jax.tree.structure(like), own)


def lost(error: BaseException) -> GroupError:
    """The error of a group that lost a process; this one will not wait for it when it leaves."""
    atexit.register(_leave)
    return GroupError(
        f"another process of the group was lost, got {str(error).strip().splitlines()[0][:200]}. Start all processes "
        "again: with checkpoints they continue from the last one."
    )


def _leave() -> None:
    """End without the runtime's own farewell, which would wait for the lost process until its heartbeat runs out."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)


def _exchanged(content: bytes) -> list[bytes]:
    """The bytes of all processes, in their order."""
    first = len(content).to_bytes(8, "little") + content[: ROOM - 8]
    rows = _gathered(first, ROOM)
    lengths = [int.from_bytes(row[:8], "little") for row in rows]
    if max(lengths) > ROOM - 8:
        # a power of two, so that few sizes are compiled
        rows = [bytes(8) + row for row in _gathered(content, 1 << max(lengths).bit_length())]
    return [row[8 : 8 + length] for row, length in zip(rows, lengths, strict=True)]


def _gathered(content: bytes, room: int) -> list[bytes]:
    own = np.frombuffer(content.ljust(room, b"\0"), np.uint8)
    return [row.tobytes() for row in np.asarray(multihost_utils.process_allgather(own))]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:20] + "…"
