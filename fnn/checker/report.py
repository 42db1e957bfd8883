"""What a check says: a value with one finding per rule and argument, that prints as a table.

Promises: nothing is said to be wrong unless two independent witnesses agree that it is; what could not be decided is
said to be undecided. `report.ok` is true when every finding is OK or a KINK.
"""

import json
import os
import shutil
import sys
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

import numpy as np


class Verdict(StrEnum):
    """What is said of one argument of one rule.

    >>> fnn.checker.Verdict.KINK.fine, fnn.checker.Verdict.FORMULA.fine
    (True, False)
    >>> fnn.checker.Verdict.FORMULA == "FORMULA"
    True
    """

    OK = "OK"
    KINK = "KINK"
    """No derivative exists there; the value lies between the slopes from the left and the right."""
    UNDECIDED = "UNDECIDED"
    PRECISION = "PRECISION"
    """Right in float64, but worse in the working dtype than autodiff in that dtype."""
    FORMULA = "FORMULA"
    """Wrong in float64, by autodiff and by differences."""

    @property
    def gravity(self) -> int:
        """0 for OK, more for what is graver."""
        return list(Verdict).index(self)

    @property
    def fine(self) -> bool:
        """True where nothing has to be mended."""
        return self in (Verdict.OK, Verdict.KINK)


#: ANSI colours. The verdict is spelled out as well: colour never tells anything alone.
COLOURS = {"OK": "32", "KINK": "36", "UNDECIDED": "33", "PRECISION": "35", "FORMULA": "1;31"}


@dataclass(frozen=True)
class Finding:
    """What was found at one argument of one rule.

    >>> report = fnn.check(lambda w: jnp.sum(w**2), jnp.arange(3.0), gradient=lambda w: w)
    >>> finding = report.findings[0]
    >>> finding.verdict, finding.entry, finding.by_hand, finding.truth, finding.message
    (<Verdict.FORMULA: 'FORMULA'>, (2,), 2.0, 4.0, 'a factor of ½ too many')
    """

    rule: str
    where: str
    """File and line of the derivative, or "unknown"."""
    argument: str
    verdict: Verdict
    entry: tuple[int, ...] | None = None
    """The worst entry."""
    by_hand: float | None = None
    truth: float | None = None
    error: float | None = None
    """|by hand − truth| in units of the truth's own uncertainty."""
    message: str = ""
    """The diagnosis, or why it is undecided."""
    certain: bool = True
    """False where `message` is a hint."""
    kind: str = ""
    """The diagnosis in one word: "sign", "factor", "zero", "transposed", "entry", "term", "derivative", …"""
    relative: float | None = None
    """Largest |by hand − truth| over the largest |truth| of the leaf."""
    leaf: tuple[np.ndarray, np.ndarray] | None = field(default=None, compare=False, repr=False)
    """The whole leaf, (by hand, truth), where it is not OK or belongs to the whole gradient; not part of the JSON."""


