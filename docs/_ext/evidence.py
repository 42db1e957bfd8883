"""The pages of evidence: every claim of the lectures with its statement, verdict, picture, code and tests; what the
lectures have wrong; every experiment; the gallery of all pictures.

Promises: made from the committed results, the statements of the claims, the experiments' own first lines and the tests
that bear a claim's number; no verdict or number is written here. The folder of results is that of the configuration
value `fnn_results`; their pictures are drawn anew. Sphinx is not needed to import this file: tests do.
"""

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import generated
import reference

from experiments import criteria, frame, report, trial
from experiments.claims import CLAIMS, LECTURES, witnesses
from experiments.registry import EXPERIMENTS, load, summary
from experiments.report import Run
from experiments.results import FILE, read, store
from experiments.statements import OTHER_PICTURES, STATEMENTS, Picture

ROOT = Path(__file__).parents[2]
#: Pages by subject that say in their first lines which files and claims they are about.
DERIVATIONS = ROOT / "docs" / "derivations"
#: What fell under each claim's mutant, and the program that tries it.
MUTANTS = ROOT / "tests" / "experiments" / "mutants.json"
PROGRAM = "python -m tests.experiments.mutants"
VERDICTS = {"tested": "asserted by tests", "failed": "experiment failed", "idle": "not run"}


def pages(results: Path) -> dict[str, str | bytes]:
    """{path: content} of all pages, and of the pictures that they show."""
    runs = report.runs(results)
    made: dict[str, str | bytes] = {
        "claims.md": _table(runs), "corrections.md": _corrections(runs), "gallery.md": _gallery(runs)
    }  # fmt: skip
    made |= {f"claims/{letter}.md": _lecture(letter, runs) for letter in LECTURES}
    made |= {f"claims/{letter}_tests.md": _tests(letter) for letter in LECTURES}
    made["claims/mutants.md"] = _mutants(runs)
    made |= {f"experiments/{name}.md": _experiment(name, runs) for name in EXPERIMENTS}
    for run in runs:
        whole = list(run.record.get("figures", {}))
        cuts = [
            cut for file in whole for panels in _cuts(run).get(file, ()) if (cut := _cut(run, file, panels)) != file
        ]
        made |= {f"figures/{run.name}/{file}": (run.folder / file).read_bytes() for file in [*whole, *cuts]}
    return made


def pictured(results: Path, folder: Path) -> Path:
    """The folder to which the records of `results` are copied, with pictures drawn from them; none is committed."""
    for run in report.runs(results):
        to = folder / run.name
        copied, cuts = read(to / FILE), _cuts(run)
        drawn = all((to / _cut_name(file, each)).exists() for file, panels in cuts.items() for each in panels if each)
        if run.committed or (drawn and copied and copied | {"figures": {}} == run.record | {"figures": {}}):
            continue
        to.mkdir(parents=True, exist_ok=True)
        if "result" not in run.record:
            store(to, run.record)
            continue
        trial.draw(load(run.name), to, run.record)
        if any(each for panels in cuts.values() for each in panels):
            for file, figure in load(run.name).draw(run.record).items():
                for panels in cuts.get(file, ()):
                    if panels:
                        _draw_panels(figure, panels, to / _cut_name(file, panels))
    return folder


# ---- single panels of a figure --------------------------------------------------------------------------------------


def _cuts(run: Run) -> dict[str, set[tuple[int, ...]]]:
    """{file: the choices of its panels that pages show}."""
    wanted: dict[str, set[tuple[int, ...]]] = {}
    for claim, judgement in run.record.get("verdicts", {}).items():
        if claim in STATEMENTS and judgement[2] and STATEMENTS[claim].picture in ("", run.name):
            wanted.setdefault(judgement[2], set()).add(STATEMENTS[claim].panels)
    for name, picture in OTHER_PICTURES.items():
        experiment, _, file = name.partition("/")
        if experiment == run.name:
            wanted.setdefault(file, set()).add(picture.panels)
    return wanted


def _cut_name(file: str, panels: tuple[int, ...]) -> str:
    """The file that shows these panels alone.

    >>> _cut_name("rates.svg", (0, 2)), _cut_name("rates.svg", ())
    ('rates-0-2.svg', 'rates.svg')
    """
    place = Path(file)
    return "-".join([place.stem, *map(str, panels)]) + place.suffix


def _cut(run: Run, file: str, panels: tuple[int, ...]) -> str:
    """The file with these panels, the whole figure where they were not drawn alone."""
    name = _cut_name(file, panels)
    return name if (run.folder / name).exists() else file


