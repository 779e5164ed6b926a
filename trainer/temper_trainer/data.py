"""A rendered set as token arrays, and the plan of a run: which examples make which step, and how a step is packed."""

import bisect
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from math import ceil
from pathlib import Path

import numpy as np

from temper_trainer.events import Events
from temper_trainer.failures import TrainerFailure
from temper_trainer.process import StopRequest
from temper_trainer.spec import DataSpec, Extension
from temper_trainer.tokens import Encoder

CHUNK_EXAMPLES = 1000


@dataclass(frozen=True)
class RenderedExample:
    line: int
    segments: list[list]
    label: str | None


@dataclass(frozen=True)
class Encoded:
    """An example within the cut-off."""

    line: int
    ids: np.ndarray  # int32
    trained: np.ndarray  # bool; never the first token of an example, which nothing predicts
    cut: bool
    lost: int  # trained tokens that the cut-off took


@dataclass
class EncodedExamples:
    """Examples end to end: example i is `ids[offsets[i]:offsets[i + 1]]`. Each has a trained token."""

    ids: np.ndarray  # int32
    trained: np.ndarray  # bool
    offsets: np.ndarray  # int64, one more than examples
    lines: np.ndarray  # int64, the dataset's line of each example

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)

    def example(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        start, end = self.offsets[index], self.offsets[index + 1]
        return self.ids[start:end], self.trained[start:end]

    def digest(self) -> str:
        """SHA-256 of tokens and masks: the same data under another tokenizer is other data."""
        digest = hashlib.sha256()
        for array in (self.ids, self.trained, self.offsets):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


@dataclass
class Reading:
    """What was read of a set, and what the cut-off did to it."""

    examples: int = 0
    tokens: int = 0
    trained: int = 0
    truncated: int = 0
    dropped: int = 0
    lost: int = 0
    truncated_lines: list[int] = field(default_factory=list)  # the first of them
    dropped_lines: list[int] = field(default_factory=list)

    def add(self, encoded: Encoded) -> bool:
        """Whether the example has a token to train on."""
        self.examples += 1
        if not encoded.trained.any():
            self.dropped += 1
            keep_first(self.dropped_lines, encoded.line)
            return False
        self.tokens += len(encoded.ids)
        self.trained += int(encoded.trained.sum())
        if encoded.cut:
            self.truncated += 1
            self.lost += encoded.lost
            keep_first(self.truncated_lines, encoded.line)
        return True

    def warn(self, cutoff: int, events: Events, of: str = '') -> None:
        """`of`: what part of the set these are, as in ` read first`."""
        if self.dropped:
            events.warn(
                'EXAMPLES_DROPPED',
                f'{self.dropped} of {self.examples} examples{of} keep no token to train on within {cutoff} tokens: '
                f'they are left out ({name_lines(self.dropped_lines, self.dropped)}).',
            )
        if self.truncated:
            events.warn(
                'EXAMPLES_TRUNCATED',
                f'{self.truncated} of {self.examples} examples{of} are longer than {cutoff} tokens and were cut '
                f'({name_lines(self.truncated_lines, self.truncated)}): {self.lost} tokens that would be trained on are lost.',
            )


def encode_examples(examples: list[RenderedExample], data: DataSpec, encoder: Encoder) -> list[Encoded]:
    encoded = []
    for example, (tokens, mask) in zip(examples, encoder.encode([example.segments for example in examples]), strict=True):
        kept_tokens, kept_mask = truncate(tokens, mask, data.cutoffLength, data.kind, encoder.bos)
        if kept_mask:
            kept_mask[0] = False
        cut = len(kept_tokens) < len(tokens)
        lost = sum(mask) - sum(kept_mask) if cut else 0
        encoded.append(Encoded(example.line, np.array(kept_tokens, np.int32), np.array(kept_mask, bool), cut, lost))
    return encoded


def join_examples(encoded: list[Encoded]) -> EncodedExamples:
    lengths = [len(each.ids) for each in encoded]
    return EncodedExamples(
        ids=np.concatenate([each.ids for each in encoded]) if encoded else np.zeros(0, np.int32),
        trained=np.concatenate([each.trained for each in encoded]) if encoded else np.zeros(0, bool),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        lines=np.array([each.line for each in encoded], np.int64),
    )


def encode_file(data: DataSpec, encoder: Encoder, events: Events, stop: StopRequest, limit: int | None = None) -> EncodedExamples:
    """Reads, encodes and truncates a file of examples. Those that keep no trained token are dropped, with a warning."""
    kept: list[Encoded] = []
    reading = Reading()
    for chunk in read_chunks(data.path, limit):
        stop.check()
        kept += [encoded for encoded in encode_examples(chunk, data, encoder) if reading.add(encoded)]
        events.progress('tokenize', reading.examples, None)
    events.progress('tokenize', reading.examples, reading.examples, always=True)
    reading.warn(data.cutoffLength, events)
    if not kept:
        raise nothing_to_train_on(reading.examples, data)
    return join_examples(kept)


def nothing_to_train_on(examples: int, data: DataSpec) -> TrainerFailure:
    return TrainerFailure(
        'NO_TRAINABLE_TOKENS', f'None of the {examples} examples has a token to train on within {data.cutoffLength} tokens.'
    )


NAMED_LINES = 5


def keep_first(lines: list[int], line: int) -> None:
    bisect.insort(lines, line)
    del lines[NAMED_LINES:]


def name_lines(lines: list[int], count: int) -> str:
    """The first lines of the dataset that something is about."""
    return f'{"line" if count == 1 else "lines"} {", ".join(map(str, lines))}{", …" if count > len(lines) else ""}'


def truncate(ids: list[int], trained: list[bool], cutoff: int, kind: str, bos: int | None) -> tuple[list[int], list[bool]]:
    """A conversation loses its end. A prompt with one answer loses the beginning of the prompt (but not BOS), whose end holds the
    question; only an answer that alone takes more than half the room loses its own end."""
    if len(ids) <= cutoff:
        return ids, trained
    if kind == 'conversation' or True not in trained:
        return ids[:cutoff], trained[:cutoff]
    prompt = trained.index(True)
    answer_kept = min(len(ids) - prompt, max(cutoff - prompt, cutoff // 2))
    prompt_kept = cutoff - answer_kept
    cut_prompt = shorten_prompt(ids[:prompt], prompt_kept, bos)
    return cut_prompt + ids[prompt : prompt + answer_kept], [False] * len(cut_prompt) + trained[prompt : prompt + answer_kept]


def shorten_prompt(prompt: list[int], room: int, bos: int | None) -> list[int]:
    """BOS, where there is one, and the end of the prompt."""
    if len(prompt) <= room:
        return prompt
    head = prompt[: min(1, room)] if prompt[:1] == [bos] else []
    return head + prompt[len(prompt) - room + len(head) :]


def read_chunks(path: str, limit: int | None) -> Iterator[list[RenderedExample]]:
    chunk: list[RenderedExample] = []
    for number, example in enumerate(read_examples(path)):
        if limit is not None and number >= limit:
            break
        chunk.append(example)
        if len(chunk) == CHUNK_EXAMPLES:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def read_examples(path: str) -> Iterator[RenderedExample]:
    with open_file(path) as file:
        for number, line in enumerate(file, 1):
            yield parse_example(line, f'line {number} of {path}')


def open_file(path: str | Path):
    try:
        return open(path, 'rb')
    except OSError as error:
        raise TrainerFailure('SPEC_INVALID', f'data.path: {path} cannot be opened: {error.strerror}.') from error


def parse_example(text: bytes, place: str) -> RenderedExample:
    try:
        raw = json.loads(text)
        example = RenderedExample(raw['line'], raw['segments'], raw.get('label'))
        fits = isinstance(example.line, int) and all(is_segment(segment) for segment in example.segments)
    except (ValueError, KeyError, TypeError, AttributeError):
        fits = False
    if not fits:
        raise TrainerFailure('SPEC_INVALID', f'data.path: {place} is not a rendered example.')
    return example


def is_segment(segment: object) -> bool:
    return (
        isinstance(segment, list)
        and len(segment) in (2, 3)
        and isinstance(segment[0], str)
        and all(isinstance(flag, bool) for flag in segment[1:])
    )


class ExampleSet:
    """The training examples of a rendered set: a folder with `set.json`, files of examples in the dataset's order, and an index.
    Examples are read by number, one by one, so that a run reads no more than it trains on."""

    def __init__(self, path: str):
        self.path = path
        with open_file(Path(path) / 'set.json') as file:
            text = file.read()
        self.digest = hashlib.sha256(text).hexdigest()  # of the hashes of all files
        try:
            described = json.loads(text)
            counts = [file['examples'] for file in described['files']]
            held = described['heldOut']
            with open_file(Path(path) / 'index.bin') as file:
                index = np.frombuffer(file.read(), '<u4')
            lengths = index[: sum(counts)]
            self.files = [open_file(Path(path) / file['name']) for file in described['files']]
            fits = len(index) == sum(counts) + held
        except (ValueError, KeyError, TypeError):
            fits = False
        if not fits:
            raise TrainerFailure('SPEC_INVALID', f'data.path: {path} is not a rendered set.')
        # Of each example: its place among all of the dataset, the file it is in, and where it begins there.
        self.first_of_file = np.concatenate([[0], np.cumsum(counts)])
        ends = np.cumsum(lengths, dtype=np.int64)
        file_starts = np.concatenate([[0], ends])[self.first_of_file]
        is_held = np.zeros(len(lengths), bool)
        is_held[index[len(lengths) :]] = True
        self.places = np.flatnonzero(~is_held).astype(np.uint32)
        self.starts, self.lengths, self.file_starts = ends - lengths, lengths, file_starts

    def __len__(self) -> int:
        return len(self.places)

    def read(self, numbers: Iterable[int]) -> list[RenderedExample]:
        return [self.read_one(int(number)) for number in numbers]

    def read_one(self, number: int) -> RenderedExample:
        place = int(self.places[number])
        file = int(np.searchsorted(self.first_of_file, place, 'right')) - 1
        start = int(self.starts[place] - self.file_starts[file])
        text = os.pread(self.files[file].fileno(), int(self.lengths[place]), start)
        return parse_example(text, f'example {place + 1} of {self.path}')


@dataclass(frozen=True)
class Plan:
    """Which examples each step trains on. A function of counts and the seed, so it needs no saving."""

    examples: int
    batch_size: int
    steps_per_epoch: int
    total_steps: int
    seed: int
    totals: tuple[tuple[int, int], ...]  # (step, steps in all as planned after that step), in order; the first is (0, …)

    def total_at(self, step: int) -> int:
        """How many steps the run was to have when the 1-based `step` was made: a run may be extended while it goes on."""
        return next(total for after, total in reversed(self.totals) if after < step or after == 0)

    def examples_of(self, step: int) -> np.ndarray:
        """Example indexes of the 0-based `step`; the last step of an epoch may have fewer than `batch_size`."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = order_of_epoch(self.examples, self.seed, epoch)
        return order[position * self.batch_size : (position + 1) * self.batch_size]


@lru_cache(maxsize=1)
def order_of_epoch(examples: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(examples)


def make_plan(examples: int, batch_size: int, epochs: float, seed: int, extensions: Iterable[Extension] = ()) -> Plan:
    steps_per_epoch = ceil(examples / batch_size)
    totals = [(0, count_steps(epochs, steps_per_epoch))]
    for extension in extensions:
        total = count_steps(extension.epochs, steps_per_epoch)
        if total < extension.step:
            raise TrainerFailure('SPEC_INVALID', f'training.extensions: {total} steps are fewer than the {extension.step} that were made.')
        totals.append((extension.step, total))
    return Plan(examples, batch_size, steps_per_epoch, totals[-1][1], seed, tuple(totals))


def count_steps(epochs: float, steps_per_epoch: int) -> int:
    # As the decimal that was written: 1.1 × 10 is 11 steps, not the 12 that binary rounding would make.
    return ceil(Fraction(str(epochs)) * steps_per_epoch)


def fill_packs(lengths: np.ndarray, indexes: np.ndarray, capacity: int) -> list[list[int]]:
    """Distributes examples over packs of at most `capacity` tokens, first fit by decreasing length. A longer one is its own pack."""
    packs: list[list[int]] = []
    room: list[int] = []
    for index in sorted(indexes.tolist(), key=lambda index: (-lengths[index], index)):
        length = int(lengths[index])
        place = next((place for place, left in enumerate(room) if left >= length), None)
        if place is None:
            packs.append([index])
            room.append(max(0, capacity - length))
        else:
            packs[place].append(index)
            room[place] -= length
    return packs