@dataclass(frozen=True)
class Report:
    """The findings of a check, and what was looked at.

    >>> report = fnn.check(lambda w: jnp.sum(w**2), jnp.arange(3.0), gradient=lambda w: 2 * w)
    >>> report.ok, report.culprits
    (True, ())
    """

    findings: tuple[Finding, ...]
    skipped: tuple[str, ...] = ()
    """Arguments without derivative."""
    notes: tuple[str, ...] = ()
    looked_at: dict[str, int] = field(default_factory=dict)
    """Entries compared with autodiff, and entries differenced."""
    missed: float | None = None
    """The chance that differences along random directions miss a wrong entry of the whole gradient; None where no
    direction could be used."""

    @property
    def ok(self) -> bool:
        """True when everything is OK, or sits on a kink with a value that is possible there."""
        return all(finding.verdict.fine for finding in self.findings)

    @property
    def culprits(self) -> tuple[str, ...]:
        """The rules whose formula is wrong, each once; the whole gradient only where no rule explains it."""
        wrong = [f.rule for f in self.findings if f.verdict == Verdict.FORMULA]
        rules = [name for name in dict.fromkeys(wrong) if not _is_whole(name)]
        return tuple(rules or dict.fromkeys(wrong))

    def to_json(self) -> str:
        """Everything as JSON, the leaves left out; numbers that are not finite as text."""

        def plain(value: Any) -> Any:
            if isinstance(value, float) and not np.isfinite(value):
                return str(value)
            if isinstance(value, dict):
                return {key: plain(each) for key, each in value.items()}
            return [plain(each) for each in value] if isinstance(value, list | tuple) else value

        findings = [{f.name: getattr(each, f.name) for f in fields(each) if f.name != "leaf"} for each in self.findings]
        told = {"ok": self.ok, "culprits": self.culprits, "findings": findings}
        told |= {f.name: getattr(self, f.name) for f in fields(self) if f.name != "findings"}
        return json.dumps(plain(told), indent=1, ensure_ascii=False, allow_nan=False)

    def draw(self, path: Any = None) -> Any:
        """A matplotlib figure of the error per leaf and of the worst leaf; saved there if a path is given."""
        from fnn.checker.picture import draw

        return draw(self, path)

    def __str__(self) -> str:
        terminal = sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        return self.text(colour=terminal and "NO_COLOR" not in os.environ)

    def text(self, *, colour: bool = False, width: int | None = None) -> str:
        """The report as text: what is not OK first, then one line per rule that is.

        Args:
            colour: with ANSI colours; `print(report)` uses them where it writes to a terminal (unless NO_COLOR is set).
            width: of the table in characters; by default that of the terminal.
        """
        room = max(width or shutil.get_terminal_size((100, 24)).columns, 60)
        lines = _table([*_bad_rows(self.findings), *_good_rows(self.findings)], room, colour)
        if any(f.error is not None and not f.verdict.fine for f in self.findings):
            lines.append("error: in units of the truth's own uncertainty; 1 is nothing")
        told = dict.fromkeys(
            f"{f.rule} ({f.where}), {f.argument}: {'' if f.certain else 'perhaps '}{f.message}"
            for f in self.findings
            # what a rule explains needs no explanation of its own in the whole gradient
            if f.message
            and f.verdict != Verdict.OK
            and (not _is_whole(f.rule) or not self.culprits or _is_whole(self.culprits[0]))
        )
        if told:
            lines += ["", *told]
        if self.skipped:
            lines += ["", f"without derivative, skipped: {', '.join(self.skipped)}"]
        return "\n".join([*lines, "", *self.notes, self._summary(colour)])

    def _summary(self, colour: bool) -> str:
        looked = ", ".join(f"{count} entries {what}" for what, count in self.looked_at.items())
        if self.ok:
            return f"{_painted('ok', 'OK', colour)}: {looked}"
        if self.culprits:
            wrong = _painted(f"NOT OK, wrong: {', '.join(self.culprits)}", "FORMULA", colour)
            return f"{wrong} · {looked}"
        worst = sorted({f.verdict.value for f in self.findings} - {"OK", "KINK"})
        return _painted(f"NOT OK, {' and '.join(worst)}", worst[0], colour) + f" · {looked}"


def _is_whole(rule: str) -> bool:
    return rule in ("gradient", "gradient, second order")


def _bad_rows(findings: tuple[Finding, ...]) -> list[tuple[str, ...]]:
    rows = []
    for f in sorted(findings, key=lambda f: -f.verdict.gravity):
        if f.verdict != Verdict.OK:
            at = "" if f.entry is None else str(list(f.entry))
            rows.append((f.rule, f.argument + at, f.verdict.value, *map(_number, (f.by_hand, f.truth, f.error))))
    return rows


def _good_rows(findings: tuple[Finding, ...]) -> list[tuple[str, ...]]:
    """One row per rule, with the arguments that are OK."""
    good: dict[str, list[str]] = {}
    for f in findings:
        if f.verdict == Verdict.OK:
            good.setdefault(f.rule, []).append(f.argument)
    return [
        (rule, ", ".join(given) if len(given) <= 3 else f"{len(given)} arguments", "OK", "", "", "")
        for rule, given in good.items()
    ]


def _table(rows: list[tuple[str, ...]], room: int, colour: bool) -> list[str]:
    heads = ("rule", "argument", "verdict", "by hand", "truth", "error")
    # columns without a word are left out: a report that is OK has no numbers
    kept = [k for k in range(len(heads)) if k < 3 or any(row[k] for row in rows)]
    widths = {k: max(len(heads[k]), *(len(row[k]) for row in rows), 1) for k in kept}
    spare = room - 2 * (len(kept) - 1) - sum(widths[k] for k in kept if k > 1)
    for k, share in ((0, spare // 2), (1, spare - min(widths[0], spare // 2))):
        widths[k] = min(widths[k], max(share, 12))

    def line(cells: tuple[str, ...], paint: bool) -> str:
        told = [_short(cells[k], widths[k]).ljust(widths[k]) for k in kept]
        if paint:
            told[2] = _painted(told[2], cells[2], colour)
        return "  ".join(told).rstrip()

    return [line(heads, False), "  ".join("─" * widths[k] for k in kept), *(line(row, True) for row in rows)]


def _painted(text: str, verdict: str, colour: bool) -> str:
    return f"\x1b[{COLOURS[verdict]}m{text}\x1b[0m" if colour else text


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
