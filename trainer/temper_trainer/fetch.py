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
from temper_trainer.process import StopRequest, Stopwatch
from temper_trainer.spec import FetchSpec

# Top-level files only: folders hold the same weights in other formats. No pickles, no code.
WANTED = (
    'config.json',
    'generation_config.json',
    '*.safetensors',
    'model.safetensors.index.json',
    'tokenizer.json',
    'tokenizer.model',
    'tokenizer_config.json',
    'special_tokens_map.json',
    'added_tokens.json',
    'vocab.json',
    'merges.txt',
    'chat_template.jinja',
    'LICENSE*',
)


def fetch(spec: FetchSpec, events: Events, stop: StopRequest, watch: Stopwatch) -> dict:
    """Downloads; files that are there already are not fetched again. Returns the fields of the `completed` event."""
    folder = Path(spec.outputPath)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with watch.part('download'):
            names = download(spec, folder, events, stop)
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
    return {'step': 0, 'files': [{'name': name, **describe_file(folder / name)} for name in names]}


def download(spec: FetchSpec, folder: Path, events: Events, stop: StopRequest) -> list[str]:
    info = HfApi().model_info(spec.repository, revision=spec.revision, files_metadata=True)
    sizes = {
        file.rfilename: file.size or 0
        for file in info.siblings
        if '/' not in file.rfilename and any(fnmatch(file.rfilename, pattern) for pattern in WANTED)
    }
    if not any(name.endswith('.safetensors') for name in sizes):
        raise TrainerFailure('MODEL_FILES_MISSING', f'{spec.repository} has no weights as safetensors.')
    if 'config.json' not in sizes:
        raise TrainerFailure('MODEL_FILES_MISSING', f'{spec.repository} has no config.json.')
    total = sum(sizes.values())
    done = 0
    for name in sorted(sizes, key=lambda name: (sizes[name], name)):
        bar = progress_bar(events, stop, done, total)
        # The commit, not the branch: all files are of one version even when the repository changes meanwhile.
        hf_hub_download(spec.repository, name, revision=info.sha, local_dir=folder, tqdm_class=bar)
        done += sizes[name]
        events.progress('download', done, total, always=True)
        stop.check()
    return sorted(sizes)


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
