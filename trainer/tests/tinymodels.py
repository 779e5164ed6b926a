"""Tiny random models of every family, with a tokenizer trained here: real files in the layout of the hub."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

TEXT = (
    'the quick brown fox jumps over lazy dog and then runs into a forest of code where def return class import self print loops over '
    'tokens model data train happy sad review film good bad wonderful terrible question answer card arrival transfer failed exchange'
)
WORDS = TEXT.split()
CONTROLS = ['<pad>', '<s>', '</s>', '<|user|>', '<|assistant|>', '<|end|>']

SIZES = {
    'vocab_size': 512,
    'hidden_size': 64,
    'num_hidden_layers': 2,
    'num_attention_heads': 4,
    'max_position_embeddings': 512,
    'initializer_range': 0.1,
}
GROUPED = {**SIZES, 'num_key_value_heads': 2, 'intermediate_size': 128}
FAMILIES = {
    'llama': GROUPED,
    'mistral': {**GROUPED, 'sliding_window': 64},
    'mixtral': {**GROUPED, 'num_local_experts': 4, 'num_experts_per_tok': 2},
    'qwen2': GROUPED,
    'gemma': {**GROUPED, 'head_dim': 16},
    'starcoder2': {**GROUPED, 'sliding_window': 64},
    'stablelm': GROUPED,
    'phi': {**SIZES, 'intermediate_size': 128},
    'gpt_neox': {**SIZES, 'intermediate_size': 128},
    'deepseek_v2': {
        **SIZES,
        'num_key_value_heads': 4,
        'intermediate_size': 128,
        'moe_intermediate_size': 64,
        'q_lora_rank': None,
        'kv_lora_rank': 32,
        'qk_nope_head_dim': 16,
        'qk_rope_head_dim': 16,
        'v_head_dim': 16,
        'n_routed_experts': 4,
        'n_shared_experts': 1,
        'num_experts_per_tok': 2,
        'first_k_dense_replace': 1,
        'topk_method': 'greedy',
        'n_group': 1,
        'topk_group': 1,
    },
}


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE that adds BOS."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=512, special_tokens=CONTROLS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    backend.train_from_iterator([TEXT] * 4, trainer)
    backend.post_processor = processors.TemplateProcessing(single='<s> $A', pair='<s> $A $B', special_tokens=[('<s>', 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token='<s>', eos_token='</s>', pad_token='<pad>', additional_special_tokens=CONTROLS[3:]
    )


def make_model(folder: Path, family: str = 'llama', seed: int = 0, **changes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config = AutoConfig.for_model(family, **{**FAMILIES[family], 'bos_token_id': 1, 'eos_token_id': 2, 'pad_token_id': 0, **changes})
    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def write_set(folder: Path, rows: list[dict], held: tuple[int, ...] = (), files: int = 2) -> Path:
    """A rendered set as `templates/renderSet.ts` writes it; `held` are the places of examples that are not for training."""
    folder.mkdir(parents=True, exist_ok=True)
    described, lengths = [], []
    for number in range(files):
        part = rows[len(rows) * number // files : len(rows) * (number + 1) // files]
        lines = [json.dumps(row) + '\n' for row in part]
        text = ''.join(lines).encode()
        (folder / f'examples-{number}.jsonl').write_bytes(text)
        lengths += [len(line.encode()) for line in lines]
        described.append({'name': f'examples-{number}.jsonl', 'examples': len(part), 'sha256': hashlib.sha256(text).hexdigest()})
    (folder / 'index.bin').write_bytes(np.array([*lengths, *held], '<u4').tobytes())
    (folder / 'set.json').write_text(json.dumps({'version': 1, 'files': described, 'heldOut': len(held)}))
    return folder


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows), encoding='utf-8')
    return path
