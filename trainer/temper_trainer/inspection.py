"""Looks into the files of a model that someone brings, where they can do no harm: converts pickled weights to safetensors with
PyTorch's restricted reader, and loads the tokenizer. Memory, time and file size are limited; the worker gives no network."""

import resource
import signal
from pathlib import Path

from temper_trainer.checkpoints import describe_file
from temper_trainer.events import Events
from temper_trainer.failures import TrainerFailure
from temper_trainer.process import StopRequest, Stopwatch, uncollected
from temper_trainer.spec import InspectSpec

# Beside the tensors themselves: PyTorch, transformers, the tokenizer.
MEMORY_BYTES = 4 << 30
TOKENIZER_SECONDS = 30
CPU_SECONDS = 1800


def inspect_model(spec: InspectSpec, events: Events, stop: StopRequest, watch: Stopwatch) -> dict:
    """Returns the fields of the `completed` event: the converted files, and `tokens`, the tokenizer's highest ID and one."""
    target = Path(spec.outputPath)
    target.mkdir(parents=True, exist_ok=True)
    largest = max((Path(spec.path, name).stat().st_size for name in spec.convert), default=0)
    limit(resource.RLIMIT_CORE, 0)
    limit(resource.RLIMIT_CPU, CPU_SECONDS)
    limit(resource.RLIMIT_FSIZE, 2 * largest + (1 << 30))
    limit(resource.RLIMIT_DATA, 3 * largest + MEMORY_BYTES)
    files = []
    with watch.part('convert'):
        for done, name in enumerate(spec.convert):
            events.progress('convert', done, len(spec.convert), always=True)
            converted = convert(Path(spec.path, name), target)
            files.append({'name': converted.name, **describe_file(converted)})
            stop.check()
    tokens = None
    if spec.tokenizer:
        events.progress('loadTokenizer', 0, 1, always=True)
        with watch.part('loadTokenizer'):
            tokens = count_tokens(spec.path)
    return {'step': 0, 'files': files, **({'tokens': tokens} if tokens is not None else {})}


def limit(kind: int, most: int) -> None:
    hard = resource.getrlimit(kind)[1]
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard),) * 2)


def convert(path: Path, folder: Path) -> Path:
    """`pytorch_model-00001-of-00002.bin` becomes `model-00001-of-00002.safetensors`, `adapter_model.bin` `adapter_model.safetensors`."""
    with uncollected():
        import torch
        from safetensors.torch import save_file

    try:
        loaded = torch.load(path, map_location='cpu', weights_only=True)
    except MemoryError:
        raise
    except Exception as error:
        raise TrainerFailure(
            'MODEL_FILES_INVALID',
            f'{path.name} cannot be read safely: it holds more than tensors, or is damaged ({type(error).__name__}). '
            'Save the weights as safetensors and upload those.',
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in loaded.items()):
        raise TrainerFailure(
            'MODEL_FILES_INVALID', f'{path.name} must hold tensors by name and nothing else. Save the weights as safetensors.'
        )
    # Tensors that share memory have no place in the format: each gets its own.
    tensors, places = {}, set()
    for name, value in loaded.items():
        place = value.untyped_storage().data_ptr()
        tensors[name] = value.detach().clone() if place in places else value.detach().contiguous()
        places.add(place)
    target = folder / (path.stem.replace('pytorch_model', 'model') + '.safetensors')
    save_file(tensors, target, metadata={'format': 'pt'})
    return target


def count_tokens(path: str) -> int:
    with uncollected():
        from transformers import AutoTokenizer

    # A regular expression can be made to run for ever, inside native code: the signal's own action ends the process then.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(TOKENIZER_SECONDS)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        text = 'The quick brown fox, 12345 times over: naïve café — 東京 🙂\n' * 20
        ids = tokenizer(text, add_special_tokens=False)['input_ids']
        highest = max(tokenizer.get_vocab().values())
    except MemoryError:
        raise
    except BaseException as error:  # the tokenizer's native code panics with one
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise TrainerFailure('MODEL_FILES_INVALID', f'The tokenizer cannot be loaded: {first}') from error
    finally:
        signal.alarm(0)
    if not ids:
        raise TrainerFailure('MODEL_FILES_INVALID', 'The tokenizer makes no tokens of plain text.')
    if tokenizer.eos_token_id is None:
        raise TrainerFailure('MODEL_FILES_INVALID', 'The tokenizer has no eos_token: nothing could tell a trained model where to end.')
    return highest + 1
