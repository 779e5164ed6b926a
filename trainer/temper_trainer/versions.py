"""Versions of everything that has a say in the result, without importing any of it."""

import platform
from importlib import metadata

PACKAGES = ('temper-trainer', 'torch', 'transformers', 'peft', 'accelerate', 'bitsandbytes', 'tokenizers', 'safetensors', 'numpy')


def versions() -> dict[str, str]:
    return {'python': platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}
