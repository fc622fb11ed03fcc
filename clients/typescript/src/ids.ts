// ids.ts - the two kinds of ids: numbers, and keys of 1 to 64 bytes.
//
// 7 and "7" are two ids. Here, what reads as a number is one, and everything else is a key.
import type { PointId } from "./omendb/v1/vector.js";

const NUMBER = /^[0-9]+$/;
const ID_MAX = (1n << 64n) - 1n;
const DIGITS_MAX = 20; // of 2^64

/** Names rows: by numbers from `first` on or, with a prefix, by keys made of it and the number. */
export class IdMaker {
  constructor(
    private readonly prefix: string,
    private readonly first: bigint,
  ) {}

  get numbers(): boolean {
    return this.prefix === "";
  }

  get keyBytesMax(): number {
    return this.numbers ? 0 : Buffer.byteLength(this.prefix) + DIGITS_MAX;
  }

  num(row: number): bigint {
    return this.first + BigInt(row);
  }

  id(row: number): PointId {
    if (this.numbers) return { kind: { $case: "num", value: this.num(row) } };
    return { kind: { $case: "key", value: Buffer.from(`${this.prefix}${this.num(row)}`) } };
  }
}

export function parseIds(list: string): PointId[] {
  return list.split(",").map((word) => {
    if (word === "") throw new Error(`ids is "${list}", it must be ids with commas between them`);
    if (NUMBER.test(word) && BigInt(word) <= ID_MAX) {
      return { kind: { $case: "num", value: BigInt(word) } };
    }
    return { kind: { $case: "key", value: Buffer.from(word) } };
  });
}

export function nameOf(id: PointId | undefined): string {
  return id?.kind === undefined ? "" : id.kind.value.toString();
}
