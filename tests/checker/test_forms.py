"""Right rules in the forms in which users write them, a lean choice; the experiment on detection has all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import fnn
from experiments import detection
from experiments.detection import users
from experiments.detection.forms import FORMS, MISTAKES, Case, Draw, Form
from experiments.progress import silent
from fnn.checker import Verdict


@pytest.fixture(autouse=True)
def promotion():
    """As users have it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


#: Of each kind of carrier one that is checked fast, and what is said of it.
LEAN = {
    "dense_without_bias": Verdict.OK,
    "embedding_with_float0": Verdict.OK,
    "one_of_two_jvps_is_none": Verdict.OK,
    "symbolic_zeros": Verdict.OK,
    "straight_through_declared": Verdict.EXPECTED,
    "cross_entropy_with_one_hot_targets": Verdict.ASSUMES,
    "quantile_loss_at_its_kink": Verdict.KINK,
    "linear_solve_with_transposes": Verdict.OK,
    "methods_of_a_model": Verdict.OK,
    "columns_as_examples": Verdict.OK,
    "recurrent_net_through_time": Verdict.OK,
    "factors_of_ratings": Verdict.OK,
    "loss_in_jax_and_gradient_in_numpy": Verdict.OK,
}


@pytest.mark.parametrize("name", LEAN)
def test_a_right_rule_in_the_form_of_a_user_is_not_blamed(name):
    report = users.checked(FORMS[name].make(Draw(np.random.default_rng(3))))
    assert report.ok and LEAN[name] in {f.verdict for f in report.findings}, str(report)


def test_the_same_in_the_64_bit_mode_of_a_user():
    with jax.enable_x64(True):
        draw = Draw(np.random.default_rng(4), jnp.float64, 3, 5, 4)
        assert users.word(FORMS["activation_by_name"].make(draw)) == ("ok", "")


def test_there_are_enough_forms_of_every_family():
    families = [form.family for form in FORMS.values()]
    assert len(families) >= 150
    for family in ("flax", "equinox", "optax", "numpyro", "jaxopt", "course"):
        assert families.count(family) >= 12, family


def changed_sign(draw):
    case = FORMS["word_vectors"].make(draw)
    gradient = case.options["gradient"]
    return Case(case.function, case.args, {"gradient": lambda *args: tuple(-g for g in gradient(*args))})


def test_what_the_experiment_counts(monkeypatch):
    """A right form, one whose sign is changed, and one that cannot be checked at all; and two mistakes."""
    forms = {
        "right": FORMS["word_vectors"],
        "wrong": Form("course", changed_sign),
        "refused": Form("other", lambda draw: Case(3, ())),
    }
    monkeypatch.setattr(users, "FORMS", forms)
    names = "divided_by_the_columns", "biases_copied_from_another_gate"
    monkeypatch.setattr(users, "MISTAKES", {name: MISTAKES[name] for name in names})
    found = users.forms(silent)
    assert found["families"] == {"course": {"ok": 1, "blamed": 1}, "other": {"blamed": 1}}
    assert "the sign is wrong" in found["not_ok"]["wrong"]["report"]
    assert found["not_ok"]["refused"]["report"].startswith("TypeError: check needs a function")
    drawn = users.at_random(7, silent)
    assert drawn["checks"] == 7 and drawn["words"] == {"ok": 3, "blamed": 4} and not drawn["undecided"]
    # what a form gets is the same in whatever share it is
    share = users.at_random(7, silent, share=slice(1, None, 3))
    assert share["alarms"] == [each for each in drawn["alarms"] if each["form"] == "wrong"]
    result = {"forms": found, "users": drawn, "mistakes": users.mistakes(silent)}
    held = {name: each.held for name, each in detection.predictions(result).items()}
    assert held == {
        "forms blamed": False, "forms open": True, "mistakes caught": True, "mistakes named": True,
        "mistakes diagnosed": held["mistakes diagnosed"], "mistakes certain": True, "users": False,
    }  # fmt: skip
    assert "| all | 3 | 1 | 0 | 0 | 2 |" in detection.markdown(result)
    assert "| caught | 2 |" in detection.markdown(result)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_rule_that_sums_over_devices_is_judged_by_the_whole_gradient(factor):
    @jax.custom_vjp
    def centred(x):
        return x - jax.lax.pmean(x.mean(0), "batch")

    centred.defvjp(lambda x: (centred(x), None), lambda _, bar: (factor * (bar - jax.lax.pmean(bar.mean(0), "batch")),))
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(centred, mesh=mesh, in_specs=P("batch"), out_specs=P("batch"))
    x = jnp.array([[0.3, -1.0], [0.5, 2.0], [1.0, 0.2]])
    report = fnn.check(lambda x: jnp.sum(mapped(x) ** 3), x)
    assert report.culprits == (() if factor == 1 else ("gradient",)), str(report)
    assert report.ok == (factor == 1) and "centred (test_forms.py:" in report.notes[0], str(report)


@pytest.mark.parametrize("factor", [1, 2])
def test_a_rule_that_sums_over_devices_on_the_way_back_alone(factor):
    """The identity forward, a sum over devices backward, as tensor-parallel layers write it."""
    copied = jax.custom_vjp(lambda x: x)
    copied.defvjp(lambda x: (x, None), lambda _, bar: (factor * jax.lax.psum(bar, "batch"),))
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    mapped = jax.shard_map(copied, mesh=mesh, in_specs=P("batch"), out_specs=P("batch"), check_vma=False)
    report = fnn.check(lambda x: jnp.sum(mapped(x) ** 3), jnp.array([[0.3, -1.0], [0.5, 2.0]]))
    assert report.ok == (factor == 1) and report.culprits == (() if factor == 1 else ("gradient",)), str(report)
    assert "uses an axis of a map over devices" in report.notes[0]


def test_a_solver_on_the_host_is_called_one_after_the_other():
    assert users.word(FORMS["solver_on_the_host"].make(Draw(np.random.default_rng(3)))) == ("ok", "")
