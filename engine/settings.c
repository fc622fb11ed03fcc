/* settings.c - see settings.h. */
#include "engine/settings.h"

#include <ctype.h>
#include <string.h>

#define FIELDS_1 7u /* of algorithm version 1 */
#define FIELDS   8u

static omen_code check_range(const char *field, uint32_t *value, uint32_t min, uint32_t max,
                             uint32_t by_default, omen_error *err);

omen_code omen_settings_check(struct omen_collection_settings *settings, omen_error *err)
{
    struct omen_collection_settings *s = settings;
    omen_code code = OMEN_OK;

    if (s->metric < OMEN_METRIC_L2 || s->metric > OMEN_METRIC_INNER_PRODUCT)
        return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "BAD_METRIC",
                                 "config.metric is %d; it is 1 (L2), 2 (cosine) or 3 (inner "
                                 "product)",
                                 (int)s->metric);
    code = check_range("config.dim", &s->dim, OMEN_DIM_MIN, OMEN_DIM_MAX, 0, err);
    if (code == OMEN_OK)
        code = check_range("config.links", &s->links, OMEN_LINKS_MIN, OMEN_LINKS_MAX,
                           OMEN_LINKS_DEFAULT, err);
    if (code == OMEN_OK)
        code = check_range("config.candidates", &s->candidates, OMEN_CANDIDATES_MIN,
                           OMEN_CANDIDATES_MAX, OMEN_CANDIDATES_DEFAULT, err);
    if (code == OMEN_OK)
        code = check_range("config.probes", &s->probes, OMEN_PROBES_MIN, OMEN_PROBES_MAX,
                           OMEN_PROBES_DEFAULT, err);
    if (code == OMEN_OK)
        code = check_range("config.epoch_points", &s->epoch_points, 1, OMEN_EPOCH_POINTS_MAX,
                           OMEN_EPOCH_POINTS_MAX, err);
    if (code == OMEN_OK)
        code = check_range("config.epoch_bytes", &s->epoch_bytes, OMEN_EPOCH_BYTES_MIN,
                           OMEN_EPOCH_BYTES_MAX, OMEN_EPOCH_BYTES_MAX, err);
    if (code == OMEN_OK)
        code =
            check_range("config.checkpoint_bytes", &s->checkpoint_bytes, OMEN_CHECKPOINT_BYTES_MIN,
                        OMEN_CHECKPOINT_BYTES_MAX, OMEN_CHECKPOINT_BYTES_DEFAULT, err);
    return code;
}

omen_code omen_name_check(const char *name, omen_error *err)
{
    size_t length = strlen(name);

    if (length == 0 || length > OMEN_NAME_BYTES_MAX)
        return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "BAD_NAME",
                                 "name has %zu bytes; it has 1 to %u", length, OMEN_NAME_BYTES_MAX);
    for (size_t i = 0; i < length; i++) {
        if (!isalnum((unsigned char)name[i]) && name[i] != '_' && name[i] != '-')
            return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "BAD_NAME",
                                     "name has byte 0x%02x at %zu; only A-Z a-z 0-9 _ - are "
                                     "allowed",
                                     (unsigned)(unsigned char)name[i], i);
    }
    return OMEN_OK;
}

static uint32_t field_count(uint32_t version)
{
    return version == 1 ? FIELDS_1 : FIELDS;
}

size_t omen_settings_write(uint8_t out[OMEN_SETTINGS_BYTES_MAX], uint32_t version, const char *name,
                           const uint8_t *incarnation,
                           const struct omen_collection_settings *settings)
{
    const uint32_t fields[FIELDS] = {settings->dim,         (uint32_t)settings->metric,
                                     settings->links,       settings->candidates,
                                     settings->probes,      settings->epoch_points,
                                     settings->epoch_bytes, settings->checkpoint_bytes};
    size_t bytes = field_count(version) * sizeof *fields;
    uint32_t length = (uint32_t)strlen(name);

    memcpy(out, incarnation, OMEN_INCARNATION_BYTES);
    memcpy(out + OMEN_INCARNATION_BYTES, fields, bytes);
    memcpy(out + OMEN_INCARNATION_BYTES + bytes, &length, 4);
    memcpy(out + OMEN_INCARNATION_BYTES + bytes + 4, name, length);
    return OMEN_INCARNATION_BYTES + bytes + 4 + length;
}

