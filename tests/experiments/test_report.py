"""The registry of claims, a series of experiments, and the page that is made of what they leave behind."""

import doctest
import json
import shlex
import sys
from html.parser import HTMLParser
from pathlib import Path

import jax
import pytest
import tyro
from rich.console import Console

from experiments import detection, digits, registry, report, results, series, speed, trial, xor
from experiments.__main__ import main
from experiments.claims import CLAIMS, LECTURES, Witnesses, witnesses
from experiments.registry import EXPERIMENTS
from experiments.series import Series

# ---- the registry ---------------------------------------------------------------------------------------------------


def test_every_claim_has_an_experiment_or_a_test_and_no_other_claim_is_named():
    counts = dict.fromkeys(LECTURES, 0)
    for claim in CLAIMS:
        counts[claim[0]] += 1
    assert counts == {"A": 21, "B": 30, "C": 12, "D": 9, "E": 9}
    seen = witnesses()
    assert list(seen) == list(CLAIMS)
    assert {claim for each in EXPERIMENTS.values() for claim in each.claims} <= set(CLAIMS)
    assert [claim for claim, each in seen.items() if not any(each)] == []


def test_witnesses_of_a_claim_are_found_by_its_number():
    found = witnesses()["E8"]
    assert "xor" in found.experiments
    assert "experiments/test_experiments.py::test_A2_E8_xor_from_scratch" in found.tests
    # A1 is not A10
    assert not any("_A10_" in test and "_A1_" not in test for test in witnesses()["A1"].tests)


# ---- a series -------------------------------------------------------------------------------------------------------


