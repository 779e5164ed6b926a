"""Training: data, base model and adapter are made ready, fitted into the device's memory, and trained by `loop.py`."""

import hashlib
import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch

from temper_trainer import checkpoints
from temper_trainer.attention import TOLD
from temper_trainer.batches import Batches, describe_reading
from temper_trainer.data import EncodedExamples, ExampleSet, encode_file, make_plan
from temper_trainer.events import Events
from temper_trainer.failures import Interrupted, TrainerFailure
from temper_trainer.families import WITH_FUSED_EXPERTS
from temper_trainer.held_out import HeldOut
from temper_trainer.loop import PlannedTrainer, Run, StopWanted, choose_optimizer
from temper_trainer.memory import GIB, Way, choose_way, peak_bytes, read_shape
from temper_trainer.model import (
    Device,
    add_adapter,
    base_name,
    blocks_of,
    check_model_files,
    compute_dtype,
    copy_tokenizer,
    count_parameters,
    describe_adapter,
    describe_base,
    find_device,
    load_base,
    load_tokenizer,
    read_json,
    save_adapter,
)
from temper_trainer.process import StopRequest, Stopwatch, TimeLimit
from temper_trainer.ranks import Ranks
from temper_trainer.spec import TrainSpec
from temper_trainer.tokens import Encoder

# Tokens of one forward pass on a CPU, which gains nothing by longer ones (measured on a Llama of 11 M parameters with a mask over all
# of a pack, CPU seconds for the same examples: 256: 2.2, 512: 2.3, 1024: 2.8, 2048: 3.7).
CPU_MICRO_BATCH_TOKENS = 512
# Tokens of one forward pass on a GPU, where its memory allows: enough to keep one busy with a model of 8 billion parameters.
GPU_MICRO_BATCH_TOKENS = 4096


def train(spec: TrainSpec, events: Events, stop: StopRequest, watch: Stopwatch) -> dict:
    """Trains, and writes the adapter to `spec.outputPath`. Returns the fields of the `completed` event. Raises Interrupted."""
    limit = TimeLimit(spec.stopAfterSeconds)
    device = find_device()
    require_accelerator(spec, device)
    ranks = Ranks(device.device)
    with watch.part('tokenize'), stop.nothing_to_keep():
        encoder = Encoder(load_tokenizer(spec.model.path), spec.data.kind)
        examples = ExampleSet(spec.data.path)
        training = spec.training
        plan = make_plan(len(examples), training.batchSize, training.epochs, training.seed, training.extensions)
        batches = Batches(examples, plan, spec.data, encoder)
        reading = batches.read_first(events, stop)
        held_out = read_held_out(spec, encoder, events, stop)
    # Hardly a token is shorter than a byte.
    longest = min(spec.data.cutoffLength, int(examples.lengths.max()))
    way = fit(spec, max(longest, int(held_out.lengths.max()) if held_out else 0), device, ranks)
    spec = replace(spec, model=replace(spec.model, quantization=way.quantization))
    events.progress('loadModel', 0, 1, always=True)
    with watch.part('loadModel'), stop.nothing_to_keep():
        model, targets = load(spec, way, device, ranks, events)
    events.progress('loadModel', 1, 1, always=True)
    data = {'set': examples.digest, 'encoder': encoder.digest(), 'cutoffLength': spec.data.cutoffLength}
    hash_at = partial(hash_plan, spec, data, held_out, targets)
    seen = HeldOut(spec.evaluation, held_out, plan, events) if spec.evaluation and held_out else None
    micro_batch_tokens, recompute, first_step, manifest = way.micro_batch_tokens, way.recompute, 0, None
    if spec.checkpoints.resumeFrom:
        manifest = checkpoints.verify(spec.checkpoints.resumeFrom, hash_at)
        if seen:
            seen.load(manifest.get('evaluation'), Path(spec.checkpoints.resumeFrom))
        first_step = manifest['step']
        # Other packs would round differently. Less, where the attempt before found them too large after its last checkpoint.
        micro_batch_tokens = min(manifest['microBatchTokens'], spec.training.microBatchTokens or manifest['microBatchTokens'])
        recompute = recompute or bool(manifest.get('recompute'))
    if ranks.first:
        checkpoints.discard_after(Path(spec.checkpoints.directory), first_step)

    compiled = spec.training.compile and device.device.type == 'cuda'
    if compiled:
        for block in blocks_of(model):
            block.compile(dynamic=True)  # the packs differ in length
    trainable, total = count_parameters(model)
    events.send(
        'prepared',
        examples=len(examples),
        **describe_reading(reading),
        totalSteps=plan.total_steps,
        stepsPerEpoch=plan.steps_per_epoch,
        trainableParameters=trainable,
        totalParameters=total,
        targetModules=targets,
        microBatchTokens=micro_batch_tokens,
        recompute=recompute,
        quantization=way.quantization,
        ranks=ranks.world,
        sharded=way.sharded,
        estimatedGib=None if way.bytes is None else round(way.bytes / GIB, 2),
        attention=TOLD[model.config._attn_implementation],
        compiled=compiled,
        optimizer=choose_optimizer(device.device),
        seconds=watch.rounded(),
    )
    if spec.checkpoints.resumeFrom:
        events.send('resumed', step=first_step, path=spec.checkpoints.resumeFrom)
    run = Run(spec, plan, hash_at, batches, seen, way, ranks, limit, events, stop, watch, micro_batch_tokens, recompute)
    trainer = PlannedTrainer(model, run, device)
    if manifest:
        try:
            trainer.take_up(manifest, Path(spec.checkpoints.resumeFrom))
        except StopWanted:
            raise Interrupted(first_step) from None
    trainer.state.global_step = first_step
    has_stopped = bool(seen and seen.wants_stop) and first_step < plan.total_at(first_step)
    ended = has_stopped or (spec.stopAtStep and first_step >= spec.stopAtStep)
    if not ended:  # a run that had ended early only lacks its adapter
        batches.start(first_step)
        with watch.part('train'):
            trainer.run_to_end(spec.checkpoints.resumeFrom)
    last_step = trainer.state.global_step
    for part in ('data', 'checkpoints', 'evaluate'):
        watch.add('train', -watch.seconds.get(part, 0.0))
    if seen:
        seen.restore_best(model)

    def write(folder: Path) -> None:
        save_adapter(model, folder, base_name(spec.model))
        copy_tokenizer(spec.model.path, folder)

    with watch.part('save'):
        files = checkpoints.publish_folder(Path(spec.outputPath), write) if ranks.first else []
    ranks.leave()
    best = {'bestStep': seen.best.step, 'bestLoss': seen.best.loss} if seen and seen.best else {}
    early = bool(seen and seen.wants_stop) and last_step < plan.total_at(last_step)
    return {
        'step': last_step,
        'files': files,
        'earlyStopped': early,
        'timeEnded': last_step < plan.total_steps and not early,
        'peakGib': round(peak_bytes(device.device) / GIB, 2),
        **best,
    }


