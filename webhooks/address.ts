/** A webhook's URL, judged by its text alone: what its name leads to is looked at when it is called. */
import { isIP } from 'node:net';
import { fieldError } from '../schemas/errors.js';
import type { Networks } from './networks.js';

/** @throws TemperError INVALID_FIELD naming `url` */
export function requireWebhookUrl(text: string, networks: Networks): string {
  const refuse = (problem: string) => fieldError('INVALID_FIELD', 'url', `url ${problem}`);
  if (!URL.canParse(text)) throw refuse('must be a URL, for example https://example.com/hooks.');
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw refuse(`must begin with https://, not ${url.protocol.slice(0, 40)}`);
  if (url.username || url.password) throw refuse('must not hold a user name or password.');
  const address = hostAddress(url);
  if (address !== null && !networks.isAllowed(address)) throw refuse(`leads to ${address}, which is no public address.`);
  const isOwn = address === null ? isLocalName(url.hostname) && networks.isOwn('127.0.0.1') : networks.isOwn(address);
  if (url.protocol === 'http:' && !isOwn) throw refuse('must begin with https://: what is sent over http can be read on its way.');
  return text;
}

/** The address in a URL that has one instead of a name; null for a name. */
export function hostAddress(url: URL): string | null {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  return isIP(host) === 0 ? null : host;
}

function isLocalName(name: string): boolean {
  return name === 'localhost' || name.endsWith('.localhost');
}
