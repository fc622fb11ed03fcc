/* log.c - the log's calls, handed to the implementation that opened it. See log.h. */
#include "engine/log.h"

omen_code omen_log_append(omen_log *log, enum omen_record_type type, uint16_t algorithm_version,
                          const struct iovec *parts, int part_count, uint64_t *position,
                          omen_error *err)
{
    return log->ops->append(log, type, algorithm_version, parts, part_count, position, err);
}

omen_code omen_log_sync(omen_log *log, omen_error *err)
{
    return log->ops->sync(log, err);
}

omen_code omen_log_read(omen_log *log, uint64_t from, omen_log_visit_fn *visit, void *user,
                        omen_error *err)
{
    return log->ops->read(log, from, visit, user, err);
}

omen_code omen_log_rotate(omen_log *log, omen_error *err)
{
    return log->ops->rotate(log, err);
}

omen_code omen_log_trim(omen_log *log, uint64_t before, omen_error *err)
{
    return log->ops->trim(log, before, err);
}

uint64_t omen_log_last_position(const omen_log *log)
{
    return log->ops->last_position(log);
}

uint64_t omen_log_bytes(const omen_log *log)
{
    return log->ops->bytes(log);
}

void omen_log_close(omen_log *log)
{
    if (log != NULL) log->ops->close(log);
}
