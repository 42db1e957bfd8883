"""The report: one HTML page of every claim, its verdict, and the experiment behind it.

Promises: made only from the folders of results, so it can be made again at any time; self-contained, without scripts
and without anything from a network; every word that comes from a result or a docstring is escaped. Experiments that
`all` leaves out enter by their committed results, unless the folder holds results of their own.
"""

import ast
import base64
import dataclasses
import importlib.util
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from experiments import frame, results, trial
from experiments.claims import CLAIMS, LECTURES, Witnesses, witnesses
from experiments.registry import EXPERIMENTS, summary
from experiments.statements import STATEMENTS

FILE = "report.html"
PROGRAM = "python -m experiments"
#: Each verdict with a sign of its own: colour alone tells a part of the readers nothing.
SIGNS = {
    "confirmed": "✓", "corrected": "✎", "refuted": "✗", "open": "?", "not judged": "–", "tested": "✓", "failed": "!",
    "idle": "–",
}  # fmt: skip
#: Lists of numbers longer than this are shown by their first few.
SHOWN = 6


@dataclass(frozen=True)
class Report:
    """Make report.html again from the results and figures in a folder; nothing is computed again."""

    out: Path = Path("results")
    """Folder that holds one folder per experiment; the report is written there."""


class Run(NamedTuple):
    """What stands in one file of results."""

    name: str
    folder: Path
    record: dict[str, Any]
    committed: bool = False
    """True for results committed to the repository, not made by this user."""


class Description(NamedTuple):
    """What the first lines of an experiment say."""

    question: str
    prediction: str
    refuted_by: str
    method: str


# ---- what there is --------------------------------------------------------------------------------------------------


def write(folder: Path) -> Path:
    """Write the page into the folder that holds the folders of results; return its path. Raises `FolderError`."""
    if not folder.is_dir():
        raise results.FolderError(f"--out must be a folder of results; {folder} is none. First run {PROGRAM} all.")
    file = folder / FILE
    try:
        results.replace(file, page(runs(folder)))
    except OSError as error:
        raise results.FolderError(f"the report cannot be written to {file}: {error.strerror}.") from None
    return file


def runs(folder: Path) -> list[Run]:
    """Every record of the folder, and the committed ones of experiments that have none there."""
    records = []
    for name, experiment in EXPERIMENTS.items():
        file = folder / name / results.FILE
        if file.exists():
            record = results.read(file) or {"failure": f"{results.FILE} holds no record. Run the experiment again."}
            records.append(Run(name, file.parent, record))
        elif experiment.apart:
            own = trial.of_its_own(name)
            for file in sorted(own.glob("*.json")) if own.is_dir() else [trial.COMMITTED / name / results.FILE]:
                if record := results.read(file):
                    # among the records of all there are no pictures
                    pictures = record["figures"] if own.is_dir() else {}
                    records.append(Run(name, file.parent, record | {"figures": pictures}, committed=True))
    return records


def described(module: str) -> Description:
    """Question, prediction, what would refute it, and the rest, from the first lines of an experiment's file.

    >>> described("experiments.xor").prediction[:33]
    'the best line gets 3 of 4 (claim '
    """
    # read, not imported: an experiment brings JAX
    spec = importlib.util.find_spec(module)
    text = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
    lines = ast.get_docstring(ast.parse(text)) or ""
    parts = {}
    for heading in ("Question", "Prediction", "Refuted by"):
        part = re.search(rf"^{heading}: (.*?)(?=\n\n|\n(?:Question|Prediction|Refuted by): |\Z)", lines, re.M | re.S)
        parts[heading] = " ".join(part[1].split()) if part else ""
        lines = lines.replace(part[0], "") if part else lines
    return Description(parts["Question"], parts["Prediction"], parts["Refuted by"], lines.strip())


def command(name: str, options: dict[str, Any]) -> str:
    """The command that runs the experiment with these options.

    >>> command("xor", {"hidden": 4, "seeds": 3, "seed": 0})
    'python -m experiments xor --seeds 3'
    """
    words = []
    for field in dataclasses.fields(EXPERIMENTS[name].options):
        # as JSON holds it: tuples come back as lists
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        value = options.get(field.name, default)
        if field.name in ("out", "allow_lost") or value in (default, str(default)):
            continue
        flag = "--" + field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, *map(str, value if isinstance(value, list) else [value])]
    return " ".join([PROGRAM, name, *map(shlex.quote, words)])


