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

/* A body as a tree (json_tree.h), 64 bytes and more for each number in it: keep it for a short time
 * only. */
typedef struct omen_json omen_json;

/* Parses an object. Owns: the tree, release it with omen_json_destroy(). NULL with the fault
 * INVALID_ARGUMENT BAD_MESSAGE. */
omen_json *omen_json_parse(const char *body, size_t bytes, struct omen_fault *fault);
void omen_json_destroy(omen_json *json); /* NULL is allowed */

omen_code omen_json_read_create(const omen_json *json, struct omen_create_request *out,
                                struct omen_fault *fault);

/* out->name is the caller's. */
omen_code omen_json_read_update(const omen_json *json, struct omen_update_request *out,
                                struct omen_fault *fault);

/* Everything but the queries; out->collection is the caller's. */
omen_code omen_json_read_search(const omen_json *json, struct omen_search_request *out,
                                struct omen_fault *fault);
/* The queries of a body that omen_json_read_search() has accepted. */
omen_code omen_json_read_queries(const omen_json *json, const struct omen_search_request *request,
                                 const struct omen_search_rows *out, struct omen_fault *fault);

enum omen_json_write_kind { OMEN_JSON_INSERT, OMEN_JSON_UPSERT, OMEN_JSON_DELETE };

struct omen_json_write {
    enum omen_json_write_kind kind;
    omen_write_mode mode;
    uint32_t items;    /* points or ids, 1..OMEN_JSON_POINTS_MAX */
    bool wait_durable; /* answer when durable, not only when searchable */
};
omen_code omen_json_read_write(const omen_json *json, enum omen_json_write_kind kind,
                               struct omen_json_write *out, struct omen_fault *fault);

/* How many items of the request each of its chunks has, but the last: so that any ids fit. */
uint32_t omen_json_chunk_items(const struct omen_json_write *write, uint32_t dim);

/* Fills chunks[0..], from first to last. What cannot be an item at all fails the request; one that
 * does not fit is refused by itself.
 * Owns: the chunks, also after a failure. */
struct omen_json_chunks {
    const struct omen_points_target *target;
    uint32_t chunk_items;
    omen_chunk **chunks; /* NULL each, before */
};
omen_code omen_json_read_items(const omen_json *json, const struct omen_json_write *write,
                               const struct omen_json_chunks *out, struct omen_fault *fault);

/* out->collection is the caller's; out->ids as for omen_decode_points_get(). */
omen_code omen_json_read_get(const omen_json *json, struct omen_points_get *out,
                             struct omen_fault *fault);

#endif
