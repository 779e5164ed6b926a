"""Evaluation of the base and the tuned model on the same rows: accuracy of classification, perplexity of everything else."""

import json
import math
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch

from temper_trainer.checkpoints import describe_file
from temper_trainer.data import encode_file, fill_packs, read_chunks, shorten_prompt
from temper_trainer.events import Events
from temper_trainer.failures import TrainerFailure
from temper_trainer.labels import LabelTree, Verdict, classify
from temper_trainer.model import find_device, load_adapter, load_base, load_tokenizer
from temper_trainer.packing import make_pack, token_losses
from temper_trainer.paired import Z95, Change, accuracy_change, perplexity_change, safe_exp
from temper_trainer.process import StopRequest, Stopwatch
from temper_trainer.ranks import Ranks
from temper_trainer.spec import EvaluateSpec
from temper_trainer.tokens import Encoder
from temper_trainer.verify import EVALUATED_ROWS, Row, load_again

CPU_BATCH_TOKENS = 2048
GPU_BATCH_TOKENS = 8192
SAMPLES = 50
SAMPLE_CHARACTERS = 2000
REPORT_VERSION = 1


def evaluate(spec: EvaluateSpec, events: Events, stop: StopRequest, watch: Stopwatch) -> dict:
    """Writes the report to `spec.outputPath`. Returns the fields of the `completed` event. Raises Interrupted."""
    device = find_device()
    tokenizer = load_tokenizer(spec.model.path)
    encoder = Encoder(tokenizer, spec.data.kind)
    with watch.part('tokenize'):
        if spec.data.kind == 'textClassification':
            questions = read_questions(spec, encoder)
            examples, tokens = len(questions.prompts), sum(map(len, questions.prompts))
        else:
            encoded = encode_file(spec.data, encoder, events, stop, spec.maxExamples)
            examples, tokens = len(encoded), int(encoded.trained.sum())
    events.progress('loadModel', 0, 1, always=True)
    with watch.part('loadModel'):
        model = load_adapter(load_base(spec.model, device.device), spec.adapterPath)
    events.progress('loadModel', 1, 1, always=True)
    batch_tokens = GPU_BATCH_TOKENS if device.device.type == 'cuda' else CPU_BATCH_TOKENS

    def measure(stage: str):
        def progress(done: int) -> None:
            stop.check()
            events.progress(stage, done, examples, always=done == examples)

        if spec.data.kind == 'textClassification':
            pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
            return answer(model, questions, batch_tokens, pad, progress)
        return measure_losses(model, encoded, batch_tokens, progress)

    results = {}
    for target in ('base', 'tuned'):
        start = time.perf_counter()
        if target == 'base':
            with watch.part('evaluateBase'), model.disable_adapter():
                results[target] = measure('evaluateBase')
        else:
            with watch.part('evaluateTuned'):
                results[target] = measure('evaluateTuned')
        seconds = time.perf_counter() - start
        if spec.data.kind == 'textClassification':
            metric, interval = 'accuracy', accuracy_interval(questions.expected, results[target])
        else:
            metric, interval = 'perplexity', perplexity_interval(results[target])
        value, low, high = interval
        if not math.isfinite(value):
            raise TrainerFailure('LOSS_NOT_FINITE', f'The {metric} of the {target} model is not a finite number.')
        change = {}
        if target == 'tuned':
            found = answered_change(questions, results) if spec.data.kind == 'textClassification' else measured_change(results)
            change = {'change': found.facts()}
        events.send(
            'evaluated', target=target, metric=metric, value=value, low=low, high=high, examples=examples, tokens=tokens,
            seconds=round(seconds, 3), **change,
        )  # fmt: skip

    if spec.data.kind == 'textClassification':
        report = classification_report(questions, results)
    else:
        report = perplexity_report(spec, encoded, results)
    if spec.verify:
        lines = {sample['line'] for sample in report['samples'][:EVALUATED_ROWS]}
        rows = answered_rows(questions, results) if spec.data.kind == 'textClassification' else measured_rows(encoded, results)
        with watch.part('verify'):
            load_again(model.unload(), spec.adapterPath, [row for row in rows if row.line in lines], events)
    head = {'version': REPORT_VERSION, 'kind': spec.data.kind, 'examples': examples, 'tokens': tokens}
    with watch.part('save'):
        write_report(spec.outputPath, {**head, **change, **report})
    return {'step': 0, 'files': [{'name': os.path.basename(spec.outputPath), **describe_file(Path(spec.outputPath))}]}


def answered_change(questions: 'Questions', results: dict) -> Change:
    base, tuned = (
        [verdict.label == label for verdict, label in zip(results[target], questions.expected, strict=True)] for target in ('base', 'tuned')
    )
    return accuracy_change(base, tuned)


