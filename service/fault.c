/* fault.c - see fault.h. */
#include "service/fault.h"

#include <stdarg.h>
#include <stdio.h>

omen_code omen_fault_set(struct omen_fault *fault, omen_code code, const char *reason,
                         const char *field, const char *format, ...)
{
    va_list args;

    fault->code = code;
    va_start(args, format);
    (void)vsnprintf(fault->error.message, sizeof fault->error.message, format, args);
    va_end(args);
    (void)snprintf(fault->error.reason, sizeof fault->error.reason, "%s", reason);
    (void)snprintf(fault->field, sizeof fault->field, "%s", field == NULL ? "" : field);
    return code;
}

omen_code omen_fault_draining(struct omen_fault *fault)
{
    return omen_fault_set(fault, OMEN_UNAVAILABLE, "DRAINING", NULL,
                          "the server shuts down and takes no new streams: try another");
}

omen_code omen_fault_no_config(struct omen_fault *fault)
{
    return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_LIMIT", "config",
                          "config is missing: it must give dim, %u to %u, and metric", OMEN_DIM_MIN,
                          OMEN_DIM_MAX);
}

omen_code omen_fault_token(struct omen_fault *fault, const char *field, size_t bytes)
{
    return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_TOKEN", field,
                          "%s has %zu bytes, it must have %u, as a token of the server has", field,
                          bytes, OMEN_INCARNATION_BYTES);
}

omen_code omen_fault_incarnation(struct omen_fault *fault, const char *field, const char *name)
{
    return omen_fault_set(fault, OMEN_FAILED_PRECONDITION, "INCARNATION_CHANGED", field,
                          "%s is not that of collection %.128s: it was deleted and made anew since",
                          field, name);
}

omen_code omen_fault_id(struct omen_fault *fault, const char *field, enum omen_refusal refusal,
                        uint32_t detail)
{
    if (refusal == OMEN_REFUSED_KEY_LENGTH)
        return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_ID", field,
                              "%s is a key of %u bytes, it must have 1 to %u", field, detail,
                              OMEN_KEY_BYTES_MAX);
    return omen_fault_set(fault, OMEN_INVALID_ARGUMENT, "BAD_ID", field,
                          "%s is missing: it must be a number or a key", field);
}

const char *omen_fault_reason(const struct omen_fault *fault)
{
    return fault->error.reason[0] != '\0' ? fault->error.reason : omen_code_name(fault->code);
}

const char *omen_code_name(omen_code code)
{
    switch (code) {
#define X(name, value)                                                                             \
    case name:                                                                                     \
        return #name + sizeof "OMEN";
        OMEN_CODE_MAP(X)
#undef X
    }
    return "UNKNOWN";
}

/* ---- texts that clients can read ----------------------------------------------------------- */

/* Overlong forms,
 * surrogates and what lies beyond U+10FFFF are not told apart from characters by the lead byte
 * alone, so the second byte's range is checked too. */
size_t omen_utf8_bytes(const char *string)
{
    const unsigned char *text = (const unsigned char *)string;
    unsigned char lead = text[0];
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;

    if (lead < 0x80) return 1;
    if (lead < 0xc2 || lead > 0xf4) return 0;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
    if (text[1] < low || text[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if (text[i] < 0x80 || text[i] > 0xbf) return 0;
    return length;
}

void omen_make_utf8(char *text)
{
    while (*text != '\0') {
        size_t length = omen_utf8_bytes(text);

        if (length == 0) *text = '?';
        text += length == 0 ? 1 : length;
    }
}

void omen_fault_make_utf8(struct omen_fault *fault)
{
    omen_make_utf8(fault->error.message);
    omen_make_utf8(fault->field);
}
