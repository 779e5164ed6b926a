"""Brings one model from the Hugging Face hub into a folder: configuration, tokenizer, and weights as safetensors only."""

import os
from fnmatch import fnmatch
from pathlib import Path

import httpx
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from temper_trainer.checkpoints import describe_file
from temper_trainer.events import Events
from temper_trainer.failures import TrainerFailure
from temper_trainer.modelfiles import TOKENIZER_FILES
from temper_trainer.process import StopRequest, Stopwatch
from temper_trainer.spec import FetchSpec

# Top-level files only: folders hold the same weights in other formats. No code; pickled weights only where there are no others,
# and then as they are: whoever uses them converts them first.
COMMON = (*TOKENIZER_FILES, 'fireworks.json', 'LICENSE*')
WANTED = {
    'base': ('config.json', 'generation_config.json', '*.safetensors', 'model.safetensors.index.json', *COMMON),
    'addon': ('adapter_config.json', 'adapter_model.safetensors', *COMMON),
}
PICKLED = {'base': ('pytorch_model*.bin', 'pytorch_model.bin.index.json'), 'addon': ('adapter_model.bin',)}
REQUIRED = {'base': 'config.json', 'addon': 'adapter_config.json'}


def fetch(spec: FetchSpec, events: Events, stop: StopRequest, watch: Stopwatch) -> dict:
    """Downloads; files that are there already are not fetched again. Returns the fields of the `completed` event."""
    folder = Path(spec.outputPath)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with watch.part('download'):
            commit, names = download(spec, folder, events, stop)
    except GatedRepoError as error:
        raise TrainerFailure(
            'MODEL_GATED', f'{spec.repository} asks for acceptance of its terms: accept them on the hub and give a token (HF_TOKEN).'
        ) from error
    except RevisionNotFoundError as error:
        raise TrainerFailure('MODEL_NOT_FOUND', f'{spec.repository} has no revision {spec.revision}.') from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise TrainerFailure('MODEL_NOT_FOUND', f'The hub has no model {spec.repository}, or it is private.') from error
    except (HfHubHTTPError, LocalEntryNotFoundError, httpx.HTTPError, ConnectionError) as error:
        raise TrainerFailure('HUB_UNREACHABLE', f'The hub cannot be reached, or failed: {str(error).splitlines()[0][:300]}') from error
    return {'step': 0, 'commit': commit, 'files': check_hashes(folder, names)}


def download(spec: FetchSpec, folder: Path, events: Events, stop: StopRequest) -> tuple[str, dict[str, str | None]]:
    """Gives the commit, and for each file the SHA-256 that the hub has of it (of large files only)."""
    info = HfApi().model_info(spec.repository, revision=spec.revision, files_metadata=True)
    files = {file.rfilename: file for file in info.siblings if '/' not in file.rfilename}
    names = choose_files(spec, sorted(files))
    sizes = {name: files[name].size or 0 for name in names}
    total = sum(sizes.values())
    done = 0
    for name in sorted(names, key=lambda name: (sizes[name], name)):
        bar = progress_bar(events, stop, done, total)
        # The commit, not the branch: all files are of one version even when the repository changes meanwhile.
        hf_hub_download(spec.repository, name, revision=info.sha, local_dir=folder, tqdm_class=bar)
        done += sizes[name]
        events.progress('download', done, total, always=True)
        stop.check()
    return info.sha, {name: files[name].lfs.sha256 if files[name].lfs else None for name in names}


def choose_files(spec: FetchSpec, present: list[str]) -> list[str]:
    if REQUIRED[spec.kind] not in present:
        raise TrainerFailure('MODEL_FILES_MISSING', f'{spec.repository} has no {REQUIRED[spec.kind]}.')
    names = matching(present, WANTED[spec.kind])
    weights = [name for name in names if name.endswith('.safetensors')]
    if 'model.safetensors.index.json' in names or 'model.safetensors' in names:
        # The same weights under other names beside them: not twice.
        own = matching(weights, ('model.safetensors',) if 'model.safetensors' in names else ('model-*.safetensors',))
        names = [name for name in names if name not in weights or name in own]
    if not weights:
        pickled = matching(present, PICKLED[spec.kind])
        if not any(name.endswith('.bin') for name in pickled):
            raise TrainerFailure('MODEL_FILES_MISSING', f'{spec.repository} has no weights as safetensors.')
        names += pickled
    return sorted(names)


def matching(names: list[str], patterns: tuple[str, ...]) -> list[str]:
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def check_hashes(folder: Path, expected: dict[str, str | None]) -> list[dict]:
    described = [{'name': name, **describe_file(folder / name)} for name in expected]
    for file in described:
        if expected[file['name']] not in (None, file['sha256']):
            (folder / file['name']).unlink()  # so that the next try fetches it again
            raise TrainerFailure('HUB_UNREACHABLE', f'{file["name"]} did not arrive as the hub has it; the step is tried again.')
    return described


def progress_bar(events: Events, stop: StopRequest, before: int, total: int) -> type:
    """A bar in tqdm's manner that sends events; the hub's client makes one for each file."""
    from huggingface_hub.utils import tqdm

    class EventBar(tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, 'file': open(os.devnull, 'w'), 'disable': False})  # noqa: SIM115

        def update(self, n: float | None = 1) -> bool | None:
            stop.check()
            updated = super().update(n)
            events.progress('download', min(total, before + int(self.n)), total)
            return updated

    return EventBar
