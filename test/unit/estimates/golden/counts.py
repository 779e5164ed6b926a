"""Parameters of tiny models of every family and of their adapters, as transformers, PEFT and bitsandbytes' rule have them.

trainer/.venv/bin/python test/unit/estimates/golden/counts.py > test/unit/estimates/golden/counts.json
"""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ['HF_HUB_OFFLINE'] = '1'
root = Path(__file__).resolve().parents[4]
sys.path[:0] = [str(root / 'trainer'), str(root / 'trainer' / 'tests')]

import torch
from peft import LoraConfig, get_peft_model
from safetensors import safe_open
from tinymodels import FAMILIES
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.quantizers.base import get_keys_to_not_convert

from temper_trainer.model import TARGET_MODULES, linear_layer_names

VARIANTS = [(family, {}) for family in FAMILIES]
VARIANTS += [
    ('llama', {'attention_bias': True, 'tie_word_embeddings': True}),
    ('deepseek_v2', {'q_lora_rank': 24}),
    ('phi', {'qk_layernorm': True}),
]
RANK = 3


def count(family: str, changes: dict) -> dict:
    config = AutoConfig.for_model(family, **{**FAMILIES[family], **changes})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    total = sum(parameter.numel() for parameter in model.parameters())
    kept = get_keys_to_not_convert(model)
    linear = {name: module.weight.numel() for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    quantizable = {name: size for name, size in linear.items() if name not in kept}
    targets = [name for name in TARGET_MODULES[family] if name in linear_layer_names(model)]
    tuned = get_peft_model(model, LoraConfig(r=RANK, target_modules=targets, task_type='CAUSAL_LM'))
    lora = sum(parameter.numel() for parameter in tuned.parameters() if parameter.requires_grad)
    with tempfile.TemporaryDirectory() as folder:
        tuned.save_pretrained(folder)
        with safe_open(f'{folder}/adapter_model.safetensors', 'pt') as file:
            saved = sum(file.get_tensor(key).numel() * 4 for key in file.keys())  # noqa: SIM118
    written = {**FAMILIES[family], **changes, 'model_type': family}
    return {
        'config': written,
        'rank': RANK,
        'total': total,
        'lora': lora,
        'adapterBytes': saved,
        'quantizable': sum(quantizable.values()),
        'largestLayer': max(quantizable.values()),
    }


print(json.dumps([count(family, changes) for family, changes in VARIANTS], indent=1))
