"""What falls when a claim falls: exit statuses, the account of criteria and verdicts, and verdicts under a library that
is broken on purpose.
"""

import json
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from experiments import criteria, frame, registry, results, series, trial
from experiments.__main__ import main
from experiments.claims import CLAIMS, witnesses
from experiments.frame import Evidence, Prediction
from experiments.registry import EXPERIMENTS
from tests.experiments import mutants

JUDGED = [name for name, each in EXPERIMENTS.items() if each.claims]

pytestmark = pytest.mark.quick_compilation


@pytest.fixture(autouse=True)
def _standard():
    # the lectures' graphs are written as a reader would: a bias is added to rows without a word
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def records():
    """{experiment: its committed record}."""
    return {name: results.read(trial.COMMITTED / name / results.FILE) for name in JUDGED}


# ---- criteria -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", JUDGED)
def test_no_criterion_and_no_committed_verdict_changes_without_a_dated_entry(name, records):
    kept, module = criteria.account(), registry.load(name)
    assert criteria.unexplained(module, records[name], kept) == []
    # a bound that is moved is noticed, and so is a verdict
    made = module.predictions(trial.seen(records[name]))
    (claim, patterns), *_ = EXPERIMENTS[name].claims.items()
    key, *_ = frame.keys_of(patterns, made, claim)
    moved = made | {key: made[key]._replace(bound=[made[key].bound, "moved"])}
    planted = SimpleNamespace(EXPERIMENT=module.EXPERIMENT, predictions=lambda result: moved, evidence=module.evidence)
    lines = criteria.unexplained(planted, records[name], kept)
    assert any("the criterion changed without an entry." in line for line in lines)
    assert any("judged by another criterion. Judge or run it again." in line for line in lines)
    other = records[name] | {"verdicts": records[name]["verdicts"] | {claim: ["another", "", "", []]}}
    assert any(f"{claim}, {name}: the verdict went from" in line for line in criteria.unexplained(module, other, kept))


def test_the_account_is_whole():
    for claim, by in criteria.account().items():
        for name, entries in by.items():
            assert claim in EXPERIMENTS[name].claims, (claim, name)
            dates = [entry["date"] for entry in entries["criteria"]]
            assert dates == sorted(dates) and all(len(entry["why"].split()) >= 3 for entry in entries["criteria"])
            for before, entry in zip([None, *entries["criteria"]], entries["criteria"], strict=False):
                if "criterion" in entry:
                    assert frame.digest(entry["criterion"]) == entry["sha256"], (claim, name)
                    assert before is None or "criterion" not in before or "old_bounds_say" in entry, (claim, name)


def one(value, bound=1.0):
    """An experiment of one prediction, and a record of it."""
    module = SimpleNamespace(
        EXPERIMENT=frame.Experiment(frame.Options, claims={"A1": ("small",)}),
        predictions=lambda result: {"small": Prediction("it is small", result["value"], "at most", bound)},
        evidence=lambda result: {"A1": Evidence("Measured.")},
    )
    record = {"experiment": "xor", "options": {}, "result": {"value": value}}
    return module, results.as_read(trial.judged(module, record))


def test_a_change_needs_a_reason_and_is_told_with_what_the_old_bound_says():
    module, record = one(0.5)
    kept = criteria.explained(module, record, {}, "as it was first fixed", "abc")
    assert criteria.unexplained(module, record, kept) == []
    looser, worse = one(2.0, 3.0)
    with pytest.raises(ValueError, match="the criterion of A1 changed; its entry needs a reason of some words, got ''"):
        criteria.explained(looser, worse, kept, "", "abd")
    entry = criteria.explained(looser, worse, kept, "the old bound was a guess", "abd")["A1"]["xor"]["criteria"][-1]
    assert entry["old_bounds_say"] == "refuted; missed: small" and entry["commit"] == "abd"
    # the verdict alone: the criterion stays
    _, fallen = one(2.0)
    with pytest.raises(ValueError, match=r"the verdict on A1 changed"):
        criteria.explained(module, fallen, kept, "no", "abe")


