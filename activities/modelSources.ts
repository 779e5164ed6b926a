/** The files of a model under validation: read where they lie, whole when they are small, by their headers when they are not. */
import { MAX_SMALL_FILE_BYTES } from '../schemas/modelFiles.js';
import { checkJson } from '../datasets/checkJson.js';
import type { ModelProblem } from '../models/problems.js';
import { readSafetensorsHeader, SafetensorsError, type TensorInfos } from '../models/safetensorsHeader.js';
import type { ObjectStore } from '../stores/objects.js';

export interface CopiedFile {
  name: string;
  key: string;
  sizeBytes: number;
}

/** A JSON file's object; null, with a problem, when it is none. Undefined when there is no such file. */
export async function readJsonFile(
  files: CopiedFile[],
  name: string,
  objects: ObjectStore,
  problems: ModelProblem[],
): Promise<Record<string, unknown> | null | undefined> {
  const file = files.find((one) => one.name === name);
  if (!file) return undefined;
  const wrong = (what: string) => {
    problems.push({ code: 'CONFIG_INVALID', file: name, message: `${name} is not valid JSON: ${what}.` });
    return null;
  };
  if (file.sizeBytes > MAX_SMALL_FILE_BYTES) return wrong(`it has ${file.sizeBytes} bytes`);
  const bytes = await objects.getRange(file.key, 0, file.sizeBytes);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return wrong('it is not UTF-8');
  }
  // An index or a vocabulary has more values than the strict reader takes; a name twice in them is found by what they are checked against.
  if (bytes.length > 1024 * 1024) return parseLarge(text) ?? wrong('it is no object');
  const { row, problem } = checkJson(text);
  return row ?? wrong(`found ${problem!.found}, expected ${problem!.expected}`);
}

function parseLarge(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

/** Null, with a problem, for what is no good safetensors file. */
export async function readHeader(file: CopiedFile, objects: ObjectStore, problems: ModelProblem[]): Promise<TensorInfos | null> {
  try {
    return await readSafetensorsHeader((begin, end) => objects.getRange(file.key, begin, end), file.sizeBytes);
  } catch (error) {
    if (!(error instanceof SafetensorsError)) throw error;
    problems.push({ code: 'SAFETENSORS_INVALID', file: file.name, message: `${file.name} ${error.message}.` });
    return null;
  }
}
