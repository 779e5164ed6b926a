"""Evaluation while training: the loss it gives, the step it keeps, when it stops, and that a kill changes none of it."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import completion_rows, train_spec
from runs import Process, run_here
from test_resume import adapter_files, resumed
from tinymodels import write_lines

EVERY = 4


def spec_for(folder: Path, models, patience=None, **training) -> dict:
    """A handful of rows: the model learns them by heart, and the loss on other rows soon rises."""
    spec = train_spec(
        folder,
        models(),
        completion_rows(6),
        training={'epochs': 12, 'batchSize': 2, 'schedule': 'constant', 'learningRate': 1e-2, 'microBatchTokens': 64, **training},
        adapter={'dropout': 0.1},
        checkpoints={'everySteps': 3},
    )
    held_out = write_lines(folder / 'eval.jsonl', completion_rows(10, seed=99))
    spec['evaluation'] = {'path': str(held_out), 'everySteps': EVERY, 'maxExamples': None, 'patience': patience}
    return spec


def losses(process: Process) -> dict[int, float]:
    return {event['step']: event['evaluationLoss'] for event in process.events('step') if 'evaluationLoss' in event}


@pytest.fixture(scope='module')
def undisturbed(models, tmp_path_factory):
    spec = spec_for(tmp_path_factory.mktemp('held-out'), models)
    process = Process(spec)
    assert process.wait() == 0
    return spec, process


def test_the_adapter_is_the_one_of_the_best_step(models, tmp_path, undisturbed):
    spec, process = undisturbed
    seen, completed = losses(process), process.events('completed')[0]
    assert list(seen) == [step for step in range(1, 37) if step % EVERY == 0]
    best = min(seen, key=lambda step: seen[step])
    assert best < 36, 'the run must get worse for this test to mean anything'
    assert (completed['bestStep'], completed['bestLoss'], completed['earlyStopped']) == (best, seen[best], False)

    # The loss as a separate evaluation of the adapter gives it: the same number, by another road.
    report = tmp_path / 'evaluation.json'
    evaluation = {
        'version': 1,
        'work': 'evaluate',
        'model': spec['model'],
        'adapterPath': spec['outputPath'],
        'data': {**spec['data'], 'path': spec['evaluation']['path']},
        'maxExamples': None,
        'outputPath': str(report),
    }
    assert Process(evaluation).wait() == 0
    assert json.loads(report.read_text())['tuned']['meanLoss'] == pytest.approx(seen[best], rel=1e-5)


def test_evaluating_changes_no_step(models, tmp_path, undisturbed):
    """Weights and losses are those of a run that never looked at the held-out rows."""
    _, process = undisturbed
    alone = spec_for(tmp_path, models)
    del alone['evaluation']
    other = Process(alone)
    assert other.wait() == 0
    assert [event['loss'] for event in other.events('step')] == [event['loss'] for event in process.events('step')]


def test_stops_when_it_gets_no_better_and_a_kill_changes_nothing(models, tmp_path, undisturbed):
    _, whole = undisturbed
    spec = spec_for(tmp_path / 'a', models, patience=2)
    process = Process(spec)
    assert process.wait() == 0
    completed = process.events('completed')[0]
    seen = losses(process)
    assert completed['earlyStopped'] is True
    assert completed['step'] == completed['bestStep'] + 2 * EVERY == max(seen) < 36
    assert all(seen[step] == value for step, value in losses(whole).items() if step in seen)
    assert [event['code'] for event in process.events('warning')] == ['STOPPED_EARLY']
    files = adapter_files(spec)

    # Killed after the best step, before the end; then killed again when it had stopped but not written its adapter.
    killed = spec_for(tmp_path / 'b', models, patience=2)
    first = Process(killed, f'hold_after step {completed["bestStep"] + 3}')
    first.wait_for('step', completed['bestStep'] + 2)
    first.kill()
    second = Process(resumed(killed))
    assert second.wait() == 0
    again = second.events('completed')[0]
    assert again == {**completed, 'seconds': again['seconds'], 'peakGib': again['peakGib']}
    assert adapter_files(killed) == files
    shutil.rmtree(killed['outputPath'])
    third = Process(resumed(killed))
    assert third.wait() == 0
    assert third.events('step') == []
    assert adapter_files(killed) == files


def test_a_loss_that_is_not_finite_ends_the_run(models, tmp_path):
    spec = spec_for(tmp_path, models)
    process = Process(spec, 'break_evaluation')
    assert process.wait() == 3
    failed = process.events()[-1]
    assert failed['code'] == 'LOSS_NOT_FINITE'
    assert 'evaluation set' in failed['message']
    assert len(process.events('step')) == 3 * EVERY - 1


def test_the_time_limit_ends_the_run_with_the_best_so_far(models, tmp_path):
    spec = spec_for(tmp_path, models, epochs=12)
    spec['stopAfterSeconds'] = 0
    events = run_here(spec)
    steps = [event for event in events if event['event'] == 'step']
    completed = events[-1]
    assert [event['step'] for event in steps] == [1], 'at least one step is made'
    assert completed['timeEnded'] and not completed['earlyStopped'] and completed['bestStep'] == 1
    assert steps[0]['evaluationLoss'] == completed['bestLoss'], 'the last step is evaluated whatever its number'
    assert [event['step'] for event in events if event['event'] == 'checkpoint'] == [1]
    assert 'TIME_LIMIT_REACHED' in [event.get('code') for event in events]


def test_a_run_made_once_more_ends_at_the_step_where_a_limit_had_ended_the_first(models, tmp_path):
    spec = spec_for(tmp_path, models, epochs=12)
    spec['stopAtStep'] = 5
    events = run_here(spec)
    steps = [event for event in events if event['event'] == 'step']
    assert [event['step'] for event in steps] == [1, 2, 3, 4, 5] and 'evaluationLoss' in steps[-1]
    assert events[-1]['timeEnded'] and events[-1]['step'] == 5

    again = run_here(resumed(spec))
    assert [event['event'] for event in again if event['event'] in ('step', 'resumed')] == ['resumed'], 'it only lacks its adapter'
    assert again[-1]['files'] == events[-1]['files']
