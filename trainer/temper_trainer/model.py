"""The base model and its adapter: checked before loading, loaded without running anyone's code, LoRA weights in float32."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from temper_trainer.attention import choose_attention
from temper_trainer.events import Events
from temper_trainer.failures import TrainerFailure
from temper_trainer.families import TARGET_MODULES, WITH_FUSED_EXPERTS
from temper_trainer.modelfiles import TOKENIZER_FILES
from temper_trainer.spec import AdapterSpec, ModelSpec

WEIGHT_FILES = ('model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin', 'pytorch_model.bin.index.json')
ADAPTER_FILES = ('adapter_model.safetensors', 'adapter_model.bin')
HEADER_BYTES = 1 << 20
# Fields of adapter_config.json that make more of an adapter than LoRA on all blocks.
UNTRAINED_VARIANTS = (
    'use_dora',
    'modules_to_save',
    'rank_pattern',
    'alpha_pattern',
    'target_parameters',
    'layers_to_transform',
    'trainable_token_indices',
)


@dataclass(frozen=True)
class Device:
    device: torch.device
    description: str


def find_device() -> Device:
    if torch.cuda.is_available():
        return Device(torch.device('cuda', 0), f'cuda: {torch.cuda.get_device_name(0)}')
    return Device(torch.device('cpu'), f'cpu: {torch.get_num_threads()} threads')


def compute_dtype(spec: ModelSpec, device: torch.device) -> torch.dtype:
    if spec.dtype != 'auto':
        return getattr(torch, spec.dtype)
    return torch.bfloat16 if device.type == 'cuda' and torch.cuda.is_bf16_supported() else torch.float32


def check_model_files(path: str) -> Path:
    """The weight file or index of the model in the folder `path`. Raises MODEL_FILES_MISSING, and names every file that lacks."""
    folder = Path(path)
    if not folder.is_dir():
        raise TrainerFailure('MODEL_FILES_MISSING', f'model.path: {path} is not a folder.')
    missing = [] if (folder / 'config.json').is_file() else ['config.json']
    if not any((folder / name).is_file() for name in ('tokenizer.json', 'tokenizer.model', 'vocab.json')):
        missing.append('tokenizer.json')
    weights = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if weights is None:
        missing.append('model.safetensors')
    elif weights.name.endswith('.index.json'):
        shards = sorted(set(read_json(weights).get('weight_map', {}).values()))
        missing += [shard for shard in shards if not (folder / shard).is_file()]
    if missing or weights is None:
        raise TrainerFailure('MODEL_FILES_MISSING', f'The model in {path} lacks {", ".join(missing)}.')
    return weights


def read_json(path: Path) -> dict:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise TrainerFailure('MODEL_FILES_MISSING', f'{path} is not valid JSON: {error}') from error
    return value if isinstance(value, dict) else {}


def load_tokenizer(path: str):
    check_model_files(path)
    try:
        return AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise TrainerFailure('MODEL_FILES_MISSING', f'The tokenizer in {path} cannot be loaded: {first_line(error)}') from error


def load_base(spec: ModelSpec, device: torch.device):
    """The base model, frozen, in evaluation mode, on the device."""
    weights = check_model_files(spec.path)
    raw = read_json(Path(spec.path) / 'config.json')
    family = raw.get('model_type')
    if family not in TARGET_MODULES:
        raise TrainerFailure(
            'MODEL_ARCHITECTURE_UNSUPPORTED',
            f'The base model is of the family {family!r}; this trainer tunes {", ".join(TARGET_MODULES)}.',
        )
    quantized = raw.get('quantization_config') or raw.get('compression_config')
    if quantized:
        method = quantized.get('quant_method', 'unknown') if isinstance(quantized, dict) else 'unknown'
        raise TrainerFailure(
            'MODEL_ALREADY_QUANTIZED',
            f'The base model is already quantized ({method}) and cannot be tuned; give the unquantized weights, and "nf4" for QLoRA.',
        )
    if spec.quantization == 'nf4' and family in WITH_FUSED_EXPERTS:
        raise TrainerFailure(
            'QUANTIZATION_UNSUPPORTED',
            f'model.quantization: nf4 leaves the experts of {family} in 16 bits, so it would save no memory. Use "none" (LoRA).',
        )
    dtype = compute_dtype(spec, device)
    quantization = None
    if spec.quantization == 'nf4':
        quantization = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type='nf4', bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
    try:
        config = AutoConfig.from_pretrained(spec.path, local_files_only=True, trust_remote_code=False)
        model, loading = AutoModelForCausalLM.from_pretrained(
            spec.path,
            config=config,
            dtype=dtype,
            quantization_config=quantization,
            device_map={'': device},
            attn_implementation=choose_attention(config, device, dtype),
            use_safetensors='.safetensors' in weights.name,
            weights_only=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except UnpicklingError as error:
        raise TrainerFailure(
            'MODEL_FILES_INVALID', f'The weights in {spec.path} hold more than tensors, which could run code. Give them as safetensors.'
        ) from error
    except (SafetensorError, OSError) as error:
        raise TrainerFailure('MODEL_FILES_MISSING', f'The weights in {spec.path} cannot be read: {first_line(error)}') from error
    absent = sorted(loading['missing_keys']) + sorted(str(key) for key in loading.get('mismatched_keys', ()))
    if absent:
        # transformers would go on with random values in their place.
        raise TrainerFailure(
            'MODEL_FILES_MISSING', f'The weights in {spec.path} lack {len(absent)} tensors of the model: {", ".join(absent[:5])}.'
        )
    model.requires_grad_(False)
    model.config.use_cache = False
    return model.eval()


def add_adapter(base, spec: AdapterSpec, seed: int, events: Events) -> tuple[PeftModel, list[str]]:
    """The base with a trainable adapter, new or from `warmStartPath`, and the names of the layers that have one."""
    warm = read_adapter(spec.warmStartPath) if spec.warmStartPath else None
    targets = choose_targets(base, spec, warm)
    alpha = spec.alpha
    if warm and warm.config['lora_alpha'] != spec.alpha:
        alpha = warm.config['lora_alpha']
        events.warn('WARM_START_ALPHA', f'adapter.alpha: the adapter was trained with {alpha}, which is used instead of {spec.alpha}.')
    torch.manual_seed(seed)
    model = get_peft_model(
        base,
        LoraConfig(
            r=spec.rank,
            lora_alpha=alpha,
            lora_dropout=spec.dropout,
            target_modules=targets,
            use_rslora=bool(warm and warm.config.get('use_rslora')),
            bias='none',
            task_type='CAUSAL_LM',
        ),
    )
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    if warm:
        check_same_tensors(warm, get_peft_model_state_dict(model))
        set_peft_model_state_dict(model, warm.tensors)
    return model, targets


def choose_targets(base, spec: AdapterSpec, warm: 'SavedAdapter | None') -> list[str]:
    linear = linear_layer_names(base)
    if warm:
        return check_warm_start(warm, spec, linear)
    if spec.targetModules is None:
        return [name for name in TARGET_MODULES[base.config.model_type] if name in linear]
    unknown = sorted(set(spec.targetModules) - linear)
    if unknown:
        raise TrainerFailure(
            'SPEC_INVALID',
            f'adapter.targetModules: the model has no linear layer {", ".join(unknown)}; it has {", ".join(sorted(linear))}.',
        )
    return sorted(set(spec.targetModules))


def linear_layer_names(base) -> set[str]:
    """Last names of the linear layers inside the blocks (the output layer is outside them)."""
    return {name.rsplit('.', 1)[-1] for name, module in base.named_modules() if isinstance(module, torch.nn.Linear) and '.layers.' in name}


@dataclass(frozen=True)
class SavedAdapter:
    path: str
    config: dict
    tensors: dict[str, torch.Tensor]


def read_adapter(path: str) -> SavedAdapter:
    """A PEFT adapter from its folder, without loading it into anything. Raises WARM_START_MISMATCH."""
    folder = Path(path)
    try:
        config = json.loads((folder / 'adapter_config.json').read_bytes())
        if (folder / 'adapter_model.safetensors').is_file():
            tensors = load_file(folder / 'adapter_model.safetensors')
        else:
            tensors = torch.load(folder / 'adapter_model.bin', map_location='cpu', weights_only=True)
    except Exception as error:
        raise TrainerFailure('WARM_START_MISMATCH', f'The adapter in {path} cannot be read: {first_line(error)}') from error
    return SavedAdapter(path, config, tensors)


def check_warm_start(warm: SavedAdapter, spec: AdapterSpec, linear: set[str]) -> list[str]:
    """The warm start's target modules. Raises WARM_START_MISMATCH when it is no plain LoRA adapter with the job's rank and targets."""
    config = warm.config
    check_plain_lora(warm)
    if config.get('r') != spec.rank:
        raise TrainerFailure('WARM_START_MISMATCH', f'adapter.rank: the adapter has rank {config.get("r")}, the job asks for {spec.rank}.')
    targets = config.get('target_modules')
    # A string here would be taken as a regular expression, which can be made to hang.
    if not isinstance(targets, list) or not set(targets) <= linear:
        raise TrainerFailure('WARM_START_MISMATCH', f'The adapter targets {targets}; the model has {", ".join(sorted(linear))}.')
    if spec.targetModules is not None and set(spec.targetModules) != set(targets):
        raise TrainerFailure(
            'WARM_START_MISMATCH',
            f'adapter.targetModules: the adapter has {", ".join(sorted(targets))}, the job {", ".join(spec.targetModules)}.',
        )
    return sorted(targets)


def check_plain_lora(adapter: SavedAdapter) -> None:
    config = adapter.config
    if config.get('peft_type') != 'LORA':
        raise TrainerFailure('WARM_START_MISMATCH', f'The adapter is {config.get("peft_type")}, expected LORA.')
    used = [name for name in UNTRAINED_VARIANTS if config.get(name)]
    if used or config.get('bias', 'none') != 'none':
        raise TrainerFailure('WARM_START_MISMATCH', f'The adapter uses {", ".join(used) or "bias"}, which this trainer does not train.')


def check_same_tensors(warm: SavedAdapter, expected: dict[str, torch.Tensor]) -> None:
    for name, tensor in expected.items():
        if name not in warm.tensors:
            raise TrainerFailure('WARM_START_MISMATCH', f'The adapter lacks the tensor {name}, expected with shape {list(tensor.shape)}.')
        shape = list(warm.tensors[name].shape)
        if shape != list(tensor.shape):
            raise TrainerFailure(
                'WARM_START_MISMATCH',
                f'The tensor {name} of the adapter has shape {shape}, expected {list(tensor.shape)} for this base model.',
            )
    unknown = sorted(set(warm.tensors) - set(expected))
    if unknown:
        raise TrainerFailure('WARM_START_MISMATCH', f'The adapter has the tensor {unknown[0]}, which this base model does not have.')


def load_adapter(base, path: str) -> PeftModel:
    """The base with a finished adapter, for evaluation."""
    try:
        return PeftModel.from_pretrained(base, path).eval()
    except Exception as error:
        raise TrainerFailure('WARM_START_MISMATCH', f'The adapter in {path} does not fit the base model: {first_line(error)}') from error


def save_adapter(model: PeftModel, folder: Path, base_name: str) -> None:
    """`adapter_model.safetensors` and `adapter_config.json`, the same bytes for the same weights."""
    model.save_pretrained(folder, safe_serialization=True)
    (folder / 'README.md').unlink(missing_ok=True)  # PEFT's empty model card
    path = folder / 'adapter_config.json'
    config = json.loads(path.read_bytes())
    config['target_modules'] = sorted(config['target_modules'])  # PEFT keeps a set, whose order changes between processes
    config['base_model_name_or_path'] = base_name
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + '\n')


def copy_tokenizer(path: str, folder: Path) -> None:
    """The base model's own tokenizer files, byte for byte: a saved tokenizer may read differently in another library."""
    for name in TOKENIZER_FILES:
        if (Path(path) / name).is_file():
            shutil.copyfile(Path(path) / name, folder / name)