def measured_change(results: dict) -> Change:
    return perplexity_change(results['base'].sums, results['tuned'].sums, results['base'].counts)


def answered_rows(questions: 'Questions', results: dict) -> Iterator[Row]:
    for line, prompt, label, base, tuned in zip(
        questions.lines, questions.prompts, questions.expected, results['base'], results['tuned'], strict=True
    ):
        answer = [questions.tree.nodes[node].token for node in questions.tree.paths[label]]
        trained = np.repeat([False, True], [len(prompt), len(answer)])
        yield Row(line, np.array(prompt + answer), trained, -base.expected_log_likelihood, -tuned.expected_log_likelihood)


def measured_rows(examples, results: dict) -> Iterator[Row]:
    for number, line in enumerate(examples.lines.tolist()):
        yield Row(line, *examples.example(number), float(results['base'].sums[number]), float(results['tuned'].sums[number]))


# --- classification ---


@dataclass
class Questions:
    """The evaluation set of a classification: prompts without their answers, and the answers as places in `labels`."""

    prompts: list[list[int]]
    expected: list[int]
    lines: list[int]
    texts: list[str]
    labels: list[str]
    tree: LabelTree


def read_questions(spec: EvaluateSpec, encoder: Encoder) -> Questions:
    rows = [example for chunk in read_chunks(spec.data.path, spec.maxExamples) for example in chunk]
    if not rows:
        raise TrainerFailure('NO_TRAINABLE_TOKENS', f'The evaluation set {spec.data.path} is empty.')
    place = {label: number for number, label in enumerate(spec.labels)}
    unknown = next((row for row in rows if row.label not in place), None)
    if unknown:
        raise TrainerFailure('SPEC_INVALID', f'labels: line {unknown.line} of the dataset has {unknown.label!r}, which is not among them.')
    answer_segment = rows[0].segments[-1]
    literal = len(answer_segment) > 2 and answer_segment[2]
    sequences = [encoder.encode_answer(label, literal) for label in spec.labels]
    room = spec.data.cutoffLength - max(map(len, sequences))
    return Questions(
        prompts=[
            shorten_prompt(ids[: trained.index(True)], max(1, room), encoder.bos)
            for ids, trained in encoder.encode([row.segments for row in rows])
        ],
        expected=[place[row.label] for row in rows],
        lines=[row.line for row in rows],
        texts=[''.join(segment[0] for segment in row.segments if not segment[1]) for row in rows],
        labels=spec.labels,
        tree=LabelTree(sequences),
    )


def answer(model, questions: Questions, batch_tokens: int, pad: int, progress) -> list[Verdict]:
    """A verdict for each prompt, in order. Prompts of like length share a batch, so that little of it is padding."""
    order = sorted(range(len(questions.prompts)), key=lambda number: -len(questions.prompts[number]))
    verdicts: list[Verdict | None] = [None] * len(order)
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // len(questions.prompts[order[start]]))
        batch = order[start : start + size]
        found = classify(
            model,
            [questions.prompts[number] for number in batch],
            [questions.expected[number] for number in batch],
            questions.tree,
            pad,
        )
        for number, verdict in zip(batch, found, strict=True):
            verdicts[number] = verdict
        start += len(batch)
        progress(start)
    return verdicts


def accuracy_interval(expected: list[int], verdicts: list[Verdict]) -> tuple[float, float, float]:
    """Share of right answers, with Wilson's score interval."""
    count = len(expected)
    share = sum(verdict.label == label for verdict, label in zip(verdicts, expected, strict=True)) / count
    centre = (share + Z95**2 / (2 * count)) / (1 + Z95**2 / count)
    half = Z95 / (1 + Z95**2 / count) * math.sqrt(share * (1 - share) / count + Z95**2 / (4 * count**2))
    return share, max(0.0, centre - half), min(1.0, centre + half)


