"""The benchmark proves itself on a CPU: it runs Temper's trainer and a rival as they are, and their losses agree."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / 'bench' / 'trainer'


def test_temper_and_trl_side_by_side(tmp_path):
    results = tmp_path / 'results.json'
    options = ['--steps', '4', '--examples', '32', '--batch', '4', '--seconds', '600', '--sides', 'temper,trl,unsloth']
    shown = subprocess.run([sys.executable, str(BENCH), *options, '--output', str(results)], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stdout + shown.stderr
    temper, trl, unsloth = json.loads(results.read_text())['results']
    assert temper['losses'] == pytest.approx(trl['losses'], abs=1e-3) and len(temper['losses']) == 4
    assert all(side[figure] > 0 for side in (temper, trl) for figure in ('tokensPerSecond', 'trainedTokensPerSecond', 'peakGib'))
    assert unsloth['skipped'] == 'needs a GPU'
