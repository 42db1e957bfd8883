"""Every experiment in a tiny form, and the command line: the list, the help without JAX, the messages."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from experiments import results
from experiments.__main__ import main
from experiments.options import EXPERIMENTS, Digits, Speed, Xor
from experiments.progress import silent


@pytest.fixture(autouse=True)
def _standard():
    # Optax promotes dtypes implicitly in its Adam and momentum; strictness is for `fnn`, tested elsewhere
    with jax.numpy_dtype_promotion("standard"):
        yield


def test_digits(tmp_path):
    from experiments import digits

    # 389 divides the 1167 images: no program of its own for a last batch, which tests/test_training.py looks at
    options = Digits(hidden=(4,), activation="tanh", epochs=4, batch_size=389, seeds=1, learning_rate=0.02)
    result = digits.run(options, silent)
    assert len(result["gradients"]) == 4 and len(result["curves"]["by hand"]["loss"]) == 4
    saved = results.write(tmp_path, "digits", Digits(), result)
    held = digits.predictions(saved["result"])
    assert [what for what, each in held.items() if not each] == ["the mean test accuracy is at least 97 %"]
    assert set(digits.draw(saved)) == {"curves.png", "confusion.png", "misread.png", "weights.png"}
    assert json.loads((tmp_path / results.FILE).read_text())["measured"]["step"]["by hand"] > 0


def test_A2_E8_xor_from_scratch(tmp_path):
    from experiments import xor

    result = xor.run(Xor(seeds=3), silent)
    assert all(xor.predictions(result).values())
    assert set(xor.draw(results.write(tmp_path, "xor", Xor(), result))) == {"regions.png"}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["digit"], 2, "unknown experiment 'digit'; perhaps 'digits'? Known: "),
        (["xor", "--hiden", "3"], 2, "--hidden"),
        (["xor", "--hidden", "0"], 2, "--hidden must be at least 1; 0 came"),
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
        came = main(arguments)
    except SystemExit as stop:
        came = stop.code
    out = capsys.readouterr()
    assert came == status
    assert message in " ".join((out.err + out.out).replace("│", " ").split())


def run(*arguments: str) -> subprocess.CompletedProcess:
    root = Path(__file__).parents[1]
    return subprocess.run([sys.executable, "-m", "experiments", *arguments], cwd=root, capture_output=True, text=True)


def test_the_list_names_every_experiment():
    assert all(name in run().stdout for name in EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_help_explains_every_option_without_importing_jax(name):
    code = (
        "import sys\nfrom experiments.__main__ import main\n"
        f"try: main([{name!r}, '--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('jax', 'numpy', 'matplotlib') if m in sys.modules])"
    )
    root = Path(__file__).parents[1]
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
    options = EXPERIMENTS[name][0].__dataclass_fields__
    assert all("--" + option.replace("_", "-") in out for option in options)


def test_speed_in_small(tmp_path, capsys):
    # the last test of this file: it empties the caches of JAX, whose programs the others share
    from rich.console import Console

    from experiments import speed

    options = Speed(nets=("64-32-10",), depths=(1, 2), blocks=1, compilations=1, seconds=0.01)
    saved = results.write(tmp_path, "speed", options, speed.run(options, silent))
    operations = saved["result"]["nets"][0]["operations"]
    assert operations["by_hand"] < 1.02 * operations["automatic"]
    speed.show(saved, Console())
    assert "largest null ratio" in capsys.readouterr().out
    assert set(speed.draw(saved)) == {"speed.png"}
