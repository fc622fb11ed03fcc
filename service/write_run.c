/* write_run.c - see write_run.h.
 *
 * Events of the stream come on engine threads, where a stream cannot be closed and should not be
 * worked on; they only see to it that a worker runs advance(). It runs once at a time: an event
 * that comes while it runs makes it go round again.
 *
 * Failure modes: a stream that dies, or a chunk that is refused, ends the run with that fault; what
 * was pushed before stays, and writing it again is harmless in mode UPSERT.
 */
#include "service/write_run.h"

#include <stdlib.h>
#include <string.h>

#include "service/workers.h"

static void advance(void *user);

/* A job, unless there is one: under the lock, so that the worker cannot be done with the run before
 * this returns. */
static void wake(struct omen_write_run *run)
{
    bool idle = false;

    (void)pthread_mutex_lock(&run->lock);
    idle = !run->running;
    run->running = true;
    run->again = true;
    if (idle) run->running = omen_workers_submit(run->workers, advance, run);
    (void)pthread_mutex_unlock(&run->lock);
}

static void on_engine_event(void *user)
{
    wake(user);
}

omen_code omen_write_run_open(struct omen_write_run *run, omen_engine *engine, const char *name,
                              omen_write_mode mode)
{
    struct omen_stream_options options = {
        .mode = mode, .sessionless = true, .event = on_engine_event, .event_user = run};
    struct omen_collection_info info;

    (void)pthread_mutex_init(&run->lock, NULL);
    run->running = true; /* events before the start have nobody to wake */
    omen_code code = omen_collection_acquire(engine, name, &run->collection, &run->fault.error);
    if (code == OMEN_OK) {
        omen_collection_get_info(run->collection, &info);
        memcpy(run->incarnation, info.incarnation, sizeof run->incarnation);
        run->target.dim = info.settings.dim;
        code = omen_stream_open(run->collection, &options, &run->target.stream, &run->fault.error);
    }
    run->fault.code = code;
    return code;
}

void omen_write_run_start(struct omen_write_run *run)
{
    (void)pthread_mutex_lock(&run->lock);
    run->running = false;
    (void)pthread_mutex_unlock(&run->lock);
    wake(run);
}

void omen_write_run_deinit(struct omen_write_run *run)
{
    for (uint32_t i = run->pushed; i < run->chunk_count; i++)
        omen_chunk_destroy(run->chunks[i]);
    omen_stream_close(run->target.stream); /* after this no event comes */
    omen_collection_release(run->collection);
    free(run->errors);
    (void)pthread_mutex_destroy(&run->lock);
}

/* ---- on a worker -------------------------------------------------------------------------- */

/* Does what can be done now; true when there is nothing more to wait for. */
static bool step(struct omen_write_run *run)
{
    struct omen_fault *fault = &run->fault;
    struct omen_stream_state state;

    for (;;) {
        omen_stream_poll(run->target.stream, &state);
        if (state.code != OMEN_OK) {
            fault->code = state.code;
            fault->error = state.error;
            return true;
        }
        if (!state.opened || !state.room || run->pushed == run->chunk_count) break;
        omen_chunk *chunk = run->chunks[run->pushed++];
        fault->code = omen_stream_push(run->target.stream, run->pushed, chunk, &fault->error);
        if (fault->code != OMEN_OK) return true;
    }
    run->log_position = state.log_position;
    return run->pushed == run->chunk_count &&
           (run->wait_durable ? state.durable_seq : state.searchable_seq) >= run->chunk_count;
}

static void take_errors(struct omen_write_run *run)
{
    uint64_t complete_seq = 0;

    run->errors = malloc(run->items * sizeof *run->errors);
    if (run->errors == NULL) {
        (void)omen_fault_set(&run->fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                             "no memory for the item errors; what fits is written");
        return;
    }
    run->error_count =
        omen_stream_take_errors(run->target.stream, run->errors, run->items, &complete_seq);
}

static void advance(void *user)
{
    struct omen_write_run *run = user;
    bool again = true;

    while (again) {
        (void)pthread_mutex_lock(&run->lock);
        run->again = false;
        (void)pthread_mutex_unlock(&run->lock);
        if (step(run)) {
            if (run->fault.code == OMEN_OK) take_errors(run);
            run->done(run);
            return;
        }
        (void)pthread_mutex_lock(&run->lock);
        again = run->again;
        run->running = again;
        (void)pthread_mutex_unlock(&run->lock);
    }
}
