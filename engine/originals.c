/* originals.c - see originals.h. */
#include "engine/originals.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "engine/memory.h"

#define SEGMENTS_MAX (OMEN_SLOTS_MAX / OMEN_SEGMENT_SLOTS)

/* Rows that are padded, or narrowed, and then written at once. */
#define STORED_BYTES (256u << 10)

/* Room is taken an eighth of the file at a time, between these. */
#define EXTENT_BYTES_MIN (64u << 10)
#define EXTENT_BYTES_MAX (64u << 20)
/* Freed rows this near to one another get their room by one call. */
#define GAP_BYTES (64u << 10)

static omen_code map_segments(struct omen_originals *originals, uint32_t end, omen_error *err);
static omen_code map_kept(struct omen_originals *originals, uint32_t keep, omen_error *err);
static omen_code write_all(struct omen_originals *originals, const void *data, size_t bytes,
                           uint64_t offset, omen_error *err);

const char *omen_originals_name(bool half)
{
    return half ? "originals.f16" : "originals.f32";
}

static const char *name_of(const struct omen_originals *originals)
{
    return omen_originals_name(originals->half);
}

static size_t segment_bytes(const struct omen_originals *originals)
{
    return originals->row_bytes * OMEN_SEGMENT_SLOTS;
}

static omen_code open_file(struct omen_originals *originals, const char *dir, omen_error *err)
{
    struct omen_storage *storage = originals->storage;
    const int handle = storage->ops->open_dir(storage, dir);
    int64_t size = -1;

    originals->file = -1;
    if (handle < 0) return omen_storage_fail(err, "open %s", dir);
    originals->file = storage->ops->open(storage, handle, name_of(originals), O_RDWR | O_CREAT);
    storage->ops->close(storage, handle);
    if (originals->file >= 0) size = storage->ops->size(storage, originals->file);
    if (size < 0) return omen_storage_fail(err, "open %s/%s", dir, name_of(originals));
    originals->allocated = (uint64_t)size;
    return OMEN_OK;
}

uint64_t omen_original_hash(const float *row, uint32_t dim)
{
    return XXH3_64bits(row, dim * sizeof *row);
}

omen_code omen_originals_open(struct omen_originals *originals, struct omen_storage *storage,
                              const struct omen_originals_options *options, omen_error *err)
{
    const size_t unit = options->half ? sizeof(uint16_t) : sizeof(float);
    omen_code code = OMEN_OK;

    memset(originals, 0, sizeof *originals);
    originals->storage = storage;
    originals->kernels = options->kernels;
    originals->dim = options->dim;
    originals->half = options->half;
    originals->row_bytes = (options->dim * unit + 63) / 64 * 64;
    originals->stored_rows = (uint32_t)(STORED_BYTES / originals->row_bytes);
    code = open_file(originals, options->dir, err);
    if (code != OMEN_OK) goto done;
    code = omen_doubts_create(&originals->doubts, err);
    if (code != OMEN_OK) goto done;
    originals->segments = omen_pages_map(SEGMENTS_MAX * sizeof *originals->segments);
    originals->stored = omen_alloc_aligned(originals->stored_rows * originals->row_bytes);
    if (originals->segments == NULL || originals->stored == NULL) {
        code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the directory of originals");
        goto done;
    }
    memset(originals->stored, 0, originals->stored_rows * originals->row_bytes);
    if (options->keep > 0) code = map_kept(originals, options->keep, err);

done:
    if (code != OMEN_OK) omen_originals_close(originals);
    return code;
}

/* Reading beyond the file's end through the mapping would be a SIGBUS. */
static omen_code map_kept(struct omen_originals *originals, uint32_t keep, omen_error *err)
{
    const uint64_t wanted = keep * (uint64_t)originals->row_bytes;

    if (originals->allocated < wanted)
        return omen_fail(err, OMEN_DATA_LOSS, "%s has %llu bytes; the rows of %u slots take %llu",
                         name_of(originals), (unsigned long long)originals->allocated, keep,
                         (unsigned long long)wanted);
    return map_segments(originals, keep, err);
}

