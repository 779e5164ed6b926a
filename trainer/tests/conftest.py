import os
import random
import sys
from pathlib import Path

os.environ.setdefault('HF_HUB_OFFLINE', '1')
os.environ.setdefault('OMP_NUM_THREADS', '1')  # the models are too small for more threads to help
sys.path.insert(0, str(Path(__file__).parent))
os.environ['PYTHONPATH'] = str(Path(__file__).parent)  # for the server of runs.py, which does not get this process's path

import pytest
from tinymodels import WORDS, make_model, write_set


@pytest.fixture(scope='session')
def models(tmp_path_factory):
    """`models('llama')` is the folder of that family's tiny model, made once."""
    made: dict[str, Path] = {}

    def get(family: str = 'llama') -> Path:
        if family not in made:
            made[family] = make_model(tmp_path_factory.mktemp('models') / family, family)
        return made[family]

    return get


LABELS = ['happy', 'sad', 'code review', 'film review', 'film']


def completion_rows(count: int, seed: int = 0, shortest: int = 3, longest: int = 40) -> list[dict]:
    dice = random.Random(seed)
    rows = []
    for line in range(1, count + 1):
        words = [dice.choice(WORDS) for _ in range(dice.randint(shortest, longest))]
        cut = dice.randint(1, len(words) - 1)
        rows.append({'line': line, 'segments': [[' '.join(words[:cut]), False, True], [' ' + ' '.join(words[cut:]), True, True]]})
    return rows


def classification_rows(count: int, seed: int = 0) -> list[dict]:
    dice = random.Random(seed)
    rows = []
    for line in range(1, count + 1):
        label = dice.choice(LABELS)
        text = ' '.join([dice.choice(WORDS) for _ in range(dice.randint(2, 20))] + label.split())
        rows.append({'line': line, 'label': label, 'segments': [[text, False, True], ['\nLabel: ', False], [label, True, True]]})
    return rows


def train_spec(folder: Path, base: Path, rows: list[dict], **changes) -> dict:
    """A spec that trains in a moment; `changes` replace whole fields of its groups, as `training={'epochs': 2}`."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = {
        'version': 1,
        'work': 'train',
        'model': {'path': str(base), 'quantization': 'none', 'dtype': 'auto'},
        'adapter': {'rank': 8, 'alpha': 16, 'dropout': 0},
        'data': {'kind': 'textCompletion', 'path': str(write_set(folder / 'rows', rows)), 'cutoffLength': 128},
        'training': {
            'epochs': 1,
            'batchSize': 8,
            'learningRate': 2e-2,
            'warmupSteps': 2,
            'schedule': 'cosine',
            'weightDecay': 0.01,
            'maxGradNorm': 1.0,
            'seed': 7,
            'microBatchTokens': 256,
        },
        'checkpoints': {'directory': str(folder / 'checkpoints'), 'everySteps': 5, 'everySeconds': 600, 'keep': 2},
        'outputPath': str(folder / 'adapter'),
    }
    for group, values in changes.items():
        spec[group] = {**spec[group], **values} if isinstance(values, dict) else values
    return spec
