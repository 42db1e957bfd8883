"""The table of primitives: every record is whole, and one that is not is named."""

import subprocess
import sys

import jax
import pytest

from experiments import primitives
from fnn.glassbox.table import TABLE, Primitive


def lacking(table):
    """{primitive: the entries that are missing}, for the records that are not whole."""
    return {name: missing for name, primitive in table.items() if (missing := primitive.lacking())}


def test_every_record_is_whole():
    assert lacking(TABLE) == {}
    assert all(name == primitive.name for name, primitive in TABLE.items())


def test_a_missing_entry_is_named():
    planted = TABLE | {"new": Primitive("new"), "half": Primitive("half", rule=lambda y_bar, y, x: (y_bar,))}
    assert lacking(planted) == {"new": ["rule", "python"], "half": ["python"]}


def test_the_table_of_the_docs_is_that_of_the_installed_jax():
    groups = primitives.grouped(primitives.differentiable())
    covered = sum(map(len, groups.values())) - len(groups["refused"])
    assert covered >= 170
    page = primitives.PAGE.read_text(encoding="utf-8")
    if f"JAX {jax.__version__} can" not in page:
        pytest.skip("the page is written for another release of JAX")
    # in a process of its own: modules that are imported later bring operations of their own
    program = "from experiments import primitives; print(primitives.written())"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=primitives.PAGE.parents[1], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() in page, "renew it by `python -m experiments.primitives`"


def test_a_primitive_without_a_record_is_refused():
    assert primitives.grouped(["new", "sin", "floor", "jit"]) == {
        "rule": ["sin"], "inside": ["jit"], "none": ["floor"], "refused": ["new"],
    }  # fmt: skip
