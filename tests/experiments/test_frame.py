"""The frame of the experiments: options and their bounds, heads read without JAX, verdicts that follow their keys."""

import functools
import sys
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import pytest

from experiments import frame, registry, results, trial
from experiments.frame import Evidence, Prediction
from experiments.registry import EXPERIMENTS

MEASURED = Path(registry.__file__).parent / "measured"
RUN = [name for name in EXPERIMENTS if not trial.of_its_own(name).is_dir()]


# ---- options --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Options(frame.Options):
    """Of a test."""

    steps: int = frame.at_least(1, 10)
    sizes: tuple[int, ...] = frame.at_least(2, (4, 4))
    learning_rate: float = frame.above(0, 0.5)
    strength: float = frame.at_least(0, 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, r"--steps must be at least 1, got 0\."),
        ({"sizes": (4, 1)}, r"--sizes must be at least 2, got 1\."),
        ({"learning_rate": 0.0}, r"--learning-rate must be finite and above 0, got 0\.0\."),
        ({"learning_rate": float("inf")}, r"--learning-rate must be finite and above 0, got inf\."),
        ({"strength": float("nan")}, r"--strength must be finite and at least 0, got nan\."),
        ({"seed": -1}, r"--seed must be 0 to 2147483647, got -1\."),
        ({"seed": 2**31}, "--seed must be 0 to 2147483647"),
    ],
)
def test_an_option_out_of_bounds_is_refused(options, message):
    assert Options(steps=1, sizes=(2,), learning_rate=1e-9, strength=0).steps == 1
    with pytest.raises(ValueError, match=message):
        Options(**options)


# ---- heads ----------------------------------------------------------------------------------------------------------


def test_a_head_ends_where_jax_is_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    text = "from experiments import frame\nEXPERIMENT = frame.Experiment(frame.Options)\nimport {}\nfar = 1 / 0\n"
    (tmp_path / "short.py").write_text(text.format("jax.numpy as jnp"))
    before = {name: sys.modules.get(name) for name in registry.HEAVY}
    assert registry.head("short") == frame.Experiment(frame.Options, module="short")
    assert {name: sys.modules.get(name) for name in registry.HEAVY} == before
    (tmp_path / "other.py").write_text(text.format("no_such_package"))
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        registry.head("other")
    with pytest.raises(ModuleNotFoundError, match="there is no module nowhere"):
        registry.head("nowhere")


def test_a_head_says_what_the_whole_module_says():
    for name, experiment in EXPERIMENTS.items():
        whole = registry.load(name).EXPERIMENT
        assert experiment._replace(options=None, module="") == whole._replace(options=None), name
        assert vars(experiment.options()) == vars(whole.options()), name
        # the quick form is made of options that there are
        assert vars(registry.load(name).EXPERIMENT.options(**experiment.quick)).items() >= experiment.quick.items()


# ---- verdicts -------------------------------------------------------------------------------------------------------


def experiment(made, claims):
    return SimpleNamespace(
        EXPERIMENT=frame.Experiment(frame.Options, claims=claims),
        predictions=lambda result: made,
        evidence=lambda result: {claim: Evidence(f"of {claim}.", f"{claim}.svg") for claim in claims},
    )


@pytest.mark.parametrize(
    ("held", "verdict"),
    [
        ([True, True], "confirmed"),
        ([True, None], "open"),
        ([None, False], "refuted"),
        ([True, False], "refuted"),
        ([True], "confirmed"),
    ],
)
def test_a_verdict_follows_from_the_predictions(held, verdict):
    assert frame.verdict(held) == verdict


def test_an_open_verdict_says_what_would_decide():
    made = {
        "a": Prediction("a", None, decide="More would."),
        "b": Prediction("b", 2, "at most", 1, None, "More would."),
        "c": Prediction("c", True),
    }
    judged = frame.judge(experiment(made, {"A1": ("a", "b", "c"), "A2": ("c",)}), {})
    assert judged == {"A1": ("open", "of A1. More would.", "A1.svg", ()), "A2": ("confirmed", "of A2.", "A2.svg", ())}


def test_a_claim_that_rests_on_nothing_is_refused():
    with pytest.raises(KeyError, match=r"claim A1 rests on the prediction 'b \*', which is not made; got \['a'\]"):
        frame.judge(experiment({"a": Prediction("a", True)}, {"A1": ("a", "b *")}), {})


def with_predictions(module, made):
    """The experiment as if it made these predictions."""
    evidence = getattr(module, "evidence", None)
    return SimpleNamespace(EXPERIMENT=module.EXPERIMENT, predictions=lambda result: made, evidence=evidence)


@functools.cache
def judged(name):
    """(module, record, its predictions), as committed."""
    module, record = registry.load(name), results.read(MEASURED / name / results.FILE)
    assert record is not None, f"{name} has no committed record"
    return module, record, module.predictions(trial.seen(record))


@pytest.mark.parametrize("name", [name for name in RUN if EXPERIMENTS[name].claims])
def test_each_prediction_refutes_the_claims_that_rest_on_its_key_and_no_other(name):
    module, record, made = judged(name)
    for key, each in made.items():
        planted = with_predictions(
            module, made | {key: each._replace(value=False, relation="is", bound=True, miss=False)}
        )
        verdicts = frame.judge(planted, trial.seen(record))
        assert f"Not so: {each.sentence}" in " ".join(each.evidence for each in verdicts.values())
        rest_on_it = {
            claim for claim, keys in EXPERIMENTS[name].claims.items() if key in frame.keys_of(keys, made, claim)
        }
        assert rest_on_it
        assert {claim for claim, each in verdicts.items() if each.verdict == "refuted"} == rest_on_it, key


@pytest.mark.parametrize("name", RUN)
def test_exchanged_predictions_are_noticed(name):
    module, record, made = judged(name)
    assert trial.judged(module, record)["predictions"] == record["predictions"]
    sentences = [each.sentence for each in made.values()]
    assert len(set(sentences)) == len(sentences)
    for a, b in combinations(made, 2):
        # another order alone changes nothing
        turned = {b: made[b], a: made[a]} | made
        again = frame.judge(with_predictions(module, turned), trial.seen(record), record.get("seeds", ()))
        assert results.as_read(again) == record["verdicts"]
        # two sentences, or two keys
        for exchanged in (
            {a: made[a]._replace(sentence=made[b].sentence), b: made[b]._replace(sentence=made[a].sentence)},
            {a: made[b], b: made[a]},
        ):
            planted = with_predictions(module, made | exchanged)
            assert trial.judged(planted, record)["predictions"] != record["predictions"], (a, b)


def test_a_record_is_judged_again_with_its_numbers_as_they_are(tmp_path):
    (tmp_path / "xor").mkdir()
    file = tmp_path / "xor" / "other.json"
    record = results.read(MEASURED / "xor" / results.FILE)
    results.store(file.parent, record | {"predictions": {}, "verdicts": {"A2": ["open", "", ""]}}, file.name)
    assert trial.judge_again(file) == results.read(file) == record
    with pytest.raises(results.FolderError, match=r"none\.json holds no result\. Run its experiment first\."):
        trial.judge_again(tmp_path / "none.json")