# ---- numbers that are no numbers ------------------------------------------------------------------------------------


def test_what_is_not_finite_is_kept_and_judged(tmp_path):
    kept = results.store(tmp_path, {"experiment": "x", "values": [math.nan, math.inf, -math.inf, jnp.float32(jnp.nan)]})
    assert [str(each) for each in kept["values"]] == ["nan", "inf", "-inf", "nan"]
    assert [str(each) for each in results.read(tmp_path / results.FILE)["values"]] == ["nan", "inf", "-inf", "nan"]
    json.loads((tmp_path / results.FILE).read_text(), parse_constant=lambda name: pytest.fail(name))
    for value in (math.nan, [0.5, math.nan], {"a": math.nan, "b": 0.1}):
        _, record = one(value)
        assert record["verdicts"]["A1"][0] == "refuted", value
        assert "Not so: it is small (measured nan, predicted at most 1)." in record["verdicts"]["A1"][1]
    for relation, bound in (("at least", 0), ("below", 1), ("above", 0), ("within", (0, 1)), ("is", 0)):
        assert Prediction("", math.nan, relation, bound).held is False


def poisoned(value):
    """The result with NaN in the place of every number that is not whole."""
    if isinstance(value, dict):
        return {key: poisoned(each) for key, each in value.items()}
    if isinstance(value, list):
        return [poisoned(each) for each in value]
    return math.nan if isinstance(value, float) else value


@pytest.mark.parametrize("name", JUDGED)
def test_a_result_of_nan_confirms_nothing_and_is_judged(name, records):
    module = registry.load(name)
    wrong = poisoned(records[name]["result"])
    record, made = trial.judged(module, records[name] | {"result": wrong, "seeds": []}), module.predictions(wrong)
    lost = [key for key, each in made.items() if isinstance(each.worst, float) and math.isnan(each.worst)]
    fallen = {claim for claim, judgement in record["verdicts"].items() if judgement[0] == "refuted"}
    for claim, patterns in EXPERIMENTS[name].claims.items():
        assert claim in fallen or not set(frame.keys_of(patterns, made, claim)) & set(lost), claim
    assert fallen or name in WHOLE
    results.as_read(record)


#: Experiments whose verdicts rest on whole numbers alone.
WHOLE = ("trees",)


# ---- seeds ----------------------------------------------------------------------------------------------------------


def test_a_claim_is_judged_at_every_seed():
    module, _ = one(0.5)
    head = module.EXPERIMENT._replace(seeds=5, share=0.8)
    module.EXPERIMENT = head
    for others, verdict, told in (
        ([0.1] * 4, "confirmed", "confirmed at 5 of 5 seeds"),
        ([0.1, 0.1, 0.1, 2.0], "confirmed", "confirmed at 4 of 5 seeds (refuted at seed 4)"),
        (
            [0.1, 2.0, 0.1, math.nan],
            "refuted",
            "refuted (confirmed at 3 of 5 seeds; refuted at seed 2, 4)",
        ),
        ([0.1, None, 0.1, None], "open", "open (confirmed at 3 of 5 seeds; open at seed 2, 4)"),
    ):
        judgement = frame.judge(module, {"value": 0.5}, [{"small": each} for each in others])["A1"]
        assert (judgement.verdict, trial.told(judgement)) == (verdict, told)
    # the exact bounds of tables of the binomial distribution
    assert [round(frame.least_share(*each), 4) for each in ((5, 5), (20, 20), (19, 20))] == [0.5493, 0.8609, 0.7839]


def test_every_committed_claim_that_draws_numbers_was_tried_at_five_seeds(records):
    for name in JUDGED:
        if name in DETERMINED:
            continue
        head, seeds = EXPERIMENTS[name], records[name]["options"].get("seeds", 0)
        assert head.seeds >= 5 or seeds >= 5, name
        assert len(records[name]["seeds"]) == head.seeds - 1, name


#: What draws no number on which a verdict rests.
DETERMINED = ("graphs",)


# ---- exit statuses --------------------------------------------------------------------------------------------------


