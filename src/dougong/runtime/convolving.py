"""Convolutions with their norms folded into them, for pictures that are only looked at."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from dougong.parts.convolution import Layers
from dougong.parts.norms import FrozenBatchNorm
from dougong.runtime.kernels import FastLinears


class FastConvolutions:
    """While it is entered, a picture model's convolutions run folded by oneDNN: for inference on the CPU only.

    A norm that learns nothing more multiplies each channel and adds to it; so its factor can be in the filters, and
    what it adds their bias. Filters are copied, in the layout that the kernel reads. Results differ in the last
    bits.

    Args:
        model: whose convolutions they are; one in training, or elsewhere, stays as it is.
    """

    def __init__(self, model: nn.Module) -> None:
        suited = [part for part in model.modules() if _suits(part)] if _there() else []
        self.groups = [part for part in suited if isinstance(part, Layers)]
        self._forwards = [_folded(group) for group in self.groups]

    def __enter__(self) -> None:
        for group, forward in zip(self.groups, self._forwards, strict=True):
            group.__dict__["forward"] = forward

    def __exit__(self, *raised: object) -> None:
        for group in self.groups:
            group.__dict__.pop("forward", None)


class FastPictures:
    """While it is entered, a model of pictures runs by the fastest kernels of the CPU; any other as it is.

    It may be entered again and again, as long as the model's weights stay as they are.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: nn.Module) -> None:
        suited = getattr(model, "input_kind", "") == "image" and not model.training
        self.kinds = (FastLinears(model), FastConvolutions(model)) if suited else ()

    def __enter__(self) -> None:
        for kind in self.kinds:
            kind.__enter__()

    def __exit__(self, *raised: object) -> None:
        for kind in self.kinds:
            kind.__exit__(*raised)


def _folded(group: Layers) -> Callable[..., Tensor]:
    """A group's forward pass as one operation."""
    conv, norm, *after = group
    assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d | FrozenBatchNorm)
    kind = "relu" if after else "none"
    settings = (conv.padding, conv.stride, conv.dilation, conv.groups)
    with torch.no_grad():
        assert isinstance(norm.running_var, Tensor) and isinstance(norm.running_mean, Tensor)
        factor = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = norm.bias - norm.running_mean * factor
        weight = conv.weight * factor[:, None, None, None]
        bias = shift if conv.bias is None else shift + conv.bias * factor
    packed: dict[torch.Size, Tensor] = {}

    def forward(x: Tensor, context: Any = None) -> Tensor:
        if x.shape not in packed:  # the best layout depends on it; pictures of one work are mostly of one
            packed.clear()
            packed[x.shape] = torch.ops.mkldnn._reorder_convolution_weight(weight, *settings, list(x.shape))
        return torch.ops.mkldnn._convolution_pointwise(x, packed[x.shape], bias, *settings, kind, [], "")

    return forward


def _suits(part: nn.Module) -> bool:
    """A plain convolution, a norm that rests, and perhaps a ReLU, of float32 on the CPU."""
    if type(part) is not Layers or len(part) not in (2, 3) or any(hooked(each) for each in part):
        return False
    conv, norm, after = part[0], part[1], part[2] if len(part) == 3 else nn.ReLU()
    if type(conv) is not nn.Conv2d or conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return False
    learns = type(norm) is nn.BatchNorm2d and (norm.training or not norm.track_running_stats or not norm.affine)
    resting = type(norm) in (nn.BatchNorm2d, FrozenBatchNorm) and not learns
    plain = conv.weight.device.type == "cpu" and conv.weight.dtype == torch.float32
    return plain and resting and type(after) is nn.ReLU


def hooked(part: nn.Module) -> bool:
    """Whether someone waits for what a part reads or gives."""
    return bool(part._forward_hooks or part._forward_pre_hooks)


@cache
def _there() -> bool:
    """Whether this build of torch has the operator, and it computes what it should."""
    if not torch.backends.mkldnn.is_available():
        return False
    draw = torch.Generator().manual_seed(0)  # nobody's random state is touched
    x, weight, bias = (torch.randn(shape, generator=draw) for shape in ((2, 3, 5, 4), (4, 3, 3, 3), (4,)))
    settings = ([1, 1], [2, 2], [1, 1], 1)
    try:
        with torch.inference_mode():
            packed = torch.ops.mkldnn._reorder_convolution_weight(weight, *settings, list(x.shape))
            found = torch.ops.mkldnn._convolution_pointwise(x, packed, bias, *settings, "relu", [], "")
            right = nn.functional.conv2d(x, weight, bias, 2, 1).relu()
            return torch.allclose(found, right, atol=1e-5)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
