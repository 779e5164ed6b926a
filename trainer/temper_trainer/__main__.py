"""`python -m temper_trainer SPEC.json`: one piece of work, then an exit code that agrees with the last event."""

import os
import sys
import traceback

from temper_trainer.events import Events, claim_stdout
from temper_trainer.failures import Interrupted, explain
from temper_trainer.process import StopRequest, Stopwatch, be_killed_first, die_with_parent, leave, local_rank, uncollected
from temper_trainer.spec import ConvertSpec, FetchSpec, InspectSpec, MergeSpec, Spec, TrainSpec, VerifySpec, read_spec
from temper_trainer.versions import versions

EXIT_COMPLETED = 0
EXIT_FAILED = 3
EXIT_USAGE = 64
EXIT_INTERRUPTED = 75

# transformers imports these when it finds them, and nothing here uses them: seconds of every start.
UNUSED_IMPORTS = ('datasets', 'pandas', 'sklearn')


def main() -> int:
    die_with_parent()
    be_killed_first()
    events = claim_stdout()
    stop = StopRequest()
    stop.listen(lambda: leave(interrupted(events, 0)))
    if len(sys.argv) != 2:
        print('usage: python -m temper_trainer SPEC.json', file=sys.stderr)
        return EXIT_USAGE
    try:
        completed = run(read_spec(sys.argv[1]), events, stop)
    except Interrupted as error:
        return interrupted(events, error.step)
    except Exception as error:
        traceback.print_exc()
        failure = explain(error)
        events.send('failed', code=failure.code, message=str(failure), retryable=failure.retryable)
        return EXIT_FAILED
    events.send('completed', **completed)
    return EXIT_COMPLETED


def interrupted(events: Events, step: int) -> int:
    events.send('interrupted', step=step)
    return EXIT_INTERRUPTED


def run(spec: Spec, events: Events, stop: StopRequest) -> dict:
    """Does the work of the spec; the imports wait until it is known what is needed."""
    watch = Stopwatch()
    if isinstance(spec, FetchSpec):
        events.send('started', pid=os.getpid(), device='none', versions=versions())
        with watch.part('imports'):
            from temper_trainer.fetch import fetch
        return {**fetch(spec, events, stop, watch), 'seconds': watch.rounded()}
    if isinstance(spec, InspectSpec):
        set_environment()
        os.environ['CUDA_VISIBLE_DEVICES'] = ''
        events.send('started', pid=os.getpid(), device='none', versions=versions())
        with watch.part('imports'):
            from temper_trainer.inspection import inspect_model
        return {**inspect_model(spec, events, stop, watch), 'seconds': watch.rounded()}
    if isinstance(spec, ConvertSpec):
        set_environment()
        os.environ['CUDA_VISIBLE_DEVICES'] = ''
        events.send('started', pid=os.getpid(), device='none', versions=versions())
        with watch.part('imports'):
            from temper_trainer.convert import convert
        return {**convert(spec, events, stop, watch), 'seconds': watch.rounded()}
    set_environment('none' if isinstance(spec, MergeSpec) else spec.model.quantization)
    with watch.part('imports'), uncollected():
        import torch

        threads = torch.get_num_threads()
        device = f'cuda: {torch.cuda.get_device_name(0)}' if torch.cuda.is_available() else f'cpu: {threads} threads'
        events.send('started', pid=os.getpid(), device=device, versions=versions())
        if isinstance(spec, TrainSpec):
            from temper_trainer.train import train as work
        elif isinstance(spec, VerifySpec):
            from temper_trainer.verify import verify as work
        elif isinstance(spec, MergeSpec):
            from temper_trainer.merge import merge as work
        else:
            from temper_trainer.evaluate import evaluate as work
    stop.check()
    return {**work(spec, events, stop, watch), 'seconds': watch.rounded()}


def set_environment(quantization: str = 'none') -> None:
    """What libraries read while they are imported."""
    os.environ['HF_HUB_OFFLINE'] = '1'
    os.environ['TRANSFORMERS_VERBOSITY'] = 'error'
    os.environ['HF_HUB_DISABLE_PROGRESS_BARS'] = '1'
    os.environ.setdefault('TOKENIZERS_PARALLELISM', 'true')
    # Threads that wait by spinning hold back the very thread they wait for when the machine has other work: measured with
    # two threads on two busy cores, 71 tokens a second spinning and 264 asleep, for a fifth of the CPU time.
    os.environ.setdefault('OMP_WAIT_POLICY', 'passive')
    # One process uses one GPU: with several in sight the Trainer would split every batch over them.
    visible = os.environ.get('CUDA_VISIBLE_DEVICES', ','.join(map(str, range(local_rank() + 1)))).split(',')
    os.environ['CUDA_VISIBLE_DEVICES'] = visible[local_rank()] if local_rank() < len(visible) else ''
    for name in UNUSED_IMPORTS + (() if quantization == 'nf4' else ('bitsandbytes',)):
        sys.modules[name] = None  # Python's way to say that a module cannot be imported


if __name__ == '__main__':
    leave(main())
