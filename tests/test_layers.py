"""A class that overrides `backward`: every way to a gradient uses it, no look inside bypasses it."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.layers import Dense
from fnn.network import Repeated, Sequential, Skip
from tests import tolerances
from tests.cases import drawn, random
from tests.witnesses import assert_close

pytestmark = pytest.mark.quick_compilation
N, WIDTH = 5, 4
LOSS = fnn.half_squared_error


def frozen(params_bar, x_bar):
    """The parameters learn nothing, what lies below does."""
    return jax.tree.map(jnp.zeros_like, params_bar), x_bar


def scaled(params_bar, x_bar):
    """The layer and all below it learn at half the rate."""
    return jax.tree.map(lambda g: g / 2, (params_bar, x_bar))


def clipped(params_bar, x_bar):
    """Not linear in the cotangent: the clip of a sum is not the sum of clips."""
    return jax.tree.map(lambda g: jnp.clip(g, -0.01, 0.01), (params_bar, x_bar))


def changed(cls, change):
    """A subclass as a user writes it: one method, and the rest inherited."""

    @dataclass(frozen=True, repr=False)
    class Changed(cls):
        def backward(self, params, residuals, y_bar):
            return change(*super().backward(params, residuals, y_bar))

    return Changed


def dense():
    return fnn.dense(WIDTH, WIDTH, activation="tanh")


#: Each layer of the package with the fields it is made from.
FIELDS = {
    Dense: lambda: (WIDTH, WIDTH, fnn.sigmoid),
    Sequential: lambda: ((dense(), fnn.repeated(dense(), 2)),),
    Skip: lambda: (dense(),),
    Repeated: lambda: (fnn.skip(dense()), 2),
}


def unrolled(layer, times):
    """`repeated(layer, times)` as a loop of Python, from the layer's rule lent to autodiff."""
    lent = fnn.custom_vjp(layer)

    def apply(params, x):
        for k in range(times):
            x = lent(jax.tree.map(lambda leaf, k=k: leaf[k], params), x)
        return x

    return apply


#: name -> (the net around a layer, the same as a plain function in which only the layer's own rule is lent to autodiff)
PLACES = {
    "alone": (lambda layer: layer, fnn.custom_vjp),
    "in a sequence": (
        lambda layer: fnn.sequential(dense(), layer),
        lambda layer: lambda params, x: fnn.custom_vjp(layer)(params[1], dense().apply(params[0], x)),
    ),
    "in a skip connection": (
        fnn.skip,
        lambda layer: lambda params, x: x + fnn.custom_vjp(layer)(params, x),
    ),
    "repeated": (lambda layer: fnn.repeated(layer, 2), lambda layer: unrolled(layer, 2)),
}


