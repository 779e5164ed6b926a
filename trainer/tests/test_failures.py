"""What goes wrong has a code and a message that helps; what can be healed is healed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import completion_rows, train_spec
from runs import Process, run_here
from safetensors.torch import load_file, save_file
from tinymodels import make_model

from temper_trainer import loop
from temper_trainer.failures import TrainerFailure, explain
from temper_trainer.model import load_base
from temper_trainer.spec import ModelSpec


def failure(spec: dict) -> TrainerFailure:
    with pytest.raises(TrainerFailure) as caught:
        run_here(spec)
    return caught.value


def test_a_loss_that_is_not_finite_stops_the_run(models, tmp_path):
    spec = train_spec(tmp_path, models(), completion_rows(80), training={'learningRate': 1, 'maxGradNorm': 1e30, 'warmupSteps': 0})
    weights = tmp_path / 'model'
    shutil.copytree(models(), weights)
    tensors = load_file(weights / 'model.safetensors')
    tensors['model.norm.weight'][3] = float('nan')
    save_file(tensors, weights / 'model.safetensors', metadata={'format': 'pt'})
    spec['model']['path'] = str(weights)
    process = Process(spec)
    assert process.wait() == 3
    last = process.events()[-1]
    assert (last['event'], last['code'], last['retryable']) == ('failed', 'LOSS_NOT_FINITE', False)
    assert 'step 1 ' in last['message'] and 'Traceback' not in last['message']
    assert not process.events('checkpoint')


def test_too_little_gpu_memory_halves_the_micro_batch_not_the_batch(models, tmp_path):
    rows = completion_rows(40)
    calm = train_spec(tmp_path / 'calm', models(), rows, training={'microBatchTokens': 64})
    expected = [event['loss'] for event in run_here(calm) if event['event'] == 'step']
    spec = train_spec(tmp_path / 'tight', models(), rows, training={'microBatchTokens': 256})
    process = Process(spec, 'small_gpu')
    assert process.wait() == 0
    assert [event['code'] for event in process.events('adapted')] == ['MICRO_BATCH_HALVED'] * 2
    assert [event['loss'] for event in process.events('step')] == pytest.approx(expected, abs=1e-5)


def test_an_example_too_long_for_the_gpu_fails(models, tmp_path):
    spec = train_spec(tmp_path, models(), completion_rows(8, shortest=100, longest=110))
    process = Process(spec, 'small_gpu')
    assert process.wait() == 3
    assert process.events()[-1]['code'] == 'TRAINER_OOM_GPU'


def test_four_bits_are_the_last_rung_where_the_job_allows_them(models, tmp_path):
    spec = train_spec(tmp_path, models(), completion_rows(8, shortest=100, longest=110), model={'quantization': 'auto'})
    process = Process(spec, 'small_gpu')
    assert process.wait() == 3
    adapted = process.events('adapted')
    assert [event['code'] for event in adapted][-2:] == ['ACTIVATIONS_RECOMPUTED', 'QUANTIZED'] and adapted[-1]['quantization'] == 'nf4'
    assert (process.events()[-1]['code'], process.events()[-1]['retryable']) == ('TRAINER_OOM_ADAPTED', True)


@pytest.mark.parametrize('lost', ['config.json', 'model.safetensors', 'tokenizer.json'])
def test_a_missing_file_of_the_model_is_named(models, tmp_path, lost):
    shutil.copytree(models(), tmp_path / 'model')
    (tmp_path / 'model' / lost).unlink()
    found = failure(train_spec(tmp_path, tmp_path / 'model', completion_rows(8)))
    assert found.code == 'MODEL_FILES_MISSING' and lost in str(found)


def test_weights_cut_short_are_refused(models, tmp_path):
    shutil.copytree(models(), tmp_path / 'model')
    os.truncate(tmp_path / 'model' / 'model.safetensors', 200_000)
    assert failure(train_spec(tmp_path, tmp_path / 'model', completion_rows(8))).code == 'MODEL_FILES_MISSING'


def test_a_missing_tensor_is_not_replaced_by_random_numbers(models, tmp_path):
    shutil.copytree(models(), tmp_path / 'model')
    tensors = load_file(tmp_path / 'model' / 'model.safetensors')
    del tensors['model.layers.1.mlp.up_proj.weight']
    save_file(tensors, tmp_path / 'model' / 'model.safetensors', metadata={'format': 'pt'})
    found = failure(train_spec(tmp_path, tmp_path / 'model', completion_rows(8)))
    assert found.code == 'MODEL_FILES_MISSING' and 'layers.1.mlp.up_proj' in str(found)


def changed_model(models, folder: Path, change: dict) -> Path:
    shutil.copytree(models(), folder)
    config = folder / 'config.json'
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    return folder


def test_an_unknown_architecture_is_refused_with_the_list(models, tmp_path):
    found = failure(train_spec(tmp_path, changed_model(models, tmp_path / 'model', {'model_type': 'mamba'}), completion_rows(8)))
    assert found.code == 'MODEL_ARCHITECTURE_UNSUPPORTED' and "'mamba'" in str(found) and 'llama, mistral, mixtral' in str(found)


@pytest.mark.parametrize('method', ['gptq', 'awq', 'fp8', 'compressed-tensors', 'bitsandbytes', 'mxfp4'])
@pytest.mark.parametrize('quantization', ['none', 'nf4'])
def test_a_base_model_that_is_already_quantized_is_refused(models, tmp_path, method, quantization):
    model = changed_model(models, tmp_path / 'model', {'quantization_config': {'quant_method': method}})
    found = failure(train_spec(tmp_path, model, completion_rows(8), model={'quantization': quantization}))
    assert found.code == 'MODEL_ALREADY_QUANTIZED' and method in str(found)


@pytest.fixture
def stranger(models, tmp_path) -> tuple[Path, str]:
    """A model with pickled weights, and Python code that would leave a file where the second says."""
    folder, trace = tmp_path / 'stranger', tmp_path / 'ran'
    shutil.copytree(models(), folder)
    torch.save(load_file(folder / 'model.safetensors'), folder / 'pytorch_model.bin')
    (folder / 'model.safetensors').unlink()
    (folder / 'own.py').write_text(f'open({str(trace)!r}, "w")')
    return folder, trace


def test_code_that_a_model_brings_never_runs(stranger):
    """The pickled tensors are read, the class that `auto_map` names is not."""
    folder, trace = stranger
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps({**config, 'auto_map': {'AutoModelForCausalLM': 'own.Model', 'AutoConfig': 'own.C'}}))
    model = load_base(ModelSpec(str(folder), 'none', 'float32', None), torch.device('cpu'))
    assert type(model).__name__ == 'LlamaForCausalLM' and not trace.exists()


def test_weights_that_are_more_than_tensors_are_refused_unread(stranger):
    folder, trace = stranger

    class Evil:
        def __reduce__(self):
            return open, (str(trace), 'w')

    tensors = torch.load(folder / 'pytorch_model.bin', weights_only=True)
    torch.save({**tensors, 'extra': Evil()}, folder / 'pytorch_model.bin')
    with pytest.raises(TrainerFailure) as refused:
        load_base(ModelSpec(str(folder), 'none', 'float32', None), torch.device('cpu'))
    assert refused.value.code == 'MODEL_FILES_INVALID' and not trace.exists()


def test_the_hub_is_out_of_reach():
    """Whoever started the process, and whatever a library would like to ask."""
    script = 'from temper_trainer.__main__ import set_environment; set_environment(); import huggingface_hub.constants as hub; '
    environment = {name: value for name, value in os.environ.items() if name != 'HF_HUB_OFFLINE'}
    said = subprocess.run([sys.executable, '-c', script + 'print(hub.HF_HUB_OFFLINE)'], env=environment, capture_output=True, text=True)
    assert said.stdout == 'True\n'


def test_an_unknown_target_module_is_named(models, tmp_path):
    found = failure(train_spec(tmp_path, models(), completion_rows(8), adapter={'targetModules': ['q_proj', 'c_attn']}))
    assert found.code == 'SPEC_INVALID' and 'c_attn' in str(found) and 'down_proj' in str(found)


def test_nothing_to_train_on(models, tmp_path):
    rows = [{'line': 1, 'segments': [['the quick brown fox jumps over', False]]}] * 3
    spec = train_spec(tmp_path, models(), rows, data={'kind': 'conversation'})
    assert failure(spec).code == 'NO_TRAINABLE_TOKENS'


def test_rows_without_trained_tokens_are_left_out_with_a_warning(models, tmp_path):
    rows = [{'line': 1, 'segments': [['the quick brown fox', False]]}, {'line': 2, 'segments': [['the', False], [' fox', True]]}]
    events = run_here(train_spec(tmp_path, models(), rows, data={'kind': 'conversation'}))
    prepared = next(event for event in events if event['event'] == 'prepared')
    assert (prepared['examples'], prepared['droppedExamples']) == (2, 1)
    warning = next(event for event in events if event['event'] == 'warning')
    assert warning['code'] == 'EXAMPLES_DROPPED' and '1 of 2' in warning['message']


def test_what_the_cut_off_takes_is_counted_and_named(models, tmp_path):
    """Line 1 fits, line 2 loses the end of its answer, line 3 all of it."""
    words = 'the quick brown fox jumps over lazy dog and then runs into a forest of code'
    rows = [
        {'line': 1, 'segments': [['the', False], [' fox', True]]},
        {'line': 2, 'segments': [['the', False], [f' {words}', True]]},
        {'line': 3, 'segments': [[words, False], [' fox', True]]},
    ]
    events = run_here(train_spec(tmp_path, models(), rows, data={'kind': 'conversation', 'cutoffLength': 8}))
    prepared = next(event for event in events if event['event'] == 'prepared')
    assert (prepared['examples'], prepared['truncatedExamples'], prepared['droppedExamples']) == (3, 1, 1)
    warnings = {event['code']: event['message'] for event in events if event['event'] == 'warning'}
    assert '1 of 3' in warnings['EXAMPLES_DROPPED'] and 'line 3' in warnings['EXAMPLES_DROPPED']
    assert '1 of 3' in warnings['EXAMPLES_TRUNCATED'] and 'line 2' in warnings['EXAMPLES_TRUNCATED']
    assert 'tokens that would be trained on are lost' in warnings['EXAMPLES_TRUNCATED']


def test_a_line_that_is_no_example_is_named(models, tmp_path):
    spec = train_spec(tmp_path, models(), [{'line': 1, 'segments': [['a', True]]}, {'line': 2, 'segments': [['a', 'yes']]}])
    found = failure(spec)
    assert found.code == 'SPEC_INVALID' and 'example 2' in str(found)


@pytest.fixture(scope='module')
def adapter(models, tmp_path_factory) -> Path:
    spec = train_spec(tmp_path_factory.mktemp('first'), models(), completion_rows(40))
    losses = [event['loss'] for event in run_here(spec) if event['event'] == 'step']
    (Path(spec['outputPath']).parent / 'losses.json').write_text(json.dumps(losses))
    return Path(spec['outputPath'])


def test_a_warm_start_goes_on_where_the_adapter_was(models, tmp_path, adapter):
    losses = json.loads((adapter.parent / 'losses.json').read_text())
    spec = train_spec(tmp_path, models(), completion_rows(40), adapter={'warmStartPath': str(adapter)})
    again = [event['loss'] for event in run_here(spec) if event['event'] == 'step']
    assert again[0] < losses[0] - 0.1


def test_a_warm_start_that_does_not_fit_says_why(models, tmp_path, adapter):
    other = make_model(tmp_path / 'wider', 'llama', intermediate_size=192)
    rows, warm = completion_rows(8), {'warmStartPath': str(adapter)}
    for number, (model, changes, said) in enumerate(
        [
            (models(), {'rank': 4}, 'rank 8, the job asks for 4'),
            (models(), {'targetModules': ['q_proj']}, 'adapter.targetModules'),
            (other, {}, 'shape [128, 8], expected [192, 8]'),
            (models('gpt_neox'), {}, 'the model has dense'),
        ]
    ):
        found = failure(train_spec(tmp_path / str(number), model, rows, adapter={**warm, **changes}))
        assert found.code == 'WARM_START_MISMATCH' and said in str(found)


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can mount a small disk')
def test_a_full_disk(models, tmp_path):
    disk = tmp_path / 'disk'
    disk.mkdir()
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=300k', 'tmpfs', disk], capture_output=True).returncode != 0:
        pytest.skip('this machine lets nobody mount a small disk')
    try:
        spec = train_spec(tmp_path, models(), completion_rows(80), checkpoints={'directory': str(disk / 'checkpoints')})
        process = Process(spec)
        assert process.wait() == 3
        assert (process.events()[-1]['code'], process.events()[-1]['retryable']) == ('NO_SPACE', True)
    finally:
        subprocess.run(['umount', disk], check=True)


@pytest.mark.parametrize(
    ('error', 'code'),
    [
        (torch.OutOfMemoryError('CUDA out of memory'), 'TRAINER_OOM_GPU'),
        (MemoryError(), 'TRAINER_OOM_HOST'),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 'TRAINER_OOM_HOST'),
        (OSError(28, 'No space left on device'), 'NO_SPACE'),
        (RuntimeError('CUDA error: uncorrectable ECC error encountered'), 'GPU_LOST'),
        (RuntimeError('std::bad_alloc'), 'TRAINER_OOM_HOST'),
        (ValueError('odd'), 'TRAINER_CRASHED'),
    ],
)
def test_every_exception_has_a_code(error, code):
    assert explain(error).code == code


def test_a_loss_that_explodes_stops_the_run(models, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, 'DIVERGED_FACTOR', 0.1)  # what a tiny model can reach
    spec = train_spec(tmp_path, models(), completion_rows(400), training={'learningRate': 1, 'maxGradNorm': 1e30, 'warmupSteps': 0})
    found = failure(spec)
    assert found.code == 'LOSS_DIVERGED' and 'Lower the learning rate' in str(found) and not found.retryable


def test_a_gpu_that_should_be_there_is_missed(models, tmp_path):
    spec = train_spec(tmp_path, models(), completion_rows(8))
    spec['accelerators'] = 1
    found = failure(spec)
    assert found.code == 'GPU_MISSING' and found.retryable
