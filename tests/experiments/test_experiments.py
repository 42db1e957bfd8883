"""Every experiment in a tiny form, and the command line: the list, the help without JAX, the messages."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

import fnn
from experiments import results, trial
from experiments.__main__ import main
from experiments.detection.equivalence import equivalent
from experiments.detection.operators import mutants
from experiments.progress import silent
from experiments.registry import EXPERIMENTS

pytestmark = pytest.mark.quick_compilation


@pytest.fixture(autouse=True)
def _standard():
    # Optax promotes dtypes implicitly in its Adam and momentum; strictness is for `fnn`, tested elsewhere
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_digits(tmp_path):
    from experiments import digits

    # 389 divides the 1167 images: no program of its own for a last batch, which tests/training/test_fit.py looks at
    options = digits.Options(hidden=(4,), activation="tanh", epochs=4, batch_size=389, seeds=1, learning_rate=0.02)
    result = trial.run(digits, options)
    assert len(result["gradients"]) == 4 and len(result["curves"]["by hand"]["loss"]) == 4
    saved = results.write(tmp_path, "digits", digits.Options(), result)
    made = digits.predictions(saved["result"])
    assert [key for key, each in made.items() if not each.held] == ["accuracy"]
    # an image counted otherwise, and one in two parts, are seen
    saved["result"]["curves"]["by hand"]["validation_accuracy"][-1] += 1 / 270
    saved["result"]["data"]["repeated"] = 1
    fallen = [key for key, each in digits.predictions(saved["result"]).items() if not each.held]
    assert fallen == ["accuracy", "counted", "split"]
    assert set(digits.draw(saved)) == {"curves.png", "confusion.png", "misread.png", "weights.png"}
    assert json.loads((tmp_path / results.FILE).read_text())["measured"]["step"]["by hand"] > 0


def test_A2_E8_xor_from_scratch(tmp_path):
    from experiments import xor

    result = trial.run(xor, xor.Options(seeds=3))
    assert all(each.held for each in xor.predictions(result).values())
    assert set(xor.draw(results.write(tmp_path, "xor", xor.Options(), result))) == {"regions.svg"}


def test_detection_in_small(tmp_path, capsys):
    from rich.console import Console

    from experiments import detection
    from experiments.detection import bank, measure, merge

    # one mutant that must be caught and one that equals its original, by hand: to draw them takes a while
    sigmoid = type(fnn.sigmoid)
    (wrong,) = (cls for operator, told, cls in mutants(sigmoid, "backward") if told == "sign: 1 - a")
    (same,) = (
        cls for operator, told, cls in mutants(sigmoid, "backward") if told == "right factor dropped: a * (1 - a)"
    )
    rows = [
        bank.Mutant("activation", "sigmoid", "sign", "sign: 1 - a", wrong(), fnn.sigmoid),
        bank.Mutant("activation", "sigmoid", "factor dropped", "right factor dropped", same(), fnn.sigmoid),
    ]
    found = measure.measured(rows[:1], "first", silent, points=("fresh",), dtypes=("float32",), sizes=(0,))
    assert [(m["caught"], m["named"], m["diagnosed"], m["wrong_but_certain"]) for m in found] == [(1, 1, 1, 0)]
    assert not equivalent(rows[0], probes=20)[0] and not equivalent(rows[1], probes=20)[0]
    assert equivalent(bank.Mutant("activation", "tanh", "", "", fnn.tanh, fnn.tanh), probes=20)[0]
    # a missed mutant counts against the prediction, unless it is equal on every batch
    missed = found[0] | {"change": "missed", "caught": 0, "named": 0, "diagnosed": 0}
    half = {"seed": 1, "do_not_run": 0, "mutants": [*found, missed], "equivalent": []}
    told = {k: missed[k] for k in ("rule", "operator", "change", "leaf")}
    alarm = {"checks": 10, "alarms": [], "undecided": 0}
    for name in ("a", "b"):
        results.claim(tmp_path / name)
    record = results.write(tmp_path / "a", "detection", detection.Options(), {"first": half, "alarms": alarm})
    made = detection.predictions(record["result"])
    assert not made["first caught"].held and made["alarms"].held
    half["equivalent"] = [told | {"equivalent": False, "equal_on_batches": True, "largest_difference": 0.0}]
    assert all(each.held for each in detection.predictions({"first": half}).values())
    results.write(tmp_path / "b", "detection", detection.Options(share=1, shares=2), {"first": half, "alarms": alarm})
    assert merge.main([str(tmp_path / "out"), str(tmp_path / "a"), str(tmp_path / "b")]) == 0
    assert json.loads((tmp_path / "out" / results.FILE).read_text())["result"]["alarms"]["checks"] == 20
    assert merge.main([str(tmp_path / "out"), str(tmp_path / "a"), str(tmp_path / "a")]) == 2
    assert "got the same share twice" in capsys.readouterr().err
    peers = {
        "mutants": 2,
        "rejected": {"check_grads": {"fresh": 1}},
        "right_nets": 1,
        "false_alarms": {"check_grads": {"fresh": 0}},
    }
    record["result"]["peers"] = peers
    detection.show(record, Console())
    assert "check_grads" in capsys.readouterr().out and set(detection.draw(record)) == {"detection.png"}


def test_the_published_tables_are_those_of_the_committed_results():
    from experiments import detection
    from experiments.speed import training

    root = Path(__file__).parents[2]
    saved = json.loads((root / "experiments/detection/measured/2-cores.json").read_text(encoding="utf-8"))
    assert detection.markdown(saved["result"]) in (root / "docs/checking_method.md").read_text(encoding="utf-8")
    saved = json.loads((root / "experiments/speed/measured/training-2-cores.json").read_text(encoding="utf-8"))
    page = (root / "docs/speed.md").read_text(encoding="utf-8")
    assert training.markdown(saved["measured"]["training"]) in page
    assert training.targets(saved["measured"]["training"]) in page


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["digit"], 2, "unknown experiment 'digit'; perhaps 'digits'? Known: "),
        (["xor", "--hiden", "3"], 2, "--hidden"),
        (["xor", "--hidden", "0"], 2, "--hidden must be at least 1, got 0"),
        (["digits", "--out", "README.md"], 1, "--out must be a folder; README.md is a file"),
        (
            [
                "digits",
                "--learning-rate",
                "1e30",
                "--epochs",
                "1",
                "--hidden",
                "4",
                "--activation",
                "tanh",
                "--batch-size",
                "389",
            ],
            1,
            "Lower --learning-rate",
        ),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments, status, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("a file")
    try:
        got = main(arguments)
    except SystemExit as stop:
        got = stop.code
    out = capsys.readouterr()
    assert got == status
    assert message in " ".join((out.err + out.out).replace("│", " ").split())


def run(*arguments: str) -> subprocess.CompletedProcess:
    root = Path(__file__).parents[2]
    return subprocess.run([sys.executable, "-m", "experiments", *arguments], cwd=root, capture_output=True, text=True)


def test_the_list_names_every_experiment():
    text = run().stdout
    assert all(name in text for name in EXPERIMENTS)


HELP = """
import sys
from experiments.__main__ import main
for name in sys.argv[1:]:
    try:
        main([name, "--help"])
    except SystemExit:
        pass
    print([module for module in ("jax", "numpy", "matplotlib") if module in sys.modules])
    print("----")
