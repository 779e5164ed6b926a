/** Why a model that was made once more may differ from the first: said by what was recorded of both. */
import { expect, it } from 'vitest';
import { compareReproduction, type Lineage } from '../../../schemas/lineage.js';

const lineage = (sha256: string, changes: Partial<Lineage> = {}) =>
  ({
    files: [
      { name: 'adapter_config.json', sha256: 'c', sizeBytes: 1 },
      { name: 'adapter_model.safetensors', sha256, sizeBytes: 1 },
    ],
    hardware: { device: 'cpu: 2 threads' },
    baseModel: { name: 'b', source: {}, content: '1' },
    prepared: { setSha256: 't' },
    training: { microBatchTokens: 512 },
    versions: { torch: '2.15.0' },
    ...changes,
  }) as Lineage;

it('is equal by the bytes of the adapter alone', () => {
  const again = lineage('a', { hardware: { device: 'cpu: 8 threads' } });
  expect(compareReproduction(lineage('a'), again)).toEqual({ equal: true, differingFiles: [], reasons: [] });
});

it('names what was other than the first time', () => {
  const again = lineage('b', { hardware: { device: 'cpu: 8 threads' }, versions: { torch: '2.16.0' } });
  const { equal, differingFiles, reasons } = compareReproduction(lineage('a'), again);
  expect({ equal, differingFiles }).toEqual({ equal: false, differingFiles: ['adapter_model.safetensors'] });
  expect(reasons).toEqual(['The device was cpu: 2 threads then and is cpu: 8 threads now.', 'torch was 2.15.0 then and is 2.16.0 now.']);
});

it('says so when nothing explains it', () => {
  expect(compareReproduction(lineage('a'), lineage('b')).reasons).toEqual([expect.stringContaining('worth a look')]);
});
