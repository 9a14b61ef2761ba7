"""Multi-head attention written with `linear`, so that its projections are seen as layers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["attention"]


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    heads: int,
    in_weight: Tensor | None,
    in_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout: float,
    out_weight: Tensor,
    out_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None] | None:
    """What `functional.multi_head_attention_forward` computes, or None for the options that are not served here."""
    unusual = (bias_k, bias_v, static_k, static_v)
    if query.dim() != 3 or use_separate_proj_weight or add_zero_attn or any(part is not None for part in unusual):
        return None
    if training and dropout > 0:
        raise ValueError("model: expected evaluation mode (call model.eval()), got attention that draws random numbers")
    # The packed weight is applied whole to every distinct input: parts that are not used get a cotangent of zero.
    packed: dict[int, Any] = {}
    for part in (query, key, value):
        if id(part) not in packed:
            packed[id(part)] = functional.linear(part, in_weight, in_bias).chunk(3, -1)  # type: ignore[arg-type]
    q, k, v = packed[id(query)][0], packed[id(key)][1], packed[id(value)][2]
    length, n = query.shape[0], query.shape[1]
    q, k, v = (x.reshape(x.shape[0], n, heads, -1).permute(1, 2, 0, 3) for x in (q, k, v))  # (n, heads, T, d)
    scores = q @ k.mT / math.sqrt(q.shape[-1])
    mask = _mask(scores, attn_mask, key_padding_mask, is_causal)
    weights = torch.softmax(scores if mask is None else scores + mask, -1)
    mixed = (weights @ v).permute(2, 0, 1, 3).reshape(length, n, embed_dim)
    result = functional.linear(mixed, out_weight, out_bias)
    if not need_weights:
        return result, None
    return result, weights.mean(1) if average_attn_weights else weights


def _mask(scores: Tensor, attn_mask: Tensor | None, padding: Tensor | None, is_causal: bool) -> Tensor | None:
    """One additive mask that broadcasts to (n, heads, T, S), or None."""
    n, heads, length, width = scores.shape
    if is_causal and attn_mask is None:
        attn_mask = torch.ones(length, width, dtype=torch.bool, device=scores.device).triu(1)
    parts = []
    if attn_mask is not None:
        attn_mask = _additive(attn_mask, scores)
        parts.append(attn_mask.view(n, heads, length, width) if attn_mask.dim() == 3 else attn_mask)
    if padding is not None:
        parts.append(_additive(padding, scores)[:, None, None])
    return sum(parts[1:], parts[0]) if parts else None


def _additive(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(mask, -math.inf)
