/* rows.h - the vectors that are sent: from a .npy file, or made from a seed. */
#ifndef OMEN_LOAD_ROWS_H
#define OMEN_LOAD_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"

/* Fixed once made; any thread may read. */
struct omen_load_rows {
    const float *values; /* row after row */
    uint64_t count;
    uint32_t dim;
    float *made;  /* ours to free, or NULL */
    void *mapped; /* ours to unmap, or NULL */
    size_t mapped_bytes;
};

/* Reads a two-dimensional array of little-endian f32 or f16 in C order; `limit` rows at most, 0:
 * all. f32 is mapped, f16 becomes f32 in memory.
 *
 * Owns:  *rows, release it with omen_load_rows_close().
 * Fails: OMEN_NOT_FOUND, OMEN_INVALID_ARGUMENT (not such an array), OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_load_rows_read(const char *path, uint64_t limit,
                                           struct omen_load_rows *rows, omen_error *err);

/* Which rows of the endless synthetic set. */
struct omen_load_synthetic {
    uint64_t seed;
    uint64_t first; /* row i is the same whatever rows are made with it */
    uint64_t count;
    uint32_t dim;
};

/* A mixture: each row is one of 256 centres and noise around it.
 *
 * Owns:  *rows, release it with omen_load_rows_close(). Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_load_rows_make(const struct omen_load_synthetic *wanted,
                                           struct omen_load_rows *rows, omen_error *err);

/* Zeroed rows are allowed. */
void omen_load_rows_close(struct omen_load_rows *rows);

#endif
