"""One rival, in a process of its own: `rivals.py NAME TASK.json`. Says its steps as Temper's trainer does, one JSON object a line.

It trains the same base model, adapter and examples. It is given token IDs: tokenizing is not in its time.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / 'trainer'))

from temper_trainer.events import claim_stdout

# In TRL's words. `packed`: TRL packs to the cut-off, first fit by decreasing length. `together`: examples (or packs) of one pass.
RIVALS = {
    # What SFTTrainer does when it is told nothing.
    'trl': {'together': 8, 'gradient_checkpointing': True},
    # The fastest that its documentation advises.
    'trl-packed': {'together': 1, 'packed': True, 'gradient_checkpointing': False, 'attention': 'best'},
    'trl-packed-flex': {'together': 1, 'packed': True, 'gradient_checkpointing': False, 'attention': 'flex_attention'},
    'trl-liger': {'together': 1, 'packed': True, 'gradient_checkpointing': False, 'attention': 'best', 'use_liger_kernel': True},
    # examples/train_lora of LLaMA-Factory, and its defaults: one example at a time, activations recomputed.
    'llama-factory': {'together': 1, 'gradient_checkpointing': True},
    # examples/llama-3/lora-8b.yml of Axolotl, in 16 bits: packs of the sequence length, two at a time, FlashAttention.
    'axolotl': {'together': 2, 'packed': True, 'gradient_checkpointing': True, 'attention': 'best', 'optim': 'adamw_bnb_8bit'},
    # The base model and adapter by Unsloth, its own checkpointing.
    'unsloth': {'together': 1, 'packed': True, 'gradient_checkpointing': False},
}
NEEDS = {'trl-liger': 'liger_kernel', 'unsloth': 'unsloth'}
NEEDS_GPU = {'trl-packed-flex', 'trl-liger', 'unsloth'}


def why_not(name: str, on_gpu: bool) -> str | None:
    """What this machine lacks for the rival; None: it can run."""
    if name in NEEDS_GPU and not on_gpu:
        return 'needs a GPU'
    missing = [package for package in ('trl', 'datasets', NEEDS.get(name)) if package and importlib.util.find_spec(package) is None]
    return f'{missing[0]} is not installed' if missing else None


def best_attention() -> str:
    return 'flash_attention_2' if importlib.util.find_spec('flash_attn') else 'sdpa'


def run(name: str, task: dict, events, began: float) -> dict:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    settings = dict(RIVALS[name])
    together, packed, attention = settings.pop('together'), settings.pop('packed', False), settings.pop('attention', 'sdpa')
    attention = best_attention() if attention == 'best' else attention
    on_gpu = torch.cuda.is_available()
    if not on_gpu or importlib.util.find_spec('bitsandbytes') is None:
        settings.pop('optim', None)
    # A pass has the examples of `together`, or packs of as many tokens: about as many tokens a step for all.
    batch = max(1, round(task['batchSize'] * task['meanTokens'] / task['cutoffLength'])) if packed else task['batchSize']
    together = min(together, batch)
    dtype = torch.bfloat16 if on_gpu else torch.float32
    tokenizer = AutoTokenizer.from_pretrained(task['model'])
    if name == 'unsloth':
        model = unsloth_model(task, dtype)
    else:
        from peft import PeftModel

        base = AutoModelForCausalLM.from_pretrained(
            task['model'], dtype=dtype, attn_implementation=attention, device_map={'': 0 if on_gpu else 'cpu'}
        )
        model = PeftModel.from_pretrained(base, task['start'], is_trainable=True)

    class Told(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            if logs and 'loss' in logs:
                tokens, trained = trainer.counts.tolist()
                trainer.counts.zero_()
                events.send('step', step=state.global_step, loss=logs['loss'], tokens=int(tokens), trainedTokens=int(trained))

        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = control.should_training_stop or time.monotonic() - began > task['seconds']

    class Counting(SFTTrainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            # Stays on the device: counting makes nobody wait.
            mask = inputs.get('attention_mask')
            self.counts[0] += inputs['input_ids'].numel() if mask is None else mask.sum()
            self.counts[1] += (inputs['labels'] != -100).sum()
            return super().training_step(model, inputs, num_items_in_batch)

    trainer = Counting(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(json.loads(Path(task['tokens']).read_text())),
        callbacks=[Told()],
        args=SFTConfig(
            output_dir=task['folder'],
            max_steps=task['steps'] or 1_000_000,
            per_device_train_batch_size=together,
            gradient_accumulation_steps=max(1, batch // together),
            learning_rate=task['learningRate'],
            lr_scheduler_type='constant',
            weight_decay=0,
            max_grad_norm=1.0,
            logging_steps=1,
            train_sampling_strategy='sequential',
            packing=packed,
            max_length=task['cutoffLength'],
            dataset_kwargs=None if packed else {'skip_prepare_dataset': True},
            bf16=on_gpu,
            use_cpu=not on_gpu,
            report_to=[],
            save_strategy='no',
            disable_tqdm=True,
            **settings,
        ),
    )
    trainer.counts = torch.zeros(2, dtype=torch.long, device=trainer.args.device)
    described = f'{attention}, {together} {"pack" if packed else "example"}{"s" if together > 1 else ""} a pass'
    events.send('prepared', way=described + (', recomputed' if settings['gradient_checkpointing'] else ''))
    trainer.train()
    return {'peakGib': peak_gib(on_gpu)}


def unsloth_model(task: dict, dtype):
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file
    from unsloth import FastLanguageModel

    base, _ = FastLanguageModel.from_pretrained(task['model'], max_seq_length=task['cutoffLength'], load_in_4bit=False, dtype=dtype)
    config = json.loads((Path(task['start']) / 'adapter_config.json').read_text())
    kept = {name: config[name] for name in ('r', 'lora_alpha', 'lora_dropout', 'target_modules')}
    model = FastLanguageModel.get_peft_model(base, **kept, use_gradient_checkpointing=False)
    set_peft_model_state_dict(model, load_file(Path(task['start']) / 'adapter_model.safetensors'))
    return model


def peak_gib(on_gpu: bool) -> float:
    import resource

    import torch

    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return round(peak / 2**30, 2)


def main() -> int:
    events = claim_stdout()
    name, path = sys.argv[1:]
    task = json.loads(Path(path).read_text())
    if name == 'unsloth':
        import unsloth  # noqa: F401 - it must be the first of all imports
    else:
        import trl  # noqa: F401
    completed = run(name, task, events, time.monotonic())
    events.send('completed', **completed)
    return 0


if __name__ == '__main__':
    sys.exit(main())
