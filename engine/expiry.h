/* expiry.h - which points expire next: a binary heap of (time, slot). ADMIT's thread only.
 *
 * A point that was deleted or got another time leaves its entry behind; whoever takes one compares
 * it with the slot, and before the heap grows the entries that mean nothing any more are dropped.
 * The order in which points expire is by time, then slot: the log alone decides.
 */
#ifndef OMEN_EXPIRY_H
#define OMEN_EXPIRY_H

#include "engine/engine.h"

struct omen_expiry_entry {
    uint32_t at; /* Unix seconds */
    uint32_t slot;
    uint32_t born; /* the slot's epoch: a slot that was used again is another point */
};

struct omen_expiry {
    struct omen_expiry_entry *heap;
    uint32_t count, capacity;
};

/* A zeroed struct is an empty heap. */
void omen_expiry_deinit(struct omen_expiry *expiry);

/* Room for `more` further entries. Fails: OMEN_RESOURCE_EXHAUSTED, heap unchanged. */
OMEN_CHECKED omen_code omen_expiry_reserve(struct omen_expiry *expiry, uint32_t more,
                                           omen_error *err);
/* Keeps only the entries of which `lives` is true. */
void omen_expiry_keep(struct omen_expiry *expiry,
                      bool (*lives)(const void *user, const struct omen_expiry_entry *entry),
                      const void *user);
/* Room must have been reserved. */
void omen_expiry_add(struct omen_expiry *expiry, struct omen_expiry_entry entry);

/* When the first entry is due; UINT32_MAX: there is none. */
static inline uint32_t omen_expiry_next(const struct omen_expiry *expiry)
{
    return expiry->count == 0 ? UINT32_MAX : expiry->heap[0].at;
}
/* Takes the first entry; there must be one. */
struct omen_expiry_entry omen_expiry_take(struct omen_expiry *expiry);

#endif
