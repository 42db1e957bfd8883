"""Records as HTML for a cell of a notebook: a table, and lines of text around it.

Promises: everything is escaped, so that a name is never markup; the colours are those of the notebook, light or dark.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], *, above: str = "", below: Iterable[str] = ()) -> str:
    """A table of texts and numbers; numbers stand at the right.

    Args:
        heads: the names of the columns.
        rows: one cell per column; a wide table scrolls in its own frame.
        above, below: lines before and after it.
    """
    head = "".join(f"<th style='text-align:left'>{escape(text)}</th>" for text in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    lines = "".join(f"<div style='white-space:pre-wrap'>{escape(line)}</div>" for line in below if line)
    title = f"<div><b>{escape(above)}</b></div>" if above else ""
    held = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<div style='overflow-x:auto'>{title}{held}{lines}</div>"


def number(value: Any) -> str:
    """A number in four digits, whole ones in full: `1,170`, `0.1966`."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e7 else f"{value:.4g}"


def _cell(value: Any) -> str:
    if isinstance(value, str):
        return f"<td style='text-align:left'>{escape(value)}</td>"
    return f"<td style='text-align:right'>{'' if value is None else escape(number(value))}</td>"
