"""The glass box."""
from fnn.glassbox.graph import Graph, graph
from fnn.glassbox.names import name
