"""Fetching from a small server that speaks the hub's protocol."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from runs import run_command

COMMIT = '0123456789abcdef0123456789abcdef01234567'


class Hub(BaseHTTPRequestHandler):
    """Serves one model, `team/tiny`; others are gated, missing, or make the server fail."""

    files: dict[str, bytes] = {}
    requests: list[str] = []

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def answer(self):
        self.requests.append(f'{self.command} {self.path}')
        path = self.path.split('?')[0]
        if path.startswith('/api/models/team/tiny'):
            revision = path.removeprefix('/api/models/team/tiny').removeprefix('/revision/')
            if revision not in ('', 'main', COMMIT):
                return self.reply(404, b'{}', {'X-Error-Code': 'RevisionNotFound'})
            siblings = [{'rfilename': name, 'size': len(content)} for name, content in self.files.items()]
            return self.reply(200, json.dumps({'id': 'team/tiny', 'sha': COMMIT, 'siblings': siblings}).encode())
        if path.startswith(f'/team/tiny/resolve/{COMMIT}/'):
            content = self.files[path.rsplit('/', 1)[1]]
            return self.reply(200, content, {'ETag': f'"{hashlib.sha256(content).hexdigest()}"', 'X-Repo-Commit': COMMIT})
        if 'gated' in path:
            return self.reply(403, b'{}', {'X-Error-Code': 'GatedRepo'})
        if 'broken' in path:
            return self.reply(503, b'{}')
        return self.reply(401, b'{}', {'X-Error-Code': 'RepoNotFound'})

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None):
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.command == 'GET':
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope='module')
def hub(models):
    Hub.files = {path.name: path.read_bytes() for path in models().iterdir()}
    Hub.files.update({'pytorch_model.bin': b'pickle', 'modeling_tiny.py': b'code', 'README.md': b'#'})
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


def fetch(hub: str, folder: Path, repository: str, **changes) -> tuple[int, list[dict]]:
    spec = {'version': 1, 'work': 'fetch', 'kind': 'base', 'repository': repository, 'outputPath': str(folder / 'model'), **changes}
    return run_command(spec, HF_ENDPOINT=hub, HF_HUB_OFFLINE='0', HF_HOME=str(folder / 'home'))


def test_a_model_arrives_without_code_and_pickles(hub, tmp_path):
    code, events = fetch(hub, tmp_path, 'team/tiny')
    assert code == 0
    names = {entry['name'] for entry in events[-1]['files']}
    assert names == {'config.json', 'generation_config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'}
    for entry in events[-1]['files']:
        content = (tmp_path / 'model' / entry['name']).read_bytes()
        assert content == Hub.files[entry['name']]
        assert hashlib.sha256(content).hexdigest() == entry['sha256']
    last = [event for event in events if event['event'] == 'progress'][-1]
    assert last['done'] == last['total'] == sum(entry['sizeBytes'] for entry in events[-1]['files'])

    Hub.requests.clear()
    code, _ = fetch(hub, tmp_path, 'team/tiny', revision='main')
    assert code == 0
    assert not [request for request in Hub.requests if request.startswith('GET') and 'resolve' in request]  # nothing twice


@pytest.mark.parametrize(
    ('repository', 'changes', 'code', 'retryable'),
    [
        ('team/absent', {}, 'MODEL_NOT_FOUND', False),
        ('team/tiny', {'revision': 'v9'}, 'MODEL_NOT_FOUND', False),
        ('not a name', {}, 'MODEL_NOT_FOUND', False),
        ('team/gated', {}, 'MODEL_GATED', False),
        ('team/broken', {}, 'HUB_UNREACHABLE', True),
    ],
)
def test_refusals_have_their_codes(hub, tmp_path, repository, changes, code, retryable):
    exit_code, events = fetch(hub, tmp_path, repository, **changes)
    assert exit_code == 3
    assert (events[-1]['code'], events[-1]['retryable']) == (code, retryable)


def test_nobody_listening_is_unreachable(tmp_path):
    exit_code, events = fetch('http://127.0.0.1:9', tmp_path, 'team/tiny')
    assert (exit_code, events[-1]['code']) == (3, 'HUB_UNREACHABLE')
