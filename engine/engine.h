/* engine.h - the engine's door: collections of vectors, streams into them, searches over them.
 *
 * A collection is a deterministic function of its log. Chunks of points are appended to the log,
 * admitted in log order, and applied in epochs by the ingest threads; searches run at any time on
 * the search threads, take no lock that a writer holds, and see whole epochs. See ARCHITECTURE.md
 * for the walk through the files.
 *
 * Vocabulary: Owns (you must release), Takes (we release, also on failure unless it says
 * otherwise), Borrows ... until ..., Threads, Fails.
 */
#ifndef OMEN_ENGINE_H
#define OMEN_ENGINE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/limits.h"
#include "engine/status.h"

typedef struct omen_engine omen_engine;         /* one data directory and its threads */
typedef struct omen_collection omen_collection; /* a named set of vectors; counted */
typedef struct omen_stream omen_stream;         /* one writer of one collection */
struct omen_storage;
typedef struct omen_chunk omen_chunk; /* points on their way in */

/* ---- ids ---------------------------------------------------------------------------------- */

/* A point's id: a number, or a key of 1..OMEN_KEY_BYTES_MAX bytes. 7 and "7" are two ids. */
struct omen_id {
    union {
        uint64_t num;       /* key_bytes == 0 */
        const uint8_t *key; /* else; borrowed, for as long as whoever gives it says */
    };
    uint32_t key_bytes;
};
static inline struct omen_id omen_id_num(uint64_t num)
{
    return (struct omen_id){{.num = num}, 0};
}
static inline struct omen_id omen_id_key(const void *key, uint32_t bytes)
{
    return (struct omen_id){{.key = (const uint8_t *)key}, bytes};
}
/* The order of ids, as in answers: numbers before keys, numbers by value, keys byte by byte, a
 * prefix before what it begins. Negative, 0 or positive. */
int omen_id_compare(const struct omen_id *a, const struct omen_id *b);

/* ---- engine ------------------------------------------------------------------------------- */

enum omen_event_level { OMEN_EVENT_INFO, OMEN_EVENT_WARNING, OMEN_EVENT_ERROR };

/* The engine never logs: it tells. `message` is a sentence, borrowed until the return. Any engine
 * thread; must not block and must not call the engine. */
typedef void omen_event_fn(void *user, enum omen_event_level level, const char *message);

/* Whether writes are taken has changed, or may have. OMEN_OK: they are. Else why not:
 * OMEN_RESOURCE_EXHAUSTED DISK_FULL until there is room again; OMEN_UNAVAILABLE READ_ONLY: some
 * collection takes none until a restart. Any engine thread, one call at a time; must not block and
 * must not call the engine. */
typedef void omen_writes_fn(void *user, omen_code code, const omen_error *why);

#define OMEN_REPLAY_MS_OFF UINT32_MAX

struct omen_engine_options {
    const char *data_dir;         /* created if missing; one process at a time (locked) */
    uint32_t ingest_threads;      /* 1..OMEN_THREADS_MAX; 0 = one for each of its CPUs */
    uint32_t shards;              /* 1..OMEN_SHARDS_MAX; 0 = 4 per ingest thread; any number gives
                                     the same graph */
    uint32_t search_threads;      /* 1..OMEN_THREADS_MAX; 0 = one for each of its CPUs */
    const char *ingest_cpus;      /* on which insert's threads run, and what is done on the side; a
                                     list as omen_cpus_check() takes it, "" or NULL: the caller's */
    const char *search_cpus;      /* on which search threads run */
    const char *simd;             /* highest kernel tier to use, NULL = the CPU's highest */
    uint32_t calibrate_seconds;   /* between two calibrations of a collection, at least: up to
                                     OMEN_CALIBRATE_SECONDS_MAX; 0: only when asked for, and on
                                     stored points, as no query is kept */
    uint32_t calibrate_percent;   /* of one core, 1..100; 0 = OMEN_CALIBRATE_PERCENT_DEFAULT */
    uint32_t scrub_mib;           /* MiB/s of originals that are compared with their hashes
                                     (scrubber.h), up to OMEN_SCRUB_MIB_MAX; 0: only what is
                                     touched */
    omen_event_fn *event;         /* NULL: nobody listens */
    omen_writes_fn *writes;       /* NULL: nobody listens */
    void *event_user;             /* of both */
    uint64_t disk_reserve;        /* bytes of the disk that writes leave free (room.h) */
    uint64_t memory_limit;        /* bytes that collections may take (memory_budget.h); 0: any */
    struct omen_storage *storage; /* for tests (storage_memory.h); NULL: the file system. Borrowed
                                     until close */
    /* A checkpoint is written to a file when replaying the log behind the last one would take so
     * long; 0: OMEN_REPLAY_MS_DEFAULT. OMEN_REPLAY_MS_OFF: only when a call asks for it. */
    uint32_t replay_ms_max;
    /* While collections are loaded: how much of it is done, 0 to 1000 thousandths. The opening
     * thread; NULL: nobody wants to know. */
    void (*loading)(void *user, uint32_t thousandths);
};

