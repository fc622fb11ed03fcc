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

/* The sentences that both front ends say. */
omen_code omen_fault_draining(struct omen_fault *fault);
omen_code omen_fault_no_config(struct omen_fault *fault);
/* Query `index` has so many components, and the collection `dim`. */
omen_code omen_fault_query_dimension(struct omen_fault *fault, uint32_t index, uint64_t components,
                                     uint32_t dim);

/* Puts '?' in the place of every byte of sentence and field that belongs to no character: they may
 * hold bytes that a client sent, or be cut off inside a character. */
void omen_fault_make_utf8(struct omen_fault *fault);

/* The ErrorInfo reason: the fault's own, or the code's name where it has none. */
const char *omen_fault_reason(const struct omen_fault *fault);

const char *omen_code_name(omen_code code); /* "NOT_FOUND" */

#endif
