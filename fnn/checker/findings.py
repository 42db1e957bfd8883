"""What a check says about one argument of one rule: a verdict, the worst entry, and a sentence.

Promises: `Verdict` is in the order of gravity; a verdict is fine if nothing needs fixing.
"""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np


class Verdict(StrEnum):
    """What a check says about one argument of one rule.

    >>> fnn.checker.Verdict.KINK.fine, fnn.checker.Verdict.FORMULA.fine
    (True, False)
    >>> fnn.checker.Verdict.FORMULA == "FORMULA"
    True
    """

    OK = "OK"
    KINK = "KINK"
    """There is no derivative at that entry; the value lies between the slopes from the left and the right."""
    EXPECTED = "EXPECTED"
    """Differs from the derivative on purpose, as declared: frozen, clipped, reversed, straight-through."""
    ASSUMES = "ASSUMES"
    """Right for data as in the run (rows that sum to 1, one-hot rows, masks), but not for other data."""
    UNDECIDED = "UNDECIDED"
    PRECISION = "PRECISION"
    """Right in float64, but worse in the working dtype than autodiff in that dtype."""
    FORMULA = "FORMULA"
    """Wrong in float64, by two independent witnesses."""

    @property
    def gravity(self) -> int:
        """0 for OK, more for what is graver."""
        return list(Verdict).index(self)

    @property
    def fine(self) -> bool:
        """True if nothing needs fixing."""
        return self in (Verdict.OK, Verdict.KINK, Verdict.EXPECTED, Verdict.ASSUMES)


@dataclass(frozen=True)
class Finding:
    """The verdict on one argument of one rule, with its worst entry.

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
    """The diagnosis, or the reason why it is undecided."""
    certain: bool = True
    """False if `message` is only a hint."""
    kind: str = ""
    """The diagnosis in one word: "sign", "factor", "zero", "transposed", "entry", "term", "derivative", …"""
    relative: float | None = None
    """Largest |by hand − truth| over the largest |truth| of the leaf."""
    leaf: tuple[np.ndarray, np.ndarray] | None = field(default=None, compare=False, repr=False)
    """The whole leaf, (by hand, truth), if it is not OK or belongs to the whole gradient; not part of the JSON."""
    inputs: tuple | None = field(default=None, compare=False, repr=False)
    """The inputs and data at which the worst entry was seen, in float64; not part of the JSON."""


def graver(one: list[Finding], other: list[Finding]) -> list[Finding]:
    """For each argument of each rule, the graver of its findings; the first if they are equal."""
    gravest: dict[tuple[str, str, str], Finding] = {}
    for finding in [*one, *other]:
        place = finding.rule, finding.where, finding.argument
        last = gravest.get(place)
        if last is None or finding.verdict.gravity > last.verdict.gravity:
            gravest[place] = finding
    return list(gravest.values())


def is_whole(rule: str) -> bool:
    """True for the name of the whole gradient, which combines all rules."""
    return rule in ("gradient", "gradient, second order")


def culprits(findings: tuple[Finding, ...]) -> tuple[str, ...]:
    """The rules whose formula is wrong, each once; the whole gradient only where no rule explains it."""
    wrong = [f.rule for f in findings if f.verdict == Verdict.FORMULA]
    rules = [name for name in dict.fromkeys(wrong) if not is_whole(name)]
    return tuple(rules or dict.fromkeys(wrong))