/* Is `list` a list of CPUs, as "0-3,8", all of which the calling thread may use? Empty and NULL
 * are. Fails: OMEN_INVALID_ARGUMENT; err names the list. */
OMEN_CHECKED omen_code omen_cpus_check(const char *list, omen_error *err);
/* The calling thread goes onto these CPUs, and the threads that it starts are there, too, until
 * omen_cpus_leave(): how service and engine start the threads of one kind. *before: where it was.
 * Fails: as omen_cpus_check(); it then is where it was. */
struct omen_cpus {
    uint64_t bits[16]; /* as many as a cpu_set_t has */
};
OMEN_CHECKED omen_code omen_cpus_enter(const char *list, struct omen_cpus *before, omen_error *err);
void omen_cpus_leave(const struct omen_cpus *before);

/* Opens the data directory; reads every collection's newest checkpoint, and replays the log behind
 * it: blocks for as long as that takes. A checkpoint that is damaged is told as an event, and the
 * one before it taken.
 *
 * Owns:    *out is yours; release it with omen_engine_close().
 * Borrows: options until the call returns (event_user: until omen_engine_close returns).
 * Threads: any.
 * Fails:   OMEN_INVALID_ARGUMENT   an option is out of range; err names it
 *          OMEN_FAILED_PRECONDITION  another process has the directory
 *          OMEN_DATA_LOSS          a log is damaged before its end, or no checkpoint is whole and
 *                                  the log was trimmed; err names file and offset
 *          OMEN_UNIMPLEMENTED      a log was written by a newer version
 *          OMEN_UNAVAILABLE        the file system refused; err says what
 *          OMEN_RESOURCE_EXHAUSTED  memory
 *          On failure *out is NULL. No whole record is lost then: torn tails may have been cut off,
 *          open epochs closed by a record, and what was half made or half dropped removed. */
OMEN_CHECKED omen_code omen_engine_open(const struct omen_engine_options *options,
                                        omen_engine **out, omen_error *err);

/* Applies and syncs what was admitted, stops the threads, frees. NULL is allowed. Streams and
 * searches must have been closed and finished before. */
void omen_engine_close(omen_engine *engine);

/* Writes a checkpoint of every collection that has changed since its last one; blocks until they
 * are there. Before a close it makes the next start short. Any thread but the engine's own.
 * Fails: as omen_collection_checkpoint(), with the first failure; the others were tried. */
OMEN_CHECKED omen_code omen_engine_checkpoint(omen_engine *engine, omen_error *err);

/* The disk of the data directory, in bytes. Any thread. */
struct omen_disk_info {
    uint64_t free;
    uint64_t reserve;
    bool full; /* writes are refused until there is room again */
};
void omen_engine_get_disk(omen_engine *engine, struct omen_disk_info *out);

/* The memory of all collections, by the formula of omen_estimate(). Any thread. */
struct omen_memory_info {
    uint64_t used;
    uint64_t limit; /* 0: there is none */
};
void omen_engine_get_memory(omen_engine *engine, struct omen_memory_info *out);

/* ---- collections -------------------------------------------------------------------------- */

typedef enum omen_metric {
    OMEN_METRIC_L2 = 1,           /* distance in answers: squared L2 */
    OMEN_METRIC_COSINE = 2,       /* 1 - cosine */
    OMEN_METRIC_INNER_PRODUCT = 3 /* -(inner product) */
} omen_metric;

/* How the original vectors are stored. In f16 each component is rounded to the nearest half, to
 * even between two, before anything else is made of it; what a half cannot hold is refused. */
typedef enum omen_originals_format {
    OMEN_ORIGINALS_F32 = 1,
    OMEN_ORIGINALS_F16 = 2
} omen_originals_format;

/* In the log, fixed for life but for the target. 0 = default, where there is one. */
struct omen_collection_settings {
    uint32_t dim; /* OMEN_DIM_MIN..OMEN_DIM_MAX */
    omen_metric metric;
    uint32_t links;            /* M, OMEN_LINKS_MIN..OMEN_LINKS_MAX */
    uint32_t candidates;       /* 16..256 */
    uint32_t probes;           /* 1..64 */
    uint32_t epoch_points;     /* 1..OMEN_EPOCH_POINTS_MAX; of a large collection more, */
    uint32_t epoch_bytes;      /* 4096..OMEN_EPOCH_BYTES_MAX; likewise (omen_epoch_limit()) */
    uint32_t checkpoint_bytes; /* log bytes between two CHECKPOINT records, at least:
                                  OMEN_CHECKPOINT_BYTES_MIN..OMEN_CHECKPOINT_BYTES_MAX */
    uint32_t target_recall;    /* parts per million: what searches without an ef shall find of the
                                  true neighbours; OMEN_TARGET_RECALL_MIN..OMEN_TARGET_RECALL_MAX */
    omen_originals_format originals; /* 0 = OMEN_ORIGINALS_F32 */
};

