/* slots.h - a list of slots that grows. */
#ifndef OMEN_SLOTS_H
#define OMEN_SLOTS_H

#include <stdint.h>

#include "engine/engine.h"

struct omen_slots {
    uint32_t *slots;
    uint32_t count, capacity;
};

/* Room for `more` further ones. Fails: OMEN_RESOURCE_EXHAUSTED, list unchanged. */
OMEN_CHECKED omen_code omen_slots_reserve(struct omen_slots *list, uint32_t more, omen_error *err);

/* Room must have been reserved. */
static inline void omen_slots_add(struct omen_slots *list, uint32_t slot)
{
    list->slots[list->count++] = slot;
}

/* Ascending. */
void omen_slots_sort(struct omen_slots *list);

/* Of an ascending list: the number of the first one that is not below `slot`. */
uint32_t omen_slots_find(const struct omen_slots *list, uint32_t slot);

void omen_slots_deinit(struct omen_slots *list);

#endif
