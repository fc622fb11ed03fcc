/* calibrate.h - measures what recall a collection's searches have, and chooses ef for its target.
 *
 * Of a sample of queries the true neighbours are found by the scan of every point (scan.c), then
 * the ones that walks find, at one ef after the other, by the very functions that serve clients.
 * The result is a function of the sample and the collection; it takes effect as a SETTINGS record.
 *
 * A sample is of live queries (query_sample.h); while there are fewer than
 * OMEN_CALIBRATE_QUERIES_LIVE, of stored points, each without itself, for a higher target. The more
 * there is to scan, the fewer queries are taken, OMEN_CALIBRATE_QUERIES_MIN at least. They go in
 * blocks, and no block holds the collection (grace.h) longer than its own scan takes.
 */
#ifndef OMEN_CALIBRATE_H
#define OMEN_CALIBRATE_H

#include "engine/collection.h"

/* search.h explains it. */
struct omen_pace {
    bool (*fn)(void *user);
    void *user;
};

/* Calibrates, and writes the record. `pace` may be NULL. Any thread that may block, but the log
 * thread and the applier. A collection of OMEN_SMALL_COLLECTION points or less stays as it is.
 * Fails: OMEN_CANCELLED (the pace said so), OMEN_RESOURCE_EXHAUSTED, and as omen_stream_open. */
OMEN_CHECKED omen_code omen_calibrate(omen_collection *collection, const struct omen_pace *pace,
                                      omen_error *err);

#endif
