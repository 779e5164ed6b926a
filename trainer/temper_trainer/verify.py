"""A finished adapter loaded from its files as anyone would load it, and asked for a few rows one by one: no packing, no batches,
no label tree. What `evaluate` found by all of these must be found again by the plain way before a model is published.
"""

from dataclasses import dataclass

import numpy as np
import torch

from temper_trainer.data import Encoded, ExampleSet, encode_examples, nothing_to_train_on
from temper_trainer.events import Events
from temper_trainer.failures import TrainerFailure
from temper_trainer.model import find_device, load_adapter, load_base, load_tokenizer
from temper_trainer.process import StopRequest, Stopwatch
from temper_trainer.spec import VerifySpec
from temper_trainer.tokens import Encoder

# Of an evaluation those where base and tuned model differ most, which a wrong adapter changes most.
EVALUATED_ROWS = 8
# Without an evaluation: enough to see that the adapter loads and gives finite numbers.
TRAINING_ROWS = 4
# How far a mean loss a token may be off, and as much of it as a share: float32 differs in its last digits, bfloat16 and 4-bit
# weights by more.
EXACT_TOLERANCE = 1e-3
ROUNDED_TOLERANCE = 0.05


@dataclass(frozen=True)
class Row:
    """An example as tokens, and which of them count. `base`, `tuned`: the sums of its losses, where an evaluation has found them."""

    line: int
    ids: np.ndarray
    trained: np.ndarray
    base: float | None = None
    tuned: float | None = None


def verify(spec: VerifySpec, events: Events, stop: StopRequest, watch: Stopwatch) -> dict:
    """The adapter of a job that asked for no evaluation. Returns the fields of the `completed` event."""
    device = find_device()
    encoder = Encoder(load_tokenizer(spec.model.path), spec.data.kind)
    with watch.part('tokenize'):
        encoded = first_examples(spec, encoder, stop)
    events.progress('loadModel', 0, 1, always=True)
    with watch.part('loadModel'):
        base = load_base(spec.model, device.device)
    with watch.part('verify'):
        load_again(base, spec.adapterPath, [Row(each.line, each.ids, each.trained) for each in encoded], events)
    return {'step': 0, 'files': []}


def first_examples(spec: VerifySpec, encoder: Encoder, stop: StopRequest) -> list[Encoded]:
    examples, found = ExampleSet(spec.data.path), []
    for number in range(len(examples)):
        stop.check()
        found += [each for each in encode_examples(examples.read([number]), spec.data, encoder) if each.trained.any()]
        if len(found) == TRAINING_ROWS:
            return found
    if not found:
        raise nothing_to_train_on(len(examples), spec.data)
    return found


def load_again(base, adapter_path: str, rows: list[Row], events: Events) -> None:
    """Loads the adapter into the base and sends the `verified` event. Raises MODEL_NOT_VERIFIED."""
    model = load_adapter(base, adapter_path)
    exact = base.dtype == torch.float32 and not getattr(base, 'is_quantized', False)
    tolerance = EXACT_TOLERANCE if exact else ROUNDED_TOLERANCE
    largest = 0.0
    for done, row in enumerate(rows, 1):
        tuned = loss(model, row)
        with model.disable_adapter():
            untuned = loss(model, row)
        for was, now in ((row.base, untuned), (row.tuned, tuned)):
            count = int(row.trained.sum())
            difference = abs(now - (now if was is None else was)) / count
            # Written so that NaN does not pass.
            if not difference <= tolerance * (1 + abs(now) / count):
                raise TrainerFailure(
                    'MODEL_NOT_VERIFIED',
                    f'Loaded again from its files, the adapter gives a loss of {now / count:.4f} on line {row.line}'
                    + (f' instead of {was / count:.4f}' if was is not None else '')
                    + '. The model is not registered: start the job again.',
                )
            largest = max(largest, difference)
        events.progress('verify', done, len(rows))
    events.send('verified', rows=len(rows), largestDifference=largest)


@torch.inference_mode()
def loss(model, row: Row) -> float:
    """The sum of the negative log-likelihoods of the trained tokens, by one forward pass over the row alone."""
    tokens = torch.from_numpy(row.ids.astype(np.int64)).to(next(model.parameters()).device)
    scores = model(input_ids=tokens[None, :-1], use_cache=False).logits[0].float().log_softmax(-1)
    counted = torch.from_numpy(row.trained[1:].copy()).to(tokens.device)
    return -scores.gather(1, tokens[1:, None])[:, 0][counted].double().sum().item()