"""


@pytest.fixture(scope="module")
def helps():
    """{experiment: what its `--help` prints}, all in one process that imports nothing heavy."""
    code = [sys.executable, "-c", HELP, *EXPERIMENTS]
    out = subprocess.run(code, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout
    return dict(zip(EXPERIMENTS, out.split("----\n")[:-1], strict=True))


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_help_explains_every_option_without_importing_jax(name, helps):
    assert helps[name].splitlines()[-1] == "[]"
    options = EXPERIMENTS[name].options.__dataclass_fields__
    assert all("--" + option.replace("_", "-") in helps[name] for option in options)


def test_speed_in_small(tmp_path, capsys):
    # the last test of this file: it empties the caches of JAX, whose programs the others share
    from rich.console import Console

    from experiments import speed

    options = speed.Options(
        parts=("gradients",), nets=("64-32-10",), depths=(1, 2), blocks=1, compilations=1, seconds=0.01
    )  # fmt: skip
    saved = results.write(tmp_path, "speed", options, trial.run(speed, options))
    operations = saved["result"]["nets"][0]["operations"]
    assert operations["by_hand"] < 1.02 * operations["automatic"]
    speed.show(saved, Console())
    assert "largest null ratio" in capsys.readouterr().out
    assert set(speed.draw(saved)) == {"speed.png"}


def test_curves_in_small(tmp_path, capsys, monkeypatch):
    from rich.console import Console

    from experiments import speed
    from experiments.speed import curves

    few = {"rows, streamed": (100,), "width": (16,), "runs": (2,)}
    monkeypatch.setattr(curves, "AXES", few)
    options = speed.Options(parts=("curves",), largest=4096, seconds=0.001)
    saved = results.write(tmp_path, "speed", options, trial.run(speed, options))
    speed.show(saved, Console())
    assert curves.BOUNDS["width"][:20] in capsys.readouterr().out
    assert set(speed.draw(saved)) == {"curves.png"}
    measured = saved["measured"]["curves"]
    assert {axis: tuple(row["value"] for row in rows) for axis, rows in measured.items()} == few


def test_trainings_beside_others_in_small(tmp_path, capsys, monkeypatch):
    from rich.console import Console

    from experiments import speed
    from experiments.speed import peers, training

    # in this process, and ours alone: that the others run is seen where they are installed
    small = peers.Job((4, 3, 2), 4, 12)
    jobs = {"64-32-10": small, "64 nets": peers.Job(small.sizes, 4, 12, 3)}
    monkeypatch.setattr(peers, "JOBS", jobs)
    monkeypatch.setattr(training, "JOBS", jobs)

    def run(peer, job, seconds, more=None):
        if peer == "matmul":
            return {"rate": peers.matmul_rate(16)}
        if peer.startswith("first epoch"):
            return {"seconds": 1.0}
        # others write as their users do: a bias is added to rows without a word
        with jax.numpy_rank_promotion("allow"):
            return {"milliseconds": peers.timed((peers.PEERS | peers.OF_MANY)[peer][1](jobs[job]), seconds, 1)}

    monkeypatch.setattr(training, "_run", run)
    ours = ("fnn", "plain scan")
    monkeypatch.setattr(training, "of", lambda job: [n for n in peers.of(job) if n.split(",")[0] in ours])
    options = speed.Options(parts=("training",), jobs=tuple(jobs), rounds=1, seconds=0.001)
    saved = results.write(tmp_path, "speed", options, trial.run(speed, options))
    speed.show(saved, Console())
    assert "by hand is not slower than automatic" in capsys.readouterr().out
    assert set(speed.draw(saved)) == {"training.png"}
    found = training.table(saved["measured"]["training"])
    assert found["64-32-10"]["times"]["fnn"] == 1.0 and found["64-32-10"]["limit"] > 0
    # a promise that is not kept is said: ours made slow on purpose
    slow = saved["measured"]["training"]
    slow["milliseconds"]["64-32-10"]["fnn"] = [[1e6]]
    assert not all(held for _, held, _, _ in training.verdicts(training.table(slow)))
    assert "| plain scan |" in training.markdown(slow)
