"""A function and its hand-written derivative, in the one form that the witnesses take.

Promises: `forward` holds no hand-written derivative that counts, `derived` is the hand-written one; both are pure in
(inputs, data), so one compiled program serves every point of the same shapes. Inputs have cotangents, data have none.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp

from fnn.activations import Activation
from fnn.checker.oracles import isolated, pullback, pushforward
from fnn.gradients import Backprop, Objective
from fnn.layers import Layer
from fnn.losses import Loss
from fnn.regularizers import Regularizer
from fnn.types import PyTree


@dataclass(frozen=True, eq=False)
class Pair:
    """The base class. Pairs of equal records are equal and share their programs; pairs of functions are equal only to
    themselves."""

    @property
    def coarse(self) -> float:
        """How far what it captured is rounded, as a share, where it makes the same anew with all digits."""
        return 0.0

    def forward(self, inputs: tuple, data: tuple) -> PyTree:
        """The output."""
        raise NotImplementedError

    def derived(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        """(the output of the hand-written rule, one cotangent per input by hand)."""
        raise NotImplementedError

    @property
    def has_forward_rule(self) -> bool:
        """True if there is a hand-written forward-mode rule, which `pushed` runs."""
        return False

    def pushed(self, inputs: tuple, data: tuple, tangents: list) -> PyTree:
        """The output's tangent by the hand-written forward-mode rule, from one tangent per floating leaf."""
        raise NotImplementedError

    def repairs(self) -> dict[str, "Pair"]:
        """{what is tried: the pair with that change}: if one of them is right, it shows what is wrong."""
        return {}

    @property
    def real(self) -> "Pair":
        """The same pair in the dtypes of the user's run, if tracing has fixed them."""
        return self


