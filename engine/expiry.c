/* expiry.c - see expiry.h. */
#include "engine/expiry.h"

#include <string.h>

#include "engine/memory.h"

static bool before(const struct omen_expiry_entry *a, const struct omen_expiry_entry *b)
{
    return a->at < b->at || (a->at == b->at && a->slot < b->slot);
}

void omen_expiry_deinit(struct omen_expiry *expiry)
{
    omen_free(expiry->heap);
    memset(expiry, 0, sizeof *expiry);
}

omen_code omen_expiry_reserve(struct omen_expiry *expiry, uint32_t more, omen_error *err)
{
    uint32_t capacity = expiry->capacity == 0 ? 64 : expiry->capacity;
    struct omen_expiry_entry *heap;

    if (more <= expiry->capacity - expiry->count) return OMEN_OK;
    while (capacity - expiry->count < more)
        capacity *= 2;
    heap = omen_realloc(expiry->heap, capacity * sizeof *heap);
    if (heap == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "%u points that expire", capacity);
    expiry->heap = heap;
    expiry->capacity = capacity;
    return OMEN_OK;
}

void omen_expiry_keep(struct omen_expiry *expiry,
                      bool (*lives)(const void *user, const struct omen_expiry_entry *entry),
                      const void *user)
{
    uint32_t count = expiry->count;

    expiry->count = 0;
    for (uint32_t i = 0; i < count; i++) { /* at most as many are written as were read */
        struct omen_expiry_entry entry = expiry->heap[i];

        if (lives(user, &entry)) omen_expiry_add(expiry, entry);
    }
}

void omen_expiry_add(struct omen_expiry *expiry, struct omen_expiry_entry entry)
{
    uint32_t i = expiry->count++;

    while (i > 0 && before(&entry, &expiry->heap[(i - 1) / 2])) {
        expiry->heap[i] = expiry->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    expiry->heap[i] = entry;
}

struct omen_expiry_entry omen_expiry_take(struct omen_expiry *expiry)
{
    struct omen_expiry_entry first = expiry->heap[0];
    struct omen_expiry_entry last = expiry->heap[--expiry->count];
    uint32_t i = 0;

    for (;;) {
        uint32_t child = 2 * i + 1;

        if (child >= expiry->count) break;
        if (child + 1 < expiry->count && before(&expiry->heap[child + 1], &expiry->heap[child]))
            child++;
        if (!before(&expiry->heap[child], &last)) break;
        expiry->heap[i] = expiry->heap[child];
        i = child;
    }
    if (expiry->count > 0) expiry->heap[i] = last;
    return first;
}
