/* decode_json.h - the HTTP port's request bodies into what the engine takes. The same structs, the
 * same limits and the same sentences as decode.h; only a body that is no such JSON is told in words
 * of its own.
 */
#ifndef OMEN_DECODE_JSON_H
#define OMEN_DECODE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "service/decode.h"
#include "service/fault.h"

/* Points of one request: their item errors must fit into one answer. */
#define OMEN_JSON_POINTS_MAX 10000u

/* A body as a tree, 64 bytes and more for each number in it: keep it for a short time only. */
typedef struct omen_json omen_json;

/* Parses an object. Owns: the tree, release it with omen_json_destroy(). NULL with the fault
 * INVALID_ARGUMENT BAD_MESSAGE. */
omen_json *omen_json_parse(const char *body, size_t bytes, struct omen_fault *fault);
void omen_json_destroy(omen_json *json); /* NULL is allowed */

omen_code omen_json_read_create(const omen_json *json, struct omen_create_request *out,
                                struct omen_fault *fault);

/* Everything but the vectors; out->collection is the caller's. */
omen_code omen_json_read_search(const omen_json *json, struct omen_search_request *out,
                                struct omen_fault *fault);
/* The vectors of as many queries as were counted, into rows of `dim` floats. */
omen_code omen_json_read_queries(const omen_json *json, uint32_t dim, float *rows,
                                 struct omen_fault *fault);

struct omen_json_insert {
    uint32_t points;   /* 1..OMEN_JSON_POINTS_MAX */
    bool wait_durable; /* answer when durable, not only when searchable */
};
omen_code omen_json_read_insert(const omen_json *json, struct omen_json_insert *out,
                                struct omen_fault *fault);
/* Fills chunks[0..count), each but the last with `chunk_points` points, from first to last. What
 * cannot be a point at all fails the request; a point that does not fit is refused by itself.
 * Owns: the chunks, also after a failure. */
struct omen_json_chunks {
    omen_stream *stream;
    uint32_t dim;
    uint32_t chunk_points;
    uint32_t count;
    omen_chunk **chunks; /* NULL each, before */
};
omen_code omen_json_read_points(const omen_json *json, const struct omen_json_chunks *out,
                                struct omen_fault *fault);

#endif
