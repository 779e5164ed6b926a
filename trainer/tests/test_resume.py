"""A run that was killed, at whatever moment, ends with the bytes of a run that was not."""

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest
from conftest import completion_rows, train_spec
from runs import Process
from tinymodels import write_lines

from temper_trainer import checkpoints
from temper_trainer.failures import TrainerFailure

TOTAL_STEPS = 18


def spec_for(folder: Path, models, **changes) -> dict:
    """Dropout makes the random state matter, one and a half epochs the data's order, and a step has several packs."""
    return train_spec(
        folder,
        models(),
        completion_rows(90),
        **{'adapter': {'dropout': 0.1}, 'training': {'epochs': 1.5, 'microBatchTokens': 64}, **changes},
    )


@pytest.fixture(scope='module')
def undisturbed(models, tmp_path_factory):
    spec = spec_for(tmp_path_factory.mktemp('undisturbed'), models)
    process = Process(spec)
    assert process.wait() == 0
    return process.events('step'), adapter_files(spec)


def adapter_files(spec: dict) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(spec['outputPath']).iterdir()}


def resumed(spec: dict) -> dict:
    """The spec as the worker sends it again: with the newest checkpoint, if there is one."""
    steps = checkpoints.saved_steps(Path(spec['checkpoints']['directory']))
    if not steps:
        return spec
    return {**spec, 'checkpoints': {**spec['checkpoints'], 'resumeFrom': f'{spec["checkpoints"]["directory"]}/step-{steps[-1]}'}}


def finish(spec: dict, seen: dict[int, dict], undisturbed) -> None:
    """Lets the run end, and compares its curve and its adapter with those of the undisturbed run."""
    process = Process(resumed(spec))
    assert process.wait() == 0
    seen.update({event['step']: event for event in process.events('step')})
    steps, files = undisturbed
    for expected in steps:
        got = seen[expected['step']]
        assert (got['loss'], got['gradNorm'], got['learningRate']) == (expected['loss'], expected['gradNorm'], expected['learningRate'])
    assert adapter_files(spec) == files


def test_one_run_killed_at_ten_random_moments(models, tmp_path):
    """While it loads, in a step, in a save, in an evaluation: its losses, the step that is kept, and the adapter stay the same."""
    seed = int(os.environ.get('KILLS_SEED', '20'))
    print(f'KILLS_SEED={seed}')
    dice = random.Random(seed)

    def spec_in(folder: Path) -> dict:
        spec = spec_for(folder, models, training={'epochs': 5, 'microBatchTokens': 64, 'learningRate': 5e-3}, checkpoints={'everySteps': 2})
        held_out = write_lines(folder / 'eval.jsonl', completion_rows(12, seed=99))
        spec['evaluation'] = {'path': str(held_out), 'everySteps': 3, 'maxExamples': None, 'patience': None}
        return spec

    calm = spec_in(tmp_path / 'calm')
    process = Process(calm)
    assert process.wait() == 0
    spec = spec_in(tmp_path / 'killed')
    seen: dict[int, dict] = {}
    kills = []
    for _ in range(10):
        attempt = Process(resumed(spec), 'hold_after step 6')  # ten times six of sixty steps
        if dice.random() < 0.2:
            attempt.wait_for('started')
        else:
            attempt.wait_for('step', dice.randint(1, 5))
        attempt.process.join(dice.random() * 0.1)
        assert attempt.process.exitcode is None, f'the run was over before its {len(kills) + 1}th kill'
        attempt.kill()
        seen.update({event['step']: event for event in attempt.events('step')})
        kills.append(max(seen, default=0))
    print(f'killed at steps {kills}')
    assert len(set(kills)) > 3
    finish(spec, seen, (process.events('step'), adapter_files(calm)))
    assert all('evaluationLoss' in seen[step] for step in range(3, 61, 3))


