/* id.h - points' ids inside the engine: how they are stored, hashed and compared.
 *
 * A slot holds 64 bits for its id: the number, or the address of a stored key (the slot's flag
 * OMEN_SLOT_KEYED says which). A stored key is one allocation, owned by the chunk that brought it,
 * then by the slot, until the slot is recycled: a reader that may see the slot may read the key.
 */
#ifndef OMEN_ID_INSIDE_H
#define OMEN_ID_INSIDE_H

#include "engine/engine.h"

struct omen_key_text {
    uint8_t length;
    uint8_t bytes[];
};

/* A copy of the key; NULL without memory. Free with omen_free(). */
struct omen_key_text *omen_key_text_create(const uint8_t *bytes, uint32_t length);

/* What a slot stores for an id: `stored` is the number or the address of a stored key. */
static inline struct omen_id omen_id_of(uint64_t stored, bool keyed)
{
    const struct omen_key_text *key;

    if (!keyed) return omen_id_num(stored);
    key = (const struct omen_key_text *)(uintptr_t)stored;
    return omen_id_key(key->bytes, key->length);
}

uint32_t omen_id_hash(const struct omen_id *id);

/* For a sentence, which has 255 bytes: 7, or "key", cut off where it is long. Bytes that are no
 * plain text are shown as \xNN. */
#define OMEN_ID_TEXT_BYTES 100u
void omen_id_describe(const struct omen_id *id, char out[OMEN_ID_TEXT_BYTES]);

static inline bool omen_id_equal(const struct omen_id *a, const struct omen_id *b)
{
    if (a->key_bytes != b->key_bytes) return false;
    return a->key_bytes == 0 ? a->num == b->num
                             : __builtin_memcmp(a->key, b->key, a->key_bytes) == 0;
}

#endif
