/** A dataset's file in parts: begun, gone on with, put together, given up. What has arrived is what the object store says. */
import { TemperError } from '../schemas/errors.js';
import { UPLOAD_PART_BYTES, UPLOAD_URL_SECONDS } from '../schemas/limits.js';
import type { UploadEndpointReply } from '../schemas/dataset.js';
import type { Upload } from '../stores/database.js';
import type { DatasetRecord } from '../stores/datasets.js';
import type { ObjectStore } from '../stores/objects.js';

type PartedUpload = Upload & { sizeBytes: number; multipart: { id: string; partSizeBytes: number } };
type Part = NonNullable<UploadEndpointReply['resumableUpload']>['parts'][number];

/** The upload of this file that is under way (`dataset.upload` itself), or a new one in place of whatever was there. */
export async function resumeOrStart(
  objects: ObjectStore,
  dataset: DatasetRecord,
  filename: string,
  sizeBytes: number,
  newKey: string,
): Promise<{ upload: PartedUpload; parts: Part[] }> {
  const underWay = dataset.upload;
  if (underWay && isParted(underWay) && underWay.filename === filename && underWay.sizeBytes === sizeBytes) {
    const arrived = await objects.multipart.listParts(underWay.key, underWay.multipart.id);
    if (arrived)
      return { upload: underWay, parts: await signParts(objects, underWay, new Map(arrived.map((part) => [part.partNumber, part]))) };
  }
  await giveUpParts(objects, underWay);
  const id = await objects.multipart.start(newKey);
  const upload = { key: newKey, filename, sizeBytes, multipart: { id, partSizeBytes: UPLOAD_PART_BYTES } };
  return { upload, parts: await signParts(objects, upload, new Map()) };
}

/** Makes the object of its parts, unless that was done. @throws TemperError UPLOAD_INCOMPLETE */
export async function putTogether(objects: ObjectStore, upload: Upload): Promise<void> {
  if (!isParted(upload)) return;
  const { key, multipart, filename } = upload;
  const arrived = await objects.multipart.listParts(key, multipart.id);
  if (!arrived) return; // put together before, or gone: the object's absence then says so
  const sizes = partSizes(upload);
  const whole = arrived.filter(({ partNumber, sizeBytes }) => sizes[partNumber - 1] === sizeBytes);
  if (whole.length < sizes.length) {
    throw new TemperError(
      'UPLOAD_INCOMPLETE',
      `${whole.length} of ${sizes.length} parts of ${filename} have arrived. ` +
        'Call :getUploadEndpoint with enableResumableUpload again and PUT those that lack.',
    );
  }
  await objects.multipart.complete(key, multipart.id, whole);
}

/** Removes the parts of an upload that another one replaces. */
export async function giveUpParts(objects: ObjectStore, upload: Upload | null): Promise<void> {
  if (upload?.multipart) await objects.multipart.abort(upload.key, upload.multipart.id);
}

function isParted(upload: Upload): upload is PartedUpload {
  return upload.multipart !== undefined && upload.sizeBytes !== undefined;
}

/** In bytes, in order: all of one size but the last. */
function partSizes({ sizeBytes, multipart: { partSizeBytes } }: PartedUpload): number[] {
  const count = Math.ceil(sizeBytes / partSizeBytes);
  return Array.from({ length: count }, (_, index) => Math.min(partSizeBytes, sizeBytes - index * partSizeBytes));
}

function signParts(objects: ObjectStore, upload: PartedUpload, arrived: Map<number, { sizeBytes: number; etag: string }>): Promise<Part[]> {
  return Promise.all(
    partSizes(upload).map(async (sizeBytes, index) => {
      const partNumber = index + 1;
      const found = arrived.get(partNumber);
      return {
        partNumber,
        sizeBytes,
        signedUrl: await objects.multipart.signPart(upload.key, upload.multipart.id, partNumber, sizeBytes, UPLOAD_URL_SECONDS),
        ...(found?.sizeBytes === sizeBytes ? { etag: found.etag } : {}),
      };
    }),
  );
}
