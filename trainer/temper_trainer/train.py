"""Training: transformers' Trainer with the micro-batches, the loss, the checkpoints and the events of this package.

One item of the Trainer's data is the number of a step. `training_step` packs the examples of that step, runs the packs one
after the other, and sums their gradients: a step is `batchSize` examples whatever fits the device at once.
"""

import hashlib
import json
import math
import random
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from temper_trainer import checkpoints
from temper_trainer.data import EncodedExamples, Plan, encode_file, fill_packs, make_plan
from temper_trainer.events import Events, finite_or_none
from temper_trainer.failures import Interrupted, TrainerFailure
from temper_trainer.held_out import HeldOut
from temper_trainer.model import (
    Device,
    add_adapter,
    base_name,
    compute_dtype,
    copy_tokenizer,
    count_parameters,
    describe_adapter,
    describe_base,
    find_device,
    load_base,
    load_tokenizer,
    save_adapter,
)
from temper_trainer.packing import make_pack, token_losses
from temper_trainer.process import StopRequest, Stopwatch, TimeLimit
from temper_trainer.spec import TrainSpec
from temper_trainer.tokens import Encoder
from temper_trainer.versions import versions

# Tokens of one forward pass on a CPU, where attention over a long pack costs more than starting another pass
# (measured on a Llama of 11 M parameters, CPU seconds for the same examples: 256: 2.2, 512: 2.3, 1024: 2.8, 2048: 3.7).
CPU_MICRO_BATCH_TOKENS = 512
# Tokens of one forward pass on a GPU, where its memory allows: attention over a pack of other examples is computed and masked,
# which at this length is about a seventh of the work for a model of 8 billion parameters.
GPU_MICRO_BATCH_TOKENS = 4096
SCHEDULER_NAMES = {'linear': 'linear', 'cosine': 'cosine', 'constant': 'constant_with_warmup'}


def train(spec: TrainSpec, events: Events, stop: StopRequest, watch: Stopwatch) -> dict:
    """Trains, and writes the adapter to `spec.outputPath`. Returns the fields of the `completed` event. Raises Interrupted."""
    limit = TimeLimit(spec.stopAfterSeconds)
    device = find_device()
    with watch.part('tokenize'):
        encoder = Encoder(load_tokenizer(spec.model.path), spec.data.kind)
        examples = encode_file(spec.data, encoder, events, stop)
        held_out = read_held_out(spec, encoder, events, stop)
    events.progress('loadModel', 0, 1, always=True)
    with watch.part('loadModel'):
        base = load_base(spec.model, device.device)
        model, targets = add_adapter(base, spec.adapter, spec.training.seed, events)
    events.progress('loadModel', 1, 1, always=True)
    plan = make_plan(len(examples), spec.training.batchSize, spec.training.epochs, spec.training.seed)
    plan_hash = hash_plan(spec, examples, held_out, targets)
    micro_batch_tokens = spec.training.microBatchTokens or choose_micro_batch_tokens(device, model, spec.data.cutoffLength)
    seen = HeldOut(spec.evaluation, held_out, plan.total_steps, events) if spec.evaluation and held_out else None
    first_step = 0
    if spec.checkpoints.resumeFrom:
        manifest = checkpoints.verify(spec.checkpoints.resumeFrom, plan_hash)
        if seen:
            seen.load(manifest.get('evaluation'), Path(spec.checkpoints.resumeFrom))
        first_step = manifest['step']
        micro_batch_tokens = manifest['microBatchTokens']  # other packs would round differently
    checkpoints.discard_after(Path(spec.checkpoints.directory), first_step)

    trainable, total = count_parameters(model)
    events.send(
        'prepared',
        examples=len(examples),
        tokens=int(examples.lengths.sum()),
        trainedTokens=int(examples.trained.sum()),
        truncatedExamples=examples.truncated,
        droppedExamples=examples.dropped,
        totalSteps=plan.total_steps,
        stepsPerEpoch=plan.steps_per_epoch,
        trainableParameters=trainable,
        totalParameters=total,
        targetModules=targets,
        microBatchTokens=micro_batch_tokens,
    )
    if spec.checkpoints.resumeFrom:
        events.send('resumed', step=first_step, path=spec.checkpoints.resumeFrom)
    run = Run(spec, plan, plan_hash, examples, seen, micro_batch_tokens, limit, events, stop, watch)
    last_step = first_step
    if not (seen and seen.wants_stop):  # a run that had stopped early only lacks its adapter
        trainer = PlannedTrainer(model, run, device)
        with watch.part('train'):
            trainer.run_to_end(spec.checkpoints.resumeFrom)
        last_step = trainer.state.global_step
    for part in ('checkpoints', 'evaluate'):
        watch.add('train', -watch.seconds.get(part, 0.0))
    if seen:
        seen.restore_best(model)

    def write(folder: Path) -> None:
        save_adapter(model, folder, base_name(spec.model))
        copy_tokenizer(spec.model.path, folder)

    with watch.part('save'):
        files = checkpoints.publish_folder(Path(spec.outputPath), write)
    best = {'bestStep': seen.best.step, 'bestLoss': seen.best.loss} if seen and seen.best else {}
    early = bool(seen and seen.wants_stop) and last_step < plan.total_steps
    return {'step': last_step, 'files': files, 'earlyStopped': early, 'timeEnded': last_step < plan.total_steps and not early, **best}


