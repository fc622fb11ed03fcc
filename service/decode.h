/* decode.h - request bytes into what the engine takes; every limit on input is enforced here. */
#ifndef OMEN_DECODE_H
#define OMEN_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "service/fault.h"
#include "service/listener.h"

/* A collection's name as it came: longer than any valid one, so that the engine's sentence can tell
 * what was asked for. */
#define OMEN_REQUEST_NAME_BYTES    128u
#define OMEN_CLIENT_NAME_BYTES_MAX 64u

/* ---- Insert ------------------------------------------------------------------------------- */

enum omen_insert_kind { OMEN_INSERT_OPEN = 1, OMEN_INSERT_CHUNK, OMEN_INSERT_FLUSH };

struct omen_insert_open {
    char collection[OMEN_REQUEST_NAME_BYTES];
    uint8_t session_id[OMEN_SESSION_ID_BYTES]; /* all zero: make one */
    omen_write_mode mode;
    char client_name[OMEN_CLIENT_NAME_BYTES_MAX + 1];
};

struct omen_insert_request {
    enum omen_insert_kind kind;
    struct omen_insert_open open; /* of OMEN_INSERT_OPEN */
    uint64_t seq;                 /* of OMEN_INSERT_CHUNK */
    omen_chunk *chunk;            /* of OMEN_INSERT_CHUNK; yours */
    uint32_t points;              /* of the chunk, refused ones included */
};

/* The stream that the message belongs to; `stream` is NULL until it was opened. */
struct omen_insert_target {
    omen_stream *stream;
    uint32_t dim;
};

/* Borrows: message until the return. On failure there is no chunk.
 * Fails: OMEN_INVALID_ARGUMENT BAD_MESSAGE, TOO_LARGE, BAD_MODE, BAD_SESSION_ID, BAD_LIMIT;
 *        OMEN_RESOURCE_EXHAUSTED. */
omen_code omen_decode_insert(const omen_message *message, const struct omen_insert_target *target,
                             struct omen_insert_request *out, struct omen_fault *fault);

/* The most points of dimension `dim` whose record is within the limit. */
uint32_t omen_chunk_points_max(uint32_t dim);

/* ---- Search ------------------------------------------------------------------------------- */

struct omen_search_request {
    char collection[OMEN_REQUEST_NAME_BYTES];
    uint32_t k;  /* 0: the engine's default */
    uint32_t ef; /* 0: the engine's default */
    bool exact;
    bool columns;   /* how the results are laid out */
    uint32_t count; /* queries */
};

/* Reads everything but the vectors, whose dimension only the collection knows.
 * Fails: OMEN_INVALID_ARGUMENT BAD_MESSAGE, BAD_LIMIT, TOO_LARGE, DIMENSION_MISMATCH. */
omen_code omen_decode_search(const omen_message *message, struct omen_search_request *out,
                             struct omen_fault *fault);

/* Holds the limits of k and ef against the request, which has so many queries, and sets its count.
 * Fails: OMEN_INVALID_ARGUMENT BAD_NAME, BAD_LIMIT, TOO_LARGE. */
omen_code omen_search_request_check(struct omen_search_request *request, uint64_t queries,
                                    struct omen_fault *fault);

/* Reads the vectors of a message that omen_decode_search() has accepted: into as many rows of `dim`
 * floats as it counted.
 * Fails: OMEN_INVALID_ARGUMENT DIMENSION_MISMATCH. */
omen_code omen_decode_queries(const omen_message *message, uint32_t dim, float *rows,
                              struct omen_fault *fault);

/* ---- control plane ------------------------------------------------------------------------ */

struct omen_create_request {
    char name[OMEN_REQUEST_NAME_BYTES];
    struct omen_collection_settings settings;
};
omen_code omen_decode_create(const omen_message *message, struct omen_create_request *out,
                             struct omen_fault *fault);

/* A metric by its number. Fails: OMEN_INVALID_ARGUMENT BAD_METRIC. */
omen_code omen_metric_check(int64_t metric, omen_metric *out, struct omen_fault *fault);

struct omen_get_request {
    char name[OMEN_REQUEST_NAME_BYTES];
    bool with_graph_hash;
};
omen_code omen_decode_get(const omen_message *message, struct omen_get_request *out,
                          struct omen_fault *fault);

omen_code omen_decode_list(const omen_message *message, struct omen_fault *fault);

struct omen_delete_request {
    char name[OMEN_REQUEST_NAME_BYTES];
};
omen_code omen_decode_delete(const omen_message *message, struct omen_delete_request *out,
                             struct omen_fault *fault);

/* A message's bytes in one piece, for decoders that want that. NULL without memory; free() it. */
uint8_t *omen_message_flatten(const omen_message *message);

#endif
