"""What every experiment shares: its options, the claims it judges, its predictions, and the verdicts that follow.

Promises: importing this file imports neither JAX nor NumPy. A verdict is computed from predictions by their keys, never
written down and never taken by place.
Refuses: an option outside its bounds; a claim that rests on a prediction which the experiment does not make.

An experiment is one file. Its head, above the first import of JAX, NumPy or `fnn`, holds

    the first lines     "Question: …", "Prediction: …", "Refuted by: …", and how it is measured
    Options             a frozen dataclass over `frame.Options`: everything that the command line can set
    EXPERIMENT          a `frame.Experiment`: on which predictions each claim rests, and the quick form

and below it stand

    run(options, watch) -> result        a dict that JSON can hold; what differs from run to run stands in "measured"
    predictions(result) -> {key: Prediction}    from a result as it was saved
    evidence(result) -> {claim: Evidence}       the same for each of its claims; left out without claims
    show(saved, console)                 prints what a reader wants to know
    draw(saved) -> {file name: figure}   may be empty; vector graphics (.svg) unless there are very many points

where `saved` is the record as it was written: "result", "predictions", "verdicts", "measured", "options", "versions",
"device".
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NamedTuple

Verdict = Literal["confirmed", "refuted", "open"]

#: What is said of a prediction that held, did not hold, or is open.
WORDS: dict[bool | None, str] = {True: "held", False: "not held", None: "open"}

# ---- options --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """The options of every experiment."""

    seed: int = 0
    """Of every random number. Where several nets are trained, of the first; the others take the numbers that follow."""
    out: Path = Path("results")
    """Folder for the numbers (JSON) and the figures; made if it does not exist."""

    def __post_init__(self) -> None:
        require_seed(self.seed)
        for field in dataclasses.fields(self):
            if "least" in field.metadata:
                _require_bound(field, getattr(self, field.name))


def at_least(least: float, default: Any) -> Any:
    """A field of options: a number of at least this, or a tuple of such numbers."""
    return dataclasses.field(default=default, metadata={"least": least, "open": False})


def above(least: float, default: Any) -> Any:
    """A field of options: a finite number greater than this."""
    return dataclasses.field(default=default, metadata={"least": least, "open": True})


def _require_bound(field: "dataclasses.Field[Any]", value: Any) -> None:
    least, is_open = field.metadata["least"], field.metadata["open"]
    whole = isinstance(field.default, int | tuple)
    words = f"above {least}" if is_open else f"at least {least}"
    for each in value if isinstance(value, tuple) else (value,):
        holds = least < each if is_open else least <= each
        require(holds and each < math.inf, flag(field.name), each, words if whole else f"finite and {words}")


def flag(name: str) -> str:
    """The name of an option as the command line knows it."""
    return "--" + name.replace("_", "-")


def require(holds: bool, option: str, value: Any, condition: str) -> None:
    """Raise `ValueError` unless it holds."""
    if not holds:
        raise ValueError(f"{option} must be {condition}, got {value}.")


def require_seed(seed: int) -> None:
    """Raise `ValueError` unless keys can be made of the seed and of those that follow it."""
    # a key takes 32 bits; the seeds that follow the first one need room above it
    require(0 <= seed < 2**31, "--seed", seed, "0 to 2147483647")


# ---- what an experiment is ------------------------------------------------------------------------------------------


class Experiment(NamedTuple):
    """The head of an experiment: its options, and what it is about."""

    options: type[Any]
    claims: Mapping[str, tuple[str, ...]] = {}
    """{number of a claim: the keys of the predictions on which it rests}; a key may be a pattern such as "A15 *"."""
    quick: Mapping[str, Any] = {}
    """Options that make it small, for `all --quick`: a few seconds, every line run, verdicts perhaps open."""
    x64: bool = False
    """All of it runs in float64."""
    precision: str | None = "highest"
    """Of matrix products, on accelerators: with less than full precision they would look like wrong gradients."""
    apart: bool = False
    """It takes hours or a quiet machine: `all` leaves it out, and the report takes its committed results."""
    module: str = ""
    """The module that holds it; filled in by the registry."""


class Prediction(NamedTuple):
    """What was predicted, and what the numbers say of it."""

    sentence: str
    held: bool | None
    """None: the numbers decide nothing."""
    decide: str = ""
    """For one that is open: a sentence that says what would decide."""


class Evidence(NamedTuple):
    """What stands beside the verdict on a claim."""

    text: str
    """One or two sentences with the measured numbers beside the predicted ones."""
    figure: str = ""
    """The file name of the picture that shows it, if one does."""


class Judgement(NamedTuple):
    """What the numbers say of one claim."""

    verdict: Verdict
    evidence: str
    figure: str = ""


# ---- verdicts -------------------------------------------------------------------------------------------------------


def verdict(held: Iterable[bool | None]) -> Verdict:
    """Refuted by one prediction that did not hold, confirmed if all held, else open."""
    each = list(held)
    return "refuted" if False in each else "open" if None in each else "confirmed"


def judge(experiment: Any, result: dict[str, Any]) -> dict[str, Judgement]:
    """The verdict on each claim of an experiment (its module), from a result as it was saved.

    Raises `KeyError` where a claim rests on a prediction that is not made.
    """
    claims = experiment.EXPERIMENT.claims
    if not claims:
        return {}
    made, evidence = experiment.predictions(result), experiment.evidence(result)
    judged = {}
    for claim, patterns in claims.items():
        rests_on = [made[key] for key in keys_of(patterns, made, claim)]
        outcome = verdict(bool(each.held) if each.held is not None else None for each in rests_on)
        text, figure = evidence[claim]
        if outcome == "open":
            text = " ".join([text, *dict.fromkeys(each.decide for each in rests_on if each.held is None)])
        judged[claim] = Judgement(outcome, text, figure)
    return judged


def keys_of(patterns: Iterable[str], keys: Iterable[str], claim: str) -> list[str]:
    """The keys of the predictions on which a claim rests. Raises `KeyError` for one that is not there."""
    there, found = list(keys), []
    for pattern in patterns:
        matching = [key for key in there if fnmatchcase(key, pattern)]
        if not matching:
            raise KeyError(f"claim {claim} rests on the prediction {pattern!r}, which is not made; got {there}.")
        found += matching
    return found
