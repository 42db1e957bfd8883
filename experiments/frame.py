"""What all experiments share: options, the claims they judge, predictions, and the verdicts that follow.

Promises: importing this file imports neither JAX nor NumPy. A verdict is computed from predictions by their keys, never
written down and never taken by place.
Refuses: an option outside its bounds; a claim that depends on a prediction that the experiment does not make.

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
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NamedTuple

Verdict = Literal["confirmed", "refuted", "open", "not judged"]

#: What is said of a prediction that held, did not hold, or is open.
WORDS: dict[bool | None, str] = {True: "held", False: "not held", None: "open"}

# ---- options --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options:
    """The options of every experiment."""

    seed: int = 0
    """Seed of every random number. If several nets are trained, it is that of the first; the others use the seeds that
    follow."""
    out: Path = Path("results")
    """Folder for the numbers (JSON) and the figures; created if it does not exist."""
    allow_lost: bool = False
    """End with status 0 even if a claim is refuted or open that is confirmed in the committed record."""

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
    """Options that make it small, for `all --quick`: a few seconds, every line run, one seed."""
    unjudged: tuple[str, ...] = ()
    """The keys of predictions whose bounds belong to the full sizes. In the quick form a claim that rests on one is
    refuted by the others, and never confirmed."""
    seeds: int = 1
    """At how many seeds the claims are judged, the option's and those that follow; the result is that of the first."""
    share: float = 1.0
    """The share of the seeds at which a claim must be confirmed."""
    once: tuple[str, ...] = ()
    """The keys of predictions about times, which are taken at the first seed alone."""
    again: Mapping[str, Any] = {}
    """Options of the runs at the further seeds, where they differ from those of the first."""
    x64: bool = False
    """All of it runs in float64."""
    precision: str | None = "highest"
    """Of matrix products, on accelerators: with less than full precision they would look like wrong gradients."""
    apart: bool = False
    """It takes long, or a quiet machine: `all` leaves it out, and the report takes its committed results."""
    module: str = ""
    """The module that holds it; filled in by the registry."""


Relation = Literal["is", "at most", "at least", "below", "above", "within"]


class Prediction(NamedTuple):
    """A criterion, fixed in advance, and what was measured: the value either satisfies its relation to the bound or
    does not.

    >>> Prediction("the error is small", [1e-9, 2e-9], "at most", 1e-8).held
    True
    >>> Prediction("the error is small", [1e-9, math.nan], "at most", 1e-8).held
    False
    """

    sentence: str
    value: Any
    """What was measured: a number, or a list of which each must hold; whether it is so, for a yes or no; None where the
    numbers decide nothing."""
    relation: Relation = "is"
    bound: Any = True
    """A number; for "within" the pair of the least and the largest."""
    miss: bool | None = False
    """What it means that the value does not hold: False refutes, None leaves the claim open."""
    decide: str = ""
    """For one that is open: a sentence that says what would decide."""

    @property
    def held(self) -> bool | None:
        """Whether all values hold; NaN holds nowhere."""
        return _held(self.worst, self.relation, self.bound, self.miss)

    @property
    def worst(self) -> Any:
        """Of several values the one that comes nearest to refuting, NaN before any."""
        return _worst(self.value, self.relation, self.bound)

    @property
    def words(self) -> str:
        """The relation and the bound, "at most 1e-08"; nothing for a yes or no."""
        if self.relation == "is":
            return "" if self.bound is True else f"{self.bound}"
        if self.relation == "within":
            return f"from {self.bound[0]:.7g} to {self.bound[1]:.7g}"
        return f"{self.relation} {self.bound:.4g}"

    @property
    def criterion(self) -> list[Any]:
        """What was fixed: all but the value."""
        return [self.sentence, self.relation, self.bound, self.miss]


def _held(value: Any, relation: str, bound: Any, miss: bool | None) -> bool | None:
    if value is None:
        return None
    if relation != "is" and not isinstance(value, int | float):
        # what is no number stands in no relation
        return miss
    holds = {
        "is": lambda: value == bound,
        "at most": lambda: value <= bound,
        "at least": lambda: value >= bound,
        "below": lambda: value < bound,
        "above": lambda: value > bound,
        "within": lambda: bound[0] <= value <= bound[1],
    }[relation]()
    return True if holds else miss


def _worst(value: Any, relation: str, bound: Any) -> Any:
    if relation == "is" or value is None:
        return value
    values = list(_leaves(value))
    if not values or any(each is None for each in values):
        return None
    if any(math.isnan(each) for each in values):
        return math.nan
    if relation == "within":
        middle = (bound[0] + bound[1]) / 2
        return max(values, key=lambda each: abs(each - middle))
    return max(values) if relation in ("at most", "below") else min(values)


