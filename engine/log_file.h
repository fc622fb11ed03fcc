/* log_file.h - what the tests of the file log need beside log.h: a size of files that rotates soon.
 */
#ifndef OMEN_LOG_FILE_H
#define OMEN_LOG_FILE_H

#include "engine/log.h"

/* A new file is begun where the next record would make the last one longer than this. */
#define OMEN_LOG_FILE_BYTES (64u << 20)

/* omen_log_file_open() with another size than OMEN_LOG_FILE_BYTES. A record larger than the size
 * gets a file of its own. */
OMEN_CHECKED omen_code omen_log_file_open_sized(struct omen_storage *storage, const char *dir,
                                                uint64_t file_bytes, omen_log **out,
                                                struct omen_log_report *report, omen_error *err);

#endif
