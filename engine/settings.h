/* settings.h - a collection's settings: ranges, and the payload of the SETTINGS record, the first
 * of every log.
 *
 * Payload, little-endian: offset 0: incarnation (16 bytes); 16: dim, metric, links, candidates,
 * probes, epoch points, epoch bytes (u32 each); 44: length of the name (u32); 48: the name.
 */
#ifndef OMEN_SETTINGS_H
#define OMEN_SETTINGS_H

#include "engine/engine.h"

/* Bumped whenever the same records would give another graph. Every record says under which
 * version it was written. */
#define OMEN_ALGORITHM_VERSION 1u

#define OMEN_SETTINGS_BYTES_MAX (48u + OMEN_NAME_BYTES_MAX)

/* Fills in defaults and checks ranges. Fails: OMEN_INVALID_ARGUMENT. */
OMEN_CHECKED omen_code omen_settings_check(struct omen_collection_settings *settings,
                                           omen_error *err);
OMEN_CHECKED omen_code omen_name_check(const char *name, omen_error *err);

/* Returns the length. */
size_t omen_settings_write(uint8_t out[OMEN_SETTINGS_BYTES_MAX], const char *name,
                           const uint8_t *incarnation,
                           const struct omen_collection_settings *settings);
/* Fails: OMEN_DATA_LOSS. `name` has room for OMEN_NAME_BYTES_MAX + 1. */
OMEN_CHECKED omen_code omen_settings_read(const uint8_t *payload, size_t length, char *name,
                                          uint8_t *incarnation,
                                          struct omen_collection_settings *settings,
                                          omen_error *err);

#endif
