/**
 * Memory that blocks of lines are read into, and with it the two loops that touch every byte of a row: as WebAssembly, which takes
 * sixteen bytes at a time, as JavaScript cannot.
 */
import { BLOCK_MEMORY_WASM } from './blockMemory.wasm.js';

export interface BlockMemory {
  /** 8 MiB and 64 KiB. Only pages that were written to take memory. */
  buffer: Buffer;
  words: DataView;
  /**
   * The first index at or after `index` whose byte may end a run of plain text: a quote, a backslash, a control character, or one that
   * is not ASCII. There must be one, and sixteen bytes after it.
   */
  plainEnd: (index: number) => number;
  /** The hash of bytes `from` to `to` (excluded), as `hashBytes` has it, is in `hashed` afterwards. */
  hash: (from: number, to: number) => void;
  hashed: Uint32Array;
}

/** TypeScript has the types of it among those of browsers only. */
interface WebAssembly {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object) => { exports: Pick<BlockMemory, 'plainEnd' | 'hash'> & { memory: { buffer: ArrayBuffer } } };
}
const { Module, Instance } = (globalThis as unknown as { WebAssembly: WebAssembly }).WebAssembly;

const compiled = new Module(Buffer.from(BLOCK_MEMORY_WASM, 'base64'));
const free: BlockMemory[] = [];

/** For one reader at a time, who gives it back. What the one before read may still be there. */
export function takeBlockMemory(): BlockMemory {
  return free.pop() ?? makeBlockMemory();
}

export function giveBack(memory: BlockMemory): void {
  free.push(memory);
}

function makeBlockMemory(): BlockMemory {
  const { memory, plainEnd, hash } = new Instance(compiled).exports;
  const { buffer } = memory;
  const hashed = new Uint32Array(buffer, buffer.byteLength - 8);
  return { buffer: Buffer.from(buffer), words: new DataView(buffer), plainEnd, hash, hashed };
}
