"""Names of the files of a model's folder, for modules that must not import one another's libraries."""

TOKENIZER_FILES = (
    'tokenizer.json',
    'tokenizer.model',
    'tokenizer_config.json',
    'special_tokens_map.json',
    'added_tokens.json',
    'vocab.json',
    'merges.txt',
    'chat_template.jinja',
)
