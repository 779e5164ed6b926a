"""Imported once by the server from which the tests' trainer processes are forked: the imports take longer than the tests."""

import sys

from temper_trainer.__main__ import UNUSED_IMPORTS

for name in (*UNUSED_IMPORTS, 'bitsandbytes'):
    sys.modules[name] = None

import temper_trainer.evaluate  # noqa: E402
import temper_trainer.train  # noqa: E402, F401
