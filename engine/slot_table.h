/* slot_table.h - a hash table of slots: from an external id to its slot, from a code to the slot
 * that has it. Keys are not stored: an entry is a slot and 32 bits of its key's hash, and the
 * caller compares the key behind the slot. 8 bytes an entry, at most 3/4 full.
 *
 * ADMIT's thread only. What is found never depends on the hash function, only on the keys: the log
 * alone decides.
 */
#ifndef OMEN_SLOT_TABLE_H
#define OMEN_SLOT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

struct omen_slot_entry {
    uint32_t hash;
    uint32_t slot; /* OMEN_SLOT_NONE: empty */
};

struct omen_slot_table {
    struct omen_slot_entry *entries;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
};

/* A zeroed struct is an empty table. */
void omen_slot_table_deinit(struct omen_slot_table *table);

/* Room for `more` further entries. Fails: OMEN_RESOURCE_EXHAUSTED, table unchanged. */
OMEN_CHECKED omen_code omen_slot_table_reserve(struct omen_slot_table *table, size_t more,
                                               omen_error *err);

/* Adds an entry; room must have been reserved. Equal hashes may stand beside each other. */
void omen_slot_table_add(struct omen_slot_table *table, uint32_t hash, uint32_t slot);

/* The slots whose entry has this hash, one after the other: start with *cursor = hash; returns
 * OMEN_SLOT_NONE at the end. */
uint32_t omen_slot_table_next(const struct omen_slot_table *table, uint32_t hash, size_t *cursor);

#endif
