/* status.c - see status.h. */
#include "engine/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void write_message(omen_error *err, const char *reason, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

omen_code omen_fail(omen_error *err, omen_code code, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    write_message(err, "", format, args);
    va_end(args);
    return code;
}

omen_code omen_fail_because(omen_error *err, omen_code code, const char *reason, const char *format,
                            ...)
{
    va_list args;

    va_start(args, format);
    write_message(err, reason, format, args);
    va_end(args);
    return code;
}

static void write_message(omen_error *err, const char *reason, const char *format, va_list args)
{
    if (err == NULL) return;
    char sentence[OMEN_ERROR_MAX]; /* an argument may be err->message itself: "open %s: %s" */
    (void)vsnprintf(sentence, sizeof sentence, format, args);
    (void)snprintf(err->reason, sizeof err->reason, "%s", reason);
    memcpy(err->message, sentence, sizeof sentence);
    err->figures = (struct omen_figures){0};
    err->retry_ms = 0;
}
