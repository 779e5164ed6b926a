"""The job spec: its types, and the check that turns JSON into them. `schemas/trainerProtocol.ts` is the other side of it.

Field names are the protocol's. An error names the field and what it must be.
"""

import json
import math
import re
from dataclasses import dataclass
from itertools import pairwise

from temper_trainer.failures import TrainerFailure

PROTOCOL_VERSION = 1

KINDS = ('textCompletion', 'textClassification', 'conversation')
QUANTIZATIONS = ('none', 'nf4', 'auto')  # auto: nf4 where memory asks for it; for training only
GGUF_QUANTIZATIONS = ('f32', 'f16', 'bf16', 'q8_0')
DTYPES = ('auto', 'float32', 'bfloat16')
SCHEDULES = ('linear', 'cosine', 'constant')


@dataclass(frozen=True)
class ModelSpec:
    path: str
    quantization: str
    dtype: str
    name: str | None  # what adapter_config.json calls the base model; None: the folder's name


@dataclass(frozen=True)
class DataSpec:
    kind: str
    path: str
    cutoffLength: int


@dataclass(frozen=True)
class AdapterSpec:
    rank: int
    alpha: float
    dropout: float
    targetModules: list[str] | None
    warmStartPath: str | None


@dataclass(frozen=True)
class Extension:
    """From the end of `step` on, the run is one of `epochs`."""

    step: int
    epochs: float


@dataclass(frozen=True)
class TrainingSpec:
    epochs: float
    extensions: tuple[Extension, ...]  # in order; `epochs` is what the run began with
    batchSize: int
    learningRate: float
    warmupSteps: int
    schedule: str
    weightDecay: float
    maxGradNorm: float
    seed: int
    microBatchTokens: int | None
    recompute: bool  # activations are computed again in the backward pass even where they could be kept
    sharded: bool  # the base model is split over the ranks even where each could hold it
    compile: bool  # the blocks are compiled, where the device is a GPU


@dataclass(frozen=True)
class InTrainingSpec:
    """Evaluation on held-out examples while training; the adapter is then the one of the step with the lowest loss."""

    path: str
    everySteps: int
    maxExamples: int | None
    patience: int | None  # evaluations in a row without a lower loss that end the run; None: it never ends early


@dataclass(frozen=True)
class CheckpointsSpec:
    directory: str
    everySteps: int
    everySeconds: float
    keep: int
    resumeFrom: str | None


@dataclass(frozen=True)
class TrainSpec:
    model: ModelSpec
    adapter: AdapterSpec
    data: DataSpec
    training: TrainingSpec
    checkpoints: CheckpointsSpec
    evaluation: InTrainingSpec | None
    stopAfterSeconds: float | None
    stopAtStep: int | None  # of a run made once more that a limit of time had ended
    accelerators: int  # GPUs that must be there; 0: a CPU will do
    outputPath: str


@dataclass(frozen=True)
class EvaluateSpec:
    model: ModelSpec
    adapterPath: str
    data: DataSpec
    labels: list[str] | None
    maxExamples: int | None
    verify: bool  # the adapter is loaded a second time, and must give the same
    outputPath: str


@dataclass(frozen=True)
class VerifySpec:
    model: ModelSpec
    adapterPath: str
    data: DataSpec


@dataclass(frozen=True)
class MergeSpec:
    model: ModelSpec
    adapterPath: str
    texts: list[str]  # that the merged model is compared on
    shardBytes: int | None  # of each weight file, at most; None: 4 GiB
    outputPath: str


@dataclass(frozen=True)
class ConvertSpec:
    converterPath: str
    path: str  # of a merged model, or of an adapter
    basePath: str | None  # config.json of an adapter's base model
    quantization: str
    outputPath: str


@dataclass(frozen=True)
class FetchSpec:
    repository: str
    revision: str | None
    kind: str
    outputPath: str


@dataclass(frozen=True)
class InspectSpec:
    path: str
    convert: list[str]
    tokenizer: bool
    outputPath: str


Spec = TrainSpec | EvaluateSpec | VerifySpec | MergeSpec | ConvertSpec | FetchSpec | InspectSpec


def read_spec(path: str) -> Spec:
    """The spec in the file at `path`. Raises SPEC_INVALID."""
    try:
        with open(path, encoding='utf-8') as file:
            raw = json.load(file)
    except (OSError, ValueError) as error:
        raise TrainerFailure('SPEC_INVALID', f'The spec {path} cannot be read: {error}') from error
    fields = Fields(raw, '')
    version = fields.integer('version')
    if version != PROTOCOL_VERSION:
        raise TrainerFailure('SPEC_INVALID', f'version: this trainer speaks version {PROTOCOL_VERSION}, the spec says {version}.')
    readers = {
        'train': read_train,
        'evaluate': read_evaluate,
        'verify': read_verify,
        'merge': read_merge,
        'convert': read_convert,
        'fetch': read_fetch,
        'inspect': read_inspect,
    }
    spec = readers[fields.choice('work', tuple(readers))](fields)
    fields.end()
    return spec


