"""The loss and its gradients: packing changes nothing, and plain transformers agrees."""

import numpy as np
import pytest
import torch
from conftest import completion_rows, train_spec
from runs import run_here
from tinymodels import FAMILIES, write_lines
from transformers import AutoModelForCausalLM

from temper_trainer import attention
from temper_trainer.attention import BY_EXAMPLE, MASKED, VARLEN
from temper_trainer.data import encode_file, fill_packs
from temper_trainer.loop import feed_adapter_as_it_is
from temper_trainer.model import add_adapter, load_base, load_tokenizer
from temper_trainer.packing import make_pack, token_losses
from temper_trainer.spec import AdapterSpec, DataSpec, ModelSpec
from temper_trainer.tokens import Encoder

CPU = torch.device('cpu')


class Quiet:
    """Events and stop request of a stage under test that is not asked about them."""

    wanted = False

    def __getattr__(self, _name):
        return lambda *args, **kwargs: None


def prepare(models, family: str, folder, rows: list[dict]):
    """Encoded examples, and a model whose adapter already has an effect (B is zero in a new one)."""
    path = str(models(family))
    data = DataSpec('textCompletion', str(write_lines(folder / 'train.jsonl', rows)), 128)
    examples = encode_file(data, Encoder(load_tokenizer(path), data.kind), Quiet(), Quiet())
    model, _ = add_adapter(load_base(ModelSpec(path, 'none', 'float32', None), CPU), AdapterSpec(4, 8, 0, None, None), 3, Quiet())
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if 'lora_B' in name:
            torch.nn.init.normal_(parameter, std=0.05)
    return examples, model


def loss_and_gradients(model, examples, packs: list[list[int]]) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    total = 0.0
    for indexes in packs:
        loss = token_losses(model, make_pack(examples, indexes, CPU)).sum() / int(examples.trained.sum())
        loss.backward()
        total += loss.item()
    return total, torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.requires_grad])


@pytest.mark.parametrize('family', FAMILIES)
def test_packed_examples_do_not_see_each_other(models, tmp_path, family):
    examples, model = prepare(models, family, tmp_path, completion_rows(6, shortest=70, longest=100))
    assert examples.lengths.max() > 64, 'within the sliding window of the families that have one'
    everything = np.arange(len(examples))
    packs = fill_packs(examples.lengths, everything, 2000)
    assert len(packs) == 1
    packed, packed_gradients = loss_and_gradients(model, examples, packs)
    single, single_gradients = loss_and_gradients(model, examples, [[index] for index in everything.tolist()])
    assert packed == pytest.approx(single, abs=5e-6)
    difference = (packed_gradients - single_gradients).norm() / single_gradients.norm()
    assert difference < 5e-6


def kernel_on_cpu(query, key, value, bounds, bounds_of_keys, longest, longest_key, *, scale, window_size, enable_gqa=False):
    """What PyTorch's documentation says of `varlen_attn`, written out: it has no kernel for a CPU."""
    assert bounds is bounds_of_keys and longest == longest_key == bounds.diff().max() and window_size[1] == 0
    assert enable_gqa == (query.shape[1] != key.shape[1])
    key, value = (tensor.repeat_interleave(query.shape[1] // key.shape[1], 1) for tensor in (key, value))
    scores = torch.einsum('qhd,khd->hqk', query, key) * scale
    places, owner = torch.arange(len(query)), torch.searchsorted(bounds, torch.arange(len(query)), right=True)
    distance = places[:, None] - places
    seen = (owner[:, None] == owner) & (distance >= 0)
    if window_size[0] >= 0:
        seen &= distance <= window_size[0]
    return torch.einsum('hqk,khd->qhd', scores.masked_fill(~seen, -torch.inf).softmax(-1), value)


@pytest.mark.parametrize('family', ['llama', 'mistral'])
def test_every_attention_gives_the_same_loss_and_gradients(models, tmp_path, family, monkeypatch):
    """Grouped heads, and a window that is shorter than some examples."""
    monkeypatch.setattr(attention, 'varlen_attn', kernel_on_cpu)
    examples, model = prepare(models, family, tmp_path, completion_rows(6, shortest=70, longest=100))
    assert model.config._attn_implementation == BY_EXAMPLE
    window = getattr(model.config, 'sliding_window', None)
    assert family == 'llama' or window < examples.lengths.max()
    found = {}
    for kind in (MASKED, BY_EXAMPLE, VARLEN):
        model.config._attn_implementation = kind
        found[kind] = loss_and_gradients(model, examples, [list(range(len(examples)))])
    loss, gradients = found[MASKED]
    for kind in (BY_EXAMPLE, VARLEN):
        assert found[kind][0] == pytest.approx(loss, abs=5e-6)
        assert (found[kind][1] - gradients).norm() / gradients.norm() < 5e-6
    assert attention.compare_kernel(16, 2, window, CPU, torch.float32) < 1e-5


def test_an_attention_that_is_not_told_the_bounds_fails(models, tmp_path):
    """Rather than train on examples that see each other: a model whose code drops them."""
    examples, model = prepare(models, 'stablelm', tmp_path, completion_rows(2))
    assert model.config._attn_implementation == MASKED
    model.config._attn_implementation = BY_EXAMPLE
    with pytest.raises(RuntimeError):
        loss_and_gradients(model, examples, [[0, 1]])


def test_under_autocast_the_adapter_needs_no_copy_in_float32(models, tmp_path):
    examples, model = prepare(models, 'llama', tmp_path, completion_rows(4))
    model.get_base_model().to(torch.bfloat16)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    with torch.autocast('cpu', torch.bfloat16):
        loss, gradients = loss_and_gradients(model, examples, [[0, 1, 2, 3]])
        feed_adapter_as_it_is(model)
        loss_without, gradients_without = loss_and_gradients(model, examples, [[0, 1, 2, 3]])
    assert loss == loss_without and torch.equal(gradients, gradients_without)


@pytest.mark.parametrize('family', FAMILIES)
def test_one_example_has_the_loss_of_plain_transformers(models, tmp_path, family):
    examples, model = prepare(models, family, tmp_path, completion_rows(1, shortest=20))
    ids, trained = examples.example(0)
    labels = torch.where(torch.from_numpy(trained), torch.from_numpy(ids.astype(np.int64)), -100)
    with model.disable_adapter(), torch.no_grad():
        ours = token_losses(model, make_pack(examples, [0], CPU)).mean().item()
    plain = AutoModelForCausalLM.from_pretrained(models(family), dtype=torch.float32)
    with torch.no_grad():
        theirs = plain(input_ids=torch.from_numpy(ids.astype(np.int64))[None], labels=labels[None]).loss.item()
    assert ours == pytest.approx(theirs, abs=5e-6)


def test_the_micro_batch_does_not_change_the_run(models, tmp_path):
    curves = []
    for tokens in (16, 200, 4000):
        spec = train_spec(tmp_path / str(tokens), models(), completion_rows(40), training={'microBatchTokens': tokens})
        curves.append([event['loss'] for event in run_here(spec) if event['event'] == 'step'])
    assert len(curves[0]) == 5
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)
    assert curves[0] == pytest.approx(curves[2], abs=1e-5)