def _leaves(value: Any) -> Iterable[Any]:
    """The numbers in nested lists, arrays and dicts, as Python's own."""
    value = value.tolist() if hasattr(value, "tolist") else value
    value = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, Iterable):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


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
    seeds: tuple[Verdict, ...] = ()
    """The verdict at each seed, the first one's first; empty where only one was tried."""


# ---- verdicts -------------------------------------------------------------------------------------------------------


def verdict(held: Iterable[bool | None]) -> Verdict:
    """Refuted by one prediction that did not hold, confirmed if all held, else open."""
    each = list(held)
    return "refuted" if False in each else "open" if None in each else "confirmed"


def over_seeds(verdicts: Sequence[Verdict], share: float) -> Verdict:
    """Confirmed at this share of the seeds; refuted where so many refute it that the rest could not make it up.

    >>> over_seeds(["confirmed"] * 19 + ["open"], 0.9), over_seeds(["confirmed"] * 19 + ["open"], 1.0)
    ('confirmed', 'open')
    """
    needed = math.ceil(share * len(verdicts) - 1e-9)
    if verdicts.count("confirmed") >= needed:
        return "confirmed"
    return "refuted" if len(verdicts) - verdicts.count("refuted") < needed else "open"


def least_share(held: int, of: int, doubt: float = 0.05) -> float:
    """The exact binomial (Clopper-Pearson) lower bound: a smaller share gives so many only once in 1/doubt.

    >>> round(least_share(20, 20), 3), round(least_share(5, 5), 3), least_share(0, 5)
    (0.861, 0.549, 0.0)
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        p = (low + high) / 2
        as_many = sum(math.comb(of, k) * p**k * (1 - p) ** (of - k) for k in range(held, of + 1))
        low, high = (p, high) if as_many < doubt else (low, p)
    return 0.0 if held == 0 else low


def judge(experiment: Any, result: dict[str, Any], others: Sequence[Mapping[str, Any]] = ()) -> dict[str, Judgement]:
    """The verdict on each claim of an experiment (its module), from a result as it was saved.

    `others` holds, for each further seed, {key: the value that decides}. Raises `KeyError` where a claim rests on a
    prediction that is not made.
    """
    head = experiment.EXPERIMENT
    if not head.claims:
        return {}
    made, evidence = experiment.predictions(result), experiment.evidence(result)
    judged = {}
    for claim, patterns in head.claims.items():
        rests_on = {key: made[key] for key in keys_of(patterns, made, claim)}
        seeds: list[Verdict] = [verdict(each.held for each in rests_on.values())]
        for values in others:
            again = {key: each for key, each in rests_on.items() if key not in head.once}
            seeds.append(verdict(_held(values[k], p.relation, p.bound, p.miss) for k, p in again.items()))
        outcome = over_seeds(seeds, head.share)
        text, figure = evidence[claim]
        # what follows is said by the flags, whatever the sentences of the experiment say
        text = " ".join([text, *(_missed(each) for each in rests_on.values() if each.held is False)])
        if outcome == "open":
            text = " ".join([text, *dict.fromkeys(each.decide for each in rests_on.values() if each.held is None)])
        judged[claim] = Judgement(outcome, text.strip(), figure, tuple(seeds) if others else ())
    return judged


def _missed(each: Prediction) -> str:
    if each.relation == "is":
        return f"Not so: {each.sentence}."
    return f"Not so: {each.sentence} (measured {each.worst:.4g}, predicted {each.words})."


def criteria(experiment: Any, made: Mapping[str, Prediction]) -> dict[str, dict[str, Any]]:
    """{claim: its criterion as data}: every prediction on which it rests, the seeds, and the share that must hold."""
    head = experiment.EXPERIMENT
    seeds = {"seeds": head.seeds, "share": head.share} if head.seeds > 1 else {}
    once = {"once": list(head.once)} if head.once else {}
    return {
        claim: {"predictions": {key: made[key].criterion for key in keys_of(patterns, made, claim)}} | seeds | once
        for claim, patterns in head.claims.items()
    }


def digest(criterion: Mapping[str, Any]) -> str:
    """The SHA-256 of a criterion."""
    # as JSON keeps it: a tuple is a list, and the order of keys means nothing
    text = json.dumps(criterion, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def keys_of(patterns: Iterable[str], keys: Iterable[str], claim: str) -> list[str]:
    """The keys of the predictions on which a claim rests. Raises `KeyError` for one that is not there."""
    there, found = list(keys), []
    for pattern in patterns:
        matching = [key for key in there if fnmatchcase(key, pattern)]
        if not matching:
            raise KeyError(f"claim {claim} rests on the prediction {pattern!r}, which is not made; got {there}.")
        found += matching
    return found
