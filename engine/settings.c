/* settings.c - see settings.h. */
#include "engine/settings.h"

#include <ctype.h>
#include <string.h>

#define FIELDS_1 7u /* of algorithm version 1 */
#define FIELDS   8u

static omen_code check_range(const char *field, uint32_t *value, uint32_t min, uint32_t max,
                             uint32_t by_default, omen_error *err);

static omen_code read_later_settings(const uint8_t *pairs, size_t length,
                                     struct omen_collection_settings *settings, omen_error *err);

omen_code omen_settings_check(struct omen_collection_settings *settings, omen_error *err)
{
    struct omen_collection_settings *s = settings;
    omen_code code = OMEN_OK;

    if (s->metric < OMEN_METRIC_L2 || s->metric > OMEN_METRIC_INNER_PRODUCT)
        return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "BAD_METRIC",
                                 "config.metric is %d; it is 1 (L2), 2 (cosine) or 3 (inner "
                                 "product)",
                                 (int)s->metric);
    if (s->originals == 0) s->originals = OMEN_ORIGINALS_F32;
    if (s->originals != OMEN_ORIGINALS_F32 && s->originals != OMEN_ORIGINALS_F16)
        return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "BAD_LIMIT",
                                 "config.originals is %d; it is 1 (f32) or 2 (f16)",
                                 (int)s->originals);
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
    if (code == OMEN_OK) code = omen_target_recall_check(&s->target_recall, err);
    return code;
}

