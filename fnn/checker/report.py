"""The result of a check: a value with one finding per rule and argument, printed as a table.

Promises: nothing is called wrong unless two independent witnesses agree that it is; what could not be decided is called
undecided. `report.ok` is true if nothing needs fixing: every verdict is OK, KINK, EXPECTED or ASSUMES.
"""

import json
import os
import shutil
import sys
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from fnn import notebook
from fnn.checker.findings import Finding, Verdict, culprits, is_whole
from fnn.checker.picture import draw

#: ANSI colours. The verdict is spelled out as well: nothing is shown only by colour.
COLOURS = {
    "OK": "32", "KINK": "36", "EXPECTED": "36", "ASSUMES": "34", "UNDECIDED": "33", "PRECISION": "35",
    "FORMULA": "1;31",
}  # fmt: skip

HEADS = ("rule", "argument", "verdict", "by hand", "truth", "error")


@dataclass(frozen=True)
class Report:
    """The findings of a check, and what was examined.

    >>> report = fnn.check(lambda w: jnp.sum(w**2), jnp.arange(3.0), gradient=lambda w: 2 * w)
    >>> report.ok, report.culprits
    (True, ())
    """

    findings: tuple[Finding, ...]
    skipped: tuple[str, ...] = ()
    """Arguments without a derivative."""
    notes: tuple[str, ...] = ()
    looked_at: dict[str, int] = field(default_factory=dict)
    """Entries compared with autodiff (or, in NumPy, with differences), and entries differenced."""
    missed: float | None = None
    """The chance that differences along random directions miss a wrong entry of the whole gradient; None if no
    direction could be used."""
    strict: bool = False
    """Whether a gradient that is right only under an assumption (ASSUMES) counts as wrong."""

    @property
    def ok(self) -> bool:
        """True if nothing needs fixing: everything is right, is at a kink with a value that is possible there, differs
        on purpose as declared, or (unless `strict`) is right under an assumption that the report names."""
        return all(f.verdict.fine and not (self.strict and f.verdict == Verdict.ASSUMES) for f in self.findings)

    @property
    def culprits(self) -> tuple[str, ...]:
        """The rules with a wrong formula, each once; the whole gradient only if no rule explains it."""
        return culprits(self.findings)

    def to_json(self) -> str:
        """Return everything as JSON, without the leaves; numbers that are not finite are text."""

        def plain(value: Any) -> Any:
            if isinstance(value, float) and not np.isfinite(value):
                return str(value)
            if isinstance(value, dict):
                return {key: plain(each) for key, each in value.items()}
            return [plain(each) for each in value] if isinstance(value, list | tuple) else value

        findings = [
            {f.name: getattr(each, f.name) for f in fields(each) if f.name not in ("leaf", "inputs")}
            for each in self.findings
        ]
        report = {"ok": self.ok, "culprits": self.culprits, "findings": findings}
        report |= {f.name: getattr(self, f.name) for f in fields(self) if f.name != "findings"}
        return json.dumps(plain(report), indent=1, ensure_ascii=False, allow_nan=False)

    def draw(self, path: Any = None) -> Any:
        """Return a matplotlib figure of the error per leaf and of the worst leaf; save it if a path is given (.png,
        .pdf or .svg)."""
        return draw(self.findings, path)

    def __str__(self) -> str:
        terminal = sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        return self.text(colour=terminal and "NO_COLOR" not in os.environ)

    def text(self, *, colour: bool = False, width: int | None = None) -> str:
        """Return the report as text: first what is not OK, then one line per rule that is.

        Args:
            colour: whether to use ANSI colours; `print(report)` uses them on a terminal (unless NO_COLOR is set).
            width: width of the table in characters; by default that of the terminal.
        """
        room = max(width or shutil.get_terminal_size((100, 24)).columns, 60)
        lines = _table([*_bad_rows(self.findings), *_good_rows(self.findings)], room, colour)
        return "\n".join([*lines, *self._sentences(), self._summary(colour)])

    def _repr_html_(self) -> str:
        rows = [*_bad_rows(self.findings), *_good_rows(self.findings)]
        shown = _shown(rows)
        cells = [[row[k] for k in shown] for row in rows]
        return notebook.table([HEADS[k] for k in shown], cells, above=self._summary(False), below=self._sentences())

    def _sentences(self) -> list[str]:
        """The lines below the table."""
        lines = []
        if any(f.error is not None and not f.verdict.fine for f in self.findings):
            lines.append("error: in units of the truth's own uncertainty; 1 is negligible")
        messages = dict.fromkeys(
            f"{f.rule} ({f.where}), {f.argument}: {'' if f.certain else 'perhaps '}{f.message}"
            for f in self.findings
            # what a rule explains needs no separate explanation in the whole gradient
            if f.message
            and f.verdict != Verdict.OK
            and (not is_whole(f.rule) or not self.culprits or is_whole(self.culprits[0]))
        )
        if messages:
            lines += ["", *messages]
        if self.skipped:
            lines += ["", f"without derivative, skipped: {', '.join(self.skipped)}"]
        return [*lines, "", *self.notes]

    def _summary(self, colour: bool) -> str:
        looked = ", ".join(f"{count} entries {what}" for what, count in self.looked_at.items())
        if self.ok:
            return f"{_painted('ok', 'OK', colour)}: {looked}"
        if self.culprits:
            wrong = _painted(f"NOT OK, wrong: {', '.join(self.culprits)}", "FORMULA", colour)
            return f"{wrong} · {looked}" if looked else wrong
        worst = sorted({f.verdict.value for f in self.findings if f.verdict == "ASSUMES" or not f.verdict.fine})
        return _painted(f"NOT OK, {' and '.join(worst)}", worst[0], colour) + (f" · {looked}" if looked else "")


