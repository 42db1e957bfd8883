"""What the lectures build besides gradients: the perceptron and its algorithm, and decision trees as networks."""

from fnn.lectures._perceptron import PerceptronRun, perceptron, perceptron_bound, perceptron_decision, perceptron_pass
from fnn.lectures.trees import Comparisons, soft_tree_network, tree_inputs, tree_network

__all__ = [
    "Comparisons",
    "PerceptronRun",
    "perceptron",
    "perceptron_bound",
    "perceptron_decision",
    "perceptron_pass",
    "soft_tree_network",
    "tree_inputs",
    "tree_network",
]
