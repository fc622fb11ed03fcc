// insert.ts - streams rows in: one session, a window of unacknowledged chunks, and its resumption.
//
// Happy path: chunks with sequence numbers 1, 2, 3, ... go out for as long as what is not durable
// yet fits the window; each acknowledgement moves the window. After the half-close the server ends
// the stream with OK once everything is searchable.
//
// Failure modes:
// - UNAVAILABLE (a server that restarts) or a broken connection: the session is opened again with
//   the same id, and the server says which chunk it wants next. What it has already it drops, so
//   nothing is lost or doubled. The program gives up when nothing became durable for a minute.
// - Drain: the server takes no more chunks of this call. Nothing is sent until it has ended it;
//   then the session is opened again, after the time that the server told.
// - A point is refused: an item error; the other points of its chunk go in. Open says up to which
//   chunk they are known, so that the server tells again what a broken connection swallowed.
// - Any other status (INCARNATION_CHANGED: the collection was deleted and made again meanwhile): an
//   error.
//
// The rows are in memory, so a chunk that must be sent again is cut again. A program whose rows
// come from elsewhere keeps the chunks above the durable watermark instead.
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type ClientDuplexStream, type ServiceError, status } from "@grpc/grpc-js";
import {
  type Ack,
  type Chunk,
  type InsertRequest,
  type InsertResponse,
  type ItemError,
  type Opened,
  type ReadToken,
  type VectorServiceClient,
  type WriteMode,
} from "./omendb/v1/vector.js";
import type { IdMaker } from "./ids.js";
import { pointsOf } from "./points.js";
import type { Matrix } from "./rows.js";

const BACKOFF_FIRST_MS = 100;
const BACKOFF_MAX_MS = 5_000;
const PATIENCE_MS = 60_000;
const WINDOW_BYTES = 8 << 20; // less than the server's credit: this much is sent again after a cut
const CHUNK_OVERHEAD = 1024; // of a record of the log, beside its points
const POINT_OVERHEAD = 16; // of a point, beside its floats and its key

class Unavailable extends Error {}

/** One call of Insert; a session lives through several. */
interface Call {
  window: number; // no more than the server grants, and than we want to send again
  drainedMs: number | undefined; // the server takes no more; when to come back
}

// A broken connection shows as one of these too ("write after end"), but then without the details
// that every status of the server's own carries.
const TRANSPORT_CODES = [status.INTERNAL, status.UNKNOWN, status.CANCELLED];

function errorOf(cause: Error): Error {
  const { code, metadata } = cause as Partial<ServiceError>;
  if (code === undefined) return cause;
  const told = (metadata?.get("grpc-status-details-bin") ?? []).length > 0;
  const broken = code === status.UNAVAILABLE || (TRANSPORT_CODES.includes(code) && !told);
  return broken ? new Unavailable(cause.message) : cause;
}

export class Insertion {
  readonly refused = new Map<string, ItemError>(); // may be told again after a resume
  reconnects = 0;
  resent = 0;
  drains = 0;
  forgotten = false; // the server could not tell some item errors again

  private readonly sessionId = randomBytes(16);
  // Fixed by the first Opened; every attempt cuts the same chunks.
  private incarnation: Buffer | undefined;
  private chunkRows = 0;
  private last = 0;
  // Watermarks of the session never go back.
  private durable = 0;
  private searchable = 0;
  private sent = 0; // the highest sequence number sent, ever
  private movedAt = Date.now();
  private errorsSeen = 0; // item errors up to here are known
  private position = 0n; // of the last durable chunk in the log

  constructor(
    private readonly client: VectorServiceClient,
    private readonly collection: string,
    private readonly rows: Matrix,
    private readonly ids: IdMaker,
    private readonly how: { mode: WriteMode; ttlS: number },
  ) {}

  /** With it a search sees what the stream wrote. */
  get token(): ReadToken | undefined {
    if (this.incarnation === undefined) return undefined;
    return { incarnation: this.incarnation, logPosition: this.position };
  }

  /** Resolves once everything is searchable. */
  async run(): Promise<void> {
    let backoff = BACKOFF_FIRST_MS;
    for (;;) {
      const before = this.durable;
      const call: Call = { window: 0, drainedMs: undefined };
      let wait = backoff * (0.8 + 0.4 * Math.random());
      try {
        return await this.attempt(call);
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error;
        if (call.drainedMs !== undefined) {
          this.drains++;
          wait = call.drainedMs * (1 + 0.2 * Math.random()); // not earlier, and not all at once
          backoff = BACKOFF_FIRST_MS / 2;
        } else if (this.durable > before) {
          backoff = BACKOFF_FIRST_MS;
        } else if (Date.now() - this.movedAt > PATIENCE_MS) {
          throw new Error(`nothing became durable for ${PATIENCE_MS} ms: ${error.message}`);
        }
        console.error(`reconnecting: ${error.message}`);
      }
      this.reconnects++;
      await sleep(wait);
      backoff = Math.min(2 * backoff, BACKOFF_MAX_MS);
    }
  }

