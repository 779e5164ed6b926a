"""The examples of each step, encoded ahead of it on a thread of its own, so that no run waits until all of a set is encoded."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from temper_trainer.data import (
    DataSpec,
    Encoded,
    EncodedExamples,
    ExampleSet,
    Plan,
    Reading,
    encode_examples,
    join_examples,
    nothing_to_train_on,
)
from temper_trainer.events import Events
from temper_trainer.process import StopRequest
from temper_trainer.tokens import Encoder

# Examples encoded by one call (the tokenizer works on all cores), and those that may wait for their steps.
CHUNK_EXAMPLES = 256
AHEAD_EXAMPLES = 1024
# Examples encoded before the model is loaded: a random sample of the set, and all of a small one.
FIRST_EXAMPLES = 1000


@dataclass(frozen=True)
class Batch:
    step: int
    examples: EncodedExamples


class Batches:
    """Gives the batches of a plan in order. An example that keeps no token to train on is left out of its step, which stays
    that step. What the cut-off did is told of the first examples before any training, and of all once all were read."""

    def __init__(self, examples: ExampleSet, plan: Plan, data: DataSpec, encoder: Encoder):
        self.examples, self.plan, self.data, self.encoder = examples, plan, data, encoder
        self.first_epoch = min(plan.steps_per_epoch, plan.total_steps)
        self.whole: Reading | None = None  # of the first epoch, once it was read
        self.is_told = False
        self.ready: queue.Queue[Batch | BaseException] = queue.Queue(max(2, AHEAD_EXAMPLES // plan.batch_size))

    def read_first(self, events: Events, stop: StopRequest) -> Reading:
        """Encodes the first steps, and more until there is an example to train on. Warns of what the cut-off does to them."""
        reading = Reading()
        for _, encoded in self.encode(0, self.first_epoch):
            stop.check()
            for each in encoded:
                reading.add(each)
            events.progress('tokenize', reading.examples, None)
            if reading.tokens and reading.examples >= FIRST_EXAMPLES:
                break
        events.progress('tokenize', reading.examples, reading.examples, always=True)
        if not reading.tokens:
            raise nothing_to_train_on(reading.examples, self.data)
        self.is_told = reading.examples == self.epoch_examples()
        reading.warn(self.data.cutoffLength, events, '' if self.is_told else ' read first')
        return reading

    def epoch_examples(self) -> int:
        return min(len(self.examples), self.first_epoch * self.plan.batch_size)

    def start(self, first_step: int) -> None:
        """From here on the encoder is the thread's."""
        threading.Thread(target=self.work, args=(first_step,), name='batches', daemon=True).start()

    def take(self, step: int, events: Events) -> EncodedExamples:
        """The examples of the next step. Also tells of the whole set, when that is known."""
        batch = self.ready.get()
        if isinstance(batch, BaseException):
            raise batch
        if batch.step != step:
            raise RuntimeError(f'the data is at step {batch.step}, the training at {step}')
        if self.whole and not self.is_told:
            self.is_told = True
            events.send('dataRead', **describe_reading(self.whole))
            self.whole.warn(self.data.cutoffLength, events)
        return batch.examples

    def work(self, first_step: int) -> None:
        try:
            reading = Reading()
            for step, encoded in self.encode(first_step, self.plan.total_steps):
                if step < self.first_epoch:
                    kept = [each for each in encoded if reading.add(each)]
                    if step == self.first_epoch - 1:
                        self.whole = self.read_rest(reading, first_step)
                else:
                    kept = [each for each in encoded if each.trained.any()]
                self.ready.put(Batch(step, join_examples(kept)))
        except BaseException as error:  # noqa: BLE001 - raised again by `take`
            self.ready.put(error)

    def read_rest(self, reading: Reading, first_step: int) -> Reading:
        """A run that goes on from a checkpoint counts what it read before that as well."""
        if not self.is_told:
            for _, encoded in self.encode(0, first_step):
                for each in encoded:
                    reading.add(each)
        return reading

    def encode(self, start: int, end: int) -> Iterator[tuple[int, list[Encoded]]]:
        """Steps from `start` up to `end` with their examples."""
        per_call = max(1, CHUNK_EXAMPLES // self.plan.batch_size)
        for first in range(start, end, per_call):
            numbers = [self.plan.examples_of(step) for step in range(first, min(first + per_call, end))]
            flat = iter(encode_examples([each for step in numbers for each in self.examples.read(step)], self.data, self.encoder))
            for offset, of_step in enumerate(numbers):
                yield first + offset, [next(flat) for _ in of_step]


def describe_reading(reading: Reading) -> dict:
    """Fields of `prepared` and `dataRead`."""
    return {
        'readExamples': reading.examples,
        'tokens': reading.tokens,
        'trainedTokens': reading.trained,
        'truncatedExamples': reading.truncated,
        'droppedExamples': reading.dropped,
    }
