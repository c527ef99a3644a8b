"""Every way to attend over packed groups is the dense mask's, in output and gradient."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

import mmrl.sharing.attention as attention
import mmrl.sharing.flex as flex
from mmrl.sharing.cascade import attend_repeated
from mmrl.sharing.layout import Segment, arrange, as_mask, from_mask, is_layout, tokens_before

GROUPS = [(7, [3, 0, 5, 1]), (1, [2]), (4, []), (3, [0, 0])]
HEADS, SHARED, WIDTH = 2, 4, 16


@pytest.fixture
def tensors():
    torch.manual_seed(0)
    length = arrange(GROUPS)[-1].end
    return [
        torch.randn(1, heads, length, WIDTH, dtype=torch.float64, requires_grad=True)
        for heads in (HEADS * SHARED, HEADS, HEADS)
    ]


def _dense(query, key, value):
    """Token by token, who may see whom."""
    owners = []
    for group, (prompt, lengths) in enumerate(GROUPS):
        owners += [(group, None)] * prompt
        for completion, length in enumerate(lengths):
            owners += [(group, completion)] * length
    allowed = torch.zeros(len(owners), len(owners), dtype=torch.bool)
    for i, (group, completion) in enumerate(owners):
        for j, (other, said) in enumerate(owners[: i + 1]):
            allowed[i, j] = group == other and said in (None, completion)
    key, value = (part.repeat_interleave(SHARED, dim=1) for part in (key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=allowed).transpose(1, 2)


def _with_gradient(function, tensors):
    output = function(*tensors)
    weights = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view(output.shape)
    return output, *torch.autograd.grad((output * weights).sum(), tensors)


def _packed(query, key, value):
    mask = as_mask(arrange(GROUPS))
    return attention.packed_attention(torch.nn.Identity(), query, key, value, mask)[0]


@pytest.mark.parametrize("way", ["in two parts", "with the prompt repeated"])
def test_packed_attention_is_dense_attention(tensors, way, monkeypatch):
    if way == "with the prompt repeated":
        monkeypatch.setattr(attention, "attend_completions", attend_repeated)
    for found, expected in zip(
        _with_gradient(_packed, tensors), _with_gradient(_dense, tensors), strict=True
    ):
        assert expected.abs().max() > 0.1
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.filterwarnings("ignore:flex_attention called without")
def test_flex_attention_is_dense_attention(tensors, monkeypatch):
    """Its mask, that is; uncompiled, since this is not a GPU, and therefore without gradient."""
    from torch.nn.attention.flex_attention import flex_attention

    monkeypatch.setattr(flex, "_flex", lambda: flex_attention)
    monkeypatch.setattr(attention, "has_flex", lambda device: True)
    low = [tensor.detach().float() for tensor in tensors]
    with torch.no_grad():
        torch.testing.assert_close(_packed(*low), _dense(*low), atol=1e-5, rtol=0)


def test_other_masks_go_to_the_attention_of_transformers(tensors):
    length = tensors[0].shape[2]
    mask = torch.ones(1, 1, length, length, dtype=torch.bool).tril()
    module = torch.nn.Identity()
    module.num_key_value_groups = SHARED
    found, _ = attention.packed_attention(module, *tensors, mask)
    key, value = (part.repeat_interleave(SHARED, dim=1) for part in tensors[1:])
    expected = scaled_dot_product_attention(tensors[0], key, value, attn_mask=mask)
    torch.testing.assert_close(found, expected.transpose(1, 2))


def test_a_layout_survives_its_way_through_the_model():
    segments = arrange(GROUPS)
    mask = as_mask(segments)
    assert is_layout(mask)
    assert from_mask(mask) == segments
    assert not is_layout(None)
    assert not is_layout(mask.bool())
    assert not is_layout(mask[0])


def test_the_prompts_last_token_predicts_the_first_of_every_completion():
    assert tokens_before(Segment(10, 4, (2, 0, 3))) == [13, 14, 13, 16, 17]


def test_dropout_is_refused_rather_than_left_out(tensors):
    with pytest.raises(NotImplementedError, match="dropout"):
        attention.packed_attention(
            torch.nn.Identity(), *tensors, as_mask(arrange(GROUPS)), dropout=0.1
        )
