"""Forward passes in plain NumPy float64, written from the formulas and sharing no code with `fnn`.

Autodiff differentiates the forward pass it is given: a wrong forward is wrong in both gradients. This is its witness.
"""

import math

import numpy as np

_erfc = np.vectorize(math.erfc, otypes=[float])


def _softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _sigmoid(z):
    # 1 / (1 + e^(−z)), from the side on which e^(−|z|) cannot overflow
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1, small) / (1 + small)


def _softplus(z):
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


ACTIVATIONS = {
    "identity": lambda z: z,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu": lambda z: z * (z > 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "softplus": _softplus,
    "gelu": lambda z: z * 0.5 * _erfc(-z / math.sqrt(2)),
    # ½ (1 + tanh u) = σ(2u): the textbook form loses its digits near tanh u = −1
    "gelu_tanh": lambda z: z * _sigmoid(2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)),
    "silu": lambda z: z * _sigmoid(z),
    "sign": lambda z: np.where(z >= 0, 1.0, -1.0),
    "hard_threshold": lambda z: (z >= 0).astype(float),
    "softmax": _softmax,
}


def _one_hot(labels, classes):
    return np.eye(classes)[labels] if np.issubdtype(labels.dtype, np.integer) else labels


def _log_softmax(z):
    shifted = z - z.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _safe_log(p, tiny):
    return np.log(np.clip(p, tiny, 1))


#: name -> (prediction, target, smallest normal number of the working dtype) -> the loss of each example
LOSSES = {
    "squared_error": lambda p, y, tiny: ((p - y) ** 2).sum(-1),
    "half_squared_error": lambda p, y, tiny: ((p - y) ** 2).sum(-1) / 2,
    "absolute_error": lambda p, y, tiny: np.abs(p - y).sum(-1),
    "huber": lambda p, y, tiny: np.where(np.abs(p - y) <= 1, (p - y) ** 2 / 2, np.abs(p - y) - 0.5).sum(-1),
    "softmax_cross_entropy": lambda p, y, tiny: -(_one_hot(y, p.shape[-1]) * _log_softmax(p)).sum(-1),
    "negative_log_likelihood": lambda p, y, tiny: -(_one_hot(y, p.shape[-1]) * _safe_log(p, tiny)).sum(-1),
    "binary_cross_entropy": lambda p, y, tiny: -(y * _safe_log(p, tiny) + (1 - y) * _safe_log(1 - p, tiny)).sum(-1),
    "sigmoid_cross_entropy": lambda p, y, tiny: (y * _softplus(-p) + (1 - y) * _softplus(p)).sum(-1),
    "hinge": lambda p, y, tiny: np.maximum(0, 1 - y * p).sum(-1),
    "perceptron_loss": lambda p, y, tiny: np.maximum(0, -y * p).sum(-1),
}


def mlp(params, x, activation, output="identity"):
    """The output of a multi-layer perceptron with these parameters, by the formula of claim C4."""
    for k, layer in enumerate(params):
        z = x @ np.asarray(layer["W"], np.float64) + np.asarray(layer["b"], np.float64)
        x = ACTIVATIONS[activation if k < len(params) - 1 else output](z)
    return x


def forward(layer, params, x):
    """The output of any net of the case table, layer by layer, from the names of its records."""
    kind = type(layer).__name__
    if kind == "Sequential":
        for each, p in zip(layer.layers, params, strict=True):
            x = forward(each, p, x)
        return x
    if kind == "Skip":
        return x + forward(layer.layer, params, x)
    if kind == "Repeated":
        for k in range(layer.times):
            x = forward(layer.layer, _entry(params, k), x)
        return x
    W, b = (np.asarray(params[name], np.float64) for name in ("W", "b"))
    return ACTIVATIONS[layer.activation.name](x @ W + b)


def _entry(params, k):
    if isinstance(params, dict):
        return {name: _entry(leaf, k) for name, leaf in params.items()}
    return tuple(_entry(each, k) for each in params) if isinstance(params, tuple) else params[k]


def _weights(params):
    if isinstance(params, dict):
        return [np.asarray(params["W"], np.float64)]
    return [W for each in params for W in _weights(each)]


def objective(case, params, x, y):
    """The value of a case's objective: its losses, their mean or sum, and its penalty."""
    each = LOSSES[case.loss.name](forward(case.net, params, np.asarray(x, np.float64)), np.asarray(y), 0)
    value = each.sum() if case.loss.reduction == "sum" else each.mean()
    strength = case.options.get("strength", 0)
    first, second = {"l1": (strength, 0), "l2": (0, strength), "elastic_net": strength}[
        case.regularizer.name if case.regularizer else "l2"
    ]
    return value + sum(first * np.abs(W).sum() + second * (W * W).sum() for W in _weights(params))
