"""What training will need of a device's memory, known before a weight is loaded, and how to train within what is free.

`docs/estimates.md` has the formula and where its numbers come from; `estimates/memory.ts` is the same for previews.
"""

import json
import resource
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from temper_trainer.failures import TrainerFailure
from temper_trainer.families import TARGET_MODULES
from temper_trainer.head import ROWS

GIB = 1 << 30
NF4_BYTES = 0.516
ADAPTER_BYTES = 16
# Saved for the backward pass, a token, layer and value of `hidden_size`: under autocast, and with everything in float32.
ACTIVATION_BYTES = {torch.bfloat16: 53.5, torch.float32: 72.25}
LOGIT_BYTES = 10
FIXED_BYTES = {'cuda': int(1.5 * GIB), 'cpu': GIB * 3 // 4}
FRAGMENTATION = 1.1
# Of the memory that is free when the process starts.
USABLE_SHARE = 0.95
LEAST_TOKENS = 64


@dataclass(frozen=True)
class Shape:
    """The base model, as its files describe it."""

    parameters: int
    quantizable: int  # in the linear layers of the blocks
    largest_layer: int
    adapter: int  # parameters of the adapter
    layers: int
    hidden_size: int
    vocabulary: int


@dataclass(frozen=True)
class Way:
    """How the run fits the device."""

    quantization: str
    micro_batch_tokens: int
    recompute: bool  # activations are computed again in the backward pass instead of kept
    sharded: bool  # the base model is split over the ranks
    bytes: int | None  # by the formula; None where the model's size could not be read
    may_quantize: bool = False  # 4 bits are left to try, should memory turn out too small


def read_shape(path: str, rank: int, targets: list[str] | None) -> Shape | None:
    """From config.json and the headers of the weight files; None where the weights are not safetensors."""
    config = json.loads((Path(path) / 'config.json').read_bytes())
    names = targets or TARGET_MODULES.get(config.get('model_type'), [])
    parameters = quantizable = largest = adapter = 0
    for file in sorted(Path(path).glob('*.safetensors')):
        for name, entry in read_header(file).items():
            if name == '__metadata__':
                continue
            count = 1
            for side in entry['shape']:
                count *= side
            parameters += count
            if '.layers.' not in name or not name.endswith('.weight') or len(entry['shape']) != 2:
                continue
            if '.experts.' in name or name.endswith('.gate.weight'):
                continue
            quantizable += count
            largest = max(largest, count)
            if name.split('.')[-2] in names:
                adapter += rank * sum(entry['shape'])
    layers, hidden, vocabulary = (config.get(name) for name in ('num_hidden_layers', 'hidden_size', 'vocab_size'))
    if not parameters or not all(isinstance(value, int) for value in (layers, hidden, vocabulary)):
        return None
    return Shape(parameters, quantizable, largest, adapter, layers, hidden, vocabulary)


def read_header(file: Path) -> dict:
    with open(file, 'rb') as opened:
        (length,) = struct.unpack('<Q', opened.read(8))
        return json.loads(opened.read(length))


def needed_bytes(shape: Shape, way: Way, dtype: torch.dtype, device_type: str, world: int) -> int:
    """The peak of one rank."""
    value = dtype.itemsize
    weights = shape.parameters * value
    if way.quantization == 'nf4':
        # Beside them the largest layer, dequantized for the forward and the backward pass.
        weights = shape.quantizable * NF4_BYTES + (shape.parameters - shape.quantizable + 2 * shape.largest_layer) * value
    if way.sharded:
        # A share, and the two blocks at most that are whole at a time.
        block = shape.quantizable / shape.layers * value
        weights = weights / world + 2 * block
    width = shape.hidden_size * ACTIVATION_BYTES[dtype]
    # Recomputing keeps the input of each block, and one block's activations while it is at work.
    per_token = shape.layers * shape.hidden_size * value + width if way.recompute else shape.layers * width
    logits = min(ROWS, way.micro_batch_tokens) * shape.vocabulary * LOGIT_BYTES
    total = weights + shape.adapter * ADAPTER_BYTES + way.micro_batch_tokens * per_token + logits + FIXED_BYTES[device_type]
    return int(total * FRAGMENTATION)


def free_bytes(device: torch.device) -> int:
    """Of the device; on a CPU what the machine and this process's cgroup still give."""
    if device.type == 'cuda':
        return torch.cuda.mem_get_info(device)[0]
    fields = dict(line.split(':') for line in Path('/proc/meminfo').read_text().splitlines()) if Path('/proc/meminfo').exists() else {}
    free = int(fields['MemAvailable'].split()[0]) * 1024 if 'MemAvailable' in fields else 1 << 62
    return min(free, cgroup_free_bytes(Path('/sys/fs/cgroup')))


def cgroup_free_bytes(folder: Path) -> int:
    """What a container's limit leaves, 1 << 62 without one. Files that were read lately count as used until somebody needs the
    memory; those of them that nothing uses are free here, as for Kubernetes and `docker stats`."""
    free = 1 << 62
    for limit, used, stat, cache in (
        ('memory.max', 'memory.current', 'memory.stat', 'inactive_file'),
        ('memory/memory.limit_in_bytes', 'memory/memory.usage_in_bytes', 'memory/memory.stat', 'total_inactive_file'),
    ):
        try:
            figures = dict(line.split() for line in (folder / stat).read_text().splitlines())
            spare = int((folder / limit).read_text()) - int((folder / used).read_text())
        except (OSError, ValueError):  # no such cgroup, or "max"
            continue
        free = min(free, spare + int(figures.get(cache, 0)))
    return free


def peak_bytes(device: torch.device) -> int:
    """The most that this process has held so far: of the GPU, without CUDA's own; on a CPU of the machine, with all libraries."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == 'darwin' else 1024)


def choose_way(
    shape: Shape | None, quantizations: list[str], wanted_tokens: int, longest: int, dtype: torch.dtype, device: torch.device, world: int
) -> Way:
    """The fastest way that fits: whole activations before recomputed ones, a whole base model before a split one, 16 bits before 4.
    `wanted_tokens` is the micro-batch where memory is no matter. Raises MEMORY_TOO_SMALL, with figures, when none does."""
    tokens = max(wanted_tokens, longest)
    if shape is None:
        return Way(quantizations[0], tokens, False, False, None)
    free = free_bytes(device)
    tried: list[Way] = []
    for quantization in quantizations:
        for sharded in (False, True) if world > 1 and quantization == 'none' else (False,):
            for recompute in (False, True):
                fitting, least = tokens, max(longest, min(tokens, LEAST_TOKENS))
                while True:
                    way = Way(quantization, fitting, recompute, sharded, None)
                    needed = needed_bytes(shape, way, dtype, device.type, world)
                    way = Way(quantization, fitting, recompute, sharded, needed)
                    if needed <= free * USABLE_SHARE:
                        return way
                    if fitting == least:
                        break
                    fitting = max(least, fitting // 2)
                tried.append(way)
    smallest = min(tried, key=lambda way: way.bytes)
    what = 'QLoRA' if smallest.quantization == 'nf4' else 'LoRA'
    advice = ['a lower cutoff length', 'a lower rank', 'a smaller base model', 'more memory']
    if smallest.quantization == 'none':
        advice.insert(0, 'quantization nf4 (QLoRA)')
    raise TrainerFailure(
        'MEMORY_TOO_SMALL',
        f'Training needs about {smallest.bytes / GIB:.1f} GiB at the least ({what}, examples of up to {longest} tokens, activations '
        f'recomputed), and {free / GIB:.1f} GiB are free on {"the GPU" if device.type == "cuda" else "this machine"}'
        f'{f", the least of {world} ranks" if world > 1 else ""}. What helps: {", ".join(advice)}.',
    )
