"""The loss on held-out examples while training: which step was the best so far, and whether it is time to stop.

What it knows is part of every checkpoint (`facts`, and the best weights beside the newest), so that a run that was killed stops
where an undisturbed one does and ends with the same adapter.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file

from temper_trainer.data import EncodedExamples, Plan
from temper_trainer.evaluate import measure_losses
from temper_trainer.events import Events
from temper_trainer.ranks import Ranks
from temper_trainer.spec import InTrainingSpec

# The weights of the best step, in a checkpoint of a later one.
BEST_FILE = 'best_adapter.safetensors'


@dataclass
class Best:
    step: int
    loss: float
    weights: dict[str, torch.Tensor]  # on the CPU


class HeldOut:
    """The held-out examples of a run, and what was seen on them."""

    def __init__(self, spec: InTrainingSpec, examples: EncodedExamples, plan: Plan, events: Events):
        self.spec = spec
        self.examples = examples
        self.plan = plan
        self.events = events
        self.best: Best | None = None
        self.without_improvement = 0

    def is_due(self, step: int) -> bool:
        return step % self.spec.everySteps == 0 or step == self.plan.total_at(step)

    def measure(self, model, step: int, batch_tokens: int, ranks: Ranks, check: Callable[[], None]) -> float:
        """Mean loss over the trained tokens of all held-out examples, after `step`. Draws nothing from the random state. `check` may
        raise, between two packs."""
        training = model.training
        model.eval()
        count = len(self.examples)

        def progress(done: int) -> None:
            check()
            self.events.progress('evaluate', done, count)

        losses = measure_losses(model, self.examples, batch_tokens, progress, ranks)
        model.train(training)
        loss = float(losses.sums.sum() / losses.counts.sum())
        if self.best is None or loss < self.best.loss:
            self.best = Best(step, loss, copy_weights(model))
            self.without_improvement = 0
        else:
            self.without_improvement += 1
        return loss

    @property
    def wants_stop(self) -> bool:
        return self.spec.patience is not None and self.without_improvement >= self.spec.patience

    def facts(self) -> dict | None:
        """For the manifest of a checkpoint; `load` reads them back."""
        if self.best is None:
            return None
        return {'bestStep': self.best.step, 'bestLoss': self.best.loss, 'withoutImprovement': self.without_improvement}

    def save(self, folder: Path) -> None:
        if self.best is not None:
            save_file(self.best.weights, folder / BEST_FILE)

    def load(self, facts: dict | None, folder: Path) -> None:
        if facts is None:
            return
        self.best = Best(facts['bestStep'], facts['bestLoss'], load_file(folder / BEST_FILE))
        self.without_improvement = facts['withoutImprovement']

    def restore_best(self, model) -> None:
        """Puts the best weights back into the model."""
        if self.best is not None:
            set_peft_model_state_dict(model, self.best.weights)


def copy_weights(model) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
