/* keeping_storage.h - a storage that passes everything on to another one, and keeps a copy of each
 * file of a log that is removed: so a test has the whole log, whatever was trimmed.
 */
#ifndef OMEN_TESTS_DURABILITY_KEEPING_STORAGE_H
#define OMEN_TESTS_DURABILITY_KEEPING_STORAGE_H

#include "engine/storage.h"

struct kept_file {
    struct kept_file *next;
    char name[64];
    unsigned char *bytes;
    size_t size;
};

struct keeping_storage {
    struct omen_storage base; /* must be first */
    struct omen_storage *inner;
    struct kept_file *files; /* written by the log thread; read when nobody writes */
};

void keeping_storage_init(struct keeping_storage *keeping, struct omen_storage *inner);
void keeping_storage_deinit(struct keeping_storage *keeping);

/* Makes `to`/`name` of another storage a collection's directory with the whole log of the one in
 * `from`: what was removed, and what is there now. Both are directories of collections; `to`'s
 * parent is open under its path. */
void keeping_storage_copy_log(struct keeping_storage *keeping, const char *from,
                              struct omen_storage *to_storage, const char *to_parent,
                              const char *name);

#endif