omen_code omen_originals_sync(struct omen_originals *originals, omen_error *err)
{
    struct omen_storage *storage = originals->storage;

    if (storage->ops->sync(storage, originals->file, false) == 0) return OMEN_OK;
    return omen_fail(err, OMEN_UNAVAILABLE, "sync %s: %m", name_of(originals));
}

void omen_originals_close(struct omen_originals *originals)
{
    struct omen_storage *storage = originals->storage;

    if (storage == NULL) return;
    for (uint32_t i = 0; i < originals->segment_count; i++)
        storage->ops->unmap(storage, (void *)(uintptr_t)originals->segments[i],
                            segment_bytes(originals));
    omen_pages_unmap((void *)originals->segments, SEGMENTS_MAX * sizeof *originals->segments);
    omen_doubts_destroy(originals->doubts);
    omen_free(originals->stored);
    if (originals->file >= 0) storage->ops->close(storage, originals->file);
    memset(originals, 0, sizeof *originals);
}

/* ---- room on the disk ------------------------------------------------------------------------ */

static omen_code write_zeros(struct omen_originals *originals, uint64_t offset, uint64_t count,
                             omen_error *err)
{
    static const uint8_t zeros[65536];
    omen_code code = OMEN_OK;

    while (count > 0 && code == OMEN_OK) {
        const size_t step = count < sizeof zeros ? (size_t)count : sizeof zeros;

        code = write_all(originals, zeros, step, offset, err);
        offset += step;
        count -= step;
    }
    return code;
}

/* Where a file system cannot allocate, new bytes are written as zeros; there nothing is punched out
 * either, so old ones have their room. */
static omen_code allocate(struct omen_originals *originals, uint64_t offset, uint64_t count,
                          omen_error *err)
{
    struct omen_storage *storage = originals->storage;

    while (storage->ops->allocate(storage, originals->file, offset, count) != 0) {
        if (errno == EINTR) continue;
        if (errno != EOPNOTSUPP)
            return omen_storage_fail(err, "allocate %llu bytes for %s", (unsigned long long)count,
                                     name_of(originals));
        if (offset < originals->allocated) return OMEN_OK;
        return write_zeros(originals, offset, count, err);
    }
    return OMEN_OK;
}

static uint64_t extent_bytes(uint64_t allocated)
{
    const uint64_t wanted = allocated / 8 / EXTENT_BYTES_MIN * EXTENT_BYTES_MIN;

    if (wanted < EXTENT_BYTES_MIN) return EXTENT_BYTES_MIN;
    return wanted > EXTENT_BYTES_MAX ? EXTENT_BYTES_MAX : wanted;
}

uint64_t omen_originals_missing(const struct omen_originals *originals, uint32_t end)
{
    const uint64_t wanted = end * (uint64_t)originals->row_bytes;

    return wanted > originals->allocated ? wanted - originals->allocated : 0;
}

/* With some in store, as far as `spare` goes. */
static omen_code extend(struct omen_originals *originals, uint64_t missing, uint64_t spare,
                        omen_error *err)
{
    const uint64_t extent = extent_bytes(originals->allocated);
    uint64_t count = missing;

    if (extent > missing) count += extent - missing < spare ? extent - missing : spare;
    const omen_code code = allocate(originals, originals->allocated, count, err);
    if (code == OMEN_OK) originals->allocated += count;
    return code;
}