@dataclass(frozen=True)
class OfActivation(Pair):
    """z -> a. `keeps` is None, or which value a repaired rule keeps: 0 the input, 1 the output."""

    activation: Activation
    keeps: int | None = None

    def forward(self, inputs: tuple, data: tuple) -> PyTree:
        return self.activation.checked_forward(*inputs)[0]

    def derived(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        (z,) = inputs
        a, residuals = self.activation.checked_forward(z)
        if self.keeps is not None:
            residuals = (z, a)[self.keeps]
        return a, (self.activation.backward(residuals, y_bar),)

    def repairs(self) -> dict[str, Pair]:
        if self.keeps is not None:
            return {}
        return {
            "the input kept": OfActivation(self.activation, 0), "the output kept": OfActivation(self.activation, 1)
        }  # fmt: skip


@dataclass(frozen=True)
class OfLayer(Pair):
    """(params, x) -> y, with oracles for the parts inside."""

    layer: Layer

    def forward(self, inputs: tuple, data: tuple) -> PyTree:
        return self.layer.apply(*inputs)

    def derived(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        alone = isolated(self.layer)
        y, residuals = alone.forward(*inputs)
        return y, tuple(alone.backward(inputs[0], residuals, y_bar))


@dataclass(frozen=True)
class OfLoss(Pair):
    """prediction -> value; data: (target, weights)."""

    loss: Loss

    def forward(self, inputs: tuple, data: tuple) -> PyTree:
        return self.loss(inputs[0], *data)

    def derived(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        value, residuals = self.loss.forward(inputs[0], *data)
        return value, (self.loss.backward(residuals, y_bar),)


@dataclass(frozen=True)
class OfRegularizer(Pair):
    """params -> penalty; data: (strength,)."""

    regularizer: Regularizer

    def forward(self, inputs: tuple, data: tuple) -> PyTree:
        return self.regularizer(inputs[0], *data)

    def derived(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        gradient = self.regularizer.gradient(inputs[0], *data)
        return self.forward(inputs, data), (jax.tree.map(lambda g: y_bar * g, gradient),)


@dataclass(frozen=True)
class OfObjective(Pair):
    """(params, x) -> value, with oracles for net, loss and regularizer; data: (y, keywords)."""

    objective: Objective

    def forward(self, inputs: tuple, data: tuple) -> PyTree:
        y, keywords = data
        params, x = inputs
        return self.objective(params, x, y, **keywords)

    def derived(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        alone, (y, keywords) = isolated(self.objective), data
        params, x = inputs
        value, residuals = alone.forward(params, x, y, **keywords)
        return value, tuple(alone.backward(params, residuals, y_bar))


@dataclass(frozen=True)
class OfRecord(Pair):
    """(params, x) -> value: the whole gradient of a backprop record as it is; data: (y, keywords)."""

    by_hand: Backprop
    truth: Objective
    """Its objective, in which rules that differ on purpose count as they are."""

    def forward(self, inputs: tuple, data: tuple) -> PyTree:
        y, keywords = data
        params, x = inputs
        return self.truth(params, x, y, **keywords)

    def derived(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        (params, x), (y, keywords) = inputs, data
        value, bars = self.by_hand.with_inputs(params, x, y, **keywords)
        return value, tuple(jax.tree.map(lambda g: y_bar * g, bars))


@dataclass(frozen=True)
class OfFunction(Pair):
    """args -> value: a function, and the same without its rules by hand."""

    key: Any
    """Equal for functions that compute the same."""
    called: Callable[..., PyTree] = field(compare=False)
    plain: Callable[..., PyTree] = field(compare=False)

    def forward(self, inputs: tuple, data: tuple) -> PyTree:
        return self.plain(*inputs)

    def derived(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        return pullback(self.called, inputs, y_bar)


@dataclass(frozen=True)
class OfGradient(Pair):
    """first argument -> value: a function, and a separate gradient; data: the other arguments."""

    key: Any
    """Equal for functions and gradients that compute the same."""
    called: Callable[..., PyTree] = field(compare=False)
    gradient: Callable[..., PyTree] = field(compare=False)
    """With respect to the first argument."""
    function_on_host: bool = False
    """True for a function that cannot be traced, such as one written in NumPy."""
    gradient_on_host: bool = False
    numbers: frozenset[float] = frozenset()
    """Those in the code of what runs on the host, which may be thresholds."""

    def forward(self, inputs: tuple, data: tuple) -> PyTree:
        return self.called(inputs[0], *data)

    def derived(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        own = self.gradient(inputs[0], *data)
        # in the dtype that it has, so that a wrong dtype shows
        return self.forward(inputs, data), (jax.tree.map(lambda g: y_bar.astype(jnp.result_type(g)) * g, own),)


@dataclass(frozen=True)
class OfEquation(Pair):
    """One equation with a hand-written rule, taken out of a jaxpr, and its primal computation."""

    key: Any
    """Equal for equations that compute the same, forward and backward."""
    bound: Callable[..., tuple] = field(compare=False)
    """The equation run again: its own rule counts."""
    plain: Callable[..., tuple] = field(compare=False)
    forward_mode: bool = False
    """True for a `custom_jvp`."""
    working: "OfEquation | None" = field(default=None, compare=False)
    """The same equation as the user's own run has it."""
    held: frozenset[int] = frozenset()
    """Inputs that are data, for which the rule refuses a derivative."""
    captured: float = 0.0
    """How far the values that it captured in the user's run are rounded, where a trace in float64 makes them wide."""
    keeps: int | None = None
    """None, or which value a repaired rule of one array keeps: 0 the input, 1 the output."""

    @property
    def coarse(self) -> float:
        return self.captured

    def forward(self, inputs: tuple, data: tuple) -> PyTree:
        return self.plain(*inputs)

    def derived(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        free = [k for k in range(len(inputs)) if k not in self.held]

        def bound(*moved: PyTree) -> tuple:
            every = dict(zip(free, moved, strict=True))
            return self.bound(*(every.get(k, u) for k, u in enumerate(inputs)))

        if self.keeps is not None:
            return self._keeping(inputs, y_bar)
        y, bars = pullback(bound, tuple(inputs[k] for k in free), y_bar)
        every = dict(zip(free, bars, strict=True))
        return y, tuple(every.get(k) for k in range(len(inputs)))

    def _keeping(self, inputs: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        """The rule with another value in place of each kept value that has the shape of its input and output."""
        y, back = jax.vjp(self.bound, *inputs)
        if len(inputs) != 1 or len(y) != 1 or inputs[0].shape != y[0].shape:
            raise NotImplementedError("only a rule from one array to one of the same shape is repaired")
        value = (inputs[0], y[0])[self.keeps or 0]
        back = jax.tree.map(lambda kept: value if jnp.shape(kept) == value.shape else kept, back)
        return y, back(y_bar)

    @property
    def has_forward_rule(self) -> bool:
        return self.forward_mode

    def repairs(self) -> dict[str, Pair]:
        if self.forward_mode or self.keeps is not None:
            return {}
        return {"the input kept": replace(self, keeps=0), "the output kept": replace(self, keeps=1)}

    def pushed(self, inputs: tuple, data: tuple, tangents: list) -> PyTree:
        return pushforward(self.bound, inputs, tangents)

    @property
    def real(self) -> Pair:
        return self.working or self


@dataclass(frozen=True)
class Second(Pair):
    """(*inputs, y_bar) -> cotangents: the backward pass as a function, whose own derivative is the second order."""

    first: Pair

    @property
    def coarse(self) -> float:
        return self.first.coarse

    def forward(self, inputs: tuple, data: tuple) -> PyTree:
        *inner, y_bar = inputs
        # places without a derivative hold None, which is not a leaf
        return jax.tree.leaves(pullback(lambda *u: self.first.forward(u, data), tuple(inner), y_bar)[1])

    def derived(self, inputs: tuple, data: tuple, y_bar: PyTree) -> tuple[PyTree, tuple]:
        def gradient(*inputs: PyTree) -> PyTree:
            *inner, bar = inputs
            return jax.tree.leaves(self.first.derived(tuple(inner), data, bar)[1])

        return pullback(gradient, inputs, y_bar)

    @property
    def real(self) -> Pair:
        return Second(self.first.real)