def describe_base(path: str) -> dict[str, str]:
    """What tells one base model from another without reading all its weights: config, and size and header of each weight file."""
    described = {}
    for file in sorted(Path(path).glob('*')):
        if file.suffix in ('.safetensors', '.bin') or file.name == 'config.json':
            with open(file, 'rb') as opened:
                head = opened.read(HEADER_BYTES)
            described[file.name] = f'{file.stat().st_size}:{hashlib.sha256(head).hexdigest()}'
    return described


def describe_adapter(path: str) -> str:
    """SHA-256 of an adapter's weights."""
    file = next(Path(path) / name for name in ADAPTER_FILES if (Path(path) / name).is_file())
    return hashlib.sha256(file.read_bytes()).hexdigest()


def base_name(spec: ModelSpec) -> str:
    return spec.name or os.path.basename(os.path.normpath(spec.path))


def blocks_of(model) -> torch.nn.ModuleList:
    return next(module for name, module in model.named_modules() if name.endswith('.layers'))


def count_parameters(model) -> tuple[int, int]:
    """Trainable and all parameters. A 4-bit tensor holds two parameters in each byte."""
    trainable = total = 0
    for parameter in model.parameters():
        count = parameter.numel() * (2 if type(parameter).__name__ == 'Params4bit' else 1)
        total += count
        trainable += count if parameter.requires_grad else 0
    return trainable, total


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
