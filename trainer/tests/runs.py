"""Three ways to run a spec: in this process, in a forked process that can be killed, and as `python -m temper_trainer`."""

import json
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from temper_trainer.events import Events
from temper_trainer.process import StopRequest, Stopwatch
from temper_trainer.spec import EvaluateSpec, MergeSpec, TrainSpec, VerifySpec, read_spec

forks = multiprocessing.get_context('forkserver')
forks.set_forkserver_preload(['preloaded'])
DEADLINE_SECONDS = 600  # of what hangs: the first process waits for imports, from a cold disk beside other tests


def run_here(spec: dict) -> list[dict]:
    """The events. Failures are raised."""
    from temper_trainer.evaluate import evaluate
    from temper_trainer.merge import merge
    from temper_trainer.train import train
    from temper_trainer.verify import verify

    path, stream = write_spec(spec)
    checked = read_spec(str(path))
    descriptor = os.open(stream, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        events = Events(descriptor)
        work = {TrainSpec: train, EvaluateSpec: evaluate, VerifySpec: verify, MergeSpec: merge}[type(checked)]
        completed = work(checked, events, StopRequest(), Stopwatch())
        events.send('completed', **completed)
    finally:
        os.close(descriptor)
    return read_events(stream)


def run_command(spec: dict, before: str | None = None, **environment: str) -> tuple[int, list[dict]]:
    """Exit code and events of the real command; with `before`, a function of faults.py, of the same program after that."""
    path, stream = write_spec(spec)
    with open(stream, 'w') as out:
        command = [sys.executable, '-m', 'temper_trainer', path]
        if before:
            script = f'import sys, faults, temper_trainer.__main__ as main; faults.{before}(); sys.exit(main.main())'
            command = [sys.executable, '-c', script, path]
        code = subprocess.run(command, stdout=out, env={**os.environ, **environment}).returncode
    return code, read_events(stream)


class Process:
    """The trainer's main program in a process of its own; `before` is a function of faults.py, with its arguments after spaces."""

    def __init__(self, spec: dict, before: str = 'nothing', rank: int = 0, **environment: str):
        path, self.stream = write_spec(spec)
        self.stream = self.stream.with_suffix(f'.events{rank or ""}')
        self.stream.unlink(missing_ok=True)
        self.process = forks.Process(target=main_program, args=(str(path), str(self.stream), before, environment), daemon=True)
        self.process.start()

    def events(self, kind: str | None = None) -> list[dict]:
        found = read_events(self.stream) if self.stream.exists() else []
        return [event for event in found if kind is None or event['event'] == kind]

    def wait_for(self, kind: str, count: int = 1) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            is_alive = self.process.is_alive()  # asked first: what ends while its events are read has sent them all
            if len(self.events(kind)) >= count:
                return
            assert is_alive, f'ended with {self.process.exitcode} before {count} {kind}: {self.events()[-2:]}'
            assert time.monotonic() < deadline, f'no {kind}'
            time.sleep(0.005)

    def wait(self) -> int:
        """The exit code; minus nine after SIGKILL."""
        self.process.join(DEADLINE_SECONDS)
        assert self.process.exitcode is not None, 'still running'
        return self.process.exitcode

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def start_ranks(spec: dict, count: int = 2, befores: tuple[str, ...] = ()) -> list[Process]:
    """Ranks as torchrun would start them, without its seconds of imports."""
    shared = {'WORLD_SIZE': str(count), 'LOCAL_WORLD_SIZE': str(count), 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(free_port())}
    befores += ('nothing',) * count
    return [Process(spec, befores[rank], rank, RANK=str(rank), LOCAL_RANK=str(rank), **shared) for rank in range(count)]


def free_port() -> int:
    """Outside the ranges from which systems give ports to whoever asks for any, and dev/ports.ts to the stack. A run in this process
    has seeded `random`: tests side by side would all try the same."""
    while True:
        port = random.SystemRandom().randint(12_000, 19_000)
        with suppress(OSError), socket.create_server(('', port)):
            return port


def main_program(spec: str, stream: str, before: str, environment: dict[str, str]) -> None:
    import faults

    from temper_trainer.__main__ import main

    os.environ.update(environment)
    os.dup2(os.open(stream, os.O_WRONLY | os.O_CREAT), 1)
    sys.argv = ['temper_trainer', spec]
    name, *arguments = before.split()
    getattr(faults, name)(*arguments)
    code = main()
    os._exit(code)


def write_spec(spec: dict) -> tuple[Path, Path]:
    folder = Path(spec.get('outputPath') or spec['adapterPath']).parent
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{spec["work"]}.json'
    path.write_text(json.dumps(spec))
    return path, folder / f'{spec["work"]}.events'


def read_events(stream: Path) -> list[dict]:
    """A process that was killed may leave half a line."""
    text = stream.read_text()
    return [json.loads(line) for line in text[: text.rfind('\n') + 1].splitlines()]
