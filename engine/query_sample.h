/* query_sample.h - the queries of late: a few vectors that stand for what a collection is asked.
 *
 * A reservoir (Vitter's algorithm R): every query of a window has the same chance to be in it. A
 * window ends with a calibration; all that came before then counts as OMEN_CALIBRATE_QUERIES_MAX
 * queries, so that old ones fade as new ones come, however slowly.
 *
 * Searches must not wait for it: whoever finds the mutex taken lets its query go. Who gets in is a
 * function of the order in which queries come, under the sample's fixed seed.
 */
#ifndef OMEN_QUERY_SAMPLE_H
#define OMEN_QUERY_SAMPLE_H

#include "engine/engine.h"

struct omen_query_sample;

/* Owns: *out. Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_query_sample_create(uint32_t dim, struct omen_query_sample **out,
                                                omen_error *err);
void omen_query_sample_destroy(struct omen_query_sample *sample); /* NULL is allowed */

/* A query that will be run. Any thread; never waits. */
void omen_query_sample_offer(struct omen_query_sample *sample, const float *query);

/* Queries offered in this window. Any thread. */
uint64_t omen_query_sample_fresh(const struct omen_query_sample *sample);

/* Copies the vectors to `out` (room for OMEN_CALIBRATE_QUERIES_MAX of them) and returns how many.
 * Any thread. */
uint32_t omen_query_sample_copy(struct omen_query_sample *sample, float *out);

/* A new window. Any thread. */
void omen_query_sample_turn(struct omen_query_sample *sample);

#endif
