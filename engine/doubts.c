/* doubts.c - see doubts.h. */
#include "engine/doubts.h"

#include "engine/limits.h"
#include "engine/memory.h"

#define BITMAP_BYTES ((size_t)OMEN_SLOTS_MAX / 8)

omen_code omen_doubts_create(struct omen_doubts **out, omen_error *err)
{
    struct omen_doubts *doubts = omen_alloc_zeroed(sizeof *doubts);

    *out = NULL;
    if (doubts == NULL) return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "doubts about originals");
    doubts->doubted = omen_pages_map(BITMAP_BYTES);
    doubts->damaged = omen_pages_map(BITMAP_BYTES);
    if (doubts->doubted == NULL || doubts->damaged == NULL) {
        omen_doubts_destroy(doubts);
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "doubts about originals");
    }
    *out = doubts;
    return OMEN_OK;
}

void omen_doubts_destroy(struct omen_doubts *doubts)
{
    if (doubts == NULL) return;
    omen_pages_unmap(doubts->doubted, BITMAP_BYTES);
    omen_pages_unmap(doubts->damaged, BITMAP_BYTES);
    omen_free(doubts);
}

/* Sets or takes away a bit; false if that changed nothing. */
static bool change(_Atomic uint64_t *bits, uint32_t slot, bool set)
{
    const uint64_t bit = UINT64_C(1) << slot % 64;
    const uint64_t before =
        set ? atomic_fetch_or_explicit(&bits[slot / 64], bit, memory_order_relaxed)
            : atomic_fetch_and_explicit(&bits[slot / 64], ~bit, memory_order_relaxed);

    return ((before & bit) != 0) != set;
}

void omen_doubts_add(struct omen_doubts *doubts, uint32_t slot)
{
    if (change(doubts->doubted, slot, true)) (void)atomic_fetch_add(&doubts->count, 1);
}

void omen_doubts_clear(struct omen_doubts *doubts, uint32_t first, uint32_t count)
{
    if (atomic_load_explicit(&doubts->count, memory_order_relaxed) == 0) return;
    for (uint32_t slot = first; slot < first + count; slot++) {
        if (change(doubts->doubted, slot, false)) (void)atomic_fetch_sub(&doubts->count, 1);
        if (change(doubts->damaged, slot, false)) (void)atomic_fetch_sub(&doubts->damaged_count, 1);
    }
}

bool omen_doubts_settle(struct omen_doubts *doubts, uint32_t slot, bool good)
{
    (void)atomic_fetch_add_explicit(&doubts->checked, 1, memory_order_relaxed);
    if (good) {
        /* What was damaged once stays so until it is written: a disk that changes its mind is not
         * to be believed. */
        if (!omen_doubts_knows_damage(doubts, slot) && omen_doubts_has(doubts, slot) &&
            change(doubts->doubted, slot, false))
            (void)atomic_fetch_sub(&doubts->count, 1);
        return false;
    }
    omen_doubts_add(doubts, slot);
    if (!change(doubts->damaged, slot, true)) return false;
    (void)atomic_fetch_add(&doubts->damaged_count, 1);
    return true;
}

bool omen_doubts_knows_damage(const struct omen_doubts *doubts, uint32_t slot)
{
    return (atomic_load_explicit(&doubts->damaged[slot / 64], memory_order_relaxed) >> slot % 64 &
            1) != 0;
}
