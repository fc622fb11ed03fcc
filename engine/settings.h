/* settings.h - a collection's settings: ranges, and the payloads of SETTINGS records.
 *
 * The first record of every log makes the collection. Payload, little-endian: offset 0: incarnation
 * (16 bytes); 16: dim, metric, links, candidates, probes, epoch points, epoch bytes (u32 each), and
 * from algorithm version 2 on checkpoint bytes; then the length of the name (u32), and the name.
 *
 * A later one changes something from the next epoch on: pairs of u32, a setting's number and its
 * new value (enum omen_setting).
 */
#ifndef OMEN_SETTINGS_H
#define OMEN_SETTINGS_H

#include "engine/engine.h"

/* Bumped whenever the same records would give another graph. Every record says under which
 * version it was written; a collection starts under the version of its first record, and a SETTINGS
 * record switches it. The one before is carried along, so that its logs can be replayed:
 *   1  points only come
 *   2  points go, too: updates, deletes, expiry, repair, sweeps, slots that are used again; item
 *      errors and checkpoints in the log
 */
#define OMEN_ALGORITHM_VERSION     2u
#define OMEN_ALGORITHM_VERSION_MIN 1u

#define OMEN_SETTINGS_BYTES_MAX (52u + OMEN_NAME_BYTES_MAX)

enum omen_setting { OMEN_SETTING_ALGORITHM = 1, OMEN_SETTING_CHECKPOINT_BYTES = 2 };

/* Fills in defaults and checks ranges. Fails: OMEN_INVALID_ARGUMENT. */
OMEN_CHECKED omen_code omen_settings_check(struct omen_collection_settings *settings,
                                           omen_error *err);
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

/* Applies a later record's payload. Fails: OMEN_DATA_LOSS, OMEN_UNIMPLEMENTED (a newer version's).
 */
OMEN_CHECKED omen_code omen_settings_change(const uint8_t *payload, size_t length,
                                            struct omen_collection_settings *settings,
                                            uint32_t *version, omen_error *err);

#endif
