"""A rendered set as token arrays, and the plan of a run: which examples make which step, and how a step is packed."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil

import numpy as np

from temper_trainer.events import Events
from temper_trainer.failures import TrainerFailure
from temper_trainer.process import StopRequest
from temper_trainer.spec import DataSpec
from temper_trainer.tokens import Encoder

CHUNK_EXAMPLES = 1000


@dataclass(frozen=True)
class RenderedExample:
    line: int
    segments: list[list]
    label: str | None


@dataclass
class EncodedExamples:
    """All examples end to end: example i is `ids[offsets[i]:offsets[i + 1]]`. Flat arrays, because a set may have millions."""

    ids: np.ndarray  # int32
    trained: np.ndarray  # bool; never the first token of an example, which nothing predicts
    offsets: np.ndarray  # int64, one more than examples
    lines: np.ndarray  # int64, the dataset's line of each example
    truncated: int
    dropped: int

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


def encode_file(data: DataSpec, encoder: Encoder, events: Events, stop: StopRequest, limit: int | None = None) -> EncodedExamples:
    """Reads, encodes and truncates the rendered set. Examples that keep no trained token are dropped, with a warning."""
    ids: list[np.ndarray] = []
    trained: list[np.ndarray] = []
    lengths: list[int] = []
    lines: list[int] = []
    done = lost = 0
    truncated: list[int] = []
    dropped: list[int] = []
    for chunk in read_chunks(data.path, limit):
        stop.check()
        for example, (tokens, mask) in zip(chunk, encoder.encode([example.segments for example in chunk]), strict=True):
            kept_tokens, kept_mask = truncate(tokens, mask, data.cutoffLength, data.kind, encoder.bos)
            if kept_mask:
                kept_mask[0] = False
            if not any(kept_mask):
                dropped.append(example.line)
                continue
            if len(kept_tokens) < len(tokens):
                truncated.append(example.line)
                lost += sum(mask) - sum(kept_mask)
            ids.append(np.array(kept_tokens, np.int32))
            trained.append(np.array(kept_mask, bool))
            lengths.append(len(kept_tokens))
            lines.append(example.line)
        done += len(chunk)
        events.progress('tokenize', done, None)
    events.progress('tokenize', done, done, always=True)
    if dropped:
        events.warn(
            'EXAMPLES_DROPPED',
            f'{len(dropped)} of {done} examples keep no token to train on within {data.cutoffLength} tokens: '
            f'they are left out ({name_lines(dropped)}).',
        )
    if not lines:
        raise TrainerFailure(
            'NO_TRAINABLE_TOKENS', f'None of the {done} examples has a token to train on within {data.cutoffLength} tokens.'
        )
    if truncated:
        events.warn(
            'EXAMPLES_TRUNCATED',
            f'{len(truncated)} of {done} examples are longer than {data.cutoffLength} tokens and were cut ({name_lines(truncated)}): '
            f'{lost} tokens that would be trained on are lost.',
        )
    return EncodedExamples(
        ids=np.concatenate(ids),
        trained=np.concatenate(trained),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        lines=np.array(lines, np.int64),
        truncated=len(truncated),
        dropped=len(dropped),
    )


def name_lines(lines: list[int]) -> str:
    """The first lines of the dataset that something is about."""
    named = ', '.join(map(str, lines[:5]))
    return f'{"line" if len(lines) == 1 else "lines"} {named}{", …" if len(lines) > 5 else ""}'


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
    try:
        file = open(path, 'rb')  # noqa: SIM115 - closed below; the error must name the field
    except OSError as error:
        raise TrainerFailure('SPEC_INVALID', f'data.path: {path} cannot be opened: {error.strerror}.') from error
    with file:
        for number, line in enumerate(file, 1):
            try:
                raw = json.loads(line)
                example = RenderedExample(raw['line'], raw['segments'], raw.get('label'))
                fits = isinstance(example.line, int) and all(is_segment(segment) for segment in example.segments)
            except (ValueError, KeyError, TypeError, AttributeError):
                fits = False
            if not fits:
                raise TrainerFailure('SPEC_INVALID', f'data.path: line {number} of {path} is not a rendered example.')
            yield example


def is_segment(segment: object) -> bool:
    return (
        isinstance(segment, list)
        and len(segment) in (2, 3)
        and isinstance(segment[0], str)
        and all(isinstance(flag, bool) for flag in segment[1:])
    )


@dataclass(frozen=True)
class Plan:
    """Which examples each step trains on. A function of counts and the seed, so it needs no saving."""

    examples: int
    batch_size: int
    steps_per_epoch: int
    total_steps: int
    seed: int

    def examples_of(self, step: int) -> np.ndarray:
        """Example indexes of the 0-based `step`; the last step of an epoch may have fewer than `batch_size`."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = order_of_epoch(self.examples, self.seed, epoch)
        return order[position * self.batch_size : (position + 1) * self.batch_size]


@lru_cache(maxsize=1)
def order_of_epoch(examples: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(examples)


def make_plan(examples: int, batch_size: int, epochs: float, seed: int) -> Plan:
    steps_per_epoch = ceil(examples / batch_size)
    # As the decimal that was written: 1.1 × 10 is 11 steps, not the 12 that binary rounding would make.
    total_steps = ceil(Fraction(str(epochs)) * steps_per_epoch)
    return Plan(examples, batch_size, steps_per_epoch, total_steps, seed)


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
