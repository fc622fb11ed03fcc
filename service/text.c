/* text.c - see text.h. The room doubles, so a text of n bytes is copied at most twice over. */
#include "service/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define ROOM_FIRST 1024u

/* Makes room for `bytes` more and a NUL. */
static bool reserve(struct omen_text *text, size_t bytes)
{
    size_t room = text->room == 0 ? ROOM_FIRST : text->room;
    char *data = NULL;

    if (text->failed) return false;
    if (text->room > text->bytes + bytes) return true;
    while (room <= text->bytes + bytes)
        room *= 2;
    data = realloc(text->data, room);
    if (data == NULL) {
        text->failed = true;
        return false;
    }
    text->data = data;
    text->room = room;
    return true;
}

void omen_text_add(struct omen_text *text, const char *format, ...)
{
    va_list args;
    va_list again;
    int bytes = 0;

    if (!reserve(text, 0)) return;
    va_start(args, format);
    va_copy(again, args);
    bytes = vsnprintf(text->data + text->bytes, text->room - text->bytes, format, args);
    if (bytes < 0) {
        text->failed = true;
    } else if ((size_t)bytes < text->room - text->bytes) {
        text->bytes += (size_t)bytes;
    } else if (reserve(text, (size_t)bytes)) {
        (void)vsnprintf(text->data + text->bytes, text->room - text->bytes, format, again);
        text->bytes += (size_t)bytes;
    }
    va_end(again);
    va_end(args);
}

void omen_text_add_json(struct omen_text *text, const char *string)
{
    omen_text_add(text, "\"");
    for (const char *at = string; *at != '\0'; at++) {
        unsigned char byte = (unsigned char)*at;

        if (byte == '"' || byte == '\\')
            omen_text_add(text, "\\%c", byte);
        else if (byte < 0x20 || byte == 0x7f)
            omen_text_add(text, "\\u%04x", byte);
        else
            omen_text_add(text, "%c", byte);
    }
    omen_text_add(text, "\"");
}

void omen_text_deinit(struct omen_text *text)
{
    free(text->data);
    *text = (struct omen_text){0};
}

struct omen_payload omen_text_take(struct omen_text *text)
{
    struct omen_payload payload = {0};

    if (!text->failed && reserve(text, 0)) {
        payload.data = (uint8_t *)text->data;
        payload.bytes = text->bytes;
    } else {
        free(text->data);
    }
    *text = (struct omen_text){0};
    return payload;
}
