"""Every way the trainer can fail, once: its code, and whether trying the same work again can help."""

import errno

RETRYABLE = {
    'SPEC_INVALID': False,
    'NO_TRAINABLE_TOKENS': False,
    'MODEL_FILES_MISSING': False,
    'MODEL_FILES_INVALID': False,
    'MODEL_NOT_VERIFIED': False,
    'MODEL_ARCHITECTURE_UNSUPPORTED': False,
    'MODEL_ALREADY_QUANTIZED': False,
    'QUANTIZATION_UNSUPPORTED': False,
    'WARM_START_MISMATCH': False,
    'MERGE_DIFFERS': False,
    'GGUF_UNSUPPORTED': False,
    'GGUF_DIFFERS': False,
    'CHECKPOINT_CORRUPT': True,  # with the checkpoint before it
    'CHECKPOINT_MISMATCH': True,  # without it
    'LOSS_NOT_FINITE': False,
    'LOSS_DIVERGED': False,
    'MEMORY_TOO_SMALL': False,
    'GPU_MISSING': True,  # on another worker, or when its driver is back
    'GPU_LOST': True,
    'TRAINER_OOM_ADAPTED': True,  # with less memory, as the `adapted` event says
    'TRAINER_OOM_GPU': False,
    'TRAINER_OOM_HOST': True,
    'NO_SPACE': True,
    'HUB_UNREACHABLE': True,
    'MODEL_NOT_FOUND': False,
    'MODEL_GATED': False,
    'TRAINER_CRASHED': True,
}

MESSAGE_LIMIT = 600
# What libraries say when the machine has no memory left, and when the driver has lost the GPU or there is none.
NO_HOST_MEMORY = ("can't allocate memory", 'Cannot allocate memory', 'std::bad_alloc')
LOST_GPU = ('CUDA error', 'CUDA driver', 'NVML', 'uncorrectable ECC', 'No CUDA GPUs are available')


class TrainerFailure(Exception):
    """Work that cannot go on; becomes the `failed` event. `code` is a key of RETRYABLE."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
        self.retryable = RETRYABLE[code]


class Interrupted(BaseException):
    """SIGTERM was answered: whatever must last is on disk. `step` is the last step done. Not an Exception: it may be raised inside a
    library's code, which must not take it for an error of its own."""

    def __init__(self, step: int):
        super().__init__(f'interrupted at step {step}')
        self.step = step


def explain(error: BaseException) -> TrainerFailure:
    """The failure that an exception stands for. Libraries report a full disk and exhausted memory in several ways."""
    if isinstance(error, TrainerFailure):
        return error
    text = ' '.join(str(error).split())[:MESSAGE_LIMIT]
    if is_out_of_memory(error) and is_of_gpu(error):
        advice = 'Lower the cutoff length or the rank, use nf4 quantization, or a GPU with more memory.'
        return TrainerFailure('TRAINER_OOM_GPU', f'The GPU has too little memory for this job. {advice} ({text})')
    if is_out_of_memory(error):
        advice = 'Lower the cutoff length or the rank, use nf4 quantization, or a machine with more memory.'
        return TrainerFailure('TRAINER_OOM_HOST', f'The machine has too little memory for this job. {advice} ({text or "MemoryError"})')
    if type(error).__name__ == 'AcceleratorError' or any(sign in text for sign in LOST_GPU):
        return TrainerFailure('GPU_LOST', f'The GPU stopped working; the work goes on from its last checkpoint. ({text})')
    if is_disk_full(error):
        return TrainerFailure('NO_SPACE', f'The disk is full. Free some space; the work goes on from its last checkpoint. ({text})')
    return TrainerFailure('TRAINER_CRASHED', f'{type(error).__name__}: {text}' if text else type(error).__name__)


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or is_of_gpu(error) or any(sign in str(error) for sign in NO_HOST_MEMORY)


def is_of_gpu(error: BaseException) -> bool:
    return type(error).__name__ == 'OutOfMemoryError'


def is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        # safetensors and PyTorch's zip writer carry the system's text only.
        if 'No space left on device' in str(error) or 'os error 28' in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
