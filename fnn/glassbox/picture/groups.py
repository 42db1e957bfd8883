"""Nested calls and named scopes that are folded into one box each, and rows of equal ones.

Promises: a group is a run of steps without a gap, so that no path leaves it and comes back.
Refuses, in a sentence: names of which nothing is there.
"""

import itertools
import re
from collections.abc import Sequence
from typing import Any

from fnn.glassbox.picture.drawing import Drawing

#: This many equal neighbours become one box.
ROW = 3


def folded(drawing: Drawing, fold: bool | tuple[str, ...]) -> dict[int, tuple[str, int, int]]:
    """{drawn node: (name of its group, the first node of the group, how many equal groups it stands for)}.

    A group is a run of steps without a gap, so that no path leaves it and comes back.
    """
    left_out = {*drawing.fixed, *drawing.leader}
    steps = [k for k in drawing.drawn if not drawing.nodes[k].source and k not in left_out]
    wanted = (fold,) if isinstance(fold, str) else fold
    runs: list[tuple[tuple[str, ...], list[int]]] = []
    for path, members in itertools.groupby(steps, key=lambda k: _scope(drawing.nodes[k].calls, wanted)):
        runs.append((path, list(members)))
    result: dict[int, tuple[str, int, int]] = {}
    for (_, name, _), row in itertools.groupby(_signed(drawing, runs), key=lambda each: each[0]):
        rows = [members for _, members in row]
        if not name or (len(rows) < ROW and all(len(members) < 2 for members in rows)):
            continue
        if len(rows) >= ROW:
            result.update((k, (name, rows[0][0], len(rows))) for members in rows for k in members)
        else:
            for members in rows:
                own = _scope(drawing.nodes[members[0]].calls, wanted)[-1]
                result.update((k, (re.sub(r"#\d+$", "", own), members[0], 1)) for k in members)
    return result


def require_known(drawing: Drawing, wanted: Sequence[str]) -> None:
    known = dict.fromkeys(name for node in drawing.nodes for name in node.calls)
    known |= {re.sub(r"#\d+$", "", name): None for name in known}
    for name in wanted:
        if name not in known:
            listed = ", ".join(known) or "none: put jax.jit or jax.named_scope around the part"
            raise ValueError(f"fold must name nested calls or named scopes, got {name!r}. There are: {listed}.")


def _scope(calls: tuple[str, ...], wanted: bool | Sequence[str]) -> tuple[str, ...]:
    """The outermost call to fold, with those around it; () for none."""
    if isinstance(wanted, bool):
        return calls[:1] if wanted else ()
    for depth, name in enumerate(calls):
        if name in wanted or re.sub(r"#\d+$", "", name) in wanted:
            return calls[: depth + 1]
    return ()


def _signed(
    drawing: Drawing, runs: list[tuple[tuple[str, ...], list[int]]]
) -> list[tuple[tuple[Any, str, Any], list[int]]]:
    """Each run with what makes it equal to another: its surroundings, its name without a number, steps and shapes."""
    signed = []
    for path, members in runs:
        stem = re.sub(r"#\d+$", "", path[-1]) if path else ""
        stem = re.sub(r"_?\d+$", "", stem) or stem
        steps = tuple((drawing.nodes[k].operation, drawing.nodes[k].shape) for k in members)
        signed.append(((path[:-1], stem, steps if path else members[0]), members))
    return signed
