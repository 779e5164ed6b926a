"""Temper's trainer and its rivals on the same base model, adapter and examples, one after the other, on whatever GPU there is:

    trainer/.venv/bin/python bench/trainer                      # Llama 3 8B's shape on a GPU; a tiny one on a CPU
    trainer/.venv/bin/python bench/trainer --mode qlora70b      # does QLoRA of the 70B shape fit one card with examples of 8,192 tokens

Temper's side is the real process, `python -m temper_trainer SPEC.json`. Every side is timed by the arrival of its lines here, from the
third step on. On a CPU the losses of Temper and of TRL must agree, else it ends with 1.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
TRAINER = HERE.parents[1] / 'trainer'
sys.path[:0] = [str(HERE), str(TRAINER)]

from rivals import RIVALS, why_not  # noqa: E402
from shapes import SHAPES, flops_per_token, make_rows, write_outline  # noqa: E402

TEMPER = ('temper', 'temper-compiled')
UNTIMED_STEPS = 2
# Of two float32 runs on a CPU that add in another order.
LOSS_TOLERANCE = 1e-3
# Dense bfloat16 by the data sheets, TFLOP/s.
DATA_SHEETS = {'H200': 989, 'H100': 989, 'A100': 312, 'L40S': 362, 'A10G': 70, 'L4': 121, '4090': 165}


def main() -> int:
    options = read_options()
    device, peaks = measure_device()
    on_gpu = not device.startswith('cpu')
    shape = options.shape or {'qlora70b': '70b', 'lora': '8b' if on_gpu else 'tiny'}[options.mode]
    sides = options.sides.split(',') if options.sides else (['temper'] if options.mode == 'qlora70b' else [*TEMPER[: 1 + on_gpu], *RIVALS])
    folder = Path(options.folder or tempfile.mkdtemp(prefix='temper-bench-', dir='/dev/shm' if on_gpu else None))
    try:
        task = make_task(options, folder, shape, on_gpu)
        results = []
        for side in sides:
            reason = None if side in TEMPER else why_not(side, on_gpu)
            result = {'side': side, 'skipped': reason} if reason else run_side(side, task, options.seconds)
            results.append(derive(result, task, peaks))
            print(json.dumps(results[-1]), flush=True)
    finally:
        if not options.folder:
            shutil.rmtree(folder, ignore_errors=True)
    facts = {'device': device, 'shape': shape, 'mode': options.mode, **peaks, 'versions': versions(), 'task': describe(task, options)}
    print_table(facts, results)
    if options.output:
        Path(options.output).write_text(json.dumps({**facts, 'results': results}, indent=1) + '\n')
    failed = [result['side'] for result in results if 'error' in result]
    if failed:
        print(f'failed: {", ".join(failed)}')
        return 1
    return 0 if on_gpu or losses_agree(results) else 1


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog='bench/trainer', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add('--mode', choices=('lora', 'qlora70b'), default='lora')
    add('--shape', choices=tuple(SHAPES), help='other than the one of the mode')
    add('--sides', help=f'of {", ".join((*TEMPER, *RIVALS))}; all by default, those that cannot run here are named and skipped')
    add('--seconds', type=float, default=45, help='of each side, from its imports to its last step')
    add('--steps', type=int, help='at most')
    add('--batch', type=int, help='examples a step; 32, and 2 of the 70B shape')
    add('--mean', type=float, help='mean length of the examples, tokens; 512, and 8,192 of the 70B shape')
    add('--cutoff', type=int, help='tokens of the longest example, and of a pack of the rivals; 4,096, and 8,192 of the 70B shape')
    add('--micro-batch', type=int, help="tokens of a pack of Temper's; by default what its trainer takes by itself")
    add('--examples', type=int, default=4000)
    add('--folder', help='keeps the base model there, for another run; else it goes to memory and is removed')
    add('--output', help='a JSON file for the results')
    return parser.parse_args()


def measure_device() -> tuple[str, dict]:
    """In a process of its own, which leaves the GPU free: what it is, and the rate of one large product of matrices."""
    script = """
