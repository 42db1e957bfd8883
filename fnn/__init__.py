"""fnn: feed-forward neural networks in JAX, with gradients written by hand, checked and fast.

Promises: every public name of the package stands here; importing it touches no device.
"""

import jax as _jax

from fnn import _jax as _releases

_releases.warn_if_affected(_jax.__version__)

from fnn import checker, glassbox
from fnn.activations import (
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
from fnn.adapter import custom_vjp
from fnn.linear import (
    affine,
    affine_backward,
    affine_norms,
    homogeneous_input,
    homogeneous_matrix,
)
from fnn.gradients import Backprop, Objective, backprop, objective
from fnn.checker import Finding, Report, Verdict, assert_gradients, check
from fnn.training.checkpoints import CheckpointError, Checkpoints
from fnn.data.small import digits, stratified_split, xor
from fnn.differences import (
    central_differences,
    lecture_step,
    one_sided_differences,
    scaled_step,
)
from fnn.training.program import TrainState
from fnn.training.faults import NotFiniteError
from fnn.glassbox import Graph, graph, name, show_backward
from fnn.data.idx import mnist, read_idx
from fnn.initializers import (
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
from fnn.layers import Dense, Layer
from fnn.losses import (
    Loss,
    absolute_error,
    binary_cross_entropy,
    half_squared_error,
    hinge,
    huber,
    loss,
    negative_log_likelihood,
    perceptron_loss,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    squared_error,
)
from fnn.metrics import accuracy, one_hot, zero_one_loss
from fnn.network import (
    Repeated,
    Sequential,
    Skip,
    dense,
    mlp,
    repeated,
    sequential,
    skip,
)
from fnn.optimizers import Adam, Momentum, Optimizer, Sgd, adam, momentum, nesterov, sgd
from fnn.lectures._perceptron import PerceptronRun, perceptron, perceptron_bound, perceptron_decision, perceptron_pass
from fnn.regularizers import Regularizer, elastic_net, l1, l2, regularizer
from fnn.checks import CastNote, validate
from fnn.training.run import History
from fnn.training.shuffle import permutation
from fnn.training.source import Stream
from fnn.training._sweep import Sweep, grid, sweep
from fnn.training._fit import fit
from fnn.lectures.trees import Comparisons, soft_tree_network, tree_inputs, tree_network

__version__ = "0.1.0"
