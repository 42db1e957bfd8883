"""The checker on what users write: right rules in many forms, published mistakes, and the forms again at random.

Promises: each is handed to `fnn.check` as a user calls it, with nothing kept from one call to the next; what is
UNDECIDED or ASSUMES is counted apart, and of a mistake neither counts as caught; an exception is an alarm.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.detection.forms import FORMS, MISTAKES, Case, Draw, Mistake
from experiments.progress import Watch
from fnn.checker import Finding, Report, Verdict

DTYPES = ("float32", "float64")
#: Functions after which compiled programs are dropped: thousands of programs fill the memory.
FRESH = 20
#: Checks of a form at the same sizes, with other numbers.
SAME = 4
#: Kinds of findings that describe an error and claim nothing of its cause. 2026-11-26, after the first run: "missing
#: derivative" is one of them; it says what the gradient equals, and that is so where a mask or a leak was forgotten.
PLAIN = ("derivative", "missing derivative", "pattern", "shape", "structure", "error", "value", "not finite")


def checked(case: Case) -> Report:
    """One check as a user calls it."""
    return fnn.check(case.function, *case.args, **case.options)


def word(case: Case) -> tuple[str, str]:
    """One word for what is said of a right rule, and the report where it is not ok."""
    try:
        report = checked(case)
    except Exception as error:
        # whatever it raises, a right rule was refused
        return "blamed", f"{type(error).__name__}: {error}"
    if report.culprits:
        return "blamed", report.text()
    if not report.ok:
        undecided = {f.verdict for f in report.findings} <= {*Verdict} - {Verdict.PRECISION}
        return ("undecided" if undecided else "blamed"), report.text()
    return ("assumes" if Verdict.ASSUMES in {f.verdict for f in report.findings} else "ok"), ""


def forms(watch: Watch, seed: int = 0, share: slice = slice(None)) -> dict[str, Any]:
    """Every form once, at ordinary sizes in float32: by family and by word, and what was said of the rest."""
    counts: dict[str, Counter[str]] = {}
    said, chosen = {}, list(FORMS.items())[share]
    for number, (name, form) in enumerate(chosen):
        _forget(number)
        found, report = word(form.make(Draw(np.random.default_rng([seed, 3]))))
        counts.setdefault(form.family, Counter())[found] += 1
        if found != "ok":
            said[name] = {"word": found, "report": report}
        total = Counter(each["word"] for each in said.values())
        watch("forms of users", number + 1, len(chosen), ", ".join(f"{k} {n}" for k, n in sorted(total.items())))
    return {"families": {family: dict(each) for family, each in counts.items()}, "not_ok": said}


def at_random(checks: int, watch: Watch, seed: int = 0, share: slice = slice(None)) -> dict[str, Any]:
    """The forms at random sizes, numbers and dtypes: how many checks, by word, and each right rule that is blamed.

    Args:
        checks: how many in all; each form gets as many as any other, or one more.
        watch: told after each.
        seed: of everything; what a form gets does not depend on the share.
        share: of the forms.
    """
    counts: Counter[str] = Counter()
    alarms, undecided = [], Counter()
    each, more = divmod(checks, len(FORMS))
    chosen = list(enumerate(FORMS.items()))[share]
    for done, (number, (name, form)) in enumerate(chosen):
        _forget(done)
        random = np.random.default_rng([seed, 4, number])
        for dtype, draw in _draws(random, each + (number < more)):
            with jax.enable_x64(dtype == "float64"):
                found, report = word(form.make(draw))
            counts[found] += 1
            if found == "blamed":
                sizes = [draw.rows, draw.width, draw.classes]
                alarms.append({"form": name, "dtype": dtype, "sizes": sizes, "says": report})
            undecided.update([name] * (found == "undecided"))
        watch("forms at random", done + 1, len(chosen), f"{counts.total()} checks, {len(alarms)} alarms")
    return {"checks": counts.total(), "words": dict(counts), "alarms": alarms, "undecided": dict(undecided)}


def _draws(random: np.random.Generator, count: int) -> Iterator[tuple[str, Draw]]:
    """Draws in both dtypes, the sizes new after every SAME of them."""
    for _ in range(0, count, SAME):
        sizes = [int(random.integers(*bounds)) for bounds in ((3, 7), (2, 6), (3, 6))]
        for _ in range(min(SAME, count)):
            dtype = DTYPES[int(random.integers(2))]
            yield dtype, Draw(np.random.default_rng(random.integers(1 << 60)), jnp.dtype(dtype), *sizes)
        count -= SAME


def mistakes(watch: Watch, seed: int = 0, share: slice = slice(None)) -> dict[str, Any]:
    """Every published mistake: caught, named, with the right diagnosis, and what was stated as certain that is not."""
    found, chosen = {}, list(MISTAKES.items())[share]
    for number, (name, mistake) in enumerate(chosen):
        _forget(number)
        report = checked(mistake.make(Draw(np.random.default_rng([seed, 5]))))
        found[name] = outcome(mistake, report)
        caught = sum(each["caught"] for each in found.values())
        watch("published mistakes", number + 1, len(chosen), f"{caught} caught")
    return found


def outcome(mistake: Mistake, report: Report) -> dict[str, Any]:
    """What a report says of a mistake, held against what is wrong."""
    wrong = [f for f in report.findings if f.rule == mistake.culprit and f.verdict == Verdict.FORMULA]
    named = report.culprits == (mistake.culprit,) and _at(mistake, wrong)
    # the hint that fits everything is no diagnosis
    right = [f for f in wrong if re.search(mistake.says, f.message) and f.kind != "pattern"]
    certain = [f for f in wrong if f.certain and f not in right and f.kind not in PLAIN]
    return {
        "source": mistake.source,
        "caught": bool(report.culprits),
        "named": named,
        "diagnosed": named and bool(right),
        "wrong_but_certain": named and bool(certain) and not right,
        "says": " · ".join(dict.fromkeys(f.message for f in wrong)),
    }


def _at(mistake: Mistake, wrong: list[Finding]) -> bool:
    """Whether the wrong arguments are those of the mistake and no others."""
    places = {next((at for at in mistake.at if f.argument.endswith(at)), None) for f in wrong}
    return not mistake.at or places == set(mistake.at)


def _forget(number: int) -> None:
    if number % FRESH == FRESH - 1:
        jax.clear_caches()
