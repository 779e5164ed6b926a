/** Finds NaN and infinity in a safetensors file as its bytes go by: one such weight makes every loss NaN. */
import type { TensorInfos } from './safetensorsHeader.js';

/** Type, the bits of the exponent in its upper half or whole, as they are in memory. */
const EXPONENTS: Record<string, { bytes: 2 | 4; mask: number }> = {
  F16: { bytes: 2, mask: 0x7c00 },
  BF16: { bytes: 2, mask: 0x7f80 },
  F32: { bytes: 4, mask: 0x7f800000 },
};

export interface FiniteScan {
  /** The file's next bytes, in order. */
  take(chunk: Buffer): void;
  /** Name of the first tensor that has such a value; null when none has. */
  found(): string | null;
}

export function scanFiniteValues(tensors: TensorInfos): FiniteScan {
  const places = [...tensors].map(([name, info]) => ({ name, ...info })).sort((a, b) => a.begin - b.begin);
  let index = 0;
  let position = 0;
  let found: string | null = null;
  /** The first bytes of a value that the last chunk cut. */
  let rest: Buffer = Buffer.alloc(0);

  return {
    take(chunk) {
      if (found !== null) return;
      const begin = position - rest.length;
      const bytes = rest.length > 0 ? Buffer.concat([rest, chunk]) : chunk;
      position += chunk.length;
      rest = Buffer.alloc(0);
      for (; index < places.length; index++) {
        const { name, dtype, begin: from, end } = places[index]!;
        const exponent = EXPONENTS[dtype];
        if (from >= position) return;
        if (exponent) {
          const start = Math.max(from, begin);
          const stop = Math.min(end, position);
          const whole = stop - ((stop - start) % exponent.bytes);
          if (hasNonFinite(bytes.subarray(start - begin, whole - begin), exponent)) {
            found = name;
            return;
          }
          if (stop < end) rest = Buffer.from(bytes.subarray(whole - begin));
        }
        if (end > position) return;
      }
    },
    found: () => found,
  };
}

function hasNonFinite(bytes: Buffer, { bytes: size, mask }: { bytes: 2 | 4; mask: number }): boolean {
  // A view needs an aligned beginning.
  const aligned = bytes.byteOffset % size === 0 ? bytes : Buffer.from(bytes);
  const source = aligned.byteOffset % size === 0 ? aligned : new Uint8Array(aligned);
  const values =
    size === 2
      ? new Uint16Array(source.buffer, source.byteOffset, source.length / 2)
      : new Uint32Array(source.buffer, source.byteOffset, source.length / 4);
  for (let index = 0; index < values.length; index++) if ((values[index]! & mask) === mask) return true;
  return false;
}