/* A calibration: the smallest ef, and the fewest nodes to re-rank, with which a sample of queries
 * found the target's share of their true neighbours; for k = 10 and for k = 100. Searches that name
 * no ef go by it: up to k = 10 by the first, up to 100 in between, beyond in proportion. In the
 * log.
 */
#define OMEN_CALIBRATED_KS 2u
struct omen_calibration {
    uint32_t ef[OMEN_CALIBRATED_KS]; /* 0: there was none yet, ef is OMEN_EF_DEFAULT */
    uint32_t rerank[OMEN_CALIBRATED_KS];
    uint32_t recall[OMEN_CALIBRATED_KS]; /* measured with them, parts per million */
    uint32_t target;                     /* that was aimed at, parts per million */
    uint32_t live;                       /* 1: on queries that came in; 0: on stored points */
    uint32_t queries;                    /* how many of them */
    uint32_t points;                     /* that the collection had */
    uint32_t at_s;                       /* Unix time */
};

#define OMEN_INCARNATION_BYTES 16u
#define OMEN_KERNEL_NAMES_MAX  16u

/* The newest file of a checkpoint. Times are of the one that this process wrote last. */
struct omen_checkpoint_info {
    uint64_t position;  /* of its CHECKPOINT record; 0: there is none */
    uint64_t created_s; /* Unix time; 0: not by this process */
    uint64_t bytes;
    uint64_t admit_us; /* for so long writes stood still, */
    uint64_t graph_us; /* and for so long epochs did; searches never do */
    uint64_t write_us; /* of the thread that writes files */
    uint64_t failures; /* files that came to nothing since the start */
    uint64_t damaged;  /* files that could not be read at the start */
};

struct omen_collection_info {
    char name[OMEN_NAME_BYTES_MAX + 1];
    uint8_t incarnation[OMEN_INCARNATION_BYTES];
    struct omen_collection_settings settings;
    uint32_t algorithm_version;   /* what an epoch does; see settings.h */
    uint64_t points;              /* searchable */
    uint64_t slots;               /* in use: points, and dead ones whose slot is not free yet */
    uint64_t slots_max;           /* the most there were: what memory and disk are sized by */
    uint64_t checkpoint_position; /* of the last CHECKPOINT record that was applied; 0: none */
    uint64_t log_position;        /* last durable and admitted record */
    uint64_t searchable_position; /* last record that searches see */
    uint64_t epoch;               /* last published epoch */
    uint64_t memory_bytes; /* graph, codes, cells, tables; not the originals (mapped files), nor
                              the threads' workspace, which the engine has once */
    uint64_t log_bytes;
    struct omen_calibration calibration;
    struct omen_checkpoint_info checkpoint;
    uint64_t vectors_checked;   /* rows of originals compared with their hashes since the start */
    uint64_t vectors_unchecked; /* not compared yet since they were read from a disk, or damaged */
    uint64_t vectors_damaged;   /* not served until they are written again */
    omen_code refusal_code;     /* not OMEN_OK: it takes no writes, and why */
    omen_error refusal;
    const char *kernels[OMEN_KERNEL_NAMES_MAX]; /* static strings; NULL ends the list */
};

/* What a collection takes, in bytes, by formula. */
struct omen_estimate {
    uint64_t codes;  /* int8 codes, scales, norms */
    uint64_t rows;   /* links and their distances */
    uint64_t ids;    /* ids, and what else is kept for each point */
    uint64_t tables; /* from ids and from codes to points */
    uint64_t cells;
    uint64_t fixed;
    uint64_t memory;     /* the sum of the above */
    uint64_t capture;    /* and this while a checkpoint is written */
    uint64_t originals;  /* a file that is mapped: on the disk, and in the page cache */
    uint64_t log;        /* on the disk until a checkpoint lets go of it */
    uint64_t checkpoint; /* one file; two are kept, while a third is written */
};
/* Of `points` points, `keyed` of them with keys as ids. Any thread.
 * Fails: OMEN_INVALID_ARGUMENT: as omen_collection_create(), and too many points. */
OMEN_CHECKED omen_code omen_estimate(const struct omen_collection_settings *settings,
                                     uint64_t points, uint64_t keyed, struct omen_estimate *out,
                                     omen_error *err);

