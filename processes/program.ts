/**
 * The entry of a whole program as one file of JavaScript, with its packages left where they are: a worker that was killed is there again
 * in two fifths of the processor time that its TypeScript takes, file by file.
 */
import { build } from 'esbuild';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { writeWhole } from './writeWhole.js';

/** Compiles an entry into a folder from which its packages are found, and gives the file's path. What asks where it is, is told where its source is. */
export async function compileProgram(entry: string, folder: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
    sourcemap: 'inline',
    sourcesContent: false,
    keepNames: true,
    outdir: folder,
    logLevel: 'silent',
    plugins: [
      {
        name: 'sources know where they are',
        setup: (made) =>
          made.onLoad({ filter: /\.ts$/ }, ({ path: source }) => ({
            contents: readFileSync(source, 'utf8').replaceAll('import.meta.url', JSON.stringify(pathToFileURL(source).href)),
            loader: 'ts',
          })),
      },
    ],
  });
  const name = createHash('sha256').update(`${process.version} ${entry}`).digest('hex').slice(0, 16);
  const file = path.join(folder, `${path.basename(entry, '.ts')}-${name}.mjs`);
  writeWhole(file, outputFiles[0]!.contents);
  return file;
}
