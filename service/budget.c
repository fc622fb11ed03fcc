/* budget.c - see budget.h. */
#include "service/budget.h"

#include <inttypes.h>

omen_code omen_budget_take(struct omen_budget *budget, uint64_t bytes, struct omen_fault *fault)
{
    uint64_t used = atomic_fetch_add_explicit(&budget->used, bytes, memory_order_relaxed);

    if (used + bytes <= budget->max) return OMEN_OK;
    omen_budget_give(budget, bytes);
    return omen_fault_set(fault, OMEN_RESOURCE_EXHAUSTED, "MEMORY_BUDGET", NULL,
                          "the call needs %" PRIu64 " bytes, and other calls have %" PRIu64
                          " of %" PRIu64 " (request_memory_mib): try again later",
                          bytes, used, budget->max);
}

void omen_budget_give(struct omen_budget *budget, uint64_t bytes)
{
    atomic_fetch_sub_explicit(&budget->used, bytes, memory_order_relaxed);
}
