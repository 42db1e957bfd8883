"""Functions with gradients by hand in the forms in which users write them, at random shapes, numbers and dtypes.

Promises: every form of a table is a function of a `Draw`; what it gives can be handed to `fnn.check` as it stands.
Sources: written for this experiment after the ways in which public code of five families writes rules: Flax and Equinox
(layers), Optax (losses), NumPyro and BlackJAX (densities), jaxopt (implicit), and the exercises of courses in NumPy.
"""

from experiments.detection.forms import callers, densities, exercises, implicit, layers, mistakes, objectives
from experiments.detection.forms.drawing import FORMS, MISTAKES, Case, Draw, Form, Mistake

__all__ = [
    "FORMS", "MISTAKES", "Case", "Draw", "Form", "Mistake",
    "callers", "densities", "exercises", "implicit", "layers", "mistakes", "objectives",
]  # fmt: skip
