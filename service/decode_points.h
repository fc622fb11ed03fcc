/* decode_points.h - the points, columns and deletes of a message, into one chunk of the engine; for
 * the decoders of the messages that have them.
 */
#ifndef OMEN_DECODE_POINTS_H
#define OMEN_DECODE_POINTS_H

#include "service/decode.h"
#include "service/wire.h"

/* Field numbers of a message; 0: it has no such field. */
struct omen_points_tags {
    uint32_t points;
    uint32_t columns;
    uint32_t deletes;
};

struct omen_points_reader {
    /* The caller's. */
    const struct omen_points_target *target;
    const struct omen_points_tags *tags;
    const char *subject; /* what its sentences call the message: "the chunk" */
    const char *columns; /* path of the field: "chunk.columns" */
    struct omen_fault *fault;

    /* decode_points.c's; zero before. */
    omen_chunk *chunk;   /* the caller's in the end, also after a failure */
    uint32_t points_max; /* that one record holds */
    uint32_t index;      /* of the next item */
    uint32_t points;
};

/* Reads all that stands between the mark and the end of its (sub)message; other fields are skipped.
 * A message whose fields come in another order than theirs is walked again for each of the three.
 * False: broken (*out_stream has the error), or the fault is set. */
bool omen_points_read(struct omen_points_reader *reader, const struct omen_wire_mark *mark,
                      pb_istream_t *out_stream);

#endif
