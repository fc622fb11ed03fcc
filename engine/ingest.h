/* ingest.h - the two threads of an engine that turn pushes into epochs, and their queues.
 *
 * The log thread takes what is pending of one collection after the other, appends it to the log as
 * a group, syncs once, admits it, and tells the streams. The applier takes admitted epochs of one
 * collection after the other and applies them with the crew. Both are fair: a collection that has
 * had its turn goes to the end of the list.
 */
#ifndef OMEN_INGEST_H
#define OMEN_INGEST_H

#include "engine/engine.h"

struct omen_ingest;

OMEN_CHECKED omen_code omen_ingest_start(omen_engine *engine, struct omen_ingest **out,
                                         omen_error *err);
/* Waits until nothing is pending, then ends the threads. NULL is allowed. */
void omen_ingest_stop(struct omen_ingest *ingest);

/* Queues a stream's OPEN, a chunk, a stream's end. The stream and the collection are retained for
 * as long as that takes. Fail as omen_stream_open and omen_stream_push; the chunk is taken. */
OMEN_CHECKED omen_code omen_ingest_open(omen_collection *collection, omen_stream *stream,
                                        const uint8_t *session_id, uint64_t errors_seen_seq,
                                        omen_error *err);
/* The same for a stream of no session: there is nothing to write. */
OMEN_CHECKED omen_code omen_ingest_join(omen_collection *collection, omen_stream *stream,
                                        omen_error *err);
OMEN_CHECKED omen_code omen_ingest_chunk(omen_collection *collection, omen_stream *stream,
                                         omen_chunk *chunk, uint64_t bytes, omen_error *err);
void omen_ingest_closed(omen_collection *collection, omen_stream *stream,
                        const uint8_t *session_id);

/* Writes a SETTINGS record, and returns when it is durable and admitted. Any thread that may block.
 * Fails: as omen_stream_open. */
OMEN_CHECKED omen_code omen_ingest_settings(omen_collection *collection, const void *payload,
                                            size_t bytes, omen_error *err);

/* Would a write be taken? Fails: as omen_stream_open. */
OMEN_CHECKED omen_code omen_ingest_check(omen_collection *collection, omen_error *err);

/* There is something for the log thread to do but what streams want: a file of a checkpoint is
 * wanted, the log can be trimmed. */
void omen_ingest_remind(omen_collection *collection);

/* The collection was unregistered: kill its streams. */
void omen_ingest_drop(omen_collection *collection);

#endif