def test_a_lost_claim_ends_with_a_status_of_its_own(tmp_path, capsys):
    arguments = ["graphs", "--quick", "--out", str(tmp_path)]
    with mutants.broken("a branch is not added"):
        assert main(arguments) == trial.LOST
        told = capsys.readouterr()
        assert "D3 refuted" in told.out and "E5 refuted" in told.out
        assert "E5, confirmed in the committed record, is refuted. Where that is meant, pass --allow-lost." in told.err
        assert main([*arguments, "--allow-lost"]) == series.DONE
        assert main(["graphs", "--out", str(tmp_path / "single")]) == trial.LOST
    assert main(arguments) == series.DONE


def test_an_experiment_without_claims_loses_its_predictions():
    record = results.read(trial.COMMITTED / "curvature" / results.FILE)
    assert trial.lost("curvature", record) == []
    (key, (sentence, *rest)), *_ = record["predictions"].items()
    fallen = record | {"predictions": record["predictions"] | {key: [sentence, False, *rest[1:]]}}
    assert trial.lost("curvature", fallen) == [f'"{sentence}", which held in the committed record, is not held']


# ---- the library broken on purpose ----------------------------------------------------------------------------------


def verdicts_of(name, result):
    return {claim: each.verdict for claim, each in frame.judge(registry.load(name), results.as_read(result)).items()}


def test_E5_falls_where_max_hands_the_gradient_to_the_loser():
    from experiments import graphs

    with mutants.broken("max hands on to the loser"):
        found = verdicts_of("graphs", graphs.run(graphs.Options()))
    assert found["E5"] == "refuted" and found["E3"] == "confirmed"


def test_B6_falls_where_nothing_is_shuffled(x64):
    from experiments.learning_rate import Options, batches

    options = Options(draws=200)
    right = batches.noise(options)
    with mutants.broken("nothing is shuffled"):
        wrong = batches.noise(options)
    sizes = {"sizes": {"a": SIZE, "b": SIZE}}
    assert [batches.predictions(each, sizes)["variance"].held for each in (right, wrong)] == [True, False]


SIZE = {"best": [1.0], "outer_seeds_best": [2.0, 2.0], "best_seeds_worst": 1.0}


def test_A19_falls_where_momentum_is_damped(x64):
    from experiments.learning_rate import Options, landscape

    off = landscape.optimizers(Options())["off_formula"]
    assert max(off.values()) <= 1e-11
    # m ← (1 − β) g + β m, as some books have it
    with mutants.broken("momentum is damped"):
        off = landscape.optimizers(Options())["off_formula"]
    assert off["momentum"] > 1e-3 and off["Nesterov"] > 1e-3 and off["Adam"] <= 1e-11


# ---- the index ------------------------------------------------------------------------------------------------------


def test_every_claim_has_a_test_with_its_number_and_a_picture(records):
    seen = witnesses()
    assert [claim for claim in CLAIMS if not seen[claim].tests] == []
    pictures = {claim: [] for claim in CLAIMS}
    for record in records.values():
        for claim, judgement in record["verdicts"].items():
            pictures[claim] += [judgement[2]] if judgement[2] else []
    assert [claim for claim, files in pictures.items() if not files] == []


def test_every_claim_falls_under_a_mutant_of_the_library():
    assert list(mutants.OF) == list(CLAIMS)
    assert set(mutants.OF.values()) == set(mutants.MUTANTS)
    # when each was last run: what it was, which tests failed and which predictions fell
    kept, seen = json.loads(mutants.FILE.read_text(encoding="utf-8")), witnesses()
    assert list(kept) == list(CLAIMS)
    for claim, entry in kept.items():
        assert entry["mutant"] == mutants.OF[claim], f"{claim} has another mutant. Run it again."
        assert entry["predictions"] and entry["tests"] and set(entry["tests"]) <= set(seen[claim].tests), claim
        # the verdict falls in words: an experiment that ends with an error has judged nothing
        assert not any(each.endswith("it ends with an error") for each in entry["predictions"]), claim
