"""The graph as plain text: a line per node, in topological order."""

from typing import Any

import numpy as np

from fnn.glassbox.picture import symbols
from fnn.glassbox.records import Node, Record, Summary

#: The largest width of a column of values.
WIDEST = 28


def as_text(graph: Record, width: int = 100) -> str:
    """The graph as a table with at most `width` characters per line: name = operation(inputs), value, derivative.

    If several consumers pass something back, a second line shows their contributions. Constant numbers are written in
    place.
    """
    lone = {n.index for n in graph.nodes if n.operation == "constant" and symbols.single(n.value)}
    rows = []
    for node in graph.nodes:
        if node.index not in lone:
            bar = "" if node.cotangent is None else f"∂ {_short(node.cotangent)}"
            rows.append((_made(graph, node, lone), _short(node.value), bar, _terms(graph, node)))
    count = "1 value" if len(rows) == 1 else f"{len(rows)} values"
    title = f"{graph.name}: {count}; derivatives of {', '.join(graph.nodes[k].name for k in graph.outputs)}"
    value = min(max((len(row[1]) for row in rows), default=0), WIDEST)
    bar = min(max((len(row[2]) for row in rows), default=0), WIDEST)
    first = max(width - value - bar - 4, 12)
    first = min(first, max((len(row[0]) for row in rows), default=0))
    lines = [_cut(title, width)]
    for made, number, back, terms in rows:
        lines.append(
            f"{_cut(made, first):<{first}}  {_cut(number, value):>{value}}  {_cut(back, bar)}".rstrip()[:width]
        )
        lines += [f"    ∂ {_cut(terms, width - 6)}"] if terms else []
    lines += [_cut(note, width) for note in graph.notes]
    return "\n".join(lines)


def _made(graph: Record, node: Node, lone: set[int]) -> str:
    if node.source:
        return node.name
    inputs = [
        symbols.number(symbols.entry(graph.nodes[i].value)) if i in lone else graph.nodes[i].name for i in node.inputs
    ]
    return f"{node.name} = {node.operation}({', '.join(inputs)})"


def _terms(graph: Record, node: Node) -> str:
    if len(node.shares) < 2:
        return ""
    return " + ".join(f"{_short(share.bar)} from {graph.nodes[share.consumer].name}" for share in node.shares)


def _short(value: Any) -> str:
    if isinstance(value, Summary):
        return f"{symbols.number(value.least)} … {symbols.number(value.largest)}"
    if not symbols.numeric(value):
        return str(value.dtype)
    entries = np.asarray(value)
    if not entries.shape:
        return symbols.number(entries[()])
    shape = f"[{'×'.join(map(str, entries.shape))}]"
    if not entries.size or entries.dtype.kind == "c":
        return shape
    if entries.size == 1:
        return f"{shape} {symbols.number(entries.flat[0])}"
    return f"{shape} {symbols.number(entries.min())} … {symbols.number(entries.max())}"


def _cut(words: str, width: int) -> str:
    return words if len(words) <= width else words[: max(width - 1, 0)] + "…"
