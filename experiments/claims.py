"""Judgements: what an experiment finds of a claim of the lectures, from its numbers.

Promises: a verdict is computed, never written down; `claims.md` of the docs and the report are made from these.
"""

from typing import Literal, NamedTuple

Verdict = Literal["confirmed", "refuted", "open"]


class Judgement(NamedTuple):
    """What the numbers say of one claim."""

    verdict: Verdict
    evidence: str
    """One or two sentences with the measured numbers beside the predicted ones; for "open" also what would decide."""
    figure: str = ""
    """The file name of the picture that shows it, if one does."""


def judged(held: bool, evidence: str, figure: str = "") -> Judgement:
    """Confirmed if the prediction held, else refuted."""
    return Judgement("confirmed" if held else "refuted", evidence, figure)