def _draw_panels(figure: Any, panels: tuple[int, ...], file: Path) -> None:
    from matplotlib.transforms import Bbox

    # where they stand is settled before the others go
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    shown = {axes: axes.get_visible() for axes in figure.axes}
    chosen = [figure.axes[k] for k in panels]
    named = [axes for axes in chosen if _name_axis(axes, chosen)]
    box = Bbox.union([axes.get_tightbbox() for axes in chosen]).transformed(figure.dpi_scale_trans.inverted())
    for axes in figure.axes:
        axes.set_visible(axes in chosen)
    # a legend of all panels would lie across one of them
    shared = [legend for legend in figure.legends if legend.get_visible()]
    for legend in shared:
        legend.set_visible(False)
    # and where one panel has the legend of several, the others get theirs when they stand alone
    dropped = [axes.get_legend() for axes in figure.axes if axes not in chosen and axes.get_legend()]
    told = {text.get_text() for legend in dropped for text in legend.get_texts()}
    title = next((legend.get_title().get_text().replace(", ", ",\n") for legend in shared), "")
    own = [
        axes.legend(fontsize=8, labelspacing=0.3, title=title, title_fontsize=8) if title else axes.legend(fontsize=9)
        for axes in chosen
        if (labels := axes.get_legend_handles_labels()[1])
        and (shared or (told.issuperset(labels) and not any(each.get_legend() for each in chosen)))
    ]
    metadata = {"Date": None} if file.suffix == ".svg" else None
    figure.savefig(file, bbox_inches=box.padded(0.08), metadata=metadata)
    for axes, visible in shown.items():
        axes.set_visible(visible)
    for legend in own:
        legend.remove()
    for legend in shared:
        legend.set_visible(True)
    for axes in named:
        axes.set_xlabel("")
        axes.tick_params(labelbottom=False)


def _name_axis(axes: Any, chosen: list[Any]) -> bool:
    """Give a panel the name and the numbers of the axis that it shares with one below, if that one is left out."""
    below = [other for other in axes.get_shared_x_axes().get_siblings(axes) if other.get_xlabel()]
    if not below or axes.get_xlabel() or set(below) & set(chosen):
        return False
    axes.tick_params(labelbottom=True)
    axes.set_xlabel(below[0].get_xlabel())
    return True


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
    signs = {
        r"\lambda": "λ", r"\sigma": "σ", r"\rho": "ρ", r"\sqrt": "√", r"\Vert": "‖", r"\sum": "Σ", r"\theta": "θ",
        r"\nabla": "∇", r"\delta": "δ", r"^\top": "ᵀ",
    }  # fmt: skip

    def formula(match: re.Match[str]) -> str:
        text = re.sub(r"\\frac\{([^{}]*(?:\{[^{}]*\})?[^{}]*)\}\{([^{}]*)\}", r"(\1)/(\2)", match[1])
        for tex, sign in signs.items():
            text = text.replace(tex, sign)
        return re.sub(r"\\[a-zA-Z]+|\\.|[{}]", "", text)

    return " ".join(re.sub(r"\$([^$]*)\$", formula, text).split())


def _badge(key: str) -> str:
    return f"[{report.SIGNS[key]} {VERDICTS.get(key, key)}]{{.verdict .{key.replace(' ', '-')}}}"


def _judged(claim: str, judgement: Any, run: Run) -> str:
    """The verdict with the seeds at which it was tried, and what so many say of all seeds."""
    verdict, _, _, seeds = (*judgement, "", "", ())[:4]
    held = len([each for each in seeds if each == "confirmed"])
    least = f" (at least {frame.least_share(held, len(seeds)):.0%} of all seeds, with 95 % confidence)" if held else ""
    if held and _same_at_all_seeds(claim, run):
        least = " (the same numbers at each: nothing here is random)"
    key = verdict.replace(" ", "-")
    return f"[{report.SIGNS[verdict]} {trial.told(judgement)}]{{.verdict .{key}}}{least}"


def _same_at_all_seeds(claim: str, run: Run) -> bool:
    """Whether the numbers on which a claim rests do not depend on the seed, as in an identity."""
    first, *others = run.record.get("seeds") or [{}]
    keys = frame.keys_of(EXPERIMENTS[run.name].claims[claim], first, claim) if first else []
    return bool(others) and all(other[key] == first[key] for other in others for key in keys)


def _figures(run: Run) -> dict[str, str]:
    """{file: what it shows} of a run's pictures."""
    return {file: spoken(text) for file, text in run.record.get("figures", {}).items()}


