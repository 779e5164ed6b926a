"""Which tokens our segments train beside what `apply_chat_template(tokenize=True, return_assistant_tokens_mask=True)` gives.

    masks.py CASES.jsonl CONVERSATIONS.jsonl NOW

A case is `{template, conversation, segments}`; `conversation` is the place in CONVERSATIONS, `marked` says that the template prints
`unk_token` around what is trained. Prints one JSON object: how many were compared, and the first that differ.
"""

import json
import re
import sys
from pathlib import Path

from reference import SPECIAL_TOKENS, freeze_time, render_jinja_template
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).parents[2] / 'trainer'))
from temper_trainer.tokens import Encoder  # noqa: E402

CONTROLS = ['<|im_start|>', '<|im_end|>', '<|eot_id|>', '<|start_header_id|>', '<|end_header_id|>']


def make_tokenizer(texts, merges=0, adds_bos=False):
    """Byte-level BPE; without merges, one token a character."""
    backend = Tokenizer(models.BPE())
    special = [*SPECIAL_TOKENS.values(), *CONTROLS]
    if merges:
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        backend.decoder = decoders.Fuse()
        alphabet = sorted(set().union(*texts))
    size = len(alphabet) + len(special) + merges
    backend.train_from_iterator(
        texts[:200] if merges else [], trainers.BpeTrainer(vocab_size=size, special_tokens=special, initial_alphabet=alphabet)
    )
    if adds_bos:
        backend.post_processor = processors.TemplateProcessing(
            single='<s> $A', pair='<s> $A $B', special_tokens=[('<s>', backend.token_to_id('<s>'))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, additional_special_tokens=CONTROLS, **SPECIAL_TOKENS)


def expect(tokenizer, case, context):
    """Token IDs and mask as transformers computes them; for a marked template from the places of the markers."""
    messages, tools = context['messages'], context.get('tools')
    if not case.get('marked'):
        encoded = tokenizer.apply_chat_template(
            messages, tools=tools, chat_template=case['template'], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
        return encoded['input_ids'], encoded['assistant_masks']
    given = {**SPECIAL_TOKENS, 'unk_token': '\x00', 'mode': 'train'}
    parts = render_jinja_template([messages], tools=tools, chat_template=case['template'], **given)[0][0].split('\x00')
    ids, mask = [], []
    for index, part in enumerate(parts):
        tokens = tokenizer(part, add_special_tokens=False).input_ids
        ids += tokens
        mask += [index % 2] * len(tokens)
    return ids, mask


def main():
    cases_path, conversations_path, now = sys.argv[1:]
    freeze_time(now)
    contexts = [json.loads(line)['context'] for line in open(conversations_path, encoding='utf-8')]
    cases = [json.loads(line) for line in open(cases_path, encoding='utf-8')]
    result = {'compared': len(cases), 'different': [], 'sameTokens': 0, 'doubleBos': 0, 'otherText': 0}
    texts = [''.join(segment[0] for segment in case['segments']) for case in cases]
    plain, merged, with_bos = make_tokenizer(texts), make_tokenizer(texts, merges=600), make_tokenizer(texts, adds_bos=True)
    encoders = [Encoder(tokenizer, 'conversation') for tokenizer in (plain, merged, with_bos)]
    for case in cases:
        context = contexts[case['conversation']]
        ours = [encoder.encode([case['segments']])[0] for encoder in encoders]
        # A token a character: what is trained is the same to the token.
        try:
            ids, mask = expect(plain, case, context)
        except Exception as error:  # what transformers refuses, we must refuse too
            result['different'].append({**case, 'expected': f'{type(error).__name__}: {error}'})
            continue
        if ours[0][0] != ids or [int(flag) for flag in ours[0][1]] != mask:
            result['different'].append({**case, 'ours': show(plain, *ours[0]), 'expected': show(plain, ids, mask)})
        # With merges, a server's token may reach across the border of an answer; ours never do.
        ids, mask = expect(merged, case, context)
        result['sameTokens'] += ours[1][0] == ids and [int(flag) for flag in ours[1][1]] == mask
        result['otherText'] += merged.decode(ours[1][0]) != merged.decode(ids)
        # A tokenizer that adds BOS, and a template that prints it: one BOS. A template that prints none gets one.
        bos = with_bos.bos_token_id
        result['doubleBos'] += ours[2][0][:1] != [bos] or ours[2][0][1:2] == [bos]
    result['different'] = result['different'][:20]
    print(json.dumps(result))


def show(tokenizer, ids, mask):
    """The text, what is trained of it between ⟦ and ⟧."""
    marked = ''
    for trained, group in re.compile('(1+)|(0+)').findall(''.join(str(int(flag)) for flag in mask)):
        count = len(trained or group)
        text = tokenizer.decode(ids[:count])
        ids = ids[count:]
        marked += f'⟦{text}⟧' if trained else text
    return marked


if __name__ == '__main__':
    main()
