"""The table of primitives: one record for each, entered by the families in `fnn.glassbox.rules`.

Promises: everything that the glass box knows about a primitive is in its record: the local rule, the words and signs of
the pictures, the source in Python and LaTeX, the cost, and what may be done with the step. A primitive without a record
is shown under its own name, and a gradient that would flow through it is refused.
"""

import functools
import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import jax.numpy as jnp

from fnn.glassbox.spelling.pieces import Spelling

Rule: TypeAlias = Callable[..., tuple[Any, ...]]
#: From the parameters of a step and the shapes and dtypes of its inputs and outputs to arithmetic operations.
Cost: TypeAlias = Callable[[Mapping[str, Any], Sequence[Any], Sequence[Any]], int]
#: A formula over {g}, the cotangent of the output, {y}, the output, and {a}, {b}, {c}, the inputs; or a function of the
#: parameters and the shapes of the inputs that returns one.
Back: TypeAlias = str | Callable[[Mapping[str, Any], Sequence[tuple[int, ...]]], str]


class Symbol(NamedTuple):
    """How pictures write an operation; x stands for what it reads."""

    infix: str = ""
    """Between two operands: `+`."""
    formula: str | Callable[[Mapping[str, Any]], str] = ""
    """The whole operation: `√x`, or a function of the primitive's parameters."""
    label: str = ""
    """A word, if there is no formula."""
    sentence: str | Callable[[Mapping[str, Any]], str] = ""
    """The operation in a sentence, with the names of what it reads: `√(x)`; "" for the label and brackets."""


#: A rule returns it for an input into which nothing flows by definition: a solver's own factors, a starting guess.
NOTHING = object()

#: For an operation that is written by its name.
UNSIGNED = Symbol()


def each(params: Mapping[str, Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """One operation per entry of the (first) output."""
    return sum(math.prod(made.shape) for made in outputs[:1])


def free(params: Mapping[str, Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """No operation: the step moves, names or chooses numbers."""
    return 0


def read(params: Mapping[str, Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """One operation per entry of the first input."""
    return math.prod(inputs[0].shape)


def updates(params: Mapping[str, Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> int:
    """One operation per entry of the last input."""
    return math.prod(inputs[-1].shape)


@dataclass(frozen=True)
class Primitive:
    """What the glass box knows about one primitive."""

    name: str
    rule: Rule | None = None
    """`rule(y_bar, y, *inputs, **params)`: one contribution per input, None if it has no derivative."""
    python: Spelling | None = None
    """Its source in Python."""
    latex: Spelling | None = None
    """Its formula in LaTeX; None for the name as an operator."""
    word: str = ""
    """The name of its result if the user gave none; "" for that of the primitive."""
    symbol: Symbol = UNSIGNED
    cost: Cost = each
    refused: str = ""
    """Why there is no rule, for the primitives that have none; the end of a sentence."""
    flat: bool = False
    """True if nothing flows back: integers, Booleans, keys, steps with slope 0 wherever they have one."""
    flat_for_reals: bool = False
    """True if only a complex number has a slope."""
    block: bool = False
    """True for a loop or branch, which is written over several lines."""
    foldable: bool = True
    """Whether equal steps may be written once, and steps on constants evaluated."""
    entrywise: bool = False
    """Whether an entry of the output depends on the same entry of each input of that shape and on no other."""
    passes_on: bool = False
    """Whether every entry is passed on as it is."""
    positive: bool = False
    """In exact arithmetic never zero for finite inputs."""
    product: bool = False
    """Zero only if an input is zero (except the second input of a quotient)."""
    sloped: bool = False
    """The slope is never zero, in exact arithmetic, for finite inputs; if the value saturates it rounds to zero."""

    back: tuple[Back, ...] = ()
    """What the rule passes to each input, for a caption: the last entry holds for all further inputs, "" for no
    caption."""

    def stops(self, *avals: Any) -> bool:
        """True if nothing flows back to inputs of these dtypes."""
        if self.flat_for_reals:
            return not any(jnp.issubdtype(each.dtype, jnp.complexfloating) for each in avals)
        return self.flat

    @property
    def result(self) -> str:
        """The name of its result if the user gave none."""
        return self.word or re.sub(r"\W+", "_", self.name)

    def formula(self, position: int, params: Mapping[str, Any], shapes: Sequence[tuple[int, ...]]) -> str:
        """The formula of what the rule passes to an input; "" if there is none."""
        if not self.back:
            return ""
        entry = self.back[min(position, len(self.back) - 1)]
        return entry if isinstance(entry, str) else entry(params, shapes)

    def pull(self, y_bar: Any, y: Any, /, *inputs: Any, **params: Any) -> tuple[Any, ...]:
        """The rule's contributions; releases of JAX add parameters, and a rule gets those that it names."""
        assert self.rule is not None, f"nothing flows back through {self.name}"
        names = _parameters(self.rule)
        wanted = params if names is None else {name: params[name] for name in names if name in params}
        return self.rule(y_bar, y, *inputs, **wanted)

    def lacking(self) -> list[str]:
        """The entries that the families must fill but did not."""
        filled = {
            "rule": self.flat or bool(self.refused) or self.rule is not None,
            "python": self.block or self.python is not None,
        }
        return [name for name, there in filled.items() if not there]


#: {name of the primitive: its record}.
TABLE: dict[str, Primitive] = {}


def enter(*primitives: Primitive, entrywise: bool = False) -> None:
    """Enter records into the table; `entrywise` if the family is elementwise."""
    TABLE.update((each.name, replace(each, entrywise=entrywise)) for each in primitives)


def known(name: str) -> Primitive:
    """The record of a primitive; if it has none, a record that knows only the name."""
    return TABLE.get(name) or Primitive(name)


@functools.cache
def _parameters(rule: Rule) -> tuple[str, ...] | None:
    """The parameters that a rule names; None if it takes all."""
    parameters = inspect.signature(rule).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
