import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { resolveConfiguration, storeConfiguration } from '../../../cli/configuration.js';

let folder: string;
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), 'temper-cli-'))));
afterEach(() => rmSync(folder, { recursive: true }));

function write(path: string, content: unknown): void {
  mkdirSync(join(folder, path, '..'), { recursive: true });
  writeFileSync(join(folder, path), typeof content === 'string' ? content : JSON.stringify(content));
}
const resolve = (flags = {}, environment = {}) =>
  resolveConfiguration(flags, { environment, homeFolder: join(folder, 'home'), workingFolder: join(folder, 'project/data/raw') });

describe('the server, the key and the account', () => {
  test('come from flags, then TEMPER_*, then FIREWORKS_*, then the stored file, then the running stack', () => {
    write('project/.temper/dev.json', { apiUrl: 'http://stack', apiKey: 'stack-key', accountId: 'stack', pids: {} });
    expect(resolve()).toEqual({ apiUrl: 'http://stack', apiKey: 'stack-key', accountId: 'stack' });
    write('home/.temper/config.json', { apiUrl: 'http://stored', apiKey: 'stored-key' });
    expect(resolve()).toEqual({ apiUrl: 'http://stored', apiKey: 'stored-key', accountId: 'stack' });
    const fireworks = { FIREWORKS_BASE_URL: 'http://fireworks/', FIREWORKS_API_KEY: 'fireworks-key', FIREWORKS_ACCOUNT_ID: 'fireworks' };
    expect(resolve({}, fireworks)).toEqual({ apiUrl: 'http://fireworks', apiKey: 'fireworks-key', accountId: 'fireworks' });
    const temper = { ...fireworks, TEMPER_API_KEY: 'temper-key', TEMPER_ACCOUNT_ID: '' };
    expect(resolve({}, temper)).toEqual({ apiUrl: 'http://fireworks', apiKey: 'temper-key', accountId: 'fireworks' });
    expect(resolve({ apiUrl: 'https://flag' }, temper).apiUrl).toBe('https://flag');
  });

  test('TEMPER_HOME says where the running stack is', () => {
    write('elsewhere/dev.json', { apiUrl: 'http://elsewhere', apiKey: 'k' });
    write('project/.temper/dev.json', { apiUrl: 'http://stack', apiKey: 'k' });
    expect(resolve({}, { TEMPER_HOME: join(folder, 'elsewhere') }).apiUrl).toBe('http://elsewhere');
  });

  test('without any, the error says what to do', () => {
    expect(() => resolve()).toThrow('npm run dev');
    expect(() => resolve({ apiUrl: 'http://a' })).toThrow('temper set-api-key');
    expect(() => resolve({ apiUrl: 'ftp://a', apiKey: 'k' })).toThrow('http://');
  });

  test('a stored file that is broken is named, not passed over', () => {
    write('home/.temper/config.json', '{"apiUrl": ');
    expect(() => resolve()).toThrow(/config\.json cannot be read/);
  });

  test('a stored key can be read by its owner only, and keeps what was stored before', () => {
    storeConfiguration({ apiUrl: 'http://a', apiKey: 'one' }, join(folder, 'home'));
    const path = storeConfiguration({ apiKey: 'two' }, join(folder, 'home'));
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({ apiUrl: 'http://a', apiKey: 'two' });
  });
});
