"""Decision trees as networks (claim A4): the same leaf everywhere, thresholds and neighbouring floats included."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import datasets
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import fnn
from tests.cases import random

rng = random("trees")
WINE = datasets.load_wine(return_X_y=True)
FITTED = {
    "many classes": DecisionTreeClassifier(max_depth=8, random_state=0).fit(
        rng.normal(size=(400, 3)), rng.integers(0, 6, 400)
    ),
    "named classes": DecisionTreeClassifier(max_depth=3, random_state=0).fit(
        WINE[0], np.array(["a", "b", "c"])[WINE[1]]
    ),
    "parted at zero": DecisionTreeClassifier().fit([[-1.0], [1.0]], [False, True]),
    "one leaf": DecisionTreeClassifier().fit([[0.0, 1.0], [2.0, 3.0]], [7, 7]),
}


def beside(tree, base):
    """The rows of `base` with one feature moved onto every threshold of it, and one float to either side."""
    rows = [base]
    for feature, t in zip(tree.tree_.feature, tree.tree_.threshold, strict=True):
        if feature >= 0:
            for dtype in (np.float32, np.float64):
                value = dtype(t)
                for moved in (np.nextafter(value, dtype(-np.inf)), value, np.nextafter(value, dtype(np.inf))):
                    rows.append(base.copy())
                    rows[-1][:, feature] = moved
    return np.concatenate(rows)


@pytest.mark.parametrize("name", FITTED)
def test_A4_the_network_lands_in_the_leaf_of_the_tree(name):
    tree = FITTED[name]
    net, params = fnn.lectures.tree_network(tree)
    x = beside(tree, random(name).normal(size=(20, tree.n_features_in_)))
    scores, inside = jax.jit(net.values)(params, fnn.lectures.tree_inputs(x))
    leaves = np.flatnonzero(tree.tree_.children_left < 0)
    assert (np.asarray(inside["2.a"]).sum(-1) == 1).all()
    assert (leaves[np.asarray(inside["2.a"]).argmax(-1)] == tree.apply(x)).all()
    assert (tree.classes_[np.asarray(scores).argmax(-1)] == tree.predict(x)).all()


def test_comparisons_know_the_neighbours_of_zero_apart(dtype):
    tiny = np.nextafter(np.zeros((), dtype), np.ones((), dtype))
    x = np.array([[-tiny], [-0.0], [0.0], [tiny]], dtype)
    layer = fnn.lectures.Comparisons(1, (0, 0, 0))
    t = np.array([-tiny, 0.0, tiny], dtype)
    assert (np.asarray(layer.apply({"t": jnp.asarray(t)}, jnp.asarray(x))) == (x <= t)).all()


def test_comparisons_pass_nan_and_give_no_gradient():
    layer = fnn.lectures.Comparisons(3, (2, 0))
    params = layer.init(jax.random.key(0))
    x = jnp.array([[1.0, 2.0, jnp.nan], [-1.0, 5.0, -jnp.inf]])
    y, kept = layer.forward(params, x)
    assert np.array_equal(y, [[np.nan, 0], [1, 1]], equal_nan=True)
    params_bar, x_bar = layer.backward(params, kept, jnp.ones_like(y))
    assert params_bar["t"].shape == (2,) and x_bar.shape == x.shape
    assert not params_bar["t"].any() and not x_bar.any()
    assert layer.outputs == 2 and layer == fnn.lectures.Comparisons(3, (2, 0))


def test_the_soft_copy_tends_to_the_tree():
    tree = FITTED["many classes"]
    x = fnn.lectures.tree_inputs(random("soft").normal(size=(500, 3)))
    differ = []
    for steepness in (1.0, 1e5):
        net, params = fnn.lectures.soft_tree_network(tree, steepness=steepness)
        differ.append(np.mean(tree.predict(x) != np.asarray(jax.jit(net.apply)(params, x)).argmax(-1)))
    assert differ[0] > 0 == differ[1]
    assert {layer.activation.name for layer in net.layers} == {"sigmoid", "identity"}
    gradient = jax.jit(fnn.backprop(net, "softmax_cross_entropy"))(params, x, jnp.zeros(500, int))[1]
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_inputs_that_no_comparison_can_place_are_refused(value):
    with pytest.raises(ValueError, match=r"finite in float32, got .* at \(1, 0\)"):
        fnn.lectures.tree_inputs([[0.0, 1.0], [value, 1.0]])


def test_what_is_no_classification_tree_is_refused():
    with pytest.raises(TypeError, match="a fitted classification tree, with attributes tree_ and classes_, is needed"):
        fnn.lectures.tree_network(DecisionTreeRegressor().fit([[0.0], [1.0]], [0.0, 1.0]))
    with pytest.raises(TypeError, match="got DecisionTreeClassifier"):
        fnn.lectures.tree_network(DecisionTreeClassifier())
    several = SimpleNamespace(tree_=SimpleNamespace(n_outputs=2), classes_=[])
    with pytest.raises(ValueError, match="one output, got 2"):
        fnn.lectures.tree_network(several)
    with pytest.raises(ValueError, match="steepness must be finite and above 0"):
        fnn.lectures.soft_tree_network(FITTED["one leaf"], steepness=0.0)
    with pytest.raises(ValueError, match="features must be numbers from 0 to 1"):
        fnn.lectures.Comparisons(2, (0, 2))