def read_held_out(spec: TrainSpec, encoder: Encoder, events: Events, stop: StopRequest) -> EncodedExamples | None:
    if spec.evaluation is None:
        return None
    return encode_file(replace(spec.data, path=spec.evaluation.path), encoder, events, stop, spec.evaluation.maxExamples)


@dataclass
class Run:
    """What a run is made of; only `micro_batch_tokens` changes, downwards, when the GPU's memory is too small."""

    spec: TrainSpec
    plan: Plan
    plan_hash: str
    examples: EncodedExamples
    held_out: HeldOut | None
    micro_batch_tokens: int
    limit: TimeLimit
    events: Events
    stop: StopRequest
    watch: Stopwatch


class StopWanted(Exception):
    """SIGTERM came: leave the step between two packs. Nothing of it has touched the weights."""


class PlannedTrainer(Trainer):
    """transformers' Trainer over the steps of a plan."""

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
                optim='adamw_torch_fused' if device.device.type == 'cuda' else 'adamw_torch',
                bf16=device.device.type == 'cuda' and compute_dtype(run.spec.model, device.device) == torch.bfloat16,
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
        self.batch_tokens = self.batch_trained_tokens = 0
        self.seconds_per_step: float | None = None

    def run_to_end(self, resume_from: str | None) -> None:
        try:
            self.train(resume_from_checkpoint=resume_from)
        except StopWanted:
            step = self.state.global_step
            if step > 0 and self.saved_step != step:
                restore_rng(self.rng_before_step)
                self._save_checkpoint(self.model, None)
            raise Interrupted(step) from None

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        step = self.state.global_step
        if inputs['step'].item() != step:
            raise RuntimeError(f'the data is at step {inputs["step"].item()}, the state at {step}')
        self.step_began = time.perf_counter()
        self.rng_before_step = take_rng()
        model.train()
        indexes = self.work.plan.examples_of(step)
        while True:
            packs = fill_packs(self.work.examples.lengths, indexes, self.work.micro_batch_tokens)
            loss = self.try_packs(model, packs)
            if loss is not None:
                break
            self.halve_micro_batch(model)
        if not math.isfinite(loss.item()):
            raise not_finite('loss', step + 1)
        return loss

    def try_packs(self, model, packs: list[list[int]]) -> torch.Tensor | None:
        """The loss of the step, with its gradients accumulated; None when the GPU had too little memory for the packs."""
        examples = self.work.examples
        trained = [examples.example(index)[1].sum() for pack in packs for index in pack]
        self.batch_trained_tokens = int(sum(trained))
        self.batch_tokens = sum(int(examples.lengths[index]) for pack in packs for index in pack)
        total = torch.zeros((), device=self.args.device)
        try:
            for indexes in packs:
                if self.work.stop.wanted:
                    raise StopWanted
                with self.compute_loss_context_manager():
                    losses = token_losses(model, make_pack(examples, indexes, self.args.device))
                loss = losses.sum() / self.batch_trained_tokens
                self.accelerator.backward(loss)
                total += loss.detach()
        except torch.OutOfMemoryError:
            if max(map(len, packs)) == 1:
                raise  # the longest example alone is too much
            return None
        return total

    def halve_micro_batch(self, model) -> None:
        model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        restore_rng(self.rng_before_step)
        run = self.work
        run.micro_batch_tokens //= 2
        run.events.warn(
            'MICRO_BATCH_HALVED',
            f'The GPU has too little memory: at most {run.micro_batch_tokens} tokens at once from here on. The batch stays the same.',
        )

    def log(self, logs: dict, start_time: float | None = None) -> None:
        """The `step` event, with the loss on held-out examples when that is due. Called after each optimizer step and before a
        checkpoint is saved, so that the checkpoint of a step knows what was seen after it."""
        if 'loss' not in logs:  # the Trainer's summary at the end
            return
        run, step = self.work, self.state.global_step
        if not math.isfinite(logs['grad_norm']):
            raise not_finite('gradient norm', step)
        time_is_over = run.limit.reached and step < run.plan.total_steps
        seconds = time.perf_counter() - self.step_began
        # A running mean that forgets the slow first steps.
        self.seconds_per_step = seconds if self.seconds_per_step is None else 0.9 * self.seconds_per_step + 0.1 * seconds
        run.events.send(
            'step',
            step=step,
            totalSteps=run.plan.total_steps,
            epoch=step / run.plan.steps_per_epoch,
            loss=logs['loss'],
            learningRate=logs['learning_rate'],
            gradNorm=finite_or_none(logs['grad_norm']),
            tokens=self.batch_tokens,
            trainedTokens=self.batch_trained_tokens,
            tokensPerSecond=round(self.batch_tokens / seconds, 1),
            etaSeconds=round((run.plan.total_steps - step) * self.seconds_per_step, 1),
            **self.evaluate_if_due(step, time_is_over),
        )
        if time_is_over and not self.control.should_training_stop:
            self.control.should_training_stop = self.control.should_save = True
            run.events.warn('TIME_LIMIT_REACHED', f'The time of this job is over: training ends at step {step} of {run.plan.total_steps}.')

    def evaluate_if_due(self, step: int, is_last: bool) -> dict:
        run = self.work
        if run.held_out is None or not (is_last or run.held_out.is_due(step)):
            return {}
        with run.watch.part('evaluate'), self.compute_loss_context_manager():
            loss = run.held_out.measure(self.model, step, run.micro_batch_tokens)
        if not math.isfinite(loss):
            raise not_finite('loss on the evaluation set', step)
        if run.held_out.wants_stop and step < run.plan.total_steps:
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

        def write(folder: Path) -> None:
            save_adapter(self.model, folder, base_name(run.spec.model))
            self._save_optimizer_and_scheduler(str(folder))
            self._save_rng_state(str(folder))
            self.state.save_to_json(str(folder / 'trainer_state.json'))
            if run.held_out:
                run.held_out.save(folder)

        facts = {
            'planHash': run.plan_hash,
            'totalSteps': run.plan.total_steps,
            'seed': run.plan.seed,
            'microBatchTokens': run.micro_batch_tokens,
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


def hash_plan(spec: TrainSpec, examples: EncodedExamples, held_out: EncodedExamples | None, targets: list[str]) -> str:
    """A hash of everything that decides the weights, so that a checkpoint is never continued under other settings."""
    training = asdict(spec.training)
    del training['microBatchTokens']  # kept with each checkpoint
    facts = {
        'base': describe_base(spec.model.path),
        'quantization': spec.model.quantization,
        'dtype': spec.model.dtype,
        'adapter': {'rank': spec.adapter.rank, 'alpha': spec.adapter.alpha, 'dropout': spec.adapter.dropout, 'targets': targets},
        'warmStart': describe_adapter(spec.adapter.warmStartPath) if spec.adapter.warmStartPath else None,
        'data': examples.digest(),
        'training': training,
    }
    if spec.evaluation and held_out:  # it decides which step's weights are kept, and when to stop
        facts['evaluation'] = {'data': held_out.digest(), 'everySteps': spec.evaluation.everySteps, 'patience': spec.evaluation.patience}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def choose_micro_batch_tokens(device: Device, model, cutoff_length: int) -> int:
    """Tokens that a forward and backward pass can hold at once beside the weights already loaded."""
    if device.device.type == 'cpu':
        return CPU_MICRO_BATCH_TOKENS
    free_bytes, _ = torch.cuda.mem_get_info(device.device)
    config = model.config
    # Without recomputation a block keeps about 34 values of `hidden_size` a token in 16 bits, and LoRA half as many again in
    # 32 bits; the output layer keeps logits in 16 and twice in 32 bits.
    block_bytes = config.num_hidden_layers * config.hidden_size * (34 * 2 + 17 * 4)
    bytes_per_token = block_bytes + config.vocab_size * 10
    fits = int(0.8 * free_bytes / bytes_per_token)
    return max(cutoff_length, min(GPU_MICRO_BATCH_TOKENS, fits))


def not_finite(what: str, step: int) -> TrainerFailure:
    return TrainerFailure(
        'LOSS_NOT_FINITE',
        f'The {what} of step {step} is not a finite number. Lower the learning rate, add warm-up steps, or look for broken rows.',
    )


def take_rng() -> tuple:
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda


def restore_rng(states: tuple) -> None:
    python, numpy, cpu, cuda = states
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state(cuda)
