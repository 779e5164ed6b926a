"""What the trainer makes of segments: tokenizers of the families made here, and examples encoded and cut by the trainer's own code.

python trainerTokens.py make EXAMPLES FOLDER     makes the models below FOLDER, as the hub has them, and goes on with them all
python trainerTokens.py encode EXAMPLES MODEL…   EXAMPLES: JSON [{kind, cutoff, segments}]; prints per model [[ids, trained], …]
"""

import json
import os
import sys
from pathlib import Path

os.environ['HF_HUB_OFFLINE'] = '1'
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / 'trainer'))

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from temper_trainer.data import truncate
from temper_trainer.tokens import Encoder

TEXT = [
    'the quick brown fox jumps over the lazy dog; naïve café, 12345 tokens. "It\'s" fine, they\'ll say:\n\n  return x_1 + 42\n',
    'Grüße aus Köln! Привет, мир. こんにちは世界 안녕하세요 שלום 🙂👩\u200d👩\u200d👧 1٢३ ½ ²',
    'a\u0085\u0085b \ufeff\ufeffc' * 9,
    '<|user|> <s>[INST] hello [/INST]</s> <|im_start|>assistant\n',
] * 3
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
CONTROLS = ['<|begin|>', '<|end|>', '<|eot_id|>', '<|im_start|>', '<|im_end|>']


def byte_level(pre_tokenizer, size=700, special=(), normalizer=None, ignore_merges=False) -> Tokenizer:
    backend = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    backend.pre_tokenizer = pre_tokenizer
    if normalizer:
        backend.normalizer = normalizer
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=size, special_tokens=list(special), initial_alphabet=alphabet))
    return backend


def sentencepiece_like(normalizer, pre_tokenizer) -> Tokenizer:
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token='<unk>', fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme='first', split=False)
    pieces = ['<unk>', '<s>', '</s>', *(f'<0x{value:02X}>' for value in range(256))]
    backend.train_from_iterator(TEXT[:1] * 4, trainers.BpeTrainer(vocab_size=500, special_tokens=pieces))
    made = json.loads(backend.to_str())
    made['added_tokens'] = [token for token in made['added_tokens'] if token['id'] < 3]
    backend = Tokenizer.from_str(json.dumps(made))
    backend.normalizer, backend.pre_tokenizer = normalizer, pre_tokenizer
    backend.post_processor = processors.TemplateProcessing(single='<s> $A', pair='<s> $A $B', special_tokens=[('<s>', 1)])
    return backend


def save(folder: Path, backend: Tokenizer, family: str, class_name: str, **names) -> str:
    PreTrainedTokenizerFast(tokenizer_object=backend, **names).save_pretrained(folder)
    path = folder / 'tokenizer_config.json'
    config = json.loads(path.read_text())
    config['tokenizer_class'] = class_name
    path.write_text(json.dumps(config))
    (folder / 'config.json').write_text(json.dumps({'model_type': family}))
    return str(folder)


def make(folder: Path) -> list[str]:
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
    split = pre_tokenizers.Split(Regex(LLAMA3), 'isolated')
    raw = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    llama3 = byte_level(pre_tokenizers.Sequence([split, raw]), ignore_merges=True)
    llama3.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROLS])
    llama3.add_tokens([AddedToken('<tool>', normalized=False), AddedToken('LOUD', lstrip=True, rstrip=True, normalized=False)])
    begin = llama3.token_to_id('<|begin|>')
    llama3.post_processor = processors.TemplateProcessing(single='<|begin|> $A', pair='$A $B', special_tokens=[('<|begin|>', begin)])
    digits = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2])
    end_of_text = {'bos_token': '<|endoftext|>', 'eos_token': '<|endoftext|>', 'unk_token': '<|endoftext|>'}
    old_llama = normalizers.Sequence([normalizers.Prepend('▁'), normalizers.Replace(' ', '▁')])
    pieces = {'bos_token': '<s>', 'eos_token': '</s>', 'unk_token': '<unk>'}
    spaces = pre_tokenizers.Split(' ', 'merged_with_previous')
    return [
        save(folder / 'plain', byte_level(gpt2, special=CONTROLS), 'llama', 'PreTrainedTokenizerFast', eos_token='<|end|>'),
        save(folder / 'llama3', llama3, 'llama', 'PreTrainedTokenizerFast', bos_token='<|begin|>', eos_token='<|eot_id|>'),
        save(folder / 'llama2', sentencepiece_like(old_llama, None), 'llama', 'LlamaTokenizer', **pieces),
        save(folder / 'mistral', sentencepiece_like(old_llama, None), 'mistral', 'LlamaTokenizer', **pieces),
        save(
            folder / 'metaspace',
            sentencepiece_like(None, pre_tokenizers.Metaspace(prepend_scheme='always')),
            'mistral',
            'LlamaTokenizerFast',
            **pieces,
        ),
        save(folder / 'gemma', sentencepiece_like(normalizers.Replace(' ', '▁'), spaces), 'gemma', 'GemmaTokenizer', **pieces),
        save(folder / 'gemma-raw', sentencepiece_like(normalizers.Replace(' ', '▁'), spaces), 'gemma', 'PreTrainedTokenizerFast', **pieces),
        save(
            folder / 'qwen2',
            byte_level(gpt2, special=['<|endoftext|>', '<|im_start|>', '<|im_end|>']),
            'qwen2',
            'Qwen2Tokenizer',
            eos_token='<|im_end|>',
        ),
        save(folder / 'starcoder2', byte_level(digits, special=['<|endoftext|>']), 'starcoder2', 'GPT2TokenizerFast', **end_of_text),
        save(folder / 'digits', byte_level(digits, special=['<|endoftext|>']), 'stablelm', 'GPT2TokenizerFast', **end_of_text),
        save(folder / 'phi', byte_level(gpt2, special=['<|endoftext|>']), 'phi', 'CodeGenTokenizer', **end_of_text),
        save(
            folder / 'neox',
            byte_level(gpt2, special=['<|endoftext|>', '<|padding|>'], normalizer=normalizers.NFC()),
            'gpt_neox',
            'GPTNeoXTokenizer',
            **end_of_text,
        ),
    ]


def encode(examples: list[dict], folder: str) -> list:
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    encoders = {kind: Encoder(tokenizer, kind) for kind in {example['kind'] for example in examples}}
    made = []
    for example in examples:
        ids, trained = encoders[example['kind']].encode([example['segments']])[0]
        ids, trained = truncate(ids, trained, example['cutoff'], example['kind'], tokenizer.bos_token_id)
        made.append([ids, [flag and index > 0 for index, flag in enumerate(trained)]])
    return made


if __name__ == '__main__':
    given = json.loads(Path(sys.argv[2]).read_text())
    folders = sys.argv[3:] if sys.argv[1] == 'encode' else make(Path(sys.argv[3]))
    print(json.dumps({folder: encode(given, folder) for folder in folders}))