def require_accelerator(spec: TrainSpec, device: Device) -> None:
    if spec.accelerators and device.device.type == 'cpu':
        raise TrainerFailure(
            'GPU_MISSING',
            'The GPU of this worker is not to be found: its driver does not answer, or CUDA_VISIBLE_DEVICES hides it. '
            'The job is tried again; an operator must look at the machine.',
        )


def fit(spec: TrainSpec, longest: int, device: Device, ranks: Ranks) -> Way:
    """How to train within the memory that is free, the same for all ranks. Raises MEMORY_TOO_SMALL. `longest`: tokens of an example."""
    check_model_files(spec.model.path)
    dtype = compute_dtype(spec.model, device.device)
    quantizations = [spec.model.quantization]
    if spec.model.quantization == 'auto':
        family = read_json(Path(spec.model.path) / 'config.json').get('model_type')
        quantizations = ['none'] if family in WITH_FUSED_EXPERTS else ['none', 'nf4']
    usual = CPU_MICRO_BATCH_TOKENS if device.device.type == 'cpu' else GPU_MICRO_BATCH_TOKENS
    ways = []
    failure = None
    try:
        way = choose_way(
            read_shape(spec.model.path, spec.adapter.rank, spec.adapter.targetModules),
            quantizations,
            usual,
            longest,
            dtype,
            device.device,
            ranks.world,
        )
        ways = [way.quantization == 'nf4', way.sharded, way.recompute]
    except TrainerFailure as error:
        failure = error
    # The rank with the least memory decides.
    if ranks.most(int(failure is not None)):
        raise failure or TrainerFailure('MEMORY_TOO_SMALL', 'Another rank has too little memory for this job.')
    quantized, sharded, recompute = (bool(ranks.most(int(each))) for each in ways)
    tokens = -ranks.most(-way.micro_batch_tokens)
    return Way(
        quantization='nf4' if quantized else 'none',
        micro_batch_tokens=spec.training.microBatchTokens or tokens,
        recompute=recompute or spec.training.recompute,
        sharded=(sharded or spec.training.sharded) and not quantized,
        bytes=way.bytes,
        may_quantize='nf4' in quantizations and not quantized,
    )


def load(spec: TrainSpec, way: Way, device: Device, ranks: Ranks, events: Events):
    """The base model with its adapter, whole on this rank's device or split over all, and the names of the layers that have one."""
    if not way.sharded:
        model, targets = add_adapter(load_base(spec.model, device.device), spec.adapter, spec.training.seed, events)
    else:
        with ranks.in_turn():
            dtype = str(compute_dtype(spec.model, device.device)).removeprefix('torch.')
            base = load_base(replace(spec.model, dtype=dtype), torch.device('cpu'))
            model, targets = add_adapter(base, spec.adapter, spec.training.seed, events)
            ranks.shard(model)
    ranks.copy_first([parameter for parameter in model.parameters() if parameter.requires_grad])
    return model, targets


def read_held_out(spec: TrainSpec, encoder: Encoder, events: Events, stop: StopRequest) -> EncodedExamples | None:
    if spec.evaluation is None:
        return None
    return encode_file(replace(spec.data, path=spec.evaluation.path), encoder, events, stop, spec.evaluation.maxExamples)


def hash_plan(spec: TrainSpec, data: dict, held_out: EncodedExamples | None, targets: list[str], step: int) -> str:
    """A hash of everything that decides the weights after `step`, so that a checkpoint is never continued under other settings."""
    training = asdict(spec.training)
    for name in ('microBatchTokens', 'recompute', 'sharded', 'compile'):  # how, not what; kept with each checkpoint
        del training[name]
    extensions = [each for each in training.pop('extensions') if each['step'] < step]
    if extensions:  # what comes later has not changed anything yet
        training['extensions'] = extensions
    facts = {
        'base': describe_base(spec.model.path),
        'quantization': spec.model.quantization,
        'dtype': spec.model.dtype,
        'adapter': {'rank': spec.adapter.rank, 'alpha': spec.adapter.alpha, 'dropout': spec.adapter.dropout, 'targets': targets},
        'warmStart': describe_adapter(spec.adapter.warmStartPath) if spec.adapter.warmStartPath else None,
        'data': data,
        'training': training,
    }
    if spec.evaluation and held_out:  # it decides which step's weights are kept, and when to stop
        facts['evaluation'] = {'data': held_out.digest(), 'everySteps': spec.evaluation.everySteps, 'patience': spec.evaluation.patience}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
