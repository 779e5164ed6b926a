"""Batches encoded ahead of their steps: the same examples whenever they are read, and a true account of what the cut-off took."""

import numpy as np
import pytest
from conftest import completion_rows, train_spec
from runs import run_here
from tinymodels import write_set

from temper_trainer import batches as module
from temper_trainer.batches import Batches
from temper_trainer.data import ExampleSet, make_plan
from temper_trainer.model import load_tokenizer
from temper_trainer.spec import DataSpec
from temper_trainer.tokens import Encoder


class Heard:
    """Events and a stop request that only listen."""

    def __init__(self):
        self.sent: list[tuple[str, dict]] = []
        self.warned: list[tuple[str, str]] = []

    def send(self, event: str, **fields) -> None:
        self.sent.append((event, fields))

    def warn(self, code: str, message: str) -> None:
        self.warned.append((code, message))

    def progress(self, *_args, **_more) -> None:
        pass

    def check(self) -> None:
        pass


def test_a_set_is_its_examples_without_those_held_out(tmp_path):
    rows = completion_rows(11)
    examples = ExampleSet(str(write_set(tmp_path / 'rows', rows, held=(7, 0), files=3)))
    kept = [row for place, row in enumerate(rows) if place not in (7, 0)]
    assert [example.line for example in examples.read(range(len(examples)))] == [row['line'] for row in kept]
    assert [example.segments for example in examples.read([8, 0, 3])] == [kept[number]['segments'] for number in (8, 0, 3)]


@pytest.fixture
def encoder(models):
    return Encoder(load_tokenizer(str(models())), 'conversation')


def batches_of(folder, encoder, count: int, epochs: float, monkeypatch) -> Batches:
    monkeypatch.setattr(module, 'FIRST_EXAMPLES', 16)
    monkeypatch.setattr(module, 'CHUNK_EXAMPLES', 24)
    rows = completion_rows(count, longest=60)
    rows[5]['segments'] = [['the', False, True], ['', True, True]]
    data = DataSpec('conversation', str(folder if folder.exists() else write_set(folder, rows)), 16)
    examples = ExampleSet(data.path)
    return Batches(examples, make_plan(len(examples), 8, epochs, 3), data, encoder)


def test_batches_are_the_same_from_wherever_they_begin(tmp_path, encoder, monkeypatch):
    whole = batches_of(tmp_path / 'rows', encoder, 60, 1.6, monkeypatch)
    whole.start(0)
    expected = [whole.take(step, Heard()) for step in range(whole.plan.total_steps)]
    assert len(expected) == 13 and 0 < sum(map(len, expected[:8])) < 60
    for first in (1, 7, 8, 12):
        later = batches_of(tmp_path / 'rows', encoder, 60, 1.6, monkeypatch)
        later.start(first)
        for step in range(first, 13):
            batch = later.take(step, Heard())
            for name in ('ids', 'trained', 'offsets', 'lines'):
                assert np.array_equal(getattr(batch, name), getattr(expected[step], name)), (first, step, name)


@pytest.mark.parametrize('first_step', [0, 5])
def test_the_whole_is_told_once_it_was_read(tmp_path, encoder, monkeypatch, first_step):
    batches = batches_of(tmp_path / 'rows', encoder, 60, 3, monkeypatch)
    heard = Heard()
    first = batches.read_first(heard, heard)
    assert first.examples == 16 and not any(name == 'dataRead' for name, _ in heard.sent)
    assert all('read first' in message for _, message in heard.warned)
    batches.start(first_step)
    heard.warned.clear()
    taken = [batches.take(step, heard) for step in range(first_step, 24)]
    [(name, facts)] = heard.sent
    assert name == 'dataRead' and facts['readExamples'] == 60
    if first_step == 0:
        assert facts['tokens'] == sum(len(batch.ids) for batch in taken[:8])
        assert facts['droppedExamples'] == 60 - sum(map(len, taken[:8]))
    assert facts['truncatedExamples'] > 10
    assert [code for code, _ in heard.warned] == ['EXAMPLES_DROPPED', 'EXAMPLES_TRUNCATED']
    assert f'{facts["truncatedExamples"]} of 60 examples are longer' in heard.warned[-1][1]


def test_a_step_of_which_nothing_is_left_changes_nothing(models, tmp_path):
    """A batch of one: the step of the example without an answer has no tokens, and the run goes on."""
    rows = completion_rows(3)
    rows[1]['segments'] = [['the quick brown', False], ['', True]]
    events = run_here(train_spec(tmp_path, models(), rows, data={'kind': 'conversation'}, training={'batchSize': 1}))
    steps = [event for event in events if event['event'] == 'step']
    assert sorted(event['trainedTokens'] > 0 for event in steps) == [False, True, True]
    assert next(event for event in events if event['event'] == 'prepared')['totalSteps'] == 3
    empty = next(event for event in steps if event['trainedTokens'] == 0)
    assert empty['gradNorm'] == 0
