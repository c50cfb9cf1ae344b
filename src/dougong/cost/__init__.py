"""What a model takes: parameters, FLOPs, memory and time, before anything is allocated.

The room is its own main function: ``dougong.cost("vit-base")`` gives a `CostSheet`.
"""

from dougong.cost.costing import cost, forward_flops, training_flops
from dougong.cost.formulas import counter
from dougong.cost.sheet import CostSheet
from dougong.cost.verifying import Verification, verify
from dougong.rooms import make_callable

__all__ = ["CostSheet", "Verification", "cost", "counter", "forward_flops", "training_flops", "verify"]

make_callable(__name__, cost)
