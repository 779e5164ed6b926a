"""The loss and its gradients: packing changes nothing, and plain transformers agrees."""

import numpy as np
import pytest
import torch
from conftest import completion_rows, train_spec
from runs import run_here
from tinymodels import FAMILIES, write_lines
from transformers import AutoModelForCausalLM

from temper_trainer.data import encode_file, fill_packs
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
    # 60 words of context and more: beyond the sliding window of the families that have one.
    examples, model = prepare(models, family, tmp_path, completion_rows(6, longest=60))
    everything = np.arange(len(examples))
    packs = fill_packs(examples.lengths, everything, 2000)
    assert len(packs) == 1
    packed, packed_gradients = loss_and_gradients(model, examples, packs)
    single, single_gradients = loss_and_gradients(model, examples, [[index] for index in everything.tolist()])
    assert packed == pytest.approx(single, abs=5e-6)
    difference = (packed_gradients - single_gradients).norm() / single_gradients.norm()
    assert difference < 5e-6


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
