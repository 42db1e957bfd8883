"""The layer contract, run on every layer: the package's, a two-input one, a random one, and one as a user writes it."""

import dataclasses
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from tests import tolerances
from tests.cases import Dropout, Swap, drawn, random
from tests.conftest import strict
from tests.witnesses import assert_close, named_leaves


@dataclasses.dataclass(frozen=True)
class UsersLayer(fnn.Layer):
    """y = x³ ⊙ g, as a user would write it: nothing but the three methods."""

    size: int

    def init(self, key, dtype=jnp.float32):
        return {"g": 1 + jax.random.uniform(key, (self.size,), dtype)}

    def forward(self, params, x):
        return x**3 * jnp.broadcast_to(params["g"], x.shape), x

    def backward(self, params, x, y_bar):
        # y = x³ ⊙ g
        g = jnp.broadcast_to(params["g"], x.shape)
        return {"g": jnp.sum(y_bar * x**3, axis=tuple(range(x.ndim - 1)))}, 3 * x**2 * g * y_bar


#: name -> (how the layer is made, how its input is made from leading axes and a dtype)
def _rows(lead, dtype):
    return np.sin(1 + np.arange(int(np.prod(lead, dtype=int)) * 4)).reshape(*lead, 4).astype(dtype)


LAYERS = {
    "dense": (lambda: fnn.dense(4, 3, activation="tanh"), _rows),
    "affine": (lambda: fnn.dense(4, 3), _rows),
    "softmax": (lambda: fnn.dense(4, 3, activation=fnn.softmax), _rows),
    "mlp": (lambda: fnn.mlp(4, 5, 3), _rows),
    "skip": (lambda: fnn.skip(fnn.dense(4, 4, activation="relu")), _rows),
    "repeated": (lambda: fnn.repeated(fnn.dense(4, 4, activation="tanh"), 3), _rows),
    "nested": (lambda: fnn.sequential(fnn.repeated(fnn.skip(fnn.mlp(4, 5, 4)), 2), fnn.dense(4, 2)), _rows),
    "two inputs": (lambda: Swap(4), lambda lead, dtype: (_rows(lead, dtype), 2 * _rows(lead, dtype))),
    "random": (lambda: Dropout(0.7), lambda lead, dtype: (_rows(lead, dtype), jax.random.key(5))),
    "user's": (lambda: UsersLayer(4), _rows),
    "user's inside": (lambda: fnn.sequential(fnn.dense(4, 4), fnn.skip(UsersLayer(4))), _rows),
}


def is_float(leaf):
    return jnp.issubdtype(leaf.dtype, jnp.floating)


@pytest.fixture(params=LAYERS)
def made(request):
    return LAYERS[request.param]


def test_a_layer_is_a_value(made):
    make, _ = made
    layer = make()
    assert layer == make() and hash(layer) == hash(make()) and layer != fnn.dense(1, 1)
    assert repr(layer) == repr(make())
    fields = {f.name: getattr(layer, f.name) for f in dataclasses.fields(layer)}
    assert type(layer)(**fields) == layer
    assert isinstance(layer.name, str) and layer.name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(layer, next(iter(fields)), None)


@pytest.fixture(scope="session")
def contracts():
    """{dtype: {layer: (x, kept, y by forward, y by apply, by hand, automatic)}}: one program for all of LAYERS."""
    results = {}
    for dtype in ("float64", "float32"):
        with strict(), jax.enable_x64(dtype == "float64"):
            results[dtype] = _contracts(dtype)
    return results


def _contracts(dtype: str):
    table, kept = {}, {}
    for name, (make, rows) in LAYERS.items():
        x, params = rows((6,), dtype), drawn(make(), random(name), dtype)
        y, kept[name] = jax.eval_shape(make().forward, params, x)
        table[name] = params, x, np.cos(np.arange(y.size)).reshape(y.shape).astype(dtype)

    def one(layer, params, x, y_bar):
        y, kept = layer.forward(params, x)
        # the witness: autodiff with respect to the parameters and the floating parts of x
        leaves, tree = jax.tree.flatten(x)
        floats = [leaf for leaf in leaves if is_float(leaf)]

        def apply(params, floats):
            moved = iter(floats)
            return layer.apply(params, jax.tree.unflatten(tree, [next(moved) if is_float(v) else v for v in leaves]))

        again, pull = jax.vjp(apply, params, floats)
        return y, again, layer.backward(params, kept, y_bar), pull(y_bar)

    run = jax.jit(lambda table: {name: one(make(), *table[name]) for name, (make, _) in LAYERS.items()})
    return {name: (table[name][1], kept[name], *results) for name, results in run(table).items()}


