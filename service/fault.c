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

const char *omen_fault_reason(const struct omen_fault *fault)
{
    if (fault->error.reason[0] != '\0') return fault->error.reason;
    switch (fault->code) {
#define X(name, value)                                                                             \
    case name:                                                                                     \
        return #name + sizeof "OMEN";
        OMEN_CODE_MAP(X)
#undef X
    }
    return "UNKNOWN";
}