import json, time, torch
gpu = torch.cuda.is_available()
device, size, dtype = ('cuda', 8192, torch.bfloat16) if gpu else ('cpu', 1024, torch.float32)
a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in 'ab')
wait = torch.cuda.synchronize if gpu else lambda: None
for _ in range(3): a @ b
wait(); began = time.perf_counter()
for _ in range(10): a @ b
wait(); rate = 10 * 2 * size**3 / (time.perf_counter() - began) / 1e12
print(json.dumps([torch.cuda.get_device_name(0) if gpu else f'cpu, {torch.get_num_threads()} threads', rate]))
"""
    name, rate = json.loads(subprocess.run([sys.executable, '-c', script], check=True, capture_output=True, text=True).stdout)
    sheet = next((value for part, value in DATA_SHEETS.items() if part in name), None)
    return name, {'matmulTflops': round(rate, 3), 'dataSheetTflops': sheet}


def make_task(options, folder: Path, shape: str, on_gpu: bool) -> dict:
    """Everything the sides share, as files in `folder`."""
    large = options.mode == 'qlora70b'
    cutoff = options.cutoff or (8192 if large else 4096)
    mean = options.mean or (8192 if large else 512)
    batch = options.batch or (2 if large else 32)
    if shape == 'tiny':
        cutoff, mean, batch = min(cutoff, 512), min(mean, 512 if large else 96), min(batch, 16)
    rows = make_rows(options.examples if not large else 64, mean, cutoff, SHAPES[shape]['vocab_size'])
    model = folder / 'model'
    if not (model / 'config.json').exists():
        model.mkdir(parents=True, exist_ok=True)
        if large:
            write_outline(model, shape)
        else:  # in a process of its own, which gives the memory back
            arguments = [str(model), shape, 'cuda' if on_gpu else 'cpu']
            script = 'import sys; from pathlib import Path; import shapes; shapes.write_model(Path(sys.argv[1]), *sys.argv[2:])'
            subprocess.run([sys.executable, '-c', script, *arguments], check=True, cwd=HERE)
    write_set(folder / 'set', rows)
    steps_per_epoch = -(-len(rows) // batch)
    spec = {
        'version': 1,
        'work': 'train',
        'model': {'path': str(model), 'quantization': 'nf4' if large else 'none', 'dtype': 'auto'},
        'adapter': {'rank': 16, 'alpha': 32, 'dropout': 0, **({} if large else {'warmStartPath': str(model / 'start')})},
        'data': {'kind': 'textCompletion', 'path': str(folder / 'set'), 'cutoffLength': cutoff},
        'training': {'epochs': 1000 if options.steps is None else options.steps / steps_per_epoch, 'batchSize': batch, 'learningRate': 1e-3,
                     'warmupSteps': 0, 'schedule': 'constant', 'weightDecay': 0, 'maxGradNorm': 1, 'seed': 1,
                     'microBatchTokens': options.micro_batch},
        'checkpoints': {'directory': str(folder / 'checkpoints'), 'everySteps': 1_000_000, 'everySeconds': 1e6, 'keep': 1},
        'outputPath': str(folder / 'adapter'),
    }  # fmt: skip
    task = {'folder': str(folder), 'shape': shape, 'spec': spec, 'large': large, 'steps': options.steps}
    return {**task, **write_tokens(folder, spec, rows)}


def write_set(folder: Path, rows: list[dict]) -> None:
    """A rendered set of one file (`RenderedSet` of schemas/trainerProtocol.ts)."""
    import hashlib

    import numpy as np

    folder.mkdir(exist_ok=True)
    lines = [json.dumps(row).encode() + b'\n' for row in rows]
    text = b''.join(lines)
    (folder / 'rows.jsonl').write_bytes(text)
    (folder / 'index.bin').write_bytes(np.array([len(line) for line in lines], '<u4').tobytes())
    file = {'name': 'rows.jsonl', 'examples': len(rows), 'sha256': hashlib.sha256(text).hexdigest()}
    (folder / 'set.json').write_text(json.dumps({'version': 1, 'files': [file], 'heldOut': 0}))


def write_tokens(folder: Path, spec: dict, rows: list[dict]) -> dict:
    """The examples as token IDs in the order in which Temper's first epoch takes them, and what they are on average."""
    from temper_trainer.data import make_plan

    batch, seed = spec['training']['batchSize'], spec['training']['seed']
    plan = make_plan(len(rows), batch, 1, seed)
    ordered = []
    for step in range(plan.total_steps):
        for number in plan.examples_of(step):
            prompt, answer = ([int(word[1:]) for word in segment[0].split()] for segment in rows[number]['segments'])
            ids = [1, *prompt, *answer, 2]
            ordered.append({'input_ids': ids, 'labels': [-100] * (1 + len(prompt)) + ids[1 + len(prompt) :]})
    (folder / 'tokens.json').write_text(json.dumps(ordered))
    lengths = [len(each['input_ids']) for each in ordered]
    trained = sum(label != -100 for each in ordered for label in each['labels'])
    return {'tokens': str(folder / 'tokens.json'), 'lengths': lengths, 'trainedShare': trained / sum(lengths)}


