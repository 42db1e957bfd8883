"""The pages of evidence: every claim of the lectures with its verdict, code, tests and pictures; every experiment; the
gallery of all pictures.

Promises: made from the committed results, the experiments' own first lines and the tests that bear a claim's number; no
verdict, number or sentence is written here. The folder of results is that of the configuration value `fnn_results`;
their pictures are drawn anew. Sphinx is not needed to import this file: tests do.
"""

import ast
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import generated
import reference

from experiments import criteria, frame, report, trial
from experiments.claims import CLAIMS, LECTURES, witnesses
from experiments.registry import EXPERIMENTS, load, summary
from experiments.report import Run
from experiments.results import FILE, read, store

ROOT = Path(__file__).parents[2]
#: Pages by subject that tell in their first lines which files and claims they are about.
DERIVATIONS = ROOT / "docs" / "derivations"
#: What fell under each claim's mutant, and the program that tries it.
MUTANTS = ROOT / "tests" / "experiments" / "mutants.json"
PROGRAM = "python -m tests.experiments.mutants"
VERDICTS = {"tested": "asserted by tests", "failed": "experiment failed", "idle": "not run"}


def pages(results: Path) -> dict[str, str | bytes]:
    """{path: content} of all pages, and of the pictures that they show."""
    runs = report.runs(results)
    made: dict[str, str | bytes] = {"claims.md": _table(runs), "gallery.md": _gallery(runs)}
    made |= {f"claims/{letter}.md": _lecture(letter, runs) for letter in LECTURES}
    made["claims/mutants.md"] = _mutants(runs)
    made |= {f"experiments/{name}.md": _experiment(name, runs) for name in EXPERIMENTS}
    for run in runs:
        for file in _figures(run):
            made[f"figures/{run.name}/{file}"] = (run.folder / file).read_bytes()
    return made


def pictured(results: Path, folder: Path) -> Path:
    """The folder to which the records of `results` are copied, with pictures drawn from them; none is committed."""
    for run in report.runs(results):
        to = folder / run.name
        copied = read(to / FILE)
        if run.committed or (copied and copied | {"figures": {}} == run.record | {"figures": {}}):
            continue
        to.mkdir(parents=True, exist_ok=True)
        if "result" in run.record:
            trial.draw(load(run.name), to, run.record)
        else:
            store(to, run.record)
    return folder


# ---- what stands on a page ------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Text in which Markdown finds nothing to read but `code`.

    >>> plain("Σ|W| costs $5, see `a_b` and a*b")
    'Σ\\\\|W\\\\| costs \\\\$5, see `a_b` and a\\\\*b'
    """
    pieces = re.split(r"(`[^`]+`)", " ".join(text.split()))
    return "".join(p if p.startswith("`") else re.sub(r"[\\*_$<>\[\]|#~^{}]", r"\\\g<0>", p) for p in pieces)


def spoken(text: str) -> str:
    """What a picture shows, with its formulas in signs that can be read aloud.

    >>> spoken(r"error against $2/\\lambda_{max}$ ($x_2$; $\\sqrt{H}$)")
    'error against 2/λ_max (x_2; √H)'
    """
    signs = {r"\lambda": "λ", r"\sigma": "σ", r"\rho": "ρ", r"\sqrt": "√", r"\Vert": "‖", r"\sum": "Σ", r"\theta": "θ"}

    def formula(match: re.Match[str]) -> str:
        text = re.sub(r"\\frac\{([^{}]*(?:\{[^{}]*\})?[^{}]*)\}\{([^{}]*)\}", r"(\1)/(\2)", match[1])
        for tex, sign in signs.items():
            text = text.replace(tex, sign)
        return re.sub(r"\\[a-zA-Z]+|\\.|[{}]", "", text)

    return " ".join(re.sub(r"\$([^$]*)\$", formula, text).split())


def _badge(key: str) -> str:
    return f"[{report.SIGNS[key]} {VERDICTS.get(key, key)}]{{.verdict .{key.replace(' ', '-')}}}"


def _judged(judgement: Any) -> str:
    """The verdict with the seeds at which it was tried, and what so many say of all seeds."""
    verdict, _, _, seeds = (*judgement, "", "", ())[:4]
    held = len([each for each in seeds if each == "confirmed"])
    least = f" (at least {frame.least_share(held, len(seeds)):.0%} of all seeds, with 95 % confidence)" if held else ""
    key = verdict.replace(" ", "-")
    return f"[{report.SIGNS[verdict]} {trial.told(judgement)}]{{.verdict .{key}}}{least}"


def _figures(run: Run) -> dict[str, str]:
    """{file: what it shows} of a run's pictures."""
    return {file: spoken(text) for file, text in run.record.get("figures", {}).items()}


