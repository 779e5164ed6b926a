"""What a test does to a trainer process before it starts: faults that must strike at one exact place."""

import os
import signal
import time
from pathlib import Path

from temper_trainer import checkpoints


def nothing() -> None:
    pass


def hold_after(kind: str, count: str) -> None:
    """After so many events of a kind the process goes on only once it is asked to stop: a test whose signal comes late, because the
    machine is busy or the trainer fast, still finds it at work."""
    from temper_trainer.events import Events
    from temper_trainer.process import StopRequest

    send, ask = Events.send, StopRequest._ask
    sent, is_asked = 0, False

    def holding(self, event: str, **fields) -> None:
        nonlocal sent
        send(self, event, **fields)
        sent += event == kind
        while event == kind and sent >= int(count) and not is_asked:
            time.sleep(0.001)

    def asking(self, *arguments) -> None:
        nonlocal is_asked
        is_asked = True
        ask(self, *arguments)

    Events.send, StopRequest._ask = holding, asking


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_inside_second_save() -> None:
    """After the optimizer's state is written and before the manifest."""
    saves = 0
    flush = checkpoints.flush

    def dying(path: Path) -> None:
        nonlocal saves
        if path.name == 'optimizer.pt':
            saves += 1
        if saves == 2:
            die()
        flush(path)

    checkpoints.flush = dying


def die_before_second_rename() -> None:
    """Everything of the checkpoint is written, but it does not have its name yet."""
    rename = Path.rename

    def dying(self: Path, target) -> Path:
        if self.name == '.building-10':
            die()
        return rename(self, target)

    Path.rename = dying


def die_while_removing() -> None:
    """The third checkpoint is there; the first is on its way out."""
    rmtree = checkpoints.shutil.rmtree

    def dying(path, **kwargs) -> None:
        if Path(path).name == '.replaced-5' and Path(path).exists():
            (Path(path) / checkpoints.MANIFEST).unlink()
            die()
        rmtree(path, **kwargs)

    checkpoints.shutil.rmtree = dying


def small_gpu() -> None:
    """No more than 100 tokens fit at once. A real GPU raises the same exception."""
    import torch

    from temper_trainer import loop

    token_losses = loop.token_losses

    def limited(model, pack):
        if pack.input_ids.shape[1] > 100:
            raise torch.OutOfMemoryError('CUDA out of memory.')
        return token_losses(model, pack)

    loop.token_losses = limited


def term_within_step_nine() -> None:
    """SIGTERM after the first pack of the ninth step has run backwards."""
    from temper_trainer import loop

    make_pack = loop.make_pack
    try_packs = loop.PlannedTrainer.try_packs
    packs_made = 0

    def counting(*args):
        nonlocal packs_made
        packs_made += 1
        return make_pack(*args)

    def terminated(self, model, examples, packs, passes):
        nonlocal packs_made
        packs_made = 0
        losses = loop.token_losses
        if self.state.global_step == 8:
            assert len(packs) > 1

            def term_after_first(model, pack):
                if packs_made == 1:
                    os.kill(os.getpid(), signal.SIGTERM)
                return losses(model, pack)

            loop.token_losses = term_after_first
        return try_packs(self, model, examples, packs, passes)

    loop.make_pack = counting
    loop.PlannedTrainer.try_packs = terminated


def term_within_second_evaluation() -> None:
    from temper_trainer import evaluate, held_out

    measure, losses, calls = held_out.measure_losses, evaluate.token_losses, 0

    def counting(*arguments):
        nonlocal calls
        calls += 1
        return measure(*arguments)

    def term(model, pack):
        if calls == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(model, pack)

    held_out.measure_losses, evaluate.token_losses = counting, term


def term_within_a_class() -> None:
    """SIGTERM while a class is made, as imports do all the time: Python puts an exception of its own around whatever is raised there."""
    from temper_trainer import train

    class Field:
        def __set_name__(self, owner, name):
            os.kill(os.getpid(), signal.SIGTERM)

    train.load_tokenizer = lambda path: type('Config', (), {'size': Field()})


def break_evaluation() -> None:
    """The third evaluation during training gives a loss that is no number."""
    import numpy as np

    from temper_trainer import held_out

    measure, calls = held_out.measure_losses, 0

    def breaking(*arguments):
        nonlocal calls
        calls += 1
        losses = measure(*arguments)
        if calls == 3:
            losses.sums[0] = np.nan
        return losses

    held_out.measure_losses = breaking


def tell_peak_memory() -> None:
    """The largest size of the process once it loads a model, as a warning: the test's way to hear of it."""
    from temper_trainer import train

    load, publish = train.load, train.checkpoints.publish_folder

    def loading(*arguments):
        events = arguments[-1]
        Path('/proc/self/clear_refs').write_text('5')  # the peak begins anew: the server before the fork had one of its own
        result = load(*arguments)
        train.checkpoints.publish_folder = lambda *rest: (events.warn('PEAK', str(size_of('VmHWM'))), publish(*rest))[1]
        return result

    train.load = loading


def size_of(name: str) -> int:
    fields = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())
    return int(fields[name].split()[0]) * 1024
