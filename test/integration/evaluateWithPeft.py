"""Evaluates a downloaded adapter with plain transformers and PEFT, one example at a time: nothing of Temper's own code.

    python evaluateWithPeft.py FOLDER accuracy|perplexity none|nf4 classification|completion|conversation

FOLDER holds the model's files, `base/` and the rendered `eval.jsonl`. Prints {"base": …, "tuned": …} as its last line.
"""

import json
import math
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

folder, metric, quantization, kind = Path(sys.argv[1]), *sys.argv[2:5]
tokenizer = AutoTokenizer.from_pretrained(folder / 'base')
options = {'dtype': torch.float32}
if quantization == 'nf4':
    options['quantization_config'] = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type='nf4', bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32
    )
base = AutoModelForCausalLM.from_pretrained(folder / 'base', **options)
model = PeftModel.from_pretrained(base, folder).eval()
examples = [json.loads(line) for line in (folder / 'eval.jsonl').read_text().splitlines()]
labels = sorted({example['label'] for example in examples if 'label' in example})


def encode(segments):
    """Token IDs and which of them count, segment by segment, with BOS and (but for conversations) EOS as training has them."""
    ids, counted = [], []
    if tokenizer.bos_token_id is not None and tokenizer('x')['input_ids'][0] == tokenizer.bos_token_id:
        ids, counted = [tokenizer.bos_token_id], [False]
    for segment in segments:
        literal = len(segment) > 2 and segment[2]
        tokens = tokenizer(segment[0], add_special_tokens=False, split_special_tokens=literal)['input_ids']
        ids += tokens
        counted += [segment[1]] * len(tokens)
    if kind != 'conversation':
        ids.append(tokenizer.eos_token_id)
        counted.append(True)
    elif len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
        ids, counted = ids[1:], counted[1:]
    return ids, counted


@torch.no_grad()
def nll(segments):
    ids, counted = encode(segments)
    scores = model(input_ids=torch.tensor([ids])).logits[0, :-1].float().log_softmax(-1)
    losses = [-scores[i, ids[i + 1]].item() for i in range(len(ids) - 1) if counted[i + 1]]
    return sum(losses), len(losses)


def accuracy():
    right = 0
    for example in examples:
        prompt, answer = example['segments'][:-1], example['segments'][-1]
        scored = {label: nll([*prompt, [label, True, *answer[2:]]])[0] for label in all_labels}
        right += min(scored, key=scored.get) == example['label']
    return right / len(examples)


def perplexity():
    sums = [nll(example['segments']) for example in examples]
    return math.exp(sum(loss for loss, _ in sums) / sum(count for _, count in sums))


# The labels of the whole job; the evaluation rows may lack one.
all_labels = sorted(set(labels) | {'red', 'green', 'blue', 'yellow'})
score = accuracy if metric == 'accuracy' else perplexity
tuned = score()
with model.disable_adapter():
    untuned = score()
print(json.dumps({'base': untuned, 'tuned': tuned}))
