// main.ts - creates a collection, streams rows in, searches them in batches, prints the answers.
//
// Happy path: "id distance" pairs, one line for each query, on the standard output; progress and
// counts on the standard error; exit status 0.
// Failure modes: one sentence on the standard error and exit status 1. A collection that exists is
// used as it is; rows that it has already are refused one by one, and counted.
import { parseArgs } from "node:util";
import { type ChannelOptions, credentials, Metadata, status } from "@grpc/grpc-js";
import { Insertion } from "./insert.js";
import { CollectionServiceClient, type CollectionConfig, Metric } from "./omendb/v1/collection.js";
import { VectorServiceClient } from "./omendb/v1/vector.js";
import { Matrix, randomRows, readRows } from "./rows.js";
import { type Hit, search } from "./search.js";

const CALL_TIMEOUT_MS = 30_000;

// round_robin matters where the target is dns:///NAME of a headless service: without it one channel
// stays with one address. Unary calls may be tried again; streams are resumed by insert.ts.
const SERVICE_CONFIG = {
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [
    {
      name: [{ service: "omendb.v1.VectorService", method: "Search" }],
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

const { values: flags } = parseArgs({
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
  const { refused, reconnects, resent } = insertion;
  console.error(
    `inserted ${rows - refused.size} refused ${refused.size}` +
      ` reconnects ${reconnects} resent ${resent}`,
  );
  const [first] = refused.values();
  if (first) console.error(`one that was refused: ${first.reason}: ${first.message}`);
}

async function main(): Promise<void> {
  const { rows, queries } = load(Number(flags.dim));
  const vectors = new VectorServiceClient(
    flags.target, credentials.createInsecure(), CHANNEL_OPTIONS,
  );
  const collections = new CollectionServiceClient(
    flags.target, credentials.createInsecure(), CHANNEL_OPTIONS,
  );
  try {
    await create(collections, flags.collection, rows.dim);
    const firstId = BigInt(flags["first-id"]);
    const insertion = new Insertion(vectors, flags.collection, rows, firstId);
    await insertion.run();
    const found = await search(
      vectors, flags.collection, queries, Number(flags.k), Number(flags.ef),
    );
    report(insertion, rows.rows, found);
  } finally {
    vectors.close();
    collections.close();
  }
}

main().catch((error: unknown) => {
  console.error(`failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});
