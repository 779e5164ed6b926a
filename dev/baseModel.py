"""Makes Temper's own small base model: a tokenizer and a Llama, pretrained for half a minute on examples/pretraining.

    trainer/.venv/bin/python dev/baseModel.py OUTPUT_FOLDER

What comes out loads with `AutoModelForCausalLM` and `AutoTokenizer`, has a chat template, and has read some English, so that an
adapter has something to build on. It never sees a row of the files that the examples upload as datasets, nor a request with its
intent: examples/README.md says which text is for what. The same versions, processor and data give the same bytes: two threads, one seed.
"""

# ruff: noqa: E402 (what is imported below would read the environment too early)

import hashlib
import json
import math
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# Read when a process starts, by its allocator and by its pool of threads. Freed memory stays with the process, since handing the
# large blocks of every step back costs a quarter of the time; and a thread that waits sleeps, since where others want the
# processors too, one that spins takes the time that the thread it waits for needs.
RUNTIME = {'MALLOC_MMAP_THRESHOLD_': str(2**32), 'MALLOC_TRIM_THRESHOLD_': str(2**33), 'OMP_WAIT_POLICY': 'passive'}
if __name__ == '__main__' and not RUNTIME.items() <= os.environ.items():
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **RUNTIME})

import tokenizers
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

NAME = 'temper-tiny'
DATA = Path(__file__).resolve().parent.parent / 'examples' / 'pretraining'

SEED = 1
THREADS = 2
VOCABULARY = 2048
HIDDEN = 192
LAYERS = 2
HEADS = 4
MLP = 512
MAX_POSITIONS = 2048
# Tokens at most this far apart count as company of each other.
WINDOW = 8

ROW_TOKENS = 128
BATCH_ROWS = 8
STEPS = 400
WARMUP_STEPS = 20
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.1
MAX_GRAD_NORM = 1.0
# Utterances of one subject follow one another, as in a help page: what comes next then depends on what the text is about.
UTTERANCES_TOGETHER = 10
# Of a long document the beginning is read: a few of them would else be most of the text.
DOCUMENT_TOKENS = 128

PAD, BEGIN, END, UNKNOWN = '<|pad|>', '<|begin|>', '<|end|>', '<|unknown|>'
SYSTEM, USER, ASSISTANT, END_OF_TURN = '<|system|>', '<|user|>', '<|assistant|>', '<|end_of_turn|>'
CONTROL_TOKENS = [PAD, BEGIN, END, UNKNOWN, SYSTEM, USER, ASSISTANT, END_OF_TURN]

CHAT_TEMPLATE = """\
{{- bos_token -}}
{%- for message in messages -%}
  {%- if message['role'] not in ['system', 'user', 'assistant'] -%}
    {{- raise_exception('The role must be system, user or assistant, not ' + message['role']) -}}
  {%- endif -%}
  {{- '<|' + message['role'] + '|>\\n' -}}
  {%- if message['role'] == 'assistant' -%}
    {%- generation -%}
    {{- message['content'] + '<|end_of_turn|>' -}}
    {%- endgeneration -%}
  {%- else -%}
    {{- message['content'] + '<|end_of_turn|>' -}}
  {%- endif -%}
  {{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
  {{- '<|assistant|>\\n' -}}
{%- endif -%}
"""


def main(output: Path) -> None:
    started = time.perf_counter()
    torch.set_num_threads(THREADS)
    torch.manual_seed(SEED)
    random.seed(SEED)

    utterances = [row['utterances'] for row in read_rows('utterances.jsonl')]
    instructions = [write_instruction(row) for row in read_rows('instructions.jsonl')]
    conversations = [row['messages'] for row in read_rows('conversations.jsonl')]

    tokenizer = train_tokenizer(utterances, instructions, conversations)
    chats = [tokenizer.apply_chat_template(messages, tokenize=False) for messages in conversations]
    corpus = Corpus(tokenizer, utterances, [tokenizer.bos_token + text for text in instructions] + chats)
    say(f'Tokenizer of {len(tokenizer)} tokens', started)

    model = make_model(tokenizer)
    count = sum(parameter.numel() for parameter in model.parameters())
    with torch.no_grad():
        model.model.embed_tokens.weight.copy_(make_embeddings(corpus))
    say(f'Llama of {count:,} parameters, embeddings from the company that tokens keep', started)
    loss = pretrain(model, corpus, started)

    # A folder that is there is whole.
    draft = output.with_name(f'{output.name}.draft-{os.getpid()}')
    try:
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        description = describe(count, loss)
        (draft / 'model.json').write_text(json.dumps(description, indent=2) + '\n')
        draft.rename(output)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    say(f'Saved to {output}', started)


