/** One POST to a webhook's address: no redirects, no proxies, and to no address but those that were looked at. */
import { lookup } from 'node:dns/promises';
import { request as httpRequest, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import { TemperError } from '../schemas/errors.js';
import { withTimeLimit } from '../schemas/timeLimit.js';
import { hostAddress } from './address.js';
import type { Networks } from './networks.js';

/** From the first packet to the end of the answer. */
const ANSWER_TIMEOUT_MS = 15_000;

/**
 * The connection goes to the address that was checked: asking for the name again while connecting would let its owner answer
 * with another one (DNS rebinding).
 * @returns the HTTP status. @throws TemperError WEBHOOK_ADDRESS_FORBIDDEN, WEBHOOK_FAILED when there is no answer
 */
export async function postToWebhook(
  address: string,
  networks: Networks,
  message: { headers: Record<string, string>; body: string },
  signal: AbortSignal,
): Promise<number> {
  const url = new URL(address);
  const found = await requireAllowed(url, networks);
  const options: RequestOptions = {
    method: 'POST',
    agent: false,
    lookup: ((_name, options, callback) => {
      if (options.all) callback(null, [found]);
      else callback(null, found.address, found.family);
    }) satisfies LookupFunction,
    headers: { ...message.headers, 'content-length': String(Buffer.byteLength(message.body)) },
  };
  return withTimeLimit(ANSWER_TIMEOUT_MS, signal, async (limited) => {
    try {
      const response = await send(url, { ...options, signal: limited }, message.body);
      return response.statusCode ?? 0;
    } catch (error) {
      signal.throwIfAborted();
      const reason = limited.aborted ? `did not answer within ${ANSWER_TIMEOUT_MS / 1000} s` : `cannot be reached (${codeOf(error)})`;
      throw new TemperError('WEBHOOK_FAILED', `${url.host} ${reason}.`);
    }
  });
}

/** Resolves with the head of the answer; its body is of no interest, and not read. */
function send(url: URL, options: RequestOptions, body: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const request = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, options, (response) => {
      response.destroy();
      resolve(response);
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** Every address of the name must be allowed: which of them is used is not left to chance. */
async function requireAllowed(url: URL, networks: Networks): Promise<{ address: string; family: number }> {
  const literal = hostAddress(url);
  const addresses = literal === null ? await resolve(url.hostname) : [{ address: literal, family: literal.includes(':') ? 6 : 4 }];
  const forbidden = addresses.find(({ address }) => !networks.isAllowed(address));
  if (forbidden)
    throw new TemperError('WEBHOOK_ADDRESS_FORBIDDEN', `${url.hostname} leads to ${forbidden.address}, which is no public address.`);
  const [first] = addresses;
  if (url.protocol === 'http:' && !networks.isOwn(first!.address))
    throw new TemperError('WEBHOOK_ADDRESS_FORBIDDEN', `${url.hostname} may be called over https only.`);
  return first!;
}

async function resolve(name: string): Promise<{ address: string; family: number }[]> {
  const found = await lookup(name, { all: true }).catch((error: unknown) => {
    throw new TemperError('WEBHOOK_FAILED', `The name ${name} cannot be resolved (${codeOf(error)}).`);
  });
  if (found.length === 0) throw new TemperError('WEBHOOK_FAILED', `The name ${name} has no address.`);
  return found;
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : 'no connection';
}