def _figure(run: Run, file: str, text: str, up: str, caption: str = "", target: str = "") -> str:
    # what a picture shows may hold colons and quotes, which the options of a directive must not
    lines = [f"```{{figure}} {up}figures/{run.name}/{file}", f":alt: {json.dumps(text, ensure_ascii=False)}"]
    return "\n".join([*lines, *([f":target: {target}"] if target else []), "", *([caption] if caption else []), "```"])


def _details(heading: str, inside: str) -> str:
    return f"<details><summary>{heading}</summary>\n\n{inside}\n\n</details>"


def _claim(claim: str, up: str) -> str:
    return f"[{claim}]({up}claims/{claim[0]}.md#{claim.lower()})"


def _anchor(claim: str) -> str:
    return f"({claim.lower()})="


# ---- claims ---------------------------------------------------------------------------------------------------------


@cache
def _seen() -> dict[str, Any]:
    return witnesses()


@cache
def derivations() -> dict[str, tuple[str, list[str], list[str]]]:
    """{page: (title, files it is about, claims it is about)}, from the first lines of each.

    >>> derivations()["linear"][:2]
    ('The affine map', ['fnn/linear.py'])
    """
    pages = {}
    for page in sorted(DERIVATIONS.glob("*.md")):
        title, _, about = page.read_text(encoding="utf-8").partition("\n")
        first = about.strip().split("\n\n")[0]
        pages[page.stem] = (
            title.removeprefix("# "),
            re.findall(r"`(fnn/\w+\.py)`", first),
            re.findall(r"\b[A-E]\d+\b", first),
        )
    return pages


def _overall(claim: str, runs: list[Run]) -> str:
    return report.overall(_seen()[claim], report.verdicts_of(claim, runs))


def _table(runs: list[Run]) -> str:
    counts: dict[str, int] = {}
    for claim in CLAIMS:
        key = _overall(claim, runs)
        counts[key] = counts.get(key, 0) + 1
    verdicts = ", ".join(f"{count} {VERDICTS.get(key, key)}" for key, count in counts.items())
    lines = [
        "# Claims",
        "",
        f"What five lectures claim, {len(CLAIMS)} sentences, each judged by experiments from their numbers or asserted "
        f"by tests that bear its number: {verdicts}. The number of a claim leads to its evidence: the verdict of every "
        "experiment, the pictures, the tests with their code. Where a lecture errs, the table says what is right. "
        "[What makes each of them fall](claims/mutants.md) was tried.",
        "",
        "```{toctree}",
        ":hidden:",
        "",
        *(f"claims/{letter}" for letter in LECTURES),
        "claims/mutants",
        "```",
        "",
    ]
    for letter, lecture in LECTURES.items():
        lines += [f"## Lecture {letter}", "", f"{plain(lecture)}.", "", ":::{container} claims", ""]
        lines += ["| no. | claim | verdict | looked at by |", "|---|---|---|---|"]
        lines += [_row(claim, runs) for claim in CLAIMS if claim[0] == letter]
        lines += ["", ":::", ""]
    return "\n".join(lines)


def _row(claim: str, runs: list[Run]) -> str:
    witness = _seen()[claim]
    by = [f"[{name}](experiments/{name}.md)" for name in witness.experiments]
    count = len(witness.tests)
    by += [f"[{count} test{'s' if count > 1 else ''}](claims/{claim[0]}.md#{claim.lower()}-tests)"] if count else []
    said = plain(CLAIMS[claim])
    return f"| {_claim(claim, '')} | {said} | {_badge(_overall(claim, runs))} | {', '.join(by)} |"


def _lecture(letter: str, runs: list[Run]) -> str:
    lines = [f"# Lecture {letter}, claim by claim", "", f"{plain(LECTURES[letter])}. [All claims](../claims.md).", ""]
    for claim in CLAIMS:
        if claim[0] == letter:
            lines += _about(claim, runs)
    return "\n".join(lines)


def _about(claim: str, runs: list[Run]) -> list[str]:
    lines = [_anchor(claim), f"## {claim}", "", plain(CLAIMS[claim]), ""]
    for run in runs:
        judgement = run.record.get("verdicts", {}).get(claim, ())
        verdict, evidence, figure = (*judgement, "", "", "")[:3]
        if verdict:
            link = f"[{run.name}](../experiments/{run.name}.md)"
            lines += [f"{_judged(judgement)} by the experiment {link}: {plain(evidence)}", ""]
        if figure in _figures(run):
            lines += [_figure(run, figure, _figures(run)[figure], "../"), ""]
        entries = _account().get(claim, {}).get(run.name, {}).get("criteria", [])
        if verdict and entries:
            lines += [_details(f"The criterion of {run.name}, fixed on {entries[-1]['date']}", _fixed(entries)), ""]
    pages = [(page, *about) for page, about in derivations().items() if claim in about[2]]
    read = ", ".join(f"[{title}](../../../derivations/{page}.md)" for page, title, _, _ in pages)
    files = dict.fromkeys(file for *_, each, _ in pages for file in each)
    # the names that cite the claim; where none does, the files that its derivations are about
    code = ", ".join(f"`{name}`" for name in _cited().get(claim, files))
    written = [f"{what}: {each}." for what, each in (("Derivation", read), ("Code", code)) if each]
    lines += [" ".join(written), ""] if written else []
    tests = _seen()[claim].tests
    if tests:
        lines += [f"({claim.lower()}-tests)=", "Tests:", ""]
        lines += [each for test in tests for each in (_test(test), "")]
    return lines


