/* search.h - asks, over some connections with some requests in flight, and times the answers. */
#ifndef OMEN_LOAD_SEARCH_H
#define OMEN_LOAD_SEARCH_H

#include <stdint.h>

#include "bench/load/histogram.h"
#include "bench/load/run.h"

struct omen_load_search_result {
    uint64_t requests; /* answered well */
    uint64_t queries;  /* in them */
    uint64_t hits;
    uint64_t visited;  /* points whose distance was computed */
    uint64_t failed;   /* requests */
    uint64_t not_sent; /* requests that were due and for which no slot came free in time */
    double seconds;    /* from the start until the last answer */
    char first_error[OMEN_ERROR_MAX];   /* empty: none */
    struct omen_load_histogram latency; /* from when the request was due (open loop) or sent */
    struct omen_load_histogram service; /* from when it was sent */
    struct omen_load_histogram late;    /* open loop: from due to sent */
};

typedef struct omen_load_searches omen_load_searches;

/* Starts one thread for each connection, with a rate two; run->gate counts the connections.
 *
 * Owns:    *out, end it with omen_load_search_end().
 * Borrows: run - until then.
 * Fails:   OMEN_RESOURCE_EXHAUSTED; no thread runs then. */
OMEN_CHECKED omen_code omen_load_search_start(struct omen_load_run *run, omen_load_searches **out,
                                              omen_error *err);

/* Waits until all have been answered, fills *result and frees. `searches` may be NULL. Fails with
 * the first thing that went wrong; the figures of what went well are there nevertheless. */
OMEN_CHECKED omen_code omen_load_search_end(omen_load_searches *searches,
                                            struct omen_load_search_result *result,
                                            omen_error *err);

#endif
