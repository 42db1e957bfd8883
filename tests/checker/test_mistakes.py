"""Published mistakes of gradients by hand, a lean choice; the experiment on detection has all of them."""

import json
from collections import Counter
from pathlib import Path

import jax
import numpy as np
import pytest

import fnn
from experiments import detection
from experiments.detection import users
from experiments.detection.forms import FORMS, MISTAKES, Draw


@pytest.fixture(autouse=True)
def promotion():
    """As users have it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


LEAN = (
    "divided_by_the_columns", "two_of_the_square_forgotten", "mean_forgotten_beside_a_penalty",
    "sign_of_the_subtrahend", "bias_not_summed_over_the_batch", "vector_that_gets_no_gradient",
    "ties_that_all_get_everything", "logarithm_of_a_negative_base", "bias_summed_over_everything",
    "biases_copied_from_another_gate",
)  # fmt: skip


def outcome(name):
    mistake = MISTAKES[name]
    return users.outcome(mistake, users.checked(mistake.make(Draw(np.random.default_rng(3)))))


@pytest.mark.parametrize("name", LEAN)
def test_a_published_mistake_is_caught_named_and_told(name):
    found = outcome(name)
    assert found["caught"] and found["named"] and found["diagnosed"] and not found["wrong_but_certain"], found


#: Caught and named, and what is said fits, but does not say where the gradient was lost.
TOLD_OTHERWISE = ("nothing_goes_back_through_time", "bias_multiplied_by_the_input")


@pytest.mark.parametrize("name", TOLD_OTHERWISE)
def test_a_published_mistake_is_caught_and_named(name):
    found = outcome(name)
    assert found["caught"] and found["named"] and not found["wrong_but_certain"], found


def test_the_table_of_mistakes():
    assert len(MISTAKES) >= 57 and len({each.source for each in MISTAKES.values()}) == len(MISTAKES)
    for name, mistake in MISTAKES.items():
        repository, number = mistake.source.split("#")
        assert repository.count("/") == 1 and number.isdigit() and mistake.make.__doc__, name


def test_a_mistake_that_is_mended_is_not_caught():
    """What counts as caught, named and diagnosed, on reports that say otherwise."""
    mistake = MISTAKES["divided_by_the_columns"]
    case = mistake.make(Draw(np.random.default_rng(3)))
    w = case.args[0]
    gradient = case.options["gradient"]
    found = users.outcome(mistake, fnn.check(case.function, w, gradient=lambda w: 0.8 * gradient(w)))
    assert Counter(found.values())[False] == 4 and found["says"] == ""
    found = users.outcome(mistake, fnn.check(case.function, w, gradient=lambda w: -0.8 * gradient(w)))
    assert found["caught"] and found["named"] and not found["diagnosed"] and found["wrong_but_certain"]


def test_the_page_tells_the_counts_of_the_record():
    root = Path(__file__).parents[2]
    records = [root / f"experiments/detection/measured/{name}.json" for name in ("users", "carriers")]
    saved, carried = (json.loads(record.read_text(encoding="utf-8")) for record in records)
    of = detection.counts(saved["result"]["mistakes"])
    assert {*saved["result"]["mistakes"]} == {*MISTAKES} and of["wrong_but_certain"] == 0
    page = (root / "docs/checking_method.md").read_text(encoding="utf-8")
    assert detection.markdown(saved["result"]) in page and detection.markdown(carried["result"]) in page
    assert detection.words(saved["result"]["forms"]).total() == len(FORMS)
    assert f"The record has {len(FORMS)} forms" in page
    assert of["caught"] == of["named"] == len(MISTAKES)
    told = " ".join(page.split())
    assert f"All {len(MISTAKES)} mistakes are caught and named, {of['diagnosed']} get the right" in told
