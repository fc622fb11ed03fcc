/* memory_budget.c - see memory_budget.h. */
#include "engine/memory_budget.h"

#include <inttypes.h>

#include "engine/engine_state.h"
#include "engine/estimate.h"

#define RETRY_MS 5000u
/* The first sweeps dead slots out, the second frees them. */
#define BOUNDARIES 2u

/* With `queued` points in the queue. */
static uint64_t bytes_with(const omen_collection *c, uint64_t queued)
{
    const struct omen_memory_share *share = &c->memory_share;
    const struct omen_memory_budget *budget = &c->engine->memory;
    uint64_t slots = share->slots;

    if (queued > share->free) slots += queued - share->free;
    if (slots > OMEN_SLOTS_MAX) slots = OMEN_SLOTS_MAX;
    return omen_estimate_memory(&c->settings, slots, budget->captures);
}

static void set_bytes(omen_collection *c, uint64_t bytes)
{
    /* Wraps around when it gets less. */
    atomic_fetch_add_explicit(&c->engine->memory.used, bytes - c->memory_share.bytes,
                              memory_order_relaxed);
    c->memory_share.bytes = bytes;
}

omen_code omen_memory_budget_queue(omen_collection *collection, uint64_t points, omen_error *err)
{
    struct omen_memory_share *share = &collection->memory_share;
    const struct omen_memory_budget *budget = &collection->engine->memory;
    const uint64_t used = atomic_load_explicit(&budget->used, memory_order_relaxed);
    const uint64_t bytes = bytes_with(collection, share->queued + points);
    const uint64_t more = bytes > share->bytes ? bytes - share->bytes : 0;

    if (points > 0 && more > 0 && budget->limit != 0 && used + more > budget->limit) {
        share->squeezed = BOUNDARIES;
        const omen_code code = omen_fail_because(
            err, OMEN_RESOURCE_EXHAUSTED, OMEN_REASON_MEMORY_LIMIT,
            "%" PRIu64 " points need %" PRIu64 " bytes more, and %" PRIu64 " of %" PRIu64
            " that collections may take are used: delete points, or raise memory_limit",
            points, more, used, budget->limit);
        if (err != NULL) {
            err->figures = (struct omen_figures){used, budget->limit, more};
            err->retry_ms = RETRY_MS;
        }
        return code;
    }
    share->queued += points;
    if (more > 0) set_bytes(collection, bytes);
    return OMEN_OK;
}

struct omen_memory_counts omen_memory_budget_count(const omen_collection *collection)
{
    const struct omen_admit *admit = &collection->admit;

    return (struct omen_memory_counts){.slots = admit->slot_count,
                                       .free = admit->free.count,
                                       .dead = admit->dead.count > 0 || admit->swept.count > 0};
}

void omen_memory_budget_settle(omen_collection *collection, struct omen_memory_counts counts,
                               uint64_t points, bool boundary)
{
    struct omen_memory_share *share = &collection->memory_share;

    share->queued -= points;
    share->slots = counts.slots;
    share->free = counts.free;
    if (boundary && share->squeezed > 0) share->squeezed--;
    if (!counts.dead) share->squeezed = 0;
    set_bytes(collection, bytes_with(collection, share->queued));
}

void omen_memory_budget_leave(omen_collection *collection)
{
    set_bytes(collection, 0);
}