def run_side(side: str, task: dict, seconds: float) -> dict:
    """One process from its start to its end, with the time at which each of its lines came."""
    folder, spec = Path(task['folder']), task['spec']
    path = folder / f'{side}.json'
    environment = {**os.environ, 'HF_HUB_OFFLINE': '1', 'PYTHONPATH': os.pathsep.join([str(TRAINER), os.environ.get('PYTHONPATH', '')])}
    for name in ('checkpoints', 'adapter', 'rival'):
        shutil.rmtree(folder / name, ignore_errors=True)
    if side in TEMPER:
        training = {**spec['training'], 'compile': side == 'temper-compiled'}
        path.write_text(json.dumps({**spec, 'training': training, 'stopAfterSeconds': seconds}))
        command = [str(HERE / 'quantized.py')] if task['large'] else ['-m', 'temper_trainer']
    else:
        training = spec['training']
        path.write_text(json.dumps({
            'model': spec['model']['path'], 'start': spec['adapter']['warmStartPath'], 'tokens': task['tokens'],
            'folder': str(folder / 'rival'), 'batchSize': training['batchSize'], 'learningRate': training['learningRate'],
            'cutoffLength': spec['data']['cutoffLength'], 'meanTokens': sum(task['lengths']) / len(task['lengths']),
            'steps': task['steps'], 'seconds': seconds,
        }))  # fmt: skip
        command = [str(HERE / 'rivals.py'), side]
    began = time.perf_counter()
    with open(folder / f'{side}.log', 'w') as log:
        process = subprocess.Popen(
            [sys.executable, *command, str(path)], stdout=subprocess.PIPE, stderr=log, text=True, env=environment, cwd=folder
        )
        events = [{**json.loads(line), 'at': time.perf_counter() - began} for line in process.stdout]
        code = process.wait()
    result = {'side': side, 'events': events}
    if code != 0 or not events or events[-1]['event'] != 'completed':
        said = next((event['message'] for event in reversed(events) if event['event'] == 'failed'), None)
        result['error'] = said or ((folder / f'{side}.log').read_text().strip().splitlines() or [f'exit code {code}'])[-1][:300]
    return result


