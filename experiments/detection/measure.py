"""The checker on the bank: every mutant at every point, size and dtype, through `fnn.check` as a user calls it."""

from collections import Counter
from dataclasses import dataclass
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp

import fnn
from experiments.detection import bank
from experiments.detection.bank import POINTS, Mutant
from experiments.progress import Watch

DTYPES = ("float64", "float32", "bfloat16")
SIZES = (0, 1)
#: Mutants after which compiled programs are dropped: hundreds of nets fill the memory.
FRESH = 12

#: Kinds that are certain and claim nothing of a cause: the truth is 0, and the gradient is not.
NO_CAUSE = ("nonzero",)
#: operator -> the kinds of diagnosis that are right for it. What an operator does to the result as a whole has one
#: right name. For what it does inside a formula it is right to blame the local derivative, a term, a value kept or the
#: use of the cotangent; or, if the change happens to be exactly that, a factor, a sign, a zero, a mask or a place,
#: which is then reproduced to rounding.
RESULT: dict[str, set[str]] = {
    "result sign": {"sign"},
    "result factor": {"factor"},
    "result zero": {"zero"},
    "result transposed": {"transposed"},
    "result shifted": {"shifted"},
    "one entry": {"entry"},
    "one row": {"slice", "entry"},
    "batch averaged": {"factor"},
    "off units": {"mask"},
}
INSIDE = {
    "derivative", "term", "residual", "misplaced", "missing derivative", "no cotangent", "cotangent", "factor", "sign",
    "zero", "mask", "shape", "structure", "error", "row factor", "slice", "shifted", "transposed", "not finite",
    "value", "stale",
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What the checker said of one mutant at one point, size and dtype."""

    caught: bool
    named: bool
    coordinate: bool | None
    """The right entry, for a mutant of a single entry; else None."""
    kind: str
    certain: bool
    right: bool
    """The diagnosis is one of those that are right for the operator."""
    message: str


def outcome(mutant: Mutant, culprit: str, report: fnn.checker.Report) -> Outcome:
    """What a report says, held against what was done."""
    blamed = [f for f in report.findings if f.rule == culprit and f.verdict == fnn.checker.Verdict.FORMULA]
    caught = bool(report.culprits)
    if not blamed:
        return Outcome(caught, False, None if mutant.coordinate is None else False, "", False, False, "")
    finding = _of_leaf(mutant, blamed)
    coordinate = None
    if mutant.coordinate is not None:
        shape = () if finding.leaf is None else finding.leaf[0].shape
        at = tuple(r % size for r, size in zip(mutant.coordinate, shape, strict=False))
        coordinate = finding.entry == at
    right = finding.kind in RESULT.get(mutant.operator, INSIDE)
    named = report.culprits == (culprit,)
    return Outcome(caught, named, coordinate, finding.kind, finding.certain, right, finding.message)


def _of_leaf(mutant: Mutant, blamed: list[fnn.checker.Finding]) -> fnn.checker.Finding:
    """The finding on the leaf that was changed, where the mutant says which; else the first."""
    wanted = {"W": "W'", "b": "b'", "x": "x"}.get(mutant.leaf, "")
    return next((f for f in blamed if wanted and wanted in f.argument), blamed[0])


def measured(
    mutants: list[Mutant], nets: str, watch: Watch, *, points: tuple[str, ...] = POINTS, dtypes: tuple = DTYPES,
    sizes: tuple[int, ...] = SIZES, seed: int = 0,
) -> list[dict[str, Any]]:  # fmt: skip
    """One record per mutant: how it was made, and its outcomes counted over points, dtypes and sizes."""
    records = []
    common = {size: fnn.checker.Programs() for size in sizes}
    for number, mutant in enumerate(mutants):
        outcomes: dict[str, Outcome] = {}
        if number % FRESH == FRESH - 1:
            common = {size: fnn.checker.Programs() for size in sizes}
            jax.clear_caches()
        for size in sizes:
            host = bank.host(mutant, size, nets)
            # the rules around the mutant are right and the same for many: they are compiled once
            checked(host.right, bank.data(host, "fresh", size, seed=seed), common[size])
            programs = common[size].fork()
            for point, dtype in product(points, dtypes):
                with jax.enable_x64(dtype == "float64"):
                    data = bank.data(host, point, size, jnp.dtype(dtype), seed)
                    report = checked(host.by_hand, data, programs)
                outcomes[f"{point}, {dtype}, size {size}"] = outcome(mutant, host.culprit, report)
        records.append(_record(mutant, outcomes))
        caught = sum(each["caught"] == each["checks"] for each in records)
        watch(f"mutants on the {nets} nets", number + 1, len(mutants), f"{caught} caught everywhere")
    return records


def checked(by_hand: fnn.gradients.Backprop, data: tuple, programs: fnn.checker.Programs) -> fnn.checker.Report:
    """One check as a user calls it, but with programs kept."""
    params, x, y, options = data
    return fnn.check(by_hand, params, x, y, programs=programs, **options)


def _record(mutant: Mutant, outcomes: dict[str, Outcome]) -> dict[str, Any]:
    each = list(outcomes.values())
    entries = [o.coordinate for o in each if o.coordinate is not None]
    kinds = Counter(f"{o.kind}{'' if o.certain else '?'}" for o in each)
    return {
        "family": mutant.family,
        "rule": mutant.rule,
        "operator": mutant.operator,
        "change": mutant.change,
        "leaf": mutant.leaf,
        "checks": len(each),
        "caught": sum(o.caught for o in each),
        "named": sum(o.named for o in each),
        "entries": len(entries),
        "entries_right": sum(entries),
        "diagnosed": sum(o.right for o in each),
        "wrong_but_certain": sum(
            o.caught and o.named and not o.right and o.certain and o.kind not in NO_CAUSE for o in each
        ),
        "kinds": dict(kinds),
        "says": next((o.message for o in each if o.message), ""),
        "missed_at": [name for name, o in outcomes.items() if not o.caught],
    }
