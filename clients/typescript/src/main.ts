// main.ts - creates a collection, streams rows in, searches them in batches, prints the answers;
// or, with a word for it, writes, deletes or gets single points.
//
// Happy path: "id distance" pairs, one line for each query, on the standard output; progress and
// counts on the standard error; exit status 0.
// Failure modes: one sentence on the standard error and exit status 1. A collection that exists is
// used as it is; rows that it has already are refused one by one, and counted.
import { parseArgs } from "node:util";
import { type ChannelOptions, credentials, Metadata, status } from "@grpc/grpc-js";
import { IdMaker, parseIds } from "./ids.js";
import { Insertion } from "./insert.js";
import { CollectionServiceClient, type CollectionConfig, Metric } from "./omendb/v1/collection.js";
import { VectorServiceClient, WriteMode } from "./omendb/v1/vector.js";
import { get, remove, upsert } from "./points.js";
import { Matrix, randomRows, readRows } from "./rows.js";
import { type Hit, search } from "./search.js";

const CALL_TIMEOUT_MS = 30_000;

// round_robin matters where the target is dns:///NAME of a headless service: without it one channel
// stays with one address. Unary calls may be tried again; streams are resumed by insert.ts.
const SERVICE_CONFIG = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [
    {
      name: ["Search", "Get", "Delete"].map((method) => ({
        service: "omendb.v1.VectorService", method,
      })),
      retryPolicy: {
        maxAttempts: 4,
        initialBackoff: "0.1s",
        maxBackoff: "2s",
        backoffMultiplier: 2,
        retryableStatusCodes: ["UNAVAILABLE"],
      },
    },
  ],
};

const CHANNEL_OPTIONS: ChannelOptions = {
  "grpc.service_config": JSON.stringify(SERVICE_CONFIG),
  "grpc.max_receive_message_length": 16 << 20, // 1,024 queries with 1,024 hits each are 12 MiB
  // The server accepts a ping every 10 s; a lost peer is noticed after 40 s.
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2_000,
};

interface How {
  mode: WriteMode;
  ttlS: number;
}

const MODES: Record<string, WriteMode> = {
  insert: WriteMode.WRITE_MODE_INSERT_ONLY,
  upsert: WriteMode.WRITE_MODE_UPSERT,
  update: WriteMode.WRITE_MODE_UPDATE_ONLY,
};

const { values: flags, positionals } = parseArgs({
  allowPositionals: true, // upsert, delete or get
  options: {
    target: { type: "string", default: "localhost:7420" },
    collection: { type: "string", default: "from-typescript" },
    vectors: { type: "string", default: "" }, // a file of little-endian f32 rows
    queries: { type: "string", default: "" }, // another; without it, the first 10 rows
    rows: { type: "string", default: "10000" }, // how many random ones, without a file
    dim: { type: "string", default: "128" },
    k: { type: "string", default: "10" },
    ef: { type: "string", default: "100" },
    "first-id": { type: "string", default: "0" }, // the next row has the next number
    mode: { type: "string", default: "insert" }, // of an id that exists: insert, upsert, update
    keys: { type: "string", default: "" }, // the ids are keys: this and the number
    ttl: { type: "string", default: "0" }, // seconds until the rows expire; 0: never
    ids: { type: "string", default: "" }, // of upsert, delete and get, with commas
    seed: { type: "string", default: "7" },
  },
});

function load(dim: number): { rows: Matrix; queries: Matrix } {
  if (!Number.isInteger(dim) || dim < 1) {
    throw new Error(`dim is ${flags.dim}, it must be a whole number from 1`);
  }
  const rows = flags.vectors
    ? readRows(flags.vectors, dim)
    : randomRows(Number(flags.rows), dim, Number(flags.seed));
  const queries = flags.queries
    ? readRows(flags.queries, dim)
    : new Matrix(dim, rows.slice(0, Math.min(10, rows.rows)));
  return { rows, queries };
}

function create(client: CollectionServiceClient, name: string, dim: number): Promise<void> {
  // A zero means the default, which proto/omendb/v1/collection.proto gives.
  const config: CollectionConfig = {
    dim, metric: Metric.METRIC_COSINE, links: 0, candidates: 0, probes: 0, epochPoints: 0,
    checkpointBytes: 0, targetRecall: 0, originals: 0,
  };
  return new Promise((resolve, reject) => {
    const deadline = Date.now() + CALL_TIMEOUT_MS;
    client.createCollection({ name, config }, new Metadata(), { deadline }, (error) => {
      if (error && error.code !== status.ALREADY_EXISTS) reject(error);
      else resolve();
    });
  });
}

function report(insertion: Insertion, rows: number, found: Hit[][]): void {
  const lines = found.map((hits) =>
    hits.map(({ id, distance }) => `${id} ${distance.toFixed(6)}`).join(" "),
  );
  process.stdout.write(lines.map((line) => `${line}\n`).join(""));
  const { refused, reconnects, resent, drains } = insertion;
  console.error(
    `inserted ${rows - refused.size} refused ${refused.size}` +
      ` reconnects ${reconnects} resent ${resent} drains ${drains}`,
  );
  if (insertion.forgotten) console.error("more may have been refused: the server forgot which");
  const [first] = refused.values();
  if (first) console.error(`one that was refused: ${first.reason}: ${first.message}`);
}

async function stream(vectors: VectorServiceClient, how: How): Promise<void> {
  const { rows, queries } = load(Number(flags.dim));
  const collections = new CollectionServiceClient(
    flags.target, credentials.createInsecure(), CHANNEL_OPTIONS,
  );
  try {
    await create(collections, flags.collection, rows.dim);
  } finally {
    collections.close();
  }
  const ids = new IdMaker(flags.keys, BigInt(flags["first-id"]));
  const insertion = new Insertion(vectors, flags.collection, rows, ids, how);
  await insertion.run();
  const options = { k: Number(flags.k), ef: Number(flags.ef), exact: false };
  const found = await search(vectors, flags.collection, queries, options, insertion.token);
  report(insertion, rows.rows, found);
}

/** One of the calls without a stream. */
async function single(vectors: VectorServiceClient, what: string, how: How): Promise<void> {
  const ids = parseIds(flags.ids);
  if (what === "upsert") {
    const rows = readRows(flags.vectors, Number(flags.dim));
    await upsert(vectors, flags.collection, rows, ids, how);
  } else if (what === "delete") {
    await remove(vectors, flags.collection, ids);
  } else if (what === "get") {
    const lines = await get(vectors, flags.collection, ids);
    process.stdout.write(lines.map((line) => `${line}\n`).join(""));
  } else {
    throw new Error(`"${what}" is none of upsert, delete, get`);
  }
}

async function main(): Promise<void> {
  const mode = MODES[flags.mode];
  if (mode === undefined) {
    throw new Error(`mode is "${flags.mode}", it must be insert, upsert or update`);
  }
  const how = { mode, ttlS: Number(flags.ttl) };
  const vectors = new VectorServiceClient(
    flags.target, credentials.createInsecure(), CHANNEL_OPTIONS,
  );
  try {
    const [what] = positionals;
    await (what === undefined ? stream(vectors, how) : single(vectors, what, how));
  } finally {
    vectors.close();
  }
}

main().catch((error: unknown) => {
  console.error(`failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});
