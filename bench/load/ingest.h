/* ingest.h - streams rows in, over some connections with some streams each. */
#ifndef OMEN_LOAD_INGEST_H
#define OMEN_LOAD_INGEST_H

#include <stdint.h>

#include "bench/load/histogram.h"
#include "bench/load/run.h"

#define OMEN_LOAD_DECILES 10u

/* What became of the rows, as the client sees it. */
struct omen_load_level {
    uint64_t rows;                      /* that reached it, refused ones too */
    double seconds;                     /* from the first send until the last row */
    double per_second;                  /* without refused rows */
    double deciles[OMEN_LOAD_DECILES];  /* rows/s of each tenth of the rows */
    struct omen_load_histogram latency; /* of chunks: from the (intended) send to the ack */
};

struct omen_load_ingest_result {
    uint64_t rows_sent;
    uint64_t chunks;
    uint64_t chunk_points;
    uint64_t window_bytes; /* of each stream */
    uint64_t errors;       /* item errors: rows that were refused */
    uint64_t broken_streams;
    char first_error[OMEN_ERROR_MAX]; /* of an item or a stream; empty: none */
    struct omen_load_level durable;
    struct omen_load_level searchable;
};

typedef struct omen_load_ingest omen_load_ingest;

/* Starts one thread for each connection; run->gate counts them.
 *
 * Owns:    *out, end it with omen_load_ingest_end().
 * Borrows: run - until then.
 * Fails:   OMEN_INVALID_ARGUMENT (a chunk does not fit a record), OMEN_RESOURCE_EXHAUSTED; no
 *          thread runs then. */
OMEN_CHECKED omen_code omen_load_ingest_start(struct omen_load_run *run, omen_load_ingest **out,
                                              omen_error *err);

/* Waits for the end of all streams, fills *result and frees. `ingest` may be NULL. Fails with the
 * first thing that went wrong; the figures of what went well are there nevertheless. */
OMEN_CHECKED omen_code omen_load_ingest_end(omen_load_ingest *ingest,
                                            struct omen_load_ingest_result *result,
                                            omen_error *err);

#endif
