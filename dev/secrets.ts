/** The stack's own keys and passwords: made once for a Temper home, kept in a file that only its owner can read. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { readJson, writeJson } from './jsonFile.js';

export interface Secrets {
  /** The bootstrapped account's API key. */
  apiKey: string;
  /** 32 bytes in base64: encrypts users' secrets at rest and payloads on their way through Temporal. */
  secretKey: string;
  s3AccessKeyId: string;
  s3SecretAccessKey: string;
  databasePassword: string;
}

export function loadSecrets(home: string): Secrets {
  const path = join(home, 'secrets.json');
  const kept = readJson<Partial<Secrets>>(path);
  const secrets: Secrets = {
    apiKey: `tk_${randomBytes(24).toString('base64url')}`,
    secretKey: randomBytes(32).toString('base64'),
    s3AccessKeyId: `TEMPER${randomBytes(8).toString('hex').toUpperCase()}`,
    s3SecretAccessKey: randomBytes(24).toString('base64url'),
    databasePassword: randomBytes(18).toString('base64url'),
    ...kept,
  };
  writeJson(path, secrets);
  return secrets;
}
