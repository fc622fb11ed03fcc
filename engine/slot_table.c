/* slot_table.c - see slot_table.h. Linear probing. */
#include "engine/slot_table.h"

#include <string.h>

#include "engine/graph.h"
#include "engine/memory.h"

#define CAPACITY_MIN 64u
#define EMPTY        UINT64_MAX       /* its slot is OMEN_SLOT_NONE */
#define REMOVED      (UINT64_MAX - 1) /* its slot is none that there can be */

static uint64_t entry_of(uint32_t hash, uint32_t slot)
{
    return (uint64_t)hash << 32 | slot;
}

static void put(struct omen_slot_array *array, uint32_t hash, uint32_t slot, size_t *used)
{
    size_t i = hash & (array->capacity - 1);
    uint64_t there = atomic_load_explicit(&array->entries[i], memory_order_relaxed);

    while (there != EMPTY && there != REMOVED) {
        i = (i + 1) & (array->capacity - 1);
        there = atomic_load_explicit(&array->entries[i], memory_order_relaxed);
    }
    if (there == EMPTY) ++*used;
    atomic_store_explicit(&array->entries[i], entry_of(hash, slot), memory_order_release);
}

static void free_all(struct omen_slot_array *array)
{
    while (array != NULL) {
        struct omen_slot_array *next = array->retired;

        omen_free(array);
        array = next;
    }
}

void omen_slot_table_deinit(struct omen_slot_table *table)
{
    omen_free(omen_slot_table_array(table));
    free_all(table->retired[0]);
    free_all(table->retired[1]);
    memset(table, 0, sizeof *table);
}

omen_code omen_slot_table_reserve(struct omen_slot_table *table, size_t more, omen_error *err)
{
    struct omen_slot_array *old = omen_slot_table_array(table);
    struct omen_slot_array *array;
    size_t capacity = CAPACITY_MIN;
    size_t used = 0;

    if (old != NULL && (table->used + more) * 4 <= old->capacity * 3) return OMEN_OK;
    while ((table->count + more) * 4 > capacity * 3)
        capacity *= 2;
    array = omen_alloc(sizeof *array + capacity * sizeof *array->entries);
    if (array == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a table of %zu slots", capacity);
    array->retired = NULL;
    array->capacity = capacity;
    for (size_t i = 0; i < capacity; i++)
        atomic_init(&array->entries[i], EMPTY);
    for (size_t i = 0; old != NULL && i < old->capacity; i++) {
        uint64_t entry = atomic_load_explicit(&old->entries[i], memory_order_relaxed);

        if (entry != EMPTY && entry != REMOVED)
            put(array, (uint32_t)(entry >> 32), (uint32_t)entry, &used);
    }
    table->used = used;
    if (old != NULL) {
        old->retired = table->retired[0];
        table->retired[0] = old;
    }
    atomic_store_explicit(&table->array, array, memory_order_release);
    return OMEN_OK;
}

void omen_slot_table_add(struct omen_slot_table *table, uint32_t hash, uint32_t slot)
{
    put(omen_slot_table_array(table), hash, slot, &table->used);
    table->count++;
}

void omen_slot_table_remove(struct omen_slot_table *table, uint32_t hash, uint32_t slot)
{
    struct omen_slot_array *array = omen_slot_table_array(table);
    uint64_t wanted = entry_of(hash, slot);

    if (array == NULL) return;
    for (size_t i = hash & (array->capacity - 1);; i = (i + 1) & (array->capacity - 1)) {
        uint64_t entry = atomic_load_explicit(&array->entries[i], memory_order_relaxed);

        if (entry == EMPTY) return;
        if (entry != wanted) continue;
        atomic_store_explicit(&array->entries[i], REMOVED, memory_order_release);
        table->count--;
        return;
    }
}

void omen_slot_table_recycle(struct omen_slot_table *table)
{
    free_all(table->retired[1]);
    table->retired[1] = table->retired[0];
    table->retired[0] = NULL;
}

uint32_t omen_slot_array_next(const struct omen_slot_array *array, uint32_t hash, size_t *cursor)
{
    if (array == NULL) return OMEN_SLOT_NONE;
    for (;;) {
        uint64_t entry = atomic_load_explicit(&array->entries[*cursor & (array->capacity - 1)],
                                              memory_order_acquire);

        if (entry == EMPTY) return OMEN_SLOT_NONE;
        ++*cursor;
        if (entry != REMOVED && (uint32_t)(entry >> 32) == hash) return (uint32_t)entry;
    }
}

uint64_t omen_slot_table_bytes(const struct omen_slot_table *table)
{
    const struct omen_slot_array *array = omen_slot_table_array(table);

    return array == NULL ? 0 : sizeof *array + array->capacity * sizeof *array->entries;
}