def read_train(fields: 'Fields') -> TrainSpec:
    adapter = fields.group('adapter')
    training = fields.group('training')
    checkpoints = fields.group('checkpoints')
    spec = TrainSpec(
        model=read_model(fields),
        adapter=AdapterSpec(
            rank=adapter.integer('rank', 1, 64),
            alpha=adapter.number('alpha', above=0),
            dropout=adapter.number('dropout', least=0, below=1),
            targetModules=adapter.texts('targetModules', pattern='^[A-Za-z0-9_]+$', optional=True),
            warmStartPath=adapter.text('warmStartPath', optional=True),
        ),
        data=read_data(fields),
        training=TrainingSpec(
            epochs=training.number('epochs', above=0),
            extensions=read_extensions(training),
            batchSize=training.integer('batchSize', 1, 512),
            learningRate=training.number('learningRate', above=0, most=1),
            warmupSteps=training.integer('warmupSteps', 0),
            schedule=training.choice('schedule', SCHEDULES),
            weightDecay=training.number('weightDecay', least=0),
            maxGradNorm=training.number('maxGradNorm', above=0),
            seed=training.integer('seed', 0, 2**32 - 1),
            microBatchTokens=training.integer('microBatchTokens', 8, nullable=True),
            recompute=training.flag('recompute', optional=True),
            sharded=training.flag('sharded', optional=True),
            compile=training.flag('compile', optional=True),
        ),
        checkpoints=CheckpointsSpec(
            directory=checkpoints.text('directory'),
            everySteps=checkpoints.integer('everySteps', 1),
            everySeconds=checkpoints.number('everySeconds', above=0),
            keep=checkpoints.integer('keep', 1),
            resumeFrom=checkpoints.text('resumeFrom', optional=True),
        ),
        evaluation=read_in_training(fields),
        stopAfterSeconds=fields.number('stopAfterSeconds', least=0, optional=True),
        stopAtStep=fields.integer('stopAtStep', 1, optional=True),
        accelerators=fields.integer('accelerators', 0, optional=True) or 0,
        outputPath=fields.text('outputPath'),
    )
    for group in (adapter, training, checkpoints):
        group.end()
    return spec


def read_extensions(training: 'Fields') -> tuple[Extension, ...]:
    extensions = []
    for entry in training.objects('extensions'):
        extensions.append(Extension(entry.integer('step', 0), entry.number('epochs', above=0)))
        entry.end()
    for before, after in pairwise(extensions):
        if after.step < before.step:
            raise TrainerFailure('SPEC_INVALID', 'training.extensions: must be in the order of their steps.')
    return tuple(extensions)


def read_in_training(fields: 'Fields') -> InTrainingSpec | None:
    evaluation = fields.group('evaluation', optional=True)
    if evaluation is None:
        return None
    spec = InTrainingSpec(
        path=evaluation.text('path'),
        everySteps=evaluation.integer('everySteps', 1),
        maxExamples=evaluation.integer('maxExamples', 1, nullable=True),
        patience=evaluation.integer('patience', 1, nullable=True),
    )
    evaluation.end()
    return spec


def read_evaluate(fields: 'Fields') -> EvaluateSpec:
    spec = EvaluateSpec(
        model=read_model(fields),
        adapterPath=fields.text('adapterPath'),
        data=read_data(fields),
        labels=fields.texts('labels', optional=True),
        maxExamples=fields.integer('maxExamples', 1, nullable=True),
        verify=fields.flag('verify', optional=True),
        outputPath=fields.text('outputPath'),
    )
    if spec.data.kind == 'textClassification' and not spec.labels:
        raise TrainerFailure('SPEC_INVALID', 'labels: missing; textClassification needs the list of all labels.')
    return spec


def read_verify(fields: 'Fields') -> VerifySpec:
    return VerifySpec(
        model=read_model(fields),
        adapterPath=fields.text('adapterPath'),
        data=read_data(fields),
    )


def read_merge(fields: 'Fields') -> MergeSpec:
    return MergeSpec(
        model=read_model(fields),
        adapterPath=fields.text('adapterPath'),
        texts=fields.texts('texts'),
        shardBytes=fields.integer('shardBytes', 1, nullable=True),
        outputPath=fields.text('outputPath'),
    )


def read_convert(fields: 'Fields') -> ConvertSpec:
    return ConvertSpec(
        converterPath=fields.text('converterPath'),
        path=fields.text('path'),
        basePath=fields.text('basePath', optional=True),
        quantization=fields.choice('quantization', GGUF_QUANTIZATIONS),
        outputPath=fields.text('outputPath'),
    )


def read_fetch(fields: 'Fields') -> FetchSpec:
    return FetchSpec(
        repository=fields.text('repository'),
        revision=fields.text('revision', optional=True),
        kind=fields.choice('kind', ('base', 'addon')),
        outputPath=fields.text('outputPath'),
    )


