"""Memory: chosen before the start by a formula that a measured peak agrees with, and given up rung by rung when it is too small."""

import pytest
import torch
from conftest import completion_rows, train_spec
from runs import Process, run_here
from tinymodels import make_model

from temper_trainer import memory
from temper_trainer.failures import TrainerFailure
from temper_trainer.memory import GIB, Shape, choose_way, needed_bytes, read_shape

CUDA = torch.device('cuda')
# Llama 3 8B and 70B, rank 16 on all linear layers.
LLAMA_8B = Shape(8_030_261_248, 6_979_321_856, 58_720_256, 41_943_040, 32, 4096, 128_256)
LLAMA_70B = Shape(70_553_706_496, 68_451_041_280, 234_881_024, 207_093_760, 80, 8192, 128_256)


@pytest.mark.parametrize(
    ('shape', 'gib', 'quantizations', 'world', 'expected'),
    [
        (LLAMA_8B, 79, ['none'], 1, ('none', 4096, False, False)),
        (LLAMA_8B, 24, ['none'], 1, ('none', 4096, True, False)),
        (LLAMA_8B, 16, ['none', 'nf4'], 1, ('nf4', 4096, True, False)),
        (LLAMA_8B, 14, ['none'], 4, ('none', 4096, True, True)),
        (LLAMA_70B, 79, ['none', 'nf4'], 1, ('nf4', 4096, True, False)),
        (LLAMA_70B, 79, ['none'], 8, ('none', 1024, False, True)),
    ],
)
def test_the_fastest_way_that_fits_is_taken(monkeypatch, shape, gib, quantizations, world, expected):
    monkeypatch.setattr(memory, 'free_bytes', lambda device: gib * GIB)
    way = choose_way(shape, quantizations, 4096, 1024, torch.bfloat16, CUDA, world)
    assert (way.quantization, way.micro_batch_tokens, way.recompute, way.sharded) == expected


@pytest.mark.parametrize(
    ('files', 'free'),
    [
        ({'memory.max': '800', 'memory.current': '700', 'memory.stat': 'anon 100\ninactive_file 450\nactive_file 150'}, 550),
        ({'memory.max': 'max', 'memory.current': '700', 'memory.stat': 'inactive_file 450'}, 1 << 62),
        (
            {
                'memory/memory.limit_in_bytes': '800',
                'memory/memory.usage_in_bytes': '700',
                'memory/memory.stat': 'inactive_file 1\ntotal_inactive_file 450',
            },
            550,
        ),
        ({}, 1 << 62),
    ],
)
def test_files_read_lately_do_not_fill_a_container(tmp_path, files, free):
    (tmp_path / 'memory').mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content + '\n')
    assert memory.cgroup_free_bytes(tmp_path) == free


def test_what_cannot_fit_is_refused_with_figures(monkeypatch, models, tmp_path):
    monkeypatch.setattr(memory, 'free_bytes', lambda device: 16 * GIB)
    with pytest.raises(TrainerFailure, match=r'about 20\.\d GiB at the least \(LoRA.*16\.0 GiB are free on the GPU.*nf4'):
        choose_way(LLAMA_8B, ['none'], 4096, 1024, torch.bfloat16, CUDA, 1)
    monkeypatch.setattr(memory, 'free_bytes', lambda device: GIB // 4)
    with pytest.raises(TrainerFailure) as caught:
        run_here(train_spec(tmp_path, models(), completion_rows(8)))
    assert caught.value.code == 'MEMORY_TOO_SMALL' and 'on this machine' in str(caught.value)


@pytest.fixture(scope='module')
def medium(tmp_path_factory):
    """Large enough that its activations tell in the size of a process."""
    return make_model(
        tmp_path_factory.mktemp('medium') / 'llama',
        hidden_size=768,
        intermediate_size=2688,
        num_hidden_layers=8,
        max_position_embeddings=4096,
    )


def test_the_formula_agrees_with_a_measured_peak(medium, tmp_path):
    """The largest size of a process that trains on a CPU."""
    rows = completion_rows(16, shortest=90, longest=100)
    training = {'microBatchTokens': 512, 'batchSize': 8}
    process = Process(train_spec(tmp_path, medium, rows, training=training, data={'cutoffLength': 512}), 'tell_peak_memory')
    assert process.wait() == 0
    measured = next(int(event['message']) for event in process.events('warning') if event['code'] == 'PEAK')
    way = memory.Way('none', 512, False, False, None)
    estimated = needed_bytes(read_shape(str(medium), 8, None), way, torch.float32, 'cpu', 1)
    print(f'measured {measured / GIB:.3f} GiB, estimated {estimated / GIB:.3f} GiB')
    assert 0.6 < measured / estimated < 1.1