def _figure(run: Run, file: str, text: str, up: str, caption: str = "", target: str = "") -> str:
    # what a picture shows may hold colons and quotes, which the options of a directive must not
    lines = [f"```{{figure}} {up}figures/{run.name}/{file}", f":alt: {json.dumps(text, ensure_ascii=False)}"]
    lines += [":figclass: panel"] if file not in _figures(run) else []
    return "\n".join([*lines, *([f":target: {target}"] if target else []), "", *([caption] if caption else []), "```"])


def _details(heading: str, inside: str) -> str:
    return f"<details><summary>{heading}</summary>\n\n{inside}\n\n</details>"


def _claim(claim: str, up: str) -> str:
    return f"[{STATEMENTS[claim].title}]({up}claims/{claim[0]}.md#{claim.lower()})"


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
    return report.standing(claim, _seen()[claim], report.verdicts_of(claim, runs))


def _table(runs: list[Run]) -> str:
    counts: dict[str, int] = {}
    for claim in CLAIMS:
        key = _overall(claim, runs)
        counts[key] = counts.get(key, 0) + 1
    verdicts = ", ".join(f"{count} {VERDICTS.get(key, key)}" for key, count in counts.items())
    lines = [
        "# Claims",
        "",
        f"What five lectures claim, {len(CLAIMS)} sentences, each put to the test: {verdicts}. *Corrected* means that "
        "the lecture is wrong, and that what is right was confirmed: [what the lectures have wrong](corrections.md). "
        "[What makes each claim fall](claims/mutants.md) was tried.",
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
    where = f"claims/{claim[0]}_tests.md#{claim.lower()}-tests"
    by += [f"[{count} test{'s' if count > 1 else ''}]({where})"] if count else []
    said = f"**{_claim(claim, '')}.** {plain(CLAIMS[claim])}"
    return f"| {claim} | {said} | {_badge(_overall(claim, runs))} | {', '.join(by)} |"


def _lecture(letter: str, runs: list[Run]) -> str:
    toctree = ["```{toctree}", ":hidden:", "", f"{letter}_tests", "```", ""]
    lines = [f"# Lecture {letter}, claim by claim", "", f"{plain(LECTURES[letter])}. [All claims](../claims.md).", ""]
    lines += toctree
    for claim in CLAIMS:
        if claim[0] == letter:
            lines += _about(claim, runs)
    return "\n".join(lines)


class Shown(NamedTuple):
    """The picture of a claim."""

    run: Run
    file: str


def _picture(claim: str, runs: list[Run]) -> Shown | None:
    """The first picture that an experiment names for the claim, or that of the experiment that its statement names."""
    for run in runs:
        file = run.record.get("verdicts", {}).get(claim, ("", "", ""))[2]
        if file in _figures(run) and STATEMENTS[claim].picture in ("", run.name):
            return Shown(run, _cut(run, file, STATEMENTS[claim].panels))
    return None


def _shown(claim: str, runs: list[Run], up: str, caption: str, target: str = "") -> list[str]:
    if (shown := _picture(claim, runs)) is None:
        return []
    words = _figures(shown.run).get(shown.file) or spoken(STATEMENTS[claim].seen)
    return [_figure(shown.run, shown.file, words, up, caption, target), ""]


def _about(claim: str, runs: list[Run]) -> list[str]:
    statement = STATEMENTS[claim]
    lines = [_anchor(claim), f"## {statement.title}", "", f"{claim} · {_badge(_overall(claim, runs))}", ""]
    lines += [":::{container} statement", "", statement.text, "", ":::", ""]
    lines += _shown(claim, runs, "../", statement.seen)
    lines += _put_right(claim)
    for run in runs:
        lines += _evidence(claim, run)
    pages = [(page, *about) for page, about in derivations().items() if claim in about[2]]
    read = ", ".join(f"[{title}](../../../derivations/{page}.md)" for page, title, _, _ in pages)
    files = dict.fromkeys(file for *_, each, _ in pages for file in each)
    # the names that cite the claim; where none does, the files that its derivations are about
    code = ", ".join(f"`{name}`" for name in _cited().get(claim, files))
    tests = _seen()[claim].tests
    count = f"[{len(tests)}]({claim[0]}_tests.md#{claim.lower()}-tests)" if tests else ""
    written = [f"{what}: {each}." for what, each in (("Derivation", read), ("Code", code), ("Tests", count)) if each]
    return lines + ([" ".join(written), ""] if written else [])


def _put_right(claim: str) -> list[str]:
    statement = STATEMENTS[claim]
    if not statement.corrected:
        return []
    said = [f"**The lecture:** {statement.lecture}", "", f"**Right:** {statement.right}"]
    return [":::{admonition} Corrected", ":class: important statement", "", *said, "", ":::", ""]


def _evidence(claim: str, run: Run) -> list[str]:
    """One sentence of what the run says about the claim; its numbers and its criterion folded away."""
    judgement = run.record.get("verdicts", {}).get(claim)
    if not judgement:
        return []
    kept = _predictions(claim, run)
    held = [each[1] for each in kept].count(True)
    count = f": {'all ' if held == len(kept) else f'{held} of '}{len(kept)} predictions held" if kept else ""
    if len(kept) == 1 and held:
        count = ": its prediction held"
    lines = [
        f"{_judged(claim, judgement, run)} by the experiment [{run.name}](../experiments/{run.name}.md){count}.",
        "",
    ]
    entries = _account().get(claim, {}).get(run.name, {}).get("criteria", [])
    numbers = [plain(judgement[1])] if judgement[1] else []
    fixed = [f"The criterion, fixed on {entries[-1]['date']}:\n\n{_fixed(entries)}"] if entries else []
    return [*lines, _details("The numbers", "\n\n".join([*numbers, *fixed])), ""] if numbers or fixed else lines


def _predictions(claim: str, run: Run) -> list[list[Any]]:
    """The predictions of a record on which the claim rests."""
    made = run.record.get("predictions", {})
    return [made[key] for key in frame.keys_of(EXPERIMENTS[run.name].claims[claim], made, claim)] if made else []


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
        "| claim | verdict and picture | what was changed | tests that failed; predictions that fell |",
        "|---|---|---|---|",
    ]
    kept = json.loads(MUTANTS.read_text(encoding="utf-8")) if MUTANTS.exists() else {}
    for claim in CLAIMS:
        judged = [(run, run.record.get("verdicts", {}).get(claim)) for run in runs]
        told = ", ".join(f"{trial.told(each)} ({run.name})" for run, each in judged if each)
        told = f"corrected; what is right: {told}" if STATEMENTS[claim].corrected else told
        files = dict.fromkeys(f"[{each[2]}]({claim[0]}.md#{claim.lower()})" for _, each in judged if each and each[2])
        entry = kept.get(claim, {"mutant": "", "tests": [], "predictions": []})
        none = "none" if claim in kept else "not tried yet"
        # names in words, which a narrow column can break
        tests = "; ".join(plain(test.partition("::test_")[2].replace("_", " ")) for test in entry["tests"])
        number = f"[{claim}]({claim[0]}.md#{claim.lower()})"
        fell = plain("; ".join(entry["predictions"])) or none
        cells = (number, f"{plain(told)}; {', '.join(files)}", plain(entry["mutant"]),
                 f"*Tests:* {tests or none}.<br>*Predictions:* {fell}.")  # fmt: skip
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


