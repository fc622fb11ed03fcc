/* fault.h - why a call fails, with everything that its status will say. */
#ifndef OMEN_FAULT_H
#define OMEN_FAULT_H

#include <stddef.h>

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
/* `field` is a token's incarnation of so many bytes. */
omen_code omen_fault_token(struct omen_fault *fault, const char *field, size_t bytes);
/* `field` is the incarnation of another life of this collection. */
omen_code omen_fault_incarnation(struct omen_fault *fault, const char *field, const char *name);
/* `field` is no id. */
omen_code omen_fault_id(struct omen_fault *fault, const char *field, enum omen_refusal refusal,
                        uint32_t detail);

/* The length of the character that `string` starts with, 0 if there is no valid one. */
size_t omen_utf8_bytes(const char *string);

/* Puts '?' in the place of every byte that belongs to no character: sentences may hold bytes that a
 * client sent, or be cut off inside a character. */
void omen_make_utf8(char *text);
/* The same for sentence and field. */
void omen_fault_make_utf8(struct omen_fault *fault);

/* The ErrorInfo reason: the fault's own, or the code's name where it has none. */
const char *omen_fault_reason(const struct omen_fault *fault);

const char *omen_code_name(omen_code code); /* "NOT_FOUND" */

#endif
