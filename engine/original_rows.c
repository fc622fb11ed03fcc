/* original_rows.c - see original_rows.h. */
#include "engine/original_rows.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>

#include "engine/memory.h"

#define BLOCK_BYTES (1u << 20)

omen_code omen_original_rows_open(struct omen_original_rows *rows, struct omen_storage *storage,
                                  int dir, uint32_t dim, bool half, omen_error *err)
{
    const size_t unit = half ? sizeof(uint16_t) : sizeof(float);

    *rows = (struct omen_original_rows){.storage = storage,
                                        .name = omen_originals_name(half),
                                        .dim = dim,
                                        .half = half,
                                        .row_bytes = (dim * unit + 63) / 64 * 64};
    omen_kernels_pick(dim, omen_cpu_isas(), &rows->kernels);
    rows->file = storage->ops->open(storage, dir, rows->name, O_RDONLY);
    if (rows->file < 0)
        return omen_fail(err, errno == ENOENT ? OMEN_NOT_FOUND : OMEN_UNAVAILABLE, "open %s: %m",
                         rows->name);
    rows->size = storage->ops->size(storage, rows->file);
    if (rows->size < 0) return omen_fail(err, OMEN_UNAVAILABLE, "the size of %s: %m", rows->name);
    rows->block = omen_alloc_aligned(BLOCK_BYTES);
    rows->vector = omen_alloc(dim * sizeof *rows->vector);
    if (rows->block == NULL || rows->vector == NULL)
        return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "no memory to read originals");
    return OMEN_OK;
}

void omen_original_rows_close(struct omen_original_rows *rows)
{
    if (rows->file >= 0) rows->storage->ops->close(rows->storage, rows->file);
    omen_free(rows->block);
    omen_free(rows->vector);
}

/* The rows from `slot` on, as many as fit, and as there are. */
static omen_code read_block(struct omen_original_rows *rows, uint32_t slot, omen_error *err)
{
    const uint64_t offset = omen_original_rows_offset(rows, slot);
    const uint64_t left = (uint64_t)rows->size > offset ? (uint64_t)rows->size - offset : 0;
    size_t count = left < BLOCK_BYTES ? (size_t)left : BLOCK_BYTES;

    if (omen_storage_read_all(rows->storage, rows->file, rows->block, &count, offset) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "read %s at offset %" PRIu64 ": %m", rows->name,
                         offset + count);
    rows->block_first = slot;
    rows->block_rows = count / rows->row_bytes;
    return OMEN_OK;
}

omen_code omen_original_rows_check(struct omen_original_rows *rows, uint32_t slot, uint64_t hash,
                                   bool *good, omen_error *err)
{
    *good = false;
    if (slot < rows->block_first || slot >= rows->block_first + rows->block_rows) {
        const omen_code code = read_block(rows, slot, err);

        if (code != OMEN_OK) return code;
    }
    if (rows->block_rows == 0) return OMEN_OK; /* the file ends before */
    const char *row = rows->block + (slot - rows->block_first) * rows->row_bytes;
    const float *vector = (const float *)(const void *)row;

    if (rows->half) {
        rows->kernels.widen_f16((const uint16_t *)(const void *)row, rows->dim, rows->vector);
        vector = rows->vector;
    }
    *good = omen_original_hash(vector, rows->dim) == hash;
    return OMEN_OK;
}