def _corrections(runs: list[Run]) -> str:
    found = [claim for claim, statement in STATEMENTS.items() if statement.corrected]
    lines = ["# What the lectures have wrong", ""]
    lines += [
        f"Of {len(CLAIMS)} claims {len(found)} need a correction, often of a single word or sign. Here they are with "
        "what is right; each was put to the test like all the others.",
        "",
    ]
    for claim in found:
        statement = STATEMENTS[claim]
        lines += [f"## {statement.title}", "", f"{claim} · {_badge(_overall(claim, runs))}", ""]
        said = [f"**The lecture:** {statement.lecture}", "", f"**Right:** {statement.right}"]
        lines += [":::{container} statement", "", *said, "", ":::", ""]
        lines += _shown(claim, runs, "", statement.seen)
    return "\n".join(lines)


def _tests(letter: str) -> str:
    """The code of all tests that bear the number of a claim of the lecture."""
    lines = [f"# Tests of lecture {letter}", "", f"[The claims](../claims/{letter}.md) that they assert.", ""]
    for claim, witness in _seen().items():
        if claim[0] == letter and witness.tests:
            lines += [f"({claim.lower()}-tests)=", f"## {STATEMENTS[claim].title}", "", f"{claim}:", ""]
            lines += [each for test in witness.tests for each in (_test(test), "")]
    return "\n".join(lines)


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
    lines = [f"# {_words(name)}", "", plain(summary(experiment.options)), ""]
    lines += [f"**Question.** {plain(_sentence(said.question))}", ""] if said.question else []
    mine = [run for run in runs if run.name == name]
    for run in mine:
        lines += _run(run)
    expected = [
        f"**{heading}.** {plain(_sentence(text))}"
        for heading, text in (("Prediction", said.prediction), ("Refuted by", said.refuted_by))
        if text
    ]
    method = [plain(part) for part in said.method.split("\n\n") if part]
    lines += [_details("What was predicted, and how it is measured", "\n\n".join([*expected, *method])), ""]
    again = report.command(name, mine[0].record.get("options", {})) if mine else f"{report.PROGRAM} {name}"
    lines += ["## Run it again", "", "```sh", again, "```", "", *(_made(run) for run in mine), ""]
    lines += ["## The code", ""]
    lines += [line for file in _code(experiment.module) for line in (_details(*_included(file)), "")]
    return "\n".join(lines)


