"""Right rules in the forms in which users write them, a lean choice; the experiment on detection has all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.detection import users
from experiments.detection.forms import FORMS, Draw
from fnn.checker import Verdict


@pytest.fixture(autouse=True)
def promotion():
    """As users have it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


#: Of each kind of carrier one that is checked fast; what is said of it, where it is more than ok.
LEAN = {
    "dense_without_bias": Verdict.OK,
    "static_and_dynamic_parts": Verdict.OK,
    "embedding_with_float0": Verdict.OK,
    "one_of_two_jvps_is_none": Verdict.OK,
    "symbolic_zeros": Verdict.OK,
    "rule_under_shard_map": Verdict.OK,
    "straight_through_declared": Verdict.EXPECTED,
    "cross_entropy_with_one_hot_targets": Verdict.ASSUMES,
    "quantile_loss_at_its_kink": Verdict.KINK,
    "methods_of_a_model": Verdict.OK,
    "reparametrized_sample": Verdict.OK,
    "root_by_newton": Verdict.OK,
    "value_by_the_envelope_theorem": Verdict.OK,
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
    assert len(families) >= 130
    for family in ("flax", "equinox", "optax", "numpyro", "jaxopt", "course"):
        assert families.count(family) >= 12, family


def test_a_wrong_rule_in_such_a_form_is_counted_as_blamed():
    case = FORMS["methods_of_a_model"].make(Draw(np.random.default_rng(3)))
    wrong = case.options["gradient"]
    case.options["gradient"] = lambda w: -wrong(w)
    found, report = users.word(case)
    assert found == "blamed" and "the sign is wrong" in report
    case.options["gradient"] = 0
    assert users.word(case)[0] == "blamed"
