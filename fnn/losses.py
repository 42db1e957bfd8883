"""Loss functions, each beside its hand-written derivative with respect to the prediction.

Promises: a loss is a value with
    forward(prediction, target, sample_weight=None) -> (value, residuals)
    backward(residuals, value_bar=1.0) -> prediction_bar
    backward_tangent(residuals, prediction_dot) -> prediction_bar_dot     the second derivative beside the first
and a call returns the value alone. The last axis of the prediction holds the outputs of one example; the axes before
it count examples (no such axis: one example). Losses *sum* over the outputs of an example and average over examples
(`loss.sum` sums over examples too). Targets and weights are data: there is no derivative with respect to them.
Example weights w ≥ 0 (a mask has weights 0 and 1) give Σ w l / Σ w, or Σ w l for `loss.sum`. An example of weight 0
never matters, whatever its prediction and target hold, NaN included; weights that are all 0 give 0. (The *inputs* of a
net must still be finite: fill masked rows with zeros.) A term 0 · ∞ is 0: a class of probability 0 may have the logit
−∞. In half precision a loss is computed in float32 and rounded once: no sum overflows on the way to a mean.
Refuses: a target whose shape would broadcast, float labels, a mean over no examples; a label outside 0 … K − 1. Where
labels cannot be seen, under `jax.jit`, such a label makes NaN of the loss and of its row of the gradient.
Letters: N examples, O outputs, K classes; p prediction, y target, z logits, w weights. In training, |B| rows
of a batch and w̄ the mean weight of all rows: Σ w l is divided by |B| w̄ (`weight_sum`).

Where books disagree: the squared error is (1/N) Σ ‖p − y‖² in lecture D (`squared_error`) and ½ ‖p − y‖² in lectures A
and E (`half_squared_error`); PyTorch and scikit-learn also divide by the number of outputs O.
Sources: claims A7, B3, B7, B19, B20, C5, D1, D7.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fnn.activations import softmax
from fnn.checks import (
    and_more,
    as_floating,
    as_numbers,
    require_labels,
    require_name,
    require_pair,
    require_range,
    require_shape,
    row_number,
    warn,
)
from fnn.types import Array, Record, Residuals, reset_stale

#: The records, and the class that takes a number; the class of any other record is `type(record)`.
__all__ = [
    "ClassificationLoss",
    "Huber",
    "Loss",
    "absolute_error",
    "binary_cross_entropy",
    "get",
    "half_squared_error",
    "hinge",
    "huber",
    "negative_log_likelihood",
    "perceptron_loss",
    "sigmoid_cross_entropy",
    "softmax_cross_entropy",
    "squared_error",
]


@dataclass(frozen=True, repr=False)
class Loss(Record):
    """The record of a loss. A new loss defines two methods, `values` and `slope`; the reduction is done here, once.

    >>> import jax.numpy as jnp
    >>> from fnn.losses import Loss
    >>> class Quartic(Loss):
    ...     def values(self, prediction, target):
    ...         e = prediction - target
    ...         return jnp.sum(e**4, axis=-1), e
    ...     def slope(self, e):
    ...         return 4 * e**3
    >>> float(Quartic()(jnp.array([[1.0], [3.0]]), jnp.array([[0.0], [1.0]])))
    8.5
    """

    # by name alone, so that a loss with fields of its own takes them in their order
    reduction: str = field(default="mean", kw_only=True)

    piecewise_linear: ClassVar[bool] = False
    """True where the second derivative is 0 wherever it exists: the absolute error, hinge, perceptron."""
    applies: ClassVar[tuple[str, str] | None] = None
    """The activation that the loss applies to the prediction itself, and the loss for a net that ends in it already."""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for rule in ("curvature", "fisher", "curvature_root", "piecewise_linear", "applies"):
            reset_stale(cls, Loss, rule, "values", "slope")
        # the root is that of the curvature
        reset_stale(cls, Loss, "curvature_root", "curvature")

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise ValueError(
                f"{self.name}: reduction must be 'mean' or 'sum', got {self.reduction!r}. "
                "Use the loss itself for the mean, loss.sum for the sum."
            )

    @property
    def sum(self) -> Self:
        """The same loss, summed over the examples instead of averaged."""
        return replace(self, reduction="sum")

    # ---- what a new loss defines ------------------------------------------------------------------------------------

    def values(self, prediction: Array, target: Array) -> tuple[Array, Residuals]:
        """Return the loss of each example, (…), and what `slope` needs."""
        raise TypeError(f"{type(self).__name__} must define values(prediction, target) -> (values, residuals).")

    def slope(self, residuals: Residuals) -> Array:
        """Return the derivative of each example's loss with respect to its prediction, (…, O)."""
        raise TypeError(f"{type(self).__name__} must define slope(residuals) -> prediction_bar.")

    # ---- what it defines for second derivatives: of each example's loss, with respect to its prediction --------------

    def curvature(self, residuals: Residuals, prediction_dot: Array) -> Array:
        """Return the Hessian of each example's loss times prediction_dot, (…, O)."""
        raise TypeError(
            f"{type(self).__name__} must define curvature(residuals, prediction_dot) for second derivatives, got a "
            "class without it beside its slope. It is the derivative of the slope along prediction_dot."
        )

    def fisher(self, residuals: Residuals, prediction_dot: Array) -> Array:
        """Return E[s sᵀ] prediction_dot, (…, O): s is the slope for a target drawn from the model e^(−loss)."""
        raise TypeError(
            f"{self.name} is not the negative log-likelihood of a model, so it has no Fisher matrix. "
            "Use gauss_newton_vector_product, or a loss that is one, such as softmax_cross_entropy."
        )

    def curvature_root(self, residuals: Residuals) -> Array:
        """Return S, (C, …, O), with Σ_c S_c S_cᵀ the Hessian of each example's loss; C is at most O.

        Here from the eigenvectors of the Hessian, which is right for any convex loss.
        """
        one = jnp.zeros_like(self.slope(residuals))
        rows = [self.curvature(residuals, one.at[..., o].set(1)) for o in range(one.shape[-1])]
        values, vectors = jnp.linalg.eigh(jnp.stack(rows, axis=-2))
        root = vectors * jnp.sqrt(jnp.maximum(values, jnp.zeros_like(values)))[..., None, :]
        return jnp.moveaxis(root, -1, 0)

    def as_target(self, prediction: Array, target: Any) -> Array:
        """Check the target's shape and dtype against the prediction's and return it as an array."""
        target = as_numbers(self.name, "the target", target)
        if jnp.issubdtype(target.dtype, jnp.complexfloating):
            raise TypeError(f"{self.name}: the target must be real, got {target.dtype.name}. Give y.real, or |y|.")
        _require_same_shape(self.name, prediction, target)
        return target.astype(prediction.dtype)

    def validate_target(self, target: Any, outputs: int) -> None:
        """Check the values of the target on the host; raise `ValueError` on what training would accept silently."""

    def validate_prediction(self, prediction: Any) -> None:
        """Look at predictions on the host, before training; warn where they cannot be what the loss expects."""

    def require_target(self, prediction: Array, target: Array, sample_weight: Any) -> None:
        """Raise `ValueError` on a target that has no loss, where its values can be seen: outside `jax.jit`."""

    # ---- what every loss gets ---------------------------------------------------------------------------------------

    def __call__(self, prediction: Array, target: Any, sample_weight: Array | None = None) -> Array:
        """The loss, a scalar of the prediction's dtype.

        Args:
            prediction: (…, O).
            target: of the prediction's shape; for classes also whole-number labels (…).
            sample_weight: a weight for each example, or a mask, (…), or None.
        """
        return self.forward(prediction, target, sample_weight)[0]

    def forward(
        self,
        prediction: Array,
        target: Any,
        sample_weight: Array | None = None,
        weight_sum: Array | float | None = None,
    ) -> tuple[Array, Residuals]:
        """Return (value, residuals); see `__call__` for the shapes.

        `weight_sum` is the denominator of the weighted mean, Σ w of these examples unless it is passed: in mini-batches
        |B| w̄ with the mean weight of the whole data, so that a weight counts in a batch of any size.
        """
        prediction = as_floating(self.name, "prediction", prediction)
        if prediction.ndim == 0:
            raise ValueError(
                f"{self.name}: the prediction must have outputs on its last axis, got a scalar. Give p[None]."
            )
        if prediction.dtype.itemsize < 4:
            value, working = self.forward(prediction.astype(jnp.float32), target, sample_weight, weight_sum)
            # an empty array records the dtype to which the gradient is rounded
            return value.astype(prediction.dtype), (working, jnp.zeros(0, prediction.dtype))
        target = self.as_target(prediction, target)
        self.require_target(prediction, target, sample_weight)
        examples = prediction.shape[:-1]
        count = math.prod(examples)
        if self.reduction == "mean" and count == 0:
            raise ValueError(
                f"{self.name}: the mean over a batch of 0 examples is undefined; the prediction has shape "
                f"{prediction.shape}. Use {self.name}.sum, which gives 0, or skip empty batches."
            )
        if sample_weight is None:
            values, saved = self._valued(prediction, target)
            if self.reduction == "sum":
                return jnp.sum(values), (saved, None)
            return jnp.sum(values) / count, (saved, 1 / count)
        weights = jnp.asarray(sample_weight)
        if weights.shape != examples:
            raise ValueError(
                f"{self.name}: sample_weight must hold one number per example, shape {examples}, "
                f"got {weights.shape}. Give one weight or mask entry per row."
            )
        weights = weights.astype(prediction.dtype)
        # an example that does not count must not spread its NaN, so it is replaced before anything is computed
        counts = weights != 0
        prediction = jnp.where(counts[..., None], prediction, jnp.zeros_like(prediction))
        counts_target = counts if target.ndim == len(examples) else counts[..., None]
        target = jnp.where(counts_target, target, jnp.zeros_like(target))
        values, saved = self._valued(prediction, target)
        if self.reduction == "sum":
            return jnp.sum(weights * values), (saved, weights)
        if weight_sum is None:
            total = jnp.sum(weights)
            scale = weights / jnp.where(total == 0, jnp.ones_like(total), total)
        else:
            scale = weights / jnp.asarray(weight_sum, weights.dtype)
        return jnp.sum(scale * values), (saved, scale)

    def _valued(self, prediction: Array, target: Array) -> tuple[Array, Residuals]:
        """The pair of `values`: a number for each example. A mean in its place would be divided by N again."""
        where = f"{self.name}.values"
        values, saved = require_pair(where, self.values(prediction, target), "(values, residuals)")
        remedy = "Return the loss of each example, summed over the last axis of the prediction; the mean is taken here."
        require_shape(where, "values", np.shape(values), prediction.shape[:-1], remedy)
        return values, saved

    def backward(self, residuals: Residuals, value_bar: Array | float = 1.0) -> Array:
        """Return the cotangent of the prediction, (…, O)."""
        saved, scale = residuals
        if _is_half(scale):
            # computed in float32, rounded to half precision
            return self.backward(saved, jnp.asarray(value_bar, jnp.float32)).astype(scale.dtype)
        # value = Σ scale_n values_n
        slope = self.slope(saved)
        if scale is None:
            return slope * value_bar
        scale = scale * value_bar
        return slope * (scale[..., None] if jnp.ndim(scale) else scale)

    def backward_tangent(self, residuals: Residuals, prediction_dot: Array) -> Array:
        """Return the change of `backward` along prediction_dot, (…, O): the Hessian of the value times it."""
        # prediction_bar = scale_n slope_n
        saved, scale = residuals
        if _is_half(scale):
            return self.backward_tangent(saved, prediction_dot.astype(jnp.float32)).astype(scale.dtype)
        return _weighted(lambda dot: self.curvature(saved, dot), scale, prediction_dot)

    def fisher_tangent(self, residuals: Residuals, prediction_dot: Array) -> Array:
        """Return the Fisher matrix of the predictions times prediction_dot, (…, O)."""
        saved, scale = residuals
        if _is_half(scale):
            return self.fisher_tangent(saved, prediction_dot.astype(jnp.float32)).astype(scale.dtype)
        return _weighted(lambda dot: self.fisher(saved, dot), scale, prediction_dot)

    def backward_root(self, residuals: Residuals) -> Array:
        """Return S, (C, …, O), with Σ_c S_c S_cᵀ the Hessian of the value, example by example."""
        saved, scale = residuals
        if _is_half(scale):
            return self.backward_root(saved).astype(scale.dtype)
        root = self.curvature_root(saved)
        if scale is None:
            return root
        root_scale = jnp.sqrt(jnp.asarray(scale, root.dtype))
        return root * (jnp.expand_dims(root_scale, (0, -1)) if root_scale.ndim else root_scale)