@pytest.mark.parametrize("name", LAYERS)
def test_forward_apply_and_backward_agree_with_the_contract(name, dtype, contracts):
    layer = LAYERS[name][0]()
    made = jax.eval_shape(lambda: layer.init(jax.random.key(0), dtype))
    assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(made))
    x, kept, y, again, (params_bar, x_bar), auto = contracts[dtype.name][name]
    assert layer.outputs is None or y.shape[-1] == layer.outputs
    assert all(hasattr(leaf, "shape") for leaf in jax.tree.leaves(kept)), "residuals hold arrays only"
    assert_close(again, y, tolerances.FORWARD[dtype.name])

    # x_bar has the structure of x, None for keys and integers
    x_bars = jax.tree.leaves(x_bar, is_leaf=lambda leaf: leaf is None)
    for leaf, leaf_bar in zip(jax.tree.leaves(x), x_bars, strict=True):
        assert (leaf_bar is None) == (not is_float(leaf))
        assert leaf_bar is None or (leaf_bar.shape == leaf.shape and leaf_bar.dtype == leaf.dtype)
    assert_close((params_bar, [g for g in x_bars if g is not None]), auto, tolerances.FORWARD[dtype.name])


def test_eager_jit_and_vmap_agree_and_leading_axes_are_free(made):
    make, rows = made
    layer = make()
    if isinstance(layer, Dropout):
        pytest.skip("one key draws one mask: rows of a batch differ from the same rows alone, as they should")
    params, x = drawn(layer, random("eager")), jax.tree.map(jnp.asarray, rows((2, 3), np.float32))
    y = layer.apply(params, x)
    tolerance = tolerances.FORWARD["float32"]

    @jax.jit
    def compiled(params, x):
        one = jax.tree.map(lambda leaf: leaf[1, 2], x)
        return layer(params, x), jax.vmap(layer.apply, (None, 0))(params, x), layer.apply(params, one)

    again, mapped, alone = compiled(params, x)
    assert_close(again, y, tolerance)
    assert_close(mapped, y, tolerance)
    assert_close(alone, y[1, 2], tolerance)


def test_a_second_call_does_not_retrace(made):
    make, rows = made
    params, x = drawn(make(), random("retrace")), rows((6,), np.float32)
    chex.clear_trace_counter()
    apply = jax.jit(chex.assert_max_traces(lambda layer, p, x: layer.apply(p, x), n=1), static_argnums=0)
    for _ in range(3):
        apply(make(), params, x)


def test_values_and_cotangents_have_the_same_names(made):
    make, rows = made
    layer = make()
    params, x = jax.eval_shape(lambda: layer.init(jax.random.key(0))), rows((6,), np.float32)

    def names(params, x):
        y, values = layer.values(params, x)
        _, kept = layer.forward(params, x)
        return values, layer.cotangents(params, kept, y)[2]

    values, cotangents = jax.eval_shape(names, params, x)
    assert jax.tree.map(lambda v: v.shape, values) == jax.tree.map(lambda v: v.shape, cotangents)
    assert values


def test_norms_of_every_layer_are_those_of_its_per_example_gradients(made):
    make, rows = made
    layer = make()
    if layer.name in ("swap", "dropout"):
        pytest.skip("norms belong to layers with one array of examples as input")
    params, x = drawn(layer, random("norms")), rows((6,), np.float32)

    @jax.jit
    def both(params, x):
        y, kept = layer.forward(params, x)

        def alone(x, y_bar):
            return layer.backward(params, layer.forward(params, x)[1], y_bar)

        each, x_bar = jax.vmap(alone)(x, y)
        return layer.norms(params, kept, y), each, x_bar

    (norms, x_bar), each, wanted_x_bar = both(params, x)
    assert_close(x_bar, wanted_x_bar, tolerances.FORWARD["float32"])
    for (path, norm), (_, gradients) in zip(named_leaves(norms), named_leaves(each), strict=True):
        # in a repeated layer the norms carry the axis of repetitions too, in front
        axes = tuple(range(norm.ndim, gradients.ndim))
        repeated = norm.ndim == 2
        gradients = np.moveaxis(gradients, 0, 1) if repeated else gradients
        assert_close(norm, np.sqrt((gradients**2).sum(axis=axes)), tolerances.FORWARD["float32"], path)


def test_params_of_an_mlp_are_one_dict_per_layer():
    params = jax.jit(lambda key: fnn.mlp(64, 32, 10).init(key, "bfloat16"))(jax.random.key(0))
    assert jax.tree.map(jnp.shape, params) == ({"W": (64, 32), "b": (32,)}, {"W": (32, 10), "b": (10,)})
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(params))
    assert not any(np.asarray(layer["b"], np.float32).any() for layer in params)


