"""Evaluation against the slow and obvious way of doing it, and against plain PEFT in a process of its own."""

import json
import math
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import LABELS, classification_rows, completion_rows, train_spec
from runs import run_here
from test_loss import prepare
from tinymodels import FAMILIES, WORDS, write_lines

from temper_trainer.evaluate import Losses, accuracy_interval, perplexity_interval
from temper_trainer.failures import TrainerFailure
from temper_trainer.labels import LabelTree, Verdict, classify
from temper_trainer.model import load_adapter
from temper_trainer.paired import accuracy_change, perplexity_change


def naive_scores(model, prompt: list[int], sequences: list[list[int]]) -> list[float]:
    """Log-likelihood of each label by one whole forward pass each."""
    scores = []
    for tokens in sequences:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + tokens[:-1]]), use_cache=False).logits[0]
        log_probabilities = logits[len(prompt) - 1 :].log_softmax(-1)
        scores.append(log_probabilities.gather(1, torch.tensor(tokens)[:, None]).sum().item())
    return scores


def random_labels(dice: random.Random, count: int) -> list[list[int]]:
    """Token sequences with common beginnings, some within others, each ended by EOS (2)."""
    labels: set[tuple[int, ...]] = {(7,), (7, 8), (7, 8, 9, 10)}
    while len(labels) < count:
        labels.add(tuple(dice.choice([7, 8, 9, 40, 41, dice.randint(6, 400)]) for _ in range(dice.randint(1, 5))))
    return [[*label, 2] for label in sorted(labels)]


@pytest.mark.parametrize('family', FAMILIES)
def test_the_tree_finds_what_scoring_every_label_finds(models, tmp_path, family):
    """Random weights make every label about as likely: the worst case for the bound. Prompts longer than the sliding window."""
    _, model = prepare(models, family, tmp_path, completion_rows(1))
    model.eval()
    dice = random.Random(1)
    sequences = random_labels(dice, 40)
    prompts = [[1, *(dice.randint(6, 400) for _ in range(dice.randint(1, 90)))] for _ in range(6)]
    expected = [dice.randrange(len(sequences)) for _ in prompts]
    for context in (model.disable_adapter(), torch.no_grad()):
        with context:
            verdicts = classify(model, prompts, expected, LabelTree(sequences), pad=0)
            for prompt, label, verdict in zip(prompts, expected, verdicts, strict=True):
                scores = naive_scores(model, prompt, sequences)
                assert verdict.log_likelihood == pytest.approx(max(scores), abs=2e-4)
                assert scores[verdict.label] == pytest.approx(max(scores), abs=2e-4)
                assert verdict.expected_log_likelihood == pytest.approx(scores[label], abs=2e-4)


def evaluate_spec(train: dict, rows: list[dict], **changes) -> dict:
    folder = Path(train['outputPath']).parent
    return {
        'version': 1,
        'work': 'evaluate',
        'model': train['model'],
        'adapterPath': train['outputPath'],
        'data': {**train['data'], 'path': str(write_lines(folder / 'eval.jsonl', rows))},
        'maxExamples': None,
        'outputPath': str(folder / 'report.json'),
        **changes,
    }


PLAIN_PEFT = """
import json, math, sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base, adapter, rows = sys.argv[1:4]
tokenizer = AutoTokenizer.from_pretrained(adapter)
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter).eval()
rows = [json.loads(line) for line in open(rows)]

@torch.no_grad()
def loss(prompt, answer):
    head = tokenizer(prompt).input_ids
    tail = tokenizer(answer, add_special_tokens=False).input_ids + [tokenizer.eos_token_id]
    log = model(input_ids=torch.tensor([head + tail[:-1]])).logits[0, len(head) - 1:].log_softmax(-1)
    return -log.gather(1, torch.tensor(tail)[:, None]).sum().item(), len(tail)

if 'label' in rows[0]:
    labels = json.loads(sys.argv[4])
    def score():
        return [[-loss(row['segments'][0][0] + row['segments'][1][0], label)[0] for label in labels] for row in rows]
    with model.disable_adapter():
        base = score()
    print(json.dumps({'base': base, 'tuned': score()}))
else:
    losses = [loss(row['segments'][0][0], row['segments'][1][0]) for row in rows]
    print(math.exp(sum(total for total, _ in losses) / sum(count for _, count in losses)))
"""