omen_code omen_target_recall_check(uint32_t *target, omen_error *err)
{
    if (*target == 0) *target = OMEN_TARGET_RECALL_DEFAULT;
    if (*target >= OMEN_TARGET_RECALL_MIN && *target <= OMEN_TARGET_RECALL_MAX) return OMEN_OK;
    return omen_fail_because(err, OMEN_INVALID_ARGUMENT, "BAD_LIMIT",
                             "target_recall is %g; it is %g to %g", *target / 1e6,
                             OMEN_TARGET_RECALL_MIN / 1e6, OMEN_TARGET_RECALL_MAX / 1e6);
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

static size_t put_pair(uint8_t *out, uint32_t setting, uint32_t value)
{
    const uint32_t pair[2] = {setting, value};

    memcpy(out, pair, sizeof pair);
    return sizeof pair;
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
    bytes += OMEN_INCARNATION_BYTES + 4 + length;
    if (version >= 2 && settings->target_recall != OMEN_TARGET_RECALL_DEFAULT)
        bytes += put_pair(out + bytes, OMEN_SETTING_TARGET_RECALL, settings->target_recall);
    if (version >= 2 && settings->originals != OMEN_ORIGINALS_F32)
        bytes += put_pair(out + bytes, OMEN_SETTING_ORIGINALS, (uint32_t)settings->originals);
    return bytes;
}

size_t omen_settings_write_calibration(uint8_t *out, const struct omen_calibration *calibration)
{
    uint32_t fields[OMEN_CALIBRATION_FIELDS];
    size_t bytes = 0;

    memcpy(fields, calibration, sizeof fields);
    for (uint32_t i = 0; i < OMEN_CALIBRATION_FIELDS; i++)
        bytes += put_pair(out + bytes, OMEN_SETTING_CALIBRATION + i, fields[i]);
    return bytes;
}

size_t omen_settings_write_tuning(uint8_t out[OMEN_SETTINGS_CHANGE_BYTES],
                                  const struct omen_tuning *tuning)
{
    size_t bytes = put_pair(out, OMEN_SETTING_TARGET_RECALL, tuning->target);

    if (tuning->calibration.ef[0] != 0)
        bytes += omen_settings_write_calibration(out + bytes, &tuning->calibration);
    return bytes;
}

omen_code omen_settings_read(const uint8_t *payload, size_t length, uint32_t version,
                             struct omen_settings_made *out, omen_error *err)
{
    size_t bytes = field_count(version) * sizeof(uint32_t);
    size_t fixed = OMEN_INCARNATION_BYTES + bytes + 4;
    uint32_t fields[FIELDS] = {0};
    uint32_t name_length = 0;
    omen_error why = {0};
    omen_code code;

    if (length >= fixed) memcpy(&name_length, payload + fixed - 4, 4);
    if (length < fixed || name_length > OMEN_NAME_BYTES_MAX || length < fixed + name_length ||
        (length - fixed - name_length) % 8 != 0 || (version < 2 && length != fixed + name_length))
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
    code = read_later_settings(payload + fixed + name_length, length - fixed - name_length,
                               &out->settings, err);
    if (code != OMEN_OK) return code;
    code = omen_name_check(out->name, &why);
    if (code == OMEN_OK) code = omen_settings_check(&out->settings, &why);
    if (code != OMEN_OK)
        return omen_fail(err, OMEN_DATA_LOSS, "the SETTINGS record: %s", why.message);
    return OMEN_OK;
}

/* Of the first record. */
static omen_code read_later_settings(const uint8_t *pairs, size_t length,
                                     struct omen_collection_settings *settings, omen_error *err)
{
    for (size_t i = 0; i < length; i += 8) {
        uint32_t pair[2];

        memcpy(pair, pairs + i, sizeof pair);
        if (pair[0] == OMEN_SETTING_TARGET_RECALL)
            settings->target_recall = pair[1];
        else if (pair[0] == OMEN_SETTING_ORIGINALS)
            settings->originals = (omen_originals_format)pair[1];
        else
            return omen_fail(err, OMEN_UNIMPLEMENTED,
                             "the SETTINGS record has setting %u, of a newer server", pair[0]);
    }
    return OMEN_OK;
}

static omen_code change_algorithm(uint32_t value, uint32_t *algorithm, omen_error *err)
{
    if (value < *algorithm)
        return omen_fail(err, OMEN_DATA_LOSS,
                         "a SETTINGS record goes from algorithm version %u back to %u", *algorithm,
                         value);
    if (value > OMEN_ALGORITHM_VERSION)
        return omen_fail(err, OMEN_UNIMPLEMENTED,
                         "a SETTINGS record asks for algorithm version %u; this server knows %u",
                         value, OMEN_ALGORITHM_VERSION);
    *algorithm = value;
    return OMEN_OK;
}

static omen_code change_one(uint32_t setting, uint32_t value, struct omen_settings_state *state,
                            omen_error *err)
{
    if (setting == OMEN_SETTING_ALGORITHM) return change_algorithm(value, &state->algorithm, err);
    if (setting == OMEN_SETTING_CHECKPOINT_BYTES) {
        if (value < OMEN_CHECKPOINT_BYTES_MIN || value > OMEN_CHECKPOINT_BYTES_MAX)
            return omen_fail(err, OMEN_DATA_LOSS, "a SETTINGS record has %u checkpoint bytes",
                             value);
        state->checkpoint_bytes = value;
        return OMEN_OK;
    }
    if (setting == OMEN_SETTING_SWEEP) {
        if (value != 1)
            return omen_fail(err, OMEN_DATA_LOSS, "a SETTINGS record asks for %u sweeps", value);
        state->sweep = true;
        return OMEN_OK;
    }
    if (setting == OMEN_SETTING_TARGET_RECALL) {
        if (value < OMEN_TARGET_RECALL_MIN || value > OMEN_TARGET_RECALL_MAX)
            return omen_fail(err, OMEN_DATA_LOSS, "a SETTINGS record has a target recall of %u",
                             value);
        state->tuning.target = value;
        return OMEN_OK;
    }
    return omen_fail(err, OMEN_UNIMPLEMENTED,
                     "a SETTINGS record changes setting %u, of a newer server", setting);
}

omen_code omen_settings_change(const uint8_t *payload, size_t length,
                               struct omen_settings_state *state, bool *tuned, omen_error *err)
{
    uint32_t fields[OMEN_CALIBRATION_FIELDS];
    uint32_t seen = 0; /* a bit for each field */
    omen_code code = OMEN_OK;

    *tuned = false;
    if (length % 8 != 0)
        return omen_fail(err, OMEN_DATA_LOSS, "a SETTINGS record has %zu bytes", length);
    for (size_t i = 0; i < length && code == OMEN_OK; i += 8) {
        uint32_t pair[2];

        memcpy(pair, payload + i, sizeof pair);
        uint32_t field = pair[0] - OMEN_SETTING_CALIBRATION;
        if (field < OMEN_CALIBRATION_FIELDS) {
            fields[field] = pair[1];
            seen |= 1u << field;
        } else {
            code = change_one(pair[0], pair[1], state, err);
        }
        *tuned |= field < OMEN_CALIBRATION_FIELDS || pair[0] == OMEN_SETTING_TARGET_RECALL;
    }
    if (code != OMEN_OK || seen == 0) return code;
    if (seen != (1u << OMEN_CALIBRATION_FIELDS) - 1)
        return omen_fail(err, OMEN_DATA_LOSS, "a SETTINGS record has a part of a calibration");
    memcpy(&state->tuning.calibration, fields, sizeof fields);
    if (!omen_calibration_may_be(&state->tuning.calibration))
        return omen_fail(err, OMEN_DATA_LOSS, "a SETTINGS record has a calibration that none is");
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