/* Creates and registers a collection; durable when it returns.
 * Threads: any. `info` may be NULL.
 * Fails: OMEN_INVALID_ARGUMENT   name or a setting is out of range
 *        OMEN_ALREADY_EXISTS     the name is taken
 *        OMEN_RESOURCE_EXHAUSTED OMEN_COLLECTIONS_MAX reached, memory, or DISK_FULL
 *        OMEN_UNAVAILABLE        the file system refused */
OMEN_CHECKED omen_code omen_collection_create(omen_engine *engine, const char *name,
                                              const struct omen_collection_settings *settings,
                                              struct omen_collection_info *info, omen_error *err);

/* Owns: *out, release it with omen_collection_release(). Fails: OMEN_NOT_FOUND. */
OMEN_CHECKED omen_code omen_collection_acquire(omen_engine *engine, const char *name,
                                               omen_collection **out, omen_error *err);
void omen_collection_release(omen_collection *collection); /* NULL is allowed */

/* The collection's dimension: fixed, any thread. */
uint32_t omen_collection_dim(const omen_collection *collection);

void omen_collection_get_info(omen_collection *collection, struct omen_collection_info *out);

/* Owns: *out, an array of *count sorted by name; release it with omen_collection_list_free().
 * Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_collection_list(omen_engine *engine, struct omen_collection_info **out,
                                            size_t *count, omen_error *err);
void omen_collection_list_free(struct omen_collection_info *list);

/* Unregisters the collection at once, and removes its files when the last user has let go. Open
 * streams end with OMEN_NOT_FOUND; running searches finish.
 * Fails: OMEN_NOT_FOUND, OMEN_UNAVAILABLE (the file system refused). */
OMEN_CHECKED omen_code omen_collection_delete(omen_engine *engine, const char *name,
                                              omen_error *err);

/* Changes what a collection's ef is calibrated for; in the log when it returns. The next
 * calibration goes by it. Any thread that may block. Fails: OMEN_INVALID_ARGUMENT (out of range),
 * OMEN_NOT_FOUND (the collection was deleted), OMEN_UNAVAILABLE (it takes no writes until a
 * restart), OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_collection_set_target_recall(omen_collection *collection,
                                                         uint32_t target_recall, omen_error *err);

/* Calibrates ef now, on the calling thread and without pauses: as many exact searches as the sample
 * has queries. In the log when it returns. A collection that is scanned anyway
 * (OMEN_SMALL_COLLECTION) stays as it is. Any thread that may block, but the engine's own.
 * Fails: as omen_collection_set_target_recall(). */
OMEN_CHECKED omen_code omen_collection_calibrate(omen_collection *collection, omen_error *err);

/* Writes a checkpoint with everything that was durable when it was called, and blocks until its
 * file is there and the log is trimmed. Any thread but the engine's own. Fails: OMEN_UNAVAILABLE
 * (the file system refused, or the collection takes no writes), OMEN_RESOURCE_EXHAUSTED,
 * OMEN_NOT_FOUND (it was deleted), OMEN_CANCELLED (the engine is being closed); collection and
 * older files are as they were. */
OMEN_CHECKED omen_code omen_collection_checkpoint(omen_collection *collection, omen_error *err);

/* A 64-bit hash of the rows' bytes in slot order, of everything published; equal for every number
 * of threads and shards and on every replica at the same epoch. Waits until the applier stands
 * between two epochs and holds it there. Any thread but the engine's own. */
uint64_t omen_collection_graph_hash(omen_collection *collection);

/* What a check counted. */
struct omen_validation {
    uint64_t points; /* visible */
    uint64_t linked; /* points with a row: all but duplicates */
    uint64_t links;
    uint64_t
        reached_by_links; /* of the linked ones, from the pivots; the others through their cell */
};

/* Checks every invariant of the collection: links, cells, chains, tables, counts. Holds the log
 * thread and the applier meanwhile. Any thread but the engine's own.
 * Fails: OMEN_DATA_LOSS VIOLATION (err names the first violation and its slot),
 *        OMEN_FAILED_PRECONDITION NOT_AT_REST (an epoch is open or waits: try again when everything
 *        pushed is searchable), OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_collection_validate(omen_collection *collection,
                                                struct omen_validation *out, omen_error *err);

/* ---- snapshots ----------------------------------------------------------------------------- */

/* A snapshot is a collection as of one position of its log, in one file of its own:
 * <data-dir>/snapshots/<name>.snapshot (snapshot_file.h). It outlives its collection. */
struct omen_snapshot_info {
    char name[OMEN_NAME_BYTES_MAX + 1];
    uint8_t id[OMEN_SNAPSHOT_ID_BYTES];       /* random: another one under this name has another */
    char collection[OMEN_NAME_BYTES_MAX + 1]; /* of which it was made */
    uint8_t incarnation[OMEN_INCARNATION_BYTES];
    struct omen_collection_settings settings;
    uint32_t algorithm_version;
    uint64_t log_position; /* the last record in it */
    uint64_t points;
    uint64_t created_unix_s;
    uint64_t bytes; /* of the file */
};

