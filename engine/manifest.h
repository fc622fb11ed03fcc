/* manifest.h - which checkpoint files of a collection count.
 *
 * <dir>/checkpoints.omen is a file of sections (sections.h) with a stamp of its own: one section of
 * type 1, version 1, whose payload is the positions of the files that count (u64 each), the newest
 * first. It is replaced as a whole, after a file was made durable under its name: a crash leaves
 * the old manifest or the new one, and each names files that are whole.
 */
#ifndef OMEN_MANIFEST_H
#define OMEN_MANIFEST_H

#include "engine/storage.h"

#define OMEN_CHECKPOINTS_KEPT 2u
#define OMEN_MANIFEST_VERSION 1u

struct omen_manifest {
    uint64_t positions[OMEN_CHECKPOINTS_KEPT]; /* newest first */
    uint32_t count;
};

/* Fails: OMEN_DATA_LOSS (it is damaged), OMEN_UNAVAILABLE. No manifest is an empty one. */
OMEN_CHECKED omen_code omen_manifest_load(struct omen_storage *storage, int dir,
                                          struct omen_manifest *out, omen_error *err);

/* Makes one of the files that there are, the newest ones. Fails: OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_manifest_find(struct omen_storage *storage, int dir,
                                          struct omen_manifest *out, omen_error *err);

/* Durable when it returns OMEN_OK; else the old one or this one is there. Fails: OMEN_UNAVAILABLE.
 */
OMEN_CHECKED omen_code omen_manifest_store(struct omen_storage *storage, int dir,
                                           const struct omen_manifest *manifest, omen_error *err);

/* Removes checkpoint files that the manifest does not name; what cannot be removed stays for the
 * next time. */
void omen_manifest_clean(struct omen_storage *storage, int dir,
                         const struct omen_manifest *manifest);

#define OMEN_CHECKPOINT_NAME_BYTES sizeof "checkpoint-01234567890123456789.omen"
void omen_checkpoint_name(uint64_t position, char name[OMEN_CHECKPOINT_NAME_BYTES]);

#endif
