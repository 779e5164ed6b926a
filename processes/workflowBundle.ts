/**
 * The workflows' bundle, made once: `bundleWorkflowCode` takes four seconds of processor time, at every start of a worker, and its result
 * depends on nothing but the sources and the packages.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { bundleWorkflowCode, type BundleOptions } from '@temporalio/worker';
import { build } from 'esbuild';
import { writeWhole } from './writeWhole.js';

/**
 * Path of the bundle of `workflowsPath` and `workflowInterceptorModules`, for a worker's `workflowBundle.codePath`. It is kept below
 * `packages` under the hash of all that goes into it.
 * @param packages  the `node_modules` folder that npm made; its list of what is installed is part of the hash
 */
export async function workflowBundle(options: BundleOptions & { workflowsPath: string }, packages: string): Promise<string> {
  const hash = createHash('sha256')
    .update(process.version)
    .update(readFileSync(path.join(packages, '.package-lock.json')));
  for (const entry of [options.workflowsPath, ...(options.workflowInterceptorModules ?? [])]) {
    // All of our own sources that the entry reaches, as one text.
    const { outputFiles } = await build({
      entryPoints: [entry],
      bundle: true,
      write: false,
      packages: 'external',
      format: 'esm',
      logLevel: 'silent',
    });
    hash.update(entry).update(outputFiles[0]!.contents);
  }
  const file = path.join(packages, '.cache', 'temper', `workflows-${hash.digest('hex').slice(0, 16)}.js`);
  if (existsSync(file)) return file;
  const { code } = await bundleWorkflowCode(options);
  writeWhole(file, code);
  return file;
}