def small(name: str, options: dict[str, Any]) -> bool:
    """Whether these options are those of the experiment's quick form."""
    return trial.small(EXPERIMENTS[name], options)


# ---- the page -------------------------------------------------------------------------------------------------------


def page(records: list[Run]) -> str:
    """The whole page as text."""
    seen = witnesses()
    verdicts = {claim: verdicts_of(claim, records) for claim in CLAIMS}
    ran = list(dict.fromkeys(run.name for run in records))
    missing = [name for name in EXPERIMENTS if name not in ran]
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    links = "".join(f"<li><a href='#{name}'>{name}</a></li>" for name in ran)
    absent = "".join(f"<li class='idle'>{name}: {_code(f'{PROGRAM} {name}')}</li>" for name in missing)
    summary_line = f"<summary>{len(missing)} without results here</summary>"
    left_out = f"<details class='small'>{summary_line}<ul>{absent}</ul></details>" if missing else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>What five lectures on neural networks claim, tried out</title>
<style>
{style}</style>
</head>
<body>
<header>
<h1>What five lectures on neural networks claim, tried out</h1>
<p>Each of {len(CLAIMS)} claims is judged by experiments, from numbers, or asserted by tests that bear its number;
each experiment says beforehand what would refute it.</p>
<ul class="counts">{_counts(seen, verdicts)}</ul>
{_small_forms(records)}
</header>
<nav aria-label="experiments"><h2>Experiments</h2><ul>{links}</ul>{left_out}</nav>
<main>
<h2 id="claims">Claims</h2>
<table>
<thead><tr><th scope="col">no.</th><th scope="col">claim</th><th scope="col">verdict</th>
<th scope="col">experiments and tests</th></tr></thead>
<tbody>
{"".join(_lecture(letter, seen, verdicts) for letter in LECTURES)}</tbody>
</table>
{"".join(_section(name, [run for run in records if run.name == name]) for name in ran)}
</main>
</body>
</html>
"""


def verdicts_of(claim: str, records: list[Run]) -> dict[str, str]:
    """{experiment: its verdict}, "failed" for one that should have judged and failed."""
    each = {}
    for run in records:
        judgement = run.record.get("verdicts", {}).get(claim)
        if judgement:
            each[run.name] = judgement[0]
        elif run.record.get("failure") and claim in EXPERIMENTS[run.name].claims:
            each[run.name] = "failed"
    return each


def overall(witness: Witnesses, verdicts: dict[str, str]) -> str:
    """The worst verdict of any experiment; without experiments, whether tests assert the claim."""
    for worst in ("refuted", "failed", "open", "confirmed", "not judged"):
        if worst in verdicts.values():
            return worst
    return "tested" if witness.tests else "idle"


def standing(claim: str, witness: Witnesses, verdicts: dict[str, str]) -> str:
    """As `overall`; "corrected" where the lecture is wrong, and what is right was confirmed."""
    found = overall(witness, verdicts)
    return "corrected" if found in ("confirmed", "tested") and STATEMENTS[claim].corrected else found


def _counts(seen: dict[str, Witnesses], verdicts: dict[str, dict[str, str]]) -> str:
    counted = Counter(standing(claim, seen[claim], verdicts[claim]) for claim in CLAIMS)
    words = {
        "confirmed": "confirmed", "corrected": "corrected", "refuted": "refuted", "open": "open",
        "failed": "with a failed experiment",
        "not judged": "not judged in the quick form", "tested": "asserted by tests", "idle": "not run",
    }  # fmt: skip
    return "".join(f"<li>{_badge(key, f'{counted[key]} {words[key]}')}</li>" for key in words if counted[key])


def _small_forms(records: list[Run]) -> str:
    names = [run.name for run in records if small(run.name, run.record.get("options", {}))]
    if not names:
        return ""
    return (
        f"<p class='quiet'>{len(names)} of the experiments ran in their quick form, which runs every line and may "
        f"decide nothing: {', '.join(names)}.</p>"
    )


def _lecture(letter: str, seen: dict[str, Witnesses], verdicts: dict[str, dict[str, str]]) -> str:
    rows = "".join(
        f"<tr id='{claim}'><td>{claim}</td><td>{escape(CLAIMS[claim])}</td>"
        f"<td>{_badge(standing(claim, seen[claim], verdicts[claim]))}</td>"
        f"<td class='small'>{_behind(claim, seen[claim], verdicts[claim])}</td></tr>\n"
        for claim in CLAIMS
        if claim[0] == letter
    )
    return f"<tr><th colspan='4' scope='rowgroup'>Lecture {letter}: {escape(LECTURES[letter])}</th></tr>\n{rows}"


def _behind(claim: str, witness: Witnesses, verdicts: dict[str, str]) -> str:
    """Links to the experiments, each with its verdict where they differ, and the names of the tests."""
    several = len(set(verdicts.values())) > 1
    linked = [
        f"<a href='#{name}-{claim}'>{name}</a>" + (f" {_badge(verdict)}" if several else "")
        for name, verdict in verdicts.items()
    ]
    linked += [f"{name} <span class='idle'>(not run)</span>" for name in witness.experiments if name not in verdicts]
    count = f"{len(witness.tests)} test{'s' if len(witness.tests) != 1 else ''}"
    tests = "<br>".join(_code(test) for test in witness.tests)
    folded = f"<details><summary>{count}</summary>{tests}</details>" if witness.tests else ""
    return ", ".join(linked) + folded


def _section(name: str, records: list[Run]) -> str:
    experiment = EXPERIMENTS[name]
    said = described(experiment.module)
    lines = [("Question", said.question), ("Prediction", said.prediction), ("Refuted by", said.refuted_by)]
    asked = "".join(f"<dt>{heading}</dt><dd>{_prose(text)}</dd>" for heading, text in lines if text)
    paragraphs = "".join(f"<p>{_prose(' '.join(part.split()))}</p>" for part in said.method.split("\n\n"))
    method = f"<details><summary>How it is measured</summary>{paragraphs}</details>" if said.method else ""
    return (
        f"<section id='{name}' aria-labelledby='{name}-heading'><h2 id='{name}-heading'>{name}</h2>"
        f"<p class='quiet'>{escape(summary(experiment.options))}</p><dl>{asked}</dl>{method}"
        f"{''.join(map(_run, records))}<p class='small'><a href='#claims'>Back to the claims</a></p></section>\n"
    )


def _run(run: Run) -> str:
    record = run.record
    failure = f"<p class='failure'>{_badge('failed')}: {escape(record.get('failure', ''))}</p>"
    verdicts = [
        f"<li id='{run.name}-{claim}'><a href='#{claim}'>{claim}</a> {_badge(each[0], trial.told(each))} "
        f"{escape(each[1])}</li>"
        for claim, each in record.get("verdicts", {}).items()
    ] or [
        f"<li>{_badge(frame.verdict([held]), frame.WORDS[held])} {escape(what)}</li>"
        for what, held, *_ in record.get("predictions", {}).values()
    ]
    shows: dict[str, list[str]] = {}
    for claim, each in record.get("verdicts", {}).items():
        shows.setdefault(each[2], []).append(claim)
    figures = "".join(
        _figure(run.folder / file, text, shows.get(file, ())) for file, text in record.get("figures", {}).items()
    )
    numbers = record.get("result", {}) or record.get("measured", {})
    text = json.dumps(shortened(numbers), indent=1, ensure_ascii=False)
    where = "" if run.committed else f" <a href='{run.name}/{results.FILE}'>{results.FILE}</a> holds all of them."
    return (
        (failure if "failure" in record else "")
        + (f"<h3>Found</h3><ul class='found'>{''.join(verdicts)}</ul>" if verdicts else "")
        + figures
        + f"<details><summary>Numbers</summary><p class='small quiet'>Long lists are cut here.{where}</p>"
        + f"<pre>{escape(_lists_on_a_line(text))}</pre></details>"
        + _made(run)
    )


def _made(run: Run) -> str:
    """How, where and when this was run, and the command that runs it again."""
    record, measured = run.record, run.record.get("measured", {})
    device, machine = record.get("device", {}), measured.get("machine", {})
    versions = record.get("versions", {})
    seconds = measured.get("seconds")
    facts = [
        f"ran {seconds:.0f} s" if seconds and seconds >= 1 else f"ran {seconds:.1f} s" if seconds else "",
        f"finished {measured['finished'].replace('T', ' ').replace('+00:00', ' UTC')}"
        if "finished" in measured
        else "",
        f"on {machine.get('cores')} cores, {machine.get('processor')}, {machine.get('system')}" if machine else "",
        f"JAX device {device.get('kind', '')} ({device.get('platform', '')})" if device else "",
        ", ".join(f"{package} {version}" for package, version in versions.items()),
    ]
    committed = "Committed result, measured once on the machine named here; run again by name only: "
    options = record.get("options", {})
    form = "Quick form. " if small(run.name, options) else ""
    again = _code(command(run.name, options))
    return (
        f"<p class='small quiet'>{committed if run.committed else f'{form}Run again: '}{again}<br>"
        f"{escape('; '.join(fact for fact in facts if fact))}.</p>"
    )


def _figure(file: Path, text: str, shows: Iterable[str]) -> str:
    """The picture within the page, with what it says in words."""
    try:
        content = file.read_bytes()
    except OSError:
        return f"<p class='failure'>{escape(file.name)} is not there any more. Run the experiment again.</p>"
    kind = "image/svg+xml" if file.suffix == ".svg" else "image/png"
    width, height = _size(content, kind)
    # several panels side by side need more room on a phone than one; a panel is up to eight inches wide
    broad = " class='wide'" if width > 8 * 96 else ""
    claims = ", ".join(f"<a href='#{claim}'>{claim}</a>" for claim in shows)
    return (
        f"<figure><div class='figure' tabindex='0'><img{broad} width='{width}' height='{height}' "
        f"alt='{escape(text, quote=True)}' src='data:{kind};base64,{base64.b64encode(content).decode()}'></div>"
        f"<figcaption>{escape(file.name)}{f', for {claims}' if claims else ''}</figcaption></figure>"
    )


def _size(content: bytes, kind: str) -> tuple[int, int]:
    """Width and height in CSS pixels, of which an inch has 96."""
    if kind == "image/png":
        # the header block comes first; figures are saved with 150 dots per inch
        return tuple(round(int.from_bytes(content[k : k + 4], "big") * 96 / 150) for k in (16, 20))  # pyright: ignore
    points = re.search(rb'<svg[^>]*?width="([\d.]+)pt"[^>]*?height="([\d.]+)pt"', content, re.S)
    points = points or re.search(rb'<svg[^>]*?height="([\d.]+)pt"[^>]*?width="([\d.]+)pt"', content, re.S)
    return (round(float(points[1]) * 96 / 72), round(float(points[2]) * 96 / 72)) if points else (640, 480)


def shortened(value: Any) -> Any:
    """The same, with long lists cut to their first entries.

    >>> shortened({"a": [1, 2], "b": list(range(100))})
    {'a': [1, 2], 'b': [0, 1, 2, '… 100 in all']}
    """
    if isinstance(value, dict):
        return {key: shortened(each) for key, each in value.items()}
    if isinstance(value, list):
        shown = [shortened(each) for each in (value if len(value) <= SHOWN else value[: SHOWN // 2])]
        return shown if len(value) <= SHOWN else [*shown, f"… {len(value)} in all"]
    return value


def _lists_on_a_line(text: str) -> str:
    return re.sub(r"\[[^\[\]{}]*\]", lambda numbers: " ".join(numbers[0].split()), text)


def _badge(key: str, words: str = "") -> str:
    words = words or {"idle": "not run", "tested": "by tests"}.get(key, key)
    return f"<span class='verdict {key}'>{SIGNS[key]} {escape(words)}</span>"


def _prose(text: str) -> str:
    """Escaped, a sentence begun with a capital, `code` as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text[:1].upper() + text[1:]))


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"