def test_layers_of_a_net_start_from_different_numbers():
    nets = fnn.mlp(5, 5, 5, 5), fnn.repeated(fnn.dense(5, 5), 3)
    written, stacked = jax.jit(lambda key: [net.init(key) for net in nets])(jax.random.key(0))
    for weights in ([layer["W"] for layer in written], list(np.asarray(stacked["W"]))):
        assert all((a != b).all() for a, b in itertools.combinations(map(np.asarray, weights), 2))


def test_repeated_equals_the_layers_written_out(x64):
    layer = fnn.dense(4, 4, activation="tanh")
    scanned = fnn.sequential(fnn.repeated(layer, 3), fnn.dense(4, 2))
    written = fnn.sequential(layer, layer, layer, fnn.dense(4, 2))
    stacked, last = drawn(scanned, random("written out"), jnp.float64)
    unstacked = (*(jax.tree.map(lambda leaf, k=k: np.asarray(leaf)[k], stacked) for k in range(3)), last)
    x, y = _rows((6,), np.float64), np.ones((6, 2))

    @jax.jit
    def both(params, unstacked, x, y):
        by_scan, by_layers = (fnn.backprop(net, fnn.squared_error) for net in (scanned, written))
        return by_scan(params, x, y), by_layers(unstacked, x, y)

    (value, (bar, last_bar)), (wanted, (*bars, wanted_last)) = both((stacked, last), unstacked, x, y)
    assert_close(value, wanted, tolerances.FORWARD["float64"])
    assert_close(bar, jax.tree.map(lambda *leaves: np.stack(leaves), *bars), tolerances.FORWARD["float64"])
    assert_close(last_bar, wanted_last, tolerances.FORWARD["float64"])


def test_repeated_casts_its_input_as_its_layer_does():
    net = fnn.repeated(fnn.dense(4, 4, activation="tanh"), 2)
    params = drawn(net, random("cast"), jnp.bfloat16)
    x, dot = _rows((3,), jnp.float32), jnp.ones((3, 4), jnp.float32)
    with pytest.warns(fnn.CastWarning, match=r"dense\(4, 4, activation=tanh\): x is float32; cast to bfloat16"):
        y, saved = net.forward(params, x)
    wanted, kept = net.forward(params, x.astype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16 and (y == wanted).all()
    chex.assert_trees_all_equal(net.backward(params, saved, y), net.backward(params, kept, y))
    with pytest.warns(fnn.CastWarning):
        assert (net.values(params, x)[0] == wanted).all()
    zero = jax.tree.map(jnp.zeros_like, params)
    with pytest.warns(fnn.CastWarning):
        (after, moved), _ = net.forward_tangent((params, zero), (x, dot))
    assert (after == wanted).all() and moved.dtype == jnp.bfloat16


def test_the_program_of_repeated_does_not_grow_with_the_number_of_layers():
    def equations(times):
        net = fnn.repeated(fnn.dense(8, 8, activation="relu"), times)
        by_hand = fnn.backprop(net, fnn.squared_error)
        shapes = jax.eval_shape(lambda: net.init(jax.random.key(0)))
        ones = np.ones((2, 8), np.float32)
        return len(jax.make_jaxpr(by_hand)(shapes, ones, ones).eqns)

    assert equations(8) == equations(512)


def test_a_record_with_an_init_of_its_own_is_refused():
    for base in (fnn.Layer, fnn.Activation, fnn.Loss):
        with pytest.raises(
            TypeError, match=r"Scaled must be a frozen dataclass, got .* fields under @dataclass\(frozen=True\)"
        ):
            type("Scaled", (base,), {"__init__": lambda self, scale: None})


def test_a_layer_without_parameters_can_be_repeated():
    class Halve(fnn.Layer):
        def forward(self, params, x):
            return x / 2, ()

        def backward(self, params, residuals, y_bar):
            return (), y_bar / 2

    layer = fnn.repeated(Halve(), 3)
    params = layer.init(jax.random.key(0))

    @jax.jit
    def both(x):
        y, kept = layer.forward(params, x)
        return y, layer.backward(params, kept, y)[1]

    y, x_bar = both(np.ones(4, np.float32))
    assert (y == 1 / 8).all() and (x_bar == 1 / 64).all()


def test_nothing_is_kept_twice():
    """What the forward pass of an mlp keeps: each layer's input and, of tanh, its output; x itself is not copied."""
    net = fnn.mlp(64, 32, 10)
    x = np.ones((128, 64), np.float32)
    shapes = jax.eval_shape(lambda: net.forward(net.init(jax.random.key(0)), x))
    kept = sorted(leaf.shape for leaf in jax.tree.leaves(shapes[1]))
    assert kept == [(128, 32), (128, 32), (128, 64)]