def with_plain_peft(spec: dict):
    """The perplexity; of a classification the log-likelihood of each label for each row, by base and tuned model."""
    command = [sys.executable, '-c', PLAIN_PEFT, spec['model']['path'], spec['adapterPath'], spec['data']['path'], json.dumps(LABELS)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_classification_end_to_end(models, tmp_path):
    train = train_spec(
        tmp_path, models(), classification_rows(200), data={'kind': 'textClassification'}, training={'epochs': 4, 'learningRate': 0.02}
    )
    run_here(train)
    rows = classification_rows(60, seed=9)
    spec = evaluate_spec(train, rows, labels=LABELS, verify=True)
    told = run_here(spec)
    events = {event['target']: event for event in told if event['event'] == 'evaluated'}
    verified = next(event for event in told if event['event'] == 'verified')
    assert verified['rows'] == 8
    assert 0 < verified['largestDifference'] < 1e-4
    assert events['tuned']['value'] > events['base']['value'] + 0.2
    report = json.loads(Path(spec['outputPath']).read_text())
    expected, scores = [row['label'] for row in rows], with_plain_peft(spec)
    given = {target: [LABELS[of_row.index(max(of_row))] for of_row in scores[target]] for target in scores}
    right = {target: [label == answer for label, answer in zip(expected, given[target], strict=True)] for target in scores}
    of_expected = {
        target: [of_row[LABELS.index(label)] for label, of_row in zip(expected, scores[target], strict=True)] for target in scores
    }
    for target in ('base', 'tuned'):
        found = report[target]
        assert (found['value'], found['low'], found['high']) == tuple(events[target][name] for name in ('value', 'low', 'high'))
        assert found['value'] == sum(right[target]) / 60
        assert found['meanLogLikelihood'] == pytest.approx(sum(of_expected[target]) / 60, abs=1e-4)
        confused = Counter((label, answer) for label, answer in zip(expected, given[target], strict=True) if label != answer)
        assert {(pair['expected'], pair['predicted']): pair['count'] for pair in found['confusions']} == confused
        counted = {label['label']: (label['expected'], label['predicted'], label['correct']) for label in found['labels']}
        for label in LABELS:
            wrong = sum(confused[label, other] for other in LABELS)
            assert counted[label] == (expected.count(label), given[target].count(label), expected.count(label) - wrong)
    assert report['change'] == events['tuned']['change'] == accuracy_change(right['base'], right['tuned']).facts()
    assert len(report['samples']) == 50
    first = report['samples'][0]
    assert first['base'] != first['tuned']
    for sample in report['samples']:
        row = sample['line'] - 1
        assert (sample['expected'], sample['base'], sample['tuned']) == (expected[row], given['base'][row], given['tuned'][row])
        assert sample['logLikelihoodGain'] == pytest.approx(of_expected['tuned'][row] - of_expected['base'][row], abs=1e-4)


def test_perplexity_end_to_end(models, tmp_path):
    train = train_spec(tmp_path, models(), completion_rows(60), training={'epochs': 2})
    run_here(train)
    spec = evaluate_spec(train, completion_rows(30, seed=5))
    events = {event['target']: event for event in run_here(spec) if event['event'] == 'evaluated'}
    assert events['tuned']['value'] < events['base']['value'] / 1.5
    assert events['tuned']['value'] == pytest.approx(with_plain_peft(spec), rel=1e-5)
    assert events['tuned']['low'] < events['tuned']['value'] < events['tuned']['high']
    report = json.loads(Path(spec['outputPath']).read_text())
    assert report['tuned']['value'] == events['tuned']['value']
    change = events['tuned']['change']
    assert report['change'] == change and 'change' not in events['base']
    assert change['value'] == pytest.approx(events['tuned']['value'] / events['base']['value'])
    assert change['low'] < change['value'] < change['high'] < 1 and change['pValue'] < 0.01
    assert len(report['samples']) == 30
    assert all(sample['text'].split()[0] in WORDS for sample in report['samples'])


@pytest.mark.parametrize('quantization', ['none', 'nf4'])
def test_an_adapter_that_gives_something_else_when_it_is_loaded_again_is_refused(models, tmp_path, quantization, monkeypatch):
    train = train_spec(tmp_path, models(), completion_rows(16), model={'quantization': quantization})
    run_here(train)
    spec = evaluate_spec(train, completion_rows(12), verify=True)
    assert next(event for event in run_here(spec) if event['event'] == 'verified')['rows'] == 8

    def load_damaged(base, path):
        model = load_adapter(base, path)
        for name, parameter in model.named_parameters():
            if 'lora_B' in name:
                parameter.data *= -20
        return model

    monkeypatch.setattr('temper_trainer.verify.load_adapter', load_damaged)
    with pytest.raises(TrainerFailure) as refused:
        run_here(spec)
    assert refused.value.code == 'MODEL_NOT_VERIFIED'
    kept = ('version', 'model', 'adapterPath')
    monkeypatch.undo()
    assert run_here({**{name: spec[name] for name in kept}, 'data': train['data'], 'work': 'verify'})[-2]['rows'] == 4


def test_only_the_first_rows_count_when_there_are_more(models, tmp_path):
    train = train_spec(tmp_path, models(), completion_rows(16))
    run_here(train)
    events = run_here(evaluate_spec(train, completion_rows(30), maxExamples=7))
    assert [event['examples'] for event in events if event['event'] == 'evaluated'] == [7, 7]


def test_wilson_interval_of_the_literature():
    """8 of 10: 0.490 to 0.943 (Wilson 1927, without continuity correction)."""
    verdicts = [Verdict(0, 0, 0)] * 8 + [Verdict(1, 0, 0)] * 2
    value, low, high = accuracy_interval([0] * 10, verdicts)
    assert (value, round(low, 3), round(high, 3)) == (0.8, 0.490, 0.943)


def test_the_interval_of_a_perplexity_covers_what_resampling_covers():
    dice = np.random.default_rng(0)
    counts = dice.integers(1, 40, 300).astype(float)
    sums = counts * 2 + dice.normal(0, 1, 300) * np.sqrt(counts)
    value, low, high = perplexity_interval(Losses(sums, counts))
    resampled = []
    for _ in range(2000):
        chosen = dice.integers(0, 300, 300)
        resampled.append(math.exp(sums[chosen].sum() / counts[chosen].sum()))
    assert value == pytest.approx(math.exp(sums.sum() / counts.sum()))
    assert [low, high] == pytest.approx(np.quantile(resampled, [0.025, 0.975]).tolist(), rel=0.01)


def test_a_change_of_accuracy_is_judged_on_the_same_rows():
    """8 rows gained and 2 lost: McNemar's exact test gives 2 × (1 + 10 + 45) / 1024. The interval is that of resampled rows."""
    base, tuned = [False] * 8 + [True] * 42, [True] * 8 + [False] * 2 + [True] * 40
    change = accuracy_change(base, tuned)
    assert change.value == pytest.approx(6 / 50) and change.pValue == 112 / 1024
    dice = np.random.default_rng(0)
    base, tuned = np.array(base * 8), np.array(tuned * 8)
    change = accuracy_change(base.tolist(), tuned.tolist())
    chosen = dice.integers(0, 400, (4000, 400))
    resampled = (tuned[chosen].mean(1) - base[chosen].mean(1)).tolist()
    assert [change.low, change.high] == pytest.approx(np.quantile(resampled, [0.025, 0.975]).tolist(), abs=0.004)
    assert accuracy_change([True] * 5, [True] * 5).pValue == 1


def test_a_change_of_perplexity_is_judged_on_the_same_rows():
    """Rows differ far more among themselves than the models do on any: resampling rows, not the two intervals, shows what is known."""
    dice = np.random.default_rng(0)
    counts = dice.integers(1, 40, 300).astype(float)
    base = counts * dice.normal(2, 1, 300)
    tuned = base - counts * 0.05 + dice.normal(0, 0.5, 300) * np.sqrt(counts)
    change = perplexity_change(base, tuned, counts)
    chosen = dice.integers(0, 300, (2000, 300))
    resampled = np.exp((tuned - base)[chosen].sum(1) / counts[chosen].sum(1))
    assert change.value == pytest.approx(math.exp((tuned.sum() - base.sum()) / counts.sum()))
    assert [change.low, change.high] == pytest.approx(np.quantile(resampled, [0.025, 0.975]).tolist(), rel=0.01)
    assert change.high < 1 and change.pValue < 0.05
    _, low, high = perplexity_interval(Losses(tuned, counts))
    assert change.high - change.low < (high - low) / 5
    assert perplexity_change(base, base, counts).pValue == 1
