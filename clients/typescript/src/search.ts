// search.ts - searches in batches, with queries and answers as columns.
//
// Happy path: each request carries up to BATCH_QUERIES rows of floats; each answer holds, for each
// query, its ids and distances as runs of little-endian bytes. With the read token of the stream
// each answer sees what the stream wrote.
// Failure modes: a query that is refused has an error in its result, and no hits; a status of the
// server (the sentence names field, value and limit); an answer whose columns do not fit each other.
// UNAVAILABLE is tried again by gRPC itself (main.ts).
import {
  type QueryResult,
  type ReadToken,
  ResultLayout,
  type SearchRequest,
  type SearchResponse,
  type VectorServiceClient,
} from "./omendb/v1/vector.js";
import { nameOf } from "./ids.js";
import type { Matrix } from "./rows.js";

const BATCH_QUERIES = 256;

export interface Hit {
  id: string; // a number, or a key as it is
  distance: number;
}

/** The hits of every query, in the order of the queries. */
export async function search(
  client: VectorServiceClient,
  collection: string,
  queries: Matrix,
  options: { k: number; ef: number; exact: boolean },
  minRead: ReadToken | undefined,
): Promise<Hit[][]> {
  const found: Hit[][] = [];
  for (let from = 0; from < queries.rows; from += BATCH_QUERIES) {
    const to = Math.min(from + BATCH_QUERIES, queries.rows);
    const response = await call(client, {
      collection,
      queries: [],
      columns: { dim: queries.dim, vectorsF32Le: queries.slice(from, to) },
      options,
      layout: ResultLayout.RESULT_LAYOUT_COLUMNS,
      minRead,
    });
    if (response.results.length !== to - from) {
      throw new Error(`${response.results.length} results for ${to - from} queries`);
    }
    response.results.forEach(({ code, reason, message }, i) => {
      // The others have been answered.
      if (code !== 0) console.error(`query ${from + i}: ${reason}: ${message}`);
    });
    found.push(...response.results.map(decodeHits));
  }
  return found;
}

function call(client: VectorServiceClient, request: SearchRequest): Promise<SearchResponse> {
  return new Promise((resolve, reject) => {
    client.search(request, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

function decodeHits(result: QueryResult): Hit[] {
  const { idsLe, distancesLe, keys } = result;
  const count = idsLe.length / 8;
  const odd = keys.length > 0 && keys.length !== count;
  if (!Number.isInteger(count) || distancesLe.length !== 4 * count || odd) {
    throw new Error(
      `${idsLe.length} bytes of ids, ${distancesLe.length} of distances, ${keys.length} keys`,
    );
  }
  return Array.from({ length: count }, (_, i) => ({
    id: keys.length > 0 ? nameOf(keys[i]) : idsLe.readBigUInt64LE(8 * i).toString(),
    distance: distancesLe.readFloatLE(4 * i),
  }));
}
