/* keys.c - see keys.h. */
#include "engine/keys.h"

static omen_key take_pivot(omen_key *keys, uint32_t low, uint32_t high);

/* Selection by partitions without branches: each key is swapped, and the boundary moves on by the
 * result of a comparison. Whether a key is nearer than the pivot is a coin toss, so a branch on it
 * would be mispredicted every other time: that took 14 % of a build. */
void omen_keys_select(omen_key *keys, uint32_t count, uint32_t keep)
{
    uint32_t low = 0;
    uint32_t high = count; /* one past the last */
    uint32_t nth = keep - 1;

    while (high - low > 1) {
        uint32_t boundary = low;
        omen_key pivot = take_pivot(keys, low, high);

        for (uint32_t i = low; i < high - 1; i++) {
            omen_key key = keys[i];

            keys[i] = keys[boundary];
            keys[boundary] = key;
            boundary += key < pivot;
        }
        keys[high - 1] = keys[boundary];
        keys[boundary] = pivot;
        if (boundary == nth) return;
        if (boundary < nth)
            low = boundary + 1;
        else
            high = boundary;
    }
}

/* The median of three goes to the end. */
static omen_key take_pivot(omen_key *keys, uint32_t low, uint32_t high)
{
    uint32_t last = high - 1;
    uint32_t middle = low + (high - low) / 2;
    uint32_t at = middle;
    omen_key pivot;

    if ((keys[low] < keys[middle]) == (keys[last] < keys[low]))
        at = low;
    else if ((keys[last] < keys[middle]) == (keys[low] < keys[last]))
        at = last;
    pivot = keys[at];
    keys[at] = keys[last];
    keys[last] = pivot;
    return pivot;
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
    if (nearest->count < nearest->keep) return;
    omen_keys_select(nearest->keys, nearest->count, nearest->keep);
    nearest->count = nearest->keep;
    nearest->threshold = omen_key_distance(nearest->keys[nearest->keep - 1]);
}

uint32_t omen_nearest_finish(struct omen_nearest *nearest)
{
    omen_nearest_cut(nearest);
    omen_keys_sort(nearest->keys, nearest->count);
    return nearest->count;
}
