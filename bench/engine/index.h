/* index.h - one collection of the engine, as a benchmark uses it: filled, searched, reopened.
 *
 * The only file beside its .c that knows the engine's calls: when they change, it changes here.
 */
#ifndef OMEN_BENCH_INDEX_H
#define OMEN_BENCH_INDEX_H

#include <stdint.h>

#include "bench/load/histogram.h"
#include "engine/engine.h"

#define OMEN_BENCH_DECILES   10u
#define OMEN_BENCH_CHUNK_MAX 500u /* rows */

struct omen_bench_index_options {
    const char *dir;
    struct omen_collection_settings settings; /* of a new collection; dim and metric of any */
    uint32_t ingest_threads;
    uint32_t search_threads;
    const char *simd; /* NULL: the CPU's highest */
};

struct omen_bench_index {
    struct omen_bench_index_options options;
    omen_engine *engine;
    omen_collection *collection;
};

/* Opens the directory, with whatever is in its log, and the collection; makes it if missing.
 *
 * Owns:    *index, release it with omen_bench_index_close(), on failure too.
 * Borrows: what `options` points to - until the close.
 * Fails:   as omen_engine_open() and omen_collection_create(). */
OMEN_CHECKED omen_code omen_bench_index_open(const struct omen_bench_index_options *options,
                                             struct omen_bench_index *index, omen_error *err);
/* A zeroed index is allowed. */
void omen_bench_index_close(struct omen_bench_index *index);

struct omen_bench_fill {
    double durable_seconds; /* from the first push to the last row's watermark */
    double searchable_seconds;
    double deciles[OMEN_BENCH_DECILES]; /* seconds until so many tenths were searchable */
    uint64_t refused;                   /* rows */
};

/* Streams rows in, in chunks of at most `chunk`, as the engine's back-pressure allows it, and
 * waits until all are searchable. Ids are row numbers.
 *
 * Fails: as omen_stream_open(), omen_stream_push(), and by the stream's own code. */
OMEN_CHECKED omen_code omen_bench_index_fill(struct omen_bench_index *index, const float *rows,
                                             uint64_t count, uint32_t chunk,
                                             struct omen_bench_fill *fill, omen_error *err);

/* What is asked; one search of at most OMEN_SEARCH_QUERIES_MAX queries is in flight at a time. */
struct omen_bench_asked {
    const float *queries;
    uint64_t count;
    uint32_t batch;
    uint32_t k;
    uint32_t ef; /* 0: the engine's default */
    bool exact;
};

/* Asks all queries once. `ids` is NULL or has room for count x k; missing hits are -1. Adds to
 * *visited (distances computed) and, a duration for each batch, to `latency`.
 *
 * Fails: as omen_search_submit(), and by the search's own code. */
OMEN_CHECKED omen_code omen_bench_index_search(struct omen_bench_index *index,
                                               const struct omen_bench_asked *asked, int64_t *ids,
                                               uint64_t *visited,
                                               struct omen_load_histogram *latency,
                                               omen_error *err);

#endif