def _mutants(runs: list[Run]) -> str:
    """For each claim its seeds, tests and pictures, and what fell when one line of the library was changed."""
    lines = [
        "# What makes each claim fall",
        "",
        "A test that passes, and a verdict that says confirmed, are worth something if a wrong library makes them "
        "fall. For each claim one line of the library was changed, the tests that bear its number were run, and "
        "the quick form of its experiments. The table names the tests that failed and the predictions that no longer "
        "held. "
        f"`{PROGRAM} A15` tries it again.",
        "",
        "| claim | verdict, experiment by experiment | picture | what was changed | tests that failed "
        "| predictions that fell |",
        "|---|---|---|---|---|---|",
    ]
    kept = json.loads(MUTANTS.read_text(encoding="utf-8"))
    for claim in CLAIMS:
        judged = [(run, run.record.get("verdicts", {}).get(claim)) for run in runs]
        told = ", ".join(f"{trial.told(each)} ({run.name})" for run, each in judged if each)
        files = dict.fromkeys(f"[{each[2]}]({claim[0]}.md#{claim.lower()})" for _, each in judged if each and each[2])
        entry = kept.get(claim, {"mutant": "", "tests": [], "predictions": []})
        tests = ", ".join(f"`{test.partition('::')[2]}`" for test in entry["tests"])
        cells = (_claim(claim, "../"), plain(told), ", ".join(files), plain(entry["mutant"]), tests or "none",
                 plain("; ".join(entry["predictions"])) or "none")  # fmt: skip
        lines += [f"| {' | '.join(cells)} |"]
    return "\n".join([*lines, ""])


@cache
def _account() -> criteria.Account:
    return criteria.account()


def _fixed(entries: list[dict[str, Any]]) -> str:
    """When a criterion was fixed and changed, and why, the oldest entry first; what it says now."""
    lines = []
    for entry in entries:
        old = f" By the old bounds: {entry['old_bounds_say']}." if "old_bounds_say" in entry else ""
        lines += [plain(f"{entry['date']}, commit {entry['commit']}: {entry['why']}.{old}"), ""]
    last = entries[-1].get("criterion", {})
    for sentence, relation, bound, miss in last.get("predictions", {}).values():
        must = "" if relation == "is" and bound is True else f": {frame.Prediction('', None, relation, bound).words}"
        lines += [f"- {plain(sentence + must)}{' (a miss leaves it open)' if miss is None else ''}"]
    if "seeds" in last:
        lines += [f"- at {last['share']:.0%} of {last['seeds']} seeds"]
    return "\n".join([*lines, "", f"SHA-256 `{entries[-1].get('sha256', '')}`"])


@cache
def _cited() -> dict[str, list[str]]:
    """{claim: the public names whose docstrings cite it}."""
    names: dict[str, list[str]] = {}
    for name in reference.names():
        for claim in dict.fromkeys(re.findall(r"\b[A-E]\d+\b", name.described.__doc__ or "")):
            names.setdefault(claim, []).append(f"{name.where}.{name.name}")
    return names


def _test(test: str) -> str:
    file, name = test.split("::")
    first, last = _lines(file)[name]
    shown = [f"```{{literalinclude}} ../../../../tests/{file}", f":lines: {first}-{last}", ":lineno-match:", "```"]
    said = name.removeprefix("test_").replace("_", " ")
    return _details(f"<code>{file}</code>, line {first}: {said}", "\n".join(shown))


