"""The command as a worker runs it: stdout, exit codes, the life of the process."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import LABELS, classification_rows, train_spec
from runs import run_command
from test_evaluate import evaluate_spec
from test_families import merge_spec
from test_spec import REPOSITORY

CHECK_EVENTS = """
  import { TrainerEvent, TrainerSpec } from './schemas/trainerProtocol.ts';
  import { Value } from 'typebox/value';
  import { readFileSync } from 'node:fs';
  const { specs, events } = JSON.parse(readFileSync(0, 'utf8'));
  const bad = [...specs.filter((spec) => !Value.Check(TrainerSpec, spec)), ...events.filter((event) => !Value.Check(TrainerEvent, event))];
  console.log(JSON.stringify({ checked: specs.length + events.length, bad }));
"""


def test_train_and_evaluate_by_command(models, tmp_path):
    train = train_spec(tmp_path, models(), classification_rows(60), data={'kind': 'textClassification'}, adapter={'dropout': 0.05})
    code, events = run_command(train)
    assert code == 0
    kinds = [event['event'] for event in events]
    assert kinds[0] == 'started' and kinds[-1] == 'completed'
    assert [kind for kind in kinds if kind not in ('progress', 'step', 'checkpoint')] == ['started', 'prepared', 'completed']
    assert kinds.index('prepared') < kinds.index('step')
    prepared = next(event for event in events if event['event'] == 'prepared')
    steps = [event for event in events if event['event'] == 'step']
    assert [event['step'] for event in steps] == list(range(1, prepared['totalSteps'] + 1)) == list(range(1, 9))
    assert sum(event['tokens'] for event in steps) == prepared['tokens']
    assert sum(event['trainedTokens'] for event in steps) == prepared['trainedTokens']
    assert ['machine' in event for event in steps] == [True] + [False] * 7
    assert steps[0]['machine']['memoryBytes'] > 1e8 and steps[0]['machine']['cpuPercent'] > 0
    assert [event['step'] for event in events if event['event'] == 'checkpoint'] == [5, 8]
    files = {entry['name']: entry['sizeBytes'] for entry in events[-1]['files']}
    assert files == {path.name: path.stat().st_size for path in Path(train['outputPath']).iterdir()}
    assert {'adapter_config.json', 'adapter_model.safetensors', 'tokenizer.json', 'tokenizer_config.json'} == set(files)
    config = json.loads((Path(train['outputPath']) / 'adapter_config.json').read_text())
    assert (config['r'], config['lora_alpha'], config['base_model_name_or_path']) == (8, 16, 'llama')

    evaluate = evaluate_spec(train, classification_rows(20, seed=3), labels=LABELS)
    code, more = run_command(evaluate)
    assert code == 0
    assert [event['target'] for event in more if event['event'] == 'evaluated'] == ['base', 'tuned']

    merge = merge_spec(train, ['the quick brown fox'])
    code, merged = run_command(merge)
    assert code == 0 and {'model.safetensors', 'config.json', 'tokenizer.json'} <= {file['name'] for file in merged[-1]['files']}
    more += merged

    if (REPOSITORY / 'node_modules').is_dir() and shutil.which('node'):
        command = ['node', '--import', 'tsx', '--input-type=module', '-e', CHECK_EVENTS]
        sent = json.dumps({'specs': [train, evaluate, merge], 'events': events + more})
        checked = json.loads(subprocess.run(command, cwd=REPOSITORY, input=sent, capture_output=True, text=True, check=True).stdout)
        assert checked == {'checked': len(events) + len(more) + 3, 'bad': []}


def test_a_failure_is_an_event_and_exit_code_three(models, tmp_path):
    code, events = run_command(train_spec(tmp_path, models(), [], adapter={'rank': 65}))
    assert code == 3
    assert events == [
        {
            'event': 'failed',
            'code': 'SPEC_INVALID',
            'message': 'adapter.rank: must be an integer at least 1 and at most 64, is 65.',
            'retryable': False,
        }
    ]


def test_nothing_but_events_reaches_stdout():
    script = """
import ctypes, os, sys
from temper_trainer.events import claim_stdout
events = claim_stdout()
print('from Python'); sys.stdout.flush(); os.system('echo from a child'); os.write(1, b'from C')
events.send('step', loss=1.5)
print('again')
"""
    shown = subprocess.run([sys.executable, '-c', script], capture_output=True, check=True)
    assert shown.stdout == b'{"event":"step","loss":1.5}\n'
    assert shown.stderr.count(b'from') == 3 and b'again' in shown.stderr


def test_numbers_that_are_not_finite_never_travel():
    from temper_trainer.events import Events, finite_or_none

    with pytest.raises(ValueError):
        Events(1).send('step', loss=float('nan'))
    assert finite_or_none(float('inf')) is None


CHILD = """
import os, time
from temper_trainer.process import die_with_parent
die_with_parent()
print('alive', os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='the signal of a dying parent is Linux')
def test_the_trainer_dies_with_its_worker():
    parent = subprocess.Popen(
        [sys.executable, '-c', f"""
import os, subprocess, sys
subprocess.Popen([sys.executable, '-c', {CHILD!r}], env={{**os.environ, 'TEMPER_PARENT_PID': str(os.getpid())}}).wait()
"""],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    child = int(parent.stdout.readline().split()[1])
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < deadline, 'an orphan'
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != 'Z'


def test_a_trainer_whose_worker_died_before_it_began_ends_at_once():
    environment = {**os.environ, 'TEMPER_PARENT_PID': '999999999'}
    shown = subprocess.run([sys.executable, '-c', CHILD], env=environment, capture_output=True, timeout=30)
    assert shown.returncode == 1 and shown.stdout == b''
