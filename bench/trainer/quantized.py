"""Temper's trainer on a base model that nobody has on disk: `quantized.py SPEC.json` is `python -m temper_trainer SPEC.json`, but that the
weights are random ones, made and quantized on the device layer by layer. 70 billion of them are 141 GB as files and 37 GiB as NF4."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / 'trainer'))


def random_base(spec, device):
    """In the place of `temper_trainer.model.load_base`."""
    import bitsandbytes as bnb
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from temper_trainer.attention import choose_attention
    from temper_trainer.model import compute_dtype

    dtype = compute_dtype(spec, device)
    config = AutoConfig.from_pretrained(spec.path)
    config.use_cache = False
    with torch.device('meta'):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=choose_attention(config, device, dtype))
    torch.manual_seed(0)

    def draw(shape) -> torch.Tensor:
        return torch.randn(shape, dtype=dtype, device=device) * config.initializer_range

    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and '.layers.' in name:
            parent, _, own = name.rpartition('.')
            layer = bnb.nn.Linear4bit(
                module.in_features,
                module.out_features,
                False,
                compute_dtype=dtype,
                compress_statistics=True,
                quant_type='nf4',
                device='meta',
            )
            weight = draw(module.weight.shape)
            layer.weight = bnb.nn.Params4bit(weight, requires_grad=False, quant_type='nf4', compress_statistics=True).to(device)
            setattr(model.get_submodule(parent), own, layer)
    for name, parameter in list(model.named_parameters()):
        if parameter.is_meta:
            parent, _, own = name.rpartition('.')
            value = draw(parameter.shape) if parameter.ndim > 1 else torch.ones(parameter.shape, dtype=dtype, device=device)
            setattr(model.get_submodule(parent), own, torch.nn.Parameter(value, requires_grad=False))
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(device)
    model.is_loaded_in_4bit = True  # PEFT asks
    model.requires_grad_(False)
    return model.eval()


def main() -> int:
    from temper_trainer import __main__ as program

    # What the program sets before it imports the rest, as for any spec with nf4.
    program.set_environment('nf4')
    import temper_trainer.train as training

    training.load_base = random_base
    return program.main()


if __name__ == '__main__':
    sys.exit(main())
