"""Several examples in one row, without padding and without seeing each other; the loss over the trained tokens only."""

from dataclasses import dataclass

import numpy as np
import torch

from temper_trainer.attention import MASKED, pack_arguments
from temper_trainer.data import EncodedExamples
from temper_trainer.head import FrozenHeadLoss, frozen_head


@dataclass
class Pack:
    """One row for the model. `keep` are the positions whose next token is trained, `targets` those tokens, `owner` the place in
    the pack of the example each belongs to."""

    input_ids: torch.Tensor  # (1, tokens)
    position_ids: torch.Tensor  # (1, tokens), from 0 again at each example
    bounds: dict  # where each example begins and ends, as the attention takes it
    keep: torch.Tensor  # (kept,)
    targets: torch.Tensor  # (kept,)
    owner: torch.Tensor  # (kept,)


def make_pack(examples: EncodedExamples, indexes: list[int], device: torch.device) -> Pack:
    parts = [examples.example(index) for index in indexes]
    ids = np.concatenate([part for part, _ in parts]).astype(np.int64)
    trained = np.concatenate([mask for _, mask in parts])
    positions = np.concatenate([np.arange(len(part)) for part, _ in parts])
    owner = np.repeat(np.arange(len(parts)), [len(part) for part, _ in parts])
    predicted = np.flatnonzero(trained)  # never 0: an example's first token is not trained

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(device, non_blocking=True)

    return Pack(
        input_ids=tensor(ids)[None],
        position_ids=tensor(positions)[None],
        bounds=pack_arguments([len(part) for part, _ in parts], device),
        keep=tensor(predicted - 1),
        targets=tensor(ids[predicted]),
        owner=tensor(owner[predicted]),
    )


def token_losses(model, pack: Pack) -> torch.Tensor:
    """Negative log-likelihood of each trained token of the pack, float32, shape (kept,). The output layer runs on the kept positions alone.

    MASKED: transformers makes the mask when positions restart, no mask is given and there is no cache; with its default
    `use_cache=True` examples would see each other.
    """
    inputs = {'input_ids': pack.input_ids, 'position_ids': pack.position_ids, 'use_cache': False}
    if model.config._attn_implementation != MASKED:
        inputs.update(pack.bounds)
    parts = frozen_head(model)
    if parts is None:
        output = model(**inputs, logits_to_keep=pack.keep)
        return torch.nn.functional.cross_entropy(output.logits[0].float(), pack.targets, reduction='none')
    decoder, head = parts
    hidden = decoder(**inputs).last_hidden_state
    return FrozenHeadLoss.apply(hidden[0, pack.keep], head.weight, head.bias, pack.targets)