def _bad_rows(findings: tuple[Finding, ...]) -> list[tuple[str, ...]]:
    rows = []
    for f in sorted(findings, key=lambda f: -f.verdict.gravity):
        if f.verdict != Verdict.OK:
            at = "" if not f.entry else str(list(f.entry))
            rows.append((f.rule, f.argument + at, f.verdict.value, *map(_number, (f.by_hand, f.truth, f.error))))
    return rows


def _good_rows(findings: tuple[Finding, ...]) -> list[tuple[str, ...]]:
    """One row per rule, for the arguments that are OK."""
    good: dict[str, list[str]] = {}
    for f in findings:
        if f.verdict == Verdict.OK:
            good.setdefault(f.rule, []).append(f.argument)
    return [
        (rule, ", ".join(names) if len(names) <= 3 else f"{len(names)} arguments", "OK", "", "", "")
        for rule, names in good.items()
    ]


def _shown(rows: list[tuple[str, ...]]) -> list[int]:
    """The columns; empty ones are left out, since a report that is OK has no numbers."""
    return [k for k in range(len(HEADS)) if k < 3 or any(row[k] for row in rows)]


def _table(rows: list[tuple[str, ...]], room: int, colour: bool) -> list[str]:
    shown = _shown(rows)
    widths = {k: max(len(HEADS[k]), *(len(row[k]) for row in rows), 1) for k in shown}
    spare = room - 2 * (len(shown) - 1) - sum(widths[k] for k in shown if k > 1)
    for k, share in ((0, spare // 2), (1, spare - min(widths[0], spare // 2))):
        widths[k] = min(widths[k], max(share, 12))

    def line(cells: tuple[str, ...], paint: bool) -> str:
        texts = [_short(cells[k], widths[k]).ljust(widths[k]) for k in shown]
        if paint:
            texts[2] = _painted(texts[2], cells[2], colour)
        return "  ".join(texts).rstrip()

    return [line(HEADS, False), "  ".join("─" * widths[k] for k in shown), *(line(row, True) for row in rows)]


def _painted(text: str, verdict: str, colour: bool) -> str:
    return f"\x1b[{COLOURS[verdict]}m{text}\x1b[0m" if colour else text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