/* Makes a snapshot of what is durable now; durable itself when it returns. Searches and writes go
 * on; no checkpoint is written while the files are copied. Any thread but the engine's own.
 * Fails: OMEN_INVALID_ARGUMENT (the name), OMEN_NOT_FOUND (the collection), OMEN_ALREADY_EXISTS
 *        SNAPSHOT_EXISTS, OMEN_RESOURCE_EXHAUSTED (SNAPSHOT_LIMIT, DISK_FULL, or memory),
 *        OMEN_UNAVAILABLE (the file system refused). Then nothing is left of it. */
OMEN_CHECKED omen_code omen_snapshot_create(omen_engine *engine, const char *collection,
                                            const char *name, struct omen_snapshot_info *info,
                                            omen_error *err);

/* Owns: *out, an array of *count sorted by name; release it with omen_snapshot_list_free(). A file
 * that does not tell what it is has a name and bytes alone. Fails: OMEN_RESOURCE_EXHAUSTED,
 * OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_snapshot_list(omen_engine *engine, struct omen_snapshot_info **out,
                                          size_t *count, omen_error *err);
void omen_snapshot_list_free(struct omen_snapshot_info *list);

/* Who reads it goes on reading. Fails: OMEN_NOT_FOUND SNAPSHOT_NOT_FOUND, OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_snapshot_delete(omen_engine *engine, const char *name, omen_error *err);

/* Reads all of it and checks every checksum.
 * Fails: OMEN_NOT_FOUND SNAPSHOT_NOT_FOUND, OMEN_DATA_LOSS BAD_SNAPSHOT (err names section and
 *        offset), OMEN_UNIMPLEMENTED NEWER_FORMAT, OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_snapshot_verify(omen_engine *engine, const char *name,
                                            struct omen_snapshot_info *info, omen_error *err);

/* A snapshot's bytes, to be sent somewhere. One thread at a time.
 * Owns: *out, release it with omen_snapshot_source_close().
 * Fails: OMEN_NOT_FOUND SNAPSHOT_NOT_FOUND, OMEN_DATA_LOSS BAD_SNAPSHOT, OMEN_UNIMPLEMENTED,
 *        OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED. */
typedef struct omen_snapshot_source omen_snapshot_source;
OMEN_CHECKED omen_code omen_snapshot_source_open(omen_engine *engine, const char *name,
                                                 omen_snapshot_source **out,
                                                 struct omen_snapshot_info *info, omen_error *err);
/* Up to *count bytes at `offset`; *count says how many, 0 at the end. Fails: OMEN_UNAVAILABLE. */
OMEN_CHECKED omen_code omen_snapshot_source_read(omen_snapshot_source *source, uint64_t offset,
                                                 void *bytes, size_t *count, omen_error *err);
void omen_snapshot_source_close(omen_snapshot_source *source); /* NULL is allowed */

/* A snapshot on its way in, from its first byte to its last. One thread at a time; not resumed by a
 * later process.
 * Owns: *out, release it with omen_restore_end() or omen_restore_cancel().
 * Fails: OMEN_INVALID_ARGUMENT (the name), OMEN_ALREADY_EXISTS COLLECTION_EXISTS,
 *        OMEN_RESOURCE_EXHAUSTED (COLLECTION_LIMIT, or memory), OMEN_UNAVAILABLE. */
typedef struct omen_restore omen_restore;
OMEN_CHECKED omen_code omen_restore_begin(omen_engine *engine, const char *collection,
                                          omen_restore **out, omen_error *err);
/* The next bytes. Fails: OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED DISK_FULL. */
OMEN_CHECKED omen_code omen_restore_write(omen_restore *restore, const void *bytes, size_t count,
                                          omen_error *err);
uint64_t omen_restore_bytes(const omen_restore *restore); /* written so far */
/* Checks everything and makes the collection: under its new name, in an incarnation of its own, it
 * answers as the other one did, and takes writes. Takes: restore.
 * Fails: OMEN_DATA_LOSS BAD_SNAPSHOT, OMEN_UNIMPLEMENTED NEWER_FORMAT, and as begin. Then nothing
 * is left of it. */
OMEN_CHECKED omen_code omen_restore_end(omen_restore *restore, struct omen_collection_info *info,
                                        omen_error *err);
void omen_restore_cancel(omen_restore *restore); /* Takes: restore. NULL is allowed */

/* The same from a snapshot of this data directory. Fails: also OMEN_NOT_FOUND SNAPSHOT_NOT_FOUND.
 */
OMEN_CHECKED omen_code omen_snapshot_restore(omen_engine *engine, const char *snapshot,
                                             const char *collection,
                                             struct omen_collection_info *info, omen_error *err);

