/* id.c - see id.h and engine.h. */
#include "engine/id.h"

#include <stdio.h>
#include <string.h>

#include "engine/memory.h"
#include <xxhash.h>

int omen_id_compare(const struct omen_id *a, const struct omen_id *b)
{
    uint32_t shorter = a->key_bytes < b->key_bytes ? a->key_bytes : b->key_bytes;
    int order = 0;

    if (a->key_bytes == 0 && b->key_bytes == 0) return a->num < b->num ? -1 : a->num > b->num;
    if (shorter > 0) order = memcmp(a->key, b->key, shorter);
    if (order != 0) return order;
    return a->key_bytes < b->key_bytes ? -1 : a->key_bytes > b->key_bytes;
}

struct omen_key_text *omen_key_text_create(const uint8_t *bytes, uint32_t length)
{
    struct omen_key_text *key = omen_alloc(sizeof *key + length);

    if (key == NULL) return NULL;
    key->length = (uint8_t)length;
    memcpy(key->bytes, bytes, length);
    return key;
}

uint32_t omen_id_hash(const struct omen_id *id)
{
    if (id->key_bytes == 0) return (uint32_t)XXH3_64bits(&id->num, sizeof id->num);
    return (uint32_t)XXH3_64bits_withSeed(id->key, id->key_bytes, 1);
}

void omen_id_describe(const struct omen_id *id, char out[OMEN_ID_TEXT_BYTES])
{
    size_t used = 0;

    if (id->key_bytes == 0) {
        (void)snprintf(out, OMEN_ID_TEXT_BYTES, "%llu", (unsigned long long)id->num);
        return;
    }
    out[used++] = '"';
    for (uint32_t i = 0; i < id->key_bytes && used + 7 < OMEN_ID_TEXT_BYTES; i++) {
        const unsigned char c = id->key[i];

        if (c >= ' ' && c < 127 && c != '"' && c != '\\')
            out[used++] = (char)c;
        else
            used += (size_t)snprintf(out + used, OMEN_ID_TEXT_BYTES - used, "\\x%02x", c);
    }
    (void)snprintf(out + used, OMEN_ID_TEXT_BYTES - used, "\"");
}
