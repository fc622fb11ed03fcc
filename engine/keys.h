/* keys.h - the smallest few of many keys, and keys in order.
 *
 * Keys are distinct integers (see omen_key in codes.h), so "the n smallest" is one set, whatever
 * the order of arrival: this is where the graph's independence of threads comes from.
 */
#ifndef OMEN_KEYS_H
#define OMEN_KEYS_H

#include <stdint.h>

#include "engine/codes.h"

/* Moves the `keep` smallest of `count` keys to the front, the largest of them to keys[keep - 1].
 * 1 <= keep <= count. */
void omen_keys_select(omen_key *keys, uint32_t count, uint32_t keep);

/* Sorts ascending. Made for up to a few hundred keys. */
void omen_keys_sort(omen_key *keys, uint32_t count);

/* A buffer that keeps the `keep` smallest keys offered to it. Room for `capacity` >= 2 * keep. */
struct omen_nearest {
    omen_key *keys;
    uint32_t count;
    uint32_t keep;
    uint32_t capacity;
    float threshold; /* nothing farther than this can still get in; +infinity at first */
};

/* Cuts back to `keep` and lowers the threshold. */
void omen_nearest_cut(struct omen_nearest *nearest);

static inline void omen_nearest_add(struct omen_nearest *nearest, omen_key key)
{
    if (nearest->count == nearest->capacity) omen_nearest_cut(nearest);
    nearest->keys[nearest->count++] = key;
}

/* Cuts and sorts; returns the count. */
uint32_t omen_nearest_finish(struct omen_nearest *nearest);

#endif
