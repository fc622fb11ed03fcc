/* config.h - what the server was told to do: flags, environment, file, defaults, in this order of
 * precedence.
 *
 * A setting has one name in three spellings: --grpc-port, OMENDB_GRPC_PORT, and grpc_port in the
 * YAML file. config.c has the table of them all.
 */
#ifndef OMEN_CONFIG_H
#define OMEN_CONFIG_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/engine.h"

#define OMEN_CONFIG_SETTINGS_MAX 32u
#define OMEN_CONFIG_TEXT_BYTES   1024u
#define OMEN_CONFIG_ORIGIN_BYTES 320u

#define OMEN_CONFIG_OFF UINT32_MAX /* a number that is "off" */

enum omen_config_action {
    OMEN_CONFIG_RUN,
    OMEN_CONFIG_SHOW_HELP,
    OMEN_CONFIG_SHOW_VERSION,
    OMEN_CONFIG_SHOW_SETTINGS
};

struct omen_config {
    enum omen_config_action action;

    char data_dir[OMEN_CONFIG_TEXT_BYTES];
    char grpc_host[OMEN_CONFIG_TEXT_BYTES];
    char http_host[OMEN_CONFIG_TEXT_BYTES];
    char simd[OMEN_CONFIG_TEXT_BYTES];        /* empty: the CPU's highest */
    uint32_t grpc_port;                       /* 0: any free one */
    uint32_t http_port;                       /* 0: any free one; OMEN_CONFIG_OFF: none */
    uint32_t ingest_threads;                  /* 0: one for each CPU */
    uint32_t search_threads;                  /* 0: one for each CPU */
    char ingest_cpus[OMEN_CONFIG_TEXT_BYTES]; /* empty: all */
    char search_cpus[OMEN_CONFIG_TEXT_BYTES]; /* empty: all */
    uint32_t shards;                          /* 0: four for each ingest thread */
    uint32_t drain_seconds;
    uint32_t checkpoint_seconds; /* OMEN_CONFIG_OFF: none are written */
    uint32_t calibrate_seconds;  /* 0: only when asked for */
    uint32_t calibrate_percent;
    uint32_t scrub_mib_per_second; /* 0: off */

    /* Connections; seconds, 0: for ever. */
    uint32_t max_connection_age_seconds;
    uint32_t max_connection_age_grace_seconds;
    uint32_t max_connection_idle_seconds;
    uint32_t keepalive_seconds;
    uint32_t keepalive_timeout_seconds;
    uint32_t client_ping_seconds_min;
    uint32_t max_streams_per_connection;

    /* Insert streams and searches. */
    uint32_t stream_max_age_seconds; /* 0: for ever */
    uint32_t heartbeat_seconds;
    uint32_t search_seconds_max;

    /* Memory and disk. */
    char memory_limit[OMEN_CONFIG_TEXT_BYTES]; /* memory_limit.h */
    uint32_t disk_reserve_mib;
    uint32_t ingest_memory_mib;
    uint32_t request_memory_mib;
    uint32_t grpc_memory_mib;

    /* Where each setting came from ("--grpc-port", "omen.yaml:3"), in the order of the table. */
    char origins[OMEN_CONFIG_SETTINGS_MAX][OMEN_CONFIG_ORIGIN_BYTES];
};

/* Reads everything. With an action other than OMEN_CONFIG_RUN, data_dir may be missing.
 * Fails: OMEN_INVALID_ARGUMENT: an unknown name or a bad value; err names setting, value, limit and
 *        where it came from. OMEN_NOT_FOUND: the file cannot be read. */
OMEN_CHECKED omen_code omen_config_load(int argc, char **argv, struct omen_config *out,
                                        omen_error *err);

/* How much collections may take of `limit`, what the process may: the rest is for requests, for
 * streams, for gRPC, and for the program. Where one of their settings was not set and is too large
 * for the limit, it becomes an eighth of it. Fails: OMEN_INVALID_ARGUMENT: nothing is left for
 * collections. */
OMEN_CHECKED omen_code omen_config_fit_memory(struct omen_config *config, uint64_t limit,
                                              uint64_t *collections, omen_error *err);

void omen_config_print_help(FILE *out);

/* As a YAML file that --config would take, with the origins as comments. */
void omen_config_print(const struct omen_config *config, FILE *out);

/* Sets one setting by the name that it has in a file. For config_file.c.
 * Fails: OMEN_INVALID_ARGUMENT. */
OMEN_CHECKED omen_code omen_config_set(struct omen_config *config, const char *key,
                                       const char *value, const char *origin, omen_error *err);

/* Reads the YAML file at `path`: one mapping of settings to scalars (config_file.c). */
OMEN_CHECKED omen_code omen_config_file_read(const char *path, struct omen_config *config,
                                             omen_error *err);

#endif
