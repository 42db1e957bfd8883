"""Decision trees as networks: an exact network of step units, and a soft copy that can learn (claim A4).

Three layers. Each inner node has a comparison unit that says whether x_f ≤ t. Each leaf has a unit that fires if every
comparison on the path to it has the right result. The output is the class of the leaf that fires.
Promises: the exact network and the tree agree on every finite float32 input, including thresholds and neighbouring
floats.
Refuses: NaN, and numbers that float32 cannot hold (`tree_inputs`); regressors; several outputs.
Letters: N examples, I features, S inner nodes, L = S + 1 leaves, K classes.

scikit-learn is not required: any object with the attributes `tree_` and `classes_` will do.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.activations import hard_threshold, sigmoid
from fnn.checks import and_more, as_floating, require_dtype, require_last_axis, require_shape, require_size
from fnn.layers import Layer
from fnn.network import Sequential, dense, sequential
from fnn.types import Array, DType, Key, Params, Residuals


@dataclass(frozen=True)
class Comparisons(Layer):
    """Step units, one feature each: a_s = 1 where x_f(s) ≤ t_s, else 0; params {"t": (S,)}. NaN stays NaN.

    The floats are compared by their bits, in the order of the floats: processors that flush subnormal numbers treat the
    neighbours of 0 as 0 when they subtract, and also when they compare.
    The derivative is 0 everywhere, so neither this layer nor those below it learn (claim A14).

    >>> steps = fnn.lectures.Comparisons(2, (0, 1, 1))
    >>> steps.apply({"t": jnp.array([0.5, 0.0, 2.0])}, jnp.array([0.5, 1.0])).tolist()
    [1.0, 0.0, 1.0]
    """

    inputs: int
    features: tuple[int, ...]
    """f(s), the feature that unit s looks at."""

    def __post_init__(self) -> None:
        require_size("comparisons", "inputs", self.inputs, "Give the number of features.")
        if not self.features or not all(0 <= feature < self.inputs for feature in self.features):
            raise ValueError(
                f"comparisons: features must be numbers from 0 to {self.inputs - 1}, at least one, "
                f"got {self.features}. Give the feature that each unit looks at."
            )

    @property
    def outputs(self) -> int:
        return len(self.features)

    def init(self, key: Key, dtype: DType = jnp.float32) -> Params:
        """Thresholds of 0; useful ones come from a tree."""
        return {"t": jnp.zeros(self.outputs, require_dtype(dtype))}

    def forward(self, params: Params, x: Array) -> tuple[Array, Residuals]:
        t = as_floating("comparisons", "t", params["t"])
        require_shape("comparisons", "t", t.shape, (self.outputs,), "Do the parameters belong to another network?")
        x = as_floating("comparisons", "x", x, t.dtype)
        require_last_axis("comparisons", "x", x.shape, self.inputs, "features")
        x = x[..., jnp.array(self.features)]
        a = (_ordered(x) <= jnp.broadcast_to(_ordered(t), x.shape)).astype(t.dtype)
        return jnp.where(jnp.isnan(x), x, a), ()

    def backward(self, params: Params, residuals: Residuals, y_bar: Array) -> tuple[Params, Array]:
        # a = 1[x_f ≤ t]: a step
        return {"t": jnp.zeros_like(params["t"])}, jnp.zeros((*y_bar.shape[:-1], self.inputs), y_bar.dtype)


def _ordered(x: Array) -> Array:
    """Whole numbers in the order of the floats, with equal zeros."""
    bits = jax.lax.bitcast_convert_type(x, f"int{8 * x.dtype.itemsize}")
    # without the sign bit, the bits of a float increase with its magnitude
    size = bits & jnp.iinfo(bits.dtype).max
    return jnp.where(bits < 0, -size, size)


def tree_network(tree: Any) -> tuple[Sequential, Params]:
    """A fitted decision tree as a network of step units that gives the same answer everywhere.

        1[x_f ≤ t]  →  leaf = 1[Σ_left a − Σ_right a ≥ n_left − ½]  →  scores = one-hot class of the leaf

    where the sums run over the nodes at which the path to the leaf turns left or right. Every number is a small
    multiple of ½, so nothing is rounded. The thresholds, float64 in scikit-learn, are rounded down to float32; for x in
    float32 this does not change any comparison.

    Args:
        tree: a fitted scikit-learn `DecisionTreeClassifier` or `ExtraTreeClassifier`, of any depth.

    Returns:
        net, params: scores (N, K), 1 at the class. The class itself is `tree.classes_[scores.argmax(-1)]`; the leaves
        are what `net.values(params, x)` calls "2.a", in the order of their numbers in the tree.

    Raises:
        TypeError: not a fitted classification tree. ValueError: several outputs.

    >>> from types import SimpleNamespace as Fitted
    >>> import numpy as np
    >>> stump = Fitted(classes_=np.array(["low", "high"]), tree_=Fitted(n_features=1, n_outputs=1,
    ...     children_left=np.array([1, -1, -1]), children_right=np.array([2, -1, -1]), feature=np.array([0, -2, -2]),
    ...     threshold=np.array([0.1, -2, -2]), value=np.array([[[0.5, 0.5]], [[1.0, 0.0]], [[0.0, 1.0]]])))
    >>> net, params = fnn.lectures.tree_network(stump)
    >>> stump.classes_[net.apply(params, fnn.lectures.tree_inputs([[0.0], [0.1], [0.2]])).argmax(-1)].tolist()
    ['low', 'high', 'high']

    (The float32 0.1 is above the threshold, which is the float64 0.1.) Source: claim A4.
    """
    read = _read(tree)
    leaves, classes = read.classes.shape
    net = sequential(
        Comparisons(read.inputs, read.features),
        dense(len(read.features), leaves, activation=hard_threshold),
        dense(leaves, classes),
    )
    arrays = (
        {"t": _rounded_down(read.thresholds)},
        {"W": read.paths, "b": read.biases},
        {"W": read.classes, "b": np.zeros(classes)},
    )
    return net, jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), arrays)


def soft_tree_network(tree: Any, *, steepness: float, leaf_steepness: float = 10.0) -> tuple[Sequential, Params]:
    """A copy of a tree that can learn: its steps are replaced by sigmoids, which makes it an ordinary perceptron.

        σ(s (t − x_f))  →  leaf = σ(r (Σ_left a − Σ_right a − n_left + ½))  →  scores = Σ leaf · its one-hot class

    Within about 1/s of a threshold the copy is undecided and may disagree with the tree; measure how often.

    Args:
        tree: as for `tree_network`.
        steepness: s of the comparisons, per unit of x; scale the features alike before fitting the tree.
        leaf_steepness: r of the leaves, whose sums are at least ½ away from 0; σ(10 · ½) = 0.993.

    Returns:
        net, params: `sequential(dense(I, S, sigmoid), dense(S, L, sigmoid), dense(L, K))`; scores (N, K) as logits.

    Raises:
        TypeError, ValueError: as `tree_network`; a steepness that is not finite and above 0.

    >>> from types import SimpleNamespace as Fitted
    >>> import numpy as np
    >>> stump = Fitted(classes_=np.array([0, 1]), tree_=Fitted(n_features=1, n_outputs=1,
    ...     children_left=np.array([1, -1, -1]), children_right=np.array([2, -1, -1]), feature=np.array([0, -2, -2]),
    ...     threshold=np.array([0.1, -2, -2]), value=np.array([[[0.5, 0.5]], [[1.0, 0.0]], [[0.0, 1.0]]])))
    >>> net, params = fnn.lectures.soft_tree_network(stump, steepness=50.0)
    >>> net.apply(params, fnn.lectures.tree_inputs([[0.0], [0.2]])).argmax(-1).tolist()
    [0, 1]

    Source: claim A4.
    """
    for name, value in (("steepness", steepness), ("leaf_steepness", leaf_steepness)):
        if not 0 < value < np.inf:
            raise ValueError(f"soft_tree_network: {name} must be finite and above 0, got {value}. Try 10.")
    read = _read(tree)
    nodes, (leaves, classes) = len(read.features), read.classes.shape
    net = sequential(
        dense(read.inputs, nodes, activation=sigmoid), dense(nodes, leaves, activation=sigmoid), dense(leaves, classes)
    )
    compare = np.zeros((read.inputs, nodes))
    compare[read.features, np.arange(nodes)] = -steepness
    arrays = (
        {"W": compare, "b": steepness * read.thresholds},
        {"W": leaf_steepness * read.paths, "b": leaf_steepness * read.biases},
        {"W": read.classes, "b": np.zeros(classes)},
    )
    return net, jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), arrays)


def tree_inputs(x: Any) -> np.ndarray:
    """x as float32, rounded to the nearest, as scikit-learn does before its trees compare.

    Raises:
        ValueError: an entry is NaN, infinite, or too large for float32; the message names it.

    >>> fnn.lectures.tree_inputs([[0.1, 2.0]]).tolist()
    [[0.10000000149011612, 2.0]]
    """
    with np.errstate(over="ignore"):
        cast = np.asarray(x, np.float32)
    bad = np.argwhere(~np.isfinite(cast))
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        raise ValueError(
            f"tree_inputs: x must be finite in float32, got {np.asarray(x)[place]} at {place}"
            f"{and_more(bad)}. Impute or drop these rows: the network does not know which way to send NaN."
        )
    return cast


@dataclass(frozen=True)
class _Tree:
    """A fitted tree, leaf by leaf."""

    inputs: int
    features: tuple[int, ...]
    """(S,)"""
    thresholds: np.ndarray
    """(S,) float64"""
    paths: np.ndarray
    """(S, L): +1 where the path to the leaf turns left at the node, −1 where right, 0 where it does not pass."""
    biases: np.ndarray
    """(L,): ½ − the number of left turns."""
    classes: np.ndarray
    """(L, K): the class of each leaf, one-hot."""


def _read(tree: Any) -> _Tree:
    fitted = getattr(tree, "tree_", None)
    if fitted is None or not hasattr(tree, "classes_"):
        raise TypeError(
            f"a fitted classification tree, with attributes tree_ and classes_, is needed, got {type(tree).__name__}. "
            "Give sklearn.tree.DecisionTreeClassifier().fit(x, y)."
        )
    if fitted.n_outputs != 1:
        raise ValueError(f"the tree must have one output, got {fitted.n_outputs}. Fit one tree per output.")
    left, right = np.asarray(fitted.children_left), np.asarray(fitted.children_right)
    nodes, leaves = np.flatnonzero(left >= 0), np.flatnonzero(left < 0)
    column = {int(node): k for k, node in enumerate(nodes)}
    paths = np.zeros((len(left), len(nodes)))
    # the number of a parent is smaller than those of its children, so its path is complete before theirs begin
    for node in nodes:
        for child, turn in ((left[node], 1), (right[node], -1)):
            paths[child] = paths[node]
            paths[child, column[int(node)]] = turn
    paths = paths[leaves].T
    features, thresholds = np.asarray(fitted.feature)[nodes], np.asarray(fitted.threshold, np.float64)[nodes]
    if not len(nodes):
        # a tree that is a single leaf: one comparison that nothing reads
        features, thresholds, paths = np.zeros(1, int), np.zeros(1), np.zeros((1, 1))
    # the first of equally frequent classes, as in scikit-learn
    labels = np.asarray(fitted.value)[leaves, 0].argmax(axis=1)
    return _Tree(
        int(fitted.n_features),
        tuple(features.tolist()),
        thresholds,
        paths,
        0.5 - (paths > 0).sum(axis=0),
        np.eye(len(tree.classes_))[labels],
    )


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """The largest float32 that is not above each threshold t; for x in float32 it compares exactly as t does."""
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    # compared in float64, where both are exact
    return np.where(nearest.astype(np.float64) > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest)
