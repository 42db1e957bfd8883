"""The backward pass as source: Python that runs, and LaTeX."""

from fnn.glassbox.code.backward import Backward, show_backward

__all__ = ["Backward", "show_backward"]
