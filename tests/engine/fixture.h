/* fixture.h - what the engine's tests share: an engine in a directory of its own, blocking inserts
 * and searches, seeded data. Everything here asserts: a fixture that fails is a failed test.
 */
#ifndef OMEN_TESTS_ENGINE_FIXTURE_H
#define OMEN_TESTS_ENGINE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/engine.h"

struct fixture_engine {
    char dir[512];
    omen_engine *engine;
};

/* Of the engines that are opened from now on; 0 at first. */
extern uint32_t fixture_calibrate_seconds;

/* A new directory, an engine in it. threads, shards 0: the defaults. */
void fixture_open(struct fixture_engine *f, uint32_t threads, uint32_t shards);
/* Closes the engine and opens the directory again. */
void fixture_reopen(struct fixture_engine *f, uint32_t threads, uint32_t shards, const char *simd);
/* Closes the engine, and removes the directory. */
void fixture_close(struct fixture_engine *f);
/* A copy of the directory, which `to` opens. */
void fixture_copy(const struct fixture_engine *from, struct fixture_engine *to);

/* settings.dim and metric; the rest may be 0. Owns: release it. */
omen_collection *fixture_collection(struct fixture_engine *f, const char *name,
                                    struct omen_collection_settings settings);
omen_collection *fixture_acquire(struct fixture_engine *f, const char *name);

/* A stream that is opened. */
struct fixture_stream;
struct fixture_stream *fixture_stream_open(omen_collection *c, const uint8_t *session_id);
/* The same with options; their event is the fixture's. */
struct fixture_stream *fixture_stream_open_as(omen_collection *c,
                                              struct omen_stream_options options);
omen_stream *fixture_stream_get(struct fixture_stream *s);
/* A chunk to fill, and to push: asserts that it is taken. */
omen_chunk *fixture_chunk(struct fixture_stream *s, uint32_t points);
void fixture_push_chunk(struct fixture_stream *s, omen_chunk *chunk);
/* Adds a point. */
void fixture_chunk_add(omen_chunk *chunk, uint32_t index, struct omen_id id, const float *vector,
                       uint32_t dim, uint32_t ttl_s);
/* Pushes one chunk; asserts that it is taken. ids[i] belongs to vectors + i * dim. */
void fixture_push(struct fixture_stream *s, const uint64_t *ids, const float *vectors,
                  uint32_t count);
/* Waits until everything pushed is searchable, or the stream is dead. */
void fixture_wait(struct fixture_stream *s, struct omen_stream_state *out);
void fixture_stream_close(struct fixture_stream *s);

/* Streams rows first..first+count of `vectors` with their number as id, in chunks of `chunk`, and
 * waits until they are searchable. */
void fixture_insert(omen_collection *c, const float *vectors, uint32_t first, uint32_t count,
                    uint32_t chunk);

/* Validates; asserts that the collection is sound. */
void fixture_assert_sound(omen_collection *c);

/* For ef: compare with every point. */
#define FIXTURE_EXACT UINT32_MAX

/* A search that has ended. The caller calls omen_search_deinit() on it. */
void fixture_search(omen_collection *c, const float *queries, uint32_t count, uint32_t k,
                    uint32_t ef, struct omen_search *out);

/* Seeded numbers: splitmix64. */
uint64_t fixture_random(uint64_t *state);
float fixture_normal(uint64_t *state);

/* count x dim floats, to be freed: rows around `centres` seeded centres, like embeddings. */
float *fixture_mixture(uint64_t seed, uint32_t count, uint32_t dim, uint32_t centres);

/* Share of the k nearest that were found: a hit counts when its distance is at most the true k-th
 * distance. The true ones come from the engine's exact scan. */
double fixture_recall(omen_collection *c, const float *queries, uint32_t count, uint32_t k,
                      uint32_t ef, double *visited);

#endif
