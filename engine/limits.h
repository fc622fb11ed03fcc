/* limits.h - every minimum, default and maximum of the engine, with its unit and its reason. */
#ifndef OMEN_LIMITS_H
#define OMEN_LIMITS_H

/* Collections. */
#define OMEN_DIM_MIN         1u
#define OMEN_DIM_MAX         4096u /* components; a point of 16 KiB, still 29 to a chunk */
#define OMEN_NAME_BYTES_MAX  64u   /* of a collection: [A-Za-z0-9_-], also a label of metrics */
#define OMEN_COLLECTIONS_MAX 256u  /* each costs address space and two open files */
#define OMEN_SLOTS_MAX       (1u << 28) /* points of one collection: the segment directory's size */

/* The graph (HNSW's M and what goes with it). */
#define OMEN_LINKS_DEFAULT      16u /* M: links chosen for a new point; the target degree is 2M */
#define OMEN_LINKS_MIN          4u
#define OMEN_LINKS_MAX          16u /* a row holds 47 links: target 32 and slack */
#define OMEN_ROW_LINKS          47u /* + its count = 192 bytes = 3 cache lines */
#define OMEN_CANDIDATES_DEFAULT 32u /* C: nearest points; links come of them */
#define OMEN_CANDIDATES_MIN     16u
#define OMEN_CANDIDATES_MAX     256u
#define OMEN_PROBES_DEFAULT     28u /* P: cells that a new point looks into */
#define OMEN_PROBES_MIN         1u
#define OMEN_PROBES_MAX         64u
#define OMEN_CELL_SLOTS         64u   /* one slot in so many becomes a pivot */
#define OMEN_CELL_SLOTS_2       128u  /* the same under algorithm version 2 and before */
#define OMEN_REGION_PIVOTS      32u   /* one pivot in so many is a top */
#define OMEN_ROUTE_REGIONS      24u   /* whose pivots a new point is compared with */
#define OMEN_ROUTE_CUT          3u    /* candidates are no farther than this nearest pivot */
#define OMEN_ROUTE_CUT_3        4u    /* the same under algorithm version 3 */
#define OMEN_CELL_SCAN_MAX      256u  /* members of a cell that are scanned */
#define OMEN_TAKEOVER_CELLS     16u   /* cells from which a new pivot takes members */
#define OMEN_SMALL_COLLECTION   1024u /* slots up to which everything is compared with everything */

/* Points. */
#define OMEN_KEY_BYTES_MAX 64u /* of an id that is a key: a UUID as text, a path's hash */
#define OMEN_GET_IDS_MAX   1024u

/* The log. */
#define OMEN_RECORD_BYTES_MAX (480u << 10) /* header and payload; fits a 1 MiB message bus */
/* Of an epoch, in a collection of up to OMEN_EPOCH_GROWTH_POINTS; beyond, epochs grow with it (by
 * then its cells are so many that 8,192 points seldom share one), up to so many times. */
#define OMEN_EPOCH_POINTS_MAX    8192u
#define OMEN_EPOCH_BYTES_MIN     4096u
#define OMEN_EPOCH_BYTES_MAX     (16u << 20)
#define OMEN_EPOCH_GROWTH_POINTS (1u << 18)
#define OMEN_EPOCH_GROWTH_MAX    8u
/* Between two CHECKPOINT records: freed slots wait for one, so this bounds what churn may add. */
#define OMEN_CHECKPOINT_BYTES_DEFAULT (16u << 20)
#define OMEN_CHECKPOINT_BYTES_MIN     4096u
#define OMEN_CHECKPOINT_BYTES_MAX     (1u << 30)

/* The files of checkpoints. */
#define OMEN_REPLAY_MS_DEFAULT 3000u
/* After which nothing of a deleted point is left in any file, while the server runs. */
#define OMEN_ERASE_SECONDS_MAX 86400u

/* A component's magnitude: outside of this, its square is no normal f32. */
#define OMEN_COMPONENT_MIN 1e-15f
#define OMEN_COMPONENT_MAX 1e15f

/* Snapshots. */
#define OMEN_SNAPSHOT_ID_BYTES 16u
#define OMEN_SNAPSHOTS_MAX     1024u /* of a data directory; listing opens each */

/* Search. */
#define OMEN_K_DEFAULT  10u
#define OMEN_K_MAX      10000u
#define OMEN_EF_DEFAULT 100u
#define OMEN_EF_MAX     8192u /* a larger k is scanned exactly */
/* What ef is calibrated for, in parts per million. */
#define OMEN_TARGET_RECALL_DEFAULT 970000u
#define OMEN_TARGET_RECALL_MIN     500000u
#define OMEN_TARGET_RECALL_MAX     999000u /* beyond, a calibration's sample tells nothing */
#define OMEN_SEARCH_QUERIES_MAX    1024u
#define OMEN_SEARCH_HITS_MAX       (1u << 20) /* queries x k: a reply of 12 MiB at most */

/* Calibration (calibrate.h). */
#define OMEN_CALIBRATE_QUERIES_MAX     256u /* live queries that are kept, of each collection */
#define OMEN_CALIBRATE_QUERIES_LIVE    64u  /* fewer than these, and stored points stand in */
#define OMEN_CALIBRATE_QUERIES_MIN     16u  /* however large the collection */
#define OMEN_CALIBRATE_SECONDS_MAX     86400u
#define OMEN_SCRUB_MIB_MAX             4096u /* a second; no file system reads faster */
#define OMEN_CALIBRATE_PERCENT_DEFAULT 10u   /* of one core */

/* Streams. */
/* Of one stream, from push until they are admitted: they are in memory. */
#define OMEN_STREAM_BYTES_MAX (32u << 20)
/* Of all streams of a collection, from push until they are searchable, and half as much of one:
 * two epochs and one that begins. They grow with the collection as epochs do (admit.h). */
#define OMEN_BACKLOG_BYTES_MAX (64u << 20)
#define OMEN_SESSION_ID_BYTES  16u
#define OMEN_SESSIONS_MAX      10000u /* per collection; the longest idle one is forgotten */
#define OMEN_SESSION_IDLE_S    86400u /* after which a session is forgotten, too */
/* Item errors that are kept for clients that resume: of one session, of all of a collection. */
#define OMEN_SESSION_ERRORS_MAX    1024u
#define OMEN_COLLECTION_ERRORS_MAX 65536u

/* Threads. */
#define OMEN_THREADS_MAX 64u
#define OMEN_SHARDS_MAX  256u

#endif
