/* place.h - a real engine for a target: a directory of its own, collections, blocking calls.
 *
 * Everything here checks: a place that fails is a finding.
 */
#ifndef OMEN_TESTS_FUZZ_PLACE_H
#define OMEN_TESTS_FUZZ_PLACE_H

#include <pthread.h>

#include "engine/engine.h"
#include "service/budget.h"
#include "service/search_run.h"

#define PLACE_DIM       4u
#define PLACE_DIR_BYTES 128u

/* A new directory, in memory where the machine has /dev/shm: the log syncs often. It is removed at
 * the end of the process if that ends in peace. */
void place_make_dir(char dir[PLACE_DIR_BYTES]);
void place_remove_dir(const char *dir);

/* The engine of this process, opened at the first call, closed at exit. */
omen_engine *place_engine(void);

/* A new, empty collection. Owns: release it. */
omen_collection *place_collection(const char *name, uint32_t dim, omen_metric metric);

/* What searches and gets take their memory from. All of it must have been given back at exit. */
struct omen_budget *place_budget(void);

/* Validates it, once everything is at rest. */
void place_validate(omen_collection *collection);

/* A stream whose events can be waited for. */
struct place_stream {
    omen_stream *stream;
    omen_write_mode mode;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    uint64_t events;
};

/* Opens and waits until the stream is opened. options->event is set.
 * Owns: s on OMEN_OK; release it with place_stream_close(). Fails: as omen_stream_open(). */
omen_code place_stream_open(struct place_stream *s, omen_collection *collection,
                            struct omen_stream_options *options, omen_error *err);
/* Waits until everything that was pushed is searchable, or the stream is dead. */
void place_stream_wait(struct place_stream *s, struct omen_stream_state *out);
void place_stream_close(struct place_stream *s);

struct place_errors {
    struct omen_item_error *items; /* yours, free() it */
    size_t count;
};
/* Pushes the chunk as the stream's next, whose seq is returned, and waits until it is searchable.
 * Takes: chunk. */
uint64_t place_push(struct place_stream *s, omen_chunk *chunk, struct place_errors *errors);

/* A collection of `points` seeded points, searchable, their ids from 0 on. */
omen_collection *place_filled(const char *name, uint32_t dim, omen_metric metric, uint32_t points);

/* Searches and waits; a refusal is checked, and so are the results. Releases the run. */
void place_search(struct omen_search_run *run, bool columns);

#endif
