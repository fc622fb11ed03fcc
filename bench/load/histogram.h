/* histogram.h - durations in buckets whose width grows with them, as HdrHistogram has them.
 *
 * 128 buckets to each power of two: a percentile is told up to 0.8 % too large, never too small.
 * Count, sum and maximum are exact. One thread writes a histogram; merge when it is done.
 */
#ifndef OMEN_LOAD_HISTOGRAM_H
#define OMEN_LOAD_HISTOGRAM_H

#include <stdint.h>

#define OMEN_HISTOGRAM_BITS    7u  /* of a value that choose its bucket */
#define OMEN_HISTOGRAM_POWERS  41u /* 2^47 ns: 39 hours, larger ones go into the last bucket */
#define OMEN_HISTOGRAM_BUCKETS ((OMEN_HISTOGRAM_POWERS + 1u) << OMEN_HISTOGRAM_BITS)

struct omen_load_histogram {
    uint64_t count;
    uint64_t max;
    double sum;
    uint64_t buckets[OMEN_HISTOGRAM_BUCKETS];
};

/* `nanoseconds` below 0 count as 0. */
void omen_load_histogram_add(struct omen_load_histogram *histogram, int64_t nanoseconds);

void omen_load_histogram_merge(struct omen_load_histogram *into,
                               const struct omen_load_histogram *from);

/* The smallest duration that a `part` (0..1) of all do not exceed; 0 of an empty histogram. */
uint64_t omen_load_histogram_percentile(const struct omen_load_histogram *histogram, double part);

#endif
