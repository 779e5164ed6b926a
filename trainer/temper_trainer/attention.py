"""Attention over a pack whose examples do not see each other, without a mask over all pairs of its tokens.

Two ways, under the names that transformers knows them by: VARLEN is PyTorch's own variable-length kernel (FlashAttention or cuDNN) for
GPUs; BY_EXAMPLE calls scaled dot-product attention once an example, and runs anywhere. Whatever is not a pack (an evaluation's
prompts, a plain forward pass) is left to transformers' own way, and so are the packs of families whose code does not hand the bounds
down to their attention (MASKED).
"""

import inspect

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedConfig
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # an older PyTorch
    varlen_attn = None

VARLEN = 'temper_varlen'
BY_EXAMPLE = 'temper_by_example'
MASKED = 'sdpa'
MASKED_FAMILIES = {'stablelm'}
# As the `prepared` event says it.
TOLD = {VARLEN: 'varlen', BY_EXAMPLE: 'byExample', MASKED: 'masked'}
# What the kernel takes. Beside these: as many values a head in keys as in values.
VARLEN_DTYPES = (torch.bfloat16, torch.float16)
VARLEN_HEAD_SIZE = 256
# How far the kernel may be from BY_EXAMPLE on numbers of about 1: twice the rounding of bfloat16.
VARLEN_TOLERANCE = 2e-2


def pack_arguments(lengths: list[int], device: torch.device) -> dict:
    """What the forward pass of a model with VARLEN or BY_EXAMPLE takes beside tokens and positions for a pack of examples of these lengths.

    transformers would make a mask of tokens × tokens. One of four dimensions it takes as it is: this one has no element, so that
    code which used it, instead of the bounds, would fail and not train on examples that see each other.
    """
    bounds = [0]
    for length in lengths:
        bounds.append(bounds[-1] + length)
    return {
        'attention_mask': torch.empty(1, 1, 0, 0, device=device),
        'cu_seq_lens_q': torch.tensor(bounds, dtype=torch.int32, device=device),
        'max_length_q': max(lengths),
        'pack_bounds': bounds,
    }


def by_example(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, pack_bounds=None, sliding_window=None, **kwargs
) -> tuple[torch.Tensor, None]:
    """`query` (1, heads, tokens, size), `key` and `value` the same with fewer heads; gives (1, tokens, heads, size)."""
    if pack_bounds is None:
        return plain(module, query, key, value, attention_mask, scaling, dropout, sliding_window, **kwargs)
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    parts = []
    for start, end in zip(pack_bounds, pack_bounds[1:], strict=False):
        q, k, v = (tensor[:, :, start:end] for tensor in (query, key, value))
        mask = window_mask(end - start, sliding_window, query.device)
        parts.append(scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout, is_causal=mask is None, scale=scaling))
    return torch.cat(parts, 2).transpose(1, 2).contiguous(), None


def varlen(
    module, query, key, value, attention_mask, scaling=None, dropout=0.0, cu_seq_lens_q=None, max_length_q=None, sliding_window=None,
    **kwargs,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """As `by_example`, by one kernel."""
    if cu_seq_lens_q is None:
        return plain(module, query, key, value, attention_mask, scaling, dropout, sliding_window, **kwargs)
    window = (-1 if sliding_window is None else sliding_window - 1, 0)
    output = run_kernel(query[0], key[0], value[0], cu_seq_lens_q, max_length_q, window, scaling)
    return output[None], None


def run_kernel(query, key, value, bounds, longest: int, window: tuple[int, int], scaling: float | None) -> torch.Tensor:
    """`query` (heads, tokens, size); gives (tokens, heads, size)."""
    more = {}
    if query.shape[0] != key.shape[0]:
        if 'enable_gqa' in inspect.signature(varlen_attn).parameters:
            more['enable_gqa'] = True
        else:
            groups = query.shape[0] // key.shape[0]
            key, value = key.repeat_interleave(groups, 0), value.repeat_interleave(groups, 0)
    query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
    return varlen_attn(query, key, value, bounds, bounds, longest, longest, scale=scaling, window_size=window, **more)


def plain(module, query, key, value, attention_mask, scaling, dropout, sliding_window, **kwargs) -> tuple[torch.Tensor, None]:
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, sliding_window=sliding_window, **kwargs
    )


def window_mask(length: int, window: int | None, device: torch.device) -> torch.Tensor | None:
    """Who sees whom, shape (length, length), where a token does not see all before it; None where it does."""
    if window is None or length <= window:
        return None
    places = torch.arange(length, device=device)
    distance = places[:, None] - places
    return (distance >= 0) & (distance < window)


for name, attention in ((VARLEN, varlen), (BY_EXAMPLE, by_example)):
    ALL_ATTENTION_FUNCTIONS.register(name, attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(name, sdpa_mask)


def choose_attention(config: PreTrainedConfig, device: torch.device, dtype: torch.dtype) -> str:
    """The fastest way for the model's heads on this device. The kernel is asked for a small pack first, forwards and backwards: another
    GPU, driver or PyTorch that lacks it, or that gives something else, gets BY_EXAMPLE."""
    if config.model_type in MASKED_FAMILIES:
        return MASKED
    size = getattr(config, 'head_dim', None) or config.hidden_size // config.num_attention_heads
    fits = size <= VARLEN_HEAD_SIZE and size % 8 == 0 and not hasattr(config, 'v_head_dim') and not getattr(config, 'attention_dropout', 0)
    if device.type != 'cuda' or varlen_attn is None or dtype not in VARLEN_DTYPES or not fits:
        return BY_EXAMPLE
    groups = config.num_attention_heads // (getattr(config, 'num_key_value_heads', None) or config.num_attention_heads)
    try:
        difference = compare_kernel(size, groups, getattr(config, 'sliding_window', None), device, dtype)
    except Exception as error:  # noqa: BLE001 - whatever it is, there is another way
        print(f'variable-length attention does not work here: {error}', flush=True)
        return BY_EXAMPLE
    if not difference <= VARLEN_TOLERANCE:
        print(f'variable-length attention is off by {difference} here', flush=True)
        return BY_EXAMPLE
    return VARLEN


def compare_kernel(size: int, groups: int, window: int | None, device: torch.device, dtype: torch.dtype) -> float:
    """The largest difference between the two ways, of results and of gradients, on a small pack."""
    lengths = [5, 64, 1, 130]
    arguments = pack_arguments(lengths, device)
    generator = torch.Generator().manual_seed(0)
    heads = [2 * groups, 2, 2]
    inputs = [torch.randn(1, count, sum(lengths), size, generator=generator).to(device, dtype).requires_grad_() for count in heads]
    # A window smaller than the longest example, where the model has one.
    window = None if window is None else min(window, 100)
    found = []
    for attention in (varlen, by_example):
        output, _ = attention(None, *inputs, scaling=size**-0.5, sliding_window=window, **arguments)
        found.append([output, *torch.autograd.grad(output.float().pow(2).sum(), inputs)])
    return max(relative_difference(ours, theirs) for ours, theirs in zip(*found, strict=True))


def relative_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).float().abs().max() / theirs.float().abs().max().clamp(min=1)).item()
