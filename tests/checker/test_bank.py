"""A sample of the experiment on detection: mutants are caught, right rules raise no alarm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments import detection
from experiments.detection import alarms, carriers
from experiments.detection.operators import mutants
from experiments.progress import silent
from fnn.activations import ACTIVATIONS
from fnn.checker import rules
from fnn.checker.examination import examine
from fnn.checker.points import Settings
from fnn.losses import LOSSES
from tests.cases import drawn, predictions, random, targets
from tests.checker.nets import PROGRAMS, X, Y, verdicts


def sample(table, method, made, count):
    """The same few mutants every time, as (rule, what was changed); all of them are the experiment's business.

    A mutant that gives the same gradient at generic inputs is none: equal by algebra (a for a_bar in zeros_like), or
    changed in a branch that these inputs never take.
    """
    found = [(record, *each) for record in table.values() for each in mutants(type(record), method)]
    drawn = []
    for k in random("mutants").permutation(len(found)):
        record, _, told, cls = found[k]
        mutant, right = made(cls()), made(record)
        output = right.pair.forward(right.inputs, right.data)
        bar = jax.tree.map(
            lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape),
            output,
        )
        try:
            with jax.numpy_dtype_promotion("standard"):
                wrong, wanted = (
                    np.asarray(rule.pair.derived(rule.inputs, rule.data, bar)[1][0]) for rule in (mutant, right)
                )
            same = np.allclose(wrong, wanted)
        except (TypeError, ValueError, UnboundLocalError):
            same = True  # it does not even run: anybody finds it
        if not same:
            drawn.append((mutant, told))
        if len(drawn) == count:
            break
    return drawn


def test_mutants_of_activations_are_caught():
    z = jnp.asarray(random("z").normal(size=(5, 7)), jnp.float32)
    learned = {name: a for name, a in ACTIVATIONS.items() if name not in ("sign", "hard_threshold")}
    for mutant, told in sample(learned, "backward", lambda m: rules._of_activation(m, z), 8):
        assert fnn.checker.Verdict.FORMULA in verdicts(mutant), (mutant.name, told)


def test_mutants_of_losses_are_caught():
    def made(loss):
        p, y = predictions(loss, (4, 3)), targets(loss, (4, 3), labels=False)
        return rules._of_loss(loss, jnp.asarray(p, jnp.float32), jnp.asarray(y, jnp.float32), None)

    # the label branch is the integer one: here every loss gets rows of numbers
    table = {
        name: loss for name, loss in LOSSES.items() if name not in ("softmax_cross_entropy", "negative_log_likelihood")
    }
    for mutant, told in sample(table, "slope", made, 8):
        assert fnn.checker.Verdict.FORMULA in verdicts(mutant), (mutant.name, told)


@pytest.fixture
def as_users():
    """Promotion as users have it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_wrong_rules_as_users_carry_them(monkeypatch, as_users):
    """The draw is frozen, each carrier as often as any other; and one row hides no factor."""
    drawn = carriers.drawn(12, seed=1)
    assert [each.carrier for each in drawn] == 2 * [*carriers.CARRIERS]
    assert (drawn[0].original, drawn[0].change) == ("exponential", "sign of 1")
    assert carriers.call(drawn[0], "one array", 0) is None  # it has only one argument of that shape
    monkeypatch.setattr(carriers, "STARTS", {start: carriers.STARTS[start] for start in ("one array", "one row")})
    mutant = carriers.Mutant("mean square", "result factor", "all of it times the rows", "plain", times_the_rows)
    found = carriers.measured([mutant], silent)
    assert [found[0][kind] for kind in ("checks", "caught", "named", "diagnosed")] == [2, 2, 2, 2], found
    result = {"carriers": {"seed": 1, "mutants": found}}
    assert all(each.held for each in detection.predictions(result).values())
    assert "| plain | 1 | 2 | 2 of 2 (100.00 %) |" in detection.markdown(result)
    found[0]["caught"] = 1
    assert not detection.predictions(result)["carriers caught"].held
    monkeypatch.setattr(carriers, "STARTS", {"one row": carriers.STARTS["one row"]})
    assert carriers.right(silent, share=slice(36, 37)) == {"checks": 1, "alarms": []}


def times_the_rows(right, args, bar):
    return [len(args[0]) * each for each in right]


def test_correct_rules_at_random_points_raise_no_alarm():
    """A sample of the false alarms that there are not: every activation, at random sizes of its input."""
    settings = Settings()
    for k, (name, activation) in enumerate(ACTIVATIONS.items()):
        z = jnp.asarray(random(name, k).normal(size=(5, 7)) * 10.0 ** (k % 5 - 2), jnp.float32)
        with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
            found = examine(rules._of_activation(activation, z), settings)
        assert {f.verdict for f in found} <= {fnn.checker.Verdict.OK, fnn.checker.Verdict.KINK}, (name, found)


def test_a_sample_of_ten_thousand_random_nets_raises_no_alarm():
    with jax.numpy_dtype_promotion("standard"):
        # this seed draws a net of two layers
        found = alarms.measured(20, silent, seed=6)
    assert found["checks"] == 20 and found["alarms"] == []


def test_points_on_and_beside_kinks_raise_no_alarm():
    with jax.numpy_dtype_promotion("standard"):
        found = alarms.at_kinks(200, silent, seed=3)
    assert found["points"] >= 200 and found["alarms"] == []


def test_a_correct_rule_in_bfloat16_is_ok():
    params, by_hand = (
        drawn(fnn.mlp(4, 3), random("half"), jnp.bfloat16),
        fnn.backprop(fnn.mlp(4, 3), "softmax_cross_entropy"),
    )
    report = fnn.check(by_hand, params, X.astype(jnp.bfloat16), Y, programs=PROGRAMS)
    assert report.ok, str(report)
    assert np.isfinite(report.looked_at["differenced"])
