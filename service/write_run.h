/* write_run.h - one request that writes, of either front end: a stream of the engine without a
 * session, some chunks, and what became of them.
 *
 * Open, decode chunks for run->target, start; then, in `done`, look at the results and deinit. A
 * request that is refused in between is deinited without a start.
 */
#ifndef OMEN_WRITE_RUN_H
#define OMEN_WRITE_RUN_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "service/decode.h"
#include "service/fault.h"

struct omen_workers;

struct omen_write_run {
    /* The caller's, before open. */
    struct omen_workers *workers;             /* there is always room for a job of the run */
    void (*done)(struct omen_write_run *run); /* on a worker; may free the run */
    void *user;

    /* Valid from open on. */
    omen_collection *collection; /* counted */
    struct omen_points_target target;
    uint8_t incarnation[OMEN_INCARNATION_BYTES];

    /* The caller's, before start. */
    omen_chunk **chunks; /* taken, each; the array stays the caller's */
    uint32_t chunk_count;
    uint32_t items; /* points and deletes of them all */
    bool wait_durable;

    /* The results. */
    struct omen_fault fault;
    uint64_t log_position;
    struct omen_item_error *errors; /* oldest first; seq is the chunk's number, from 1 */
    size_t error_count;

    /* write_run.c's */
    uint32_t pushed;
    pthread_mutex_t lock;
    bool running; /* a worker is at it, or will be */
    bool again;   /* something has changed since it looked */
};

/* Acquires the collection and opens the stream. `run` is zero but for the caller's fields.
 * Owns:  run, also after a failure; release it with omen_write_run_deinit().
 * Fails: OMEN_NOT_FOUND, and those of omen_stream_open(). */
OMEN_CHECKED omen_code omen_write_run_open(struct omen_write_run *run, omen_engine *engine,
                                           const char *name, omen_write_mode mode);

/* Pushes the chunks while there is room, waits until the last is as far as was asked, and calls
 * `done`. Any thread. */
void omen_write_run_start(struct omen_write_run *run);

/* Not while it runs. */
void omen_write_run_deinit(struct omen_write_run *run);

#endif
