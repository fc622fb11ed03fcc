/* doubts.h - which originals are not known to be what their slots' hashes say.
 *
 * After a start the rows on the disk are what the disk makes of them: a checkpoint's slots are
 * doubted until somebody has compared the row with its hash. What is written afterwards comes from
 * a record whose checksum was right, and is not doubted until the scrubber (scrubber.h) finds it
 * damaged. A damaged row stays doubted, so that whoever comes to it looks here first: it is not
 * served until it is written again or erased.
 *
 * Bits are atomic, and nothing hangs on their order: a reader who sees a stale doubt compares once
 * more, and whoever reads a row at all has a pin, under which the row is neither written nor
 * erased. A reader may miss a doubt for as long as the scrubber takes to tell of a damage that it
 * has just found.
 */
#ifndef OMEN_DOUBTS_H
#define OMEN_DOUBTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/engine.h"

struct omen_doubts {
    _Atomic uint64_t count;         /* slots that are doubted, the damaged ones included */
    _Atomic uint64_t damaged_count; /* of them */
    _Atomic uint64_t checked;       /* rows that were compared */
    _Atomic uint64_t *doubted; /* a bit for each slot; address space, of which little is used */
    _Atomic uint64_t *damaged;
};

/* Owns: *out, release it with omen_doubts_destroy(). Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_doubts_create(struct omen_doubts **out, omen_error *err);
void omen_doubts_destroy(struct omen_doubts *doubts); /* NULL is allowed */

/* The row came from the disk. At start-up. */
void omen_doubts_add(struct omen_doubts *doubts, uint32_t slot);

/* These rows were written, or are gone. ADMIT's thread. */
void omen_doubts_clear(struct omen_doubts *doubts, uint32_t first, uint32_t count);

/* The row was compared with its hash. True: it is damaged, and that was not known. Any thread that
 * has a pin. */
bool omen_doubts_settle(struct omen_doubts *doubts, uint32_t slot, bool good);

bool omen_doubts_knows_damage(const struct omen_doubts *doubts, uint32_t slot);

/* One load where nothing is doubted, which is soon after a start. */
static inline bool omen_doubts_has(const struct omen_doubts *doubts, uint32_t slot)
{
    if (atomic_load_explicit(&doubts->count, memory_order_relaxed) == 0) return false;
    return (atomic_load_explicit(&doubts->doubted[slot / 64], memory_order_relaxed) >> slot % 64 &
            1) != 0;
}

#endif
