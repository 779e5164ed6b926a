/** Published Python packages that judge the API, each in a folder of its own, made once on a machine. */
import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { cacheFolder } from '../../dev/binaries.js';

const run = promisify(execFile);

/** @param requirement  NAME==VERSION. @returns the folder, for PYTHONPATH */
export async function installPythonPackage(requirement: string): Promise<string> {
  const folder = join(cacheFolder(), requirement.replace('==', '-'));
  if (existsSync(folder)) return folder;
  mkdirSync(cacheFolder(), { recursive: true });
  const draft = mkdtempSync(`${folder}-`);
  const install = ['install', '--quiet', '--disable-pip-version-check', '--target', join(draft, 'packages'), requirement];
  try {
    // Distributions ship pip, or venv that brings it, or both.
    await run('python3', ['-m', 'pip', ...install]).catch(async () => {
      await run('python3', ['-m', 'venv', join(draft, 'venv')]);
      await run(join(draft, 'venv', 'bin', 'pip'), install);
    });
    renameSync(join(draft, 'packages'), folder);
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  return folder;
}