/* ---- a data directory that no server has open ---------------------------------------------- */

/* Called with a sentence for each damage (which names file and offset), and for what else is worth
 * to be told. Borrowed until the return. */
typedef void omen_offline_fn(void *user, bool damage, const char *sentence);

struct omen_offline_report {
    uint32_t collections;
    uint32_t checkpoints;
    uint32_t snapshots;
    uint64_t records; /* whole ones, of all logs */
    uint64_t bytes;   /* read */
    uint64_t damages;
    uint64_t lost; /* by recover: records and collections that are not in the result */
};

/* Reads and checks logs, checkpoints, originals and snapshots, and changes nothing.
 * Fails: OMEN_DATA_LOSS           there is damage: report->damages of them were told
 *        OMEN_FAILED_PRECONDITION a server has the directory
 *        OMEN_UNIMPLEMENTED       a newer version has written something in it
 *        OMEN_NOT_FOUND, OMEN_UNAVAILABLE, OMEN_RESOURCE_EXHAUSTED */
OMEN_CHECKED omen_code omen_offline_verify(const char *data_dir, omen_offline_fn *tell, void *user,
                                           struct omen_offline_report *report, omen_error *err);

/* Makes a data directory `to`, which must not be there or be empty, of all that is whole in
 * `data_dir`, and tells what is not in it. Of a damaged log everything up to the first damage is
 * kept as it is; whole records behind it are appended as writes without a session, so that what
 * they say of their points is kept, too.
 * Fails: OMEN_DATA_LOSS if something was lost (the rest is there); else as above;
 *        OMEN_ALREADY_EXISTS `to` is not empty. */
OMEN_CHECKED omen_code omen_offline_recover(const char *data_dir, const char *to,
                                            omen_offline_fn *tell, void *user,
                                            struct omen_offline_report *report, omen_error *err);

/* ---- streaming insert --------------------------------------------------------------------- */

typedef enum omen_write_mode {
    OMEN_WRITE_INSERT_ONLY = 1, /* an id that is there is refused */
    OMEN_WRITE_UPSERT = 2,      /* the last write wins, within a chunk, too */
    OMEN_WRITE_UPDATE_ONLY = 3  /* an id that is not there is refused */
} omen_write_mode;

/* Something about the stream changed: take a look with omen_stream_poll(). Called on engine
 * threads, at most one call at a time per stream, never after omen_stream_close() returned. Must
 * not block; may call omen_stream_poll, omen_stream_push. */
typedef void omen_stream_event_fn(void *user);

struct omen_stream_options {
    uint8_t session_id[OMEN_SESSION_ID_BYTES]; /* all zero: make one */
    omen_write_mode mode;
    bool sessionless;         /* for one request that is not resumed: no session is kept in the log,
                                 session_id is not looked at, and poll says `opened` at once */
    uint64_t errors_seen_seq; /* the client has the item errors of chunks up to here */
    omen_stream_event_fn *event; /* not NULL */
    void *event_user;
};

/* Opens a stream: asks the log for a new generation of the session. Until poll says `opened`,
 * nothing may be pushed.
 * Owns:  *out, release it with omen_stream_close(). It holds the collection.
 * Fails: OMEN_NOT_FOUND (the collection was deleted), OMEN_INVALID_ARGUMENT BAD_MODE,
 *        OMEN_UNAVAILABLE READ_ONLY (it takes no writes until a restart),
 *        OMEN_RESOURCE_EXHAUSTED (memory; or DISK_FULL, until there is room again). */
OMEN_CHECKED omen_code omen_stream_open(omen_collection *collection,
                                        const struct omen_stream_options *options,
                                        omen_stream **out, omen_error *err);

struct omen_stream_state {
    uint8_t session_id[OMEN_SESSION_ID_BYTES];
    bool opened;
    uint64_t next_seq;        /* valid when opened: what the session wants first */
    uint64_t errors_from_seq; /* valid when opened: item errors of chunks from here on can be taken,
                                 also of those that an earlier stream of the session pushed; older
                                 ones were seen by the client, or are forgotten */
    uint64_t received_seq;    /* pushed */
    uint64_t durable_seq;     /* on disk and admitted */
    uint64_t searchable_seq;  /* published */
    uint64_t log_position;    /* of durable_seq's record: the read token */
    uint64_t pending_bytes;   /* pushed and not yet searchable, as records */
    uint64_t queued_bytes;    /* those of them that are not admitted yet: they are in memory */
    bool room;                /* false: read no more from the client until the next event */
    omen_code code;           /* not OMEN_OK: the stream is dead, nothing more will be admitted */
    omen_error error;
};
void omen_stream_poll(omen_stream *stream, struct omen_stream_state *out);

