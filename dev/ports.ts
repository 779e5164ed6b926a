/** Ports on the loopback that stay the same for the life of a Temper home, so that an address written down yesterday still works today. */
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { readJson, writeJson } from './jsonFile.js';

/**
 * Below the range that Linux, macOS and Windows take for outgoing connections: a port given up by a process that died cannot be
 * taken by some connection before the process is back.
 */
const lowestPort = 20_000;
const highestPort = 32_000;

/** A port for each name: the one it had the last time if that is free, else any free one. Names that were never seen may ask for a port first. */
export async function keepPorts<Name extends string>(
  home: string,
  names: readonly Name[],
  preferred: Partial<Record<Name, number>> = {},
): Promise<Record<Name, number>> {
  const path = join(home, 'ports.json');
  const kept = readJson<Record<string, number>>(path) ?? {};
  for (const name of names) {
    const others = new Set(Object.entries(kept).flatMap(([other, port]) => (other === name ? [] : [port])));
    const first = kept[name] ?? preferred[name];
    kept[name] = first !== undefined && !others.has(first) && (await isFree(first)) ? first : await findFreePort(others);
  }
  writeJson(path, kept);
  return Object.fromEntries(names.map((name) => [name, kept[name]])) as Record<Name, number>;
}

export async function findFreePort(taken = new Set<number>()): Promise<number> {
  for (;;) {
    const port = randomInt(lowestPort, highestPort);
    if (!taken.has(port) && (await isFree(port))) return port;
  }
}

export async function isFree(port: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}
