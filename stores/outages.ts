/** How it shows that a server is away: for whoever answers a user then, and for whoever waits until it is back. */

const CONNECTION_CODES = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EAI_AGAIN',
]);
/** Postgres: shutting down, starting up, crashed, out of connections. Class 08 is a broken connection. */
const DATABASE_CODES = new Set(['57P01', '57P02', '57P03', '53300', '08000', '08001', '08003', '08004', '08006']);

/** Of the driver itself, which has no codes. */
const DATABASE_MESSAGES =
  /^(Connection terminated|timeout exceeded when trying to connect|timeout expired|Client (has encountered a connection error|was closed))/;

export function isDatabaseOutage(code: unknown, message = ''): boolean {
  if (typeof code === 'string' && (DATABASE_CODES.has(code) || CONNECTION_CODES.has(code))) return true;
  return DATABASE_MESSAGES.test(message);
}