/* A point, a delete or a query that was refused; enough to make the sentence later. */
enum omen_refusal {
    OMEN_REFUSED_DIMENSION = 1, /* detail = components given */
    OMEN_REFUSED_NOT_FINITE,    /* detail = index of the component */
    OMEN_REFUSED_TOO_LARGE, /* detail = index of the component; magnitude > OMEN_COMPONENT_MAX */
    OMEN_REFUSED_TOO_SMALL, /* largest magnitude < OMEN_COMPONENT_MIN but not 0 */
    OMEN_REFUSED_ZERO,      /* the zero vector under cosine */
    OMEN_REFUSED_EXISTS,    /* INSERT_ONLY and the id is there */
    OMEN_REFUSED_ID_MISSING,
    OMEN_REFUSED_KEY_LENGTH, /* detail = bytes given; 0 or more than OMEN_KEY_BYTES_MAX */
    OMEN_REFUSED_FULL,       /* OMEN_SLOTS_MAX points */
    OMEN_REFUSED_UNKNOWN,    /* UPDATE_ONLY and the id is not there */
    OMEN_REFUSED_K,          /* of a query: detail = k given */
    OMEN_REFUSED_EF,         /* of a query: detail = ef given */
    OMEN_REFUSED_HALF /* originals in f16: detail = bits of the float with the largest magnitude */
};
struct omen_item_error {
    uint64_t seq;
    uint64_t num;                    /* the id, if it is a number */
    uint8_t key[OMEN_KEY_BYTES_MAX]; /* the id, if it is a key */
    uint8_t key_bytes;
    bool has_id;    /* false: there was none, or none that is one */
    uint16_t index; /* of the point or delete in its chunk */
    uint32_t detail;
    enum omen_refusal refusal;
};
/* The code, reason and sentence of a refusal ("vector has 3 components, the collection 384"). */
omen_code omen_item_error_describe(const struct omen_item_error *item, uint32_t dim,
                                   omen_error *out);

/* Moves up to `room` item errors, oldest first, to `out`; returns how many. All errors of chunks up
 * to *complete_seq have then been taken. Any thread. */
size_t omen_stream_take_errors(omen_stream *stream, struct omen_item_error *out, size_t room,
                               uint64_t *complete_seq);

/* Room for up to `points` points of the stream's dimension, and any number of deletes. Owns: *out,
 * release it by omen_stream_push() or omen_chunk_destroy(). Fails: OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_chunk_create(omen_stream *stream, uint32_t points, omen_chunk **out,
                                         omen_error *err);
void omen_chunk_destroy(omen_chunk *chunk); /* NULL is allowed */

/* Where the next point's vector goes: dim floats, 64-byte aligned for the first of a chunk, rows
 * one after the other. NULL when the chunk is full. Then omen_chunk_add() keeps it, or another call
 * of omen_chunk_row() forgets it. */
float *omen_chunk_row(omen_chunk *chunk);
/* Borrows the key until the return; one that is too long is refused. `ttl_s`: seconds from the push
 * on until the point expires; 0:
 * never. Here and below, memory that cannot be had makes the push fail. */
void omen_chunk_add(omen_chunk *chunk, uint32_t index, const struct omen_id *id, uint32_t ttl_s);
/* The same for `count` points at once: room for their floats, then their ids, all numbers; their
 * indexes are first_index, first_index + 1, ... NULL when there is no room. */
float *omen_chunk_rows(omen_chunk *chunk, uint32_t count);
void omen_chunk_add_many(omen_chunk *chunk, uint32_t count, uint32_t first_index,
                         const uint64_t *ids, uint32_t ttl_s);
/* Deletes an id, whether it is there or not. All deletes of a chunk come after all its points. */
void omen_chunk_delete(omen_chunk *chunk, uint32_t index, const struct omen_id *id);
/* Notes a point or a delete that the decoder itself refused (dimension, id). `id` may be NULL. */
void omen_chunk_refuse(omen_chunk *chunk, uint32_t index, const struct omen_id *id,
                       enum omen_refusal refusal, uint32_t detail);

/* Bytes of the record that a chunk of so many points with numbers as ids makes, no deletes, no
 * refusals, no time to live. At most OMEN_RECORD_BYTES_MAX may be pushed. */
size_t omen_chunk_record_bytes(uint32_t points, uint32_t dim);
/* The same of what is in this chunk. */
size_t omen_chunk_bytes(const omen_chunk *chunk);

/* Checks and encodes the points (a bad one becomes an item error and the others go in) and hands
 * the chunk to the log. Does not block. Threads: one at a time per stream; other streams in
 * parallel.
 * Takes: chunk, in any case.
 * Fails: OMEN_INVALID_ARGUMENT SEQUENCE_GAP (seq is neither old nor the next), TOO_LARGE,
 *        NOT_OPENED; OMEN_RESOURCE_EXHAUSTED; those of omen_stream_open(); the stream's own code
 *        when it is dead. A chunk at or below the session's last is OK and
 *        dropped: it was there already. */
