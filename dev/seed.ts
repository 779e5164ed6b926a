/** Puts the small base model of this machine into the object store, where workers find base models. */
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { TINY_MODEL_NAME, findBaseModel } from '../schemas/baseModels.js';
import type { ObjectStore } from '../stores/objects.js';

/** Written last: a model whose description is there is whole, and one with another description is replaced. */
const DESCRIPTION = 'model.json';

export async function seedBaseModel(objects: ObjectStore, folder: string): Promise<void> {
  const source = findBaseModel(TINY_MODEL_NAME)!.source as { prefix: string };
  const description = await readFile(path.join(folder, DESCRIPTION), 'utf8');
  const present = await objects.head(`${source.prefix}/${DESCRIPTION}`);
  if (present && (await objects.getText(`${source.prefix}/${DESCRIPTION}`)) === description) return;
  await objects.removePrefix(`${source.prefix}/`);
  const names = (await readdir(folder)).filter((name) => name !== DESCRIPTION);
  for (const name of [...names, DESCRIPTION]) await objects.putFile(`${source.prefix}/${name}`, path.join(folder, name));
}
