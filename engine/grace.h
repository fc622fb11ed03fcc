/* grace.h - when memory that readers may still look at can be used again.
 *
 * Readers pin the collection for the length of a search or a get. At a CHECKPOINT boundary the
 * applier turns: readers that come later count in the other of two counters, so that the first one
 * runs dry when all that were there before have gone. What was taken out of reach before the turn
 * may then be used again. The idea is that of SRCU (McKenney, "Sleepable RCU", 2006), with two
 * turns never closer than a boundary, so that nobody waits in practice: the log thread does not
 * write the next CHECKPOINT before the counter is dry.
 *
 * Order. A reader counts itself, then looks again at the turn; both are sequentially consistent, as
 * is the turn. If it sees the turn unchanged, its count came before the next turn, so whoever finds
 * that counter at 0 after that turn knows that the reader has gone, and, by its release, sees
 * everything it did. If the turn has changed, it takes its count back and starts anew. A stale view
 * costs a retry, never safety.
 */
#ifndef OMEN_GRACE_H
#define OMEN_GRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct omen_grace {
    _Atomic uint32_t turn; /* written by the applier; its lowest bit names the readers' counter */
    _Atomic uint32_t readers[2];
};

/* Returns which counter to give back to omen_grace_leave(). Any thread; does not wait. */
static inline uint32_t omen_grace_enter(struct omen_grace *grace)
{
    for (;;) {
        uint32_t turn = atomic_load(&grace->turn);

        atomic_fetch_add(&grace->readers[turn & 1], 1);
        if (atomic_load(&grace->turn) == turn) return turn & 1;
        atomic_fetch_sub(&grace->readers[turn & 1], 1);
    }
}

static inline void omen_grace_leave(struct omen_grace *grace, uint32_t counter)
{
    atomic_fetch_sub(&grace->readers[counter], 1);
}

/* Have all readers from before the last turn gone? Any thread. */
static inline bool omen_grace_is_over(struct omen_grace *grace)
{
    return atomic_load(&grace->readers[(atomic_load(&grace->turn) & 1) ^ 1]) == 0;
}

/* Applier, at a boundary, once omen_grace_is_over(). */
static inline void omen_grace_turn(struct omen_grace *grace)
{
    atomic_fetch_add(&grace->turn, 1);
}

#endif
