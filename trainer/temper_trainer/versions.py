"""Versions of everything that has a say in the result, without importing any of it."""

import platform
from importlib import metadata

PACKAGES = ('temper-trainer', 'torch', 'transformers', 'peft', 'accelerate', 'bitsandbytes', 'tokenizers', 'safetensors', 'numpy')


def versions() -> dict[str, str]:
    """Without those that are not installed: bitsandbytes is needed for 4 bits alone, and this package can be run from its folder."""
    found = {'python': platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