def read_inspect(fields: 'Fields') -> InspectSpec:
    return InspectSpec(
        path=fields.text('path'),
        # Plain names of files in `path`.
        convert=fields.texts('convert', pattern=r'^[A-Za-z0-9][A-Za-z0-9._-]*\.bin$', optional=True) or [],
        tokenizer=fields.flag('tokenizer'),
        outputPath=fields.text('outputPath'),
    )


def read_model(fields: 'Fields') -> ModelSpec:
    model = fields.group('model')
    spec = ModelSpec(
        path=model.text('path'),
        quantization=model.choice('quantization', QUANTIZATIONS),
        dtype=model.choice('dtype', DTYPES),
        name=model.text('name', optional=True),
    )
    model.end()
    return spec


def read_data(fields: 'Fields') -> DataSpec:
    data = fields.group('data')
    spec = DataSpec(kind=data.choice('kind', KINDS), path=data.text('path'), cutoffLength=data.integer('cutoffLength', 8))
    data.end()
    return spec


class Fields:
    """A JSON object being read: every getter checks one field, `end` refuses what nobody asked for."""

    def __init__(self, raw: object, path: str):
        if not isinstance(raw, dict):
            raise TrainerFailure('SPEC_INVALID', f'{path or "The spec"}: must be an object.')
        self.raw = raw
        self.path = path
        self.seen: set[str] = set()

    def group(self, name: str, optional: bool = False) -> 'Fields | None':
        if self._absent(name, optional):
            return None
        return Fields(self._get(name), self._name(name))

    def objects(self, name: str) -> list['Fields']:
        """A list of objects; none where it is absent."""
        if self._absent(name, True):
            return []
        value = self._get(name)
        self._require(name, isinstance(value, list), 'a list')
        return [Fields(entry, f'{self._name(name)}[{index}]') for index, entry in enumerate(value)]

    def text(self, name: str, optional: bool = False) -> str | None:
        if self._absent(name, optional):
            return None
        value = self._get(name)
        self._require(name, isinstance(value, str) and value != '', 'a string that is not empty')
        return value

    def texts(self, name: str, pattern: str = '', optional: bool = False) -> list[str] | None:
        if self._absent(name, optional):
            return None
        value = self._get(name)
        fits = isinstance(value, list) and value and all(isinstance(item, str) and re.search(pattern, item) for item in value)
        self._require(name, fits, 'a list of strings that is not empty' + (f', each matching {pattern}' if pattern else ''))
        return value

    def flag(self, name: str, optional: bool = False) -> bool:
        if self._absent(name, optional):
            return False
        value = self._get(name)
        self._require(name, isinstance(value, bool), 'true or false')
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        value = self._get(name)
        self._require(name, value in choices, 'one of ' + ', '.join(choices))
        return value

    def integer(self, name: str, least: int | None = None, most: int | None = None, nullable: bool = False,
                optional: bool = False) -> int | None:  # fmt: skip
        if self._absent(name, optional):
            return None
        value = self._get(name)
        if nullable and value is None:
            return None
        fits = isinstance(value, int) and not isinstance(value, bool)
        fits = fits and (least is None or value >= least) and (most is None or value <= most)
        limits = [f'at least {least}' if least is not None else '', f'at most {most}' if most is not None else '']
        self._require(name, fits, ' '.join(['an integer', ' and '.join(filter(None, limits))]).strip())
        return value

    def number(self, name: str, above: float | None = None, least: float | None = None,
               below: float | None = None, most: float | None = None, optional: bool = False) -> float | None:  # fmt: skip
        if self._absent(name, optional):
            return None
        value = self._get(name)
        fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        fits = fits and (above is None or value > above) and (least is None or value >= least)
        fits = fits and (below is None or value < below) and (most is None or value <= most)
        limits = {'above': above, 'at least': least, 'below': below, 'at most': most}
        said = ' and '.join(f'{word} {limit}' for word, limit in limits.items() if limit is not None)
        self._require(name, fits, f'a number {said}'.strip())
        return value

    def end(self) -> None:
        unknown = sorted(set(self.raw) - self.seen)
        if unknown:
            raise TrainerFailure('SPEC_INVALID', f'{self._name(unknown[0])}: this trainer knows no such field.')

    def _get(self, name: str) -> object:
        self.seen.add(name)
        if name not in self.raw:
            raise TrainerFailure('SPEC_INVALID', f'{self._name(name)}: missing.')
        return self.raw[name]

    def _absent(self, name: str, optional: bool) -> bool:
        return optional and name not in self.raw

    def _require(self, name: str, fits: object, wanted: str) -> None:
        if not fits:
            shown = json.dumps(self.raw[name])[:80]
            raise TrainerFailure('SPEC_INVALID', f'{self._name(name)}: must be {wanted}, is {shown}.')

    def _name(self, name: str) -> str:
        return f'{self.path}.{name}' if self.path else name
