"""Finds the chat templates in folders of unpacked packages and prints them as JSON lines `{source, path, template}`, each text once.

    gather.py SOURCE=FOLDER...

A template stands in a file of its own (.jinja, .jinja2, .j2), as a string in JSON, or as a literal in Python or JavaScript.
Nothing of a package is run.
"""

import ast
import json
import re
import sys
import warnings
from pathlib import Path

STATEMENT = re.compile(r'\{%[-+]?\s*(for|if|set|macro)\b')
# The string literals of JavaScript that hold no expression are Python's too.
LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\'')
MAX_FILE_BYTES = 40_000_000


def is_template(text):
    return isinstance(text, str) and 40 < len(text) < 60_000 and 'messages' in text and STATEMENT.search(text) is not None


def strings_of(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings_of(item)


def texts_of(path):
    """Every text in a file that might be a template."""
    source = path.read_text(encoding='utf-8')
    if path.suffix in ('.jinja', '.jinja2', '.j2'):
        yield source
    elif '{%' not in source:
        return
    elif path.suffix == '.json':
        yield from strings_of(json.loads(source))
    elif path.suffix == '.py':
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant):
                yield node.value
    else:
        for literal in LITERAL.findall(source):
            if '{%' in literal:
                yield ast.literal_eval(literal)


def main():
    warnings.simplefilter('ignore')  # about escapes in other people's Python
    seen = set()
    for argument in sys.argv[1:]:
        source, folder = argument.split('=', 1)
        for path in sorted(Path(folder).rglob('*')):
            if path.suffix not in ('.jinja', '.jinja2', '.j2', '.json', '.py', '.ts') or not path.is_file():
                continue
            if path.stat().st_size > MAX_FILE_BYTES:
                continue
            try:
                texts = [text for text in texts_of(path) if is_template(text)]
            except (ValueError, SyntaxError):  # not UTF-8, not JSON, not Python
                continue
            for text in texts:
                if text not in seen:
                    seen.add(text)
                    print(json.dumps({'source': source, 'path': str(path.relative_to(folder)), 'template': text}))


main()
