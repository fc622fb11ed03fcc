/* settings.c - see settings.h. */
#include "engine/settings.h"

#include <ctype.h>
#include <string.h>

#define FIELDS 7

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

size_t omen_settings_write(uint8_t out[OMEN_SETTINGS_BYTES_MAX], const char *name,
                           const uint8_t *incarnation,
                           const struct omen_collection_settings *settings)
{
    const uint32_t fields[FIELDS] = {
        settings->dim,    (uint32_t)settings->metric, settings->links,      settings->candidates,
        settings->probes, settings->epoch_points,     settings->epoch_bytes};
    uint32_t length = (uint32_t)strlen(name);

    memcpy(out, incarnation, OMEN_INCARNATION_BYTES);
    memcpy(out + 16, fields, sizeof fields);
    memcpy(out + 44, &length, 4);
    memcpy(out + 48, name, length);
    return 48 + length;
}

omen_code omen_settings_read(const uint8_t *payload, size_t length, char *name,
                             uint8_t *incarnation, struct omen_collection_settings *settings,
                             omen_error *err)
{
    uint32_t fields[FIELDS];
    uint32_t name_length = 0;
    omen_error why = {"", ""};
    omen_code code;

    if (length >= 48) memcpy(&name_length, payload + 44, 4);
    if (length < 48 || name_length > OMEN_NAME_BYTES_MAX || length != 48 + (size_t)name_length)
        return omen_fail(err, OMEN_DATA_LOSS, "the SETTINGS record has %zu bytes", length);
    memcpy(incarnation, payload, OMEN_INCARNATION_BYTES);
    memcpy(fields, payload + 16, sizeof fields);
    *settings = (struct omen_collection_settings){.dim = fields[0],
                                                  .metric = (omen_metric)fields[1],
                                                  .links = fields[2],
                                                  .candidates = fields[3],
                                                  .probes = fields[4],
                                                  .epoch_points = fields[5],
                                                  .epoch_bytes = fields[6]};
    memcpy(name, payload + 48, name_length);
    name[name_length] = '\0';
    code = omen_name_check(name, &why);
    if (code == OMEN_OK) code = omen_settings_check(settings, &why);
    if (code != OMEN_OK)
        return omen_fail(err, OMEN_DATA_LOSS, "the SETTINGS record: %s", why.message);
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