def say(text: str, started: float) -> None:
    print(f'{text} ({time.perf_counter() - started:.1f} s)', flush=True)


def read_rows(name: str) -> list[dict]:
    return [json.loads(line) for line in (DATA / name).read_text().splitlines()]


def write_instruction(row: dict) -> str:
    return '\n'.join(part for part in (row['instruction'], row['input'], row['output']) if part)


def train_tokenizer(utterances: list[list[str]], instructions: list[str], conversations: list[list[dict]]) -> PreTrainedTokenizerFast:
    """Byte-level BPE: any text has tokens, and decoding gives it back."""
    backend = Tokenizer(models.BPE(unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    # The utterances count three times: they are a third of the text, and what the model is for.
    texts = 3 * [text for of_subject in utterances for text in of_subject] + instructions
    texts += [message['content'] for messages in conversations for message in messages]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=CONTROL_TOKENS, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(texts, trainer)
    begin = (BEGIN, backend.token_to_id(BEGIN))
    backend.post_processor = processors.TemplateProcessing(single=f'{BEGIN} $A', pair=f'{BEGIN} $A {BEGIN} $B', special_tokens=[begin])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT, END_OF_TURN],
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_POSITIONS,
        clean_up_tokenization_spaces=False,
    )


class Corpus:
    """The text as tokens. A pass over it takes documents, and lists of utterances of one subject, in a new order."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, utterances: list[list[str]], documents: list[str]):
        self.begin, self.end = tokenizer.bos_token_id, tokenizer.eos_token_id
        [self.newline] = tokenizer('\n', add_special_tokens=False).input_ids
        self.vocabulary = len(tokenizer)
        self.subjects = [tokenizer(texts, add_special_tokens=False).input_ids for texts in utterances]
        encoded = tokenizer(documents, add_special_tokens=False, verbose=False).input_ids
        self.documents = [tokens[:DOCUMENT_TOKENS] for tokens in encoded]

    def lines(self) -> Iterator[list[int]]:
        for subject in self.subjects:
            yield from subject
        yield from self.documents

    def rows(self) -> Tensor:
        """One pass as rows of ROW_TOKENS tokens [rows, ROW_TOKENS], documents one after the other; a remainder is left out."""
        documents = [[*document, self.end] for document in self.documents]
        for subject in self.subjects:
            shuffled = random.sample(subject, len(subject))
            for first in range(0, len(shuffled), UTTERANCES_TOGETHER):
                together = shuffled[first : first + UTTERANCES_TOGETHER]
                text = [token for utterance in together for token in (*utterance, self.newline)]
                documents.append([self.begin, *text[:-1], self.end])
        random.shuffle(documents)
        tokens = torch.tensor([token for document in documents for token in document])
        return tokens[: len(tokens) // ROW_TOKENS * ROW_TOKENS].view(-1, ROW_TOKENS)


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama with its input embeddings as output layer, initialised so that every layer keeps the scale of what it reads."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=MLP,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            for name, weight in layer.named_parameters():
                if weight.ndim == 2:
                    into_residual = name.endswith(('o_proj.weight', 'down_proj.weight'))
                    weight.normal_(0, (2 * LAYERS if into_residual else 1) ** -0.5 * weight.shape[1] ** -0.5)
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END_OF_TURN)]
    model.generation_config = GenerationConfig(bos_token_id=tokenizer.bos_token_id, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    return model


def make_embeddings(corpus: Corpus) -> Tensor:
    """Embeddings [vocabulary, HIDDEN] of length 1 from which tokens stand near each other: the positive pointwise mutual
    information of tokens at most WINDOW apart in a document, reduced by a singular value decomposition (Levy, Goldberg and
    Dagan, "Improving Distributional Similarity", 2015). It takes a second, where training alone would take minutes."""
    lines = list(corpus.lines())
    tokens = torch.tensor([token for line in lines for token in line])
    line_of = torch.repeat_interleave(torch.tensor([len(line) for line in lines]))
    size = corpus.vocabulary
    counts = torch.zeros(size * size)
    for distance in range(1, WINDOW + 1):
        together = line_of[:-distance] == line_of[distance:]
        pairs = (tokens[:-distance] * size + tokens[distance:])[together]
        counts += torch.bincount(pairs, minlength=size * size) / (1 + (distance - 1) / 4)
    counts = counts.view(size, size)
    counts = counts + counts.T
    of_token = counts.sum(1)
    # The power of 0.75 keeps rare tokens from looking informative.
    of_context = of_token**0.75 / (of_token**0.75).sum()
    information = torch.where(counts > 0, counts / (of_token[:, None] * of_context), 1.0).log().clamp_min(0)
    left, singular, _ = torch.svd_lowrank(information, q=HIDDEN, niter=4)
    embeddings = torch.nn.functional.normalize(left * singular.sqrt())
    # Tokens that the text lacks have no company: any direction will do.
    return torch.where(of_token[:, None] > 0, embeddings, torch.nn.functional.normalize(torch.randn(size, HIDDEN)))


def pretrain(model: LlamaForCausalLM, corpus: Corpus, started: float) -> float:
    """Next-token training over STEPS batches, the learning rate falling linearly. Returns the mean loss of the last twentieth, in nats."""
    matrices = [parameter for layer in model.model.layers for parameter in layer.parameters() if parameter.ndim == 2]
    chosen = set(map(id, matrices))
    others = [parameter for parameter in model.parameters() if id(parameter) not in chosen]
    groups = [{'params': matrices, 'weight_decay': WEIGHT_DECAY}, {'params': others, 'weight_decay': 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.95), fused=True)
    model.train()
    losses: list[float] = []
    for step, batch in enumerate(read_batches(corpus)):
        if step == STEPS:
            break
        for group in optimizer.param_groups:
            group['lr'] = LEARNING_RATE * min(1, (step + 1) / WARMUP_STEPS) * (1 - step / STEPS)
        loss = model(batch, labels=batch, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if (step + 1) % (STEPS // 5) == 0:
            say(f'Pretraining: step {step + 1} of {STEPS}, loss {sum(losses[-20:]) / 20:.2f}', started)
    model.eval()
    last = losses[-math.ceil(STEPS / 20) :]
    return sum(last) / len(last)


def read_batches(corpus: Corpus) -> Iterator[Tensor]:
    """Batches [BATCH_ROWS, ROW_TOKENS] without end."""
    while True:
        rows = corpus.rows()
        rows = rows[torch.randperm(len(rows))]
        yield from rows[: len(rows) // BATCH_ROWS * BATCH_ROWS].split(BATCH_ROWS)


def describe(parameters: int, loss: float) -> dict:
    inputs = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in [Path(__file__), *sorted(DATA.glob('*.jsonl'))]}
    return {
        'name': NAME,
        'architecture': 'LlamaForCausalLM',
        'parameters': parameters,
        'pretraining': {'steps': STEPS, 'tokens': STEPS * BATCH_ROWS * ROW_TOKENS, 'loss': round(loss, 4), 'seed': SEED},
        'versions': {'torch': torch.__version__, 'transformers': transformers.__version__, 'tokenizers': tokenizers.__version__},
        'inputs': inputs,
    }


if __name__ == '__main__':
    if len(sys.argv) != 2:
        sys.exit(f'usage: {sys.argv[0]} OUTPUT_FOLDER')
    main(Path(sys.argv[1]).resolve())
