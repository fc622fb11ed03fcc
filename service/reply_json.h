/* reply_json.h - what the HTTP port answers, as JSON: collections, search results, item errors, and
 * faults as {"error": {"code", "reason", "message"}}.
 */
#ifndef OMEN_REPLY_JSON_H
#define OMEN_REPLY_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "engine/engine.h"
#include "service/decode_json.h"
#include "service/fault.h"
#include "service/reply.h"
#include "service/text.h"

void omen_json_write_fault(struct omen_text *text, const struct omen_fault *fault);

/* `graph_hash` is hex, or empty: then there is no such field. */
void omen_json_write_collection(struct omen_text *text, const struct omen_collection_info *info,
                                const char *graph_hash);

void omen_json_write_estimate(struct omen_text *text, const struct omen_estimate_answer *answer);
void omen_json_write_validation(struct omen_text *text, const struct omen_validation *validation);

void omen_json_write_search(struct omen_text *text, const struct omen_search *search,
                            const uint8_t *incarnation);

void omen_json_write_got(struct omen_text *text, const struct omen_points_got *got);

struct omen_json_written {
    enum omen_json_write_kind kind;
    uint32_t items;       /* of the request */
    uint32_t chunk_items; /* of each chunk but the last */
    struct omen_written answer;
};
void omen_json_write_written(struct omen_text *text, const struct omen_json_written *written);

#endif
