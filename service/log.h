/* log.h - the server's log: one structured line to stderr for each thing worth telling.
 *
 *     2026-01-31T12:00:00.123Z INFO serving port=7420 kernels=vnni
 *
 * A value that is not one plain word is quoted and escaped, so a client's name cannot forge a line.
 */
#ifndef OMEN_SERVICE_LOG_H
#define OMEN_SERVICE_LOG_H

#include <stddef.h>

#include "engine/engine.h"

#define OMEN_LOGLINE_BYTES 2048u /* longer lines are cut off */

struct omen_logline {
    size_t length;
    char text[OMEN_LOGLINE_BYTES];
};

/* Starts a line; `message` is a constant of ours and is not escaped. */
void omen_logline_init(struct omen_logline *line, enum omen_event_level level, const char *message);

/* Appends key=value. */
OMEN_PRINTF(3, 4)
void omen_logline_add(struct omen_logline *line, const char *key, const char *format, ...);

/* Writes the line in one write(2), so lines of different threads never mix. Any thread. */
void omen_logline_write(struct omen_logline *line);

#endif
