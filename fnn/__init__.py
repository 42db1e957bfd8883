"""fnn: feed-forward neural networks in JAX, with gradients written by hand, checked and fast.

Promises: every public name of the package stands here; importing it touches no device.
"""

import jax as _jax

from fnn import releases as _releases

_releases.warn_if_affected(_jax.__version__)

from fnn.activations import (  # noqa: E402
    Activation,
    activation,
    elu,
    gelu,
    gelu_tanh,
    hard_threshold,
    identity,
    leaky_relu,
    relu,
    sigmoid,
    sign,
    silu,
    softmax,
    softplus,
    tanh,
)
from fnn.adapter import custom_vjp  # noqa: E402
from fnn.affine import (  # noqa: E402
    affine,
    affine_backward,
    affine_norms,
    homogeneous_input,
    homogeneous_matrix,
)
from fnn.backprop import Backprop, Objective, backprop, objective  # noqa: E402
from fnn.datasets import digits, stratified_split, xor  # noqa: E402
from fnn.differences import (  # noqa: E402
    central_differences,
    lecture_step,
    one_sided_differences,
    scaled_step,
)
from fnn.initializers import (  # noqa: E402
    Initializer,
    constant,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    initializer,
    lecun_normal,
    lecun_uniform,
    normal,
    orthogonal,
    uniform,
    zeros,
)
from fnn.losses import (  # noqa: E402
    Loss,
    absolute_error,
    accuracy,
    binary_cross_entropy,
    half_squared_error,
    hinge,
    huber,
    loss,
    negative_log_likelihood,
    one_hot,
    perceptron_loss,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    squared_error,
    zero_one_loss,
)
from fnn.network import (  # noqa: E402
    Dense,
    Layer,
    Repeated,
    Sequential,
    Skip,
    dense,
    mlp,
    repeated,
    sequential,
    skip,
)
from fnn.regularizers import Regularizer, elastic_net, l1, l2, regularizer  # noqa: E402
from fnn.requirements import CastNote, validate  # noqa: E402
from fnn.training import History, TrainState, fit  # noqa: E402

__version__ = "0.1.0"
