"""Writes the table of families into README.md from a run of their tests: `.venv/bin/python tests/family_table.py`.

A cell is what the run saw; a family without a passing test has no row, and the run fails.
"""

import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from tinymodels import FAMILIES

from temper_trainer.versions import versions

TRAINER = Path(__file__).parents[1]
BEGIN, END = '<!-- families -->\n', '<!-- /families -->\n'
MODELS = {
    'llama': 'Llama 2 and 3.x, DeepSeek and DeepSeek-Coder v1, SmolLM',
    'mistral': 'Mistral',
    'mixtral': 'Mixtral',
    'qwen2': 'Qwen 1.5, 2, 2.5, CodeQwen',
    'gemma': 'Gemma, CodeGemma',
    'starcoder2': 'StarCoder2',
    'stablelm': 'StableLM, StableCode',
    'phi': 'Phi 1.5, 2',
    'gpt_neox': 'GPT-NeoX, Pythia, StableCode Alpha',
    'deepseek_v2': 'DeepSeek-V2, DeepSeek-Coder-V2',
}
METHODS = {'none': 'LoRA', 'nf4': 'QLoRA'}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / 'report.xml'
        subprocess.run([sys.executable, '-m', 'pytest', 'tests/test_families.py', f'--junitxml={report}'], cwd=TRAINER, check=True)
        seen = {case.get('name'): read_properties(case) for case in xml.parse(report).iter('testcase')}
    lines = [
        '| `model_type` | models | LoRA on | method | loss trained | from TRL’s curve | perplexity base → tuned | plain PEFT | resumed '
        '| merged |',
        '| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |',
    ]
    for family in FAMILIES:
        for method, name in METHODS.items():
            found = seen.get(f'test_a_family_from_training_to_evaluation[{family}-{method}]')
            if not found:
                lines.append(f'| `{family}` | | | {name} | refused: `QUANTIZATION_UNSUPPORTED` | | | | | |')
                assert f'test_experts_that_cannot_be_quantized_are_refused[{family}]' in seen
                continue
            cells = [found.get(key, '') for key in ('trained', 'trl', 'evaluated', 'loaded', 'resumed', 'merged')]
            first = [MODELS[family], found['saved'].replace('_proj', '')] if method == 'none' else ['', '']
            lines.append('| ' + ' | '.join([f'`{family}`', *first, name, *cells]) + ' |')
    used = ', '.join(
        f'{name} {version}' for name, version in versions().items() if name in ('torch', 'transformers', 'peft', 'bitsandbytes')
    )
    readme = TRAINER / 'README.md'
    text = readme.read_text()
    table = '\n'.join(lines)
    readme.write_text(re.sub(f'{BEGIN}.*{END}', lambda _: f'{BEGIN}{table}\n\n{used}, on CPU.\n{END}', text, flags=re.DOTALL))


def read_properties(case: xml.Element) -> dict[str, str]:
    return {entry.get('name'): entry.get('value') for entry in case.iter('property')}


if __name__ == '__main__':
    main()
