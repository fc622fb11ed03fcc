/* text.h - text that grows: what the HTTP port answers is written into one of these.
 *
 * Without memory the text turns `failed`, takes nothing more, and has no payload in the end, so
 * nobody has to look after every piece.
 */
#ifndef OMEN_TEXT_H
#define OMEN_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/engine.h"
#include "service/listener.h"

struct omen_text {
    char *data; /* zero the struct before the first use */
    size_t bytes;
    size_t room;
    bool failed;
};

OMEN_PRINTF(2, 3)
void omen_text_add(struct omen_text *text, const char *format, ...);

/* `string` as JSON: quoted and escaped. It must be valid UTF-8. */
void omen_text_add_json(struct omen_text *text, const char *string);

/* Frees what was not taken. */
void omen_text_deinit(struct omen_text *text);

/* The bytes, and an empty text. Owns: the payload's data, NULL if the text failed. */
struct omen_payload omen_text_take(struct omen_text *text);

#endif
