"""Checkpoints that are whole or not there: written beside, flushed, listed in a manifest with hashes, then renamed into place.

step-12/manifest.json            written last: step, plan, versions, and size and SHA-256 of every other file
step-12/adapter_model.safetensors, adapter_config.json, optimizer.pt, scheduler.pt, rng_state.pth, trainer_state.json
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from temper_trainer.failures import TrainerFailure

MANIFEST = 'manifest.json'
MANIFEST_VERSION = 1
HASH_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Checkpoint:
    step: int
    path: str
    manifest_sha256: str
    size_bytes: int


def publish(directory: Path, step: int, facts: dict, write: Callable[[Path], None], keep: int) -> Checkpoint:
    """Has `write` fill a new folder and makes it `step-N`. A kill at any moment leaves what was there before, and no torn folder
    under a checkpoint's name. `facts` go into the manifest. Then all but the newest `keep` checkpoints are removed."""
    directory.mkdir(parents=True, exist_ok=True)
    building = directory / f'.building-{step}'
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    write(building)
    files = {path.name: describe_file(path) for path in sorted(building.iterdir())}
    for name in files:
        flush(building / name)
    manifest = json.dumps({'version': MANIFEST_VERSION, 'step': step, **facts, 'files': files}, indent=2, sort_keys=True).encode()
    (building / MANIFEST).write_bytes(manifest)
    flush(building / MANIFEST)
    flush(building)
    final = directory / f'step-{step}'
    if final.exists():  # a run resumed from an older checkpoint comes by here again
        replaced = directory / f'.replaced-{step}'
        shutil.rmtree(replaced, ignore_errors=True)
        final.rename(replaced)
    building.rename(final)
    flush(directory)
    remove_older(directory, keep)
    size = sum(entry['sizeBytes'] for entry in files.values()) + len(manifest)
    return Checkpoint(step, str(final), hashlib.sha256(manifest).hexdigest(), size)


def verify(path: str, hash_at: Callable[[int], str]) -> dict:
    """The manifest of the checkpoint at `path`, when every byte it lists is there and it belongs to this plan, whose hash at a
    step `hash_at` gives. Raises CHECKPOINT_CORRUPT or CHECKPOINT_MISMATCH."""
    folder = Path(path)
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        files, found_plan = manifest['files'], manifest['planHash']
        if manifest['version'] != MANIFEST_VERSION or not isinstance(manifest['step'], int) or not files:
            raise ValueError('unknown manifest')
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainerFailure('CHECKPOINT_CORRUPT', f'The checkpoint {path} has no readable {MANIFEST}: {error}') from error
    for name, entry in files.items():
        file = folder / name
        if os.path.basename(name) != name or not file.is_file():
            raise TrainerFailure('CHECKPOINT_CORRUPT', f'The checkpoint {path} lacks {name}.')
        if describe_file(file) != entry:
            raise TrainerFailure('CHECKPOINT_CORRUPT', f'{name} of the checkpoint {path} is not what was written.')
    if found_plan != hash_at(manifest['step']):
        raise TrainerFailure(
            'CHECKPOINT_MISMATCH', f'The checkpoint {path} belongs to other settings, data or another base model; start without it.'
        )
    return manifest


def clear_unfinished(directory: Path) -> None:
    """Removes what killed processes left half-made."""
    for pattern in ('.building-*', '.replaced-*'):
        for path in directory.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def discard_after(directory: Path, step: int) -> None:
    """Removes what lies beyond the point a run goes on from: corrupt, or of another plan, and never to be taken for this run's."""
    clear_unfinished(directory)
    for found in saved_steps(directory):
        if found > step:
            remove(directory, found)


def remove_older(directory: Path, keep: int) -> None:
    clear_unfinished(directory)
    for step in saved_steps(directory)[:-keep]:
        remove(directory, step)


def saved_steps(directory: Path) -> list[int]:
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return sorted(int(match[1]) for name in names if (match := re.fullmatch(r'step-(\d+)', name)))


def remove(directory: Path, step: int) -> None:
    # Out of sight first: half a removed checkpoint must not look like one.
    doomed = directory / f'.replaced-{step}'
    (directory / f'step-{step}').rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def describe_file(path: Path) -> dict:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(HASH_BLOCK_BYTES):
            digest.update(block)
    return {'sizeBytes': path.stat().st_size, 'sha256': digest.hexdigest()}


def flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish_folder(final: Path, write: Callable[[Path], None]) -> list[dict]:
    """Has `write` fill a new folder and puts it where `final` is or was; gives name, size and hash of its files."""
    building = final.with_name(f'.{final.name}.building')
    replaced = final.with_name(f'.{final.name}.replaced')
    shutil.rmtree(building, ignore_errors=True)
    shutil.rmtree(replaced, ignore_errors=True)
    building.mkdir(parents=True)
    write(building)
    files = [{'name': path.name, **describe_file(path)} for path in sorted(building.iterdir())]
    for path in building.iterdir():
        flush(path)
    flush(building)
    if final.exists():
        final.rename(replaced)
    building.rename(final)
    flush(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)
    return files
