/**
 * A small server that speaks the Hugging Face hub's protocol, as far as the official client uses it to fetch a model: the model's
 * description with its commit, small files directly with their ETag, large ones by a redirect that carries the SHA-256 of LFS.
 */
import { createHash } from 'node:crypto';
import { createServer, type ServerResponse } from 'node:http';

export const COMMIT = '0123456789abcdef0123456789abcdef01234567';
const TOKEN = 'hf_token_of_a_test';

/** @param slow  holds the answer to a large file back, for as long as it likes */
export async function startHub(
  port: number,
  repositories: Record<string, Record<string, Buffer>>,
  slow: () => Promise<unknown> = () => Promise.resolve(),
) {
  const asked: { path: string; token?: string }[] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(request.url!.split('?')[0]!);
    const token = request.headers.authorization?.replace('Bearer ', '');
    asked.push({ path, token });
    const end = (status: number, headers: Record<string, string | number>, body: Buffer = Buffer.alloc(0)) =>
      finish(response, status, headers, body, request.method === 'HEAD');
    const repository = Object.keys(repositories).find(
      (name) => path.startsWith(`/api/models/${name}`) || path.startsWith(`/${name}/resolve/`),
    );
    const cdn = /^\/cdn\/([0-9a-f]{64})$/.exec(path)?.[1];
    if (cdn) {
      const content = Object.values(repositories)
        .flatMap(Object.values)
        .find((bytes) => sha256(bytes) === cdn)!;
      return void slow().then(() => end(200, { etag: `"${cdn}"` }, content));
    }
    if (!repository) return end(401, { 'x-error-code': 'RepoNotFound' });
    if (repository.startsWith('gated/') && token !== TOKEN) return end(403, { 'x-error-code': 'GatedRepo' });
    const files = repositories[repository]!;
    if (path.startsWith('/api/')) {
      const siblings = Object.entries(files).map(([rfilename, bytes]) => ({
        rfilename,
        size: bytes.length,
        ...(isLarge(rfilename) ? { lfs: { sha256: sha256(bytes), size: bytes.length, pointerSize: 130 } } : {}),
      }));
      const revision = path.split('/revision/')[1];
      if (revision && revision !== 'main' && revision !== COMMIT) return end(404, { 'x-error-code': 'RevisionNotFound' });
      return end(200, { 'content-type': 'application/json' }, Buffer.from(JSON.stringify({ id: repository, sha: COMMIT, siblings })));
    }
    const name = path.slice(path.lastIndexOf('/') + 1);
    const content = files[name];
    if (!content) return end(404, { 'x-error-code': 'EntryNotFound' });
    const hash = sha256(content);
    if (!isLarge(name)) return end(200, { etag: `"${hash.slice(0, 40)}"`, 'x-repo-commit': COMMIT }, content);
    // Another host: the client follows redirects on the hub's own to their end before it reads these headers.
    end(302, {
      location: `http://localhost:${port}/cdn/${hash}`,
      'x-linked-etag': `"${hash}"`,
      'x-linked-size': content.length,
      'x-repo-commit': COMMIT,
    });
  });
  await new Promise<void>((resolve) => server.listen(port, resolve));
  return { asked, token: TOKEN, stop: () => new Promise((resolve) => server.close(resolve)) };
}

function finish(response: ServerResponse, status: number, headers: Record<string, string | number>, body: Buffer, headOnly: boolean): void {
  response.writeHead(status, { ...headers, 'content-length': body.length });
  response.end(headOnly ? undefined : body);
}

function isLarge(name: string): boolean {
  return name.endsWith('.safetensors');
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
