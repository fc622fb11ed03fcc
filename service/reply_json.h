/* reply_json.h - what the HTTP port answers, as JSON: collections, search results, item errors, and
 * faults as {"error": {"code", "reason", "message"}}.
 */
#ifndef OMEN_REPLY_JSON_H
#define OMEN_REPLY_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "service/fault.h"
#include "service/text.h"

void omen_json_write_fault(struct omen_text *text, const struct omen_fault *fault);

/* `graph_hash` is hex, or empty: then there is no such field. */
void omen_json_write_collection(struct omen_text *text, const struct omen_collection_info *info,
                                const char *graph_hash);

void omen_json_write_search(struct omen_text *text, const struct omen_search *search);

struct omen_json_inserted {
    uint32_t points; /* of the request */
    uint64_t log_position;
    uint64_t first_seq;
    uint32_t chunk_points; /* of each chunk but the last */
    uint32_t dim;
    const struct omen_item_error *errors;
    size_t error_count;
};
void omen_json_write_inserted(struct omen_text *text, const struct omen_json_inserted *inserted);

#endif
