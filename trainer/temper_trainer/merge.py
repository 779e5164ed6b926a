"""Makes one model of a base model and its adapter: W + scale · B·A, in bfloat16, one file's worth of tensors in memory at a time.

The result is checked by running it: its logits on the given texts must be those of the base with the adapter beside it.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from temper_trainer.checkpoints import publish_folder
from temper_trainer.events import Events
from temper_trainer.failures import TrainerFailure
from temper_trainer.model import (
    SavedAdapter,
    base_name,
    check_model_files,
    check_plain_lora,
    copy_tokenizer,
    find_device,
    load_adapter,
    load_base,
    load_tokenizer,
    read_adapter,
    read_json,
)
from temper_trainer.process import StopRequest, Stopwatch
from temper_trainer.spec import MergeSpec, ModelSpec

DTYPE = torch.bfloat16
SHARD_BYTES = 4 << 30
CHECK_TOKENS = 512  # of each text
# Root mean square of the differences of all logits, as a share of the logits' own spread. Rounding weights to bfloat16 makes 0.002 to
# 0.004 on random models of every family, 0.015 where experts are chosen; the whole adapter left out makes more than 1 (README.md).
TOLERANCE = 0.05

PREFIX = 'base_model.model.'
ReadTensor = Callable[[str], torch.Tensor]


def merge(spec: MergeSpec, events: Events, stop: StopRequest, watch: Stopwatch) -> dict:
    """Writes the merged model to `spec.outputPath`. Returns the fields of the `completed` event. Raises Interrupted."""
    adapter = read_adapter(spec.adapterPath)
    check_plain_lora(adapter)
    if spec.model.quantization != 'none':
        events.warn(
            'MERGED_WITHOUT_QUANTIZATION',
            'The adapter was trained on 4-bit weights and is merged into the full ones: answers may differ a little.',
        )
    difference = {}

    def write(folder: Path) -> None:
        with watch.part('merge'):
            write_weights(Path(spec.model.path), adapter, folder, spec.shardBytes or SHARD_BYTES, events, stop)
            write_configuration(spec, folder)
        with watch.part('check'):
            difference.update(compare(spec, folder, events, stop))

    return {'step': 0, 'files': publish_folder(Path(spec.outputPath), write), 'merged': difference}


def write_weights(base: Path, adapter: SavedAdapter, folder: Path, shard_bytes: int, events: Events, stop: StopRequest) -> None:
    tensors = list(open_weights(base))
    deltas = pair_layers(adapter, {name for name, _, _ in tensors})
    shards: list[list[tuple[str, ReadTensor]]] = [[]]
    sizes = [0]
    for name, shape, read in tensors:
        size = DTYPE.itemsize * torch.Size(shape).numel()
        if shards[-1] and sizes[-1] + size > shard_bytes:
            shards.append([])
            sizes.append(0)
        shards[-1].append((name, read))
        sizes[-1] += size
    files, done = {}, 0
    for number, shard in enumerate(shards, 1):
        file = 'model.safetensors' if len(shards) == 1 else f'model-{number:05}-of-{len(shards):05}.safetensors'
        merged = {}
        for name, read in shard:
            stop.check()
            weight = read(name)
            if name in deltas:
                weight = add_delta(name, weight, deltas[name], adapter)
            merged[name] = weight.to(DTYPE).contiguous() if weight.is_floating_point() else weight
            files[name] = file
            done += 1
            events.progress('merge', done, len(tensors), always=done == len(tensors))
        save_file(merged, folder / file, metadata={'format': 'pt'})
    if len(shards) > 1:
        index = {'metadata': {'total_size': sum(sizes)}, 'weight_map': files}
        (folder / 'model.safetensors.index.json').write_text(json.dumps(index, indent=2) + '\n')


def open_weights(base: Path) -> Iterator[tuple[str, list[int], ReadTensor]]:
    """Name and shape of each tensor of the model, and how to read it when its turn comes."""
    weights = check_model_files(str(base))
    names = sorted(set(read_json(weights)['weight_map'].values())) if weights.name.endswith('.index.json') else [weights.name]
    for name in names:
        if name.endswith('.safetensors'):
            file = safe_open(base / name, framework='pt')
            for key in file.keys():  # noqa: SIM118 (no dictionary)
                yield key, file.get_slice(key).get_shape(), file.get_tensor
        else:
            loaded = torch.load(base / name, map_location='cpu', mmap=True, weights_only=True)
            for key, tensor in loaded.items():
                yield key, list(tensor.shape), loaded.__getitem__


def pair_layers(adapter: SavedAdapter, weights: set[str]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """A and B by the name of the weight they change. Raises WARM_START_MISMATCH for a layer that the base model does not have."""
    pairs = {}
    for name, tensor in adapter.tensors.items():
        layer, _, which = name.removeprefix(PREFIX).partition('.lora_')
        if which not in ('A.weight', 'B.weight'):
            raise TrainerFailure('WARM_START_MISMATCH', f'The adapter has the tensor {name}, which is no LoRA of a linear layer.')
        if f'{layer}.weight' not in weights:
            raise TrainerFailure('WARM_START_MISMATCH', f'The adapter changes {layer}, which is not among the weights of the base model.')
        pairs.setdefault(f'{layer}.weight', {})[which[0]] = tensor
    lonely = next((name for name, pair in pairs.items() if len(pair) != 2), None)
    if lonely:
        raise TrainerFailure('WARM_START_MISMATCH', f'The adapter has only one of the two tensors for {lonely}.')
    return {name: (pair['A'], pair['B']) for name, pair in pairs.items()}


def add_delta(name: str, weight: torch.Tensor, pair: tuple[torch.Tensor, torch.Tensor], adapter: SavedAdapter) -> torch.Tensor:
    a, b = (tensor.float() for tensor in pair)
    if (b.shape[0], a.shape[1]) != tuple(weight.shape):
        raise TrainerFailure(
            'WARM_START_MISMATCH', f'The adapter makes {name} {[b.shape[0], a.shape[1]]}, the base model has {list(weight.shape)}.'
        )
    rank, alpha = adapter.config['r'], adapter.config['lora_alpha']
    scale = alpha / (rank**0.5 if adapter.config.get('use_rslora') else rank)
    return weight.float() + scale * (b @ a)


def write_configuration(spec: MergeSpec, folder: Path) -> None:
    """config.json with the new dtype; the adapter's tokenizer where it brings one (with the job's chat template), else the base's."""
    base = Path(spec.model.path)
    config = json.loads((base / 'config.json').read_bytes())
    config.pop('torch_dtype', None)
    (folder / 'config.json').write_text(json.dumps({**config, 'dtype': 'bfloat16'}, indent=2, ensure_ascii=False) + '\n')
    if (base / 'generation_config.json').is_file():
        shutil.copyfile(base / 'generation_config.json', folder / 'generation_config.json')
    copy_tokenizer(spec.model.path, folder)
    copy_tokenizer(spec.adapterPath, folder)


