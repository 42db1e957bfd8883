"""The glass box: forward and backward of any JAX function, node by node, and the backward pass as code."""

from fnn.glassbox._graph import Graph, gradient_by_rules, graph
from fnn.glassbox.code import Backward, show_backward
from fnn.glassbox.records import Node, Share, Summary
from fnn.glassbox.trace import name
from fnn.glassbox.trouble import Size, Trouble

__all__ = [
    "Backward",
    "Graph",
    "Node",
    "Share",
    "Size",
    "Summary",
    "Trouble",
    "gradient_by_rules",
    "graph",
    "name",
    "show_backward",
]
