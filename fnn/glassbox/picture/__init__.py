"""The record of a graph as a picture, a page, and text; a net as units and edges."""

from fnn.glassbox.picture.nets import as_net
from fnn.glassbox.picture.page import as_html, as_notebook
from fnn.glassbox.picture.svg import as_svg
from fnn.glassbox.picture.terminal import as_text

__all__ = ["as_html", "as_net", "as_notebook", "as_svg", "as_text"]