# ---- regression -----------------------------------------------------------------------------------------------------


class SquaredError(Loss):
    """‖p − y‖² per example, mean over examples (claim D1); derivative 2 (p − y). No ½, no division by O.

    >>> p, y = jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.zeros((2, 2))
    >>> float(fnn.squared_error(p, y))  # the mean of 5 and 9
    7.0
    """

    def values(self, prediction: Array, target: Array) -> tuple[Array, Residuals]:
        e = prediction - target
        return jnp.sum(e * e, axis=-1), e

    def slope(self, residuals: Residuals) -> Array:
        # values = Σ_o e², e = p − y
        return 2 * residuals

    def curvature(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # slope = 2 (p − y)
        return 2 * prediction_dot

    def fisher(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # the model: y normal around p with variance ½, so E[2e 2eᵀ] = 2
        return 2 * prediction_dot

    def curvature_root(self, residuals: Residuals) -> Array:
        return _diagonal_root(jnp.full_like(residuals, 2))


class HalfSquaredError(Loss):
    """½ ‖p − y‖² per example, mean over examples (claims A16, E6); derivative p − y.

    >>> p, y = jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.zeros((2, 2))
    >>> float(fnn.half_squared_error(p, y))
    3.5
    """

    def values(self, prediction: Array, target: Array) -> tuple[Array, Residuals]:
        e = prediction - target
        return 0.5 * jnp.sum(e * e, axis=-1), e

    def slope(self, residuals: Residuals) -> Array:
        # values = ½ Σ_o e², e = p − y
        return residuals

    def curvature(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # slope = p − y
        return prediction_dot

    def fisher(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # the model: y normal around p with variance 1
        return prediction_dot

    def curvature_root(self, residuals: Residuals) -> Array:
        return _diagonal_root(jnp.ones_like(residuals))


class AbsoluteError(Loss):
    """Σ |p − y| per example, mean over examples; derivative sign(p − y), 0 where p = y.

    >>> p, y = jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.zeros((2, 2))
    >>> float(fnn.absolute_error(p, y))  # the mean of 3 and 3
    3.0
    """

    def values(self, prediction: Array, target: Array) -> tuple[Array, Residuals]:
        e = prediction - target
        # |e| written as e sign(e), which autodiff too gives derivative 0 at 0; jnp.abs has 1 there
        return jnp.sum(e * jnp.sign(e), axis=-1), e

    def slope(self, residuals: Residuals) -> Array:
        # values = Σ_o |e|
        return jnp.sign(residuals)

    piecewise_linear = True

    def curvature(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # the slope is constant on either side of the kink; 0 is used at the kink too
        return jnp.zeros_like(prediction_dot)

    def fisher(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # the model: y Laplace around p, whose slope is ±1
        return prediction_dot


@dataclass(frozen=True, repr=False)
class Huber(Loss):
    """Σ h(p − y) per example with h(e) = ½ e² for |e| ≤ delta, else delta (|e| − ½ delta); derivative clip(e, ±delta).

    Raises `ValueError` unless delta > 0 and finite.

    >>> p, y = jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.zeros((2, 2))
    >>> float(fnn.huber(p, y))
    2.25
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.delta < math.inf:
            raise ValueError(f"huber: delta must be finite and above 0, got {self.delta}. Try 1.")

    def values(self, prediction: Array, target: Array) -> tuple[Array, Residuals]:
        e = prediction - target
        size = jnp.abs(e)
        # e² only inside: outside it may overflow, and the branch that is not chosen must stay finite
        inside = jnp.where(size <= self.delta, e, jnp.zeros_like(e))
        h = jnp.where(size <= self.delta, 0.5 * inside * inside, self.delta * (size - 0.5 * self.delta))
        return jnp.sum(h, axis=-1), e

    def slope(self, residuals: Residuals) -> Array:
        # h' = e inside, ±delta outside
        return jnp.clip(residuals, -self.delta, self.delta)

    def curvature(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # h'' = 1 inside, the kinks of h' included, 0 outside
        return jnp.where(jnp.abs(residuals) <= self.delta, prediction_dot, jnp.zeros_like(prediction_dot))

    def fisher(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # the model: density e^(−h(e)) over its integral; E[h'²] = E[h''] is the share of the mass inside ±delta
        inside = math.sqrt(2 * math.pi) * math.erf(self.delta / math.sqrt(2))
        return prediction_dot * (inside / (inside + 2 / self.delta * math.exp(-0.5 * self.delta**2)))

    def curvature_root(self, residuals: Residuals) -> Array:
        return _diagonal_root(self.curvature(residuals, jnp.ones_like(residuals)))


# ---- classes --------------------------------------------------------------------------------------------------------


class ClassificationLoss(Loss):
    """A loss over K classes: the target is labels (…), or a row of K probabilities per example (…, K).

    A loss of your own on labels is a subclass; labels outside 0 … K − 1 are refused before training.

    >>> import jax.numpy as jnp
    >>> from fnn.losses import ClassificationLoss
    >>> class Brier(ClassificationLoss):
    ...     def values(self, prediction, target):
    ...         e = prediction - fnn.one_hot(target, prediction.shape[-1])
    ...         return jnp.sum(e**2, axis=-1), e
    ...     def slope(self, e):
    ...         return 2 * e
    >>> round(float(Brier()(jnp.array([[0.8, 0.2]]), jnp.array([0]))), 4)
    0.08
    """

    def as_target(self, prediction: Array, target: Any) -> Array:
        target = as_numbers(self.name, "the target", target)
        if jnp.issubdtype(target.dtype, jnp.integer):
            if target.shape == prediction.shape[:-1]:
                # int8 and uint8 cannot count the classes that they index
                return target.astype(jnp.int32) if target.dtype.itemsize < 4 else target
            remedy = (
                "The batch sizes differ: check the split."
                if target.ndim == prediction.ndim - 1
                else "One-hot rows must be floating; turn a column of labels into a vector with y[:, 0]."
            )
            raise ValueError(
                f"{self.name}: labels must hold one whole number per example, shape {prediction.shape[:-1]}, "
                f"got {target.shape}. {remedy}"
            )
        if not jnp.issubdtype(target.dtype, jnp.floating):
            kind, cast = ("labels", "int32") if target.shape == prediction.shape[:-1] else ("one-hot rows", "float32")
            raise TypeError(
                f"{self.name}: targets must be labels or probabilities, got dtype {target.dtype.name}. "
                f"Cast {kind}: y.astype({cast!r})."
            )
        if target.shape == prediction.shape[:-1]:
            raise TypeError(
                f"{self.name}: labels must be whole numbers, got {target.dtype.name}. "
                "Cast them once: y.astype('int32')."
            )
        _require_same_shape(self.name, prediction, target)
        return target.astype(prediction.dtype)

    def require_target(self, prediction: Array, target: Array, sample_weight: Any) -> None:
        if jnp.issubdtype(target.dtype, jnp.integer) and not isinstance(target, Tracer):
            counted = np.asarray(target)
            if sample_weight is not None:
                if isinstance(sample_weight, Tracer) or np.shape(sample_weight) != target.shape:
                    return
                # an example of weight 0 may carry any label
                counted = np.where(np.asarray(sample_weight) != 0, counted, 0)
            require_labels(f"{self.name}: labels", counted, prediction.shape[-1])

    def validate_target(self, target: Any, outputs: int) -> None:
        array = np.asarray(target)
        # bfloat16 is a floating type for jnp, not for NumPy
        if array.ndim > 1 and jnp.issubdtype(array.dtype, jnp.floating) and array.shape[-1] == outputs:
            require_range("y", array, 0.0, 1.0, "probabilities from 0 to 1")
            off = np.abs(array.astype(np.float64).sum(axis=-1) - 1).ravel()
            # √eps of float32, with room for what rounding a row of probabilities to float32 leaves; coarser dtypes
            # leave half an ulp of each entry, and the entries sum to 1
            if off.size and off.max() > max(3.5e-4, float(jnp.finfo(array.dtype).eps)):
                row = row_number(int(np.unravel_index(off.argmax(), array.shape[:-1])[0]))
                raise ValueError(
                    f"y must hold probabilities that sum to 1 in each row; row {row} is off by {off.max():.3g}. "
                    "Divide each row by its sum."
                )
            return
        require_labels("y", array, outputs)


class SoftmaxCrossEntropy(ClassificationLoss):
    """−Σ_k y_k ln softmax(z)_k from logits z; for a label y, −ln softmax(z)_y (claims A7, B7).

    Computed as ln Σ e^(z − m) − (z_y − m) with m the largest logit. This neither overflows nor takes the log of 0,
    and stays accurate for large logits. The derivative with respect to the logits is softmax(z) − e(y),
    the lecture's −(e(y) − f(x)); for rows y that sum to s it is s softmax(z) − y. Keeps e^(z − m) and its sum.

    >>> z = jnp.array([[-3.44, 1.16, -0.81, 3.91]])
    >>> round(float(fnn.softmax_cross_entropy(z, jnp.array([3]))), 4)  # −ln 0.9315
    0.0709
    """

    applies = ("softmax", "negative_log_likelihood")

    def values(self, prediction: Array, target: Array) -> tuple[Array, Residuals]:
        # m only keeps e^z in range; the value does not depend on it, which stop_gradient tells autodiff
        shifted = prediction - jax.lax.stop_gradient(jnp.max(prediction, axis=-1, keepdims=True))
        exponentials = jnp.exp(shifted)
        total = jnp.sum(exponentials, axis=-1, keepdims=True)
        if jnp.issubdtype(target.dtype, jnp.integer):
            # in the gradient too, the row of a label that is none is NaN
            total = _where_label(target, prediction, total)
            values = (jnp.log(total) - _at_label(shifted, target))[..., 0]
        else:
            # a class of probability 0 counts nothing, even with a logit of −∞
            terms = jnp.where(target == 0, jnp.zeros_like(shifted), jnp.log(total) - shifted)
            values = jnp.sum(target * terms, axis=-1)
        return values, (exponentials, total, target)

    def slope(self, residuals: Residuals) -> Array:
        # values = ln Σ e^z − z_y and ∂ ln Σ e^z / ∂z = softmax(z)
        exponentials, total, target = residuals
        p = exponentials / total
        if jnp.issubdtype(target.dtype, jnp.integer):
            return _add_at_label(p, target, -1)
        return p * jnp.sum(target, axis=-1, keepdims=True) - target

    def curvature(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # slope = t softmax(z) − y with t = Σ y, which is 1 for a label; the Jacobian of softmax is its backward rule
        p, share = self._probabilities(residuals)
        return share * softmax.backward(p, prediction_dot)

    def fisher(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # E[(e(k) − p)(e(k) − p)ᵀ] over k drawn from p is diag(p) − p pᵀ; a row that sums to t counts as t examples
        return self.curvature(residuals, prediction_dot)

    def curvature_root(self, residuals: Residuals) -> Array:
        # diag(p) − p pᵀ = S Sᵀ with S = diag(√p) − p √pᵀ, as √pᵀ √p = 1
        p, share = self._probabilities(residuals)
        root = jnp.moveaxis(jnp.sqrt(share * p), -1, 0)[..., None]
        return root * (_unit_rows(p) - p[None])

    def _probabilities(self, residuals: Residuals) -> tuple[Array, Array]:
        """softmax(z), and Σ y of each example, (…, 1)."""
        exponentials, total, target = residuals
        labels = jnp.issubdtype(target.dtype, jnp.integer)
        return exponentials / total, jnp.ones_like(total) if labels else jnp.sum(target, axis=-1, keepdims=True)


class NegativeLogLikelihood(ClassificationLoss):
    """−Σ_k y_k ln p_k from probabilities p; derivative −y_k / p_k, for a label −e(y) / p_y (claim B20).

    p is clipped to [tiny, 1], where tiny is the smallest normal number of the dtype; the derivative is 0 outside.

    >>> p = jnp.array([[0.2, 0.8]])
    >>> round(float(fnn.negative_log_likelihood(p, jnp.array([1]))), 4)  # −ln 0.8
    0.2231
    """

    def values(self, prediction: Array, target: Array) -> tuple[Array, Residuals]:
        if jnp.issubdtype(target.dtype, jnp.integer):
            # the NaN of a label that is none lands on the nearest class in the gradient
            label = jnp.clip(target, 0, prediction.shape[-1] - 1)
            p = _where_label(target, prediction, _at_label(prediction, label))
            return -jnp.log(_clip(p))[..., 0], (prediction, (label, p))
        return -jnp.sum(target * jnp.log(_clip(prediction)), axis=-1), (prediction, target)

    def slope(self, residuals: Residuals) -> Array:
        # values = −Σ y ln p
        p, target = residuals
        if isinstance(target, tuple):
            label, at_label = target
            return _add_at_label(jnp.zeros_like(p), label, -_log_slope(at_label))
        return -target * _log_slope(p)

    def curvature(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # slope = −y / p, so its derivative is y / p²
        return self._second(residuals) * prediction_dot

    def fisher(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # E over labels k drawn from p of e(k) e(k)ᵀ / p_k² is diag(1 / p); a row that sums to t counts as t examples
        p, target = residuals
        share = jnp.ones_like(p[..., :1]) if isinstance(target, tuple) else jnp.sum(target, axis=-1, keepdims=True)
        return share * (_log_slope(p) * prediction_dot)

    def curvature_root(self, residuals: Residuals) -> Array:
        return _diagonal_root(self._second(residuals))

    def _second(self, residuals: Residuals) -> Array:
        p, target = residuals
        if isinstance(target, tuple):
            label, at_label = target
            return _add_at_label(jnp.zeros_like(p), label, _log_slope(at_label) ** 2)
        return target * _log_slope(p) ** 2

    def validate_prediction(self, prediction: Any) -> None:
        array = np.asarray(prediction).astype(np.float64)
        # five times what rounding in bfloat16 leaves of a sum
        off = np.abs(array.sum(axis=-1) - 1) > 5 * float(jnp.finfo(jnp.bfloat16).eps)
        _warn_unless_probabilities(self, array, off.any(), "softmax", "softmax_cross_entropy")


# ---- two classes ----------------------------------------------------------------------------------------------------


class BinaryCrossEntropy(Loss):
    """−[y ln p + (1 − y) ln(1 − p)] from probabilities p, summed over outputs (claim D7; the notes omit the brackets).

    y lies in [0, 1]. p and 1 − p are clipped to [tiny, 1]; the derivative of a clipped term is 0.

    >>> p, y = jnp.array([[0.8]]), jnp.array([[1.0]])
    >>> round(float(fnn.binary_cross_entropy(p, y)), 4)  # −ln 0.8
    0.2231
    """

    def values(self, prediction: Array, target: Array) -> tuple[Array, Residuals]:
        p, y = prediction, target
        log_likelihood = y * jnp.log(_clip(p)) + (1 - y) * jnp.log(_clip(1 - p))
        return -jnp.sum(log_likelihood, axis=-1), (p, y)

    def slope(self, residuals: Residuals) -> Array:
        # values = −Σ [y ln p + (1 − y) ln(1 − p)]
        p, y = residuals
        return (1 - y) * _log_slope(1 - p) - y * _log_slope(p)

    def curvature(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # slope = (1 − y) / (1 − p) − y / p
        p, y = residuals
        return ((1 - y) * _log_slope(1 - p) ** 2 + y * _log_slope(p) ** 2) * prediction_dot

    def fisher(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # E over y drawn from p: p / p² + (1 − p) / (1 − p)²
        p, _ = residuals
        return (_log_slope(p) + _log_slope(1 - p)) * prediction_dot

    def curvature_root(self, residuals: Residuals) -> Array:
        return _diagonal_root(self.curvature(residuals, jnp.ones_like(residuals[0])))

    def validate_prediction(self, prediction: Any) -> None:
        array = np.asarray(prediction).astype(np.float64)
        _warn_unless_probabilities(self, array, False, "sigmoid", "sigmoid_cross_entropy")

    def validate_target(self, target: Any, outputs: int) -> None:
        require_range("y", target, 0.0, 1.0, "labels 0 or 1, or probabilities between")


class SigmoidCrossEntropy(Loss):
    """Binary cross-entropy from logits z: y softplus(−z) + (1 − y) softplus(z), derivative σ(z) − y (claims B3, E6).

    The derivative is computed as (1 − y) σ(z) − y σ(−z), which is accurate where σ(z) is near y. y lies in [0, 1].

    >>> z, y = jnp.array([[0.0], [1e4]]), jnp.array([[1.0], [1.0]])
    >>> round(float(fnn.sigmoid_cross_entropy.sum(z, y)), 4)  # ln 2 + 0
    0.6931
    """

    applies = ("sigmoid", "binary_cross_entropy")

    def values(self, prediction: Array, target: Array) -> tuple[Array, Residuals]:
        z, y = prediction, target
        # the term that does not count is 0, even with a logit of ±∞
        nothing = jnp.zeros_like(z)
        if_one = jnp.where(y == 0, nothing, jax.nn.softplus(-z))
        if_zero = jnp.where(y == 1, nothing, jax.nn.softplus(z))
        return jnp.sum(y * if_one + (1 - y) * if_zero, axis=-1), (z, y)

    def slope(self, residuals: Residuals) -> Array:
        # softplus' = σ
        z, y = residuals
        return (1 - y) * jax.nn.sigmoid(z) - y * jax.nn.sigmoid(-z)

    def curvature(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # slope = σ(z) − y and σ' = σ(z) σ(−z), whatever y
        z, _ = residuals
        return jax.nn.sigmoid(z) * jax.nn.sigmoid(-z) * prediction_dot

    def fisher(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # the variance of y drawn from σ(z)
        return self.curvature(residuals, prediction_dot)

    def curvature_root(self, residuals: Residuals) -> Array:
        return _diagonal_root(self.curvature(residuals, jnp.ones_like(residuals[0])))

    def validate_target(self, target: Any, outputs: int) -> None:
        require_range("y", target, 0.0, 1.0, "labels 0 or 1, or probabilities between")


class Hinge(Loss):
    """max(0, 1 − y s) for scores s and labels y = ±1, summed over outputs; derivative −y where y s < 1, else 0.

    >>> s, y = jnp.array([[2.0], [0.5], [-1.0]]), jnp.array([[1.0], [1.0], [1.0]])
    >>> float(fnn.hinge.sum(s, y))  # 0 + ½ + 2
    2.5
    """

    def values(self, prediction: Array, target: Array) -> tuple[Array, Residuals]:
        margin = target * prediction
        return jnp.sum(jnp.where(margin >= 1, jnp.zeros_like(margin), 1 - margin), axis=-1), (margin, target)

    def slope(self, residuals: Residuals) -> Array:
        # values = 1 − y s where y s < 1
        margin, y = residuals
        return jnp.where(margin >= 1, jnp.zeros_like(y), -y)

    piecewise_linear = True

    def curvature(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # the slope is constant on either side of the kink; 0 is used at the kink too
        return jnp.zeros_like(prediction_dot)

    def validate_target(self, target: Any, outputs: int) -> None:
        _require_signs(target)


class PerceptronLoss(Loss):
    """max(0, −y s) for scores s and labels y = ±1; derivative −y where y s ≤ 0, else 0 (claim B4).

    At y s = 0 the derivative is −y: a score of exactly 0 counts as a mistake, or learning would never leave w = 0.

    >>> s, y = jnp.array([[2.0], [0.5], [-1.0]]), jnp.array([[1.0], [1.0], [1.0]])
    >>> float(fnn.perceptron_loss.sum(s, y))  # 0 + 0 + 1
    1.0
    """

    def values(self, prediction: Array, target: Array) -> tuple[Array, Residuals]:
        margin = target * prediction
        return jnp.sum(jnp.where(margin > 0, jnp.zeros_like(margin), -margin), axis=-1), (margin, target)

    def slope(self, residuals: Residuals) -> Array:
        # values = −y s where y s ≤ 0
        margin, y = residuals
        return jnp.where(margin > 0, jnp.zeros_like(y), -y)

    piecewise_linear = True

    def curvature(self, residuals: Residuals, prediction_dot: Array) -> Array:
        # the slope is constant on either side of the kink; 0 is used at the kink too
        return jnp.zeros_like(prediction_dot)

    def validate_target(self, target: Any, outputs: int) -> None:
        _require_signs(target)


# ---- shared steps ---------------------------------------------------------------------------------------------------


def _where_label(labels: Array, rows: Array, one_each: Array) -> Array:
    """`one_each` (…, 1), but NaN where the label lies outside 0 … K − 1; visible labels were looked at before."""
    if not isinstance(labels, Tracer):
        return one_each
    # as unsigned integers, negative labels are far too large
    unsigned = labels.astype(jnp.uint64 if labels.dtype.itemsize == 8 else jnp.uint32)
    return jnp.where((unsigned < rows.shape[-1])[..., None], one_each, jnp.nan)


def _warn_unless_probabilities(loss: Loss, rows: np.ndarray, off: bool, output: str, instead: str) -> None:
    """Warn where entries lie outside [0, 1], or where the sums of the rows are `off`."""
    if off or (rows < 0).any() or (rows > 1).any():
        sums = f", and a row sums to {rows.sum(axis=-1).max():.3g}" if off else ""
        warn(
            f"{loss.name} takes probabilities; the first predictions range from {rows.min():.3g} to "
            f'{rows.max():.3g}{sums}. Give the net output="{output}", or use {instead} on its logits.',
        )


def _at_label(rows: Array, labels: Array) -> Array:
    """The entry of each row at its label, (…, 1)."""
    return jnp.take_along_axis(rows, labels[..., None], axis=-1)


def _add_at_label(rows: Array, labels: Array, amount: Array | float) -> Array:
    """Add `amount`, one number or (…, 1), to each row at its label, without storing a one-hot matrix.

    A scatter, which is also what autodiff makes of `_at_label`. Comparing the labels with 0 … K − 1 and selecting took
    1.25 times as long for a whole gradient of 784-512-256-10 on two CPU threads, and as long on one. It is a scatter
    per row, so that rows which are split over devices need no labels of the others.
    """
    flat = rows.reshape(-1, rows.shape[-1])
    amount = jnp.broadcast_to(jnp.asarray(amount, rows.dtype), (*labels.shape, 1)).ravel()
    return jax.vmap(lambda row, label, a: row.at[label].add(a))(flat, labels.ravel(), amount).reshape(rows.shape)


def _is_half(scale: Any) -> bool:
    """Whether the loss was computed in float32, to be rounded to the dtype of `scale`."""
    return getattr(scale, "dtype", np.dtype(np.float64)).itemsize < 4


def _weighted(rule: Callable[[Array], Array], scale: Any, prediction_dot: Array) -> Array:
    """scale_n rule(prediction_dot)_n; an example of weight 0 cannot spread the NaN of its tangent."""
    if scale is None:
        return rule(prediction_dot)
    if jnp.ndim(scale) == 0:
        return rule(prediction_dot) * scale
    scale = scale[..., None]
    return rule(jnp.where(scale == 0, jnp.zeros_like(prediction_dot), prediction_dot)) * scale


def _diagonal_root(second: Array) -> Array:
    """The root of a diagonal Hessian, (O, …, O): row c holds √second at output c, 0 elsewhere."""
    return jnp.moveaxis(jnp.sqrt(second), -1, 0)[..., None] * _unit_rows(second)


def _unit_rows(like: Array) -> Array:
    """The O unit vectors with the leading axes of (…, O) between: (O, 1 …, O)."""
    outputs = like.shape[-1]
    return jnp.eye(outputs, dtype=like.dtype).reshape(outputs, *[1] * (like.ndim - 1), outputs)


def _clip(p: Array) -> Array:
    """p clipped to [tiny, 1]; NaN stays NaN."""
    tiny = jnp.finfo(p.dtype).tiny
    return jnp.where(p < tiny, jnp.full_like(p, tiny), jnp.where(p > 1, jnp.ones_like(p), p))


def _log_slope(p: Array) -> Array:
    """The derivative of ln(clip(p)): 1 / p inside [tiny, 1], 0 outside."""
    outside = (p < jnp.finfo(p.dtype).tiny) | (p > 1)
    return jnp.where(outside, jnp.zeros_like(p), 1 / jnp.where(outside, jnp.ones_like(p), p))


def _require_same_shape(name: str, prediction: Array, target: Array) -> None:
    if target.shape == prediction.shape:
        return
    if target.ndim == prediction.ndim and target.shape[-1:] == prediction.shape[-1:]:
        remedy = "The batch sizes differ: check the split."
    elif jnp.issubdtype(target.dtype, jnp.integer) and target.shape == prediction.shape[:-1]:
        remedy = (
            "A loss over classes takes labels: softmax_cross_entropy, or a subclass of fnn.losses.ClassificationLoss. "
            "One number per example is a column: y[:, None]."
        )
    elif target.ndim != prediction.ndim:
        remedy = (
            "Broadcasting would pair every example with every other. Add or drop the last axis: y[:, None], y[:, 0]."
        )
    else:
        remedy = "The net must have as many outputs as the target has columns."
    raise ValueError(
        f"{name}: the target must have the prediction's shape {prediction.shape}, got {target.shape}. {remedy}"
    )


def _require_signs(target: Any) -> None:
    array = np.asarray(target)
    bad = np.argwhere(np.abs(array.astype(np.float64)) != 1)
    if len(bad):
        first = tuple(int(i) for i in bad[0])
        raise ValueError(
            f"y must hold labels −1 and +1; row {row_number(first[0]) if first else 0} holds {array[first]}"
            f"{and_more(bad)}. Turn labels 0 and 1 into signs with 2 * y - 1."
        )


squared_error = SquaredError()
half_squared_error = HalfSquaredError()
absolute_error = AbsoluteError()
huber = Huber()
softmax_cross_entropy = SoftmaxCrossEntropy()
negative_log_likelihood = NegativeLogLikelihood()
binary_cross_entropy = BinaryCrossEntropy()
sigmoid_cross_entropy = SigmoidCrossEntropy()
hinge = Hinge()
perceptron_loss = PerceptronLoss()

#: Every loss of the package by its name.
LOSSES: dict[str, Loss] = {
    each.name: each
    for each in (
        squared_error, half_squared_error, absolute_error, huber, softmax_cross_entropy,
        negative_log_likelihood, binary_cross_entropy, sigmoid_cross_entropy, hinge, perceptron_loss,
    )
}  # fmt: skip


def get(choice: str | Loss) -> Loss:
    """Return the loss with this name, or the record itself. An unknown name raises and suggests the nearest.

    >>> fnn.losses.get("squared_error") is fnn.squared_error
    True
    """
    return require_name(Loss, LOSSES, choice)
