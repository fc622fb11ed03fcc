/* originals.h - the vectors that distances are exact of: a file, written with pwrite and mapped
 * read-only. f32 as they were sent, or halves, to which chunk.c has rounded them.
 *
 * Rows stand in slot order, each padded to a multiple of 64 bytes, so that every row is 64-byte
 * aligned. Writing goes through pwrite, never through the mapping: a full disk is then an error
 * code, not a SIGBUS. Reading goes through the mapping, which the kernel keeps coherent with it.
 * The file is derived from the log: start-up writes it again, in place (until checkpoints name it).
 *
 * Room on the disk is had before it is needed: omen_originals_reserve(), which comes before a chunk
 * is written to the log, allocates the blocks of new rows, and again those of rows that were
 * punched out. So what is in the log can be admitted, whatever happens to the disk meanwhile. The
 * mapping is read where a visible row stands, and nowhere else: those bytes were written, so they
 * have a page on every file system.
 *
 * The directory of segments needs no atomics: ADMIT writes a segment's pointer, and a slot's row,
 * before the slot's epoch is handed to the applier. A search may come to a slot earlier (a
 * duplicate stands in its chain before its row is written), but then the slot is not visible to it,
 * and only rows of visible slots, or below the published count, are read.
 */
#ifndef OMEN_ORIGINALS_H
#define OMEN_ORIGINALS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/doubts.h"
#include "engine/engine.h"
#include "engine/graph.h"
#include "engine/slots.h"
#include "engine/storage.h"
#include "kernels/kernels.h"

struct omen_originals {
    /* Fixed once it is opened. */
    struct omen_storage *storage;       /* borrowed */
    const struct omen_kernels *kernels; /* borrowed */
    int file;
    struct omen_doubts *doubts; /* which rows are not known to be good */
    uint32_t dim;
    bool half;
    size_t row_bytes;

    /* Written by ADMIT before a slot of the segment is visible, then fixed; read by searches. */
    const uint8_t **segments;

    /* ADMIT only. */
    uint32_t segment_count;
    uint64_t allocated; /* bytes from the start on that have had room */
    uint8_t *stored;    /* rows as the file has them, where a chunk's are others */
    uint32_t stored_rows;
};

/* Of the file, in its collection's directory. */
const char *omen_originals_name(bool half);

struct omen_originals_options {
    const char *dir;
    uint32_t dim;
    bool half;
    uint32_t keep;
    const struct omen_kernels *kernels; /* of this dim */
};

/* Opens originals.f32, or .f16, in `dir` with the rows of the first `keep` slots, which are there,
 * or creates it. What else is in it stays until it is written again. On failure nothing is left
 * open. Borrows: storage and kernels, until it is closed. Fails: OMEN_UNAVAILABLE,
 * OMEN_RESOURCE_EXHAUSTED, OMEN_DATA_LOSS (rows to keep are missing). */
OMEN_CHECKED omen_code omen_originals_open(struct omen_originals *originals,
                                           struct omen_storage *storage,
                                           const struct omen_originals_options *options,
                                           omen_error *err);
/* A zeroed struct is allowed. */
void omen_originals_close(struct omen_originals *originals);

/* Makes room on the disk for the rows of all slots below `end`, and once more for those of `again`,
 * which may have been erased: descending. `spare` bytes more may be taken. ADMIT's thread.
 * Fails: OMEN_RESOURCE_EXHAUSTED DISK_FULL, OMEN_UNAVAILABLE (the file system), nothing changed. */
OMEN_CHECKED omen_code omen_originals_reserve(struct omen_originals *originals, uint32_t end,
                                              uint64_t spare, const uint32_t *again,
                                              uint32_t again_count, omen_error *err);

/* Bytes of the file that the slots below `end` would add to what has room. */
uint64_t omen_originals_missing(const struct omen_originals *originals, uint32_t end);

/* Writes `count` rows (count x dim floats) at slots first.. . ADMIT's thread.
 * Fails: OMEN_UNAVAILABLE (the file system), OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_originals_write(struct omen_originals *originals, uint32_t first,
                                            uint32_t count, const float *rows, omen_error *err);

/* Makes what was written and erased before the call durable. Any thread, beside the writing one.
 * Fails: OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_originals_sync(struct omen_originals *originals, omen_error *err);

/* The rows of these slots (ascending) are gone: their bytes become zero, and whole blocks go back
 * to the file system. ADMIT's thread, when no reader may see the slots. Fails: OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_originals_erase(struct omen_originals *originals,
                                            const struct omen_slots *slots, omen_error *err);

/* Of the floats of a row, as they came or as they were rounded: what the slot keeps (graph.h). */
uint64_t omen_original_hash(const float *row, uint32_t dim);

/* Floats that a widened row takes. */
static inline size_t omen_original_floats(const struct omen_originals *originals)
{
    return ((size_t)originals->dim + 15) / 16 * 16;
}

/* A slot's row: where it is, or widened into `room` (omen_original_floats() of them). */
static inline const float *omen_original(const struct omen_originals *originals, uint32_t slot,
                                         float *room)
{
    const void *row = originals->segments[slot / OMEN_SEGMENT_SLOTS] +
                      omen_graph_offset(slot) * originals->row_bytes;

    if (!originals->half) return row;
    originals->kernels->widen_f16(row, originals->dim, room);
    return room;
}

/* The same into `out`: dim floats. */
static inline void omen_original_copy(const struct omen_originals *originals, uint32_t slot,
                                      float *out)
{
    const float *row = omen_original(originals, slot, out);

    if (row != out) memcpy(out, row, originals->dim * sizeof *out);
}

#endif
