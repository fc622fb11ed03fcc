/* item_error.c - the sentences of refused points. */
#include "engine/engine.h"

omen_code omen_item_error_describe(const struct omen_item_error *item, uint32_t dim,
                                   omen_error *out)
{
    switch (item->refusal) {
    case OMEN_REFUSED_DIMENSION:
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "DIMENSION_MISMATCH",
                                 "vector has %u components, the collection %u", item->detail, dim);
    case OMEN_REFUSED_NOT_FINITE:
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "NOT_FINITE",
                                 "vector component %u is not a finite number", item->detail);
    case OMEN_REFUSED_TOO_LARGE:
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "OUT_OF_RANGE",
                                 "vector component %u is larger than %g", item->detail,
                                 (double)OMEN_COMPONENT_MAX);
    case OMEN_REFUSED_TOO_SMALL:
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "OUT_OF_RANGE",
                                 "vector has no component of magnitude %g or more, and is not zero",
                                 (double)OMEN_COMPONENT_MIN);
    case OMEN_REFUSED_ZERO:
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "ZERO_VECTOR",
                                 "vector is the zero vector, which has no cosine");
    case OMEN_REFUSED_EXISTS:
        return omen_fail_because(out, OMEN_ALREADY_EXISTS, "ALREADY_EXISTS",
                                 "id %llu exists, and the stream's mode is INSERT_ONLY",
                                 (unsigned long long)item->id);
    case OMEN_REFUSED_ID_MISSING:
        return omen_fail_because(out, OMEN_INVALID_ARGUMENT, "ID_MISSING", "the point has no id");
    case OMEN_REFUSED_ID_KIND:
        return omen_fail_because(out, OMEN_UNIMPLEMENTED, "ID_KIND",
                                 "id.key: byte keys are not served yet; use id.num");
    case OMEN_REFUSED_FULL:
        return omen_fail_because(out, OMEN_RESOURCE_EXHAUSTED, "COLLECTION_FULL",
                                 "the collection has %u points; that is the limit", OMEN_SLOTS_MAX);
    }
    return omen_fail(out, OMEN_INTERNAL, "refusal %d", (int)item->refusal);
}
