"""The event stream: one JSON object a line on what was stdout when the process began, and nothing else there."""

import json
import math
import os
import time

from temper_trainer.process import is_first

PROGRESS_INTERVAL_SECONDS = 1.0


class Events:
    """Owns the descriptor of the stream. `send` writes one whole line; a reader that is gone ends the process."""

    def __init__(self, descriptor: int, only: tuple[str, ...] | None = None):
        self.descriptor = descriptor
        self.only = only  # kinds of events that are sent; None: all
        self.progress_due = 0.0

    def send(self, event: str, **fields) -> None:
        if self.only is not None and event not in self.only:
            return
        line = json.dumps({'event': event, **fields}, ensure_ascii=False, allow_nan=False, separators=(',', ':')) + '\n'
        # A lone surrogate (a broken file name, say) has no UTF-8 form.
        rest = line.encode('utf-8', 'replace')
        while rest:
            rest = rest[os.write(self.descriptor, rest) :]

    def progress(self, stage: str, done: int, total: int | None, always: bool = False) -> None:
        """At most one a second, but for those that must be seen (the last of a stage)."""
        now = time.monotonic()
        if always or now >= self.progress_due:
            self.progress_due = now + PROGRESS_INTERVAL_SECONDS
            self.send('progress', stage=stage, done=done, total=total)

    def warn(self, code: str, message: str) -> None:
        self.send('warning', code=code, message=message)


def claim_stdout() -> Events:
    """Keeps the real stdout for events and points descriptor 1 at stderr, so that no library's print can break a line."""
    descriptor = os.dup(1)
    os.dup2(2, 1)
    # Of several ranks the first tells of the work; any may be the one that fails.
    return Events(descriptor, None if is_first() else ('failed', 'adapted'))


def finite_or_none(number: float) -> float | None:
    return number if math.isfinite(number) else None
