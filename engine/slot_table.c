/* slot_table.c - see slot_table.h. Linear probing. */
#include "engine/slot_table.h"

#include <string.h>

#include "engine/graph.h"
#include "engine/memory.h"

#define CAPACITY_MIN 64u

void omen_slot_table_deinit(struct omen_slot_table *table)
{
    omen_free(table->entries);
    memset(table, 0, sizeof *table);
}

omen_code omen_slot_table_reserve(struct omen_slot_table *table, size_t more, omen_error *err)
{
    struct omen_slot_table bigger = {NULL, CAPACITY_MIN, 0};

    if ((table->count + more) * 4 <= table->capacity * 3) return OMEN_OK;
    while ((table->count + more) * 4 > bigger.capacity * 3)
        bigger.capacity *= 2;
    bigger.entries = omen_alloc(bigger.capacity * sizeof *bigger.entries);
    if (bigger.entries == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a table of %zu slots", bigger.capacity);
    memset(bigger.entries, 0xff, bigger.capacity * sizeof *bigger.entries);
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->entries[i].slot != OMEN_SLOT_NONE)
            omen_slot_table_add(&bigger, table->entries[i].hash, table->entries[i].slot);
    }
    omen_free(table->entries);
    *table = bigger;
    return OMEN_OK;
}

void omen_slot_table_add(struct omen_slot_table *table, uint32_t hash, uint32_t slot)
{
    size_t i = hash & (table->capacity - 1);

    while (table->entries[i].slot != OMEN_SLOT_NONE)
        i = (i + 1) & (table->capacity - 1);
    table->entries[i] = (struct omen_slot_entry){hash, slot};
    table->count++;
}

uint32_t omen_slot_table_next(const struct omen_slot_table *table, uint32_t hash, size_t *cursor)
{
    if (table->capacity == 0) return OMEN_SLOT_NONE;
    for (;;) {
        struct omen_slot_entry entry = table->entries[*cursor & (table->capacity - 1)];

        if (entry.slot == OMEN_SLOT_NONE) return OMEN_SLOT_NONE;
        ++*cursor;
        if (entry.hash == hash) return entry.slot;
    }
}
