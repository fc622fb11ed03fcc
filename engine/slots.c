/* slots.c - see slots.h. */
#include "engine/slots.h"

#include <stdlib.h>

#include "engine/memory.h"

static int compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

omen_code omen_slots_reserve(struct omen_slots *list, uint32_t more, omen_error *err)
{
    uint64_t capacity = list->capacity == 0 ? 64 : list->capacity;
    uint32_t *slots;

    if (more <= list->capacity - list->count) return OMEN_OK;
    while (capacity < (uint64_t)list->count + more)
        capacity *= 2;
    if (capacity > UINT32_MAX) capacity = UINT32_MAX;
    slots = omen_realloc(list->slots, capacity * sizeof *slots);
    if (slots == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "a list of %llu slots",
                         (unsigned long long)capacity);
    list->slots = slots;
    list->capacity = (uint32_t)capacity;
    return OMEN_OK;
}

void omen_slots_sort(struct omen_slots *list)
{
    /* Slots are mostly handed out in order: then there is nothing to do. */
    for (uint32_t i = 1; i < list->count; i++) {
        if (list->slots[i - 1] <= list->slots[i]) continue;
        qsort(list->slots, list->count, sizeof *list->slots, compare);
        return;
    }
}

uint32_t omen_slots_find(const struct omen_slots *list, uint32_t slot)
{
    uint32_t low = 0;
    uint32_t high = list->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (list->slots[middle] < slot)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void omen_slots_deinit(struct omen_slots *list)
{
    omen_free(list->slots);
    *list = (struct omen_slots){0};
}
