/* directory.h - the data directory: names of collections' directories, making and removing them.
 *
 *   <data-dir>/LOCK                 held by the one process that has the directory open
 *   <data-dir>/<incarnation, hex>/  one collection: log-*.omen, originals.f32
 *   <...>.making, <...>.dropped     unfinished; removed at start
 *
 * A collection appears and disappears by one rename, followed by an fsync of the data directory.
 */
#ifndef OMEN_DIRECTORY_H
#define OMEN_DIRECTORY_H

#include "engine/engine.h"

/* Creates the data directory if needed and locks it. *fd is closed by the caller: that unlocks.
 * Fails: OMEN_FAILED_PRECONDITION (somebody else has it), OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_directory_lock(const char *data_dir, int *fd, omen_error *err);

/* Removes what was unfinished, then calls visit with the heap path of each collection, which visit
 * takes. Stops at the first failure. */
OMEN_CHECKED omen_code omen_directory_visit(const char *data_dir,
                                            omen_code (*visit)(void *user, char *path,
                                                               omen_error *err),
                                            void *user, omen_error *err);

OMEN_CHECKED omen_code omen_directory_make(const char *path, omen_error *err);
/* Renames and makes that durable. */
OMEN_CHECKED omen_code omen_directory_rename(const char *data_dir, const char *from, const char *to,
                                             omen_error *err);
/* Removes a directory and the files in it; what cannot be removed is left for the next start. */
void omen_directory_remove(const char *path);

#endif
