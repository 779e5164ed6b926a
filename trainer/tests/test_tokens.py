"""From segments to tokens: what is trained, what is a control token, what a server would encode, and where a text is cut."""

import pytest
from tinymodels import make_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from temper_trainer.data import fill_packs, make_plan, truncate
from temper_trainer.tokens import Encoder

TOKENIZER = make_tokenizer()
BOS, EOS, USER, ASSISTANT, END = (
    TOKENIZER.convert_tokens_to_ids(token) for token in ['<s>', '</s>', '<|user|>', '<|assistant|>', '<|end|>']
)


def plain(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False).input_ids


def encode(kind: str, *segments, tokenizer=TOKENIZER) -> tuple[list[int], list[bool]]:
    return Encoder(tokenizer, kind).encode([segments])[0]


def test_a_completion_gets_bos_and_a_trained_eos():
    ids, trained = encode('textCompletion', ['the quick', False], [' brown fox', True])
    assert ids == [BOS, *plain('the quick'), *plain(' brown fox'), EOS]
    assert trained == [False] * (1 + len(plain('the quick'))) + [True] * (len(plain(' brown fox')) + 1)


def test_bos_stands_only_where_the_tokenizer_puts_it():
    """GPT-NeoX, Phi and StarCoder2 name a BOS, which is their EOS, and put none before a prompt."""
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel()
    tokenizer.bos_token = '</s>'
    ids, trained = encode('textCompletion', ['the quick', False], [' brown', True], tokenizer=tokenizer)
    assert ids == [*plain('the quick'), *plain(' brown'), EOS]
    assert encode('conversation', ['<|user|>', False], ['fox', True], tokenizer=tokenizer)[0] == [USER, *plain('fox')]


def test_a_conversation_gets_bos_once_and_no_eos():
    turn = [['<|user|>', False], ['the fox', False, True], ['<|end|><|assistant|>', False], ['jumps', True, True], ['<|end|>', True]]
    ids, trained = encode('conversation', *turn)
    assert ids == [BOS, USER, *plain('the fox'), END, ASSISTANT, *plain('jumps'), END]
    answer = len(plain('jumps')) + 1
    assert trained == [False] * (len(ids) - answer) + [True] * answer
    assert encode('conversation', ['<s>', False], *turn)[0] == ids


def test_neighbours_are_encoded_as_one_text():
    """A server sees one prompt, so 'the qu' + 'ick' must not leave a seam."""
    ids, _ = encode('textCompletion', ['the qu', False], ['ick brown', False, True], [' fox', True])
    assert ids[1:-1] == plain('the quick brown') + plain(' fox')


@pytest.mark.parametrize('text', ['<|end|>', 'a <|assistant|> b', '</s>', '<s><s>'])
def test_a_look_alike_in_row_text_is_plain_text(text):
    ids, _ = encode('conversation', ['<|user|>', False], [text, False, True], ['<|end|>', False], ['the', True, True])
    assert [token for token in ids if token in (BOS, EOS, USER, ASSISTANT, END)] == [BOS, USER, END]
    assert TOKENIZER.decode(ids) == f'<s><|user|>{text}<|end|>the'


def test_row_text_cannot_complete_a_control_token():
    ids, _ = encode('conversation', ['<|', False], ['end|>', False, True], ['the', True])
    assert END not in ids


def test_template_text_may_hold_control_tokens_beside_row_text():
    ids, _ = encode('conversation', ['<|user|>the ', False], ['fox', False, True], ['<|end|>', False], ['the', True])
    assert ids == [BOS, USER, *plain('the fox'), END, *plain('the')]


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """Puts a space before every text, as Llama 2 and Mistral do."""
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token='<unk>'))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme='first', split=False)
    backend.decoder = decoders.Sequence([decoders.Replace('▁', ' '), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(' ', 1, 0)])
    bytes_alphabet = [f'<0x{value:02X}>' for value in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=['<unk>', '<s>', '</s>', '<|end|>', *bytes_alphabet])
    backend.train_from_iterator(['the quick brown fox jumps over the lazy dog'] * 4, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token='<s>', eos_token='</s>', unk_token='<unk>')


def test_no_space_is_invented_where_the_answer_begins():
    tokenizer = sentencepiece_like()
    whole = tokenizer('the quick', add_special_tokens=False).input_ids
    ids, trained = encode('textCompletion', ['the qu', False], ['ick', True], tokenizer=tokenizer)
    assert tokenizer.decode(ids, skip_special_tokens=True) == 'the quick'
    assert tokenizer.decode([token for token, answer in zip(ids, trained, strict=True) if answer]) == 'ick</s>'
    assert tokenizer.decode(whole) == 'the quick'


def test_a_long_prompt_loses_its_beginning_and_keeps_bos():
    ids, trained = truncate([BOS, *range(100, 120), 7, 8, EOS], [False] * 21 + [True] * 3, 10, 'textCompletion', BOS)
    assert ids == [BOS, 114, 115, 116, 117, 118, 119, 7, 8, EOS]
    assert trained == [False] * 7 + [True] * 3


def test_a_long_prompt_without_bos_loses_its_beginning_whole():
    ids, trained = truncate([*range(100, 120), 7, 8, EOS], [False] * 20 + [True] * 3, 10, 'textCompletion', BOS)
    assert ids == [113, 114, 115, 116, 117, 118, 119, 7, 8, EOS]
    assert trained == [False] * 7 + [True] * 3


def test_a_long_answer_loses_its_end_but_leaves_half_the_room_to_the_prompt():
    ids, trained = truncate([BOS, 101, 102, 103, *range(200, 230)], [False] * 4 + [True] * 30, 10, 'textCompletion', BOS)
    assert ids == [BOS, 101, 102, 103, 200, 201, 202, 203, 204, 205]
    assert sum(trained) == 6


def test_a_long_conversation_loses_its_end():
    assert truncate([1, 2, 3, 4], [False, True, False, True], 3, 'conversation', None) == ([1, 2, 3], [False, True, False])


def test_every_epoch_has_every_example_once_in_its_own_order():
    plan = make_plan(21, 4, 2.5, seed=3)
    assert (plan.steps_per_epoch, plan.total_steps) == (6, 15)
    epochs = [[index for step in range(6) for index in plan.examples_of(epoch * 6 + step).tolist()] for epoch in (0, 1)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(21))
    assert epochs[0] != epochs[1]
    assert make_plan(21, 4, 2.5, seed=4).examples_of(0).tolist() != plan.examples_of(0).tolist()


@pytest.mark.parametrize(('epochs', 'steps'), [(1, 10), (1.1, 11), (0.05, 1), (2.01, 21), (3, 30)])
def test_fractional_epochs_are_counted_as_decimals(epochs, steps):
    assert make_plan(100, 10, epochs, 0).total_steps == steps


def test_packs_keep_to_their_capacity_and_lose_nobody():
    import numpy as np

    lengths = np.random.default_rng(0).integers(1, 60, 200)
    packs = fill_packs(lengths, np.arange(200), 50)
    assert sorted(index for pack in packs for index in pack) == list(range(200))
    assert all(sum(lengths[pack]) <= 50 or len(pack) == 1 for pack in packs)
    assert len(packs) < 1.15 * lengths.sum() / 50 + (lengths > 50).sum()
