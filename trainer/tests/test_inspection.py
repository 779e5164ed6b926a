"""What the restricted reader takes, and what it refuses."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from runs import run_command
from safetensors.torch import load_file


def inspect(folder: Path, convert: list[str] | None = None, tokenizer: bool = False) -> tuple[int, list[dict]]:
    spec = {'version': 1, 'work': 'inspect', 'path': str(folder), 'tokenizer': tokenizer, 'outputPath': str(folder / 'converted')}
    return run_command({**spec, **({'convert': convert} if convert else {})})


class Payload:
    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


def test_pickled_tensors_become_safetensors_with_the_same_values(tmp_path):
    shared = torch.arange(6.0).reshape(2, 3)
    torch.save({'a': shared, 'b': shared, 'c': shared.T.to(torch.bfloat16)}, tmp_path / 'pytorch_model-00001-of-00001.bin')
    code, events = inspect(tmp_path, ['pytorch_model-00001-of-00001.bin'])
    assert code == 0, events
    assert [file['name'] for file in events[-1]['files']] == ['model-00001-of-00001.safetensors']
    loaded = load_file(tmp_path / 'converted' / 'model-00001-of-00001.safetensors')
    assert torch.equal(loaded['a'], shared) and torch.equal(loaded['b'], shared) and torch.equal(loaded['c'], shared.T.to(torch.bfloat16))


@pytest.mark.parametrize('content', ['code', 'objects', 'noise'])
def test_anything_else_is_refused_and_runs_nothing(tmp_path, content):
    trace, path = tmp_path / 'ran', tmp_path / 'adapter_model.bin'
    if content == 'code':
        path.write_bytes(pickle.dumps({'a': Payload(trace)}))
    elif content == 'objects':
        torch.save({'a': [torch.zeros(1)]}, path)
    else:
        path.write_bytes(b'no pickle')
    code, events = inspect(tmp_path, ['adapter_model.bin'])
    assert (code, events[-1]['code']) == (3, 'MODEL_FILES_INVALID')
    assert 'safetensors' in events[-1]['message']
    assert not trace.exists()


def test_a_tokenizer_is_loaded_and_its_ids_counted(models, tmp_path):
    for path in models().glob('*.json'):
        shutil.copy(path, tmp_path / path.name)
    code, events = inspect(tmp_path, tokenizer=True)
    assert (code, events[-1]['tokens']) == (0, len(json.loads((tmp_path / 'tokenizer.json').read_text())['model']['vocab']))

    (tmp_path / 'tokenizer.json').write_text('{"model": {"type": "BPE", "vocab": {"a": -1}}}')
    code, events = inspect(tmp_path, tokenizer=True)
    assert (code, events[-1]['code']) == (3, 'MODEL_FILES_INVALID')
