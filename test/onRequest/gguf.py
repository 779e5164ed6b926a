"""The two ends of test/onRequest/gguf.test.ts.

`make` writes a small base model of random weights with the tokenizer of GPT-2, which llama.cpp knows. `compare` runs the
same tokens through transformers with PEFT and through llama.cpp, and prints for each GGUF the largest difference of logits,
beside what the adapter changes in them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TOKENS = 64


def make(vocabulary: Path, folder: Path) -> None:
    """`vocabulary` holds encoder.json and vocab.bpe."""
    lines = (vocabulary / 'vocab.bpe').read_text().splitlines()
    merges = [tuple(line.split(' ')) for line in lines if line and not line.startswith('#version')]
    tokenizer = Tokenizer(models.BPE(json.loads((vocabulary / 'encoder.json').read_text()), merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = '<|endoftext|>'
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end, pad_token=end)
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)


def compare(converter: Path, base: Path, adapter: Path, merged_gguf: Path, adapter_gguf: Path) -> None:
    from llama_cpp import Llama
    from peft import PeftModel

    base_gguf = base / 'base.gguf'
    command = [sys.executable, converter / 'convert_hf_to_gguf.py', base, '--outtype', 'f32', '--outfile', base_gguf]
    packages = os.pathsep.join([f"{converter}/packages", f"{converter}/gguf-py"])
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": packages})

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tokens = torch.randint(0, model.config.vocab_size, (1, TOKENS), generator=torch.Generator().manual_seed(3))

    def logits_of(path: Path, lora: Path | None = None) -> torch.Tensor:
        llama = Llama(str(path), lora_path=lora and str(lora), n_ctx=TOKENS, logits_all=True, verbose=False)
        llama.eval(tokens[0].tolist())
        return torch.tensor(llama.scores[:TOKENS])

    with torch.no_grad():
        plain = model(tokens).logits[0]
        tuned = PeftModel.from_pretrained(model, adapter)(tokens).logits[0]

    def difference(one: torch.Tensor, other: torch.Tensor) -> float:
        return (one - other).abs().max().item()

    print(
        json.dumps(
            {
                'effect': difference(tuned, plain),
                'base': difference(plain, logits_of(base_gguf)),
                'adapter': difference(tuned, logits_of(base_gguf, adapter_gguf)),
                'merged': difference(tuned, logits_of(merged_gguf)),
            }
        )
    )


if __name__ == '__main__':
    work, *paths = sys.argv[1:]
    {'make': make, 'compare': compare}[work](*map(Path, paths))