def case(cls, change, place):
    layer = changed(cls, change)(*FIELDS[cls]())
    around, plain = PLACES[place]
    net, rng = around(layer), random("override", cls.__name__, place)
    params = drawn(net, rng, jnp.float64)
    x, y = (jnp.asarray(rng.normal(0, 1, (N, WIDTH))) for _ in range(2))
    return net, plain(layer), params, x, y


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("change", [frozen, scaled], ids=lambda change: change.__name__)
@pytest.mark.parametrize("cls", FIELDS, ids=lambda cls: cls.__name__)
def test_every_way_to_a_gradient_uses_the_overridden_backward(cls, change, place, x64):
    net, plain, params, x, y = case(cls, change, place)
    by_hand = fnn.backprop(net, LOSS)

    def everything(params, x, y):
        y_bar = y - 0.5
        want = jax.grad(lambda p, x: LOSS(plain(p, x), y), argnums=(0, 1))(params, x)
        one = jax.vmap(jax.grad(lambda p, x, y: LOSS(plain(p, x), y)), (None, 0, 0))(params, x, y)
        inside = by_hand.intermediates(params, x, y)
        got = {
            "backprop": by_hand(params, x, y)[1],
            "with_inputs": by_hand.with_inputs(params, x, y)[1],
            "custom_vjp of the gradient": jax.grad(fnn.custom_vjp(by_hand), argnums=(0, 1))(params, x, y),
            "custom_vjp of the net": jax.grad(lambda p, x: LOSS(fnn.custom_vjp(net)(p, x), y), argnums=(0, 1))(
                params, x
            ),
            "backward": net.backward(params, net.forward(params, x)[1], y_bar),
            "cotangents": net.cotangents(params, net.forward(params, x)[1], y_bar)[:2],
            "norms": by_hand.example_norms(params, x, y),
        }
        of_y_bar = jax.vjp(plain, params, x)[1](y_bar)
        return got, want, one, of_y_bar, {name: bar for name, (_, bar) in inside.items()}

    got, want, one, of_y_bar, inside = jax.jit(everything)(params, x, y)
    bound = tolerances.LEAF
    assert_close(got["backprop"], want[0], bound)
    for name in ("with_inputs", "custom_vjp of the gradient", "custom_vjp of the net"):
        assert_close(got[name], want, bound, name)
    for name in ("backward", "cotangents"):
        assert_close(got[name], of_y_bar, bound, name)
    # the norms of a repeated layer keep the axis of repetitions, in front of that of the examples; a class with a
    # backward of its own is taken as a whole
    kept = 1 if type(net) is Repeated else 0

    def norm(leaf):
        return np.moveaxis(np.sqrt(np.sum(np.square(leaf), axis=tuple(range(1 + kept, leaf.ndim)))), 0, kept)

    assert_close(got["norms"], jax.tree.map(norm, jax.device_get(one)), bound, "norms")
    if place == "in a sequence":
        # what reaches the layer below is what the overridden backward hands down
        dense_y = dense().apply(params[0], x)
        below = jax.grad(lambda h: LOSS(fnn.custom_vjp(net.layers[1])(params[1], h), y))(dense_y)
        assert_close(inside["1.a"], below, bound, "intermediates")
        assert set(inside) == {"1.z", "1.a", "2.y"}


@pytest.mark.parametrize("change", [frozen, scaled], ids=lambda change: change.__name__)
def test_training_uses_the_overridden_backward(change):
    net = fnn.sequential(dense(), changed(Dense, change)(WIDTH, WIDTH))
    rng = random("override", "fit")
    params = drawn(net, rng)
    x, y = (jnp.asarray(rng.normal(0, 1, (N, WIDTH)), jnp.float32) for _ in range(2))
    options = {"optimizer": fnn.optimizers.sgd(0.1), "epochs": 1, "batch_size": N, "key": jax.random.key(0)}
    state, _ = fnn.fit(fnn.backprop(net, LOSS), params, (x, y), **options)
    usual, _ = fnn.fit(fnn.backprop(fnn.sequential(dense(), fnn.dense(WIDTH, WIDTH)), LOSS), params, (x, y), **options)
    moved, normal = (np.asarray(s.params[1]["W"] - params[1]["W"]) for s in (state, usual))
    assert np.abs(normal).max() > 0.01
    np.testing.assert_allclose(moved, {"frozen": 0, "scaled": 0.5}[change.__name__] * normal, atol=1e-6)


def test_norms_of_a_rule_that_clips_are_those_of_one_example_at_a_time(x64):
    net = fnn.sequential(dense(), changed(Dense, clipped)(WIDTH, WIDTH))
    rng = random("override", "clipped")
    params = drawn(net, rng, jnp.float64)
    x, y = (jnp.asarray(rng.normal(0, 1, (N, WIDTH))) for _ in range(2))
    by_hand = fnn.backprop(net, LOSS)
    norms = jax.jit(by_hand.example_norms)(params, x, y)
    one = jax.jit(jax.vmap(lambda x, y: by_hand(params, x, y)[1]))(x, y)
    want = jax.tree.map(lambda g: jnp.sqrt(jnp.sum(jnp.square(g), axis=tuple(range(1, g.ndim)))), one)
    assert_close(norms, want, tolerances.LEAF)
    # and not those of the factors, which know no clip
    usual = fnn.backprop(fnn.sequential(dense(), fnn.dense(WIDTH, WIDTH)), LOSS).example_norms(params, x, y)
    assert np.abs(np.asarray(usual[1]["W"] - norms[1]["W"])).max() > 0.01


