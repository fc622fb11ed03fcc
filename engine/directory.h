/* directory.h - the data directory: names of collections' directories, making and removing them.
 *
 *   <data-dir>/LOCK                 held by the one process that has the directory open
 *   <data-dir>/<incarnation, hex>/  one collection: log-*.omen, originals.f32
 *   <...>.making, <...>.dropped     unfinished; removed at start
 *
 * A collection appears and disappears by one rename, followed by an fsync of the data directory.
 * All but the lock goes through the storage.
 */
#ifndef OMEN_DIRECTORY_H
#define OMEN_DIRECTORY_H

#include "engine/engine.h"
#include "engine/storage.h"

typedef omen_code omen_directory_visit_fn(void *user, char *path, omen_error *err);

/* The name of a collection's directory, in one of its states: "", ".making", ".dropped". */
#define OMEN_DIRECTORY_NAME_BYTES (2 * OMEN_INCARNATION_BYTES + sizeof ".dropped")
void omen_directory_name(const uint8_t *incarnation, const char *state,
                         char out[OMEN_DIRECTORY_NAME_BYTES]);

/* Creates the data directory if needed and locks it. *fd is closed by the caller: that unlocks.
 * Fails: OMEN_FAILED_PRECONDITION (somebody else has it), OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_directory_lock(const char *data_dir, int *fd, omen_error *err);

/* Removes what was unfinished, then calls visit with the heap path of each collection, which visit
 * takes. Stops at the first failure. `dir` is the storage's handle of `data_dir`. */
OMEN_CHECKED omen_code omen_directory_visit(struct omen_storage *storage, int dir,
                                            const char *data_dir, omen_directory_visit_fn *visit,
                                            void *user, omen_error *err);

/* Names are those of directories in `dir`. */
OMEN_CHECKED omen_code omen_directory_make(struct omen_storage *storage, int dir, const char *name,
                                           omen_error *err);
/* Renames and makes that durable. On failure the old name is there, if that can be had. */
OMEN_CHECKED omen_code omen_directory_rename(struct omen_storage *storage, int dir,
                                             const char *from, const char *to, omen_error *err);
/* Removes the directory `name` of `data_dir` and the files in it; what cannot be removed is left
 * for the next start. */
void omen_directory_remove(struct omen_storage *storage, int dir, const char *data_dir,
                           const char *name);

#endif
