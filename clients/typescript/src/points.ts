// points.ts - single points without a stream: upsert, delete, get.
//
// Happy path: one request each. A write's answer comes when searches see it, and has a read token.
// Failure modes: points that are refused are item errors in the answer, the others are written; an
// id that is not there is no error of a delete. Get and Delete are tried again by gRPC itself
// (main.ts).
import { Metadata, type ServiceError } from "@grpc/grpc-js";
import { nameOf } from "./ids.js";
import {
  type GetResponse,
  type ItemError,
  type Point,
  type PointId,
  type ReadToken,
  type VectorServiceClient,
  WaitFor,
  type WriteMode,
} from "./omendb/v1/vector.js";
import type { Matrix } from "./rows.js";

const CALL_TIMEOUT_MS = 30_000;

type Answer<T> = (error: ServiceError | null, response: T) => void;

function answered<T>(start: (deadline: { deadline: number }, answer: Answer<T>) => void) {
  return new Promise<T>((resolve, reject) => {
    start({ deadline: Date.now() + CALL_TIMEOUT_MS }, (error, response) =>
      error ? reject(error) : resolve(response),
    );
  });
}

/** Rows [from, to) as single points, whose ids may be keys. */
export function pointsOf(
  rows: Matrix,
  ids: (row: number) => PointId,
  from: number,
  to: number,
  ttlS: number,
): Point[] {
  return Array.from({ length: to - from }, (_, i) => ({
    id: ids(from + i),
    vector: { data: { $case: "f32Le", value: rows.slice(from + i, from + i + 1) } },
    ttlS,
  }));
}

/** Writes the rows under the ids, one for each. */
export async function upsert(
  client: VectorServiceClient,
  collection: string,
  rows: Matrix,
  ids: PointId[],
  how: { mode: WriteMode; ttlS: number },
): Promise<void> {
  if (ids.length !== rows.rows) throw new Error(`${ids.length} ids for ${rows.rows} rows`);
  const points = pointsOf(rows, (row) => ids[row] as PointId, 0, rows.rows, how.ttlS);
  const { errors, token } = await answered<{ errors: ItemError[]; token?: ReadToken | undefined }>(
    (options, answer) =>
      client.upsert(
        {
          collection, mode: how.mode, points, columns: undefined,
          waitFor: WaitFor.WAIT_FOR_SEARCHABLE,
        },
        new Metadata(), options, answer,
      ),
  );
  tell("written", ids.length, errors, token);
}

export async function remove(
  client: VectorServiceClient,
  collection: string,
  ids: PointId[],
): Promise<void> {
  const { errors, token } = await answered<{ errors: ItemError[]; token?: ReadToken | undefined }>(
    (options, answer) =>
      client.delete(
        { collection, ids, waitFor: WaitFor.WAIT_FOR_SEARCHABLE }, new Metadata(), options, answer,
      ),
  );
  tell("deleted", ids.length, errors, token);
}

/** A line for each id: "id missing" or "id expires component component ...". */
export async function get(
  client: VectorServiceClient,
  collection: string,
  ids: PointId[],
): Promise<string[]> {
  const { results } = await answered<GetResponse>((options, answer) =>
    client.get({ collection, ids, withoutVectors: false }, new Metadata(), options, answer),
  );
  return results.map(({ id, found, f32Le, expiresUnixS }) => {
    if (!found) return `${nameOf(id)} missing`;
    const values = Array.from({ length: f32Le.length / 4 }, (_, i) => f32Le.readFloatLE(4 * i));
    return [nameOf(id), expiresUnixS, ...values].join(" ");
  });
}

function tell(what: string, count: number, errors: ItemError[], token?: ReadToken): void {
  console.error(
    `${what} ${count - errors.length} refused ${errors.length} position ${token?.logPosition}`,
  );
  for (const { id, reason, message } of errors) {
    console.error(`${nameOf(id)}: ${reason}: ${message}`);
  }
}
