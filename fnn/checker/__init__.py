"""The gradient checker: is it right, and if not, which rule, where, and what is wrong with it?

Promises: `check` is the whole of it; the records that it returns stand in `report`.
"""

from fnn.checker.check import assert_gradients, check
from fnn.checker.report import Finding, Report, Verdict

__all__ = ["Finding", "Report", "Verdict", "assert_gradients", "check"]
