/* histogram.c - see histogram.h. Nothing here can fail. */
#include "bench/load/histogram.h"

#include <math.h>
#include <stddef.h>

#define SUB (1u << OMEN_HISTOGRAM_BITS)

/* Values below SUB have buckets of their own; above, the highest bit and the BITS after it say
 * which one. */
static uint32_t bucket_of(uint64_t value)
{
    if (value < SUB) return (uint32_t)value;

    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - OMEN_HISTOGRAM_BITS;
    uint32_t bucket = (shift << OMEN_HISTOGRAM_BITS) + (uint32_t)(value >> shift);

    return bucket < OMEN_HISTOGRAM_BUCKETS ? bucket : OMEN_HISTOGRAM_BUCKETS - 1;
}

/* The largest value that belongs into the bucket. */
static uint64_t top_of(uint32_t bucket)
{
    if (bucket < SUB) return bucket;

    uint32_t shift = (bucket >> OMEN_HISTOGRAM_BITS) - 1;
    uint64_t lowest = (uint64_t)(bucket - (shift << OMEN_HISTOGRAM_BITS)) << shift;

    return lowest + ((1ull << shift) - 1);
}

void omen_load_histogram_add(struct omen_load_histogram *histogram, int64_t nanoseconds)
{
    uint64_t value = nanoseconds < 0 ? 0 : (uint64_t)nanoseconds;

    histogram->count++;
    histogram->sum += (double)value;
    if (value > histogram->max) histogram->max = value;
    histogram->buckets[bucket_of(value)]++;
}

void omen_load_histogram_merge(struct omen_load_histogram *into,
                               const struct omen_load_histogram *from)
{
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max) into->max = from->max;
    for (uint32_t i = 0; i < OMEN_HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
}

uint64_t omen_load_histogram_percentile(const struct omen_load_histogram *histogram, double part)
{
    uint64_t wanted = (uint64_t)ceil(part * (double)histogram->count);
    uint64_t seen = 0;

    if (histogram->count == 0) return 0;
    if (wanted == 0) wanted = 1;
    for (uint32_t i = 0; i < OMEN_HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= wanted) return top_of(i) < histogram->max ? top_of(i) : histogram->max;
    }
    return histogram->max;
}
