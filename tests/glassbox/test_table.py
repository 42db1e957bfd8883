"""The table of primitives: every record is whole, and one that is not is named."""

import builtins
import keyword
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import primitives
from fnn.glassbox.table import TABLE, Primitive
from fnn.glassbox.trace import names
from tests.corpus import CORPUS
from tests.glassbox import test_devices, test_forms, test_rules, test_values

#: Covered, and in no test of a value: JAX makes the first two only inside its own transformations, no public function
#: of the older release makes the third, and the last two are of an accelerator.
UNSEEN = {"custom_lin", "eval_jaxpr", "call_hi_primitive", "relayout", "with_memory_space_constraint"}


def lacking(table):
    """{primitive: the entries that are missing}, for the records that are not whole."""
    return {name: missing for name, primitive in table.items() if (missing := primitive.lacking())}


def test_every_record_is_whole():
    assert lacking(TABLE) == {}
    assert all(name == primitive.name for name, primitive in TABLE.items())


def test_no_result_is_called_by_a_word_of_python():
    assert {names.word(each) for each in ("sort", "rev", "complex")} == {"sorted_", "reversed_", "complex_"}
    words = [names.word(each) for each in TABLE]
    assert not [word for word in words if hasattr(builtins, word) or keyword.iskeyword(word)]


def test_a_missing_entry_is_named():
    planted = TABLE | {"new": Primitive("new"), "half": Primitive("half", rule=lambda y_bar, y, x: (y_bar,))}
    assert lacking(planted) == {"new": ["rule", "python"], "half": ["python"]}


def operations(jaxpr):
    """The names of the operations in a jaxpr, at any depth."""
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    found = {equation.primitive.name for equation in jaxpr.eqns}
    inside = [value for equation in jaxpr.eqns for value in jax.tree.leaves(list(equation.params.values()))]
    return found.union(*(operations(each) for each in inside if hasattr(each, "eqns") or hasattr(each, "jaxpr")))


def double(leaf):
    return jnp.asarray(leaf, jnp.float64 if np.asarray(leaf).dtype.kind == "f" else None)


def compared():
    """The operations in functions whose gradient by the local rules is compared with a known one."""
    functions = [(f, args) for f, *args in (*test_rules.CASES.values(), *test_forms.FORMS.values())]
    functions += [(f, args) for group in test_values.CASES.values() for _, f, *args in group.values()]
    functions += [*CORPUS.values(), (lambda x: test_forms.squared(x), [1.0])]
    found = {*test_rules.ALONE}
    for f, args in functions:
        found |= operations(jax.make_jaxpr(f)(*jax.tree.map(double, args)))
    for what, (_, f) in test_devices.SINES.items():
        with jax.set_mesh(test_devices.mesh_of(what)):
            found |= operations(jax.make_jaxpr(f)(test_devices.X))
    return found


@pytest.mark.usefixtures("small_functions")
def test_at_least_170_operations_have_a_rule_and_a_test_of_its_value():
    groups = primitives.grouped(primitives.differentiable())
    covered = {name for group, names in groups.items() if group != "refused" for name in names}
    without = covered - compared()
    assert without <= UNSEEN, f"no test compares a gradient through {sorted(without - UNSEEN)}"
    assert len(covered - without) >= 170


def test_the_table_of_the_docs_is_that_of_the_installed_jax():
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
