"""The communication between devices in a compiled program: its collectives, their bytes, and how often they run.

Promises: every collective that XLA knows is read from the text of the program, also one with many results.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from fnn.training import program, programs

#: Operations by which devices exchange anything.
KINDS = (
    "all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute", "collective-broadcast",
    "ragged-all-to-all", "send", "recv",
)  # fmt: skip
_LINE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]")


class Collective(NamedTuple):
    """One collective of a program."""

    kind: str
    bytes: int
    where: str
    """"step": in every step; "epoch": once in an epoch, at its incomplete batch or its end; "call": else."""


class Found(Exception):
    """The text of a program that was to be called."""


def read(text: str, *, streamed: bool = False) -> list[Collective]:
    """The collectives of a program from its text."""
    found = []
    for line in text.splitlines():
        if match := _LINE.search(line):
            arrays = _ARRAY.findall(match[1])
            size = sum(_width(kind) * _product(shape) for kind, shape in arrays)
            name = re.search(r'op_name="([^"]*)"', line)
            found.append(Collective(match[2], size, _where(name[1] if name else "", streamed)))
    return found


def text_of(train: Callable[[], Any]) -> str:
    """The text of the program that `train()` would call, compiled and not run."""
    call = programs.call

    def stopped(called: Any, job: Any, state: Any, *rest: Any) -> Any:
        if called not in (program.epochs, program.piece):
            return call(called, job, state, *rest)
        raise Found(programs.lowered(called, job, state, *rest).compile().as_text())

    programs.call = stopped
    try:
        train()
    except Found as found:
        return found.args[0]
    finally:
        programs.call = call
    raise RuntimeError("no program was called")


def _width(kind: str) -> int:
    return 1 if kind == "pred" else jax.numpy.dtype(_NAMES.get(kind, kind)).itemsize


_NAMES = {
    "f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16", "s64": "int64", "s32": "int32",
    "s16": "int16", "s8": "int8", "u64": "uint64", "u32": "uint32", "u16": "uint16", "u8": "uint8",
}  # fmt: skip


def _product(shape: str) -> int:
    product = 1
    for each in filter(None, shape.split(",")):
        product *= int(each)
    return product


def _where(name: str, streamed: bool) -> str:
    loops = name.count("while/body")
    if loops >= (1 if streamed else 2):
        return "step"
    return "epoch" if "branch_1_fun" in name or loops else "call"