@pytest.mark.parametrize('fault', ['die_inside_second_save', 'die_before_second_rename', 'die_while_removing'])
def test_killed_inside_a_save(models, tmp_path, undisturbed, fault):
    spec = spec_for(tmp_path, models)
    process = Process(spec, fault)
    assert process.wait() == -signal.SIGKILL
    directory = Path(spec['checkpoints']['directory'])
    assert any(path.name.startswith('.') for path in directory.iterdir())  # the kill did strike inside
    for step in checkpoints.saved_steps(directory):
        assert (directory / f'step-{step}' / 'manifest.json').is_file()
    finish(spec, {event['step']: event for event in process.events('step')}, undisturbed)
    assert sorted(path.name for path in directory.iterdir()) == ['step-15', 'step-18']


@pytest.mark.parametrize('sent', [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_stop_saves_and_leaves(models, tmp_path, undisturbed, sent):
    spec = spec_for(tmp_path, models)
    process = Process(spec, f'hold_after step {TOTAL_STEPS - 1}')
    process.wait_for('step', 7)
    asked = time.monotonic()
    os.kill(process.process.pid, sent)
    assert process.wait() == 75
    assert time.monotonic() - asked < 30, 'one pack and a checkpoint take longer than half a minute'
    last = process.events()[-1]
    assert last['event'] == 'interrupted'
    assert process.events('checkpoint')[-1]['step'] == last['step'] == process.events('step')[-1]['step']
    finish(spec, {event['step']: event for event in process.events('step')}, undisturbed)


def test_sigterm_within_a_step_leaves_between_two_packs(models, tmp_path, undisturbed):
    """A step of many packs is not finished first; what it had done is forgotten, randomness included."""
    spec = spec_for(tmp_path, models)
    process = Process(spec, 'term_within_step_nine')
    assert process.wait() == 75
    assert process.events()[-1] == {'event': 'interrupted', 'step': 8}
    finish(spec, {event['step']: event for event in process.events('step')}, undisturbed)


def test_sigterm_while_evaluating_leaves_and_the_next_attempt_evaluates(models, tmp_path):
    spec = spec_for(tmp_path / 'a', models)
    held_out = write_lines(tmp_path / 'eval.jsonl', completion_rows(24, seed=99))
    spec['evaluation'] = {'path': str(held_out), 'everySteps': 4, 'maxExamples': None, 'patience': None}
    calm = {**spec, 'outputPath': str(tmp_path / 'b/adapter'), 'checkpoints': {**spec['checkpoints'], 'directory': str(tmp_path / 'b/c')}}
    whole = Process(calm)
    assert whole.wait() == 0
    process = Process(spec, 'term_within_second_evaluation')
    assert process.wait() == 75
    assert process.events()[-1] == {'event': 'interrupted', 'step': 8}
    assert process.events('step')[-1]['step'] == 7, 'the step whose loss was not measured is told by the next attempt'
    finish(spec, {event['step']: event for event in process.events('step')}, (whole.events('step'), adapter_files(calm)))


@pytest.mark.parametrize('kind', ['started', 'progress'])
def test_sigterm_before_the_first_step_leaves_at_once(models, tmp_path, kind):
    process = Process(spec_for(tmp_path, models), 'hold_after prepared 1')
    process.wait_for(kind)
    os.kill(process.process.pid, signal.SIGTERM)
    assert process.wait() == 75
    assert process.events()[-1] == {'event': 'interrupted', 'step': 0}


def test_sigterm_is_answered_where_libraries_would_take_an_exception_for_their_own(models, tmp_path):
    process = Process(spec_for(tmp_path, models), 'term_within_a_class')
    assert process.wait() == 75
    assert process.events()[-1] == {'event': 'interrupted', 'step': 0}


def test_a_finished_run_can_be_finished_again(models, tmp_path, undisturbed):
    spec = spec_for(tmp_path, models)
    process = Process(spec)
    process.wait_for('checkpoint', 4)  # the last; the adapter may not be there yet
    process.kill()
    shutil.rmtree(spec['outputPath'], ignore_errors=True)
    finish(spec, {event['step']: event for event in process.events('step')}, undisturbed)


@pytest.mark.parametrize('damage', ['flip', 'cut', 'lose', 'no manifest'])
def test_a_damaged_checkpoint_is_refused_and_the_one_before_works(models, tmp_path, undisturbed, damage):
    spec = spec_for(tmp_path, models)
    process = Process(spec)
    process.wait_for('checkpoint', 2)
    process.kill()
    seen = {event['step']: event for event in process.events('step')}
    newest = resumed(spec)
    file = Path(newest['checkpoints']['resumeFrom']) / 'optimizer.pt'
    content = bytearray(file.read_bytes())
    if damage == 'flip':
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == 'cut':
        file.write_bytes(content[:-100])
    elif damage == 'lose':
        file.unlink()
    else:
        file.with_name('manifest.json').unlink()
    refused = Process(newest)
    assert refused.wait() == 3
    assert (refused.events()[-1]['code'], refused.events()[-1]['retryable']) == ('CHECKPOINT_CORRUPT', True)

    shutil.rmtree(newest['checkpoints']['resumeFrom'])
    finish(spec, seen, undisturbed)


@pytest.mark.parametrize(
    'change',
    [
        {'training': {'epochs': 1.5, 'microBatchTokens': 64, 'learningRate': 1e-3}},
        {'adapter': {'dropout': 0.2}},
        {'data': {'cutoffLength': 20}},
    ],
)
def test_a_checkpoint_of_another_plan_is_refused(models, tmp_path, change):
    spec = spec_for(tmp_path, models)
    process = Process(spec)
    process.wait_for('checkpoint')
    process.kill()
    other = spec_for(tmp_path, models, **change)
    other['checkpoints'] = resumed(spec)['checkpoints']
    refused = Process(other)
    assert refused.wait() == 3
    assert refused.events()[-1]['code'] == 'CHECKPOINT_MISMATCH'


@pytest.mark.parametrize('schedule', ['cosine', 'linear'])
@pytest.mark.parametrize('moment', ['within', 'at the end'])
def test_an_extended_run_is_that_of_its_plan_made_as_a_whole(models, tmp_path, schedule, moment):
    """Longer from some step on: the rest follows the schedule of the new length, with the bytes of a run that knew it beforehand."""

    def spec_in(folder: Path, *extensions: dict) -> dict:
        training = {'epochs': 1, 'microBatchTokens': 64, 'schedule': schedule, 'warmupSteps': 2, 'extensions': list(extensions)}
        spec = spec_for(folder, models, training=training)
        held_out = write_lines(folder / 'eval.jsonl', completion_rows(12, seed=99))
        spec['evaluation'] = {'path': str(held_out), 'everySteps': 5, 'maxExamples': None, 'patience': None}
        return spec

    first = spec_in(tmp_path / 'a')
    process = Process(first, 'hold_after step 11' if moment == 'within' else 'nothing')  # of twelve
    if moment == 'within':
        process.wait_for('step', 4)
        os.kill(process.process.pid, signal.SIGTERM)
    assert process.wait() == (75 if moment == 'within' else 0)
    seen = {event['step']: event for event in process.events('step')}
    # Not the newest event: a stop that cut an evaluation short leaves a checkpoint whose `step` event comes with the next attempt.
    extension = {'step': checkpoints.saved_steps(Path(first['checkpoints']['directory']))[-1], 'epochs': 1.5}
    whole = spec_in(tmp_path / 'b', extension)
    calm = Process(whole)
    assert calm.wait() == 0
    steps = calm.events('step')
    assert len(steps) == TOTAL_STEPS
    assert steps[-1]['learningRate'] < steps[extension['step']]['learningRate'] > 0
    assert ('evaluationLoss' in steps[extension['step'] - 1]) == (moment == 'at the end' or extension['step'] % 5 == 0)
    first['training']['extensions'] = [extension]
    finish(first, seen, (steps, adapter_files(whole)))


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    for step in (5, 10, 15):
        checkpoints.publish(tmp_path, step, {'planHash': 'p'}, lambda folder: (folder / 'a').write_bytes(b'x'), keep=2)
    assert checkpoints.saved_steps(tmp_path) == [10, 15]
    assert checkpoints.verify(str(tmp_path / 'step-15'), lambda step: 'p')['step'] == 15
    manifest = json.loads((tmp_path / 'step-15' / 'manifest.json').read_text())
    assert manifest['files'] == {'a': {'sizeBytes': 1, 'sha256': '2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881'}}
    with pytest.raises(TrainerFailure):
        checkpoints.verify(str(tmp_path / 'step-5'), lambda step: 'p')
