/* run.h - what the threads of one run share: the options, the vectors, the start and the end. */
#ifndef OMEN_LOAD_RUN_H
#define OMEN_LOAD_RUN_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "bench/load/options.h"
#include "bench/load/rows.h"

struct omen_load_run {
    /* Fixed before the threads start. */
    const struct omen_load_options *options;
    const struct omen_load_rows *rows;    /* to insert */
    const struct omen_load_rows *queries; /* to search with */

    /* Every thread and main() meet here twice: when all are connected, and when `begin` is set. */
    pthread_barrier_t gate;

    /* Written by main() between the two meetings. */
    int64_t begin; /* when the load starts: of omen_load_clock_now() */

    /* Any thread. */
    atomic_bool failed;    /* a connection or stream could not be opened: nobody starts */
    atomic_uint ingesting; /* connections whose streams have not all ended */
    atomic_uint_fast64_t next_chunk;
    atomic_uint_fast64_t next_request;
};

/* Meets the others twice; false: do not start. `ready` says how this thread did. */
static inline bool omen_load_run_enter(struct omen_load_run *run, bool ready)
{
    if (!ready) atomic_store(&run->failed, true);
    (void)pthread_barrier_wait(&run->gate);
    (void)pthread_barrier_wait(&run->gate);
    return !atomic_load(&run->failed);
}

#endif
