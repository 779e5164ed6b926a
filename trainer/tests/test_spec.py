"""A spec that is not right is refused before anything loads, with the name of the field."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import train_spec

from temper_trainer.failures import TrainerFailure
from temper_trainer.spec import read_spec

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def spec(tmp_path):
    return train_spec(tmp_path, tmp_path / 'model', [])


def refusal(tmp_path, spec) -> str:
    path = tmp_path / 'spec.json'
    path.write_text(spec if isinstance(spec, str) else json.dumps(spec))
    with pytest.raises(TrainerFailure) as caught:
        read_spec(str(path))
    assert (caught.value.code, caught.value.retryable) == ('SPEC_INVALID', False)
    return str(caught.value)


@pytest.mark.parametrize(
    ('group', 'field', 'value'),
    [
        ('adapter', 'rank', 0),
        ('adapter', 'rank', '8'),
        ('adapter', 'rank', True),
        ('adapter', 'dropout', 1),
        ('adapter', 'targetModules', ['q.*']),
        ('adapter', 'targetModules', []),
        ('training', 'epochs', 0),
        ('training', 'batchSize', 513),
        ('training', 'learningRate', None),
        ('training', 'schedule', 'polynomial'),
        ('training', 'seed', 2**32),
        ('training', 'microBatchTokens', 7),
        ('model', 'quantization', 'int8'),
        ('data', 'cutoffLength', 7),
        ('checkpoints', 'keep', 0),
        ('checkpoints', 'directory', ''),
        ('data', 'colour', 'red'),
    ],
)
def test_a_wrong_value_is_named(tmp_path, spec, group, field, value):
    spec[group] = {**spec[group], field: value}
    assert refusal(tmp_path, spec).startswith(f'{group}.{field}: ')


def test_a_missing_field_is_named(tmp_path, spec):
    del spec['training']['seed']
    assert refusal(tmp_path, spec) == 'training.seed: missing.'


def test_another_version_is_refused(tmp_path, spec):
    assert 'version' in refusal(tmp_path, {**spec, 'version': 2})


def test_classification_needs_its_labels(tmp_path, spec):
    evaluate = {'version': 1, 'work': 'evaluate', 'model': spec['model'], 'adapterPath': 'a', 'maxExamples': None, 'outputPath': 'o'}
    assert refusal(tmp_path, {**evaluate, 'data': {**spec['data'], 'kind': 'textClassification'}}).startswith('labels: ')


@pytest.mark.parametrize('text', ['', '[]', '{"version": 1', 'null'])
def test_no_object_is_no_spec(tmp_path, text):
    refusal(tmp_path, text)


@pytest.mark.skipif(not (REPOSITORY / 'node_modules').is_dir() or not shutil.which('node'), reason='needs the Node side installed')
def test_every_field_that_a_worker_may_send_is_read():
    """The field names of `schemas/trainerProtocol.ts` are all among those of the classes here."""
    from temper_trainer import spec as types

    script = """
      import { TrainSpec, EvaluateSpec, FetchSpec, InspectSpec } from './schemas/trainerProtocol.ts';
      const names = (schema) => Object.keys(schema.properties).sort();
      const { model, adapter, data, training, checkpoints } = TrainSpec.properties;
      console.log(JSON.stringify({ TrainSpec: names(TrainSpec), EvaluateSpec: names(EvaluateSpec), FetchSpec: names(FetchSpec),
        InspectSpec: names(InspectSpec),
        ModelSpec: names(model), AdapterSpec: names(adapter), DataSpec: names(data), TrainingSpec: names(training),
        CheckpointsSpec: names(checkpoints) }));
    """
    command = ['node', '--import', 'tsx', '--input-type=module', '-e', script]
    shown = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for name, fields in json.loads(shown).items():
        ours = set(getattr(types, name).__dataclass_fields__) | ({'version', 'work'} if 'version' in fields else set())
        assert ours >= set(fields), name