def compare(spec: MergeSpec, merged: Path, events: Events, stop: StopRequest) -> dict:
    """How far the merged model's logits are from those of base and adapter, one model in memory after the other."""
    device = find_device().device
    tokenizer = load_tokenizer(spec.model.path)
    rows = [tokenizer(text, return_tensors='pt').input_ids[:, :CHECK_TOKENS].to(device) for text in spec.texts]
    rows = [row for row in rows if row.shape[1] > 0]

    @torch.inference_mode()
    def logits(model, stage: str) -> list[torch.Tensor]:
        found = []
        for done, row in enumerate(rows, 1):
            stop.check()
            found.append(model(input_ids=row, use_cache=False).logits[0].float().cpu())
            events.progress(stage, done, len(rows), always=done == len(rows))
        return found

    beside = load_adapter(load_base(ModelSpec(spec.model.path, 'none', spec.model.dtype, base_name(spec.model)), device), spec.adapterPath)
    wanted = logits(beside, 'checkAdapter')
    with beside.disable_adapter():
        without = logits(beside, 'checkBase')
    del beside
    got = logits(load_base(ModelSpec(str(merged), 'none', spec.model.dtype, None), device), 'checkMerged')
    difference, effect = distance(got, wanted), distance(without, wanted)
    if not difference <= TOLERANCE:
        raise TrainerFailure(
            'MERGE_DIFFERS',
            f'The merged model answers otherwise than the base model with its adapter: their logits differ by {difference:.4f} of their '
            f'spread, where {TOLERANCE} is the most. The adapter is as good as before; serve it beside its base model.',
        )
    return {'difference': difference, 'effect': effect, 'tolerance': TOLERANCE, 'tokens': sum(len(row) for row in wanted)}


def distance(got: list[torch.Tensor], wanted: list[torch.Tensor]) -> float:
    squares = sum((one - other).square().sum().item() for one, other in zip(got, wanted, strict=True))
    spread = sum((row - row.mean(-1, keepdim=True)).square().sum().item() for row in wanted)
    return (squares / spread) ** 0.5
