"""Attention: projections of queries, keys and values, and of the output, are matrices; scores stay digital."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from hwloop.nn.layers.base import AnalogLayer, share


@dataclass(frozen=True, eq=False)
class Request:
    """What `nn.MultiheadAttention` is called with, in its order and by its names.

    Parameters
    ----------
    query, key, value
        (length, batch, features), (batch, length, features) with `batch_first`, or (length, features).
    key_padding_mask
        (batch, keys) or (keys): True, or minus infinity, where a key is padding.
    need_weights
        Whether the attention is returned too.
    attn_mask
        (queries, keys) or (batch * heads, queries, keys): True, or minus infinity, where a query must not look.
    average_attn_weights
        Whether the attention that is returned is the mean over the heads.
    is_causal
        A hint that `attn_mask` is the causal one, of no effect: the mask itself is used.
    """

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    key_padding_mask: torch.Tensor | None = None
    need_weights: bool = True
    attn_mask: torch.Tensor | None = None
    average_attn_weights: bool = True
    is_causal: bool = False


def _with_request(
    attend: Callable[[AnalogAttention, Request], tuple[torch.Tensor, torch.Tensor | None]],
) -> Callable[..., tuple[torch.Tensor, torch.Tensor | None]]:
    """Let a method be called with the fields of its request."""
    return lambda layer, *given, **named: attend(layer, Request(*given, **named))


class AnalogAttention(AnalogLayer):
    """Stands for `nn.MultiheadAttention`.

    Queries, keys and values of one size share the matrix `in_proj_weight`: self-attention multiplies by it once,
    other attention multiplies every different input and takes its part of the outputs. `out_proj` is a linear layer of
    its own, which is converted as such.
    """

    in_proj_weight: nn.Parameter | None
    in_proj_bias: nn.Parameter | None
    out_proj: nn.Module
    bias_k: nn.Parameter | None
    bias_v: nn.Parameter | None
    embed_dim: int
    num_heads: int
    head_dim: int
    dropout: float
    batch_first: bool
    add_zero_attn: bool

    def __init__(self, layer: nn.MultiheadAttention) -> None:
        """Take over the parameters of a layer."""
        super().__init__("MultiheadAttention")
        share(self, layer)
        # Layers around this one that would compute with its parameters themselves ask for this, and then call it.
        self._qkv_same_embed_dim = False

    def matrices(self) -> dict[str, torch.Tensor]:
        """Give `in_proj_weight`, (1, inputs, 3 * features), or `q_proj_weight` and so on, (1, inputs, features)."""
        names = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
        found = {name: self._parameters[name] for name in names}
        return {name: parameter.t()[None] for name, parameter in found.items() if parameter is not None}

    def _attend(self, request: Request) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Give the output, shaped as the query, and the attention, (batch, queries, keys), if it is asked for."""
        self._check(request)
        q, k, v = self._project(request)
        single = q.dim() == 2
        if single:
            q, k, v = q[None], k[None], v[None]
        elif not self.batch_first:
            q, k, v = q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1)
        if self.bias_k is not None and self.bias_v is not None:
            k = torch.cat([k, self.bias_k.expand(len(k), 1, -1)], 1)
            v = torch.cat([v, self.bias_v.expand(len(v), 1, -1)], 1)
        q, k, v = self._by_head(q), self._by_head(k), self._by_head(v)
        if self.add_zero_attn:
            k, v = functional.pad(k, (0, 0, 0, 1)), functional.pad(v, (0, 0, 0, 1))
        mask = self._mask(request, q, k.shape[2])
        dropout = self.dropout if self.training else 0.0
        weights: torch.Tensor | None = None
        if request.need_weights:
            scores = q * math.sqrt(1 / self.head_dim) @ k.transpose(-2, -1)
            weights = functional.dropout((scores if mask is None else scores + mask).softmax(-1), dropout)
            y = weights @ v
            weights = weights.mean(1) if request.average_attn_weights else weights
        else:
            y = functional.scaled_dot_product_attention(q, k, v, mask, dropout)
        y = self.out_proj(y.transpose(1, 2).flatten(2))
        if single:
            return y[0], None if weights is None else weights[0]
        return y if self.batch_first else y.transpose(0, 1), weights

    forward = _with_request(_attend)

    def _check(self, request: Request) -> None:
        query, key, value = request.query, request.key, request.value
        if query.is_nested or key.is_nested or value.is_nested:
            raise RuntimeError(
                "MultiheadAttention: nested tensors are for torch's own kernels; give a padded one, and a mask"
            )
        if query.dim() not in (2, 3) or not query.dim() == key.dim() == value.dim():
            shapes = ", ".join(str(tuple(x.shape)) for x in (query, key, value))
            raise RuntimeError(f"MultiheadAttention: query, key and value all have 2 or 3 dimensions, and not {shapes}")
        if request.is_causal and request.attn_mask is None:
            raise RuntimeError("MultiheadAttention: is_causal is a hint about attn_mask, which has to be given too")

    def _project(self, request: Request) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Multiply by the projections; the same input twice is multiplied once."""
        query, key, value = request.query, request.key, request.value
        if self.in_proj_weight is None:
            q, k, v = (
                self.multiply("q_proj_weight", query),
                self.multiply("k_proj_weight", key),
                self.multiply("v_proj_weight", value),
            )
        else:
            size = self.embed_dim
            of_query = self.multiply("in_proj_weight", query)
            of_key = of_query if key is query else self.multiply("in_proj_weight", key)
            if value is query or value is key:
                of_value = of_query if value is query else of_key
            else:
                of_value = self.multiply("in_proj_weight", value)
            q, k, v = of_query[..., :size], of_key[..., size : 2 * size], of_value[..., 2 * size :]
        if self.in_proj_bias is None:
            return q, k, v
        of_q, of_k, of_v = self.in_proj_bias.chunk(3)
        return q + of_q, k + of_k, v + of_v

    def _by_head(self, x: torch.Tensor) -> torch.Tensor:
        """Turn (batch, length, features) into (batch, heads, length, features of a head)."""
        return x.reshape(*x.shape[:2], self.num_heads, self.head_dim).transpose(1, 2)

    def _mask(self, request: Request, q: torch.Tensor, keys: int) -> torch.Tensor | None:
        """Add up the masks, (batch or 1, heads or 1, queries or 1, keys); what attention adds to the keys is seen."""
        batch, heads, queries = q.shape[:3]
        added = keys - request.key.shape[-2 if request.key.dim() == 2 or self.batch_first else 0]
        masks = []
        if request.attn_mask is not None:
            mask = additive(request.attn_mask, q.dtype)
            shape: tuple[int, ...] = (
                (queries, keys - added) if mask.dim() == 2 else (batch * heads, queries, keys - added)
            )
            if mask.shape != shape:
                raise RuntimeError(f"MultiheadAttention: attn_mask has the shape {shape}, and not {tuple(mask.shape)}")
            masks.append(mask[None, None] if mask.dim() == 2 else mask.reshape(batch, heads, *shape[1:]))
        if request.key_padding_mask is not None:
            padding = additive(request.key_padding_mask, q.dtype)
            shape = (batch, keys - added) if request.key.dim() == 3 else (keys - added,)
            if padding.shape != shape:
                raise RuntimeError(
                    f"MultiheadAttention: key_padding_mask has the shape {shape}, and not {tuple(padding.shape)}"
                )
            masks.append(padding.reshape(batch, 1, 1, -1))
        return functional.pad(sum(masks[1:], masks[0]), (0, added)) if masks else None


def additive(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Turn a mask into numbers that are added to scores: a boolean one is minus infinity where it is True."""
    if mask.dtype == torch.bool:
        return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(mask, -math.inf)
    if not mask.is_floating_point():
        raise RuntimeError(f"MultiheadAttention: masks are boolean or of floats, and not {mask.dtype}")
    return mask.to(dtype)
