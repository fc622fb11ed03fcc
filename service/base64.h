/* base64.h - RFC 4648's base64, for keys in JSON. */
#ifndef OMEN_BASE64_H
#define OMEN_BASE64_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OMEN_BASE64_BYTES(bytes) (((bytes) + 2) / 3 * 4 + 1) /* of the text, its NUL included */

/* `out` has room for OMEN_BASE64_BYTES(bytes). */
void omen_base64_encode(const uint8_t *data, size_t bytes, char *out);

/* The first `room` bytes go to `out`; *bytes is the whole length, which may be larger. False: the
 * text is no base64 with its padding. */
bool omen_base64_decode(const char *text, uint8_t *out, size_t room, size_t *bytes);

#endif
