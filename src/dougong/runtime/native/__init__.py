"""Our own kernels in C++, compiled once for the machine that they run on; without a compiler torch's take their place.

Everything here is a plain loop that a reader can follow in step.cpp. It is there because a step of a decoder is a
hundred small operations that each wait for memory: walked through in one go, they take little more time than reading
the weights once.
"""

from dougong.runtime.native.compiling import Native, native
from dougong.runtime.native.operations import NotCaptured
from dougong.runtime.native.program import Captured

__all__ = ["Captured", "Native", "NotCaptured", "native"]
