/* settings.h - a collection's settings: ranges, and the payloads of SETTINGS records.
 *
 * The first record of every log makes the collection. Payload, little-endian: offset 0: incarnation
 * (16 bytes); 16: dim, metric, links, candidates, probes, epoch points, epoch bytes (u32 each), and
 * from algorithm version 2 on checkpoint bytes; then the length of the name (u32), and the name;
 * then, under the same versions, pairs as in later records, for settings that came later and are
 * not at their default.
 *
 * A later one changes something from the next epoch on: pairs of u32, a setting's number and its
 * new value (enum omen_setting).
 */
#ifndef OMEN_SETTINGS_H
#define OMEN_SETTINGS_H

#include "engine/engine.h"
#include "engine/tuning.h"

/* Bumped whenever the same records would give another graph. Every record says under which
 * version it was written; a collection starts under the version of its first record, and a SETTINGS
 * record switches it. The one before is carried along, so that its logs can be replayed:
 *   1  points only come
 *   2  points go, too: updates, deletes, expiry, repair, sweeps, slots that are used again; item
 *      errors and checkpoints in the log
 *   3  twice as many pivots, found by way of regions (regions.h); candidates no farther than the
 *      fourth nearest pivot; rows of a new point are filled up to M links, not to M/2
 *   4  epochs grow with the collection (omen_epoch_limit()); candidates no farther than the third
 *      nearest pivot
 */
#define OMEN_ALGORITHM_VERSION     4u
#define OMEN_ALGORITHM_VERSION_MIN 1u

#define OMEN_SETTINGS_BYTES_MAX (52u + OMEN_NAME_BYTES_MAX + 16u)

enum omen_setting {
    OMEN_SETTING_ALGORITHM = 1,
    OMEN_SETTING_CHECKPOINT_BYTES = 2,
    OMEN_SETTING_SWEEP = 3, /* 1: the next CHECKPOINT sweeps all dead, however few they are */
    OMEN_SETTING_TARGET_RECALL = 4, /* absent from the first record: 970,000 */
    OMEN_SETTING_ORIGINALS = 5,     /* in the first record only; absent: f32 */
    /* The fields of a calibration, in their order; a record has all of them or none. */
    OMEN_SETTING_CALIBRATION = 16
};
#define OMEN_CALIBRATION_FIELDS    (sizeof(struct omen_calibration) / sizeof(uint32_t))
#define OMEN_SETTINGS_CHANGE_BYTES (8u * (uint32_t)(OMEN_CALIBRATION_FIELDS + 1))

/* Fills in defaults and checks ranges. Fails: OMEN_INVALID_ARGUMENT. */
OMEN_CHECKED omen_code omen_settings_check(struct omen_collection_settings *settings,
                                           omen_error *err);
OMEN_CHECKED omen_code omen_target_recall_check(uint32_t *target, omen_error *err);
OMEN_CHECKED omen_code omen_name_check(const char *name, omen_error *err);

/* The first record's payload under `version`. Returns the length. */
size_t omen_settings_write(uint8_t out[OMEN_SETTINGS_BYTES_MAX], uint32_t version, const char *name,
                           const uint8_t *incarnation,
                           const struct omen_collection_settings *settings);
/* What the first record makes. */
struct omen_settings_made {
    char name[OMEN_NAME_BYTES_MAX + 1];
    uint8_t incarnation[OMEN_INCARNATION_BYTES];
    struct omen_collection_settings settings;
};
/* Fails: OMEN_DATA_LOSS. */
OMEN_CHECKED omen_code omen_settings_read(const uint8_t *payload, size_t length, uint32_t version,
                                          struct omen_settings_made *out, omen_error *err);

/* What later records change. */
struct omen_settings_state {
    uint32_t algorithm;
    uint32_t checkpoint_bytes;
    struct omen_tuning tuning;
    bool sweep; /* a sweep is asked for */
};
/* Applies a later record's payload. *tuned: did it change the tuning? Fails: OMEN_DATA_LOSS,
 * OMEN_UNIMPLEMENTED (a newer version's); *state is then of no use. */
OMEN_CHECKED omen_code omen_settings_change(const uint8_t *payload, size_t length,
                                            struct omen_settings_state *state, bool *tuned,
                                            omen_error *err);

/* The payload of a record that says what a calibration found, into OMEN_SETTINGS_CHANGE_BYTES at
 * most. Returns the length. */
size_t omen_settings_write_calibration(uint8_t *out, const struct omen_calibration *calibration);
/* The payload of a record that says all of a tuning: what a checkpoint has in the place of the
 * records before it, to be read by omen_settings_change(). Returns the length. */
size_t omen_settings_write_tuning(uint8_t out[OMEN_SETTINGS_CHANGE_BYTES],
                                  const struct omen_tuning *tuning);

#endif
