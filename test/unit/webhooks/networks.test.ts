import { describe, expect, it } from 'vitest';
import { requireWebhookUrl } from '../../../webhooks/address.js';
import { readNetworks } from '../../../webhooks/networks.js';
import { postToWebhook } from '../../../webhooks/post.js';

const PUBLIC_ADDRESSES = ['8.8.8.8', '172.15.255.255', '172.32.0.1', '2606:4700:4700::1111'];
const INNER_ADDRESSES = [
  '0.0.0.0',
  '10.1.2.3',
  '100.64.0.1',
  '127.0.0.1',
  '169.254.169.254',
  '172.16.0.1',
  '192.168.1.1',
  '224.0.0.1',
  '255.255.255.255',
  '::',
  '::1',
  '::ffff:8.8.8.8',
  '::ffff:10.0.0.1',
  '::ffff:a9fe:a9fe',
  '64:ff9b::a00:1',
  'fc00::1',
  'fe80::1',
  'ff02::1',
  '2002:a00:1::',
  '2001:db8::1',
  'no address',
];

describe('networks', () => {
  const networks = readNetworks('');

  it.each(PUBLIC_ADDRESSES)('may be called: %s', (address) => expect(networks.isAllowed(address)).toBe(true));
  it.each(INNER_ADDRESSES)('may not be called: %s', (address) => expect(networks.isAllowed(address)).toBe(false));

  it('are those of the deployment, too, and no more', () => {
    const own = readNetworks('10.1.0.0/16, fd00:1::/32');
    expect(['10.1.2.3', 'fd00:1::5', '::ffff:10.1.0.1'].map((address) => own.isAllowed(address))).toEqual([true, true, true]);
    expect(['10.2.0.1', 'fd00:2::5', '127.0.0.1'].map((address) => own.isAllowed(address))).toEqual([false, false, false]);
  });

  it.each(['10.0.0.0', '10.0.0.0/33', 'host/8', '10.0.0.0/8/8', '::/129'])('that cannot be read are refused: %s', (text) =>
    expect(() => readNetworks(text)).toThrow(/ADDRESS\/BITS/),
  );
});

describe('a URL', () => {
  const local = readNetworks('127.0.0.0/8');

  it.each([
    'https://127.0.0.1/',
    'https://2130706433/',
    'https://0x7f.1/',
    'https://[::1]/',
    'https://[::ffff:7f00:1]/',
    'http://example.com/',
    'http://localhost/',
    'file:///etc/passwd',
  ])('is refused: %s', (url) => expect(() => requireWebhookUrl(url, readNetworks(''))).toThrow(/^url /));

  it.each(['http://127.0.0.1:8080/hook', 'http://localhost/hook', 'https://example.com/hook?x=1'])('is taken: %s', (url) =>
    expect(requireWebhookUrl(url, local)).toBe(url),
  );
});

describe('a call', () => {
  const message = { headers: {}, body: '{}' };
  const call = (url: string, networks: string) => postToWebhook(url, readNetworks(networks), message, new AbortController().signal);

  it('does not go where a name leads inside', async () => {
    await expect(call('https://localhost:1/', '')).rejects.toMatchObject({ code: 'WEBHOOK_ADDRESS_FORBIDDEN' });
    await expect(call('https://127.0.0.1:1/', '')).rejects.toMatchObject({ code: 'WEBHOOK_ADDRESS_FORBIDDEN' });
  });

  it('says in words that nothing answers', async () => {
    const failure = { code: 'WEBHOOK_FAILED', message: '127.0.0.1:1 cannot be reached (ECONNREFUSED).' };
    await expect(call('http://127.0.0.1:1/', '127.0.0.0/8')).rejects.toMatchObject(failure);
  });
});
