"""Which kernel a device would choose: on the meta device torch would take attention and LSTMs apart.

Only attention, recurrent layers and some biases differ between the meta device and a real one, in their operations and
so in their memory. The mode below sends them to the operations that the device would run.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear, scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from dougong.cost.recurrence import CELLS, project, recurrent
from dougong.parts.scaled_dot_product import by_products, short

aten = torch.ops.aten


class Kernels(TorchFunctionMode):
    """Calls of attention and recurrent layers on meta tensors, turned into those of the device's kernels.

    The CPU's attention kernel has no dropout, and takes no mask that needs a gradient: then torch writes the weights
    down, here as there. A GPU's kernels have both. Their names differ from the CPU's; shapes, FLOPs and what they keep
    for the backward pass do not.

    Args:
        device: "cpu" or "cuda".
    """

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.device = device

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is scaled_dot_product_attention and args[0].is_meta:
            return self._attention(*args, **kwargs)
        if function is torch.lstm and args[0].is_meta:
            return self._lstm(*args, **kwargs)
        if self.device == "cpu" and function in CELLS and args[0].is_meta and not isinstance(args[2], Tensor):
            return recurrent(CELLS[function], *args, **kwargs)
        if function is linear and args[0].is_meta and len(args) == 3 and args[2] is not None:
            return project(*args)
        return function(*args, **kwargs)

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if self.device == "cpu" and short(query, key):
            return by_products(query, key, value, attn_mask, dropout_p, is_causal, scale, enable_gqa)
        learned = attn_mask is not None and attn_mask.requires_grad
        plain = query.dim() == 4 and query.shape[-1] == key.shape[-1] == value.shape[-1]
        if (
            not plain
            or (learned and key.shape[1] != query.shape[1])
            or (self.device == "cpu" and (dropout_p > 0 or learned))
        ):
            return scaled_dot_product_attention(
                query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
            )
        if learned and attn_mask is not None:  # of the fused kernels only this one gives the mask a gradient
            bias = attn_mask.expand(*query.shape[:-1], key.shape[-2])
            efficient = aten._scaled_dot_product_efficient_attention
            return efficient(query, key, value, bias, torch.is_grad_enabled(), 0.0, is_causal, scale=scale)[0]
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            attn_mask = torch.where(attn_mask, torch.zeros((), dtype=query.dtype, device="meta"), float("-inf"))
        fused = aten._scaled_dot_product_flash_attention_for_cpu
        return fused(query, key, value, 0.0, is_causal, attn_mask=attn_mask, scale=scale)[0]

    def _lstm(self, x: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
        if isinstance(rest[1], Tensor) or x.dtype != torch.float32 or self.device != "cpu":
            return torch.lstm(x, *rest)  # packed, or a device whose kernel is another
        state, weights, has_biases, layers, dropout, train, bidirectional, batch_first = rest
        x = x.transpose(0, 1).contiguous() if batch_first else x
        directions = 2 if bidirectional else 1
        per_cell = 4 if has_biases else 2
        hidden, last_h, last_c = state[0].shape[-1], [], []
        for layer in range(layers):
            outputs = []
            for direction in range(directions):
                cell = layer * directions + direction
                own = list(weights[cell * per_cell : (cell + 1) * per_cell])
                own += [own[0].new_zeros(own[0].shape[0])] * (4 - per_cell)
                y, h, c, _ = aten.mkldnn_rnn_layer(
                    x, *own, state[0][cell], state[1][cell], direction == 1, [], 2, hidden, layers,
                    has_biases, bidirectional, False, train,
                )  # fmt: skip
                outputs.append(y)
                last_h.append(h)
                last_c.append(c)
            x = outputs[0] if directions == 1 else torch.cat(outputs, -1)
            if dropout and train and layer < layers - 1:
                x = torch.nn.functional.dropout(x, dropout)
        y = x.transpose(0, 1) if batch_first else x
        return y, torch.stack(last_h), torch.stack(last_c)
