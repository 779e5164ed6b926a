"""GGUF, the file that llama.cpp reads: written by llama.cpp's own converter, in a process of its own, and read again here.

A merged model becomes a model, an adapter an adapter. The converter knows an architecture and a tokenizer or refuses them; what it has
written must hold the weights that it was given: as many in matrices, and of the same mean size.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from safetensors import safe_open

from temper_trainer.checkpoints import describe_file
from temper_trainer.events import Events
from temper_trainer.failures import TrainerFailure
from temper_trainer.process import StopRequest, Stopwatch
from temper_trainer.spec import ConvertSpec

# Of the mean absolute weight, as a share: what rounding to each makes, with room. A matrix that is missing or read twice makes more.
TOLERANCE = {'f32': 1e-5, 'f16': 1e-3, 'bf16': 1e-3, 'q8_0': 1e-2}
# What the converter says of what it does not know, and how we say it.
REFUSALS = {
    'BPE pre-tokenizer was not recognized': 'its tokenizer is not among those that llama.cpp knows',
    'is not supported': 'llama.cpp has no such architecture',
    'File not found': 'it has no tokenizer.model (SentencePiece), which llama.cpp wants for its architecture',
    'Can not map tensor': 'llama.cpp has no place for one of its tensors',
    'NotImplementedError': 'llama.cpp does not do this for its architecture',
}
LOG_CHARACTERS = 4000


def convert(spec: ConvertSpec, events: Events, stop: StopRequest, watch: Stopwatch) -> dict:
    """Writes one file. Returns the fields of the `completed` event. Raises GGUF_UNSUPPORTED, GGUF_DIFFERS, Interrupted."""
    target = Path(spec.outputPath)
    target.parent.mkdir(parents=True, exist_ok=True)
    with watch.part('convert'):
        run_converter(spec, target, events, stop)
    with watch.part('check'):
        found = compare(spec, target, events, stop)
    return {'step': 0, 'files': [{'name': target.name, **describe_file(target)}], 'converted': found}


def run_converter(spec: ConvertSpec, target: Path, events: Events, stop: StopRequest) -> None:
    folder = Path(spec.converterPath)
    adapter = spec.basePath is not None
    if adapter and json.loads((Path(spec.path) / 'adapter_config.json').read_bytes()).get('use_rslora'):
        raise TrainerFailure(
            'GGUF_UNSUPPORTED', 'llama.cpp scales an adapter by alpha / rank, and this one (use_rslora) is scaled otherwise.'
        )
    command = [sys.executable, str(folder / ('convert_lora_to_gguf.py' if adapter else 'convert_hf_to_gguf.py')), spec.path]
    command += ['--outfile', str(target), '--outtype', spec.quantization, *(['--base', spec.basePath] if spec.basePath else [])]
    log = target.with_suffix('.log')
    environment = {**os.environ, 'PYTHONPATH': str(folder / 'packages'), 'HF_HUB_OFFLINE': '1', 'TRANSFORMERS_OFFLINE': '1'}
    with open(log, 'wb') as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment)
        try:
            while True:
                try:
                    code = process.wait(timeout=0.2)
                    break
                except subprocess.TimeoutExpired:
                    stop.check()
                    events.progress('convert', target.stat().st_size if target.exists() else 0, None)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    said = log.read_text(errors='replace')[-LOG_CHARACTERS:]
    print(said, file=sys.stderr)
    log.unlink()
    if code == 0 and target.exists():
        return
    why = next((meaning for sign, meaning in REFUSALS.items() if sign in said), None)
    if why:
        raise TrainerFailure('GGUF_UNSUPPORTED', f'The model cannot become GGUF: {why}.')
    last = (said.strip().splitlines() or ['nothing'])[-1][:300]
    raise TrainerFailure('TRAINER_CRASHED', f"llama.cpp's converter ended with code {code}. It said last: {last}")


def compare(spec: ConvertSpec, target: Path, events: Events, stop: StopRequest) -> dict:
    """Weights in matrices, and the mean of their absolute values, here and there: orders, stacks and names may differ, weights may not."""
    weights, total = sum_source(Path(spec.path), events, stop)
    tensors, got_weights, got_total = sum_gguf(Path(spec.converterPath), target, events, stop)
    difference = abs(got_total - total) / max(total, 1e-12)
    if got_weights != weights or not difference <= TOLERANCE[spec.quantization]:
        raise TrainerFailure(
            'GGUF_DIFFERS',
            f'The GGUF does not hold the weights that it was made from: {got_weights} in matrices where there are {weights}, and '
            f'their mean size differs by {difference:.2g}, where {TOLERANCE[spec.quantization]} is the most.',
        )
    return {'tensors': tensors, 'weights': weights, 'weightDifference': difference}


def sum_source(folder: Path, events: Events, stop: StopRequest) -> tuple[int, float]:
    weights, total = 0, 0.0
    files = sorted(folder.glob('*.safetensors'))
    for done, path in enumerate(files):
        with safe_open(path, framework='pt') as file:
            for name in file.keys():  # noqa: SIM118 (no dictionary)
                stop.check()
                events.progress('readModel', done, len(files))
                if len(file.get_slice(name).get_shape()) < 2:
                    continue
                tensor = file.get_tensor(name)
                weights += tensor.numel()
                total += tensor.double().abs().sum().item()
    return weights, total


def sum_gguf(converter: Path, path: Path, events: Events, stop: StopRequest) -> tuple[int, int, float]:
    sys.path[:0] = [str(converter / 'gguf-py'), str(converter / 'packages')]
    import gguf
    import numpy as np

    reader = gguf.GGUFReader(path)
    weights, total = 0, 0.0
    for done, tensor in enumerate(reader.tensors):
        stop.check()
        events.progress('readGguf', done, len(reader.tensors))
        if len(tensor.shape) < 2:
            continue
        weights += int(np.prod(tensor.shape))
        total += float(np.abs(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float64).sum())
    return len(reader.tensors), weights, total
