"""Renders templates as `transformers` does.

    reference.py TEMPLATES.jsonl CONVERSATIONS.jsonl NOW > RESULTS.jsonl

A line of TEMPLATES is `{template}`, tried with every conversation, or `{template, context}`, tried with that alone. Each line of the result
belongs to one template: `{results}`, with `error` when it does not compile. `results` has for each case `[text]`, or `[text, spans]` for a
template with generation tags (spans in code points), or the name of the exception; or the number of the earlier case that gave the same.
"""

import datetime
import json
import re
import resource
import signal
import sys
import warnings

from transformers.utils import chat_template_utils
from transformers.utils.chat_template_utils import _cached_compile_jinja_template, render_jinja_template

SPECIAL_TOKENS = {'bos_token': '<s>', 'eos_token': '</s>', 'pad_token': '<pad>', 'unk_token': '<unk>'}
LIMIT_SECONDS = 5
LIMIT_BYTES = 2_000_000_000
GENERATION = re.compile(r'\{%[-+]?\s*generation\b')


def freeze_time(now):
    class Frozen(datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls.fromisoformat(now)

    chat_template_utils.datetime = Frozen


def read_cases(path):
    """Every conversation with and without the prompt for an answer."""
    for line in open(path, encoding='utf-8'):
        context = json.loads(line)['context']
        for prompt in (False, True):
            yield {'add_generation_prompt': prompt, **SPECIAL_TOKENS, **context}


def give_up(signal_number, frame):
    raise TimeoutError


def render(template, context, tracked):
    more = dict(context)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_SECONDS)
    try:
        rendered, spans = render_jinja_template(
            conversations=[more.pop('messages')], chat_template=template, return_assistant_tokens_mask=tracked, **more
        )
    except Exception as error:  # whatever Python raises, we must refuse too
        return type(error).__name__
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return [rendered[0], spans[0]] if tracked else [rendered[0]]


def main():
    templates_path, cases_path, now = sys.argv[1:]
    freeze_time(now)
    signal.signal(signal.SIGALRM, give_up)
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT_BYTES, LIMIT_BYTES))
    warnings.simplefilter('ignore')  # about the Python that odd templates become
    cases = list(read_cases(cases_path))
    for line in open(templates_path, encoding='utf-8'):
        given = json.loads(line)
        template = given['template']
        try:
            _cached_compile_jinja_template(template)
        except Exception as error:
            print(json.dumps({'error': type(error).__name__, 'results': []}))
            continue
        tracked = GENERATION.search(template) is not None
        first, results = {}, []
        for context in [given['context']] if 'context' in given else cases:
            result = render(template, context, tracked)
            key = json.dumps(result)
            results.append(first[key] if key in first else result)
            first.setdefault(key, len(results) - 1)
        print(json.dumps({'results': results}))


if __name__ == '__main__':
    main()
