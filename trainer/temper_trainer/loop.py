"""transformers' Trainer over the steps of a plan, with the micro-batches, the loss, the checkpoints and the events of this package.

One item of the Trainer's data is the number of a step. `training_step` packs the examples of that step, runs the packs one
after the other, and sums their gradients: a step is `batchSize` examples whatever fits the device at once, over however many ranks.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerCallback, TrainingArguments, get_scheduler

from temper_trainer import checkpoints
from temper_trainer.batches import Batches
from temper_trainer.data import EncodedExamples, Plan, fill_packs
from temper_trainer.events import Events, finite_or_none
from temper_trainer.failures import Interrupted, TrainerFailure, explain, is_out_of_memory
from temper_trainer.held_out import HeldOut
from temper_trainer.machine import MachineWatch
from temper_trainer.memory import Way
from temper_trainer.model import Device, base_name, compute_dtype, save_adapter
from temper_trainer.packing import make_pack, token_losses
from temper_trainer.process import StopRequest, Stopwatch, TimeLimit
from temper_trainer.ranks import Ranks
from temper_trainer.spec import TrainSpec
from temper_trainer.versions import versions

SCHEDULER_NAMES = {'linear': 'linear', 'cosine': 'cosine', 'constant': 'constant_with_warmup'}
# So many steps in a row with a loss this many times that of guessing among all tokens, and of the first step, and the run is lost.
DIVERGED_STEPS = 10
DIVERGED_FACTOR = 2
# What a rank has to say about its part of a step; the largest counts for all.
FINE, STOP, OUT_OF_MEMORY = 0, 1, 2


@dataclass
class Run:
    """What a run is made of. Memory that turns out too small changes the last two."""

    spec: TrainSpec
    plan: Plan
    hash_at: Callable[[int], str]
    batches: Batches
    held_out: HeldOut | None
    way: Way
    ranks: Ranks
    limit: TimeLimit
    events: Events
    stop: StopRequest
    watch: Stopwatch
    micro_batch_tokens: int
    recompute: bool


class StopWanted(Exception):
    """SIGTERM came: leave the step between two packs. Nothing of it has touched the weights."""


class PlannedTrainer(Trainer):
    def __init__(self, model, run: Run, device: Device):
        training, count = run.spec.training, run.plan.total_steps
        super().__init__(
            model=model,
            args=TrainingArguments(
                output_dir=run.spec.checkpoints.directory,
                max_steps=count,
                per_device_train_batch_size=1,
                train_sampling_strategy='sequential',
                learning_rate=training.learningRate,
                lr_scheduler_type=SCHEDULER_NAMES[training.schedule],
                warmup_steps=training.warmupSteps,
                weight_decay=training.weightDecay,
                max_grad_norm=training.maxGradNorm,
                seed=training.seed,
                optim=choose_optimizer(device.device),
                bf16=autocasts(run.spec, device.device),
                use_cpu=device.device.type == 'cpu',
                logging_steps=1,
                logging_nan_inf_filter=False,
                save_strategy='no',  # SavePolicy decides
                report_to=[],
                disable_tqdm=True,
                remove_unused_columns=False,
                dataloader_pin_memory=False,
            ),
            train_dataset=StepNumbers(count),
            data_collator=lambda numbers: {'step': torch.tensor(numbers)},
            callbacks=[SavePolicy(run)],
        )
        self.work = run
        self.saved_step = 0
        self.step_began = time.perf_counter()
        self.machine = MachineWatch(device.device)
        self.batch_tokens = self.batch_trained_tokens = 0
        self.last_loss = torch.zeros((), device=device.device)
        self.seconds_per_step: float | None = None
        self.first_loss: float | None = None
        self.bad_steps = 0
        self.unmeasured: dict | None = None  # the `step` event of a step whose evaluation was cut short
        self.memory_error: BaseException = MemoryError('on another rank')
        self.adapter = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if autocasts(run.spec, device.device):
            feed_adapter_as_it_is(model)
        if run.recompute:
            self.recompute()

    def take_up(self, manifest: dict, folder: Path) -> None:
        """The weights of a checkpoint, and what its step still lacks: an evaluation that a stop had cut short."""
        set_peft_model_state_dict(self.model, load_file(folder / 'adapter_model.safetensors'))
        self.first_loss = manifest.get('firstLoss')
        unmeasured = manifest.get('unmeasuredStep')
        if unmeasured:
            self.unmeasured = unmeasured  # again, should a stop come again
            self.state.global_step = unmeasured['step']
            measured = self.evaluate_if_due(unmeasured['step'], True)
            self.unmeasured = None
            self.work.events.send('step', **unmeasured, **measured)

    def run_to_end(self, resume_from: str | None) -> None:
        try:
            self.train(resume_from_checkpoint=resume_from)
        except StopWanted:
            step = self.state.global_step
            if step > 0 and self.saved_step != step:
                self._save_checkpoint(self.model, None)
            self.work.ranks.leave()
            raise Interrupted(step) from None

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        """Each step's rate is that of the schedule for the length that was planned when the step was made: a run that is extended
        takes the rest of its steps from the schedule of the new length, and so does one that is made once more as a whole."""
        run = self.work
        shapes = {total: self.schedule(total) for _, total in run.plan.totals}
        # The schedule counts the steps made so far, the plan the step that comes.
        self.lr_scheduler = LambdaLR(optimizer or self.optimizer, lambda made: shapes[run.plan.total_at(made + 1)](made))
        return self.lr_scheduler

    def schedule(self, total_steps: int) -> Callable[[int], float]:
        """The share of the learning rate after so many steps."""
        training = self.work.spec.training
        unused = torch.optim.SGD([torch.zeros(1)])
        return get_scheduler(SCHEDULER_NAMES[training.schedule], unused, training.warmupSteps, total_steps).lr_lambdas[0]

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        # The rate that was stored is the next one of the length that was planned then.
        scheduler = self.lr_scheduler
        for group, rate in zip(self.optimizer.param_groups, scheduler.get_lr(), strict=True):
            group['lr'] = rate
        scheduler._last_lr = [group['lr'] for group in self.optimizer.param_groups]

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        run, step = self.work, self.state.global_step
        if inputs['step'].item() != step:
            raise RuntimeError(f'the data is at step {inputs["step"].item()}, the state at {step}')
        self.step_began = time.perf_counter()
        model.train()
        with run.watch.part('data'):
            examples = run.batches.take(step, run.events)
        self.batch_tokens, self.batch_trained_tokens = len(examples.ids), int(examples.trained.sum())
        if len(examples) == 0:
            return self.last_loss  # the cut-off left nothing of this step: no gradients, and the weights stay
        while True:
            packs = self.pack(examples)
            seed_step(run.plan.seed, step, run.ranks.rank)
            loss = self.try_packs(model, examples, packs[run.ranks.rank], max(map(len, packs)))
            if loss is not None:
                break
            self.make_room(model, packs)
        run.ranks.add_gradients(self.adapter)
        if not math.isfinite(loss.item()):
            raise not_finite('loss', step + 1)
        self.last_loss = loss
        return loss

    def pack(self, examples: EncodedExamples) -> list[list[list[int]]]:
        """The packs of a step, for each rank."""
        run = self.work
        lengths = examples.lengths
        return [fill_packs(lengths, part, run.micro_batch_tokens) for part in run.ranks.share(lengths, np.arange(len(examples)))]

    def try_packs(self, model, examples: EncodedExamples, packs: list[list[int]], passes: int) -> torch.Tensor | None:
        """The loss of the step over all ranks, with this one's gradients accumulated; None when some rank had too little memory.
        `passes`: of the rank with the most packs. Where the base model is split, all must take part in each."""
        run = self.work
        total = torch.zeros((), device=self.args.device)
        found = FINE
        if run.ranks.sharded and run.ranks.most(STOP if run.stop.wanted else FINE):
            raise StopWanted
        try:
            for number in range(passes if run.ranks.sharded else len(packs)):
                if run.stop.wanted and not run.ranks.sharded:
                    found = STOP
                    break
                # A rank that has no pack left runs one that counts for nothing.
                counts = number < len(packs)
                indexes = packs[number] if counts else [0]
                with self.compute_loss_context_manager():
                    losses = token_losses(model, make_pack(examples, indexes, self.args.device))
                loss = losses.sum() / self.batch_trained_tokens * (1 if counts else 0)
                self.accelerator.backward(loss)
                total += loss.detach()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            found, self.memory_error = OUT_OF_MEMORY, error
            print(f'out of memory: {error}', flush=True)
            if run.ranks.sharded:  # the others wait in the middle of a pass
                self.adapt_next_attempt(packs)
                raise
        found = run.ranks.most(found)
        if found == STOP:
            raise StopWanted
        return None if found == OUT_OF_MEMORY else run.ranks.add(total)

    def make_room(self, model, packs: list[list[list[int]]]) -> None:
        """The next rung of the ladder: smaller micro-batches at the same batch, then activations recomputed, then 4 bits if allowed."""
        run = self.work
        model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if max((len(pack) for part in packs for pack in part), default=1) > 1:
            run.micro_batch_tokens //= 2
            said = f'At most {run.micro_batch_tokens} tokens at once from here on; the batch stays the same.'
            return self.tell_adapted('MICRO_BATCH_HALVED', said)
        if not run.recompute:
            run.recompute = True
            self.recompute()
            return self.tell_adapted('ACTIVATIONS_RECOMPUTED', 'Activations are computed twice from here on, instead of kept.')
        self.adapt_next_attempt([])
        raise explain(self.memory_error)

    def adapt_next_attempt(self, packs: list[list[int]]) -> None:
        """What only a new process can change. Raises TRAINER_OOM_ADAPTED; returns when nothing is left to try."""
        run = self.work
        if max(map(len, packs), default=1) > 1:
            run.micro_batch_tokens //= 2
            self.tell_adapted('MICRO_BATCH_HALVED', f'The next attempt takes at most {run.micro_batch_tokens} tokens at once.')
        elif packs and not run.recompute:
            run.recompute = True
            self.tell_adapted('ACTIVATIONS_RECOMPUTED', 'The next attempt computes activations twice, instead of keeping them.')
        elif run.way.may_quantize:
            self.tell_adapted('QUANTIZED', 'The next attempt loads the base model in 4 bits (QLoRA) and begins again.', quantization='nf4')
        else:
            return
        raise TrainerFailure('TRAINER_OOM_ADAPTED', 'The memory of the device was too small; the next attempt takes less of it.')

    def tell_adapted(self, code: str, said: str, **changed) -> None:
        run = self.work
        run.events.send(
            'adapted',
            code=code,
            step=self.state.global_step,
            message=f'The device has too little memory. {said}',
            microBatchTokens=run.micro_batch_tokens,
            recompute=run.recompute,
            quantization=changed.get('quantization', run.way.quantization),
        )

    def recompute(self) -> None:
        self.model.get_base_model().activation_checkpointing_enable({'use_reentrant': False})

    def log(self, logs: dict, start_time: float | None = None) -> None:
        """The `step` event, with the loss on held-out examples when that is due. Called after each optimizer step and before a
        checkpoint is saved, so that the checkpoint of a step knows what was seen after it."""
        if 'loss' not in logs:  # the Trainer's summary at the end
            return
        run, step = self.work, self.state.global_step
        if not math.isfinite(logs['grad_norm']):
            raise not_finite('gradient norm', step)
        self.refuse_divergence(logs['loss'], step)
        is_before_end = step < run.plan.total_steps
        time_is_over = is_before_end and bool(run.ranks.most(int(run.limit.reached)))
        is_last = time_is_over or (is_before_end and step == run.spec.stopAtStep)
        seconds = time.perf_counter() - self.step_began
        # A running mean that forgets the slow first steps.
        self.seconds_per_step = seconds if self.seconds_per_step is None else 0.9 * self.seconds_per_step + 0.1 * seconds
        event = {
            'step': step,
            'totalSteps': run.plan.total_steps,
            'epoch': step / run.plan.steps_per_epoch,
            'loss': logs['loss'],
            'learningRate': logs['learning_rate'],
            'gradNorm': finite_or_none(logs['grad_norm']),
            'tokens': self.batch_tokens,
            'trainedTokens': self.batch_trained_tokens,
            'tokensPerSecond': round(self.batch_tokens / seconds, 1),
            'etaSeconds': round((run.plan.total_steps - step) * self.seconds_per_step, 1),
        }
        self.unmeasured = event
        measured = self.evaluate_if_due(step, is_last)
        self.unmeasured = None
        run.events.send('step', **event, **measured, **self.machine.sample())
        if is_last and not self.control.should_training_stop:
            self.control.should_training_stop = self.control.should_save = True
            why = 'The time of this job is over' if time_is_over else 'The run that is made once more ended here'
            code = 'TIME_LIMIT_REACHED' if time_is_over else 'STOPPED_AT_STEP'
            run.events.warn(code, f'{why}: training ends at step {step} of {run.plan.total_steps}.')

    def refuse_divergence(self, loss: float, step: int) -> None:
        self.first_loss = loss if self.first_loss is None else self.first_loss
        limit = DIVERGED_FACTOR * max(math.log(self.model.config.vocab_size), self.first_loss)
        self.bad_steps = self.bad_steps + 1 if loss > limit else 0
        if self.bad_steps == DIVERGED_STEPS:
            raise TrainerFailure(
                'LOSS_DIVERGED',
                f'The loss has been above {limit:.1f} for {DIVERGED_STEPS} steps, at step {step} {loss:.1f}; it began at '
                f'{self.first_loss:.2f}. Lower the learning rate, add warm-up steps, or look for broken rows.',
            )

    def evaluate_if_due(self, step: int, is_last: bool) -> dict:
        run = self.work
        if run.held_out is None or not (is_last or run.held_out.is_due(step)):
            return {}

        def check() -> None:
            if run.ranks.world == 1 and run.stop.wanted:
                raise StopWanted

        with run.watch.part('evaluate'), self.compute_loss_context_manager():
            loss = run.held_out.measure(self.model, step, run.micro_batch_tokens, run.ranks, check)
        if not math.isfinite(loss):
            raise not_finite('loss on the evaluation set', step)
        if run.held_out.wants_stop and step < run.plan.total_at(step):
            self.control.should_training_stop = self.control.should_save = True
            best = run.held_out.best
            run.events.warn(
                'STOPPED_EARLY',
                f'The loss on the evaluation set has not fallen in {run.spec.evaluation.patience} evaluations: training ends at step '
                f'{step} of {run.plan.total_steps}. The adapter is that of step {best.step}, with a loss of {best.loss:.4f}.',
            )
        return {'evaluationLoss': loss}

    def _save_checkpoint(self, model, trial) -> None:
        run, step = self.work, self.state.global_step
        if not run.ranks.first:
            self.saved_step = step
            return

        def write(folder: Path) -> None:
            save_adapter(self.model, folder, base_name(run.spec.model))
            self._save_optimizer_and_scheduler(str(folder))
            self.state.save_to_json(str(folder / 'trainer_state.json'))
            if run.held_out:
                run.held_out.save(folder)

        facts = {
            'planHash': run.hash_at(step),
            'totalSteps': run.plan.total_steps,
            'seed': run.plan.seed,
            'microBatchTokens': run.micro_batch_tokens,
            'recompute': run.recompute,
            'ranks': run.ranks.world,
            'firstLoss': self.first_loss,
            'unmeasuredStep': self.unmeasured,
            'versions': versions(),
            **({'evaluation': run.held_out.facts()} if run.held_out else {}),
        }
        with run.watch.part('checkpoints'):
            saved = checkpoints.publish(Path(run.spec.checkpoints.directory), step, facts, write, run.spec.checkpoints.keep)
        self.saved_step = step
        run.events.send('checkpoint', step=step, path=saved.path, manifestSha256=saved.manifest_sha256, sizeBytes=saved.size_bytes)

    def floating_point_ops(self, inputs) -> int:
        return 0  # the Trainer's count knows nothing of frozen weights or packs


class StepNumbers(torch.utils.data.Dataset):
    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return index


class SavePolicy(TrainerCallback):
    """A checkpoint every so many steps or seconds, and at the end."""

    def __init__(self, run: Run):
        self.run = run
        self.last_save = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs):
        wanted = self.run.spec.checkpoints
        due = state.global_step % wanted.everySteps == 0 or time.monotonic() - self.last_save >= wanted.everySeconds
        if due or state.global_step == self.run.plan.total_steps:
            control.should_save = True

    def on_save(self, args, state, control, **kwargs):
        self.last_save = time.monotonic()


def choose_optimizer(device: torch.device) -> str:
    return 'adamw_torch_fused' if device.type == 'cuda' else 'adamw_torch'


def autocasts(spec: TrainSpec, device: torch.device) -> bool:
    """Matrices are multiplied in bfloat16 beside float32 adapters."""
    return device.type == 'cuda' and compute_dtype(spec.model, device) == torch.bfloat16


def feed_adapter_as_it_is(model) -> None:
    """PEFT makes the input of each adapter float32, and autocast bfloat16 again: the same numbers, written and kept twice."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = False


def seed_step(seed: int, step: int, rank: int) -> None:
    """The randomness of a step (dropout) is a function of its number: a step made again, by whichever attempt, is the same."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0]))


def not_finite(what: str, step: int) -> TrainerFailure:
    return TrainerFailure(
        'LOSS_NOT_FINITE',
        f'The {what} of step {step} is not a finite number. Lower the learning rate, add warm-up steps, or look for broken rows.',
    )
