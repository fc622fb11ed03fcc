/* budget.h - bytes that may be in use at a time, counted by whoever takes them. */
#ifndef OMEN_BUDGET_H
#define OMEN_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "service/fault.h"

struct omen_budget {
    uint64_t max;          /* fixed at start */
    _Atomic uint64_t used; /* any thread */
};

/* Takes so many bytes, to be given back; nothing, and the fault MEMORY_BUDGET, if they are not to
 * be had. */
OMEN_CHECKED omen_code omen_budget_take(struct omen_budget *budget, uint64_t bytes,
                                        struct omen_fault *fault);
void omen_budget_give(struct omen_budget *budget, uint64_t bytes);

#endif