def classification_report(questions: Questions, results: dict[str, list[Verdict]]) -> dict:
    report = {}
    for target, verdicts in results.items():
        value, low, high = accuracy_interval(questions.expected, verdicts)
        given = [verdict.label for verdict in verdicts]
        right = Counter(label for label, other in zip(questions.expected, given, strict=True) if label == other)
        confused = Counter((label, other) for label, other in zip(questions.expected, given, strict=True) if label != other)
        expected, predicted = Counter(questions.expected), Counter(given)
        report[target] = {
            'metric': 'accuracy',
            'value': value,
            'low': low,
            'high': high,
            'meanLogLikelihood': fmean(verdict.expected_log_likelihood for verdict in verdicts),
            'labels': [
                {'label': name, 'expected': expected[number], 'predicted': predicted[number], 'correct': right[number]}
                for number, name in enumerate(questions.labels)
            ],
            'confusions': [
                {'expected': questions.labels[label], 'predicted': questions.labels[other], 'count': count}
                for (label, other), count in confused.most_common()
            ],
        }
    base, tuned = results['base'], results['tuned']
    gain = [after.expected_log_likelihood - before.expected_log_likelihood for before, after in zip(base, tuned, strict=True)]
    # Where the answers differ first, then by how much likelier the right answer became or ceased to be.
    order = sorted(range(len(gain)), key=lambda number: (base[number].label == tuned[number].label, -abs(gain[number])))
    report['samples'] = [
        {
            'line': questions.lines[number],
            'prompt': questions.texts[number][-SAMPLE_CHARACTERS:],
            'expected': questions.labels[questions.expected[number]],
            'base': questions.labels[base[number].label],
            'tuned': questions.labels[tuned[number].label],
            'logLikelihoodGain': gain[number],
        }
        for number in order[:SAMPLES]
    ]
    return report


# --- perplexity ---


@dataclass
class Losses:
    """Per example: the sum of negative log-likelihoods over its trained tokens, and their number."""

    sums: np.ndarray
    counts: np.ndarray


@torch.no_grad()
def measure_losses(model, examples, batch_tokens: int, progress, ranks: Ranks | None = None) -> Losses:
    """Of each example, summed over its trained tokens. With `ranks`, each runs a part and all get the whole."""
    device = next(model.parameters()).device
    sums = torch.zeros(len(examples), dtype=torch.double, device=device)
    counts = np.array([examples.example(index)[1].sum() for index in range(len(examples))], np.float64)
    done = 0
    packs = fill_packs(examples.lengths, np.arange(len(examples)), batch_tokens)
    rank, world = (ranks.rank, ranks.world) if ranks else (0, 1)
    for first in range(0, len(packs), world):
        # Where the base model is split all take part in each pass: one too many runs the last pack for nothing.
        if first + rank < len(packs) or (ranks and ranks.sharded):
            indexes = packs[min(first + rank, len(packs) - 1)]
            pack = make_pack(examples, indexes, device)
            losses = token_losses(model, pack).double()
            if first + rank < len(packs):
                sums[indexes] = torch.zeros(len(indexes), dtype=torch.double, device=device).index_add_(0, pack.owner, losses)
        done += sum(map(len, packs[first : first + world]))
        progress(done)
    if ranks:
        ranks.add(sums)
    return Losses(sums.cpu().numpy(), counts)


def perplexity_interval(losses: Losses) -> tuple[float, float, float]:
    """exp of the mean loss of all trained tokens together. Its interval treats examples, not tokens, as independent: the delta
    method for a ratio of sums, on the logarithm. One example alone says nothing about the spread."""
    examples = len(losses.sums)
    mean = losses.sums.sum() / losses.counts.sum()
    if examples < 2:
        return safe_exp(mean), safe_exp(mean), safe_exp(mean)
    residuals = losses.sums - mean * losses.counts
    error = math.sqrt((residuals**2).sum() * examples / (examples - 1)) / losses.counts.sum()
    return safe_exp(mean), safe_exp(mean - Z95 * error), safe_exp(mean + Z95 * error)


def perplexity_report(spec: EvaluateSpec, examples, results: dict[str, Losses]) -> dict:
    report = {}
    for target, losses in results.items():
        value, low, high = perplexity_interval(losses)
        report[target] = {'metric': 'perplexity', 'value': value, 'low': low, 'high': high, 'meanLoss': math.log(value)}
    base, tuned = results['base'], results['tuned']
    gain = (base.sums - tuned.sums) / base.counts
    order = np.argsort(-np.abs(gain), kind='stable')[:SAMPLES].tolist()
    wanted = {int(examples.lines[number]) for number in order}
    texts = {}
    for chunk in read_chunks(spec.data.path, spec.maxExamples):
        texts.update({row.line: row.segments for row in chunk if row.line in wanted})
    report['samples'] = [
        {
            'line': int(examples.lines[number]),
            'text': ''.join(segment[0] for segment in texts[int(examples.lines[number])])[:SAMPLE_CHARACTERS],
            'trainedTokens': int(base.counts[number]),
            'basePerplexity': safe_exp(base.sums[number] / base.counts[number]),
            'tunedPerplexity': safe_exp(tuned.sums[number] / tuned.counts[number]),
        }
        for number in order
    ]
    return report


def write_report(path: str, report: dict) -> None:
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_name(f'.{target.name}.building')
    building.write_text(json.dumps(report, ensure_ascii=False, allow_nan=False, indent=1) + '\n', encoding='utf-8')
    os.replace(building, target)
