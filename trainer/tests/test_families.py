"""Every family, LoRA and QLoRA: trained, saved, loaded by plain PEFT, evaluated, resumed, with the loss curve of TRL."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import completion_rows, train_spec
from peft import LoraConfig, PeftModel
from runs import run_here
from safetensors.torch import load_file
from test_evaluate import evaluate_spec
from test_loss import CPU, Quiet
from tinymodels import FAMILIES, write_lines
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from temper_trainer import merge as merging
from temper_trainer.data import encode_file, make_plan
from temper_trainer.failures import TrainerFailure
from temper_trainer.families import TARGET_MODULES, WITH_FUSED_EXPERTS
from temper_trainer.model import add_adapter, load_base, load_tokenizer
from temper_trainer.spec import AdapterSpec, DataSpec, ModelSpec
from temper_trainer.tokens import Encoder

METHODS = [(family, method) for family in FAMILIES for method in ('none', 'nf4') if method == 'none' or family not in WITH_FUSED_EXPERTS]


def load_plainly(path: Path, quantization: str):
    """The base as anyone would load it, without this package."""
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type='nf4', bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32
    )
    return AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, device_map={'': 'cpu'}, quantization_config=four_bits if quantization == 'nf4' else None
    )


@torch.no_grad()
def plain_perplexity(model, tokenizer, rows: list[dict]) -> float:
    total = count = 0
    for row in rows:
        head = tokenizer(row['segments'][0][0]).input_ids
        tail = tokenizer(row['segments'][1][0], add_special_tokens=False).input_ids + [tokenizer.eos_token_id]
        log = model(input_ids=torch.tensor([head + tail[:-1]])).logits[0, len(head) - 1 :].log_softmax(-1)
        total -= log.gather(1, torch.tensor(tail)[:, None]).sum().item()
        count += len(tail)
    return math.exp(total / count)


@pytest.mark.parametrize(('family', 'quantization'), METHODS)
def test_a_family_from_training_to_evaluation(models, tmp_path, family, quantization, record_property):
    spec = train_spec(
        tmp_path,
        models(family),
        completion_rows(32),
        model={'quantization': quantization},
        training={'epochs': 1.5, 'schedule': 'linear'},
        checkpoints={'everySteps': 4},
    )
    events = run_here(spec)
    steps = [event for event in events if event['event'] == 'step']
    losses = [step['loss'] for step in steps]
    assert losses[-1] < losses[0] - 0.1
    record_property('trained', f'{losses[0]:.2f} → {losses[-1]:.2f}')

    theirs = trl_curve(tmp_path / 'trl', models(family), spec)
    assert losses == pytest.approx([entry['loss'] for entry in theirs], abs=2e-5)
    assert [step['learningRate'] for step in steps] == pytest.approx([entry['learning_rate'] for entry in theirs], abs=1e-9)
    farthest = max(abs(loss - entry['loss']) for loss, entry in zip(losses, theirs, strict=True))
    record_property('trl', f'{farthest:.0e}')

    adapter = Path(spec['outputPath'])
    tensors = load_file(adapter / 'adapter_model.safetensors')
    config = json.loads((adapter / 'adapter_config.json').read_text())
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert {name.split('.')[-3] for name in tensors} == set(config['target_modules']) <= set(TARGET_MODULES[family])
    record_property('saved', ', '.join(config['target_modules']))

    rows = completion_rows(12, seed=5)
    evaluated = {event['target']: event['value'] for event in run_here(evaluate_spec(spec, rows)) if event['event'] == 'evaluated'}
    assert evaluated['tuned'] < evaluated['base']
    record_property('evaluated', f'{evaluated["base"]:.0f} → {evaluated["tuned"]:.0f}')

    base = load_plainly(models(family), quantization)
    prepared = next(event for event in events if event['event'] == 'prepared')
    # A weight in 4 bits is a weight.
    assert prepared['totalParameters'] - prepared['trainableParameters'] == base.num_parameters()
    plain = PeftModel.from_pretrained(base, adapter).eval()
    perplexity = plain_perplexity(plain, AutoTokenizer.from_pretrained(adapter), rows)
    # bitsandbytes multiplies 4-bit weights in bfloat16 on CPUs that can; the rows are batched differently here and there.
    assert perplexity == pytest.approx(evaluated['tuned'], rel=1e-5 if quantization == 'none' else 1e-4)
    record_property('loaded', f'{abs(perplexity / evaluated["tuned"] - 1):.0e}')

    if quantization == 'none':
        merged = merge_spec(spec, [row['segments'][0][0] for row in rows], shardBytes=1 << 17)
        completed = run_here(merged)[-1]['merged']
        assert completed['difference'] < completed['tolerance'] < completed['effect']
        model = AutoModelForCausalLM.from_pretrained(merged['outputPath'])
        assert model.dtype == torch.bfloat16
        weights = json.loads((Path(merged['outputPath']) / 'model.safetensors.index.json').read_text())['weight_map']
        assert len(set(weights.values())) > 1
        found = plain_perplexity(model.float(), AutoTokenizer.from_pretrained(merged['outputPath']), rows)
        assert found == pytest.approx(perplexity, rel=0.01)
        record_property('merged', f'{completed["difference"]:.4f} of {completed["effect"]:.2f}')

    again = tmp_path / 'again'
    checkpoint = again / 'checkpoints' / 'step-4'
    shutil.copytree(tmp_path / 'checkpoints' / 'step-4', checkpoint)
    resumed = {
        **spec,
        'checkpoints': {**spec['checkpoints'], 'directory': str(checkpoint.parent), 'resumeFrom': str(checkpoint)},
        'outputPath': str(again / 'adapter'),
    }
    assert [event['loss'] for event in run_here(resumed) if event['event'] == 'step'] == losses[4:]
    for name in ('adapter_model.safetensors', 'adapter_config.json'):
        assert (again / 'adapter' / name).read_bytes() == (adapter / name).read_bytes()
    record_property('resumed', 'same bytes')


def merge_spec(train: dict, texts: list[str], **changes) -> dict:
    return {
        'version': 1,
        'work': 'merge',
        'model': train['model'],
        'adapterPath': train['outputPath'],
        'texts': texts,
        'shardBytes': None,
        'outputPath': str(Path(train['outputPath']).parent / 'merged'),
        **changes,
    }


def test_a_merge_that_differs_is_refused(models, tmp_path, monkeypatch):
    spec = train_spec(tmp_path, models(), completion_rows(32))
    run_here(spec)
    monkeypatch.setattr(merging, 'add_delta', lambda name, weight, pair, adapter: weight)
    with pytest.raises(TrainerFailure) as refused:
        run_here(merge_spec(spec, ['the quick brown fox']))
    assert refused.value.code == 'MERGE_DIFFERS' and not (tmp_path / 'merged').exists()


def trl_curve(folder: Path, base: Path, spec: dict) -> list[dict]:
    """Loss and learning rate of each step of TRL's SFTTrainer, padded and without packing, on the same tokens in the same order."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    training, quantization = spec['training'], spec['model']['quantization']
    folder.mkdir(exist_ok=True)
    data = DataSpec(**{**spec['data'], 'path': str(write_lines(folder / 'rows.jsonl', completion_rows(32)))})
    tokenizer = load_tokenizer(str(base))
    examples = encode_file(data, Encoder(tokenizer, data.kind), Quiet(), Quiet())
    plan = make_plan(len(examples), training['batchSize'], training['epochs'], training['seed'])
    ordered = []
    for step in range(plan.total_steps):
        for index in plan.examples_of(step):
            ids, trained = examples.example(index)
            ordered.append({'input_ids': ids.tolist(), 'labels': np.where(trained, ids, -100).tolist()})
    our_base = load_base(ModelSpec(str(base), quantization, 'float32', None), CPU)
    start, targets = add_adapter(our_base, AdapterSpec(8, 16, 0, None, None), training['seed'], Quiet())
    trainer = SFTTrainer(
        model=load_plainly(base, quantization),
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(ordered),
        peft_config=LoraConfig(r=8, lora_alpha=16, lora_dropout=0, target_modules=targets, task_type='CAUSAL_LM'),
        args=SFTConfig(
            output_dir=str(folder),
            max_steps=plan.total_steps,
            per_device_train_batch_size=training['batchSize'],
            learning_rate=training['learningRate'],
            lr_scheduler_type=training['schedule'],
            warmup_steps=training['warmupSteps'],
            weight_decay=training['weightDecay'],
            max_grad_norm=training['maxGradNorm'],
            seed=training['seed'],
            logging_steps=1,
            train_sampling_strategy='sequential',
            dataset_kwargs={'skip_prepare_dataset': True},
            max_length=None,
            gradient_checkpointing=False,
            bf16=False,
            use_cpu=True,
            report_to=[],
            save_strategy='no',
            disable_tqdm=True,
            router_aux_loss_coef=0.0,  # the router is not trained here
        ),
    )
    same_start = {name: value for name, value in start.state_dict().items() if 'lora_' in name}
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad:  # TRL keeps the adapter of a quantized model in bfloat16
            parameter.data = same_start.pop(name).clone()
    assert not same_start
    trainer.train()
    return [entry for entry in trainer.state.log_history if 'loss' in entry]


@pytest.mark.parametrize('family', sorted(WITH_FUSED_EXPERTS))
def test_experts_that_cannot_be_quantized_are_refused(models, tmp_path, family):
    with pytest.raises(TrainerFailure, match='nf4.*experts.*"none"') as refused:
        run_here(train_spec(tmp_path, models(family), completion_rows(8), model={'quantization': 'nf4'}))
    assert refused.value.code == 'QUANTIZATION_UNSUPPORTED'