omen_code omen_settings_read(const uint8_t *payload, size_t length, uint32_t version,
                             struct omen_settings_made *out, omen_error *err)
{
    size_t bytes = field_count(version) * sizeof(uint32_t);
    size_t fixed = OMEN_INCARNATION_BYTES + bytes + 4;
    uint32_t fields[FIELDS] = {0};
    uint32_t name_length = 0;
    omen_error why = {"", ""};
    omen_code code;

    if (length >= fixed) memcpy(&name_length, payload + fixed - 4, 4);
    if (length < fixed || name_length > OMEN_NAME_BYTES_MAX || length != fixed + name_length)
        return omen_fail(err, OMEN_DATA_LOSS, "the SETTINGS record has %zu bytes", length);
    memcpy(out->incarnation, payload, OMEN_INCARNATION_BYTES);
    memcpy(fields, payload + OMEN_INCARNATION_BYTES, bytes);
    out->settings = (struct omen_collection_settings){.dim = fields[0],
                                                      .metric = (omen_metric)fields[1],
                                                      .links = fields[2],
                                                      .candidates = fields[3],
                                                      .probes = fields[4],
                                                      .epoch_points = fields[5],
                                                      .epoch_bytes = fields[6],
                                                      .checkpoint_bytes = fields[7]};
    memcpy(out->name, payload + fixed, name_length);
    out->name[name_length] = '\0';
    code = omen_name_check(out->name, &why);
    if (code == OMEN_OK) code = omen_settings_check(&out->settings, &why);
    if (code != OMEN_OK)
        return omen_fail(err, OMEN_DATA_LOSS, "the SETTINGS record: %s", why.message);
    return OMEN_OK;
}

omen_code omen_settings_change(const uint8_t *payload, size_t length,
                               struct omen_collection_settings *settings, uint32_t *version,
                               omen_error *err)
{
    if (length % 8 != 0)
        return omen_fail(err, OMEN_DATA_LOSS, "a SETTINGS record has %zu bytes", length);
    for (size_t i = 0; i < length; i += 8) {
        uint32_t pair[2];

        memcpy(pair, payload + i, sizeof pair);
        switch (pair[0]) {
        case OMEN_SETTING_ALGORITHM:
            if (pair[1] < *version)
                return omen_fail(err, OMEN_DATA_LOSS,
                                 "a SETTINGS record goes from algorithm version %u back to %u",
                                 *version, pair[1]);
            if (pair[1] > OMEN_ALGORITHM_VERSION)
                return omen_fail(err, OMEN_UNIMPLEMENTED,
                                 "a SETTINGS record asks for algorithm version %u; this server "
                                 "knows %u",
                                 pair[1], OMEN_ALGORITHM_VERSION);
            *version = pair[1];
            break;
        case OMEN_SETTING_CHECKPOINT_BYTES:
            if (pair[1] < OMEN_CHECKPOINT_BYTES_MIN || pair[1] > OMEN_CHECKPOINT_BYTES_MAX)
                return omen_fail(err, OMEN_DATA_LOSS, "a SETTINGS record has %u checkpoint bytes",
                                 pair[1]);
            settings->checkpoint_bytes = pair[1];
            break;
        default:
            return omen_fail(err, OMEN_UNIMPLEMENTED,
                             "a SETTINGS record changes setting %u, of a newer server", pair[0]);
        }
    }
    return OMEN_OK;
}

/* 0 is the default; where there is none, by_default is 0 and out of range. */
static omen_code check_range(const char *field, uint32_t *value, uint32_t min, uint32_t max,
                             uint32_t by_default, omen_error *err)
{
    if (*value == 0) *value = by_default;
    if (*value >= min && *value <= max) return OMEN_OK;
    return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "BAD_LIMIT", "%s is %u; it is %u to %u",
                             field, *value, min, max);
}
