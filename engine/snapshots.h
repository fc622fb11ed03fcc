/* snapshots.h - <data-dir>/snapshots, the folder of snapshots: for who makes them and restores
 * them. What the service calls is in engine.h.
 *
 *   <name>.snapshot            a snapshot (snapshot_file.h)
 *   <id, hex>.part, .part.new  one that is being made, or is on its way in; removed at start
 */
#ifndef OMEN_SNAPSHOTS_H
#define OMEN_SNAPSHOTS_H

#include "engine/engine.h"

#define OMEN_SNAPSHOT_PART_NAME_BYTES (2u * OMEN_SNAPSHOT_ID_BYTES + sizeof ".part")
#define OMEN_SNAPSHOT_FILE_NAME_BYTES (OMEN_NAME_BYTES_MAX + sizeof ".snapshot")

/* Removes what was unfinished. What cannot be removed is left. At start-up. */
void omen_snapshots_clean(omen_engine *engine);

/* The folder, made if `make` and it is not there. *dir is the storage's, closed by the caller; -1
 * without `make` and without a folder. Fails: OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_snapshots_open(const omen_engine *engine, bool make, int *dir,
                                           omen_error *err);

/* An id, and the name of a part. Fails: OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_snapshots_new_id(uint8_t id[OMEN_SNAPSHOT_ID_BYTES],
                                             char part[OMEN_SNAPSHOT_PART_NAME_BYTES],
                                             omen_error *err);

/* Fails: OMEN_RESOURCE_EXHAUSTED DISK_FULL, if so many bytes more would leave less free on the disk
 * than is reserved. */
OMEN_CHECKED omen_code omen_snapshots_check_room(omen_engine *engine, uint64_t bytes,
                                                 omen_error *err);

void omen_snapshots_file_name(const char *name, char out[OMEN_SNAPSHOT_FILE_NAME_BYTES]);

/* Gives a complete, durable part its name, durably.
 * Fails: OMEN_ALREADY_EXISTS SNAPSHOT_EXISTS, OMEN_UNAVAILABLE; then the part is still there, or
 * neither is. */
OMEN_CHECKED omen_code omen_snapshots_adopt(omen_engine *engine, int dir, const char *part,
                                            const char *name, omen_error *err);

#endif
