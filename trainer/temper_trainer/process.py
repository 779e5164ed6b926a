"""What the process owes to whoever started it: it dies with its parent, and SIGTERM is a request that stages look at."""

import ctypes
import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import NoReturn

from temper_trainer.failures import Interrupted

PR_SET_PDEATHSIG = 1


def local_rank() -> int:
    """Of a process that torchrun started, its number on this machine; 0 of one that is alone."""
    return int(os.environ.get('LOCAL_RANK', 0))


def is_first() -> bool:
    """True for the process that tells of the work and keeps its files."""
    return os.environ.get('RANK', '0') == '0'


def die_with_parent() -> None:
    """With TEMPER_PARENT_PID set, a SIGKILL follows the parent's death: a killed worker must not leave a trainer on the GPU."""
    expected = os.environ.get('TEMPER_PARENT_PID')
    if not expected:
        return
    if sys.platform == 'linux':
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before the call above: then nobody will ever send the signal. A rank's parent is torchrun, whose
    # parent is the worker.
    parent = str(os.getppid())
    if 'TORCHELASTIC_RUN_ID' in os.environ:
        parent = parent_of(parent)
    if parent != expected:
        os._exit(1)


def be_killed_first() -> None:
    """Where memory runs out, the kernel chooses this process and not its parent, which tells what befell it and starts another."""
    if not os.environ.get('TEMPER_PARENT_PID'):
        return
    try:
        with open('/proc/self/oom_score_adj', 'w', encoding='ascii') as file:
            file.write('500')
    except OSError:
        pass  # Not Linux, or a sandbox that does not allow it.


def parent_of(pid: str) -> str:
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8', errors='replace') as file:
            return file.read().rsplit(')', 1)[1].split()[1]
    except OSError:
        return ''


@contextmanager
def uncollected():
    """For imports: of the million objects that they make, nearly all stay. The collector, which would walk them again and
    again, rests meanwhile and leaves them out later: a third of the time of importing torch and transformers."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def leave(code: int) -> NoReturn:
    """Ends the process without taking the interpreter apart first, which with torch loaded takes two seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


class StopRequest:
    """Set by SIGTERM, and by SIGINT, which Ctrl-C sends to a worker and its trainer alike. Stages without a checkpoint of their
    own call `check`; training looks at `wanted`."""

    def __init__(self):
        self.wanted = False
        self.at_once = False

    def listen(self, leave_at_once: Callable[[], NoReturn]) -> None:
        self.leave_at_once = leave_at_once
        signal.signal(signal.SIGTERM, self._ask)
        signal.signal(signal.SIGINT, self._ask)

    def _ask(self, _signal, _frame) -> None:
        self.wanted = True
        if self.at_once:
            self.leave_at_once()

    @contextmanager
    def nothing_to_keep(self):
        """Work that takes minutes and leaves nothing, such as loading a model, is left wherever it is: by the end of the process, not
        by an exception, which the import or the library that is at work may wrap in one of its own, or swallow."""
        self.at_once = True  # before the look at what came so far: a signal between the two must not wait for the work's end
        try:
            self.check()
            yield
        finally:
            self.at_once = False

    def check(self) -> None:
        if self.wanted:
            raise Interrupted(0)


class TimeLimit:
    """Seconds that a work may take, counted from here; None: as many as it needs."""

    def __init__(self, seconds: float | None):
        self.ends = None if seconds is None else time.monotonic() + seconds

    @property
    def reached(self) -> bool:
        return self.ends is not None and time.monotonic() >= self.ends


class Stopwatch:
    """Seconds by part of the work, for the `completed` event."""

    def __init__(self):
        self.seconds: dict[str, float] = {}

    @contextmanager
    def part(self, name: str):
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds

    def rounded(self) -> dict[str, float]:
        return {name: round(seconds, 3) for name, seconds in self.seconds.items()}
