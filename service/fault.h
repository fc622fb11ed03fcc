/* fault.h - why a call fails, with everything that its status will say. */
#ifndef OMEN_FAULT_H
#define OMEN_FAULT_H

#include "engine/engine.h"

#define OMEN_FIELD_MAX 64

/* `error` is handed to the engine's calls as it is; `field` is the path of the request's field at
 * fault ("queries[3].vector"), empty when it is not one. */
struct omen_fault {
    omen_code code;
    omen_error error;
    char field[OMEN_FIELD_MAX];
};

/* Fills the fault and returns `code`. `field` may be NULL. */
OMEN_PRINTF(5, 6)
omen_code omen_fault_set(struct omen_fault *fault, omen_code code, const char *reason,
                         const char *field, const char *format, ...);

/* The ErrorInfo reason: the fault's own, or the code's name where it has none. */
const char *omen_fault_reason(const struct omen_fault *fault);

#endif
