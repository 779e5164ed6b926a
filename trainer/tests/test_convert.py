"""GGUF: what comes out of llama.cpp's converter holds the weights that went in, or is refused. The converter is fetched for this test
alone: without TEMPER_GGUF_CONVERTER, which names its folder (activities/ggufConverter.ts), these are skipped."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from temper_trainer import convert as converting
from temper_trainer.failures import TrainerFailure
from temper_trainer.process import StopRequest, Stopwatch
from temper_trainer.spec import ConvertSpec

CONVERTER = os.environ.get('TEMPER_GGUF_CONVERTER', '')
needs_converter = pytest.mark.skipif(not CONVERTER, reason='TEMPER_GGUF_CONVERTER is not set')


class Quiet:
    def progress(self, *_args, **_fields): ...


def run(spec: ConvertSpec) -> dict:
    return converting.convert(spec, Quiet(), StopRequest(), Stopwatch())


@pytest.fixture(scope='module')
def llama(models, tmp_path_factory) -> Path:
    """With a SentencePiece tokenizer, which llama.cpp reads as it is."""
    import shutil
    import sys

    folder = tmp_path_factory.mktemp('llama') / 'model'
    shutil.copytree(models(), folder)
    (folder / 'tokenizer.json').unlink()
    sys.path.insert(0, str(Path(CONVERTER) / 'packages'))
    import sentencepiece

    text = folder / 'text.txt'
    text.write_text('the quick brown fox jumps over the lazy dog and then runs into a forest of code\n' * 50)
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / 'tokenizer'),
        vocab_size=300,
        byte_fallback=True,
        model_type='bpe',
        hard_vocab_limit=False,
    )
    text.unlink()
    return folder


@needs_converter
@pytest.mark.parametrize('quantization', ['f32', 'f16', 'bf16', 'q8_0'])
def test_a_whole_model(llama, tmp_path, quantization):
    spec = ConvertSpec(CONVERTER, str(llama), None, quantization, str(tmp_path / 'model.gguf'))
    completed = run(spec)
    assert completed['files'][0]['sizeBytes'] == (tmp_path / 'model.gguf').stat().st_size
    assert completed['converted']['weightDifference'] <= converting.TOLERANCE[quantization]


@needs_converter
def test_an_adapter_and_weights_that_are_not_its_own(models, tmp_path, monkeypatch):
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(models()),
        LoraConfig(r=4, lora_alpha=8, target_modules=['q_proj', 'k_proj'], task_type='CAUSAL_LM'),
    )
    for name, parameter in model.named_parameters():
        if 'lora_B' in name:
            torch.nn.init.normal_(parameter)
    model.save_pretrained(tmp_path / 'adapter')
    spec = ConvertSpec(CONVERTER, str(tmp_path / 'adapter'), str(models()), 'f32', str(tmp_path / 'adapter.gguf'))
    assert run(spec)['converted']['tensors'] == 8

    found = converting.sum_source
    monkeypatch.setattr(converting, 'sum_source', lambda *given: (found(*given)[0], found(*given)[1] * 1.01))
    with pytest.raises(TrainerFailure, match='mean size') as refused:
        run(replace(spec, outputPath=str(tmp_path / 'again.gguf')))
    assert refused.value.code == 'GGUF_DIFFERS'

    config = tmp_path / 'adapter' / 'adapter_config.json'
    config.write_text(json.dumps({**json.loads(config.read_text()), 'use_rslora': True}))
    with pytest.raises(TrainerFailure, match='use_rslora'):
        run(spec)


@needs_converter
def test_a_tokenizer_that_llama_cpp_does_not_know(models, tmp_path):
    with pytest.raises(TrainerFailure, match='tokenizer') as refused:
        run(ConvertSpec(CONVERTER, str(models()), None, 'bf16', str(tmp_path / 'model.gguf')))
    assert refused.value.code == 'GGUF_UNSUPPORTED'
