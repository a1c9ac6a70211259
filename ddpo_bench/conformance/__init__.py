"""Is a step function with its log-prob right?  Checks of anybody's code against closed forms, one verdict for each.

In a fork's tests:

    @pytest.mark.parametrize("name", conformance.names("ddim"))
    def test_my_step_conforms(name):
        conformance.demand(my_step, name)
"""

from ddpo_bench.conformance.check import check, demand, names
from ddpo_bench.conformance.conventions import DoesNotFit
from ddpo_bench.conformance.verdict import Verdict

__all__ = ["DoesNotFit", "Verdict", "check", "demand", "names"]