OMEN_CHECKED omen_code omen_stream_push(omen_stream *stream, uint64_t seq, omen_chunk *chunk,
                                        omen_error *err);

/* Ends the stream; what was pushed stays in the log and will be searchable. Waits for an event
 * callback that is running on another thread. NULL is allowed; not from the callback. */
void omen_stream_close(omen_stream *stream);

/* ---- get ---------------------------------------------------------------------------------- */

struct omen_got {
    bool found;
    uint32_t expires_s; /* Unix time; 0: never */
};
/* Looks up `count` ids as of the last published epoch: the vectors as they are stored (f32: as they
 * were sent) go to vectors + i * dim (NULL: not wanted). Copies; may read from disk. Any thread
 * that may block. *log_position: what was read: everything up to this record. Fails:
 * OMEN_INVALID_ARGUMENT BAD_LIMIT (more than OMEN_GET_IDS_MAX). */
OMEN_CHECKED omen_code omen_collection_get_points(omen_collection *collection,
                                                  const struct omen_id *ids, uint32_t count,
                                                  struct omen_got *out, float *vectors,
                                                  uint64_t *log_position, omen_error *err);

/* ---- search ------------------------------------------------------------------------------- */

enum omen_shortfall { OMEN_SHORTFALL_NONE, OMEN_SHORTFALL_COLLECTION, OMEN_SHORTFALL_EF };

struct omen_hit {
    struct omen_id id; /* a key lives with the search */
    float distance;
};
struct omen_query_result {
    struct omen_hit *hits; /* ascending by (distance, id); lives with the search */
    uint32_t hit_count;
    uint32_t visited; /* distances computed: to pivots, then to points (a pivot may count twice) */
    uint32_t ef;      /* as used; 0 when exact */
    bool exact;
    enum omen_shortfall shortfall;
    enum omen_refusal refusal; /* not 0: this query was refused and has no hits */
    uint32_t detail;           /* of the refusal */
};
/* The code, reason and sentence of a query's refusal. */
omen_code omen_query_describe(const struct omen_query_result *result, uint32_t dim,
                              omen_error *out);

struct omen_query_options {
    uint32_t k;  /* 1..OMEN_K_MAX; 0 = OMEN_K_DEFAULT */
    uint32_t ef; /* 1..OMEN_EF_MAX; 0 = as calibrated, else OMEN_EF_DEFAULT; raised to k */
    bool exact;
    enum omen_refusal refusal; /* not 0: whoever read the query refused it; it is not run */
    uint32_t detail;
};

/* A batch of queries. The caller fills the first group and keeps the struct alive until `done`. */
struct omen_search {
    omen_collection *collection; /* borrowed until omen_search_deinit() */
    const float *queries;        /* count x dim, borrowed until done */
    uint32_t count;              /* 1..OMEN_SEARCH_QUERIES_MAX */
    struct omen_query_options options;
    const struct omen_query_options *each; /* NULL: `options` for all; else `count` of them,
                                              borrowed until done */
    uint64_t min_position; /* wait until everything up to this record is searchable; 0: do not */
    uint64_t deadline_ns;  /* CLOCK_MONOTONIC; 0: none. Later the search ends with
                              OMEN_DEADLINE_EXCEEDED, wherever it is */
    void (*done)(struct omen_search *search); /* once, on a search thread; may free the struct
                                                 after omen_search_deinit() */
    void *user;

    /* Any thread, by omen_search_cancel(). Zero before submit. */
    _Atomic bool cancelled;

    /* Filled by the engine before `done`. */
    omen_code code; /* OMEN_OK, or why there are no results */
    omen_error error;
    struct omen_query_result *results; /* count of them */
    uint64_t log_position;             /* everything up to this record was seen */
    uint64_t duration_us;              /* without the wait for min_position */

    struct omen_search_private *private_; /* zero before submit */
};

/* Checks the request and queues it; `done` is called if and only if OMEN_OK is returned. A query
 * whose vector, k or ef is bad is refused in its result; the others are run.
 * Fails: OMEN_INVALID_ARGUMENT BAD_LIMIT (number of queries), TOO_LARGE (sum of all k),
 *        OMEN_RESOURCE_EXHAUSTED. */
OMEN_CHECKED omen_code omen_search_submit(struct omen_search *search, omen_error *err);
/* Lets a submitted search end soon, with OMEN_CANCELLED, unless it is done. Any thread, from submit
 * until the caller calls omen_search_deinit(); `done` is still called. */
void omen_search_cancel(struct omen_search *search);
/* Frees the results. Also allowed for a search that was never submitted (zeroed). */
void omen_search_deinit(struct omen_search *search);

#endif