def derive(result: dict, task: dict, peaks: dict) -> dict:
    """The figures of a side, from its events."""
    events = result.pop('events', [])
    steps = [event for event in events if event['event'] == 'step']
    if not steps:
        return result
    prepared = next(event for event in events if event['event'] == 'prepared')
    result |= {
        'way': prepared.get('way') or ', '.join(filter(None, [
            prepared['attention'], f'packs of {prepared["microBatchTokens"]}', 'recomputed' if prepared['recompute'] else '',
            'compiled' if prepared['compiled'] else '',
        ])),
        'firstStepSeconds': round(steps[0]['at'], 1),
        'steps': len(steps),
        'firstLoss': steps[0]['loss'],
        'lastLoss': steps[-1]['loss'],
        'losses': [step['loss'] for step in steps],
        'peakGib': events[-1].get('peakGib'),
    }  # fmt: skip
    spent = events[-1].get('seconds')
    if spent:
        result |= {'seconds': spent, 'waitedForData': round(spent['data'] / (spent['train'] + spent['data']), 4)}
    timed = steps[min(UNTIMED_STEPS, len(steps) - 1) :]
    before = steps[-len(timed) - 1] if len(timed) < len(steps) else None
    if before is None:
        return result
    elapsed = timed[-1]['at'] - before['at']
    tokens, trained = (sum(step[name] for step in timed) / elapsed for name in ('tokens', 'trainedTokens'))
    tflops = tokens * flops_per_token(task['shape'], task['lengths'], task['trainedShare']) / 1e12
    result |= {'tokensPerSecond': round(tokens, 1), 'trainedTokensPerSecond': round(trained, 1), 'tflops': round(tflops, 4)}
    result['shareOfMatmul'] = round(tflops / peaks['matmulTflops'], 4)
    if peaks['dataSheetTflops']:
        result['mfu'] = round(tflops / peaks['dataSheetTflops'], 4)
    return result


def versions() -> dict:
    from importlib import metadata

    found = {'python': platform.python_version()}
    for name in ('torch', 'transformers', 'peft', 'accelerate', 'trl', 'bitsandbytes', 'liger-kernel', 'unsloth', 'flash-attn', 'triton'):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe(task: dict, options) -> dict:
    lengths, training = task['lengths'], task['spec']['training']
    return {
        'batch': training['batchSize'],
        'cutoff': task['spec']['data']['cutoffLength'],
        'meanTokens': round(sum(lengths) / len(lengths), 1),
        'longest': max(lengths),
        'trainedShare': round(task['trainedShare'], 3),
        'secondsPerSide': options.seconds,
    }


def print_table(facts: dict, results: list[dict]) -> None:
    print(f'\n{facts["device"]}: {facts["matmulTflops"]} TFLOP/s in one product of matrices, {facts["dataSheetTflops"]} by the data sheet')
    print(f'{facts["shape"]}, {json.dumps(facts["task"])}\n{json.dumps(facts["versions"])}\n')
    columns = {
        'side': 'side', 'tokens/s': 'tokensPerSecond', 'trained/s': 'trainedTokensPerSecond', 'MFU': 'mfu', 'of matmul': 'shareOfMatmul',
        'peak GiB': 'peakGib', 'first step s': 'firstStepSeconds', 'loss': 'firstLoss', 'last': 'lastLoss', 'steps': 'steps', 'how': 'way',
    }  # fmt: skip
    temper = next((result.get('tokensPerSecond') for result in results if result['side'] == 'temper'), None)
    lines = [[*columns, 'temper is']]
    for result in results:
        cells = [
            str(result.get(name, '')) if not isinstance(result.get(name), float) else f'{result[name]:.5g}' for name in columns.values()
        ]
        rate = result.get('tokensPerSecond')
        note = result.get('skipped') or result.get('error') or (f'{temper / rate:.2f} times' if temper and rate else '')
        lines.append([*cells, note])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    for line in lines:
        print('  '.join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]))
    for result in results:
        if 'seconds' in result:
            print(f'{result["side"]}: seconds by part {json.dumps(result["seconds"])}; waited for data {result["waitedForData"]:.2%}')


def losses_agree(results: list[dict]) -> bool:
    """Of the sides that take the same examples in the same steps."""
    ours = next((result['losses'] for result in results if result['side'] == 'temper'), None)
    compared = [result for result in results if result['side'] in ('trl', 'llama-factory') and 'losses' in result]
    for result in compared if ours else []:
        differences = [abs(loss - other) for loss, other in zip(ours, result['losses'], strict=False)]
        print(f'loss of temper and {result["side"]}: at most {max(differences):.1e} apart in {len(differences)} steps')
        if max(differences) > LOSS_TOLERANCE:
            return False
    return True


if __name__ == '__main__':
    sys.exit(main())
