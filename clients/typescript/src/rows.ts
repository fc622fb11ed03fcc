// rows.ts - the rows that the program sends, as the wire wants them: little-endian f32.
//
// Happy path: a file of such floats, row after row, or rows that a seed makes.
// Failure modes: a file that cannot be read, or that does not hold whole rows.
import { readFileSync } from "node:fs";

export class Matrix {
  readonly rows: number;

  constructor(
    readonly dim: number,
    private readonly bytes: Buffer,
  ) {
    this.rows = bytes.length / (4 * dim);
  }

  /** Rows [from, to), without copying them. */
  slice(from: number, to: number): Buffer {
    return this.bytes.subarray(from * 4 * this.dim, to * 4 * this.dim);
  }
}

export function readRows(path: string, dim: number): Matrix {
  const bytes = readFileSync(path);
  if (bytes.length === 0 || bytes.length % (4 * dim) !== 0) {
    throw new Error(
      `${path} has ${bytes.length} bytes, not a multiple of ${4 * dim}: rows of ${dim} floats`,
    );
  }
  return new Matrix(dim, bytes);
}

/** Uniform in -1..1 by xorshift32; good enough to look at, and the same on every machine. */
export function randomRows(count: number, dim: number, seed: number): Matrix {
  const bytes = Buffer.alloc(count * dim * 4);
  let state = seed >>> 0 || 1;
  for (let i = 0; i < count * dim; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes.writeFloatLE((state >>> 0) / 2 ** 31 - 1, 4 * i);
  }
  return new Matrix(dim, bytes);
}