  /** One call of Insert; resolves when the server said that everything is searchable. */
  private attempt(call: Call): Promise<void> {
    const stream = this.client.insert();
    let next = 0; // the chunk that goes out next; 0: the stream is not open yet

    return new Promise((resolve, reject) => {
      stream.on("error", (error) => reject(errorOf(error)));
      stream.on("data", ({ body }: InsertResponse) => {
        try {
          if (body?.$case === "opened") {
            next = this.takeOpened(body.value);
            call.window = Math.min(WINDOW_BYTES, body.value.creditBytes);
          } else if (body?.$case === "ack") {
            this.takeAck(body.value);
            call.window = Math.min(WINDOW_BYTES, body.value.creditBytes);
          } else if (body?.$case === "drain") {
            call.drainedMs = body.value.retryAfterMs;
          }
          if (next > 0 && call.drainedMs === undefined) {
            next = this.send(stream, next, call.window);
          }
        } catch (error) {
          reject(error); // before the cancellation's own status
          stream.cancel();
        }
      });
      // "end" comes after the last message, "status" maybe before it; an error has no "end".
      let over = 0;
      const settle = (): void => {
        if (++over < 2) return;
        if (next > 0 && this.durable === this.last) resolve();
        else reject(new Unavailable("the stream ended before everything was durable"));
      };
      stream.on("end", settle);
      stream.on("status", ({ code }) => {
        if (code === status.OK) settle();
      });
      stream.write({
        body: {
          $case: "open",
          value: {
            collection: this.collection,
            sessionId: this.sessionId,
            mode: this.how.mode,
            clientName: "omendb typescript program",
            errorsSeenSeq: BigInt(this.errorsSeen),
            incarnation: this.incarnation ?? Buffer.alloc(0),
          },
        },
      });
    });
  }

  private takeAck(ack: Ack): void {
    for (const item of ack.errors) this.refused.set(`${item.seq} ${item.index}`, item);
    this.errorsSeen = Math.max(this.errorsSeen, Number(ack.errorsCompleteSeq));
    this.position = ack.logPosition;
    this.advance(Number(ack.durableSeq), Number(ack.searchableSeq));
    console.error(`durable ${this.durable} searchable ${this.searchable} of ${this.last} chunks`);
  }

  /** Returns the sequence number that the server wants next. */
  private takeOpened(opened: Opened): number {
    if (opened.dim !== this.rows.dim) {
      throw new Error(`the collection has ${opened.dim} components, the rows ${this.rows.dim}`);
    }
    if (this.incarnation === undefined) {
      this.incarnation = opened.incarnation;
      const bytesOfPoint = 4 * this.rows.dim + POINT_OVERHEAD + this.ids.keyBytesMax;
      this.chunkRows = Math.floor((opened.maxChunkBytes - CHUNK_OVERHEAD) / bytesOfPoint);
      this.last = Math.ceil(this.rows.rows / this.chunkRows);
    } else if (!this.incarnation.equals(opened.incarnation)) {
      throw new Error(`collection ${this.collection} was deleted and made again meanwhile`);
    }
    const next = Number(opened.nextSeq); // chunks of a session: far below 2^53
    if (next <= this.durable || next > this.sent + 1) {
      throw new Error(
        `the server wants chunk ${next}; up to ${this.durable} were durable and ${this.sent} sent`,
      );
    }
    if (Number(opened.errorsFromSeq) > this.errorsSeen + 1) this.forgotten = true;
    this.advance(next - 1, 0);
    return next;
  }

  /** Sends what the window has room for, and half-closes after the last; returns what is next. */
  private send(
    stream: ClientDuplexStream<InsertRequest, InsertResponse>,
    from: number,
    window: number,
  ): number {
    const bytesOfChunk = this.chunkRows * 4 * this.rows.dim;
    let next = from;
    for (; next <= this.last; next++) {
      const alone = next === this.durable + 1;
      if (!alone && (next - this.durable) * bytesOfChunk > window) return next;
      if (next <= this.sent) this.resent++;
      else this.sent = next;
      stream.write(this.chunk(next));
    }
    if (next === this.last + 1) {
      stream.end();
      next++; // once only
    }
    return next;
  }

  private chunk(seq: number): InsertRequest {
    const from = (seq - 1) * this.chunkRows;
    const to = Math.min(from + this.chunkRows, this.rows.rows);
    const { dim } = this.rows;
    const { ttlS } = this.how;
    const value: Chunk = { seq: BigInt(seq), points: [], columns: undefined, deletes: [] };
    if (this.ids.numbers) {
      // The fast way: two runs of bytes.
      const ids = Array.from({ length: to - from }, (_, i) => this.ids.num(from + i));
      value.columns = { dim, ids, vectorsF32Le: this.rows.slice(from, to), ttlS };
    } else {
      value.points = pointsOf(this.rows, (row) => this.ids.id(row), from, to, ttlS);
    }
    return { body: { $case: "chunk", value } };
  }

  private advance(durable: number, searchable: number): void {
    if (durable > this.durable) {
      this.durable = durable;
      this.movedAt = Date.now();
    }
    this.searchable = Math.max(this.searchable, searchable);
  }
}
