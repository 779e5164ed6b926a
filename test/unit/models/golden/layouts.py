"""Writes layouts.json: for tiny models of every family, what transformers saves and what PEFT trains.

trainer/.venv/bin/python test/unit/models/golden/layouts.py
"""

import json
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM

root = Path(__file__).parents[4]
sys.path[:0] = [str(root / 'trainer'), str(root / 'trainer' / 'tests')]

from temper_trainer.families import TARGET_MODULES  # noqa: E402
from tinymodels import FAMILIES  # noqa: E402

VARIANTS = {
    'qwen2, tied': ('qwen2', {'tie_word_embeddings': True}),
    'llama, biases': ('llama', {'attention_bias': True, 'mlp_bias': True}),
    'stablelm, all options': ('stablelm', {'use_qkv_bias': True, 'qk_layernorm': True, 'use_parallel_residual': True}),
    'deepseek_v2, compressed queries': ('deepseek_v2', {'q_lora_rank': 24}),
    'phi, normed queries': ('phi', {'qk_layernorm': True}),
    'gpt_neox, no biases': ('gpt_neox', {'attention_bias': False}),
    'starcoder2, no biases': ('starcoder2', {'use_bias': False}),
}
UNUSED = ('transformers_version', 'initializer_range', 'bos_token_id', 'eos_token_id', 'pad_token_id')


def shapes(folder: str) -> dict[str, list[int]]:
    found = {}
    for path in sorted(Path(folder).glob('*.safetensors')):
        with safe_open(path, 'pt') as file:
            found |= {name: list(file.get_slice(name).get_shape()) for name in file.keys()}
    return found


def describe(family: str, changes: dict) -> dict:
    config = AutoConfig.for_model(family, **{**FAMILIES[family], **changes})
    model = AutoModelForCausalLM.from_config(config)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as adapter:
        model.save_pretrained(folder)
        saved = json.loads((Path(folder) / 'config.json').read_text())
        tensors = shapes(folder)
        linear = {name.rsplit('.', 1)[-1] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
        targets = [name for name in TARGET_MODULES[family] if name in linear]
        get_peft_model(model, LoraConfig(r=4, target_modules=targets, task_type='CAUSAL_LM')).save_pretrained(adapter)
        return {
            'config': {name: value for name, value in saved.items() if name not in UNUSED},
            'parameters': parameters,
            'tensors': tensors,
            'targets': targets,
            'adapter': shapes(adapter),
        }


cases = {**{family: (family, {}) for family in FAMILIES}, **VARIANTS}
golden = {name: describe(family, changes) for name, (family, changes) in cases.items()}
lines = ',\n'.join(f'{json.dumps(name)}: {json.dumps(case, sort_keys=True)}' for name, case in golden.items())
Path(__file__).with_name('layouts.json').write_text('{\n' + lines + '\n}\n')
