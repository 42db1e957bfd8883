"""The gradient checker: is it right, and if not, which rule, where, and what is wrong with it?

Promises: `check` does it all; the records that it returns are in `report`.
"""

from fnn.checker._check import assert_gradients, check
from fnn.checker.assertions import check_grads
from fnn.checker.every import every_rule
from fnn.checker.findings import Finding, Verdict
from fnn.checker.programs import Programs
from fnn.checker.report import Report

__all__ = ["Finding", "Programs", "Report", "Verdict", "assert_gradients", "check", "check_grads", "every_rule"]
