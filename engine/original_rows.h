/* original_rows.h - the file of originals, row by row, without a collection: is a vector the one
 * that its slot's hash speaks of? For who verifies and who recovers.
 */
#ifndef OMEN_ORIGINAL_ROWS_H
#define OMEN_ORIGINAL_ROWS_H

#include <stdbool.h>

#include "engine/originals.h"

struct omen_original_rows {
    struct omen_storage *storage; /* borrowed */
    const char *name;             /* of the file */
    int file;
    int64_t size;
    uint32_t dim;
    bool half;
    size_t row_bytes; /* as the rows stand in the file */
    struct omen_kernels kernels;
    float *vector; /* a row of halves as floats, of which the hash is */
    char *block;   /* some rows, read together */
    uint64_t block_first, block_rows;
};

/* Owns: *rows, release it with omen_original_rows_close(), also after a failure.
 * Fails: OMEN_NOT_FOUND (there is no such file), OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_original_rows_open(struct omen_original_rows *rows,
                                               struct omen_storage *storage, int dir, uint32_t dim,
                                               bool half, omen_error *err);
void omen_original_rows_close(struct omen_original_rows *rows);

/* *good: is there a vector in this slot's row, and does it have this hash (graph.h)? Slots in
 * ascending order are read in blocks. Fails: OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_original_rows_check(struct omen_original_rows *rows, uint32_t slot,
                                                uint64_t hash, bool *good, omen_error *err);

static inline uint64_t omen_original_rows_offset(const struct omen_original_rows *rows,
                                                 uint32_t slot)
{
    return (uint64_t)slot * rows->row_bytes;
}

#endif
