"""What every side of the benchmark trains: a base model with random weights, an adapter to begin with, examples; and what that costs.

Random weights and random tokens cost a dense model as much as real ones.
"""

import json
import math
import random
import struct
from pathlib import Path

ROPE = {'rope_type': 'default', 'rope_theta': 500_000.0}
SHAPES = {
    'tiny': {'hidden_size': 128, 'num_hidden_layers': 4, 'num_attention_heads': 8, 'num_key_value_heads': 2, 'intermediate_size': 448,
             'vocab_size': 2048, 'max_position_embeddings': 4096, 'initializer_range': 0.1},
    '8b': {'hidden_size': 4096, 'num_hidden_layers': 32, 'num_attention_heads': 32, 'num_key_value_heads': 8, 'intermediate_size': 14336,
           'vocab_size': 128_256, 'max_position_embeddings': 8192},
    '70b': {'hidden_size': 8192, 'num_hidden_layers': 80, 'num_attention_heads': 64, 'num_key_value_heads': 8, 'intermediate_size': 28672,
            'vocab_size': 128_256, 'max_position_embeddings': 8192},
}  # fmt: skip
LORA = {'r': 16, 'lora_alpha': 32, 'lora_dropout': 0.0}
CONTROLS = ['<unk>', '<s>', '</s>', '<pad>']


def make_config(shape: str):
    from transformers import LlamaConfig

    return LlamaConfig(**SHAPES[shape], rope_parameters=ROPE, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2, pad_token_id=3)


def write_tokenizer(folder: Path, vocabulary: int) -> None:
    """A word a token: `w17` is token 17."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {
        **{word: number for number, word in enumerate(CONTROLS)},
        **{f'w{number}': number for number in range(len(CONTROLS), vocabulary)},
    }
    backend = Tokenizer(models.WordLevel(words, unk_token='<unk>'))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(single='<s> $A', pair='<s> $A $B', special_tokens=[('<s>', 1)])
    PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token='<s>', eos_token='</s>', pad_token='<pad>', unk_token='<unk>'
    ).save_pretrained(folder)


def write_model(folder: Path, shape: str, device: str) -> None:
    """Config, tokenizer and random weights (bfloat16 on a GPU, float32 on a CPU), and beside them `start`: an adapter whose B is zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = make_config(shape)
    write_tokenizer(folder, config.vocab_size)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32 if device == 'cpu' else torch.bfloat16)
    model.save_pretrained(folder)
    targets = ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj']
    get_peft_model(model, LoraConfig(**LORA, target_modules=targets, task_type='CAUSAL_LM')).save_pretrained(folder / 'start')


def write_outline(folder: Path, shape: str) -> None:
    """Config, tokenizer and the header of a weight file, without the weights: a hole in the file stands where they would be."""
    import torch
    from transformers import AutoModelForCausalLM

    config = make_config(shape)
    write_tokenizer(folder, config.vocab_size)
    config.save_pretrained(folder)
    with torch.device('meta'):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    header, end = {}, 0
    for name, tensor in model.state_dict().items():
        start, end = end, end + tensor.numel() * 2
        header[name] = {'dtype': 'BF16', 'shape': list(tensor.shape), 'data_offsets': [start, end]}
    text = json.dumps(header).encode()
    with open(folder / 'model.safetensors', 'wb') as file:
        file.write(struct.pack('<Q', len(text)) + text)
        file.truncate(8 + len(text) + end)


def make_rows(count: int, mean: float, longest: int, vocabulary: int, seed: int = 0) -> list[dict]:
    """Rendered examples with lengths as of instructions (log-normal, `mean` tokens); the second half of each is trained."""
    dice = random.Random(seed)
    spread = 0.8
    rows = []
    for line in range(1, count + 1):
        length = longest if mean >= longest else int(dice.lognormvariate(math.log(mean) - spread**2 / 2, spread))
        length = min(max(16, length), longest) - 2  # BOS and EOS come to them
        words = [f'w{dice.randrange(len(CONTROLS), vocabulary)}' for _ in range(length)]
        cut = length // 2
        rows.append({'line': line, 'segments': [[' '.join(words[:cut]), False, True], [' ' + ' '.join(words[cut:]), True, True]]})
    return rows


def flops_per_token(shape: str, lengths: list[int], trained_share: float) -> float:
    """Multiplications and additions of a model's forward and backward pass, those that must be made: 4 a frozen weight (nothing is
    summed up for a gradient of its own), the output layer for trained tokens alone, and causal attention within each example.
    Recomputed activations and padding do not count: they are the trainer's own affair."""
    size = SHAPES[shape]
    hidden, layers = size['hidden_size'], size['num_hidden_layers']
    shared = size['num_key_value_heads'] / size['num_attention_heads']
    block = 2 * hidden * hidden * (1 + shared) + 3 * hidden * size['intermediate_size']
    pairs = sum(length**2 for length in lengths) / sum(lengths) / 2  # that a token sees, on average
    attention = 3 * 4 * hidden * layers * pairs
    return 4 * (layers * block + size['vocab_size'] * hidden * trained_share) + attention
