/* chunk.h - points on their way in, and the payload of a CHUNK record.
 *
 * Payload, little-endian:
 *     offset size
 *      0    16    session id
 *     16     8    generation (log position of the session's OPEN)
 *     24     8    seq
 *     32     4    points, n
 *     36     4    dim
 *     40     1    mode (omen_write_mode)
 *     41     7    zero
 *     48    8n    ids
 *           2n    index of each point in the client's chunk; zeros up to a multiple of 8
 *       4n*dim    vectors, row after row
 */
#ifndef OMEN_CHUNK_H
#define OMEN_CHUNK_H

#include "engine/codes.h"
#include "engine/engine.h"
#include "engine/log.h"

#define OMEN_CHUNK_HEADER_BYTES 48u
#define OMEN_CHUNK_INDEX_MAX    UINT16_MAX
#define OMEN_CHUNK_PARTS        4

struct omen_chunk {
    uint32_t dim;
    size_t stride;
    uint32_t capacity;
    uint32_t count;

    uint8_t session_id[OMEN_SESSION_ID_BYTES];
    uint64_t generation;
    uint64_t seq;
    omen_write_mode mode;
    uint32_t index_max; /* largest index seen, good or refused */

    float *vectors; /* capacity x dim */
    uint64_t *ids;
    uint16_t *indexes;
    uint8_t *codes; /* capacity x stride */
    struct omen_code_meta *metas;
    float *inverse_lengths;

    struct omen_item_error *errors; /* in order of index once encoded */
    uint32_t error_count, error_capacity;
    bool out_of_memory; /* an error could not be noted: the push fails */
    uint8_t header[OMEN_CHUNK_HEADER_BYTES];
};

/* Checks every point and encodes the good ones; the bad ones are taken out and become errors. */
OMEN_CHECKED omen_code omen_chunk_encode(omen_chunk *chunk, const struct omen_kernels *kernels,
                                         omen_metric metric, omen_error *err);

/* Notes an error of the point at `row` (stateful ones, from ADMIT). False: no memory. */
bool omen_chunk_note(omen_chunk *chunk, const struct omen_item_error *item);

/* The record's payload, gathered; borrows from the chunk. Returns the number of parts. */
int omen_chunk_parts(omen_chunk *chunk, struct iovec parts[OMEN_CHUNK_PARTS]);

/* The chunk of a record. Fails: OMEN_DATA_LOSS when lengths contradict each other (the checksum was
 * right, so this is a fault of ours), OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_chunk_parse(const struct omen_record *record, uint32_t dim,
                                        omen_chunk **out, omen_error *err);

#endif