#: An experiment in one file; `%s` is a line of its run.
TINY = '''"""Question: is 1 < 2 & is it <b>seen</b>?

Prediction: yes,
as `always`.
Refuted by: <script>document.title = "refuted"</script>

Told in
two paragraphs.
"""
from dataclasses import dataclass
from experiments import frame
@dataclass(frozen=True)
class Options(frame.Options):
    """A small experiment of a test, with <b>signs</b> & "quotes"."""
    size: int = frame.at_least(1, 2)
    names: tuple[str, ...] = ("a b",)
    loud: bool = False
EXPERIMENT = frame.Experiment(Options, claims={"A2": ("size",)}, quick={"size": 3})
import jax
from experiments import figures
from experiments.frame import Evidence, Prediction
def run(options, watch):
    watch("stage <1>", 1, 1, "done")
    %s
    return {"size": options.size, "seed": options.seed, "many": list(range(1000)), "measured": {"note": "here"}}
def predictions(result):
    return {"size": Prediction("the size is 2", result["size"] == 2)}
def evidence(result):
    return {"A2": Evidence("1 < 2 & <script>x</script>", "a.svg")}
def show(saved, console):
    console.print(saved["result"]["size"])
def draw(saved):
    figure, ((axes,),) = figures.blank(6, 2)
    axes.plot([1, 2], label='"the" <curve>')
    axes.set(title="A & B", xlabel="x (m)", ylabel="y")
    return {"a.svg": figure, "b.png": figure}
'''


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Make experiments of a line each: tiny(good="pass", bad="1 / 0")."""
    monkeypatch.syspath_prepend(tmp_path)

    def make(**lines):
        for name, line in lines.items():
            (tmp_path / f"tiny_{name}.py").write_text(TINY % line, encoding="utf-8")
            monkeypatch.delitem(sys.modules, f"tiny_{name}", raising=False)
            monkeypatch.setitem(EXPERIMENTS, name, registry.head(f"tiny_{name}"))

    return make


def test_a_failing_experiment_is_told_and_the_others_go_on(tiny, tmp_path, capsys):
    tiny(good="pass", bad="raise ValueError('no <such> thing')", last="pass")
    assert main(["good", "bad", "last", "--out", str(tmp_path / "out")]) == series.FAILED
    told = capsys.readouterr()
    assert "[2 of 3] bad" in told.out and "FAILED: ValueError: no <such> thing" in told.out
    assert "A2 confirmed" in told.out and "Traceback" in told.err
    records = {name: results.read(tmp_path / "out" / name / results.FILE) for name in ("good", "bad", "last")}
    assert [bool(record.get("failure")) for record in records.values()] == [False, True, False]
    assert records["good"]["figures"]["a.svg"] == 'A & B: y against x (m) ("the" <curve>)'
    assert records["good"]["predictions"] == {"size": ["the size is 2", True, True, ""]}
    page = (tmp_path / "out" / report.FILE).read_text(encoding="utf-8")
    assert "ValueError: no &lt;such&gt; thing" in page
    # run again, it stands where the failure stood
    tiny(bad="pass")
    assert main(["bad", "good", "--out", str(tmp_path / "out")]) == series.DONE
    assert "ValueError" not in (tmp_path / "out" / report.FILE).read_text(encoding="utf-8")


def test_ctrl_c_leaves_what_is_finished_and_a_report(tiny, tmp_path, capsys):
    tiny(good="pass", slow="raise KeyboardInterrupt", last="pass")
    assert main(["good", "slow", "last", "--out", str(tmp_path / "out")]) == series.STOPPED
    assert "stopped; what was finished before is kept" in capsys.readouterr().err
    assert not (tmp_path / "out/slow" / results.FILE).exists() and not (tmp_path / "out/last" / results.FILE).exists()
    page = (tmp_path / "out" / report.FILE).read_text(encoding="utf-8")
    assert "id='good-A2'" in page and "id='slow-A2'" not in page and page.rstrip().endswith("</html>")


def test_one_seed_gives_one_result(tiny, tmp_path):
    tiny(good="pass")
    records = []
    for run in ("a", "b"):
        options = Series(quick=True, seed=3, out=tmp_path / run)
        assert series.run(["xor", "good"], options, Console(quiet=True)) == series.DONE
        records.append({name: results.read(tmp_path / run / name / results.FILE) for name in ("xor", "good")})
    for name in ("xor", "good"):
        first, second = (each[name] for each in records)
        assert first.pop("measured")["seconds"] != second.pop("measured")["seconds"]
        assert first == second
        assert first["options"]["seed"] == 3
        for file in first["figures"]:
            assert (tmp_path / "a" / name / file).read_bytes() == (tmp_path / "b" / name / file).read_bytes()
    assert first["result"]["size"] == 3  # the quick form


def test_what_judges_times_runs_alone_after_the_others_the_longest_first(monkeypatch):
    ran = []
    monkeypatch.setattr(series, "_together", lambda names, options, console: iter([ran.append(list(names))]))
    monkeypatch.setattr(series, "_in_turn", lambda names, options, console: iter([ran.append(list(names))]))
    monkeypatch.setattr(series, "_seconds", {"xor": 1.0, "wine": 3.0, "graphs": 2.0}.get)
    chosen = dict.fromkeys(("xor", "finite_differences", "wine", "graphs"))
    list(series._scheduled(chosen, Series(), Console(quiet=True)))
    assert ran == [["wine", "graphs", "xor"], ["finite_differences"]]


def test_a_quick_form_in_a_process_of_its_own_is_compiled_with_few_optimizations(monkeypatch):
    few = lambda *_: jax.config.read("jax_disable_most_optimizations")  # noqa: E731
    monkeypatch.setattr(series, "_outcome", few)
    assert series._outcome_there("xor", xor.Options(), True) is True and few() is False
    assert series._outcome_there("xor", xor.Options(), False) is False


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["all", "xor"], 2, "'all' stands alone: python -m experiments all. To run a few, name those."),
        (["xor", "digit"], 2, "unknown experiment 'digit'; perhaps 'digits'?"),
        (["--quick", "xor"], 2, "the name of an experiment comes first: python -m experiments NAME --quick xor"),
        (["all", "--sed", "3"], 2, "--seed"),
        (["all", "--seed", "-3"], 2, "--seed must be 0 to 2147483647, got -3"),
        (["xor", "digits", "--out", "a file"], 1, "--out must be a folder; a file is a file"),
        (["report", "--out", "nowhere"], 1, "--out must be a folder of results; nowhere is none. First run"),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments, status, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").write_text("")
    try:
        got = main(arguments)
    except SystemExit as stop:
        got = stop.code
    out = capsys.readouterr()
    assert got == status
    assert message in " ".join((out.err + out.out).replace("│", " ").split())


# ---- the page -------------------------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """What a page holds: each opening tag with its attributes; tags that close in the right order."""

    def __init__(self, text):
        super().__init__()
        self.tags, self._open = [], []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def all(self, name):
        return [attributes for tag, attributes in self.tags if tag == name]


def test_the_page_escapes_what_it_is_told_and_all_its_links_lead_somewhere(tiny, tmp_path):
    tiny(good="pass")
    assert main(["good", "--out", str(tmp_path / "out/good")]) == 0
    text = report.write(tmp_path / "out").read_text(encoding="utf-8")
    page = Reader(text)
    assert page.all("script") == [] and page.all("b") == [] and page.all("link") == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(set(ids)) == len(ids) and set(CLAIMS) <= set(ids)
    links = [attributes["href"] for attributes in page.all("a")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    assert [link for link in links if not link.startswith("#")] == ["good/results.json"]
    pictures = page.all("img")
    assert pictures[-2]["alt"] == pictures[-1]["alt"] == 'A & B: y against x (m) ("the" <curve>)'
    assert [(int(p["width"]), int(p["height"])) for p in pictures[-2:]] == [(576, 192)] * 2
    assert all(picture["src"].startswith("data:image/") and picture["alt"] for picture in pictures)
    # question, prediction over two lines, what would refute it, the rest
    for part in (
        "<dd>Is 1 &lt; 2 &amp; is it &lt;b&gt;seen&lt;/b&gt;?</dd>",
        "<dd>Yes, as <code>always</code>.</dd>",
        "<dd>&lt;script&gt;document.title = &quot;refuted&quot;&lt;/script&gt;</dd>",
        "<p>Told in two paragraphs.</p>",
        "1 &lt; 2 &amp; &lt;script&gt;x&lt;/script&gt;",
        "… 1000 in all",
        "<code>python -m experiments good</code>",
    ):
        assert part in text
    # what is measured apart enters by its committed results, labelled with machine and date
    for name in ("speed", "detection", "faults", "scale"):
        kept = text[text.index(f"<section id='{name}'") :]
        assert "Committed result, measured once" in kept and "finished 2026-" in kept and "on 2 cores" in kept


def record(**changes):
    """A record as an experiment leaves it, with changes."""
    judgement = ["confirmed", "3 of 4", ""]
    return {
        "experiment": "xor", "options": {}, "versions": {}, "device": {}, "result": {"n": 1},
        "verdicts": {"A2": judgement, "E8": judgement}, "figures": {}, "measured": {},
    } | changes  # fmt: skip


def row(page, claim):
    return page[page.index(f"<tr id='{claim}'>") :].split("</tr>")[0]


@pytest.mark.parametrize(
    ("changes", "verdict", "found"),
    [
        ({}, "✓ confirmed", "id='xor-A2'"),
        ({"verdicts": {"A2": ["refuted", "4 of 4", ""]}}, "✗ refuted", "4 of 4"),
        ({"verdicts": {"A2": ["open", "more seeds", ""]}}, "? open", "more seeds"),
        ({"verdicts": {}, "failure": "OSError: full"}, "! failed", "OSError: full"),
        ({"figures": {"gone.svg": "a picture"}}, "✓ confirmed", "gone.svg is not there any more"),
    ],
)
def test_a_verdict_stands_in_the_table_and_in_its_experiment(changes, verdict, found, tmp_path):
    page = report.page([report.Run("xor", tmp_path, record(**changes))])
    Reader(page)
    assert verdict in row(page, "A2") and found in page
    assert "by tests" in row(page, "A5") and "xor" not in row(page, "A5")


def test_the_worst_verdict_of_several_experiments_counts_and_each_is_told(tmp_path):
    runs = [
        report.Run("xor", tmp_path, record()),
        report.Run("digits", tmp_path, record(verdicts={"A2": ["refuted", "", ""]})),
    ]
    told = row(report.page(runs), "A2")
    assert told.index("✗ refuted") < told.index("✓ confirmed")
    assert report.overall(Witnesses((), ()), {}) == "idle"


def test_a_broken_file_of_results_is_told(tmp_path):
    for broken in ("{", "[1]", "{}"):
        (tmp_path / "xor").mkdir(exist_ok=True)
        (tmp_path / "xor" / results.FILE).write_text(broken)
        page = report.write(tmp_path).read_text(encoding="utf-8")
        assert "results.json holds no record. Run the experiment again." in page and "! failed" in row(page, "A2")


@pytest.mark.parametrize(
    "options",
    [
        xor.Options(),
        xor.Options(hidden=3, learning_rate=0.25, seed=7),
        digits.Options(hidden=(4, 2), activation="tanh"),
        speed.Options(parts=("training",), depths=(2,)),
        detection.Options(share=1, shares=2),
    ],
)
def test_the_command_gives_the_options_again(options):
    name = type(options).__module__.rpartition(".")[2]
    saved = json.loads(json.dumps(results._settings(options)))
    words = shlex.split(report.command(name, saved))
    assert words[:4] == ["python", "-m", "experiments", name]
    assert tyro.cli(type(options), args=words[4:]) == options


def test_the_examples_in_its_file():
    ran = doctest.testmod(report)
    assert ran.attempted and not ran.failed


def test_the_command_quotes_and_negates(tiny):
    tiny(good="pass")
    command = report.command("good", {"names": ["a b", "c"], "loud": True})
    assert command == "python -m experiments good --names 'a b' c --loud"
    options = EXPERIMENTS["good"].options
    assert tyro.cli(options, args=shlex.split(command)[4:]) == options(names=("a b", "c"), loud=True)


def test_every_experiment_says_question_prediction_and_what_would_refute_it():
    for name, experiment in EXPERIMENTS.items():
        assert all(report.described(experiment.module)[:3]), name


def test_committed_results_say_what_their_code_says():
    from experiments import faults, scale
    from experiments.speed import training

    runs = [run for run in report.runs(Path("/nowhere")) if run.committed]
    modules = {"detection": detection, "faults": faults, "scale": scale}
    assert {run.name for run in runs} >= modules.keys()
    for name, saved in ((run.name, run.record) for run in runs if run.name in modules):
        told = {key: each[:2] for key, each in trial.judged(modules[name], saved)["predictions"].items()}
        assert {key: each[:2] for key, each in saved["predictions"].items()} == told
    (saved,) = (run.record for run in runs if run.name == "speed" and "training" in run.record["measured"])
    told = training.verdicts(training.table(saved["measured"]["training"]))
    assert saved["predictions"] == {
        what: [f"target {what}; measured {numbers}", held] for what, held, _, numbers in told
    }


def as_json(record):
    return json.loads(json.dumps(record, default=results._plain))


def test_committed_verdicts_are_those_of_todays_code_and_judge_every_claim():
    runs = [run for run in report.runs(Path(report.__file__).parent / "measured") if not run.committed]
    assert [run.name for run in runs] == [name for name in EXPERIMENTS if not trial.of_its_own(name).is_dir()]
    judged = set()
    for run in runs:
        assert not report.small(run.name, run.record["options"])
        again = as_json(trial.judged(registry.load(run.name), run.record))
        assert again["verdicts"] == run.record["verdicts"] and again["predictions"] == run.record["predictions"]
        judged |= set(again["verdicts"])
    tested = {claim for claim, seen in witnesses().items() if seen.tests}
    assert judged | tested == set(CLAIMS)
