/* keys.c - see keys.h. */
#include "engine/keys.h"

/* Hoare's selection, the middle element as pivot. Keys are distinct, so no run of equals exists. */
void omen_keys_select(omen_key *keys, uint32_t count, uint32_t keep)
{
    int64_t low = 0;
    int64_t high = (int64_t)count - 1;
    int64_t nth = (int64_t)keep - 1;

    while (low < high) {
        omen_key pivot = keys[nth];
        int64_t i = low;
        int64_t j = high;

        while (i <= j) {
            while (keys[i] < pivot)
                i++;
            while (keys[j] > pivot)
                j--;
            if (i <= j) {
                omen_key t = keys[i];
                keys[i++] = keys[j];
                keys[j--] = t;
            }
        }
        if (j < nth) low = i;
        if (nth < i) high = j;
    }
}

/* Shell's sort with Ciura's gaps: no recursion, few mispredicted branches at 16 to 256 keys. */
void omen_keys_sort(omen_key *keys, uint32_t count)
{
    static const uint32_t gaps[] = {1750, 701, 301, 132, 57, 23, 10, 4, 1};

    for (uint32_t g = 0; g < sizeof gaps / sizeof *gaps; g++) {
        uint32_t gap = gaps[g];

        for (uint32_t i = gap; i < count; i++) {
            omen_key key = keys[i];
            uint32_t j = i;

            for (; j >= gap && keys[j - gap] > key; j -= gap)
                keys[j] = keys[j - gap];
            keys[j] = key;
        }
    }
}

void omen_nearest_cut(struct omen_nearest *nearest)
{
    float farthest = 0.0f;

    if (nearest->count < nearest->keep) return;
    if (nearest->count > nearest->keep)
        omen_keys_select(nearest->keys, nearest->count, nearest->keep);
    nearest->count = nearest->keep;
    for (uint32_t i = 0; i < nearest->keep; i++) {
        float d = omen_key_distance(nearest->keys[i]);
        if (d > farthest) farthest = d;
    }
    nearest->threshold = farthest;
}

uint32_t omen_nearest_finish(struct omen_nearest *nearest)
{
    omen_nearest_cut(nearest);
    omen_keys_sort(nearest->keys, nearest->count);
    return nearest->count;
}