def test_a_class_that_overrides_forward_alone_shows_nothing_stale(x64):
    @dataclass(frozen=True, repr=False)
    class Doubled(Dense):
        def forward(self, params, x):
            y, residuals = super().forward(params, x)
            return 2 * y, residuals

        def backward(self, params, residuals, y_bar):
            return super().backward(params, residuals, 2 * y_bar)

    @dataclass(frozen=True, repr=False)
    class Shifted(Doubled):
        def forward(self, params, x):
            y, residuals = super().forward(params, x)
            return y + 1, residuals

    params = {"W": jnp.ones((2, 1)), "b": jnp.zeros(1)}
    x = jnp.ones((3, 2))
    for layer, value in ((Doubled(2, 1), 4.0), (Shifted(2, 1), 5.0)):
        y, inside = layer.values(params, x)
        assert list(inside) == ["y"] and float(y[0, 0]) == float(inside["y"][0, 0]) == value


def test_gradients_of_params_in_a_list_are_a_list():
    net = fnn.mlp(2, 3, 1)
    params = list(drawn(net, random("list")))
    x, y = jnp.ones((4, 2)), jnp.zeros((4, 1))
    by_hand = fnn.backprop(net, LOSS, fnn.l2)
    _, gradients = by_hand(params, x, y, strength=0.1)
    assert jax.tree.structure(gradients) == jax.tree.structure(params)
    assert_close(tuple(gradients), by_hand(tuple(params), x, y, strength=0.1)[1], 0)
    assert isinstance(by_hand.example_norms(params, x, y), list)


@dataclass(frozen=True)
class Reversed(fnn.gradients.Objective):
    def backward(self, params, residuals, value_bar=1.0):
        return super().backward(params, residuals, -value_bar)


def test_an_objective_that_overrides_backward_is_used_as_it_is(x64):
    rng = random("override", "objective")
    params = drawn(dense(), rng, jnp.float64)
    x, y = (jnp.asarray(rng.normal(0, 1, (N, WIDTH))) for _ in range(2))
    usual, turned = (fnn.gradients.Backprop(made(dense(), LOSS)) for made in (fnn.gradients.Objective, Reversed))
    assert_close(turned(params, x, y)[1], jax.tree.map(jnp.negative, usual(params, x, y)[1]), 0)
    assert_close(turned.example_norms(params, x, y), usual.example_norms(params, x, y), tolerances.LEAF)
    with pytest.raises(TypeError, match=r"intermediates: Reversed overrides backward, .* Look inside fnn"):
        turned.intermediates(params, x, y)


def test_a_class_that_looks_inside_another_way_than_it_goes_back_is_refused():
    with pytest.raises(TypeError, match=r"Bypass defines cotangents but no backward, .* Define backward\(params"):

        @dataclass(frozen=True, repr=False)
        class Bypass(Dense):
            def cotangents(self, params, residuals, y_bar):
                return (*self.backward(params, residuals, y_bar), {})

    with pytest.raises(TypeError, match=r"Named defines values but no cotangents, .* Define both, or neither"):

        @dataclass(frozen=True, repr=False)
        class Named(Dense):
            def values(self, params, x):
                return self.apply(params, x), {}


def test_a_mixin_before_a_layer_overrides_it_as_a_subclass_does():
    class Half:
        def backward(self, params, residuals, y_bar):
            return scaled(*super().backward(params, residuals, y_bar))

    @dataclass(frozen=True, repr=False)
    class HalfDense(Half, Dense):
        pass

    params = {"W": jnp.ones((2, 1)), "b": jnp.zeros(1)}
    y, kept = HalfDense(2, 1).forward(params, jnp.ones((3, 2)))
    *got, inside = HalfDense(2, 1).cotangents(params, kept, jnp.ones_like(y))
    assert_close(tuple(got), scaled(*Dense(2, 1).backward(params, kept, jnp.ones_like(y))), 0)
    assert list(inside) == ["y"] and list(HalfDense(2, 1).values(params, jnp.ones((3, 2)))[1]) == ["y"]
