"""QLoRA: the base in 4 bits, the adapter in float32; on CPU by the same kernels' reference path."""

import signal
from pathlib import Path

from conftest import completion_rows, train_spec
from runs import run_command
from safetensors.torch import load_file
from test_evaluate import evaluate_spec
from test_resume import adapter_files, resumed


def test_nf4_trains_resumes_bit_for_bit_and_evaluates(models, tmp_path):
    rows = completion_rows(90)
    changes = {'model': {'quantization': 'nf4'}, 'adapter': {'dropout': 0.05}}
    calm = train_spec(tmp_path / 'calm', models(), rows, **changes)
    code, events = run_command(calm)
    assert code == 0
    losses = [event['loss'] for event in events if event['event'] == 'step']
    assert losses[-1] < losses[0] - 0.3
    tensors = load_file(Path(calm['outputPath']) / 'adapter_model.safetensors')
    assert {str(tensor.dtype) for tensor in tensors.values()} == {'torch.float32'}
    prepared = next(event for event in events if event['event'] == 'prepared')
    assert prepared['totalParameters'] > 6 * prepared['trainableParameters']  # 4-bit weights counted as weights, not as bytes

    killed = train_spec(tmp_path / 'killed', models(), rows, **changes)
    code, events = run_command(killed, before='die_before_second_rename')
    assert code == -signal.SIGKILL
    code, more = run_command(resumed(killed))
    assert code == 0
    seen = {event['step']: event['loss'] for event in events + more if event['event'] == 'step'}
    assert [seen[step] for step in sorted(seen)] == losses
    assert adapter_files(killed) == adapter_files(calm)

    code, events = run_command(evaluate_spec(calm, completion_rows(20, seed=4)))
    assert code == 0
    base, tuned = (event['value'] for event in events if event['event'] == 'evaluated')
    assert tuned < base / 1.2
