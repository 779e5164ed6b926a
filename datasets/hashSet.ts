/** A set of 64-bit hashes in two flat arrays: 11 to 23 bytes a hash, where a `Set` of numbers or strings takes 40 to 100. */
export class HashSet {
  private slots = new Uint32Array(2 * 1024);
  size = 0;

  /** Adds the hashes, two words each at every `stride` words. Returns where in `hashes` those are that were there already, or came twice. */
  addAll(hashes: Uint32Array, stride: number): number[] {
    const repeated: number[] = [];
    for (let index = 0; index < hashes.length; index += stride) {
      if (this.size * 4 >= (this.slots.length / 2) * 3) this.grow();
      // Zero marks a free slot, so a hash of all zeros counts as another.
      const first = hashes[index]! | (hashes[index + 1] === 0 ? 1 : 0);
      if (!insert(this.slots, first >>> 0, hashes[index + 1]!)) repeated.push(index);
      else this.size++;
    }
    return repeated;
  }

  private grow(): void {
    const larger = new Uint32Array(this.slots.length * 2);
    for (let slot = 0; slot < this.slots.length; slot += 2) {
      if (this.slots[slot] !== 0 || this.slots[slot + 1] !== 0) insert(larger, this.slots[slot]!, this.slots[slot + 1]!);
    }
    this.slots = larger;
  }
}

/** Open addressing over a power of two of slots. False when the hash is there. */
function insert(slots: Uint32Array, first: number, second: number): boolean {
  const mask = slots.length - 2;
  for (let slot = (first << 1) & mask; ; slot = (slot + 2) & mask) {
    if (slots[slot] === 0 && slots[slot + 1] === 0) {
      slots[slot] = first;
      slots[slot + 1] = second;
      return true;
    }
    if (slots[slot] === first && slots[slot + 1] === second) return false;
  }
}