@cache
def _lines(file: str) -> dict[str, tuple[int, int]]:
    """{test: its first line, decorators included, and its last}."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    tests = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {f.name: (min([f.lineno, *(d.lineno for d in f.decorator_list)]), f.end_lineno or f.lineno) for f in tests}


# ---- experiments and their pictures ---------------------------------------------------------------------------------


def _experiment(name: str, runs: list[Run]) -> str:
    experiment = EXPERIMENTS[name]
    said = report.described(experiment.module)
    lines = [f"# Experiment: {plain(name)}", "", plain(summary(experiment.options)), ""]
    for heading, text in zip(("Question", "Prediction", "Refuted by"), said, strict=False):
        lines += [f"**{heading}.** {plain(text[:1].upper() + text[1:])}", ""] if text else []
    if said.method:
        method = "\n\n".join(plain(part) for part in said.method.split("\n\n"))
        lines += [_details("How it is measured", method), ""]
    mine = [run for run in runs if run.name == name]
    for run in mine:
        lines += _run(run)
    again = report.command(name, mine[0].record.get("options", {})) if mine else f"{report.PROGRAM} {name}"
    lines += ["## Run it again", "", "```sh", again, "```", "", *(_made(run) for run in mine), ""]
    first, *others = _code(experiment.module)
    lines += ["## The code", "", _included(first), ""]
    lines += [line for file in others for line in (_details(f"<code>{file}</code>", _included(file)), "")]
    return "\n".join(lines)


def _prediction(sentence: str, held: bool | None, value: Any = None, bound: str = "") -> str:
    key = frame.verdict([held])
    measured = f" (measured {value:.4g}, criterion {bound})" if bound and isinstance(value, int | float) else ""
    return f"[{report.SIGNS[key]} {frame.WORDS[held]}]{{.verdict .{key}}} {plain(sentence + measured)}"


def _run(run: Run) -> list[str]:
    lines, predictions = ["## Found", ""], run.record.get("predictions", {})
    if run.record.get("failure"):
        lines += [f"{_badge('failed')}: {plain(run.record['failure'])}", ""]
    for claim, judgement in run.record.get("verdicts", {}).items():
        lines += [f"- {_claim(claim, '../')} {_judged(judgement)} {plain(judgement[1])}"]
        if predictions:
            keys = frame.keys_of(EXPERIMENTS[run.name].claims[claim], predictions, claim)
            lines += [f"  - {_prediction(*predictions[key])}" for key in keys]
    if not run.record.get("verdicts"):
        lines += [f"- {_prediction(*each)}" for each in predictions.values()]
    lines += [""]
    for file, text in _figures(run).items():
        lines += [_figure(run, file, text, "../", _for_claims(run, file, "../")), ""]
    return lines


def _for_claims(run: Run, file: str, up: str) -> str:
    shows = [claim for claim, each in run.record.get("verdicts", {}).items() if each[2] == file]
    return f"Shows {', '.join(_claim(claim, up) for claim in shows)}." if shows else ""


def _made(run: Run) -> str:
    measured, versions = run.record.get("measured", {}), run.record.get("versions", {})
    seconds = measured.get("seconds")
    facts = [f"It ran {seconds:.0f} s" if seconds else "It ran", "in its quick form" if _quick(run) else ""]
    facts += [f"on {measured['machine']['cores']} cores" if measured.get("machine") else ""]
    facts += [f"with JAX {versions['jax']}" if "jax" in versions else ""]
    return " ".join(part for part in facts if part) + "."


def _quick(run: Run) -> bool:
    return report.small(run.name, run.record.get("options", {}))


def _code(module: str) -> list[str]:
    """The files of an experiment, the one that describes it first."""
    place = Path(*module.split("."))
    if (ROOT / place.with_suffix(".py")).exists():
        return [place.with_suffix(".py").as_posix()]
    files = sorted(file.relative_to(ROOT).as_posix() for file in (ROOT / place).glob("*.py"))
    return sorted(files, key=lambda file: not file.endswith("__init__.py"))


def _included(file: str) -> str:
    return "\n".join([f"```{{literalinclude}} ../../../../{file}", ":linenos:", "```"])


def _gallery(runs: Iterable[Run]) -> str:
    lines = [
        "# Gallery",
        "",
        "Every picture that the experiments draw, each from the numbers that its run saved. A picture leads to its "
        "experiment; the command under it makes it again.",
        "",
        "```{toctree}",
        ":hidden:",
        "",
        *(f"{name} <experiments/{name}>" for name in EXPERIMENTS),
        "```",
        "",
        "::::{container} gallery",
        "",
    ]
    for run in runs:
        for file, text in _figures(run).items():
            about = [f"[{run.name}](experiments/{run.name}.md)", _for_claims(run, file, "")]
            caption = ". ".join(filter(None, about)) + f"\n\n    {report.command(run.name, run.record['options'])}"
            lines += [_figure(run, file, text, "", caption, f"experiments/{run.name}.html"), ""]
    return "\n".join([*lines, "::::", ""])


# ---- Sphinx ---------------------------------------------------------------------------------------------------------


def setup(app: Any) -> dict[str, bool]:
    app.add_config_value("fnn_results", str(ROOT / "experiments" / "measured"), "env")
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write(app: Any) -> None:
    generated.write("evidence", pages(pictured(Path(app.config.fnn_results), generated.FOLDER / "results")))
