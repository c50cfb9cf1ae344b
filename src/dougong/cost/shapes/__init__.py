"""The shapes that common operations give, so that tracing them costs microseconds.

torch works these out itself on the meta device, by Python code that first imports its compiler: over a second for
the first operation, and half a millisecond for each. A rule here takes the plain cases and gives None for any other,
which then goes torch's way. tests/cost holds every rule against the operation run for real.
"""

from dougong.cost.shapes import elements, layers
from dougong.cost.shapes.rules import RULES

__all__ = ["RULES", "elements", "layers"]
