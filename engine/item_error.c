/* item_error.c - the sentences of refused points, deletes and queries. */
#include <stdio.h>
#include <string.h>

#include "engine/id.h"

static omen_code describe_vector(enum omen_refusal refusal, uint32_t detail, uint32_t dim,
                                 omen_error *out)
{
    switch (refusal) {
    case OMEN_REFUSED_DIMENSION:
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "DIMENSION_MISMATCH",
                                 "vector has %u components, the collection %u", detail, dim);
    case OMEN_REFUSED_NOT_FINITE:
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "NOT_FINITE",
                                 "vector component %u is not a finite number", detail);
    case OMEN_REFUSED_TOO_LARGE:
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "OUT_OF_RANGE",
                                 "vector component %u is larger than %g", detail,
                                 (double)OMEN_COMPONENT_MAX);
    case OMEN_REFUSED_TOO_SMALL:
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "OUT_OF_RANGE",
                                 "vector has no component of magnitude %g or more, and is not zero",
                                 (double)OMEN_COMPONENT_MIN);
    case OMEN_REFUSED_ZERO:
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "ZERO_VECTOR",
                                 "vector is the zero vector, which has no cosine");
    case OMEN_REFUSED_HALF: {
        float value;

        memcpy(&value, &detail, sizeof value);
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "OUT_OF_RANGE",
                                 "vector's largest component is %g; originals in f16 hold "
                                 "magnitudes of 6e-08 to 65504",
                                 (double)value);
    }
    case OMEN_REFUSED_K:
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "BAD_LIMIT",
                                 "options.k is %u; it is 1 to %u", detail, OMEN_K_MAX);
    case OMEN_REFUSED_EF:
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "BAD_LIMIT",
                                 "options.ef is %u; it is 1 to %u", detail, OMEN_EF_MAX);
    default:
        return omen_fail(out, OMEN_INTERNAL, "refusal %d", (int)refusal);
    }
}

omen_code omen_item_error_describe(const struct omen_item_error *item, uint32_t dim,
                                   omen_error *out)
{
    const struct omen_id named = item->has_id && item->key_bytes > 0
                                     ? omen_id_key(item->key, item->key_bytes)
                                     : omen_id_num(item->num);
    char id[OMEN_ID_TEXT_BYTES];

    omen_id_describe(&named, id);
    switch (item->refusal) {
    case OMEN_REFUSED_EXISTS:
        return omen_fail_because(out, OMEN_ALREADY_EXISTS, "ALREADY_EXISTS",
                                 "id %s exists, and the mode is INSERT_ONLY", id);
    case OMEN_REFUSED_UNKNOWN:
        return omen_fail_because(out, OMEN_NOT_FOUND, "POINT_NOT_FOUND",
                                 "id %s does not exist, and the mode is UPDATE_ONLY", id);
    case OMEN_REFUSED_ID_MISSING:
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "ID_MISSING", "the point has no id");
    case OMEN_REFUSED_KEY_LENGTH:
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "BAD_ID",
                                 "id.key has %u bytes; it has 1 to %u", item->detail,
                                 OMEN_KEY_BYTES_MAX);
    case OMEN_REFUSED_FULL:
        return omen_fail_because(out, OMEN_RESOURCE_EXHAUSTED, "COLLECTION_FULL",
                                 "the collection has %u points; that is the limit", OMEN_SLOTS_MAX);
    default:
        return describe_vector(item->refusal, item->detail, dim, out);
    }
}

omen_code omen_query_describe(const struct omen_query_result *result, uint32_t dim, omen_error *out)
{
    return describe_vector(result->refusal, result->detail, dim, out);
}