omen_code omen_originals_reserve(struct omen_originals *originals, uint32_t end, uint64_t spare,
                                 const uint32_t *again, uint32_t again_count, omen_error *err)
{
    const uint64_t bytes = originals->row_bytes;
    const uint64_t missing = omen_originals_missing(originals, end);
    omen_code code = missing > 0 ? extend(originals, missing, spare, err) : OMEN_OK;

    for (uint32_t i = 0; i < again_count && code == OMEN_OK;) {
        const uint64_t last = again[i];
        uint64_t first = last;

        while (++i < again_count && (first - again[i]) * bytes <= GAP_BYTES)
            first = again[i];
        code = allocate(originals, first * bytes, (last - first + 1) * bytes, err);
    }
    return code;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void store_row(const struct omen_originals *originals, const float *row, uint8_t *out)
{
    if (originals->half)
        originals->kernels->narrow_f16(row, originals->dim, (uint16_t *)(void *)out);
    else
        memcpy(out, row, originals->dim * sizeof *row);
}

static omen_code store_rows(struct omen_originals *originals, uint32_t first, uint32_t count,
                            const float *rows, omen_error *err)
{
    const size_t bytes = originals->row_bytes;
    omen_code code = OMEN_OK;

    for (uint32_t at = 0; at < count && code == OMEN_OK; at += originals->stored_rows) {
        const uint32_t left = count - at;
        const uint32_t n = left < originals->stored_rows ? left : originals->stored_rows;

        for (uint32_t i = 0; i < n; i++)
            store_row(originals, rows + ((size_t)at + i) * originals->dim,
                      originals->stored + i * bytes);
        code =
            write_all(originals, originals->stored, n * bytes, ((uint64_t)first + at) * bytes, err);
    }
    return code;
}

omen_code omen_originals_write(struct omen_originals *originals, uint32_t first, uint32_t count,
                               const float *rows, omen_error *err)
{
    const size_t bytes = originals->row_bytes;
    const uint64_t missing = omen_originals_missing(originals, first + count);
    omen_code code = map_segments(originals, first + count, err);

    if (code == OMEN_OK && missing > 0) code = extend(originals, missing, 0, err);
    if (code != OMEN_OK) return code;
    if (!originals->half && bytes == originals->dim * sizeof *rows)
        code = write_all(originals, rows, count * bytes, first * (uint64_t)bytes, err);
    else
        code = store_rows(originals, first, count, rows, err);
    /* Not before: a damaged row that is mended in place is left out until it is whole. */
    if (code == OMEN_OK) omen_doubts_clear(originals->doubts, first, count);
    return code;
}

/* Punching zeroes the edges of a range, too. Where a file system cannot, zeros are written. */
static omen_code erase_rows(struct omen_originals *originals, uint32_t first, uint32_t count,
                            omen_error *err)
{
    struct omen_storage *storage = originals->storage;
    const uint64_t offset = first * (uint64_t)originals->row_bytes;
    const uint64_t bytes = count * (uint64_t)originals->row_bytes;

    omen_doubts_clear(originals->doubts, first, count);
    if (storage->ops->punch(storage, originals->file, offset, bytes) == 0) return OMEN_OK;
    if (errno != EOPNOTSUPP)
        return omen_fail(err, OMEN_UNAVAILABLE, "erase %u rows of %s: %m", count,
                         name_of(originals));
    return write_zeros(originals, offset, bytes, err);
}

omen_code omen_originals_erase(struct omen_originals *originals, const struct omen_slots *slots,
                               omen_error *err)
{
    omen_code code = OMEN_OK;

    for (uint32_t i = 0; i < slots->count && code == OMEN_OK;) {
        uint32_t n = 1;

        while (i + n < slots->count && slots->slots[i + n] == slots->slots[i] + n)
            n++;
        code = erase_rows(originals, slots->slots[i], n, err);
        i += n;
    }
    return code;
}

static omen_code map_segments(struct omen_originals *originals, uint32_t end, omen_error *err)
{
    struct omen_storage *storage = originals->storage;
    const size_t bytes = segment_bytes(originals);

    while ((uint64_t)originals->segment_count * OMEN_SEGMENT_SLOTS < end) {
        void *at = storage->ops->map(storage, originals->file,
                                     originals->segment_count * (uint64_t)bytes, bytes);

        if (at == NULL)
            return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "map %zu bytes of %s: %m", bytes,
                             name_of(originals));
        originals->segments[originals->segment_count++] = at;
    }
    return OMEN_OK;
}

static omen_code write_all(struct omen_originals *originals, const void *data, size_t bytes,
                           uint64_t offset, omen_error *err)
{
    struct iovec part = {(void *)(uintptr_t)data, bytes};
    omen_error failure;
    const omen_code code =
        omen_storage_write_all(originals->storage, originals->file, &part, 1, &offset, &failure);

    if (code == OMEN_OK) return OMEN_OK;
    return omen_fail_because(err, code, failure.reason, "%s: %.200s", name_of(originals),
                             failure.message);
}