def _words(name: str) -> str:
    """The name of an experiment as a heading.

    >>> _words("bias_variance")
    'Experiment: bias variance'
    """
    return f"Experiment: {name.replace('_', ' ')}"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _prediction(sentence: str, held: bool | None, value: Any = None, bound: str = "") -> str:
    key = frame.verdict([held])
    measured = f" (measured {value:.4g}, criterion {bound})" if bound and isinstance(value, int | float) else ""
    return f"[{report.SIGNS[key]} {frame.WORDS[held]}]{{.verdict .{key}}} {plain(sentence + measured)}"


def _run(run: Run) -> list[str]:
    lines, predictions = ["## Found", ""], run.record.get("predictions", {})
    verdicts = run.record.get("verdicts", {})
    if run.record.get("failure"):
        lines += [f"{_badge('failed')}: {plain(run.record['failure'])}", ""]
    lines += [
        f"- {_claim(claim, '../')} ({claim}): {_judged(claim, judgement, run)}" for claim, judgement in verdicts.items()
    ]
    lines += [] if verdicts else [f"- {_prediction(*each)}" for each in predictions.values()]
    lines += [""]
    for file, text in _figures(run).items():
        lines += [_figure(run, file, text, "../", _caption(run, file)), ""]
    if verdicts:
        numbers = []
        for claim, judgement in verdicts.items():
            numbers += [f"- {claim}: {plain(judgement[1])}"]
            numbers += [f"  - {_prediction(*each)}" for each in _predictions(claim, run)]
        lines += [_details("The numbers", "\n".join(numbers)), ""]
    return lines


def _caption(run: Run, file: str) -> str:
    """What a figure is about: the titles of the claims that it shows, or its own."""
    shows = [claim for claim, each in run.record.get("verdicts", {}).items() if each[2] == file]
    if shows:
        return " · ".join(f"{_claim(claim, '../')} ({claim})" for claim in shows)
    other = OTHER_PICTURES.get(f"{run.name}/{file}")
    return f"{other.title}. {other.seen}" if other else ""


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


def _included(file: str) -> tuple[str, str]:
    count = len((ROOT / file).read_text(encoding="utf-8").splitlines())
    shown = "\n".join([f"```{{literalinclude}} ../../../../{file}", ":linenos:", "```"])
    return f"<code>{file}</code>, {count} lines", shown


def _gallery(runs: list[Run]) -> str:
    lines = [
        "# Gallery",
        "",
        "Every claim at a glance, drawn from the numbers that its run saved. A picture leads to its claim, and from "
        "there to the experiment and the command that draws it again.",
        "",
        "```{toctree}",
        ":hidden:",
        "",
        *(f"{name} <experiments/{name}>" for name in EXPERIMENTS),
        "```",
        "",
    ]
    for letter in LECTURES:
        lines += [f"## Lecture {letter}", "", "::::{container} gallery", ""]
        for claim in CLAIMS:
            if claim[0] == letter:
                caption = f"{STATEMENTS[claim].title} ({claim})"
                lines += _shown(claim, runs, "", caption, f"claims/{letter}.html#{claim.lower()}")
        lines += ["::::", ""]
    lines += ["## Beyond the lectures", "", "::::{container} gallery", ""]
    claimed = {(run.name, each[2]) for run in runs for each in run.record.get("verdicts", {}).values()}
    for run in runs:
        for file, text in _figures(run).items():
            if (run.name, file) not in claimed:
                picture = OTHER_PICTURES.get(f"{run.name}/{file}", Picture(_words(run.name), text))
                caption = picture.title + (f". {picture.seen}" if f"{run.name}/{file}" in OTHER_PICTURES else "")
                cut = _cut(run, file, picture.panels)
                lines += [_figure(run, cut, text, "", caption, f"experiments/{run.name}.html"), ""]
    return "\n".join([*lines, "::::", ""])


# ---- Sphinx ---------------------------------------------------------------------------------------------------------


def setup(app: Any) -> dict[str, bool]:
    app.add_config_value("fnn_results", str(ROOT / "experiments" / "measured"), "env")
    app.connect("builder-inited", _write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _write(app: Any) -> None:
    generated.write("evidence", pages(pictured(Path(app.config.fnn_results), generated.FOLDER / "results")))
