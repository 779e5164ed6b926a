/**
 * Uploads in parts: a client that was cut off goes on with the parts that lack. The object store keeps what has arrived, and it
 * alone is asked; the object appears when all parts are put together.
 */
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  ListMultipartUploadsCommand,
  ListPartsCommand,
  S3ServiceException,
  UploadPartCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';

export interface ArrivedPart {
  partNumber: number;
  sizeBytes: number;
  /** The part's MD5 in hex, with most object stores. */
  etag: string;
}

interface Clients {
  client: S3Client;
  /** For what a healthy server may take long for. */
  patient: S3Client;
  /** Its URLs are for clients: without the checksum of an empty body that a request of ours would carry. */
  signer: S3Client;
}

export function openMultipart({ client, patient, signer }: Clients, bucket: string) {
  async function start(key: string): Promise<string> {
    const { UploadId } = await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key: key }));
    return UploadId!;
  }

  /** Null when there is no such upload: it was completed or given up. */
  async function listParts(key: string, uploadId: string): Promise<ArrivedPart[] | null> {
    const found: ArrivedPart[] = [];
    let marker: string | undefined;
    try {
      do {
        const page = await client.send(
          new ListPartsCommand({ Bucket: bucket, Key: key, UploadId: uploadId, PartNumberMarker: marker, MaxParts: 1000 }),
        );
        for (const { PartNumber, Size, ETag } of page.Parts ?? [])
          found.push({ partNumber: PartNumber!, sizeBytes: Size ?? 0, etag: (ETag ?? '').replaceAll('"', '') });
        marker = page.IsTruncated ? page.NextPartNumberMarker : undefined;
      } while (marker);
      return found;
    } catch (error) {
      if (isGone(error)) return null;
      throw error;
    }
  }

  /** A URL for one part of exactly this size. */
  async function signPart(key: string, uploadId: string, partNumber: number, sizeBytes: number, expiresInSeconds: number): Promise<string> {
    const command = new UploadPartCommand({
      Bucket: bucket,
      Key: key,
      UploadId: uploadId,
      PartNumber: partNumber,
      ContentLength: sizeBytes,
    });
    return getSignedUrl(signer, command, { expiresIn: expiresInSeconds, signableHeaders: new Set(['host', 'content-length']) });
  }

  /** Puts the parts together. Of two that do so at once, one finds it done. */
  async function complete(key: string, uploadId: string, parts: ArrivedPart[]): Promise<void> {
    const Parts = parts.map(({ partNumber, etag }) => ({ PartNumber: partNumber, ETag: etag }));
    try {
      await patient.send(new CompleteMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: uploadId, MultipartUpload: { Parts } }));
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  /** Removes what has arrived; nothing there is success. */
  async function abort(key: string, uploadId: string): Promise<void> {
    try {
      await client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId: uploadId }));
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  /** Gives up every upload in the bucket that began before `time`. @returns how many */
  async function abortOlderThan(time: Date): Promise<number> {
    let count = 0;
    let keyMarker: string | undefined;
    let idMarker: string | undefined;
    do {
      const page = await client.send(
        new ListMultipartUploadsCommand({ Bucket: bucket, KeyMarker: keyMarker, UploadIdMarker: idMarker, MaxUploads: 1000 }),
      );
      for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
        if (!Key || !UploadId || !Initiated || Initiated >= time) continue;
        await abort(Key, UploadId);
        count += 1;
      }
      [keyMarker, idMarker] = page.IsTruncated ? [page.NextKeyMarker, page.NextUploadIdMarker] : [undefined, undefined];
    } while (keyMarker);
    return count;
  }

  return { start, listParts, signPart, complete, abort, abortOlderThan };
}

function isGone(error: unknown): boolean {
  return error instanceof S3ServiceException && (error.name === 'NoSuchUpload' || error.$metadata.httpStatusCode === 404);
}
