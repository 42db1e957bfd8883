"""From a program to lines of text: what gets its own line, what is written inside another, and how values are named.

Promises: a value that the user named, or that is read more than once, has its own line; all others are written where
they are read. The language comes from a dialect (`python`, `latex`), which sees one operation at a time.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from fnn.glassbox.spelling.pieces import Piece
from fnn.glassbox.table import known
from fnn.glassbox.trace import names
from fnn.glassbox.trace.program import Program, Step

#: A longer expression is split: its parts get names.
LONGEST = 60
#: Prefix of a name that a value gets only if it needs a line anyway.
MAYBE = "maybe "


class Dialect(Protocol):
    """How a language writes operations."""

    def constant(self, value: Any, dtype: Any) -> Piece: ...
    def operation(self, step: Step, operands: Sequence[Piece], shapes: Sequence[Any]) -> Piece: ...
    def assign(self, targets: Sequence[str], piece: Piece) -> str: ...
    def loop(self, writer: "Writer", step: Step, operands: Sequence[Piece], shapes: Sequence[Any]) -> list[str]: ...
    def word(self, name: str) -> str: ...


class Writer:
    """Writes the lines of one program."""

    def __init__(self, dialect: Dialect, taken: Sequence[str] = ()) -> None:
        self.dialect = dialect
        self.lines: list[str] = []
        self.indent = 0
        self.taken = set(taken)

    def name(self, wish: str) -> str:
        """The wanted name, with a number appended if it is taken."""
        name, count = wish, 1
        while name in self.taken:
            count += 1
            name = f"{wish}{'_' if wish[-1].isdigit() else ''}{count}"
        self.taken.add(name)
        return name

    def line(self, text: str) -> None:
        """Add a line at the present depth."""
        self.lines.append("    " * self.indent + text)

    def write(
        self, program: Program, pieces: dict[int, Piece], after: dict[int, str] | None = None
    ) -> dict[int, Piece]:
        """Write the steps; return a piece for every value.

        Args:
            pieces: the pieces for the inputs of the program, by number; constants are added.
            after: {step: a line that comes before it}, such as a remark.
        """
        dialect = self.dialect
        for number, value in program.constants.items():
            if number not in pieces:
                pieces[number] = dialect.constant(value, program.shapes[number].dtype)
        uses = _uses(program)
        for k, step in enumerate(program.steps):
            if after and k in after:
                self.line(after[k])
            operands = [pieces[number] for number in step.inputs]
            name = step.primitive.name
            if name == "name":
                (source,) = operands
                wish = str(step.params["name"])
                if wish.startswith(MAYBE):
                    read = uses.get(step.outputs[0], 0)
                    if source.literal or source.word or (read < 2 and len(source.text) <= LONGEST):
                        pieces[step.outputs[0]] = source
                        continue
                target = self.name(wish.removeprefix(MAYBE))
                self.line(dialect.assign([target], source))
                pieces[step.outputs[0]] = self.word(target, program.shapes[step.outputs[0]])
                continue
            if known(name).block:
                targets = dialect.loop(self, step, operands, program.shapes)
                pieces.update((n, self.word(t, program.shapes[n])) for n, t in zip(step.outputs, targets, strict=True))
                continue
            piece = dialect.operation(step, operands, program.shapes)
            if len(step.outputs) > 1:
                targets = [self.name(names.word(name)) if uses.get(n) else "_" for n in step.outputs]
                self.line(dialect.assign(targets, piece))
                pieces.update((n, self.word(t, program.shapes[n])) for n, t in zip(step.outputs, targets, strict=True))
                continue
            number = next(iter(step.outputs))
            labelled = _only_labelled(program, number)
            repeated = uses.get(number, 0) > 1 and not (piece.literal or piece.word)
            text = piece.spread.text if piece.spread else piece.text
            long = len(text) > LONGEST and not labelled
            if (repeated or long) and not (piece.spread and piece.spread.plain):
                target = self.name(names.word(name))
                self.line(dialect.assign([target], piece))
                piece = self.word(target, program.shapes[number])
            pieces[number] = piece
        return pieces

    def hold(self, piece: Piece, wish: str) -> Piece:
        """The piece as a name, on a line of its own unless it is a name already."""
        if piece.literal or piece.word:
            return piece
        target = self.name(wish)
        self.line(self.dialect.assign([target], piece))
        return Piece(self.dialect.word(target), 0, piece.shape, piece.dtype, word=True)

    def word(self, name: str, aval: Any) -> Piece:
        """A piece that is the name of a value of this shape and dtype."""
        return Piece(self.dialect.word(name), 0, aval.shape, aval.dtype, word=True)


def _uses(program: Program) -> dict[int, int]:
    """How often each value is read."""
    count: dict[int, int] = {}
    for number in (*(n for step in program.steps for n in step.inputs), *program.outputs):
        count[number] = count.get(number, 0) + 1
    return count


def _only_labelled(program: Program, number: int) -> bool:
    """True if a value is only given a name."""
    readers = [step for step in program.steps if number in step.inputs]
    return len(readers) == 1 and readers[0].primitive.name == "name"
