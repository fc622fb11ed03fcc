/* originals.c - see originals.h. */
#include "engine/originals.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/memory.h"

#define SEGMENTS_MAX (OMEN_SLOTS_MAX / OMEN_SEGMENT_SLOTS)

static omen_code map_segments(struct omen_originals *originals, uint32_t end, omen_error *err);
static omen_code map_kept(struct omen_originals *originals, uint32_t keep, omen_error *err);
static omen_code write_all(int fd, const float *data, size_t bytes, uint64_t offset,
                           omen_error *err);

static size_t segment_bytes(const struct omen_originals *originals)
{
    return originals->row_floats * sizeof(float) * OMEN_SEGMENT_SLOTS;
}

omen_code omen_originals_open(struct omen_originals *originals, const char *dir, uint32_t dim,
                              uint32_t keep, omen_error *err)
{
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC | (keep == 0 ? O_TRUNC : 0);
    char path[4096];
    omen_code code = OMEN_OK;

    memset(originals, 0, sizeof *originals);
    originals->dim = dim;
    originals->row_floats = ((size_t)dim + 15) / 16 * 16;
    (void)snprintf(path, sizeof path, "%s/originals.f32", dir);
    originals->fd = open(path, flags, 0600);
    if (originals->fd < 0) {
        code = omen_fail(err, OMEN_UNAVAILABLE, "open %s: %s", path, strerror(errno));
        goto done;
    }
    originals->segments = omen_pages_map(SEGMENTS_MAX * sizeof *originals->segments);
    originals->padded = omen_alloc_aligned(originals->row_floats * sizeof(float));
    if (originals->segments == NULL || originals->padded == NULL) {
        code = omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "the directory of originals");
        goto done;
    }
    memset(originals->padded, 0, originals->row_floats * sizeof(float));
    if (keep > 0) code = map_kept(originals, keep, err);

done:
    if (code != OMEN_OK) omen_originals_close(originals);
    return code;
}

/* Reading beyond the file's end through the mapping would be a SIGBUS. */
static omen_code map_kept(struct omen_originals *originals, uint32_t keep, omen_error *err)
{
    const uint64_t wanted = (uint64_t)keep * originals->row_floats * sizeof(float);
    struct stat status;

    if (fstat(originals->fd, &status) != 0)
        return omen_fail(err, OMEN_UNAVAILABLE, "originals.f32: %s", strerror(errno));
    if ((uint64_t)status.st_size < wanted)
        return omen_fail(err, OMEN_DATA_LOSS,
                         "originals.f32 has %llu bytes; the rows of %u slots take %llu",
                         (unsigned long long)status.st_size, keep, (unsigned long long)wanted);
    return map_segments(originals, keep, err);
}

omen_code omen_originals_sync(struct omen_originals *originals, omen_error *err)
{
    if (fdatasync(originals->fd) == 0) return OMEN_OK;
    return omen_fail(err, OMEN_UNAVAILABLE, "sync originals.f32: %s", strerror(errno));
}

void omen_originals_close(struct omen_originals *originals)
{
    for (uint32_t i = 0; i < originals->segment_count; i++)
        (void)munmap((void *)(uintptr_t)originals->segments[i], segment_bytes(originals));
    omen_pages_unmap((void *)originals->segments, SEGMENTS_MAX * sizeof *originals->segments);
    omen_free(originals->padded);
    if (originals->fd >= 0) (void)close(originals->fd);
    memset(originals, 0, sizeof *originals);
    originals->fd = -1;
}

omen_code omen_originals_write(struct omen_originals *originals, uint32_t first, uint32_t count,
                               const float *rows, omen_error *err)
{
    size_t row_bytes = originals->row_floats * sizeof(float);
    omen_code code = map_segments(originals, first + count, err);

    if (code != OMEN_OK) return code;
    if (originals->row_floats == originals->dim)
        return write_all(originals->fd, rows, count * row_bytes, first * row_bytes, err);
    for (uint32_t i = 0; i < count && code == OMEN_OK; i++) {
        memcpy(originals->padded, rows + (size_t)i * originals->dim,
               originals->dim * sizeof(float));
        code = write_all(originals->fd, originals->padded, row_bytes,
                         ((uint64_t)first + i) * row_bytes, err);
    }
    return code;
}

/* Punching zeroes the edges of a range, too. Where a file system cannot, zeros are written. */
static omen_code erase_rows(struct omen_originals *originals, uint32_t first, uint32_t count,
                            omen_error *err)
{
    size_t row_bytes = originals->row_floats * sizeof(float);
    omen_code code = OMEN_OK;

    if (fallocate(originals->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  (off_t)(first * row_bytes), (off_t)(count * row_bytes)) == 0)
        return OMEN_OK;
    if (errno != EOPNOTSUPP)
        return omen_fail(err, OMEN_UNAVAILABLE, "erase %u rows of originals.f32: %s", count,
                         strerror(errno));
    memset(originals->padded, 0, row_bytes);
    for (uint32_t i = 0; i < count && code == OMEN_OK; i++)
        code = write_all(originals->fd, originals->padded, row_bytes,
                         ((uint64_t)first + i) * row_bytes, err);
    return code;
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
    size_t bytes = segment_bytes(originals);

    while ((uint64_t)originals->segment_count * OMEN_SEGMENT_SLOTS < end) {
        void *at = mmap(NULL, bytes, PROT_READ, MAP_SHARED, originals->fd,
                        (off_t)(originals->segment_count * bytes));

        if (at == MAP_FAILED)
            return omen_fail(err, OMEN_RESOURCE_EXHAUSTED, "map %zu bytes of originals: %s", bytes,
                             strerror(errno));
        originals->segments[originals->segment_count++] = at;
    }
    return OMEN_OK;
}

static omen_code write_all(int fd, const float *data, size_t bytes, uint64_t offset,
                           omen_error *err)
{
    const char *at = (const char *)data;

    while (bytes > 0) {
        ssize_t n = pwrite(fd, at, bytes, (off_t)offset);

        if (n < 0 && errno == EINTR) continue;
        if (n <= 0)
            return omen_fail(err, OMEN_UNAVAILABLE, "write %zu bytes to originals.f32: %s", bytes,
                             n < 0 ? strerror(errno) : "nothing was written");
        at += n;
        bytes -= (size_t)n;
        offset += (uint64_t)n;
    }
    return OMEN_OK;
}
