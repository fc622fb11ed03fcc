/* log.c - see log.h. A line that stderr does not take is lost: nothing waits for a log. */
#include "service/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define VALUE_BYTES 1024u

static void append(struct omen_logline *line, const char *text);
static void append_quoted(struct omen_logline *line, const char *value);
static bool is_plain(const char *value);

void omen_logline_init(struct omen_logline *line, enum omen_event_level level, const char *message)
{
    static const char *const names[] = {"INFO", "WARNING", "ERROR"};
    char stamp[32];
    char millis[16];
    struct timespec now;
    struct tm utc;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    (void)strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(millis, sizeof millis, ".%03dZ ", (int)(now.tv_nsec / 1000000 % 1000));
    line->length = 0;
    line->text[0] = '\0';
    append(line, stamp);
    append(line, millis);
    append(line, names[level]);
    append(line, " ");
    append(line, message);
}

void omen_logline_add(struct omen_logline *line, const char *key, const char *format, ...)
{
    char value[VALUE_BYTES];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(value, sizeof value, format, args);
    va_end(args);
    append(line, " ");
    append(line, key);
    append(line, "=");
    if (is_plain(value))
        append(line, value);
    else
        append_quoted(line, value);
}

void omen_logline_write(struct omen_logline *line)
{
    line->text[line->length] = '\n'; /* append() keeps one byte free for it */
    ssize_t written = write(STDERR_FILENO, line->text, line->length + 1);
    (void)written;
}

static void append(struct omen_logline *line, const char *text)
{
    size_t room = sizeof line->text - 1 - line->length;
    size_t length = strlen(text);

    if (length > room) length = room;
    memcpy(line->text + line->length, text, length);
    line->length += length;
}

static void append_quoted(struct omen_logline *line, const char *value)
{
    append(line, "\"");
    for (; *value != '\0'; value++) {
        unsigned char byte = (unsigned char)*value;
        char escaped[8];

        if (byte == '"' || byte == '\\')
            (void)snprintf(escaped, sizeof escaped, "\\%c", byte);
        else if (byte == '\n')
            (void)snprintf(escaped, sizeof escaped, "\\n");
        else if (byte < 0x20 || byte >= 0x7f)
            (void)snprintf(escaped, sizeof escaped, "\\x%02x", (unsigned)byte);
        else
            (void)snprintf(escaped, sizeof escaped, "%c", byte);
        append(line, escaped);
    }
    append(line, "\"");
}

static bool is_plain(const char *value)
{
    if (*value == '\0') return false;
    for (; *value != '\0'; value++) {
        unsigned char byte = (unsigned char)*value;
        if (byte <= 0x20 || byte >= 0x7f || byte == '"' || byte == '=' || byte == '\\')
            return false;
    }
    return true;
}
