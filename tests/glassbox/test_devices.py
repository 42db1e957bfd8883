"""Functions mapped over devices, on a mesh of one: whatever passes between devices, each is the sine.

So the gradient is known in closed form, also where the installed JAX cannot differentiate the function itself.
"""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import fnn
from fnn.glassbox import gradient_by_rules
from fnn.glassbox.rules.shapes import copy
from fnn.glassbox.table import TABLE
from fnn.glassbox.trace.devices import refuse_many
from fnn.glassbox.trace.program import traced
from tests import tolerances

X, WEIGHTS = np.array([0.2, 0.5, 0.7, 0.9]), np.array([1.0, -2.0, 3.0, 0.5])
MESH = jax.make_mesh((1,), ("i",), axis_types=(AxisType.Auto,))
#: A mesh whose arrays say in their types how they lie on it.
TYPED = jax.make_mesh((1,), ("i",), axis_types=(AxisType.Explicit,))


def mapped(f, inside="i", out="i", **options):
    return lambda x: jax.shard_map(f, mesh=MESH, in_specs=P(inside), out_specs=P(out), **options)(x)


def typed(f, inside="i", out=None):
    return lambda x: jax.shard_map(f, mesh=TYPED, in_specs=P(inside), out_specs=P(out))(
        jax.device_put(x, NamedSharding(TYPED, P(inside)))
    )


def cast(x, *kinds):
    for kind in kinds:
        x = lax.pcast(x, "i", to=kind)
    return x


#: {what: (primitives that it is about, a function that is the sine)}.
SINES = {
    "sum": ("psum_invariant", mapped(lambda x: lax.psum(jnp.sin(x), "i"), out=None)),
    "sum, unchecked": ("psum", mapped(lambda x: lax.psum(jnp.sin(x), "i"), out=None, check_vma=False)),
    "gathered": (
        "all_gather ppermute",
        mapped(lambda x: jnp.sin(lax.all_gather(lax.ppermute(x, "i", [(0, 0)]), "i")[0]), check_vma=False),
    ),
    "sent to nobody": ("ppermute", mapped(lambda x: jnp.sin(x) + lax.ppermute(x, "i", []))),
    "numbered": ("axis_index", mapped(lambda x: jnp.sin(x + lax.axis_index("i")))),
    "scattered": (
        "reduce_scatter", mapped(lambda x: lax.psum_scatter(jnp.sin(x), "i", tiled=True), check_vma=False),
    ),
    "exchanged": ("all_to_all", mapped(lambda x: lax.all_to_all(jnp.sin(x), "i", 0, 0, tiled=True), check_vma=False)),
    "from the first": ("pbroadcast", mapped(lambda x: lax.pbroadcast(jnp.sin(x), "i", 0), check_vma=False)),
    "made to vary": ("pvary", mapped(lambda x: cast(jnp.sin(x), "varying"), None)),
    "gathered for all": (
        "all_gather_invariant", typed(lambda x: lax.all_gather(jnp.sin(x), "i", to="invarying", tiled=True)),
    ),
    "gathered once": (
        "all_gather_reduced",
        typed(lambda x: cast(lax.all_gather(jnp.sin(x), "i", to="reduced", tiled=True), "varying"), out="i"),
    ),
    "reduced and back": (
        "preduced reduced_vary_cast", typed(lambda x: cast(jnp.sin(x), "reduced", "varying"), None, "i"),
    ),
    "sum of what is not reduced": (
        "vary_unreduced_cast unreduced_psum", typed(lambda x: lax.psum(cast(jnp.sin(x), "unreduced"), "i")),
    ),
    "scatter of what is not reduced": (
        "unreduced_reduce_scatter",
        typed(lambda x: lax.psum_scatter(cast(jnp.sin(x), "unreduced"), "i", tiled=True), out="i"),
    ),
    "placed": ("reshard", lambda x: jax.sharding.reshard(jnp.sin(x), NamedSharding(TYPED, P()))),
    "constrained": (
        "sharding_constraint", lambda x: lax.with_sharding_constraint(jnp.sin(x), NamedSharding(MESH, P())),
    ),
    "laid out": ("layout_constraint", lambda x: with_layout_constraint(jnp.sin(x), Layout((0,)))),
    "under a name": ("composite", lambda x: lax.composite(jnp.sin, "my.sin")(x)),
}  # fmt: skip
#: Those whose arrays say how they lie.
TYPES = {
    "gathered for all", "gathered once", "reduced and back", "sum of what is not reduced",
    "scatter of what is not reduced", "placed",
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("small_functions")


def mesh_of(what):
    return TYPED if what in TYPES else MESH


def weighted(f):
    return lambda x: jnp.sum(WEIGHTS * f(x))


def gradients(f):
    """(by the local rules, by the code that is written)."""
    source, scope = fnn.show_backward(f, X, tried=False), {}
    exec(source.python, scope)
    return gradient_by_rules(f)(X)[0], scope["gradient"](X)[0]


def test_on_one_device_every_exchange_hands_its_numbers_on():
    for what, (_, f) in SINES.items():
        with jax.set_mesh(mesh_of(what)):
            for got in gradients(weighted(f)):
                np.testing.assert_allclose(got, WEIGHTS * np.cos(X), rtol=tolerances.LEAF, err_msg=what)


def test_a_rule_that_does_not_hand_on_is_seen(monkeypatch):
    kept = {name for name, primitive in TABLE.items() if primitive.rule is copy}
    for what, (_, f) in SINES.items():
        with jax.set_mesh(mesh_of(what)):
            for name in {step.primitive.name for step in traced(weighted(f), [X])[0].steps} & kept:
                with monkeypatch.context() as planted:
                    planted.setitem(TABLE, name, replace(TABLE[name], rule=lambda y_bar, y, *x: (2 * y_bar,)))
                    wrong = gradient_by_rules(weighted(f))(X)[0]
                assert np.abs(wrong - WEIGHTS * np.cos(X)).max() > tolerances.FAR, (what, name)


def test_a_map_over_several_devices_is_refused():
    equation = SimpleNamespace(params={"mesh": SimpleNamespace(size=4)})
    with pytest.raises(NotImplementedError, match=r"`shard_map` .lecture.py:7. maps over 4 devices"):
        refuse_many(equation, "lecture.py:7")
