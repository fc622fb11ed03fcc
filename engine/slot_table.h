/* slot_table.h - a hash table of slots: from an external id to its slot, from a code to the slot
 * that has it. Keys are not stored: an entry is a slot and 32 bits of its key's hash, and the
 * caller compares the key behind the slot. 8 bytes an entry, at most 3/4 full.
 *
 * ADMIT's thread writes. Others may read an array that they loaded (with acquire) while they are
 * pinned (grace.h). Order: an entry is stored with release after the data of its slot was written,
 * and loaded with acquire, so whoever finds a slot may compare its key. Entries never move within
 * an array; a removed one keeps its place, so a reader that probes past it misses nothing. A stale
 * array lacks later entries, all of slots that its reader's epoch does not see. An array that was
 * outgrown waits for two boundaries.
 *
 * What is found never depends on the hash function, only on the keys: the log alone decides.
 */
#ifndef OMEN_SLOT_TABLE_H
#define OMEN_SLOT_TABLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

struct omen_slot_array {
    struct omen_slot_array *retired; /* ADMIT's list of outgrown ones */
    size_t capacity;                 /* a power of two */
    _Atomic uint64_t entries[];      /* hash << 32 | slot */
};

struct omen_slot_table {
    struct omen_slot_array *_Atomic array; /* written by ADMIT (release); NULL at first */
    /* ADMIT only. */
    size_t count;                       /* entries */
    size_t used;                        /* and places that had one */
    struct omen_slot_array *retired[2]; /* since the last boundary, since the one before */
};

/* A zeroed struct is an empty table. No reader may be left. */
void omen_slot_table_deinit(struct omen_slot_table *table);

/* Room for `more` further entries. Fails: OMEN_RESOURCE_EXHAUSTED, table unchanged. */
OMEN_CHECKED omen_code omen_slot_table_reserve(struct omen_slot_table *table, size_t more,
                                               omen_error *err);

/* Adds an entry; room must have been reserved. Equal hashes may stand beside each other. */
void omen_slot_table_add(struct omen_slot_table *table, uint32_t hash, uint32_t slot);

/* Removes the entry of this slot, if it is there. */
void omen_slot_table_remove(struct omen_slot_table *table, uint32_t hash, uint32_t slot);

/* A boundary was admitted: frees what was outgrown before the last one. */
void omen_slot_table_recycle(struct omen_slot_table *table);

/* The slots whose entry has this hash, one after the other: start with *cursor = hash; returns
 * OMEN_SLOT_NONE at the end. `array` may be NULL. */
uint32_t omen_slot_array_next(const struct omen_slot_array *array, uint32_t hash, size_t *cursor);

static inline struct omen_slot_array *omen_slot_table_array(const struct omen_slot_table *table)
{
    return atomic_load_explicit(&table->array, memory_order_acquire);
}

/* Bytes of memory; ADMIT. */
uint64_t omen_slot_table_bytes(const struct omen_slot_table *table);

#endif
