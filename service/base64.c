/* base64.c - see base64.h. */
#include "service/base64.h"

#include <string.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void omen_base64_encode(const uint8_t *data, size_t bytes, char *out)
{
    for (size_t i = 0; i < bytes; i += 3) {
        size_t left = bytes - i;
        uint32_t group = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                         (left > 2 ? data[i + 2] : 0u);

        *out++ = alphabet[group >> 18];
        *out++ = alphabet[group >> 12 & 63];
        *out++ = left > 1 ? alphabet[group >> 6 & 63] : '=';
        *out++ = left > 2 ? alphabet[group & 63] : '=';
    }
    *out = '\0';
}

bool omen_base64_decode(const char *text, uint8_t *out, size_t room, size_t *bytes)
{
    size_t length = strlen(text);
    size_t padding = 0;
    uint32_t group = 0;

    *bytes = 0;
    if (length % 4 != 0) return false;
    while (padding < 2 && padding < length && text[length - 1 - padding] == '=')
        padding++;
    for (size_t i = 0; i < length; i++) {
        const char *digit = i < length - padding ? strchr(alphabet, text[i]) : alphabet;

        if (digit == NULL) return false;
        group = group << 6 | (uint32_t)(digit - alphabet);
        if (i % 4 != 3) continue;
        for (unsigned shift = 24; shift > 0; shift -= 8) {
            if (*bytes == length / 4 * 3 - padding) break;
            if (*bytes < room) out[*bytes] = (uint8_t)(group >> (shift - 8));
            ++*bytes;
        }
        group = 0;
    }
    return true;
}
