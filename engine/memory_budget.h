/* memory_budget.h - how much memory an engine's collections may take, and who took how much.
 *
 * A collection is counted by formula (estimate.h), for the slots that it has ever used (its memory
 * never gets smaller) and for those that the points in its queue may need, as if all were new. What
 * would go beyond the limit is refused at the door of the queue, before it is in any log; searches
 * go on, and so do deletes: they need no slot, and what they free can be written again.
 *
 * At start-up everything is loaded, whatever the limit: what is in a log has been acknowledged.
 *
 * Threads: as each function says. `used` is read by any.
 */
#ifndef OMEN_MEMORY_BUDGET_H
#define OMEN_MEMORY_BUDGET_H

#include <stdatomic.h>

#include "engine/engine.h"

struct omen_memory_budget {
    uint64_t limit; /* fixed; 0: there is none */
    bool captures;  /* fixed: collections write checkpoints */
    _Atomic uint64_t used;
};

/* What a collection has of it. Under the queues' mutex, but at start-up and at its end. */
struct omen_memory_share {
    uint64_t bytes;
    uint32_t slots; /* ever used, and how many of them are free */
    uint32_t free;
    uint64_t queued;   /* points that are not admitted yet */
    uint32_t squeezed; /* a point was refused: so many boundaries are written to free dead slots */
};

/* So many points more are queued. Under the queues' mutex.
 * Fails: OMEN_RESOURCE_EXHAUSTED MEMORY_LIMIT with figures, nothing changed. */
OMEN_CHECKED omen_code omen_memory_budget_queue(omen_collection *collection, uint64_t points,
                                                omen_error *err);
struct omen_memory_counts {
    uint32_t slots, free;
    bool dead; /* some are dead, or swept and not free yet */
};

/* What ADMIT's lists say. Log thread, under admit_mutex: a check of the collection may look at the
 * same lists. */
struct omen_memory_counts omen_memory_budget_count(const omen_collection *collection);

/* So many of them have left the queue, and ADMIT stands as it does; `boundary`: one of those that
 * the share is squeezed for was written. The log thread, under the queues' mutex; at start-up the
 * opening thread. */
void omen_memory_budget_settle(omen_collection *collection, struct omen_memory_counts counts,
                               uint64_t points, bool boundary);
/* The collection ends. */
void omen_memory_budget_leave(omen_collection *collection);

#endif
