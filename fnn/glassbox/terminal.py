"""The graph as text."""


def text(graph):
    return ""
