"""What JAX traces of a function: its program, the names of its values, and the problem to solve."""

from fnn.glassbox.trace.names import name
from fnn.glassbox.trace.problem import Problem, pose
from fnn.glassbox.trace.program import Program, Step, flattened, traced

__all__ = ["Problem", "Program", "Step", "flattened", "name", "pose", "traced"]
