"""What a check says: a value with one finding per rule and argument, that prints as a table.

Promises: nothing is said to be wrong unless two independent witnesses agree that it is; what could not be decided is
said to be undecided. `report.ok` is true when every finding is OK or a KINK.
"""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np


class Verdict(StrEnum):
    """What is said of one argument of one rule."""

    OK = "OK"
    KINK = "KINK"
    """No derivative exists there; the value lies between the slopes from the left and the right."""
    UNDECIDED = "UNDECIDED"
    PRECISION = "PRECISION"
    """Right in float64, but worse in the working dtype than autodiff in that dtype."""
    FORMULA = "FORMULA"
    """Wrong in float64, by autodiff and by differences."""


@dataclass(frozen=True)
class Finding:
    """What was found at one argument of one rule."""

    rule: str
    where: str
    argument: str
    verdict: Verdict
    entry: tuple[int, ...] | None = None
    """The worst entry."""
    by_hand: float | None = None
    truth: float | None = None
    error: float | None = None
    """|by hand − truth| in units of the truth's own uncertainty."""
    says: str = ""
    """The diagnosis, or why it is undecided."""
    certain: bool = True
    """False where `says` is a hint."""


@dataclass(frozen=True)
class Report:
    """The findings of a check, and what was looked at."""

    findings: tuple[Finding, ...]
    skipped: tuple[str, ...] = ()
    """Arguments without derivative."""
    notes: tuple[str, ...] = ()
    looked_at: dict[str, int] = field(default_factory=dict)
    """Entries compared with autodiff, and entries differenced."""

    @property
    def ok(self) -> bool:
        """True when everything is OK, or sits on a kink with a value that is possible there."""
        return all(finding.verdict in (Verdict.OK, Verdict.KINK) for finding in self.findings)

    @property
    def culprits(self) -> tuple[str, ...]:
        """The rules whose formula is wrong, each once; the whole gradient only where no rule explains it."""
        wrong = [f.rule for f in self.findings if f.verdict == Verdict.FORMULA]
        rules = [name for name in dict.fromkeys(wrong) if name != "gradient"]
        return tuple(rules or dict.fromkeys(wrong))

    def to_json(self) -> str:
        """Everything as JSON; numbers that are not finite as text."""

        def plain(value: Any) -> Any:
            if isinstance(value, float) and not np.isfinite(value):
                return str(value)
            if isinstance(value, dict):
                return {key: plain(each) for key, each in value.items()}
            return [plain(each) for each in value] if isinstance(value, list | tuple) else value

        told = {"ok": self.ok, "culprits": self.culprits} | asdict(self)
        return json.dumps(plain(told), indent=1, ensure_ascii=False, allow_nan=False)

    def __str__(self) -> str:
        heads = ("rule", "argument", "verdict", "by hand", "truth", "error")
        rows: list[tuple[str, ...]] = [heads]
        for f in self.findings:
            at = "" if f.entry is None or f.verdict == Verdict.OK else str(list(f.entry))
            numbers = [_number(v) if f.verdict != Verdict.OK else "" for v in (f.by_hand, f.truth, f.error)]
            rows.append((_short(f.rule), _short(f.argument + at), f.verdict.value, *numbers))
        widths = [max(len(row[k]) for row in rows) for k in range(len(heads))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines.insert(1, "  ".join("─" * w for w in widths))
        told = dict.fromkeys(
            f"{f.rule} ({f.where}), {f.argument}: {'' if f.certain else 'perhaps '}{f.says}"
            for f in self.findings
            # what a rule explains needs no explanation of its own in the whole gradient
            if f.says and f.verdict != Verdict.OK and (f.rule != "gradient" or self.culprits in ((), ("gradient",)))
        )
        if told:
            lines += ["", *told]
        if self.skipped:
            lines += ["", f"without derivative, skipped: {', '.join(self.skipped)}"]
        lines += ["", *self.notes, self._summary()]
        return "\n".join(lines)

    def _summary(self) -> str:
        looked = ", ".join(f"{count} entries {what}" for what, count in self.looked_at.items())
        if self.ok:
            return f"ok: {looked}"
        if self.culprits:
            return f"NOT OK, wrong: {', '.join(self.culprits)} · {looked}"
        worst = sorted({f.verdict.value for f in self.findings} - {"OK", "KINK"})
        return f"NOT OK, {' and '.join(worst)} · {looked}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _short(text: str, width: int = 34) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
