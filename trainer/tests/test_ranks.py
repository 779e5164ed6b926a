"""Two processes on CPU train as one does: data shared out, or the base model split as well; killed, resumed, stopped, refused."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import completion_rows, train_spec
from runs import read_events, run_here, start_ranks, write_spec
from safetensors.torch import load_file
from test_resume import adapter_files, resumed
from tinymodels import write_lines

STEPS = 12


def spec_for(folder: Path, models, **changes) -> dict:
    """Nothing is drawn at random (dropout differs between ranks), and the batch has more than one pack."""
    spec = train_spec(
        folder,
        models(),
        completion_rows(48),
        **{'training': {'epochs': 2, 'microBatchTokens': 64, 'learningRate': 5e-3}, 'checkpoints': {'everySteps': 4}, **changes},
    )
    held_out = write_lines(folder / 'eval.jsonl', completion_rows(10, seed=99))
    spec['evaluation'] = {'path': str(held_out), 'everySteps': 4, 'maxExamples': None, 'patience': None}
    return spec


@pytest.fixture(scope='module')
def alone(models, tmp_path_factory):
    spec = spec_for(tmp_path_factory.mktemp('alone'), models)
    return spec, [event for event in run_here(spec) if event['event'] == 'step']


def compare(spec: dict, events: list[dict], alone, sharded: bool) -> None:
    one, expected = alone
    prepared = next(event for event in events if event['event'] == 'prepared')
    assert (prepared['ranks'], prepared['sharded']) == (2, sharded)
    steps = [event for event in events if event['event'] == 'step']
    assert events[-1]['event'] == 'completed'
    for name in ('loss', 'gradNorm', 'evaluationLoss'):
        found, wanted = ([step[name] for step in each if name in step] for each in (steps, expected))
        assert found == pytest.approx(wanted, rel=2e-5)
    for name in ('step', 'tokens', 'trainedTokens', 'learningRate'):  # the global batch is the job's, however many ranks
        assert [step[name] for step in steps] == [step[name] for step in expected]
    weights, ours = (load_file(Path(each['outputPath']) / 'adapter_model.safetensors') for each in (one, spec))
    assert max((weights[name] - ours[name]).abs().max().item() for name in weights) < 1e-5


def test_torchrun_gives_the_losses_and_weights_of_one_process(models, tmp_path, alone):
    """The command as a worker starts it on a machine with two GPUs."""
    spec = spec_for(tmp_path, models)
    path, stream = write_spec(spec)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2', '-m', 'temper_trainer', path]
    with open(stream, 'w') as out:
        subprocess.run(command, stdout=out, env={**os.environ, 'TEMPER_PARENT_PID': str(os.getpid())}, check=True)
    compare(spec, read_events(stream), alone, sharded=False)


def test_a_base_model_split_over_the_ranks_gives_the_same(models, tmp_path, alone):
    spec = spec_for(tmp_path, models)
    spec['training']['sharded'] = True
    ranks = start_ranks(spec)
    assert [rank.wait() for rank in ranks] == [0, 0]
    compare(spec, ranks[0].events(), alone, sharded=True)
    assert ranks[1].events() == []


def test_ranks_stop_together_and_go_on_to_the_same_bytes(models, tmp_path):
    """SIGTERM, as torchrun passes it on, then SIGKILL: the adapter is that of two ranks never disturbed."""
    changes = {'adapter': {'dropout': 0.1}}
    calm = spec_for(tmp_path / 'calm', models, **changes)
    assert [rank.wait() for rank in start_ranks(calm)] == [0, 0]
    spec = spec_for(tmp_path / 'stopped', models, **changes)
    ranks = start_ranks(spec, befores=('nothing', 'hold_after step 8'))
    ranks[0].wait_for('step', 2)
    os.kill(ranks[1].process.pid, signal.SIGTERM)  # one is enough: they agree
    assert [rank.wait() for rank in ranks] == [75, 75]
    events = ranks[0].events()
    assert events[-1]['event'] == 'interrupted'
    saved = next(event for event in events if event['event'] == 'checkpoint' and event['step'] == events[-1]['step'])
    assert json.loads((Path(saved['path']) / 'manifest.json').read_text())['ranks'] == 2

    ranks = start_ranks(resumed(spec), befores=('nothing', 'hold_after step 1'))
    ranks[0].wait_for('step')
    ranks[1].kill()
    assert ranks[0].wait() == 3, 'without the other there is nothing to wait for'
    assert ranks[0].events()[-1]['code'] == 'TRAINER_CRASHED'
    assert [rank.wait() for rank in start_ranks(resumed(spec))] == [0, 0]
    assert adapter_files(spec) == adapter_files(calm)


def test_too_little_memory_of_one_rank_makes_both_take_less(models, tmp_path, alone):
    spec = spec_for(tmp_path, models)
    spec['training']['microBatchTokens'] = 256
    ranks = start_ranks(spec, befores=('nothing', 'small_gpu'))
    assert [rank.wait() for rank in ranks] == [0, 0]
    assert [event['code'] for event in ranks[0].events('adapted')] == ['MICRO_BATCH_HALVED'] * 2
    compare(spec, ranks[0].events(), alone, sharded=False)
